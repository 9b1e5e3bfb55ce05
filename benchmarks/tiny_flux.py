"""What each ingredient of lesson 09's text-to-image model buys: one left out at a time.

Each variant follows the recipe of `make weights` for its first third, with the same seeds, and is
then asked for the same unseen scenes; on the way, every 256 steps, for 200 of them, to see when it
gets 90 % right. The last rows change the sampling only. Prints a table and stores it in
benchmarks/tiny_flux.json, from which the lesson shows it. About eight minutes of CPU for each seed.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from fmlib.tiny_flux import Recipe, rating, train
from fmlib.tiny_flux.scenes import Reader, Scenes, halves

TABLE = Path(__file__).with_suffix(".json")
TRAINED = {
    "everything": {},
    "t uniform, not logit-normal": {"logit_normal": False},
    "no average of the weights (EMA)": {"ema": None},
    "text as one vector, not joint": {"joint": False, "width": 84},  # as many parameters
}
SAMPLED = {  # of the model with everything
    "no guidance (w = 1)": {"w": 1.0},
    "w = 4": {"w": 4.0},
    "4 steps": {"steps": 4},
    "4 steps, shift 2": {"steps": 4, "shift": 2.0},
    "4 steps, shift 3": {"steps": 4, "shift": 3.0},
    "8 steps, shift 2": {"shift": 2.0},
    "16 steps": {"steps": 16},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stop", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--texts", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    half = halves()[0]
    unseen, reader = Scenes(half, unseen=True), Reader(half)
    table = {name: {"change": change, "runs": []} for name, change in (TRAINED | SAMPLED).items()}

    def judge(name, model, more, **how):
        how = {"w": 2.0, "steps": 8, "shift": 1.0} | how
        result = rating(model, unseen, reader, n=options.texts, **how)._asdict()
        row = {key: round(value, 4) for key, value in result.items()}
        row |= {"parameters": sum(p.numel() for p in model.parameters())} | more
        table[name]["runs"].append(row)
        print(f"{name:34s}", row, flush=True)

    for seed in range(options.seeds):
        for name, change in TRAINED.items():
            reached = []

            def watch(step, model, reached=reached):
                if step % 256 == 0 and not reached:
                    if rating(model, unseen, reader, n=200, steps=8).scenes >= 0.9:
                        reached.append(step)
                return step == options.stop

            model, _ = train(replace(Recipe(seed=seed), **change), watch, progress=False)
            judge(name, model, {"reached": reached[0] if reached else None})
            if not change:
                for way, how in SAMPLED.items():
                    judge(way, model, {}, **how)
        about = {"recipe": asdict(Recipe()), "stop": options.stop, "texts": options.texts}
        text = json.dumps(about | {"rows": table}, indent=1)
        TABLE.write_text(text + "\n", encoding="utf-8")  # whole seeds only
    print(f"\n{'variant':34s} {'scenes right':>24s}  90 % at step")
    for name, entry in table.items():
        right = [run["scenes"] for run in entry["runs"]]
        spread = f"{sum(right) / len(right):.1%} ({min(right):.1%} to {max(right):.1%})"
        print(f"{name:34s} {spread:>24s}  {[run.get('reached') for run in entry['runs']]}")


if __name__ == "__main__":
    main()
