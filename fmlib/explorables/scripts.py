"""The scripts of this folder as one text, and the HTML in which a notebook stores them."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

from fmlib.explorables.given import given
from fmlib.explorables.plain import as_json, plain

FOLDER = Path(__file__).parent
_NOTE = "This picture moves once its cell was run, and in the web edition (make book)."
_IMPORT = re.compile(r'import \{ [\w, ]+ \} from "(\.[\w./]+)";')
_STORED = re.compile(
    r'<div class="fm-explorable" id="(?P<mark>fm-(?P<name>\w+)-\w+)">'
    r".*^const data = (?P<data>\{[^\n]*\});$",
    re.S | re.M,
)


def bundle(*files):
    """JavaScript modules and all that they import, each once and before it is needed, as one text.

    files: paths.  The text has no import and no export, no indentation, and no comment that has a
    line to itself. An import is one line, of names from a file of this folder.
    Raises FileNotFoundError for a file that does not exist.
    """
    parts, seen = [], set()

    def add(file):
        if file in seen:
            return
        seen.add(file)
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        for match in filter(None, map(_IMPORT.fullmatch, lines)):
            add((file.parent / match[1]).resolve())
        kept = [x for x in lines if x and not x.startswith("//") and not _IMPORT.fullmatch(x)]
        parts.extend(f"{line.removeprefix('export ')}\n" for line in kept)

    for file in files:
        add(Path(file).resolve())
    return "".join(parts)


def render(name, mark, data):
    """The HTML of the explorable `name`: its place, `mark`, and its script with data, as JSON."""
    return (
        f'<div class="fm-explorable" id="{mark}"><p>{html.escape(_NOTE)}</p></div>\n'
        f'<script>\n(() => {{\n"use strict";\n{bundle(FOLDER / f"{name}.js")}'
        f"const data = {data};\nconst given = {as_json(plain(given(name)))};\n"
        f'const root = document.getElementById("{mark}");\n'
        "root.explorable = setup(root, data, given);\n})();\n</script>"
    )


@dataclass(frozen=True)
class Stored:
    """What stands in the HTML of an explorable: its name, its place, its data as JSON."""

    name: str
    mark: str
    data: str


def stored(text):
    """The explorable that an HTML output holds, as a Stored; None where it holds none."""
    match = _STORED.search(text)
    return match and Stored(match["name"], match["mark"], match["data"])
