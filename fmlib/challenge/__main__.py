"""Train the network of the challenge and store it: what `make weights` does after lesson 09's."""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from fmlib.challenge.given import NAME, Recipe, train
from fmlib.stored import FOLDER, store


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe, start = replace(Recipe(), steps=options.steps), time.process_time()
    model, history = train(recipe)
    if history.interrupted:
        raise SystemExit("interrupted: nothing was stored")
    about = {
        "recipe": asdict(recipe),
        "cpu_minutes": round((time.process_time() - start) / 60, 1),
        "first_losses": [round(x, 3) for x in history.loss[:64].tolist()],
    }
    store(NAME, model, about, options.folder)
    print(json.dumps({**about, "first_losses": "..."}, indent=1))


if __name__ == "__main__":
    main()
