"""Exercises that check themselves: what the checks of all lessons share.

A check calls a learner's function and tests properties of what it returns. It prints one line, or
raises CheckFailed, which a notebook shows as a few lines: what broke, and where to look.
"""

import copy
import functools
import linecache
import signal
import threading
import traceback
import warnings
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["CheckFailed", "Hints", "NotAttempted", "check", "gap", "points", "run"]

LIMIT = 10.0  # seconds for one check


class CheckFailed(Exception):
    """An answer lacks a property. name: of the hint; found: what broke; hint: where to look."""

    def __init__(self, name, found, hint):
        super().__init__(f"✗ {found}\n  Look at this: {hint}")
        self.name = name

    def _render_traceback_(self):  # what IPython shows in place of a traceback
        return str(self).split("\n")


class NotAttempted(CheckFailed):
    """The learner's function is still the stub."""

    def __init__(self, answer):
        Exception.__init__(self, f"○ {answer}: not attempted yet")
        self.name = "not-attempted"


class Hints(dict):
    """name -> what to look at, for one lesson; never the answer itself."""

    def expect(self, holds, name, found):
        """Raise CheckFailed with the hint of this name unless holds. found: the numbers."""
        if not holds:
            raise CheckFailed(name, found, self[name])


COMMON = Hints(
    {
        "not-a-function": "pass the function itself to the check, without calling it.",
        "raises": "call the function yourself in a cell of its own; Python then shows where.",
        "too-slow": "a loop whose condition never becomes false, or far too many steps.",
        "returns-none": "is there a return, and does every way through the function reach it?",
        "wrong-type": "what the text of the exercise says the function returns.",
        "wrong-shape": "print the shape of each factor: where does an axis appear or go?",
        "wrong-dtype": "which number in the function has a dtype of its own? The input decides it.",
        "not-finite": "a division by zero, an overflow, a root or logarithm of a negative one.",
        "mutates-input": "operations in place: x += ..., x[...] = ..., names that end in _.",
    }
)


class _OutOfTime(BaseException):  # so that an `except Exception` of the learner's lets it through
    pass


@contextmanager
def _time_limit():
    """Raise _OutOfTime after LIMIT seconds; without effect outside the main thread."""

    def stop(number, frame):
        raise _OutOfTime

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT, 1.0)  # and every second from then on
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check(function):
    """Decorate a check: it prints the line that function returns, and has LIMIT seconds.

    Returns nothing, since nbgrader would take a number for a part of the points; and is silent on
    warnings, since it would take them for an error.
    """

    @functools.wraps(function)
    def checked(*answers):
        try:
            with _time_limit(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                verified = function(*answers)
        except _OutOfTime:
            found = f"{function.__name__} did not end within {LIMIT:g} s"
            raise CheckFailed("too-slow", found, COMMON["too-slow"]) from None
        print(f"✓ {verified}")

    return checked


def run(answer, *arguments, like=None):
    """Call the learner's function `answer`, and return what it returns.

    like: a tensor whose shape and dtype the result must have; or float, for one number.
    Raises NotAttempted, or CheckFailed with a hint from COMMON: if it raises, returns nothing or
    something of another kind, or changes its arguments.
    """
    name = getattr(answer, "__name__", type(answer).__name__)
    COMMON.expect(callable(answer), "not-a-function", f"a function is needed, got {name}")
    before = copy.deepcopy([a for a in arguments if isinstance(a, (torch.Tensor, np.ndarray))])
    try:
        result = answer(*arguments)
    except NotImplementedError:
        raise NotAttempted(name) from None
    except Exception as error:
        found = f"{name} raised {type(error).__name__}: {error}{_line(answer, error)}"
        raise CheckFailed("raises", found, COMMON["raises"]) from None
    after = [a for a in arguments if isinstance(a, (torch.Tensor, np.ndarray))]
    same = all((a == b).all() for a, b in zip(before, after, strict=True))
    COMMON.expect(same, "mutates-input", f"{name} changed the numbers that it was given")
    COMMON.expect(result is not None, "returns-none", f"{name} returned None")
    if like is float:
        return _number(name, result)
    return result if like is None else _tensor(name, result, like)


def _line(answer, error):
    """The line of the learner's own code at which the error arose."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file:
            return f"\n  at the line: {linecache.getline(file, frame.lineno).strip()}"
    return ""


def _number(name, result):
    one = isinstance(result, (int, float, np.number)) and not isinstance(result, bool)
    one = one or (isinstance(result, (torch.Tensor, np.ndarray)) and result.ndim == 0)
    found = f"{name} must return one number, returned {type(result).__name__}"
    COMMON.expect(one, "wrong-type", found)
    value = float(result)
    COMMON.expect(np.isfinite(value), "not-finite", f"{name} returned {value}")
    return value


def _tensor(name, result, like):
    found = f"{name} must return a tensor, returned {type(result).__name__}"
    COMMON.expect(isinstance(result, torch.Tensor), "wrong-type", found)
    found = f"{name} must return shape {tuple(like.shape)}, returned {tuple(result.shape)}"
    COMMON.expect(result.shape == like.shape, "wrong-shape", found)
    found = f"{name} must return {like.dtype} for an input of it, returned {result.dtype}"
    COMMON.expect(result.dtype == like.dtype, "wrong-dtype", found)
    bad = int((~torch.isfinite(result)).sum())
    found = f"{bad} of the {result.numel()} numbers that {name} returned are NaN or infinite"
    COMMON.expect(bad == 0, "not-finite", found)
    return result.detach()


def points(*shape, seed=0, dtype=torch.float64):
    """Standard normal points, the same in every run, without touching any other random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gap(a, b):
    """The largest difference between two tensors, or a tensor and a number."""
    return float((a - b).abs().max())
