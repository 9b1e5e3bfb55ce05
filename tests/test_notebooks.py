"""What nbval does not see in a notebook: order, wholeness, alt text, and that checks can fail."""

import ast
import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import run_notebooks  # noqa: E402

LESSONS = [p for p in run_notebooks.lessons() if p.parent.name == "notebooks"]
SOLUTIONS = run_notebooks.lessons("solutions/")
EACH = {
    p.relative_to(p.parent.parent).with_suffix("").as_posix(): p for p in run_notebooks.notebooks()
}
every_notebook = pytest.mark.parametrize("path", EACH.values(), ids=list(EACH))
EXPLORABLE = 'class="fm-explorable"'
WIDGET = run_notebooks.WIDGET


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cell):
    """The mime bundles that a cell displayed."""
    return [output.data for output in cell.outputs if "data" in output]


def texts(cell):
    """Everything a cell printed or showed as text."""
    printed = [output.text for output in cell.outputs if output.output_type == "stream"]
    kinds = ("text/plain", "text/html", "text/markdown")
    return printed + [data[kind] for data in outputs(cell) for kind in kinds if kind in data]


# Each check takes a notebook and returns a list of complaints.


def executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"counts are {counts}"]


def no_errors_and_no_warnings(notebook):
    return [
        f"cell {i} has an error or writes to stderr"
        for i, cell in enumerate(code_cells(notebook), 1)
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def short_cells(notebook):
    found = []
    for i, cell in enumerate(code_cells(notebook), 1):
        lines = [s for s in cell.source.splitlines() if s.strip() and not s.strip().startswith("#")]
        if not 1 <= len(lines) <= 15:
            found.append(f"cell {i} has {len(lines)} lines of code")
    return found


def no_semicolons(notebook):
    """Jupyter hides a last value that is followed by a semicolon; nbval shows it, and fails."""
    return [
        f"cell {i} ends in a semicolon"
        for i, cell in enumerate(code_cells(notebook), 1)
        if cell.source.rstrip().endswith(";")
    ]


def ignored_outputs_assert(notebook):
    found = []
    for i, cell in enumerate(code_cells(notebook), 1):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            if not isinstance(ast.parse(cell.source).body[-1], ast.Assert):
                found.append(f"cell {i} ignores its output and does not end in an assert")
    return found


def figures_have_alt_text(notebook):
    found, seen = [], set()
    cells = notebook.cells
    for i, cell in enumerate(cells):
        if cell.cell_type != "code" or not any("image/png" in data for data in outputs(cell)):
            continue
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if len(alt) < 30 or alt in seen:
            found.append(f"cell {i} needs alt text of its own, has {alt!r}")
        seen.add(alt)
        after = cells[i + 1] if i + 1 < len(cells) else None
        if after is None or not re.match(r"\*The figures?[:,]", after.source):
            found.append(f"cell {i} needs a sentence '*The figure: ...' below it")
    return found


def figures_are_there(notebook):
    found = []
    for i, cell in enumerate(code_cells(notebook), 1):
        for data in outputs(cell):
            if "image/png" in data:
                image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                image.load()
                if image.width < 200:
                    found.append(f"cell {i} has a picture only {image.width} pixels wide")
            elif "<Figure" in data.get("text/plain", ""):
                found.append(f"cell {i} shows a figure without a picture")
    return found


def _source(cell):
    return [cell.source]


def _matches(notebook, pattern, says, texts_of):
    """A line for each text of a code cell in which a pattern occurs, with what it matched."""
    return [
        f"cell {i} {says}: {match.group()}"
        for i, cell in enumerate(code_cells(notebook), 1)
        for text in texts_of(cell)
        if (match := pattern.search(text))
    ]


def colours_keep_their_meaning(notebook):
    """Blue is a cloud at the source and vermillion one at the target: no curve, no arrow."""
    curve = re.compile(
        r"\.(plot|loglog|semilog[xy]|quiver|bar|hist|axhline|step)\(.*(SOURCE|TARGET)"
    )
    return _matches(notebook, curve, "draws a curve in a cloud's colour", _source)


def first_cell_seeds(notebook):
    first = code_cells(notebook)[0].source
    return [] if "fmlib.seed(" in first else ["the first code cell does not call fmlib.seed()"]


def ids_are_unique(notebook):
    ids = [cell.get("id") for cell in notebook.cells]
    whole = notebook.nbformat_minor >= 5 and None not in ids and len(set(ids)) == len(ids)
    return [] if whole else ["cell ids are missing or doubled"]


def no_machine_in_outputs(notebook):
    place = re.compile(
        r"(?<!\w)/(home|root|Users|tmp|usr|opt|work)/|[A-Z]:\\|0x[0-9a-f]{6,}|ipykernel_"
    )
    return _matches(notebook, place, "shows a path or an address", texts)


def no_network(notebook):
    use = re.compile(r"https?://|urllib|requests\.|^\s*[!%]\s*pip|download=True|fetch_\w+\(", re.M)
    return _matches(notebook, use, "may use the network", _source)


def metadata_is_clean(notebook):
    extra = set(notebook.metadata) - {"kernelspec", "language_info"}
    cells = set().union(*(cell.metadata for cell in notebook.cells))
    extra |= cells - {"tags", "mystnb", "fmlib", "nbgrader"}
    return [f"metadata to remove: {extra}"] if extra else []


def is_a_lesson(notebook):
    """It opens and closes as CONTRIBUTING.md says, asks, has a quiz and can be touched."""
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    body, found = "\n".join(text), []
    for part in ("**The question.**", "**You will be able to**", "**You need**", "**Time**"):
        if part not in text[0]:
            found.append(f"the opening has no {part}")
    for heading in ("## What we now know", "## Where it goes on"):
        if f"\n{heading}\n" not in f"\n{body}\n":
            found.append(f"there is no {heading}")
    asked = sum(
        "<details><summary>Answer</summary>" in part.partition("**So**")[0]
        for part in body.split("**Predict.**")[1:]
    )
    if asked < 3:
        found.append(f"{asked} questions with folded answers, needs 3")
    quiz = re.findall(
        r"^\*\*(\d)\.\*\* .+\n\n<details><summary>Answer</summary>\n\n.+\n\n</details>$",
        body.partition("\n## Quiz\n")[2].partition("\n## ")[0],
        re.M,
    )
    if quiz != list("12345"):
        found.append(f"the quiz has the questions {quiz}, needs 1 to 5")
    shown = [data for cell in code_cells(notebook) for data in outputs(cell)]
    if not any(WIDGET in data or EXPLORABLE in data.get("text/html", "") for data in shown):
        found.append("no interactive cell")
    return found


def is_a_set_of_exercises(notebook):
    """It opens as CONTRIBUTING.md says."""
    opening = notebook.cells[0].source
    parts = ("**The lesson.**", "**You write**", "**Time**")
    return [f"the opening has no {part}" for part in parts if part not in opening]


CHECKS = [
    executed_in_order,
    no_errors_and_no_warnings,
    short_cells,
    no_semicolons,
    ignored_outputs_assert,
    figures_have_alt_text,
    figures_are_there,
    colours_keep_their_meaning,
    first_cell_seeds,
    ids_are_unique,
    no_machine_in_outputs,
    no_network,
    metadata_is_clean,
    is_a_lesson,
    is_a_set_of_exercises,
]
EVERYWHERE = [check for check in CHECKS if check not in (is_a_lesson, is_a_set_of_exercises)]


@every_notebook
def test_a_notebook_is_stored_as_its_programs_store_it(path):
    """So that an edit by hand does not show as a change of everything later."""
    assert path.read_text(encoding="utf-8") == nbformat.writes(read(path)) + "\n"


@pytest.mark.parametrize("check", EVERYWHERE, ids=lambda check: check.__name__)
@every_notebook
def test_notebook(path, check):
    assert check(read(path)) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem[:2])
def test_lesson(path):
    assert is_a_lesson(read(path)) == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem[:2])
def test_solutions(path):
    assert is_a_set_of_exercises(read(path)) == []


@every_notebook
def test_lesson_is_small_and_its_links_lead_somewhere(path):
    assert path.stat().st_size < 600_000  # an explorable is 25 kB
    for cell in read(path).cells:
        for link in re.findall(
            r"\]\(([^)#]+?)\)", cell.source if cell.cell_type == "markdown" else ""
        ):
            assert link.startswith("http") or (path.parent / link).exists(), link


def test_readme_and_lesson_00_link_every_lesson():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p for p in LESSONS if f"(notebooks/{p.name})" not in text] == []
    text = "\n".join(cell.source for cell in read(LESSONS[0]).cells)
    assert [p for p in LESSONS[1:] if f"]({p.name})" not in text] == []


PAGES = [p for folder in (".", "figures", "book") for p in sorted((ROOT / folder).glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page):
    text = re.sub(
        r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S
    )  # code is an example
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert links or page.name != "README.md"
    wrong = [x for x in links if not x.startswith("http") and not (page.parent / x).exists()]
    assert wrong == []


# The checks can fail.

PNG = base64.b64encode((ROOT / "figures" / "s00-idea.png").read_bytes()).decode()
BAD = {
    executed_in_order: [new_code_cell("1", execution_count=2)],
    no_errors_and_no_warnings: [new_code_cell("1", outputs=[new_output("stream", name="stderr")])],
    short_cells: [new_code_cell("x = 1\n" * 16)],
    no_semicolons: [new_code_cell("plot();")],
    ignored_outputs_assert: [new_code_cell("print(1)", metadata={"tags": ["nbval-ignore-output"]})],
    figures_have_alt_text: [
        new_code_cell("1", outputs=[new_output("display_data", {"image/png": PNG})])
    ],
    figures_are_there: [
        new_code_cell(
            "1", outputs=[new_output("display_data", {"text/plain": "<Figure size 1x1>"})]
        )
    ],
    colours_keep_their_meaning: [new_code_cell("ax.plot(t, loss, color=SOURCE)")],
    first_cell_seeds: [new_code_cell("x = 1")],
    ids_are_unique: [new_code_cell("1", id="a"), {**new_code_cell("2"), "id": "a"}],
    no_machine_in_outputs: [
        new_code_cell("1", outputs=[new_output("stream", text="at /home/someone/x.py")])
    ],
    no_network: [new_code_cell("!pip install something")],
    metadata_is_clean: [new_code_cell("1", metadata={"vscode": {}})],
    is_a_lesson: [new_markdown_cell("# A title"), new_code_cell("1")],
    is_a_set_of_exercises: [new_markdown_cell("# A title")],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_finds_what_it_is_for(check):
    notebook = new_notebook()
    notebook.cells = [nbformat.from_dict(cell) for cell in BAD[check]]  # not repaired, as by cells=
    assert check(notebook) != []
