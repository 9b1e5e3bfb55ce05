"""The tool that changes solutions finds the changes, and says which of them a check lets pass."""

import ast
import tomllib

import pytest
import wrong_answers
from solved import SOLUTIONS, checked, checks_of, solved
from wrong_answers import mutants, report, tried

LINE = "def double(x, t):\n    return 2 * x.sum(0) + t"


def function(text):
    return ast.parse(text).body[0]


def test_the_changes_of_a_line():
    texts = list(mutants(function(LINE)))
    assert len(texts) == len(set(texts)) and ast.unparse(function(LINE)) not in texts
    for body in ("2 * x.sum(0) - t", "2 * x.sum(0)", "2 / x.sum(0) + t", "x.sum(0) + t"):
        assert f"def double(x, t):\n    return {body}" in texts
    for body in ("2 * x.mean(0) + t", "3 * x.sum(0) + t", "2 * x.sum(1) + t", "2 * x.sum() + t"):
        assert f"def double(x, t):\n    return {body}" in texts
    assert "def double(x, t):\n    t = 0 * t\n    return 2 * x.sum(0) + t" in texts


def test_branches_comparisons_slices_and_loops():
    text = "def f(n):\n    for i in range(n):\n        pass\n    return 1.0 if n[1:] > i else i"
    bodies = "\n".join(mutants(function(text)))
    for part in ("range(1, n)", "range(n - 1)", "break", "return 1.0\n", "return i\n", "n[:] > i"):
        assert part in bodies
    assert "n[1:] < i" in bodies


VERDICTS = [
    ("def prediction():\n    return 2", ""),
    ("def prediction():\n    return 99", "prediction-range"),
    ("def prediction():\n    return []", "wrong-type"),
    ("def prediction():\n    return 1 / 0", None),
    ("def prediction():\n    while True:\n        pass", "too-slow"),
]


@pytest.mark.parametrize("text, hint", VERDICTS)
def test_the_verdict_on_an_answer(text, hint, monkeypatch):
    monkeypatch.setattr(wrong_answers, "LIMIT", 0.2 if "while" in text else 30)
    check = checks_of("02").check_prediction
    assert tried({}, text, check, ["prediction"]) == hint


def test_the_report_counts_what_passes_and_says_why(capsys):
    texts = [LINE.replace("2", "3"), LINE.replace("2", "4"), LINE.replace("+", "-")]
    verdicts = list(zip(texts, ["", "", "some-hint"], strict=True))
    rows = [{"change": "return 3 * x.sum(0) + t", "reason": "right: for this test"}]
    assert report("02", "check_double", function(LINE), verdicts, rows) == (2, 1)
    out = capsys.readouterr().out
    assert "1 of 2 refused, 1 right after all" in out and "+ return 4 *" in out


def test_what_may_pass_is_still_a_change_of_its_solution():
    """And so is listed for a reason that can be looked up."""
    allowed = tomllib.loads(wrong_answers.PASSING.read_text(encoding="utf-8"))
    for path in SOLUTIONS:
        found, names = wrong_answers.functions(path), set(solved(path))
        for check, rows in allowed.get(f"lesson_{path.name[:2]}", {}).items():
            changes = set()
            for answer in names & set(checked(path)[check]):
                for text in mutants(found[answer]):
                    changes.add(wrong_answers.difference(found[answer], text)[-1][2:])
            assert {row["change"] for row in rows} <= changes and all(row["reason"] for row in rows)
