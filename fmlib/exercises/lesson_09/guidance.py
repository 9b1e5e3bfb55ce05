"""Guidance: one call for both fields, and where its flow ends among Gaussians."""

import math

import numpy as np
import torch

from fmlib.exact import GaussianMixture
from fmlib.exercises import Lesson, double, points
from fmlib.paths import CondOT
from fmlib.predictions import guide
from fmlib.solvers import solve

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


class _Network:
    """A velocity for images, times and labels, each row by itself, that counts its calls."""

    def __init__(self, labels, dims, seed):
        self.said, self.calls = points(labels, math.prod(dims), seed=seed), 0

    def __call__(self, x, t, y):
        self.calls += 1
        flat, t, said = x.flatten(1), t.reshape(-1, 1), self.said.to(x)[y]
        return ((1 + t) * said * flat.cos() + (2 - t) * said.square() - flat).reshape(x.shape)


@check
def check_guided_once(guided_once):
    """guided_once(network, x, t, y, nothing, w) -> like x, by one call of the network."""
    shapes = [(5, (3,), 4, 3), (4, (1, 2, 3), 6, 0), (1, (2,), 3, 1)]  # n, dims, labels, nothing
    for seed, (n, dims, labels, nothing) in enumerate(shapes):
        network, x = _Network(labels, dims, 10 + seed), points(n, *dims, seed=seed)
        t, y = double([0.9, 0.1, 0.6, 0.4, 0.8][:n]), torch.tensor([2, 0, 1, 2, 0][:n])
        for w, name in ((1.0, "once-one"), (0.0, "once-zero"), (3.0, "once-w"), (-0.5, "once-w")):
            network.calls = 0
            got = run(guided_once, network, x, t, y, nothing, w, like=x)
            expect(network.calls == 1, "once-calls", n=n, calls=network.calls)
            u = network(x, t, torch.full_like(y, nothing))
            exact = u + w * (network(x, t, y) - u)
            agree(got, exact, 1e-6, name, says="once-w", n=n, w=w)
    network, x, t = _Network(4, (3,), 9), points(4, 3, seed=5), double([0.1, 0.8, 0.3, 0.6])
    lesson.in_float32(guided_once, network, x, t, torch.tensor([2, 0, 3, 1]), 3, 2.0, like=x)


def _guided(r, m, s, w):
    """The guided field by the exact fields of N(0, r^2) and N(m, s^2) on the line."""
    normals = [GaussianMixture(double([[mean]]), std) for mean, std in ((0.0, r), (m, s))]
    every, asked_for = (normal.along(CondOT()).velocity for normal in normals)
    return guide(asked_for, every, w)


@check
def check_gaussian_guided(gaussian_guided):
    """gaussian_guided(x, t, r, m, s, w) -> like x: (batch,)."""
    x, trap = points(6), {"instead": [("not-finite", "gauss-start")]}
    cases = [(1.3, -0.6, 0.4, 2.0), (1.0, 0.75, 0.5, 4.0), (2.0, 1.5, 1.2, 0.5)]
    for time in (0.6, 0.3, 1.0, 0.0):
        for r, m, s, large in cases:
            for w, name in ((0.0, "gauss-all"), (1.0, "gauss-class"), (large, "gauss-guided")):
                start = trap | {"where": lesson.say("gauss-at")} if time == 0 else {}
                got = run(gaussian_guided, x, double(time), r, m, s, w, like=x, **start)
                exact = _guided(r, m, s, w)(x[:, None], double(time))[:, 0]
                found = {"t": time, "r": r, "m": m, "s": s, "w": w}
                name = "gauss-start" if time == 0 else name
                agree(got, exact, 1e-6, name, says="gauss-guided", at=x, **found)
    lesson.in_float32(gaussian_guided, x, double(0.6), *cases[1], like=x)


def _end_spread(r, s, w):
    """What the guided flow makes of a spread of 1: exp of the integral of the field's slope."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(200))
    t, one = (nodes + 1) / 2, torch.ones(200, 1, dtype=torch.float64)
    field = _guided(r, 0.3, s, w)
    slope = (field(one, t) - field(0 * one, t))[:, 0]
    return math.exp(float((weights * slope).sum()) / 2)


def _tilted(r, s, w, m=0.3):
    """Mean and standard deviation of p(x) p(y|x)^w, by a sum over a fine grid."""
    x = torch.linspace(-12 * r, 12 * r, 20_001, dtype=torch.float64)
    log_every, log_class = -0.5 * (x / r) ** 2, -0.5 * ((x - m) / s) ** 2
    weights = (log_every + w * (log_class - log_every)).softmax(0)
    mean = float((weights * x).sum())
    return mean, float((weights * (x - mean) ** 2).sum().sqrt())


def _expect_spread(got, exact, other, name, **values):
    """The spread, not its square, not that of the other distribution."""
    near = 1e-5 * exact
    found = {"says": name, "exact": exact, "got": got} | values
    ends = values["w"] in (0, 1)
    if not ends:
        expect(abs(got - other) > near, "spread-mixed", **found)
    if abs(exact - 1) > 1e-3:
        expect(abs(got - exact**2) > near, "spread-square", **found)
    expect(abs(got - exact) < near, "spread-ends" if ends else name, **found)


def _cases():
    """(r, s, w): for w = 0 and 1, then in between and beyond."""
    pairs = [(1.0, 0.5), (1.3, 0.4), (2.0, 1.2), (0.7, 0.6)]
    return [(r, s, w) for w in (0.0, 1.0, 2.0, 0.5, 4.0) for r, s in pairs]


@check
def check_guided_spread(guided_spread):
    """guided_spread(r, s, w) -> a number: the standard deviation at t = 1."""
    for r, s, w in _cases():
        got, exact = run(guided_spread, r, s, w, like=float), _end_spread(r, s, w)
        _expect_spread(got, exact, _tilted(r, s, w)[1], "spread-guided", r=r, s=s, w=w)
    start = torch.zeros(1, 1, dtype=torch.float64)  # the mean: the field is linear in x
    end = solve(_guided(1.0, 0.75, 0.5, 4.0), start, 40, "rk4", keep="end").end
    return {"mean": float(end), "spread": run(guided_spread, 1.0, 0.5, 4.0, like=float)}


@check
def check_tilted_spread(tilted_spread):
    """tilted_spread(r, s, w) -> a number: the standard deviation of the tilted density."""
    for r, s, w in _cases():
        got, exact = run(tilted_spread, r, s, w, like=float), _tilted(r, s, w)[1]
        _expect_spread(got, exact, _end_spread(r, s, w), "spread-tilted", r=r, s=s, w=w)
    mean, _ = _tilted(1.0, 0.5, 4.0, 0.75)
    return {"mean": mean, "spread": run(tilted_spread, 1.0, 0.5, 4.0, like=float)}
