"""Every number in a lesson's prose that is a result is computed in that lesson.

It has to occur, rounded as in the prose, among the numbers that the lesson prints or that its code
says: in an assert, or as a setting.  What is neither stands in prose.toml, with a reason.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))
from run_notebooks import notebooks  # noqa: E402

LESSONS = [path for path in notebooks() if path.parent.name == "notebooks"]
EXCEPTIONS = tomllib.loads((HERE / "prose.toml").read_text(encoding="utf-8"))

NO_RESULT = [  # in this order
    r"```.*?```|`[^`]*`",  # code
    r"\]\([^)]*\)",  # where a link leads
    r"\\tag\{[^}]*\}|\(\d+\.\d+\w?\)",  # equations of ours
    r"\| [\d, –]+(?= \|)",  # slides, in a table
    r"^\*\*Time\*\*.*$|^#+ .*$|^\d+\. ",  # how long one reads, headings, items
    r"\b[Aa]rXiv:? ?\d+\.\d+",
    # what has a number: equations, pages of slides, ...
    r"\b(?:[Ee]qs?\.|(?i:equation|section|chapter|table|figure|algorithm|slide|lesson|exercise)s?)"
    r" \(?\d[\d.,–-]*\)?(?:(?:,| and| to) \(?\d[\d.–-]*\)?)*",
    r"\b(?:19|20)\d\d\b",  # years
]
NUMBER = re.compile(
    r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?:[ ~]?(\\?%|times\b))?(?![\d,.]*\d)"
)
PLAIN = re.compile(r"(?<![\w.])\d[\d,_]*\.?\d*(?:e[-+]?\d+)?( ?%)?")


class Result(NamedTuple):
    value: float
    decimals: int
    percent: bool
    place: str  # the words around it


def results(text):
    """The numbers of a piece of prose that are results: those of a decimal point, a percent sign or
    "times", and whole ones from 10 on; within a formula, those of a decimal point."""
    for pattern in NO_RESULT:
        text = re.sub(pattern, " ", text, flags=re.S if "```" in pattern else re.M)
    formulas = [match.span() for match in re.finditer(r"\$\$.*?\$\$|\$[^$]*\$", text, re.S)]
    for match in NUMBER.finditer(text):
        whole, fraction, unit = match.groups()
        value = float(whole.replace(",", "") + (fraction or ""))
        inside = any(start < match.start() < end for start, end in formulas)
        if fraction or unit or (value >= 10 and not inside):
            near = text[max(0, match.start() - 30) : match.end() + 30]
            decimals = len(fraction) - 1 if fraction else 0
            yield Result(value, decimals, "%" in (unit or ""), " ".join(near.split()))


def computed(notebook):
    """(the numbers in a notebook's code and outputs, those of them that are percentages)."""
    numbers, percentages = set(), set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
            for match in PLAIN.finditer("\n".join([cell.source, *shown])):
                value = float(match[0].rstrip(" %.,_").replace(",", "").replace("_", ""))
                (percentages if match[1] else numbers).add(value)
    return numbers, percentages


def is_among(result, numbers, percentages):
    """Does one of them, rounded as the result is, agree with it?  A share is a percentage, too."""
    if result.percent:
        numbers = percentages | {100 * value for value in numbers if value <= 1}
    half = 0.5 * 10.0**-result.decimals
    return any(abs(value - result.value) <= half * (1 + 1e-9) for value in numbers | percentages)


def typed(notebook, exceptions=()):
    """The results in a notebook's prose that it does not compute, with the words around them."""
    found = computed(notebook)
    places = [
        result.place
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for result in results(cell.source)
        if not is_among(result, *found)
    ]
    return [place for place in places if not any(words in place for words in exceptions)]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem[:2])
def test_results_in_prose_are_computed(path):
    notebook = nbformat.read(path, as_version=4)
    rows = EXCEPTIONS.get(path.stem[:2], [])
    assert typed(notebook, [row["words"] for row in rows]) == []
    places = typed(notebook)
    unneeded = [row["words"] for row in rows if not any(row["words"] in p for p in places)]
    assert unneeded == [] and all(len(row["reason"]) > 10 for row in rows)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The error is 0.41 at 8 steps.", [0.41]),
        ("It falls to 12 % of its value, 3 times in 1,797 images.", [12, 3, 1797]),
        ("Lesson 07, section 12, and equations 4.65 and 4.66 of the *Guide* (2024) and (7.2).", []),
        ("It is $x = 0.25$ where $n = 100$, and `t = 0.1` in code.", [0.25]),
        ("- In 42 of 2,000 runs; see [there](03.md#100-times).", [42, 2000]),
        ("**Time** about 60 minutes to read.\n## 12 steps\n13. A list", []),
    ],
)
def test_what_is_a_result(text, found):
    assert [result.value for result in results(text)] == found


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("0.41, and 0.4", 0),
        ("0.42", 1),
        ("57 %", 0),
        ("12 %", 0),
        ("3 %", 1),
        ("1,500 points", 0),
        ("3 times", 0),
    ],
)
def test_a_typed_number_is_found(text, missing):
    code = new_code_cell("n = 1_500\nbound = 0.12\nassert 3", outputs=[])
    code.outputs = [new_output("stream", text="error 0.412, 57 % of them\n")]
    notebook = new_notebook(cells=[code, new_markdown_cell(text)])
    assert len(typed(notebook)) == missing
