"""Tokens are a set: attention that knows no order, and the best painter without positions."""

import math
from itertools import permutations

import torch

from fmlib.exact import EmpiricalTarget
from fmlib.exercises import Lesson, double, points
from fmlib.paths import CondOT

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _linear(width, seed, scale=1.0):
    matrix = scale * points(width, width, seed=seed) / width**0.5
    return lambda x: x @ matrix.to(x)


def _attention(x, maps, heads):
    """(9.8), image by image, head by head and token by token."""
    q, k, v = (each(x) for each in maps)
    d, result = x.shape[2] // heads, torch.empty_like(x)
    for i in range(len(x)):
        for piece in (slice(h * d, (h + 1) * d) for h in range(heads)):
            for j in range(x.shape[1]):
                weights = (k[i, :, piece] @ q[i, j, piece] / d**0.5).softmax(0)
                result[i, j, piece] = weights @ v[i, :, piece]
    return result


def _expect_sets(attention, x, maps, heads):
    """What holds for tokens without an order, and for tokens that all have the same value."""
    order = torch.tensor([3, 0, 4, 1, 2])
    got = run(attention, x, *maps, heads, like=x)
    moved = run(attention, x[:, order], *maps, heads, like=x)
    agree(moved, got[:, order], 1e-6, "attention-order", heads=heads)

    def same(z):
        return maps[2](z[:, :1]).expand_as(z)

    kept = run(attention, x, *maps[:2], same, heads, like=x)
    agree(kept, same(x), 1e-6, "attention-same", heads=heads)


@check
def check_attention(attention):
    """attention(x, to_q, to_k, to_v, heads) -> like x: (n, tokens, width)."""
    x, maps = points(2, 5, 8), [_linear(8, seed) for seed in (1, 2, 3)]
    for heads in (1, 2, 4):
        _expect_sets(attention, x, maps, heads)
        got, name = run(attention, x, *maps, heads, like=x), "attention-heads"
        name = "attention-one" if heads == 1 else name
        agree(got, _attention(x, maps, heads), 1e-6, name, says="attention-one", heads=heads)
    x, maps = points(3, 7, 12, seed=1), [_linear(12, seed, 2.0) for seed in (4, 5, 6)]
    got, exact = run(attention, x, *maps, 3, like=x), _attention(x, maps, 3)
    agree(got, exact, 1e-6, "attention-heads", says="attention-one", heads=3)
    lesson.in_float32(attention, x, *maps, 3, like=x)


def _rearranged(pictures):
    """All orders of the tokens of all pictures: (N * tokens!, tokens, dim)."""
    return torch.cat([pictures[:, list(p)] for p in permutations(range(pictures.shape[1]))])


def _best(x, t, pictures):
    return EmpiricalTarget(_rearranged(pictures)).along(CondOT()).velocity(x, t)


def _field_averaged(x, t, pictures):
    """The mean over all orders p of p^-1 u(p x): without an order, too, but not the best."""
    field, total = EmpiricalTarget(pictures).along(CondOT()), torch.zeros_like(x)
    orders = [torch.tensor(p) for p in permutations(range(x.shape[1]))]
    for p in orders:
        total[:, p] += field.velocity(x[:, p], t) / len(orders)
    return total


def _expect_simple(without_places, x, t):
    """One token for each picture, and then no picture but one, of tokens that are all the same."""
    pictures = points(3, 1, 2, seed=7)
    exact = EmpiricalTarget(pictures).along(CondOT()).velocity(x[:, :1], t)
    got = run(without_places, x[:, :1], t, pictures, like=exact)
    agree(got, exact, 1e-6, "places-plain", t=t)
    same = points(1, 1, 2, seed=8).expand(1, 3, 2)
    exact = (same - x) / (1 - t)
    agree(run(without_places, x, t, same, like=x), exact, 1e-6, "places-same", t=t)


@check
def check_without_places(without_places):
    """without_places(x, t, pictures) -> like x: (batch, tokens, dim)."""
    for time in (0.4, 0.0, 0.7):
        x, t = points(5, 3, 2, seed=int(10 * time)), double(time)
        _expect_simple(without_places, x, t)
        for n in (1, 2):
            pictures, order = points(n, 3, 2, seed=20 + n), torch.tensor([2, 0, 1])
            found = {"n": n, "t": t}
            got = run(without_places, x, t, pictures, like=x)
            moved = run(without_places, x[:, order], t, pictures, like=x)
            agree(moved, got[:, order], 1e-6, "places-order", **found)
            exact = _best(x, t, pictures)
            trap = time > 0 and torch.allclose(got, _field_averaged(x, t, pictures))
            name = "places-field" if trap else "places-best"
            agree(got, exact, 1e-6, name, says="places-best", **found)
    x, t, pictures = points(4, 4, 1, seed=3), double(0.97), points(3, 4, 1, seed=4)
    got = run(without_places, x, t, pictures, like=x)
    agree(got, _best(x, t, pictures), 1e-6, "places-best", n=3, t=t)  # here weights underflow
    lesson.in_float32(without_places, x, double(0.5), pictures[:2], like=x)


@check
def check_in_place(in_place):
    """in_place(picture) -> a number: the share of the flow's ends that are this picture."""
    a, b, c = points(3, 2)
    pictures = [[a, b], [a, a, a], [a, b, c], [a, b, a, c], [b, b, a, c, a], [c]]
    pictures += [[a, -a, b, b], [a + 4, a + 6, b + 4, a + 4]]  # of other signs, and beyond 1
    for picture in [*map(torch.stack, pictures), points(4, 16)]:
        got, n = run(in_place, picture, like=float), len(picture)
        every = _rearranged(picture[None])
        exact = float((every == picture).flatten(1).all(1).double().mean())
        found = {"n": n, "kinds": len(picture.unique(dim=0)), "exact": exact, "got": got}
        trap = exact != 1 / math.factorial(n) and abs(got * math.factorial(n) - 1) < 1e-6
        name = "place-twins" if trap else "place-share"
        expect(abs(got - exact) < 1e-6, name, says="place-share", **found)
    paper = torch.cat([torch.zeros(3, 4), points(4, 4, seed=1), torch.zeros(2, 4)])
    got, exact = run(in_place, paper, like=float), math.factorial(5) / math.factorial(9)
    found = {"n": 9, "kinds": 5, "exact": exact, "got": got}
    expect(abs(got / exact - 1) < 1e-6, "place-share", **found)
    return {"four": run(in_place, points(4, 16), like=float), "many": got}
