"""The seminar's figures: which lesson draws which, their files, their comparison, their gallery.

A figure is the picture that one cell of a lesson shows. The cell has the figure's id in its
metadata, {"fmlib": {"figure": "s12-euler"}}, and there is no second code that draws it.
"""

import base64
import io
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import nbformat
from matplotlib.testing.compare import compare_images
from matplotlib.testing.exceptions import ImageComparisonFailure
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "figures"
DIFFERENT = ROOT / "build" / "figures"  # where pictures that should not differ are left

LESSON = {  # the pictures on the seminar's slides -> the number of the lesson that draws each
    "s03-trilemma": "01",
    "s06-synthesis-inpainting": "08",
    "s07-one-shot": "01",
    "s08-normalizing-flow": "01",
    "s09-diffusion": "06",
    "s10-flow-map": "02",
    "s11-velocity-field": "02",
    "s12-euler": "02",
    "s13-probability-path": "03",
    "s15-gradients-agree": "04",
    "s16-couplings": "05",
    "s17-conditional-to-marginal-path": "03",
    "s18-conditional-to-marginal-velocity": "03",
    "s21-sampling-strip": "04",
    "s22-design-space": "05",
    "s23-parameterizations": "05",
    "s24-recipe": "05",
    "s25-paths-diffusion-vs-ot": "07",
    "s25-euler-error": "07",
    "s26-few-steps": "07",
}

# By how much a picture may differ from machine to machine: the root mean square (RMS) of the
# difference of its pixels, whose values go from 0 to 255. Measured for all pictures of lessons 00
# to 06: another run on one machine, 0; with other instructions (ATEN_CPU_CAPABILITY=default or
# avx2, MKL_CBWR=COMPATIBLE, one thread) or on another machine, 0 to 0.6, most of it from the choice
# of 256 colours; but 1.2 to 5.5 where a long training or a long chance walk decides where the
# points lie. One more thin line: 3.0 to 6.8; one dot in another colour: 3.0; source's and target's
# colours exchanged: 8 to 37; arrows of the wrong sign: 8 to 22; another seed: 3.4 to 50.
SAME, VARIES = 2.0, 8.0


class Figure(NamedTuple):
    id: str
    path: Path  # of the notebook
    index: int  # of the cell
    cell: nbformat.NotebookNode
    below: str  # the text of the cell below


def figure_id(cell):
    return cell.metadata.get("fmlib", {}).get("figure", "")


def figures(paths):
    """The figures that the notebooks at paths draw, in reading order."""
    found = []
    for path in paths:
        cells = nbformat.read(path, as_version=4).cells
        for i, cell in enumerate(cells):
            if figure_id(cell):
                below = cells[i + 1].source if i + 1 < len(cells) else ""
                found.append(Figure(figure_id(cell), path, i, cell, below))
    return found


def alt_text(figure):
    return figure.cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def caption(figure):
    """What the figure shows, by the sentence below it."""
    found = re.match(r"\*The figures?[:,] (.+?)\*\s*(\n|$)", figure.below)
    return found[1][0].upper() + found[1][1:] if found else ""


def complaints(found, paths):
    """What is wrong with the figures found in the notebooks at paths, a line each."""
    numbers, wrong = {path.name[:2] for path in paths}, []
    where = {figure.id: figure.path.name for figure in found}
    for name, count in Counter(figure.id for figure in found).items():
        places = [figure.path.name for figure in found if figure.id == name]
        if count > 1:
            wrong.append(f"{name} is doubled: in {' and in '.join(places)}")
        if name in LESSON and any(place[:2] != LESSON[name] for place in places):
            wrong.append(f"{name} belongs to lesson {LESSON[name]}, but is in {where[name]}")
    for name, number in LESSON.items():
        if number in numbers and name not in where:
            wrong.append(f"{name} is missing: no cell of lesson {number} carries this id")
    for figure in found:
        if not alt_text(figure):
            wrong.append(f"{figure.id} has no alternative text: see CONTRIBUTING.md")
        if not caption(figure):
            wrong.append(f"{figure.id} has no sentence '*The figure: ...*' in the cell below")
    return wrong


def smaller(png):
    """The same picture in 256 colours, about a third of the size; animations stay."""
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if getattr(image, "is_animated", False) or image.mode == "P":
        return png
    buffer = io.BytesIO()
    dpi = image.info.get("dpi")
    image.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True, **({"dpi": dpi} if dpi else {})
    )
    return base64.b64encode(buffer.getvalue()).decode()


def pngs(outputs):
    """The PNGs among a cell's outputs, as bytes and as they are stored."""
    found = [output["data"] for output in outputs if "image/png" in output.get("data", {})]
    return [base64.b64decode(smaller(data["image/png"])) for data in found]


def files(figure, outputs):
    """The figure's files, name -> bytes, from what its cell has shown in a run with SVG."""
    found = [output["data"] for output in outputs if "image/svg+xml" in output.get("data", {})]
    if len(pngs(outputs)) != 1 or len(found) != 1:
        count = f"{len(pngs(outputs))} as PNG, {len(found)} as SVG"
        raise ValueError(f"{figure.id}: its cell must show one picture, shows {count}")
    svg = found[0]["image/svg+xml"].encode()
    return {f"{figure.id}.png": pngs(outputs)[0], f"{figure.id}.svg": svg}


def last_frame(png):
    """A PNG (bytes) as an image; of an animation, the frame on which it rests."""
    image = Image.open(io.BytesIO(png))
    image.seek(getattr(image, "n_frames", 1) - 1)
    return image.convert("RGB")


def difference(name, expected, actual, tolerance):
    """Say how two PNGs (bytes) differ by more than tolerance; "" if they do not.

    tolerance: the root mean square (RMS) of the difference of the pixels' values, from 0 to 255.
    """
    DIFFERENT.mkdir(parents=True, exist_ok=True)
    old, new, diff = (DIFFERENT / f"{name}{end}.png" for end in ("-expected", "", "-failed-diff"))
    last_frame(expected).save(old)
    last_frame(actual).save(new)
    try:
        found = compare_images(old, new, tolerance, in_decorator=True)
    except ImageComparisonFailure as error:  # of another size
        return f"{name}: {error}; see {os.path.relpath(new, ROOT)}"
    if found is None:
        for file in (old, new, diff):
            file.unlink(missing_ok=True)
        return ""
    see = os.path.relpath(diff, ROOT)
    return f"{name}: RMS {found['rms']:.2f}, tolerance {tolerance}; see {see}"


def tolerance(cell):
    """How much a cell's picture may differ from machine to machine."""
    return VARIES if cell.metadata.get("fmlib", {}).get("varies") else SAME


def changed(place, cell, outputs):
    """Compare what a cell shows in a new run, outputs, with what is committed; "" if it agrees.

    That is the file in figures/ if the cell has a figure's id, else the picture in the notebook.
    Where the notebook's output cannot be the same on every machine, it is not compared.
    """
    name = figure_id(cell)
    if not name and "nbval-ignore-output" in cell.metadata.get("tags", []):
        return ""
    old, new = pngs(cell.outputs), pngs(outputs)
    if name:
        file = FOLDER / f"{name}.png"
        old = [file.read_bytes()] if file.exists() else []
    if len(old) != len(new):
        return f"{name or place}: {len(new)} pictures drawn, {len(old)} committed"
    pairs = enumerate(zip(old, new, strict=True))
    found = [difference(name or f"{place}-{i}", *pair, tolerance(cell)) for i, pair in pairs]
    if not any(found):
        return ""
    return "\n".join([*filter(None, found), f"If it is meant, make notebooks ONLY={place[:2]}"])


HEAD = """\
# The seminar's figures

<!-- Derived from the lessons by `make figures`: change the lesson, not this page. -->

Each picture is what one cell of a lesson shows, and fits into a slide as it is, from half of its
width on: as SVG, which stays sharp at any size, or as PNG where a program cannot show that.
Colours mean the same throughout: blue is the source, vermillion the target, dark to yellow the time
between them.

`make figures` draws all of them again, `make figure ID=s12-euler` a single one. Text and figures
are under CC BY 4.0.
"""


def section(figure):
    """A figure's part of the gallery."""
    name, lesson = figure.id, figure.path
    printed = "".join(o.text for o in figure.cell.outputs if o.output_type == "stream").strip()
    slide = f"Slide {name[1:3]}" if name in LESSON else "On no slide"
    link = f"[lesson {lesson.name[:2]}](../{lesson.relative_to(ROOT).as_posix()})"
    parts = [
        f"## {name}",
        f"![{alt_text(figure)}]({name}.png)",
        caption(figure),
        f"```\n{printed}\n```" if printed else "",
        f"{slide} · {link} · [SVG]({name}.svg)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def gallery(found):
    """The page figures/README.md: the slides' figures in their order, then the others."""
    ordered = sorted(found, key=lambda figure: (figure.id not in LESSON, figure.id))
    missing = sorted(LESSON.keys() - {figure.id for figure in found})
    tail = [f"To come, with their lessons: {', '.join(missing)}.\n"] if missing else []
    return "\n".join([HEAD, *map(section, ordered), *tail])
