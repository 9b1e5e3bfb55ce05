"""The noise of a gradient, the mean of weights, and the floor that the exact field leaves."""

import itertools
import math

import numpy as np
import torch

from fmlib.exact import GaussianMixture
from fmlib.exercises import Lesson, gap, points
from fmlib.models import MLP
from fmlib.paths import CondOT, PathSample

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


PATH = CondOT()


def _remembered(remember, model):
    """Three states that the answer keeps while the weights change, and copies of them."""
    states, copies = [], []
    for _ in range(3):
        kept, now = run(remember, model), model.state_dict()
        fits = isinstance(kept, dict) and set(kept) == set(now)
        expect(fits and _equal(kept, now), "remember-all")
        states.append(kept)
        copies.append({name: value.detach().clone() for name, value in now.items()})
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(weights.square() + 1)
        expect(_equal(kept, copies[-1]), "remember-alias")
    return states, copies


def _equal(state, other):
    return all(torch.equal(state[name], other[name]) for name in other)


@check
def check_mean_weights(remember, mean_weights):
    """remember(model) -> a state; mean_weights(states) -> a state."""
    states, copies = _remembered(remember, MLP(2, 4, 1).double())

    def holds(name, *which):
        got = run(mean_weights, [states[i] for i in which])
        expect(all(map(_equal, states, copies)), "mean-keeps")
        fits = isinstance(got, dict) and set(got) == set(copies[0])
        fits = fits and all(
            isinstance(got[key], torch.Tensor)
            and (got[key].shape, got[key].dtype) == (like.shape, like.dtype)
            for key, like in copies[0].items()
        )
        expect(fits, "remember-all", says="mean-unlike")
        exact = {key: sum(copies[i][key] for i in which) / len(which) for key in got}
        off = max(gap(got[key], exact[key]) for key in got)
        expect(off < 1e-9, name, off=off)

    holds("mean-same", 0, 0, 0)
    holds("mean-each", 0, 1, 2)


def _enumerated_ratio(values, n):
    """By going through all batches of n; values: (times, gradients), all equally likely."""
    own = [np.mean(batch) for batch in itertools.product(values.ravel(), repeat=n)]
    one = [np.mean(batch) for row in values for batch in itertools.product(row, repeat=n)]
    return np.var(one) / np.var(own)


@check
def check_noise_ratio(noise_ratio):
    """noise_ratio(between, within, n) -> a number."""

    def holds(name, exact, between, within, n, **values):
        got = run(noise_ratio, between, within, n, like=float)
        agree(got, exact, 1e-5, name, **values)

    holds("ratio-one", 1, 1.5, 4.0, 1)
    holds("ratio-within", 1, 0.0, 4.0, 7)
    holds("ratio-between", 7, 1.5, 0.0, 7)
    values = np.array([[1.0, 3.0], [0.0, 8.0], [-2.0, 0.5]])
    between, within = float(values.mean(1).var()), float(values.var(1).mean())
    for count in (2, 4):
        exact = _enumerated_ratio(values, count)
        agree(
            run(noise_ratio, between, within, count, like=float),
            exact,
            1e-5,
            "ratio-exact",
            n=count,
        )


@check
def check_predicted_ratio(predicted_ratio):
    """predicted_ratio() -> a number."""
    return lesson.predicted(predicted_ratio, 1, 256, "ratio-range")


class _Shift(torch.nn.Module):
    """u(x) = a + b: two tensors of weights whose gradients are equal."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x, t):
        return (self.a + self.b).expand_as(x)


class _Offset(torch.nn.Module):
    """Zero, or the exact velocity, plus a network whose last layer may be zero."""

    def __init__(self, velocity, zero):
        super().__init__()
        self.network, self.velocity = MLP(2, 16, 1).double(), velocity
        if zero:
            torch.nn.init.zeros_(self.network.layers[-1].weight)
            torch.nn.init.zeros_(self.network.layers[-1].bias)

    def forward(self, x, t):
        return self.velocity(x, t) + self.network(x, t)


def _noise(model, batches):
    """The variances of the gradients of these batches, summed."""
    rows = []
    for batch in batches:
        loss = (model(batch.x_t, batch.t) - batch.dx_t).square().sum(1).mean()
        parts = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return float(torch.stack(rows).var(0).sum())


def _one_time_over_own(gradient_noise, count=32):
    """The noise of batches with one time each, over that with a time for each pair: at random
    weights, and at the exact field.
    """
    means = torch.tensor([[1.5, 0.0], [-1.5, 1.0]], dtype=torch.float64)
    target, generator = GaussianMixture(means, 0.3), torch.Generator().manual_seed(0)
    ratios = {}
    for name, velocity in (("random", lambda x, t: 0 * x), ("exact", target.along(PATH).velocity)):
        torch.default_generator.manual_seed(0)  # the answer may have drawn from it
        model, own, one = _Offset(velocity, name == "exact"), [], []
        for i in range(count):
            x_1 = target.sample(64, generator)
            x_0, t = torch.randn(2, 64, 2, generator=generator, dtype=x_1.dtype)
            own.append(PATH.sample(x_0, x_1, torch.special.ndtr(t[:, 0])))  # uniform in [0, 1]
            one.append(PATH.sample(x_0, x_1, (i + 0.5) / count))
        noise = [run(gradient_noise, model, batches, like=float) for batches in (one, own)]
        for got, exact in zip(noise, (_noise(model, one), _noise(model, own)), strict=True):
            right = abs(got / exact - 1) < 0.04  # divided by 32, or by 31
            expect(right, "noise-sum", says="noise-weights", exact=exact, got=got)
        ratios[name] = noise[0] / noise[1]
    return ratios


@check
def check_gradient_noise(gradient_noise):
    """gradient_noise(model, batches) -> a number."""
    y = points(40, 5, 2) + 3
    still = torch.zeros_like(y[0])

    def noise(targets):
        batches = [PathSample(still, y, still[:, 0], still, y) for y in targets]
        return run(gradient_noise, _Shift(), batches, like=float)

    got = noise(y[:1].expand(8, -1, -1))
    expect(abs(got) < 1e-9, "noise-same", got=got)
    got = noise(y)
    expect(got > 1e-9, "noise-alias", got=got)
    twice = noise(2 * y)
    expect(abs(twice - 4 * got) < 1e-6 * abs(twice), "noise-square", got=got, twice=twice)
    exact = 8 * float(y.mean(1).var(0).sum())  # each weight's gradient is -2 times the mean target
    found = {"exact": exact, "got": got}
    expect(abs(got / exact - 0.5) > 0.02, "noise-weights", **found)
    right = abs(got / exact - 1) < 0.03  # divided by 40, or by 39
    expect(right, "noise-sum", says="noise-weights", **found)
    return _one_time_over_own(gradient_noise)


def _left_by_exact_field(t, s):
    """What the exact field leaves for data N(0.7, s^2), by quadrature, at each time."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)  # exact for squares of linear functions
    x_0, z = (torch.as_tensor(a.ravel())[:, None] for a in np.meshgrid(nodes, nodes))
    weight = torch.as_tensor(np.outer(weights, weights).ravel()) / (2 * math.pi)
    target = GaussianMixture(torch.tensor([[0.7]], dtype=t.dtype), s).along(PATH)
    left = []
    for time in t:
        batch = PATH.sample(x_0, 0.7 + s * z, time)
        rest = batch.dx_t - target.velocity(batch.x_t, time)
        left.append((weight * rest[:, 0].square()).sum())
    return torch.stack(left)


@check
def check_floor_at(floor_at):
    """floor_at(t, s) -> like t."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for s in (0.5, 3.0):
        got = run(floor_at, t, s, like=t)
        agree(got[0], s**2, 1e-9, "floor-start", s=s)
        agree(got[-1], 1, 1e-9, "floor-end", s=s)
        inner = t[1:-1]
        agree(got[1:-1], _left_by_exact_field(inner, s), 1e-6, "floor-between", at=inner, s=s)
    lesson.in_float32(floor_at, t, 0.5, like=t)


def _floor_of_mixture(t, c=1.0):
    """E Y^2 - E u^2 at each time, for data on a line scaled by c, by a sum over a fine grid."""
    means = c * torch.tensor([[-1.0], [0.2], [2.0]], dtype=t.dtype)
    stds = c * torch.tensor([0.2, 0.5, 0.3], dtype=t.dtype)
    target = GaussianMixture(means, stds, torch.tensor([0.5, 0.2, 0.3], dtype=t.dtype))
    square = 1 + float((target.weights * (stds**2 + means[:, 0] ** 2)).sum())
    x, field = torch.linspace(-14, 14, 4001, dtype=t.dtype)[:, None], target.along(PATH)
    values = []
    for time in t.reshape(-1):
        density, u = field.log_prob(x, time).exp(), field.velocity(x, time)[:, 0]
        values.append(square - float((density * u**2).sum() * (x[1, 0] - x[0, 0])))
    return torch.tensor(values, dtype=t.dtype).reshape(t.shape)


@check
def check_scaled_floor_at(scaled_floor_at):
    """scaled_floor_at(v, t, c) -> like t."""
    t = torch.tensor([0.0, 0.15, 0.5, 0.8, 1.0], dtype=torch.float64)
    for c in (1.0, 2.0, 0.5):
        got = run(scaled_floor_at, _floor_of_mixture, t, c)
        if isinstance(got, torch.Tensor) and got.shape == t.shape and got[:-1].isfinite().all():
            expect(got[-1].isfinite(), "scaled-limit", c=c, got=float(got[-1]))
        got, exact = run(scaled_floor_at, _floor_of_mixture, t, c, like=t), _floor_of_mixture(t, c)
        names = ["scaled-same"] * 3 if c == 1 else ["scaled-start", "scaled-end", "scaled-between"]
        for name, part in zip(names, (slice(1), slice(-1, None), slice(None)), strict=True):
            agree(got[part], exact[part], 1e-6, name, says="scaled-same", at=t[part], c=c)
    t, c = t[:-1].flip(0), 3.0  # of another floor, in another order: Gaussian data

    def floor(t, s=0.6):
        return s**2 / ((1 - t) ** 2 + (s * t) ** 2)

    got, exact = run(scaled_floor_at, floor, t, c, like=t), floor(t, 0.6 * c)
    agree(got, exact, 1e-6, "scaled-between", says="scaled-same", at=t, c=c)
