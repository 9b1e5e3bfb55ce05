"""The seminar's figures: all there, once each, as the lessons draw them, fit for a slide."""

import base64
import io
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image, ImageDraw, ImageOps

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import gallery  # noqa: E402
import run_notebooks  # noqa: E402

LESSONS = run_notebooks.lessons()
FOUND = gallery.figures(LESSONS)
IDS = [figure.id for figure in FOUND]
each = pytest.mark.parametrize("figure", FOUND, ids=IDS)


def png_file(name):
    return (gallery.FOLDER / f"{name}.png").read_bytes()


def svg_file(name):
    return ElementTree.parse(gallery.FOLDER / f"{name}.svg").getroot()


# What is committed.


def test_every_figure_of_the_seminar_is_drawn_once_in_its_lesson():
    assert gallery.complaints(FOUND, LESSONS) == []


def test_the_folder_holds_the_figures_and_the_gallery_only():
    names = {f"{name}.{kind}" for name in IDS for kind in ("png", "svg")} | {"README.md"}
    assert {file.name for file in gallery.FOLDER.iterdir()} == names


def test_the_gallery_is_what_the_lessons_say():
    page = (gallery.FOLDER / "README.md").read_text(encoding="utf-8")
    assert page == gallery.gallery(FOUND), "make figures writes it"


def test_the_gallery_shows_every_figure_in_the_order_of_the_slides():
    page = (gallery.FOLDER / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^]]{30,}\]\(([\w-]+)\.png\)", page)
    assert sorted(shown) == sorted(IDS)
    slides = [name for name in shown if name in gallery.LESSON]
    assert slides == sorted(slides) and shown[: len(slides)] == slides
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (gallery.FOLDER / link).exists(), link


def test_the_readme_shows_one_and_links_the_gallery():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(figures/s00-idea.png)" in text and "(figures/README.md)" in text


@each
def test_a_figure_is_the_picture_stored_in_its_lesson(figure):
    assert gallery.changed("stored", figure.cell, figure.cell.outputs) == ""


@each
def test_a_png_fits_into_a_slide(figure):
    image = Image.open(io.BytesIO(png_file(figure.id)))
    image.load()
    assert image.width >= 800
    assert {image.convert("RGBA").getpixel((x, 0)) for x in (0, image.width - 1)} == {(255,) * 4}


@each
def test_an_svg_is_white_dated_nowhere_and_small(figure):
    tree = svg_file(figure.id)
    *_, width, height = map(float, tree.get("viewBox").split())
    background = next(tree.iter("{http://www.w3.org/2000/svg}path"))
    places = re.findall(r"[ML] (\S+) (\S+)", background.get("d"))
    corners = {(round(float(x), 6), round(float(y), 6)) for x, y in places}
    assert "fill: #ffffff" in background.get("style") and "opacity" not in background.get("style")
    assert corners == {(x, y) for x in (0, width) for y in (0, height)}
    text = (gallery.FOLDER / f"{figure.id}.svg").read_text(encoding="utf-8")
    assert not re.search(r"<dc:date|\d{4}-\d\d-\d\d|file:|/home/", text)
    assert len(text) < 400_000


@each
def test_an_svg_has_the_shape_of_the_png(figure):
    *_, width, height = map(float, svg_file(figure.id).get("viewBox").split())
    image = Image.open(io.BytesIO(png_file(figure.id)))
    assert width / height == pytest.approx(image.width / image.height, rel=0.01)


# The comparison finds what it is for.


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The pictures that differ on purpose are left in a folder of the test's own."""
    monkeypatch.setattr(gallery, "DIFFERENT", tmp_path / "different")
    return tmp_path / "different"


def with_a_line(image):
    """One more curve: a quarter of the picture wide, two pixels thick."""
    x, y = image.width // 2, image.height // 2
    ImageDraw.Draw(image).line([x, y, x + image.width // 4, y + 9], fill="black", width=2)
    return image


def in_other_colours(image):
    """What is blue is vermillion, and so is everything else."""
    return ImageOps.colorize(image.convert("L"), "#D55E00", "white")


def mirrored(image):
    """As with a field of the wrong sign."""
    return ImageOps.mirror(image)


def cut(image):
    return image.crop((0, 0, image.width - 1, image.height))


def shown(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return [new_output("display_data", {"image/png": data})]


CHANGES = [
    (figure, change)
    for figure in FOUND
    for change in (with_a_line, in_other_colours, mirrored, cut)
    if change is not with_a_line or gallery.tolerance(figure.cell) == gallery.SAME
]  # where much may differ, a thin line may be lost


@pytest.mark.parametrize(
    "figure, change", CHANGES, ids=lambda a: getattr(a, "id", None) or a.__name__
)
def test_a_changed_figure_is_told(figure, change, elsewhere):
    image = gallery.last_frame(png_file(figure.id))
    assert gallery.changed("02", figure.cell, shown(image)) == ""
    told = gallery.changed("02", figure.cell, shown(change(image)))
    assert told.startswith(f"{figure.id}: ") and "make notebooks ONLY=02" in told
    assert (elsewhere / f"{figure.id}.png").exists()


# The ids: a missing, doubled or misplaced one is told.


ALT = {"image": {"alt": "A cloud and a line."}}


def lesson(folder, name, *ids):
    cells = []
    for figure in ids:
        cells += [new_code_cell("1", metadata={"fmlib": {"figure": figure}, "mystnb": ALT})]
        cells += [new_markdown_cell("*The figure: a cloud and a line.*")]
    nbformat.write(new_notebook(cells=cells), folder / name)
    return folder / name


def test_a_missing_and_a_doubled_id_are_told(tmp_path):
    ids = ["s10-flow-map", "s12-euler", "s12-euler", "s99-own"]
    paths = [lesson(tmp_path, "02_a.ipynb", *ids), lesson(tmp_path, "03_b.ipynb", "s99-own")]
    told = gallery.complaints(gallery.figures(paths), paths)
    assert "s12-euler is doubled: in 02_a.ipynb and in 02_a.ipynb" in told
    assert "s99-own is doubled: in 02_a.ipynb and in 03_b.ipynb" in told
    assert "s11-velocity-field is missing: no cell of lesson 02 carries this id" in told
    assert len(told) == 6  # and the three of lesson 03


def test_an_id_in_another_lesson_is_told(tmp_path):
    paths = [lesson(tmp_path, "01_a.ipynb", "s12-euler")]
    told = gallery.complaints(gallery.figures(paths), paths)
    assert "s12-euler belongs to lesson 02, but is in 01_a.ipynb" in told


def test_a_figure_without_a_word_is_told(tmp_path):
    path = tmp_path / "98_own.ipynb"
    bare = new_code_cell("1", metadata={"fmlib": {"figure": "s99-own"}})
    nbformat.write(new_notebook(cells=[bare]), path)
    told = gallery.complaints(gallery.figures([path]), [path])
    assert len(told) == 2 and "s99-own has no alternative text" in told[0]
    assert "s99-own has no sentence '*The figure: ...*' in the cell below" == told[1]


def test_make_figures_stops_at_a_wrong_id(tmp_path, monkeypatch):
    path = lesson(tmp_path, "02_a.ipynb", "s10-flow-map")
    monkeypatch.setattr(run_notebooks, "lessons", lambda: [path])
    with pytest.raises(SystemExit, match="s12-euler is missing"):
        run_notebooks.find_figures("")
    monkeypatch.undo()
    with pytest.raises(SystemExit, match="no figure has the id 's12', .* there are s00-idea,"):
        run_notebooks.find_figures("s12")
    assert [figure.id for figure in run_notebooks.find_figures("s12-euler")] == ["s12-euler"]


# make figures


DRAWING = """\
import torch
from fmlib import plotting
plotting.use_style()
x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
plotting.scatter(x).plot([-1, 1], [0, 1]);"""
OWN = {"fmlib": {"figure": "s99-own"}, "mystnb": ALT}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A lesson with one figure, drawn into a folder of its own, and a last cell that fails."""
    path = tmp_path / "98_own.ipynb"
    cells = [new_code_cell(DRAWING, metadata=OWN), new_code_cell("assert False")]
    nbformat.write(new_notebook(cells=cells), path)
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    before = path.read_bytes()
    assert run_notebooks.redraw(gallery.figures([path])) == 0
    assert path.read_bytes() == before
    return path


def test_drawing_twice_gives_the_same_bytes(drawn, capsys):
    files = [drawn.with_name("s99-own.png"), drawn.with_name("s99-own.svg")]
    first = [file.read_bytes() for file in files]
    assert run_notebooks.redraw(gallery.figures([drawn])) == 0
    assert [file.read_bytes() for file in files] == first
    assert re.search(
        r"s99-own +figures/s99-own.png, .svg +\d+\.\d\n1 of 1 drawn", capsys.readouterr().out
    )


def test_a_large_cloud_is_an_image_inside_the_svg(drawn):
    svg = drawn.with_name("s99-own.svg").read_text(encoding="utf-8")
    assert svg.count("<image") == 1 and svg.count("<use") < 10


def test_a_lesson_that_fails_before_its_figure_leaves_the_figure(drawn, capsys):
    notebook = nbformat.read(drawn, as_version=4)
    notebook.cells.insert(0, new_code_cell("assert False"))
    nbformat.write(notebook, drawn)
    first = drawn.with_name("s99-own.png").read_bytes()
    assert run_notebooks.redraw(gallery.figures([drawn])) == 1
    assert drawn.with_name("s99-own.png").read_bytes() == first
    assert "FAILED" in capsys.readouterr().out


def test_a_run_of_the_lesson_stores_the_same_figure_and_no_svg_in_the_notebook(drawn):
    first = drawn.with_name("s99-own.png").read_bytes()
    notebook = nbformat.read(drawn, as_version=4)
    notebook.cells.pop()
    nbformat.write(notebook, drawn)
    drawn.with_name("s99-own.png").unlink()
    assert run_notebooks.run_in_place([drawn]) == 0
    assert drawn.with_name("s99-own.png").read_bytes() == first
    (output,) = nbformat.read(drawn, as_version=4).cells[0].outputs
    assert base64.b64decode(output.data["image/png"]) == first
    assert "image/svg+xml" not in output.data


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_figure_is_one_picture(count):
    cell = new_code_cell("1", metadata=OWN)
    with pytest.raises(ValueError, match=f"must show one picture, shows 0 as PNG, {count} as SVG"):
        outputs = [new_output("display_data", {"image/svg+xml": "<svg/>"})] * count
        gallery.files(gallery.Figure("s99-own", Path("98_own.ipynb"), 0, cell, ""), outputs)
