"""Train the tiny text-to-image model and store it: what `make weights` does."""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from fmlib.stored import FOLDER, store, store_about
from fmlib.tiny_flux import NAME, Recipe, load, rating, train
from fmlib.tiny_flux.scenes import Reader, Scenes, halves

EVERY = 128  # steps between two points of the curve, and four times as many after RISE
RISE = 3072


def rounded(result):
    return {name: round(value, 4) for name, value in result._asdict().items()}


class Curve(list):
    """What fit's watch sees of the training: a point now and then, and what the looking cost."""

    def __init__(self, recipe, reader, texts, seen, unseen):
        super().__init__()
        self.recipe, self.reader, self.texts = recipe, reader, texts
        self.of = {"unseen": (unseen, 2.0), "no_guidance": (unseen, 1.0), "seen": (seen, 2.0)}
        self.seconds = 0.0

    def watch(self, step, model):
        every = EVERY if step <= RISE else 4 * EVERY
        if step % every and step != self.recipe.steps:
            return
        begin = time.process_time()
        point = {"step": step}
        for name, (scenes, w) in self.of.items():
            how = {"n": self.texts, "w": w, "steps": 8}
            point[name] = rounded(rating(model, scenes, self.reader, **how))
        self.append(point)
        self.seconds += time.process_time() - begin
        print(json.dumps(point), flush=True)


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--texts", type=int, default=2000, help="for each of the final scores")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = options_of(arguments)
    torch.set_num_threads(1)
    recipe = Recipe(steps=options.steps, warmup=min(Recipe.warmup, options.steps))
    half = halves()[0]
    seen, unseen, reader = Scenes(half), Scenes(half, unseen=True), Reader(half)
    curve, start = Curve(recipe, reader, min(300, options.texts), seen, unseen), time.process_time()
    model, history = train(recipe, curve.watch)
    seconds = time.process_time() - start - curve.seconds
    if history.interrupted:
        raise SystemExit("interrupted: nothing was stored")
    for point in curve:
        point["loss"] = round(float(history.loss[: point["step"]][-EVERY:].mean()), 3)
    minutes = {"training": round(seconds / 60, 1), "judging": round(curve.seconds / 60, 1)}
    about = {
        "recipe": asdict(recipe),
        "cpu_minutes": minutes,
        "first_losses": [round(x, 3) for x in history.loss[:64].tolist()],
        "curve": curve,
    }
    store(NAME, model, about, options.folder)
    model = load(options.folder)
    about["scores"] = {
        f"{name}, w = {w:g}": rounded(rating(model, scenes, reader, n=options.texts, seed=2, w=w))
        for name, scenes in (("seen", seen), ("unseen", unseen))
        for w in (1.0, 2.0)
    }
    store_about(NAME, about, options.folder)
    print(json.dumps({**about, "curve": "..."}, indent=1))


if __name__ == "__main__":
    main()
