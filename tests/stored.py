"""The explorables as the lessons store them, and their mathematics in V8, without a page."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from fmlib.explorables.scripts import FOLDER, bundle

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import explorables  # noqa: E402
from run_notebooks import lessons  # noqa: E402

# A browser decodes base64 by this name, and Node does; V8 alone does not.
ATOB = "const atob = (text) => String.fromCharCode(...Uint8Array.fromBase64(text));\n"


class Entry(NamedTuple):
    lesson: str
    name: str
    mark: str  # its id on the page
    data: dict
    html: str


def entries():
    return [
        Entry(path.stem, found.name, found.mark, json.loads(found.data), output["text/html"])
        for path in lessons()
        for output, found in explorables.outputs(nbformat.read(path, as_version=4))
    ]


def engine(file):
    """V8 with a module of maths/ and all that it imports."""
    racer = pytest.importorskip("py_mini_racer").MiniRacer()
    racer.eval('"use strict";\n' + ATOB + bundle(FOLDER / "maths" / f"{file}.js"))
    return racer
