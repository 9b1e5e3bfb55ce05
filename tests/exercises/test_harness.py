"""What every check does with an answer that is no answer."""

import signal
import threading
import warnings

import numpy as np
import pytest
import torch
from solved import verdict

from fmlib.exercises import CheckFailed, NotAttempted, guard, points, run
from fmlib.exercises.catalogue import messages
from fmlib.exercises.lesson_02 import lesson  # its sentences serve as well as any
from fmlib.solvers import solve

COMMON = messages("en")["common"]


@lesson.check
def check_prediction(double):
    """double(x) -> like x."""
    x = points(3, 2)
    lesson.agree(run(double, x, like=x), 2 * x, 1e-9, "midpoint-place")
    return {"got": 2}


@lesson.check
def check_order(mean):
    run(mean, np.ones(3), like=float)


@lesson.check
def check_midpoint_step(both):
    run(both, points(2), [1, 2, 3], like=(points(2), points(2)))


def stub(x):
    raise NotImplementedError


def nothing(x):
    x * 2


def forever(x):
    while True:
        try:
            sum(range(100))
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
    (lambda x: x.t_().clone().t(), "mutates-input"),  # its shape
    (lambda x: 3 * x, "midpoint-place"),
]


@pytest.mark.parametrize("answer, hint", BAD, ids=[hint for _, hint in BAD])
def test_an_answer_that_is_none_gets_the_hint_for_it(answer, hint, monkeypatch, capsys):
    if answer is forever:
        monkeypatch.setitem(vars(guard), "LIMIT", 0.2)
    assert verdict(check_prediction, answer) == hint
    assert capsys.readouterr().out == ""


def test_every_common_hint_is_given_to_some_answer():
    hints = {name for name, entry in COMMON.items() if "hint" in entry}
    assert hints == {hint for _, hint in BAD if hint in hints} | {"rows-mixed"}


MIXED = [
    lambda x, t: x + t[:, None] - x.mean(0),
    lambda x, t: (x + t[:, None]).sort(0).values,
    lambda x, t: x + t[0],
    lambda x, t: x[:1].expand_as(x),
]


@pytest.mark.parametrize("mixed", MIXED)
def test_a_row_of_the_result_is_made_of_its_own_row(mixed):
    @lesson.check
    def check_midpoint_step(answer):
        x = points(6, 2)
        lesson.in_float32(answer, x, torch.linspace(0, 1, 6).double(), like=x)

    assert verdict(check_midpoint_step, mixed) == "rows-mixed"
    assert verdict(check_midpoint_step, lambda x, t: x + t[:, None]) == ""


@pytest.mark.parametrize("bad", [True, "1", [1.0], np.ones(1)])
def test_a_number_is_asked_for(bad):
    assert verdict(check_order, lambda x: bad) == "wrong-type"
    assert verdict(check_order, lambda x: float("nan")) == "not-finite"
    assert verdict(check_order, np.mean) == verdict(check_order, lambda x: torch.ones(())) == ""


def test_a_right_answer_prints_one_line_and_returns_nothing(capsys):
    assert check_prediction(lambda x: 2 * x) is None
    assert capsys.readouterr().out == "✓ prediction: 2. Now measure\n"


def test_the_notebook_shows_few_lines_and_the_learners_own():
    def double(x):
        return x + torch.ones(5)

    with pytest.raises(CheckFailed) as raised:
        check_prediction(double)
    lines = raised.value._render_traceback_()
    assert "double raised RuntimeError: The size of tensor" in lines[0]
    assert lines[1:] == [
        "  at the line: return x + torch.ones(5)",
        f"  Look at this: {COMMON['raises']['hint']}",
    ]
    with pytest.raises(NotAttempted) as raised:
        check_prediction(stub)
    assert raised.value._render_traceback_() == ["○ stub: not attempted yet"]


def test_only_the_stub_is_not_attempted():
    """torch raises NotImplementedError as well, from the learner's own line or from its own."""

    def from_torch(x):
        return torch.nn.Module()(x)

    def from_c(x):
        return torch.empty(3, 2, device="meta").to("cpu") + x

    def helper(x):
        raise NotImplementedError

    def by_helper(x):
        return helper(x)

    def as_yet(x):
        raise NotImplementedError("for odd x")

    for answer in (from_torch, from_c, as_yet):
        with pytest.raises(CheckFailed, match="raised NotImplementedError") as raised:
            check_prediction(answer)
        assert raised.value.name == "raises"
    with pytest.raises(NotAttempted, match="helper: not attempted yet"):
        check_prediction(by_helper)


def test_what_an_answer_does_to_its_own_copies_has_no_effect():
    """Lists may be used up; gradients may be asked for, and are taken whatever the cell does."""

    def both(x, steps):
        while steps:
            steps.pop()
        x.requires_grad_()
        (slope,) = torch.autograd.grad(x.square().sum(), x)
        return x, slope

    steps, x = [1, 2], points(2)
    with torch.no_grad():
        assert verdict(check_midpoint_step, both) == ""
    assert torch.equal(run(both, x, steps)[0], x) and steps == [1, 2] and not x.requires_grad


def test_several_tensors_are_asked_for():
    for bad in (None, points(2), (points(2),), (points(2), 1.0)):
        hint = "returns-none" if bad is None else "wrong-type"
        assert verdict(check_midpoint_step, lambda x, steps, bad=bad: bad) == hint
    assert verdict(check_midpoint_step, lambda x, steps: (x, x[:1])) == "wrong-shape"


def test_a_warning_is_silent():
    """nbgrader takes what stands on stderr for a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_prediction(lambda x: warnings.warn("no", stacklevel=1) or 2 * x)


def test_outside_the_main_thread_there_is_no_limit(capsys):
    thread = threading.Thread(target=check_prediction, args=[lambda x: 2 * x])
    thread.start()
    thread.join()
    assert capsys.readouterr().out.startswith("✓")


def test_the_limit_is_off_afterwards():
    check_prediction(lambda x: 2 * x)
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL


def test_a_right_but_slow_answer_is_left_alone():
    """Minutes of processor time, whatever the clock on the wall says: see test_no_check_asks_..."""
    assert guard.LIMIT >= 120

    def waits(x):
        threading.Event().wait(0.3)  # on the wall only
        return 2 * x

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(guard), "LIMIT", 0.25)
        assert verdict(check_prediction, waits) == ""


def test_a_solver_in_an_answer_works_in_a_cell_without_gradients():
    with torch.no_grad():
        check_prediction(lambda x: solve(lambda x, t: x / (1 + t), x, 1).end)
