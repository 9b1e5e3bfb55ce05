"""What the tests of all exercises share: solutions, checks, and the verdict on an answer."""

import importlib
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import exercises  # noqa: E402
from exercises import checked, solved  # noqa: E402, F401

from fmlib.exercises import CheckFailed  # noqa: E402
from fmlib.exercises.catalogue import messages  # noqa: E402

SOLUTIONS = exercises.solutions()


def read(path):
    return nbformat.read(path, as_version=4)


def checks_of(number):
    """The module with the checks of a lesson, such as "02"."""
    return importlib.import_module(f"fmlib.exercises.lesson_{number}")


def verdict(check, *answers):
    """The name of the hint that the answers get; "" if they pass."""
    try:
        check(*answers)
    except CheckFailed as error:
        return error.name
    return ""


def answers(number, right, wrong):
    """The tests of a lesson's answers, for its test file: `test_right, ... = answers("02", ...)`.

    right: the check's name -> answers that pass.  wrong: -> pairs of an answer and its hint's name.
    An answer is a function, or a tuple of them where the check takes more than one.
    """
    module = checks_of(number)
    passing = [(name, answer) for name, those in right.items() for answer in those]
    failing = [(name, *pair) for name, pairs in wrong.items() for pair in pairs]

    def judge(name, answer):
        return verdict(getattr(module, name), *(answer if isinstance(answer, tuple) else (answer,)))

    @pytest.mark.parametrize("name, answer", passing)
    def test_right(name, answer, capsys):
        assert judge(name, answer) == ""
        assert capsys.readouterr().out.startswith("✓ ")

    @pytest.mark.parametrize("name, answer, hint", failing)
    def test_wrong(name, answer, hint, capsys):
        assert judge(name, answer) == hint
        assert capsys.readouterr().out == ""

    def test_there_are_enough_of_both():
        (path,) = [path for path in SOLUTIONS if path.name.startswith(number)]
        checks = checked(path)
        assert all(len(right.get(name, ())) >= 2 for name in checks), "two other right answers each"
        assert all(len(wrong.get(name, ())) >= 3 for name in checks), "three wrong answers each"
        hints = {
            name for name, entry in messages("en")[f"lesson_{number}"].items() if "hint" in entry
        }
        unused = hints - {hint for _, _, hint in failing}
        assert unused == set(), "hints that no wrong answer gets"

    return test_right, test_wrong, test_there_are_enough_of_both
