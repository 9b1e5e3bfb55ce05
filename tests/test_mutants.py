"""Claims of the lessons can fail: each stored mutant makes one false, and its assert says so."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import mutants  # noqa: E402
from run_notebooks import lessons  # noqa: E402

LESSONS = [path for path in lessons() if path.parent.name == "notebooks"]
ALL = [(path, mutant) for path in LESSONS for mutant in mutants.mutants(path)]


@pytest.mark.parametrize(("path", "mutant"), ALL, ids=lambda x: getattr(x, "name", None) or x.stem)
def test_claim_fails_where_it_is_false(path, mutant):
    assert mutants.verdict(path, mutant) == ""


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem[:2])
def test_five_claims_of_a_lesson_have_a_mutant(path):
    found = mutants.mutants(path)
    assert len({(m.claim_cell, m.claim) for m in found}) >= 5
    assert len({m.name for m in found}) == len(found)
    for mutant in found:
        assert "# claim" in mutants.sources(path)[mutant.claim_cell], mutant.name
        assert mutant.says.endswith(".") and mutant.change.endswith("."), mutant.name


# The tool finds the cells that a claim needs, and sees a mutant that shows nothing.

CELLS = {
    "first": "import math\nlimit = 3",
    "double": "def double(x):\n    return factor * x",
    "factor": "factor = 2",
    "other": "for factor_of_mine in range(3):\n    unused = factor_of_mine",
    "list": "values = []",
    "fill": "for k in range(3):\n    values.append(double(k))",
    "look": "print(values, limit)",
    "claim": "total = sum(values)\nassert total == 6, 'sum'  # claim: six\nassert total > 0",
}


def test_the_cells_that_a_claim_needs():
    assert mutants.needed(CELLS, "claim") == [
        "first", "double", "factor", "list", "fill", "claim",
    ]  # fmt: skip
    assert mutants.needed(CELLS, "claim", also=("other",))[3] == "other"
    assert mutants.needed(CELLS, "factor") == ["first", "factor"]


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A lesson of the cells above, run in this process."""
    monkeypatch.setattr(mutants, "sources", lambda path: CELLS)
    monkeypatch.setattr(mutants, "in_a_process", mutants.run)
    monkeypatch.chdir(tmp_path)
    mutants.as_it_is.cache_clear()
    yield tmp_path / "toy.ipynb"
    mutants.as_it_is.cache_clear()


def changed(**fields):
    row = {"cell": "factor", "find": "2", "put": "3", "claim": "claim: six", "claim_cell": "claim"}
    return mutants.Mutant(name="toy", says="Six.", change="Three.", **row | fields)


def test_a_mutant_that_shows_its_claim_false(toy):
    assert mutants.verdict(toy, changed()) == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"put": "4 / 2"}, "changed, the claim still holds"),
        ({"claim": "total > 0"}, "changed, the claim still holds"),  # another one fails
        ({"cell": "look", "find": "limit", "put": "3"}, "the claim does not need cell look"),
    ],
)
def test_a_mutant_that_shows_nothing(toy, fields, said):
    assert mutants.verdict(toy, changed(**fields)) == said


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"find": "5"}, "is 0 times in cell factor"),
        ({"find": "factor", "cell": "double", "put": "2"}, None),
        ({"claim": "total"}, "on the lines of 2 asserts"),
        ({"put": "1 / 0"}, "division"),
    ],
)
def test_a_mutant_that_breaks_instead(toy, fields, error):
    if error is None:
        assert mutants.verdict(toy, changed(**fields)) == "changed, the claim still holds"
        return
    with pytest.raises((ValueError, ZeroDivisionError), match=error):
        mutants.verdict(toy, changed(**fields))


def test_a_claim_that_fails_unchanged(toy, monkeypatch):
    monkeypatch.setattr(mutants, "sources", lambda path: CELLS | {"factor": "factor = 3"})
    said = mutants.verdict(toy, changed(find="3", put="2"))
    assert said == "unchanged, the assert on line 2 of cell claim fails"
