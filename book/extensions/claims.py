"""The page of claims and of the changes that make them false, from tests/mutants."""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import mutants  # noqa: E402


def slug(heading):
    """The anchor that MyST, like GitHub, gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def section(path, cell):
    """The last heading of a lesson above a cell, without its #."""
    cells = nbformat.read(path, as_version=4).cells
    above = cells[: [c.id for c in cells].index(cell)]
    text = "\n".join(c.source for c in above if c.cell_type == "markdown")
    return re.findall(r"^#+ (.+)", text, re.M)[-1]


def lines(code, sign=""):
    return "\n".join(sign + line for line in code.strip("\n").splitlines())


def entry(path, mutant):
    """A claim, what is changed, and the assert that fails, in Markdown."""
    heading = section(path, mutant.claim_cell)
    place = f"[{heading}](../notebooks/{path.name}#{slug(heading)})"
    source = mutants.sources(path)[mutant.claim_cell]
    start, end = mutants.the_assert(source, mutant.claim)
    claim = "\n".join(line.strip() for line in source.splitlines()[start - 1 : end])
    change = f"{lines(mutant.find, '- ')}\n{lines(mutant.put, '+ ')}"
    return (
        f"**{mutant.says}** ({place})\n\nChanged: {mutant.change}\n\n"
        f"```diff\n{change}\n```\n\nThen this fails:\n\n```python\n{claim}\n```\n"
    )


def page():
    """All of them, lesson by lesson."""
    parts = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        rows = mutants.mutants(path)
        if rows:
            title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
            parts += [f"## {title.removeprefix('# ')}", *(entry(path, row) for row in rows)]
    return "\n\n".join(parts)


def fill(app, docname, source):
    if docname == "book/claims":
        source[0] = source[0].replace("<!-- mutants -->", page())


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
