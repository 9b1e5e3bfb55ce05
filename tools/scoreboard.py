"""Rate the entries of a class against digits that nobody has seen: `make scoreboard`.

Reads every .npz of a folder, in which the challenge's notebook stored an entry, prints the table,
and writes it there as scoreboard.md, with a picture, scoreboard.png. Who copies comes last.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import font_manager

from fmlib.challenge import EVALUATIONS, Judge, Rating, digits, read
from fmlib.plotting import use_style

HEAD = ("place", "name", "track", "points", *(f"gap at {n}" for n in EVALUATIONS))
HEAD += ("Fréchet", "precision", "recall", "C", "closest", "")


# Whichever of them is installed; the second ones have Korean letters.
FONTS = ["DejaVu Sans", "Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo"]


class Row(NamedTuple):
    """An entry and its ratings."""

    name: str
    track: str
    ratings: dict  # number of evaluations -> a Rating for each run

    def mean(self, n):
        """The mean Rating by n evaluations."""
        return Rating(*np.mean(self.ratings[n], 0))

    def gaps(self, n):
        """The gap of each run by n evaluations, in percent."""
        return [100 * rating.gap for rating in self.ratings[n]]

    @property
    def copies(self):
        return any(self.mean(n).copies for n in EVALUATIONS)

    @property
    def points(self):
        """The mean of the gaps, in percent, of which 0 is best."""
        return float(np.mean([self.gaps(n) for n in EVALUATIONS]))

    def cells(self, place):
        """The row of the table, as text: the judges that do not decide, by the most evaluations."""
        told = [f"{np.mean(gap):.1f} ± {np.std(gap):.1f}" for gap in map(self.gaps, EVALUATIONS)]
        most = self.mean(EVALUATIONS[-1])
        rest = [f"{value:.2f}" for value in most[1:]]
        note = "copies" if self.copies else ""
        return [place, self.name, self.track, f"{self.points:.1f}", *told, *rest, note]


def rated(files, judge):
    """The Rows of the files that hold an entry, best first, and a line for each that does not."""
    rows, wrong = [], []
    for file in files:
        try:
            entry = read(file)
        except ValueError as error:
            wrong.append(str(error))
            continue
        ratings = {n: [judge.rate(x) for x in images] for n, images in entry.images.items()}
        rows.append(Row(entry.name, entry.track, ratings))
    return sorted(rows, key=lambda row: (row.copies, row.points, row.name)), wrong


def table(rows):
    """The rows as a table in Markdown, its columns aligned."""
    cells = [list(HEAD)] + [
        row.cells("" if row.copies else str(place)) for place, row in enumerate(rows, 1)
    ]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def picture(rows, real, file):
    """Draw the gaps of the rows, the best on top, and the band of real digits."""
    use_style()
    fonts = [name for name in FONTS if name in font_manager.get_font_names()]
    plt.rcParams["font.family"] = fonts or plt.rcParams["font.family"]
    fig, ax = plt.subplots(figsize=(6.4, 1.2 + 0.32 * len(rows)))
    ax.axvspan(*real, color="0.9", lw=0, label="real digits")
    for n, color, up in zip(EVALUATIONS, ("0.6", "0"), (-0.15, 0.15), strict=True):
        gaps = np.array([row.gaps(n) for row in rows])
        y, how = np.arange(len(rows)) + up, {"fmt": "o", "color": color}
        ax.errorbar(gaps.mean(1), y, xerr=gaps.std(1), label=f"{n} evaluations", **how)
    names = [f"{row.name} ({'copies' if row.copies else row.track})" for row in rows]
    ax.set_yticks(range(len(rows)), [name.replace("$", r"\$") for name in names])
    ax.set(xlabel="gap in percent, 0 is best", xlim=(0, None), ylim=(len(rows) - 0.5, -0.5))
    fig.legend(loc="outside upper center", ncols=3)
    with warnings.catch_warnings(record=True) as missing:
        warnings.simplefilter("always")
        fig.savefig(file, dpi=150)
    plt.close(fig)
    if missing:
        print("some names have letters of which no font is installed", file=sys.stderr)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/challenge"))
    folder = parser.parse_args(arguments).folder
    torch.set_num_threads(1)
    judge = Judge()
    rows, wrong = rated(sorted(folder.glob("*.npz")), judge)
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    if not rows:
        raise SystemExit(f"no entry in {folder}: the challenge's notebook stores them as .npz")
    train, generator = digits().train.images, torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(train), generator=generator) for _ in range(20)]
    gaps = [100 * judge.rate(train[order[: len(judge.real)]]).gap for order in orders]
    low, high = np.quantile(gaps, (0.05, 0.95))
    text = table(rows) + f"\nReal digits have a gap of {low:.1f} to {high:.1f}.\n"
    (folder / "scoreboard.md").write_text(text, encoding="utf-8")
    picture(rows, (low, high), folder / "scoreboard.png")
    print(text)


if __name__ == "__main__":
    main()
