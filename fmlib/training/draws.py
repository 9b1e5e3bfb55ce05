"""examples: what fit draws."""

import torch

from fmlib.couplings import independent
from fmlib.shapes import check_finite, check_points, check_same_shape, noise_like, whole


def examples(path, data, coupling=independent, times=None, labels=None, batch_size=256):
    """A function draw(n, generator) -> PathSample of n training examples, for fit.

    It draws x_1 from data, x_0 ~ N(0, I) beside it, pairs them by coupling, draws t, and returns
    path.sample(x_0, x_1, t, y).
    data: a function data(n, generator=) -> x_1, (n, *dims), or the pair (x_1, y); or points
    (N, *dims), of which rows are drawn with replacement; or a pair (x_0, x_1) of such tensors,
    whose rows are drawn together, in which case coupling is not asked again.
    coupling(x_0, x_1) -> (x_0, x_1): of fmlib.couplings; called for batch_size rows at a time,
    since the best pairing of a batch depends on its size. It may move the rows of x_0, and must
    leave those of x_1 in place, where their labels are.
    times(n, generator) -> t, (n,); None for uniform t in [0, path.t_end].
    labels: (N, ...), beside points; they become y.
    Raises ValueError for data, labels, and results of these functions that do not fit.
    Lipman et al. 2024 (Guide and Code), section 4.  Taught in: 04, section 2.
    """
    batch_size, source = whole("batch_size", batch_size, 1), _source(data, labels)
    given_pairs = isinstance(data, tuple)

    def draw(n, generator):
        x_0, x_1, y = source(n, generator)
        if x_0 is None:
            x_0 = noise_like(x_1, generator)
        if not given_pairs:
            blocks = zip(x_0.split(batch_size), x_1.split(batch_size), strict=True)
            x_0, x_1 = _paired(coupling, blocks)
        return path.sample(x_0, x_1, _times(times, path, x_1, generator), y)

    return draw


def _source(data, labels):
    """A function (n, generator) -> x_0 or None, x_1, y or None."""
    if callable(data):
        if labels is not None:
            raise ValueError("labels go with points: let data(n, generator=) return (x_1, y)")

        def from_function(n, generator):
            drawn = data(n, generator=generator)
            x_1, y = drawn if isinstance(drawn, tuple) and len(drawn) == 2 else (drawn, None)
            check_points("what data returns", x_1)
            if len(x_1) != n:
                raise ValueError(f"data(n, generator=) must return n = {n} rows, got {len(x_1)}")
            return None, x_1, y

        return from_function
    x_0, x_1 = data if isinstance(data, tuple) and len(data) == 2 else (None, data)
    check_points("data", x_1)
    check_finite("data", x_1)
    if x_0 is not None:
        check_same_shape("x_0", x_0, "x_1", x_1)
        check_finite("x_0", x_0)
    if len(x_1) == 0 or (labels is not None and len(labels) != len(x_1)):
        rows = "no rows" if len(x_1) == 0 else f"{len(x_1)} rows and {len(labels)} labels"
        raise ValueError(f"data must hold points, with a label each if there are any, got {rows}")

    def from_rows(n, generator):
        i = torch.randint(len(x_1), (n,), generator=generator, device="cpu").to(x_1.device)
        return (None if x is None else x[i] for x in (x_0, x_1, labels))

    return from_rows


def _paired(coupling, blocks):
    """The rows of coupling(x_0, x_1) over blocks of rows."""
    pairs = []
    for x_0, x_1 in blocks:
        pair = coupling(x_0, x_1)
        if not isinstance(pair, tuple) or len(pair) != 2:
            got = type(pair).__name__
            raise ValueError(f"coupling(x_0, x_1) must return the pair (x_0, x_1), got {got}")
        check_same_shape("coupling's x_0", pair[0], "x_1", x_1)
        if pair[1] is not x_1 and not torch.equal(pair[1], x_1):
            raise ValueError("coupling moved the rows of x_1 away from their labels: move x_0")
        pairs.append((pair[0], x_1))
    return (torch.cat(side) for side in zip(*pairs, strict=True))


def _times(times, path, x_1, generator):
    if times is None:
        t = torch.rand(len(x_1), generator=generator, dtype=x_1.dtype, device="cpu")
        return (t * path.t_end).to(x_1.device)
    t = times(len(x_1), generator)
    if not isinstance(t, torch.Tensor) or t.shape != (len(x_1),):
        got = tuple(t.shape) if isinstance(t, torch.Tensor) else type(t).__name__
        raise ValueError(
            f"times(n, generator) must return a tensor (n,) = ({len(x_1)},), got {got}"
        )
    return t
