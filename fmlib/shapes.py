"""Shapes, broadcasting of t, noise, and the checks that every other module calls.

Shapes are checked at every call. Values (finite? in [0, 1]?) are checked where a user's data
enter, because looking at every number in every inner call would cost more than the call.
"""

import torch


def check_points(name, x):
    """Raise ValueError unless x is a floating-point tensor of shape (batch, *dims)."""
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}: convert it first")
    if x.ndim == 0:
        raise ValueError(f"{name} must have shape (batch, *dims), got (): add a batch dimension")


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
    if isinstance(t, torch.Tensor) and t.numel() == 0:
        return
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
    Raises ValueError for any other shape. Without this check, t of shape (batch,) times x of
    shape (batch, dim) is silently wrong whenever batch == dim.
    Taught in: 02, common mistakes.
    """
    if not isinstance(t, torch.Tensor):
        t = torch.tensor(t, dtype=x.dtype)
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


def noise_like(x, generator=None):
    """Standard normal numbers in the shape, dtype and device of x.

    Drawn on the CPU, where the generator lives, so that a seed means the same on every device.
    """
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
