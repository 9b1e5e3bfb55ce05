"""What every check does with an answer that is no answer."""

import threading
import time
import warnings

import numpy as np
import pytest
import torch
from solved import verdict

import fmlib.exercises as harness
from fmlib.exercises import COMMON, CheckFailed, Hints, NotAttempted, check, points, run


@check
def check_double(double):
    """double(x) -> like x."""
    x = points(3, 2)
    y = run(double, x, like=x)
    Hints(twice="How often is x added?").expect((y == 2 * x).all(), "twice", "it is not 2 x")
    return "double: twice its input"


@check
def check_mean(mean):
    run(mean, np.ones(3), like=float)
    return "mean: a number"


def stub(x):
    raise NotImplementedError


def nothing(x):
    x * 2


def forever(x):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass


def in_place(x):
    x *= 2
    return x.clone()


BAD = [
    (stub, "not-attempted"),
    (torch.ones(3, 2), "not-a-function"),
    (lambda x: x / 0 + [], "raises"),
    (lambda: 1, "raises"),  # takes no argument
    (nothing, "returns-none"),
    (lambda x: (2 * x).tolist(), "wrong-type"),
    (lambda x: (2 * x)[:, 0], "wrong-shape"),
    (lambda x: (2 * x).float(), "wrong-dtype"),
    (lambda x: 2 * x / (x - x), "not-finite"),
    (in_place, "mutates-input"),
    (forever, "too-slow"),
    (lambda x: 3 * x, "twice"),
]


@pytest.mark.parametrize("answer, hint", BAD, ids=[hint for _, hint in BAD])
def test_an_answer_that_is_none_gets_the_hint_for_it(answer, hint, monkeypatch, capsys):
    monkeypatch.setattr(harness, "LIMIT", 0.2)
    assert verdict(check_double, answer) == hint
    assert capsys.readouterr().out == ""


def test_every_common_hint_is_given_to_some_answer():
    assert set(COMMON) <= {hint for _, hint in BAD}


@pytest.mark.parametrize("bad", [True, "1", [1.0], np.ones(1)])
def test_a_number_is_asked_for(bad):
    assert verdict(check_mean, lambda x: bad) == "wrong-type"
    assert verdict(check_mean, lambda x: float("nan")) == "not-finite"
    assert verdict(check_mean, np.mean) == verdict(check_mean, lambda x: torch.ones(())) == ""


def test_a_right_answer_prints_one_line_and_returns_nothing(capsys):
    assert check_double(lambda x: 2 * x) is None
    assert capsys.readouterr().out == "✓ double: twice its input\n"


def test_the_notebook_shows_few_lines_and_the_learners_own():
    def double(x):
        return x + torch.ones(5)

    with pytest.raises(CheckFailed) as raised:
        check_double(double)
    lines = raised.value._render_traceback_()
    assert "double raised RuntimeError: The size of tensor" in lines[0]
    assert lines[1:] == [
        "  at the line: return x + torch.ones(5)",
        f"  Look at this: {COMMON['raises']}",
    ]
    with pytest.raises(NotAttempted) as raised:
        check_double(stub)
    assert raised.value._render_traceback_() == ["○ stub: not attempted yet"]


def test_a_warning_is_silent():
    """nbgrader takes what stands on stderr for a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_double(lambda x: warnings.warn("no", stacklevel=1) or 2 * x)


def test_outside_the_main_thread_there_is_no_limit(capsys):
    thread = threading.Thread(target=check_double, args=[lambda x: 2 * x])
    thread.start()
    thread.join()
    assert capsys.readouterr().out.startswith("✓")


def test_the_alarm_is_off_afterwards(monkeypatch):
    monkeypatch.setattr(harness, "LIMIT", 0.1)
    check_double(lambda x: 2 * x)
    time.sleep(0.2)
