"""Shapes, broadcasting of t, noise, and the checks that every other module calls.

Shapes are checked at every call. Values (finite? in [0, 1]?) are checked where a user's data
enter, because looking at every number in every inner call would cost more than the call.
"""

import math
import operator

import numpy as np
import torch


def _is_no_number(value):
    """Whether value is a truth value, a text or complex, which int or float would take for one."""
    kind = str(getattr(value, "dtype", type(value).__name__))
    return any(word in kind for word in ("bool", "str", "complex"))


def whole(name, value, low=None, high=None):
    """value as an int, if it is a whole number (of Python, NumPy or torch) in [low, high].

    Raises ValueError otherwise; True and False are no numbers here.
    """
    limits = "" if low is None else f" of at least {low}"
    limits = limits if high is None else f" from {low} to {high}"
    try:
        number = None if _is_no_number(value) else operator.index(value)
    except (TypeError, ValueError):  # ValueError: a tensor of several numbers
        number = None
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{name} must be an integer{limits}, got {value!r}")
    return number


def real(name, value, low=None, above=None):
    """value as a float, if it is one finite number (of Python, NumPy or torch).

    low: the least that it may be.  above: what it must exceed.
    Raises ValueError otherwise; True and False are no numbers here.
    """
    try:
        value = value.detach() if isinstance(value, torch.Tensor) else value
        number = math.nan if _is_no_number(value) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} must be one finite number, got {value!r}")
    if low is not None and number < low:
        raise ValueError(f"{name} must be at least {low}, got {value!r}")
    if above is not None and number <= above:
        raise ValueError(f"{name} must be above {above}, got {value!r}")
    return number


def numbers(name, value, like):
    """value, a number or a list or an array of numbers, as a tensor of the kind of `like`.

    Raises ValueError for anything else.
    """
    try:
        if isinstance(value, torch.Tensor):
            value = value.to(like)
        elif np.ndim(value) == 0:
            value = real(name, value)
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be a number or a tensor of them, got {value!r}") from None


def check_points(name, x):
    """Raise ValueError unless x is a tensor (batch, *dims) of float32 or float64 numbers.

    In 16 bits a state does not feel a small step, and t has a few hundred values only. To run a
    network in 16 bits, put torch.autocast around it and leave its arguments as they are.
    """
    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.float32, torch.float64):
        got = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a tensor of float32 or float64, got {got}: convert it")
    if x.ndim == 0:
        raise ValueError(f"{name} must have shape (batch, *dims), got (): add a batch dimension")


def check_returned(name, value, x):
    """What a function called at x returned, in the dtype of x; it must be real numbers, x-shaped.

    Raises ValueError for anything but a floating-point tensor of the shape and on the device of x.
    """
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{name} must return a tensor of real numbers like x, got {got}")
    if value.shape != x.shape:
        raise ValueError(
            f"{name} must return the shape of x, {tuple(x.shape)}, got {tuple(value.shape)}"
        )
    if value.device != x.device:
        raise ValueError(f"{name} must return numbers on {x.device} like x, got {value.device}")
    return value.to(x.dtype)


def check_same_shape(name_a, a, name_b, b):
    """Raise ValueError unless a and b are point tensors of one and the same shape."""
    check_points(name_a, a)
    check_points(name_b, b)
    if a.shape != b.shape:
        raise ValueError(
            f"{name_a} and {name_b} must have the same shape, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}: each row of one needs a row of the other"
        )


def check_finite(name, x):
    """Raise ValueError if the tensor x holds a NaN or an infinity."""
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(
            f"{name} must be finite, got {bad} NaN or infinite of {x.numel()} numbers: "
            "look at where they come from"
        )


def check_unit_interval(name, t):
    """Raise ValueError unless every number in t (a tensor or a float) lies in [0, 1]."""
    if isinstance(t, torch.Tensor):
        if t.numel() == 0:
            return
        t = t.detach()
    low, high = (float(t.min()), float(t.max())) if isinstance(t, torch.Tensor) else (t, t)
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {low:g} to {high:g}: "
            "t = 0 is noise, t = 1 is data"
        )


def expand_time(t, x):
    """Return t in a shape that multiplies x row by row, never column by column.

    t: a number, () or (batch,) or (batch, 1, ..., 1).  x: (batch, *dims).
    Returns () or (batch, 1, ..., 1), with the dtype and device of x.
    Raises ValueError for any other shape or kind. Without this check, t of shape (batch,) times x
    of shape (batch, dim) is silently wrong whenever batch == dim.
    Taught in: 02, common mistakes.
    """
    if not isinstance(t, torch.Tensor):
        t = numbers("t", t, x)
    if t.is_complex() or t.dtype == torch.bool:
        raise ValueError(f"t must hold real numbers, got {t.dtype}")
    if t.dtype != x.dtype or t.device != x.device:
        t = t.to(x)
    if t.ndim == 0:
        return t
    full = (x.shape[0],) + (1,) * (x.ndim - 1)
    if t.shape == full:
        return t
    if t.shape != full[:1]:
        raise ValueError(
            f"t must be a scalar or have shape (batch,) = ({x.shape[0]},) or {full}, "
            f"got {tuple(t.shape)} for x of shape {tuple(x.shape)}"
        )
    return t.reshape(full)


def flat_points(x):
    """x, (batch, *dims), as (batch, dim); a point may be one number, and the batch empty."""
    return x.unsqueeze(-1).flatten(1)


def cpu_floats():
    """The dtype and device of points that are made from nothing, as in fmlib.data."""
    wide = torch.get_default_dtype() == torch.float64
    return {"dtype": torch.float64 if wide else torch.float32, "device": "cpu"}


def noise_like(x, generator=None):
    """Standard normal numbers in the shape, dtype and device of x.

    Drawn on the CPU, where the generator lives, so that a seed means the same on every device.
    """
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device="cpu").to(x.device)


def check_settled(name, model):
    """Raise ValueError if model is a module with a layer whose results depend on its training mode.

    Dropout draws at random while training, and batch normalisation mixes the rows of a batch and
    changes its running statistics: a flow that follows such a model is another one at every call.
    """
    layers = model.modules() if isinstance(model, torch.nn.Module) else ()
    for layer in layers:
        random = isinstance(layer, torch.nn.modules.dropout._DropoutNd) and layer.p > 0
        if layer.training and (random or getattr(layer, "track_running_stats", False)):
            raise ValueError(
                f"{name} has a {type(layer).__name__} in training mode: call .eval() on it first"
            )
