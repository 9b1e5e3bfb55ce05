"""Lesson 01 for many seeds: quality, diversity and speed of six families, and how they were tuned.

It runs the cells of the lesson itself, up to the one that reads this benchmark's result, so there
is no second code. `--tune` trains each family with each of six settings on two seeds that are not
reported, and prints the mean distance; the best setting stands in the lesson. Without it, the
lesson is run for the seeds 0 to 4, and what it measured is written to benchmarks/trilemma.json,
which the lesson draws. Takes about ten minutes, the tuning a quarter of an hour.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import time
from pathlib import Path

import nbformat

os.environ |= {"TQDM_DISABLE": "1", "MPLBACKEND": "agg"}
ROOT = Path(__file__).resolve().parent.parent
LESSON = ROOT / "notebooks" / "01_generative_models.ipynb"
RESULT = Path(__file__).with_suffix(".json")
TRAIN = {
    "GAN": "train_gan",
    "VAE": "train_vae",
    "normalizing flow": "train_flow",
    "score matching": "train_score",
    "DDPM": "train_ddpm",
    "flow matching": "train_flow_matching",
}


def cells(until):
    """The lesson's code cells, as far as the first one that contains the text `until`."""
    for cell in nbformat.read(LESSON, as_version=4).cells:
        if cell.cell_type == "code":
            if until in cell.source:
                return
            yield cell.source
    raise ValueError(f"no cell of {LESSON.name} contains {until!r}")


def run(sources, seed):
    """Run cells as the notebook would, with this seed.  Returns their names and values."""
    import matplotlib.pyplot as plt

    os.environ["FMLIB_SEED"] = str(seed)
    names = {"__name__": "__main__"}
    for source in sources:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, LESSON.name, "exec"), names)
        plt.close("all")
    return names


def tune(only, seeds=(100, 101)):
    """Print how good each setting of a family, or of all, is: in mean and for each seed."""
    # Definitions only: no training, and no cell that uses a trained model.
    uses = re.compile(r'(samplers|networks|measured)\["|report\("')
    sources = [s.split("\nlearn(")[0] for s in cells("walks") if not uses.search(s)]
    for family, train in TRAIN.items() if only == "all" else [(only, TRAIN[only])]:
        rows = []
        for lr, act in itertools.product((1e-3, 3e-3, 1e-2), ("SiLU", "leaky")):
            found = []
            for seed in seeds:
                names = run(sources, seed)
                kind = names["nn"].SiLU if act == "SiLU" else names["leaky"]
                sample = names[train](lr, kind, names["settings"][family][2])[0]
                found.append(names["judge"](sample))
            far, on = (sum(row[key] for row in found) / len(found) for key in ("far", "on"))
            rows.append((far, on, f"{family:18s} lr {lr:<6g} {act:6s}"))
            each = [f"{r['far']:6.2f} ({r['on']:3.0%}, {r['even']:.2f})" for r in found]
            print(rows[-1][-1], f"mean {far:6.2f} ({on:3.0%})   seeds", *each, flush=True)
        near = [row for row in rows if row[0] < min(rows)[0] + 0.1]  # the others differ by chance
        print(f"{max(near, key=lambda row: row[1])[2]} chosen", flush=True)


def rounded(row):
    """Four digits of each number, enough for a picture."""
    return {key: float(f"{value:.4g}") for key, value in row.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--tune", metavar="FAMILY", help="compare settings, of one family or 'all'")
    options = parser.parse_args()
    if options.tune:
        return tune(options.tune)
    runs, start = [], time.perf_counter()
    for seed in range(options.seeds):
        names = run(cells("trilemma.json"), seed)
        runs.append({name: rounded(row) for name, row in names["measured"].items()})
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    text = json.dumps({"settings": names["recipe"], "runs": runs}, indent=1)
    RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
