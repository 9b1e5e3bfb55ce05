"""What the networks share: the checks of their inputs, and layers that begin as zero."""

import torch
from torch import nn

from fmlib.shapes import check_points, whole


def shape_of(dims, meaning=None):
    """dims as a tuple of ints of at least 1, one for each word of meaning, if that is given."""
    try:
        shape = tuple(dims)
    except TypeError:
        shape = (dims,)
    if meaning and len(shape) != len(meaning):
        raise ValueError(f"dims must be ({', '.join(meaning)}), got {dims!r}")
    return tuple(whole("dims", n, 1) for n in shape)


def check_shape(x, dims, weight):
    """Raise ValueError unless x is a batch of points of shape dims that fits a layer's weight."""
    check_points("x", x)
    if x.shape[1:] != dims:
        shape = ", ".join(str(n) for n in ("batch", *dims))
        raise ValueError(f"x must have shape ({shape}), got {tuple(x.shape)}")
    away = x.device != weight.device
    if away or (x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type)):
        raise ValueError(
            f"x is {x.dtype} on {x.device}, the network {weight.dtype} on {weight.device}: "
            "convert x or the network with .to()"
        )


def look_up(table, y, shape, x):
    """The vectors of the labels or words y, whole numbers of that shape, in a table of all.

    table: an Embedding, or None in a network without labels and words, for which y must be None and
    the result is 0.  Raises ValueError for another type, shape, device or range.
    """
    if table is None:
        if y is not None:
            raise ValueError("y must be None: this network was built without labels and words")
        return 0.0
    tensor = isinstance(y, torch.Tensor)
    fits = tensor and y.dtype in (torch.int32, torch.int64) and y.shape == shape
    if not fits or y.device != x.device:
        got = f"{y.dtype} of shape {tuple(y.shape)} on {y.device}" if tensor else repr(y)
        raise ValueError(
            f"y must be a tensor of whole numbers (int64) of shape {tuple(shape)} on {x.device}, "
            f"to fit x, got {got}"
        )
    try:
        return table(y)
    except IndexError:
        last = table.num_embeddings - 1
        low, high = int(y.min()), int(y.max())
        raise ValueError(f"y must lie in 0 ... {last}, got {low} ... {high}") from None


def zero(layer):
    """Let a layer begin as 0, so that the block which it ends begins as its shortcut."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
