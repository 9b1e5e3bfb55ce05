"""How a check calls an answer, and how it says what it found."""

import copy
import functools
import linecache
import traceback

import numpy as np
import torch

from fmlib.exercises import guard
from fmlib.exercises.catalogue import CheckFailed, NotAttempted, fields, say, text
from fmlib.exercises.guard import OutOfTime, pinned, seal, time_limit


class Lesson:
    """The checks of one lesson, in this module, whose messages stand in the lesson's section.

    module: __name__, fmlib.exercises.lesson_NN or a part of it.
    """

    def __init__(self, module):
        self.section = module.split(".")[2]
        seal(module)

    def check(self, function):
        """Decorate a check: pin the notebook's state, end what never ends, print the line after ✓.

        function returns the fields of that line, or None. The check itself returns nothing, since
        nbgrader would take a number for a part of the points.
        """

        @functools.wraps(function)
        def checked(*answers):
            with pinned():
                try:
                    with time_limit(guard.LIMIT):
                        found = function(*answers) or {}
                except OutOfTime:
                    values = {"check": function.__name__, "limit": guard.LIMIT / 60}
                    raise _common("too-slow", **values) from None
            print("✓", say(self.section, function.__name__, "verified", **found))

        return checked

    def say(self, entry, /, **values):
        """The sentence of an entry, filled in."""
        return say(self.section, entry, **values)

    def expect(self, holds, name, /, says=None, **values):
        """Raise CheckFailed with the hint of this name unless holds.

        values: the fields of the sentence, which is that of the entry says, by default of name.
        """
        sentence, hint = self._message(name, says)
        if fields(sentence) != set(values):  # also where it holds: the tests then see it
            raise TypeError(f"{name} needs {sorted(fields(sentence))}, got {sorted(values)}")
        if not holds:
            raise CheckFailed(name, sentence, values, hint)

    def agree(self, got, exact, within, name, /, says=None, at=None, **values):
        """Expect two tensors, or a tensor and a number, to differ by less than within everywhere.

        The sentence may name, besides values: got and exact, where they differ most, off, by how
        much, and place, the row of `at` there.
        """
        got, exact = (torch.as_tensor(a, dtype=torch.float64).detach() for a in (got, exact))
        got, exact = torch.broadcast_tensors(got, exact)
        off = (got - exact).abs().reshape(-1)
        worst = int(off.argmax())
        known = {"got": got.reshape(-1)[worst], "exact": exact.reshape(-1)[worst]}
        known["off"] = off[worst]
        if at is not None:
            known["place"] = at[worst * len(at) // len(off)]
        named = fields(self._message(name, says)[0])
        known = {name: value for name, value in known.items() if name in named - set(values)}
        self.expect(float(off[worst]) < within, name, says=says, **known, **values)

    def run(self, answer, *arguments, like=None, where="", instead=()):
        """Call an answer by `run`; if it is none, say where, and give another hint instead.

        instead: pairs of the name of a common hint and that of the lesson's own.
        """
        try:
            return run(answer, *arguments, like=like)
        except CheckFailed as error:
            error.where = where
            for common, own in instead:
                if error.name == common:
                    error.name, error.hint = own, text(self.section, own, "hint")
            raise

    def in_float32(self, answer, *arguments, like, rows=True):
        """Call an answer with float32 in place of float64; it must return float32, as like.

        rows: each row of the result must also depend on its own row of the arguments alone.
        """
        if rows and like.ndim:
            _expect_own_rows(answer, arguments, like)
        arguments = [
            a.float() if isinstance(a, torch.Tensor) and a.dtype == torch.float64 else a
            for a in arguments
        ]
        return self.run(answer, *arguments, like=like.float())

    def predicted(self, answer, low, high, name):
        """A number that the learner expects, which must be from low to high: {"got": it}."""
        got = self.run(answer, like=float)
        self.expect(low <= got <= high, name, got=got)
        return {"got": got}

    def _message(self, name, says):
        return text(self.section, says or name, "broke"), text(self.section, name, "hint")


def _common(name, says=None, **values):
    sentence, hint = text("common", says or name, "broke"), text("common", name, "hint")
    return CheckFailed(name, sentence, values, hint)


def _require(holds, name, **values):
    if not holds:
        raise _common(name, **values)


def run(answer, *arguments, like=None):
    """Call the learner's function `answer`, and return what it returns.

    like: a tensor whose shape and dtype the result must have, or a tuple of such tensors; or float,
    for one number. The answer gets copies of tensors, arrays and lists.
    Raises NotAttempted, or CheckFailed with a common hint: if it raises, returns nothing or
    something of another kind, or changes the numbers that it was given.
    """
    name = getattr(answer, "__name__", type(answer).__name__)
    _require(callable(answer), "not-a-function", answer=name)
    given = [_copied(argument) for argument in arguments]
    try:
        with torch.enable_grad():
            result = answer(*given)
    except Exception as error:
        stub = _stub(answer, error)
        if stub:
            raise NotAttempted(stub) from None
        values = {"error": type(error).__name__, "text": error, "line": _line(answer, error)}
        raise _common("raises", answer=name, **values) from None
    same = all(map(_same, arguments, given))
    _require(same, "mutates-input", answer=name)
    _require(result is not None, "returns-none", answer=name)
    if like is float:
        return _number(name, result)
    if isinstance(like, tuple):
        kind = type(result).__name__
        parts = isinstance(result, (tuple, list)) and len(result) == len(like)
        _require(parts, "wrong-type", says="wrong-parts", answer=name, count=len(like), kind=kind)
        return tuple(_tensor(name, *pair) for pair in zip(result, like, strict=True))
    return result if like is None else _tensor(name, result, like)


def _expect_own_rows(answer, arguments, like):
    """Every other row, in reverse, must give what the rows give among all."""
    order = torch.arange(len(like) - 1, -1, -2)

    def some(argument):
        column = isinstance(argument, torch.Tensor) and argument.ndim
        return argument[order] if column and len(argument) == len(like) else argument

    whole = run(answer, *arguments, like=like)[order]
    off = (run(answer, *map(some, arguments), like=like[order]) - whole).abs()
    name = getattr(answer, "__name__", type(answer).__name__)
    right = float(off.max()) < 1e-4 * (1 + float(whole.abs().max()))
    _require(right, "rows-mixed", answer=name, off=off.max())


def _copied(argument):
    if isinstance(argument, (torch.Tensor, np.ndarray)):
        return copy.deepcopy(argument)
    return list(argument) if isinstance(argument, list) else argument


def _same(before, after):
    if isinstance(before, torch.Tensor):
        return torch.equal(before, after)
    return not isinstance(before, np.ndarray) or np.array_equal(before, after)


def _stub(answer, error):
    """The name of the learner's function whose stub raised this; "" for an error of any kind else.

    torch raises NotImplementedError as well, with a message, or from its own modules.
    """
    frame = error.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    own = frame.tb_frame.f_globals is getattr(answer, "__globals__", None)
    plain = type(error) is NotImplementedError and not error.args
    return frame.tb_frame.f_code.co_name if own and plain else ""


def _line(answer, error):
    """The line of the learner's own code at which the error arose."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file:
            return say("common", "line", line=linecache.getline(file, frame.lineno).strip())
    return ""


def _number(name, result):
    one = isinstance(result, (int, float, np.number)) and not isinstance(result, bool)
    one = one or (isinstance(result, (torch.Tensor, np.ndarray)) and result.ndim == 0)
    _require(one, "wrong-type", says="wrong-number", answer=name, kind=type(result).__name__)
    value = float(result)
    _require(np.isfinite(value), "not-finite", answer=name, bad=1, count=1)
    return value


def _tensor(name, result, like):
    is_one = isinstance(result, torch.Tensor)
    _require(is_one, "wrong-type", answer=name, kind=type(result).__name__)
    shapes = {"shape": tuple(like.shape), "got": tuple(result.shape)}
    _require(result.shape == like.shape, "wrong-shape", answer=name, **shapes)
    dtypes = {"dtype": like.dtype, "got": result.dtype}
    _require(result.dtype == like.dtype, "wrong-dtype", answer=name, **dtypes)
    bad = int((~torch.isfinite(result)).sum())
    _require(bad == 0, "not-finite", answer=name, bad=bad, count=result.numel())
    return result.detach()


class Counted:
    """A velocity that notes the times at which it is asked."""

    def __init__(self, velocity):
        self.velocity, self.times = velocity, []

    def __call__(self, x, t):
        self.times.append(float(t))
        return self.velocity(x, t)


def one_by_one(call, *columns):
    """What call returns for each row of the columns alone, a list."""
    return [call(*(column[i : i + 1] for column in columns)) for i in range(len(columns[0]))]


def points(*shape, seed=0, dtype=torch.float64):
    """Standard normal points, the same in every run, without touching any other random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def double(value):
    """A number, or nested lists of them, as a float64 tensor."""
    return torch.tensor(value, dtype=torch.float64)


def gap(a, b):
    """The largest difference between two tensors, or a tensor and a number."""
    return float((a - b).abs().max())
