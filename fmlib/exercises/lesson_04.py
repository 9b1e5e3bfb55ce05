"""Checks of the exercises on lesson 04: the two losses, their floor, and what a loss learns."""

import itertools
import math

import numpy as np
import torch

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.exercises import Lesson, gap, one_by_one, points
from fmlib.models import MLP
from fmlib.paths import CondOT, PathSample

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run
PATH = CondOT()


@check
def check_swapped_velocity(swapped_velocity):
    """swapped_velocity(velocity, x, t) -> like x."""
    data, x = points(6, 2, seed=1), points(40, 2)
    target = EmpiricalTarget(data).along(PATH)
    for name, time in (("swap-middle", 0.5), ("swap-time", 0.2), ("swap-time", 0.7)):
        t = torch.tensor(time, dtype=x.dtype)
        got = run(swapped_velocity, target.velocity, x, t, like=x)
        x_0 = (x[:, None] - (1 - t) * data) / t  # the noise that each data point needs, (40, 6, 2)
        weight = (-0.5 * x_0.square().sum(2)).softmax(1)[..., None]
        exact = (weight * (data - x_0)).sum(1)
        i = int((got - exact).abs().amax(1).argmax())
        right = gap(got, exact) < 1e-5 * (1 + exact.abs().max())  # float32 times pass
        found = {"t": t, "x": x[i], "exact": exact[i], "got": got[i]}
        expect(right, name, says="swap-middle", **found)
    lesson.in_float32(swapped_velocity, target.velocity, x, t, like=x)


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


def _one_time_over_own(gradient_noise, count=32):
    """The noise of batches with one time each, over that with a time for each pair: at random
    weights, and at the exact field.
    """
    means = torch.tensor([[1.5, 0.0], [-1.5, 1.0]], dtype=torch.float64)
    target, generator = GaussianMixture(means, 0.3), torch.Generator().manual_seed(0)
    ratios = {}
    for name, velocity in (("random", lambda x, t: 0 * x), ("exact", target.along(PATH).velocity)):
        model, own, one = _Offset(velocity, name == "exact"), [], []
        for i in range(count):
            x_1 = target.sample(64, generator)
            x_0, t = torch.randn(2, 64, 2, generator=generator, dtype=x_1.dtype)
            own.append(PATH.sample(x_0, x_1, torch.special.ndtr(t[:, 0])))  # uniform in [0, 1]
            one.append(PATH.sample(x_0, x_1, (i + 0.5) / count))
        noise = [run(gradient_noise, model, batches, like=float) for batches in (one, own)]
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


def _expect_gradient(line_loss, x_0, x_1, t):
    weight = torch.tensor(0.5, dtype=t.dtype, requires_grad=True)
    got = run(line_loss, lambda x, t: weight * torch.ones_like(x), x_0, x_1, t)
    trains = isinstance(got, torch.Tensor) and got.requires_grad
    expect(trains, "line-gradient", says="line-none")
    (slope,) = torch.autograd.grad(got, weight, allow_unused=True)
    slope = 0.0 if slope is None else slope
    agree(slope, 2 * (0.5 - (x_1 - x_0)).mean(), 1e-9, "line-gradient")


@check
def check_line_loss(line_loss):
    """line_loss(velocity, x_0, x_1, t) -> a tensor () that has a gradient."""
    x_0, x_1 = points(6, 1), points(6, 1, seed=1)
    t = torch.linspace(0, 0.9, 6, dtype=x_0.dtype)
    rate = float(x_1[0] - x_0[0])

    def loss(velocity, x_0=x_0, x_1=x_1, t=t):
        return run(line_loss, velocity, x_0, x_1, t, like=float)

    def of_one(velocity, t=t[:1]):
        return loss(velocity, x_0[:1], x_1[:1], t)

    agree(of_one(lambda x, t: torch.zeros_like(x)), rate**2, 1e-9, "line-target")
    agree(of_one(lambda x, t: torch.full_like(x, rate)), 0, 1e-9, "line-sign", rate=rate)
    for place, where in ((x_0, 0.0), (x_1, 1.0)):
        got = of_one(lambda x, t: x, torch.full_like(t[:1], where))
        agree(got, (place[0] - rate) ** 2, 1e-9, "line-place", t=where)
    got = loss(lambda x, t: (2 - x) / (1 - t), x_1=torch.full_like(x_1, 2))
    agree(got, 0, 1e-9, "line-table")

    def field(x, t):
        return torch.sin(3 * x) - t

    alone = one_by_one(lambda *row: loss(field, *row), x_0, x_1, t)
    agree(loss(field), sum(alone) / len(alone), 1e-9, "line-mean")
    _expect_gradient(line_loss, x_0, x_1, t)


@check
def check_learned_instead(learned_instead):
    """learned_instead(u, mean, n) -> like u."""
    # Three equally likely examples, two of them at one place: (place, target).
    place, target = np.array([0, 0, 1]), np.array([-1.0, 2.0, 4.0])
    u, mean = torch.tensor([0.5, 4.0], dtype=torch.float64), float(target.mean())

    def best(n):  # the value at each place that minimises the mean of all tables of n examples
        top, count = np.zeros(2), np.zeros(2)
        for batch in itertools.product(range(3), repeat=n):
            np.add.at(top, place[list(batch)], target[list(batch)].mean())
            np.add.at(count, place[list(batch)], 1)
        return torch.as_tensor(top / count)

    for name, n in (("table-one", 1), ("table-many", 10**9), ("table-between", 3)):
        got, exact = run(learned_instead, u, mean, n, like=u), best(n) if n < 10 else mean
        agree(got, exact, 1e-6, name, says="table-one", at=u, mean=mean, n=n)


def _expect_mean_is_best(mean_loss):
    grid = torch.linspace(-2, 2, 4001).double()
    for values, chances in (
        ((-1, 0, 2), (0.6, 0.3, 0.1)),
        ((0.5, 1, 2), (0.2, 0.7, 0.1)),
        ((-2, -1), (0.8, 0.2)),
    ):
        losses = [run(mean_loss, grid, torch.full_like(grid, v), like=grid) for v in values]
        total = sum(p * loss for p, loss in zip(chances, losses, strict=True))
        best, mean = float(grid[total.argmin()]), float(np.dot(values, chances))
        found = {"values": values, "chances": chances, "best": best, "mean": mean}
        expect(abs(best - mean) < 0.0015, "loss-mean", **found)


@check
def check_mean_loss(mean_loss):
    """mean_loss(u, y) -> like u."""
    line = torch.linspace(-5, 5, 41).double()
    u, y = torch.cartesian_prod(line, line).T.contiguous()
    agree(run(mean_loss, y, y, like=y), 0, 1e-9, "loss-zero")
    far = (u - y).abs() > 0.01
    got = run(mean_loss, u[far], y[far], like=y[far])
    i = int(got.argmin())
    expect(got[i] > 0, "loss-sign", u=u[far][i], y=y[far][i], got=got[i])
    _expect_mean_is_best(mean_loss)
    half, other = u[far] / 2, y[far] / 2
    moved = gap(*(run(mean_loss, half + by, other + by, like=half) for by in (1, 0)))
    expect(moved > 1e-6, "loss-shift", moved=moved)
    lesson.in_float32(mean_loss, u, y, like=u)


@check
def check_predicted_share(predicted_share):
    """predicted_share() -> a number."""
    return lesson.predicted(predicted_share, 0, 1, "share-range")


@check
def check_median_velocity(median_velocity):
    """median_velocity(x, t, w) -> like x."""
    x = torch.linspace(-3, 3, 60, dtype=torch.float64)
    both = torch.tensor([[1.0], [-1.0]], dtype=x.dtype)
    for name, time, w in (
        ("median-early", 0.01, 0.7),
        ("median-early", 0.01, 0.3),
        ("median-where", 0.3, 0.7),
        ("median-where", 0.6, 0.7),
        ("median-where", 0.5, 0.3),
    ):
        t = torch.tensor(time, dtype=x.dtype)
        got = run(median_velocity, x, t, w, like=x)
        targets = (both - x) / (1 - t)  # (2, 60)
        missed = float((got - targets).abs().amin(0).max())
        expect(missed < 1e-6, "median-two", t=t, missed=missed)
        target = GaussianMixture(both, 0.0, torch.tensor([w, 1 - w], dtype=x.dtype))
        p = target.along(PATH).posterior_weights(x[:, None], t).T  # (2, 60)
        cost, *others = [(p * (u - targets).abs()).sum(0) for u in (got, *targets)]
        best = torch.minimum(*others)
        i = int((cost - best).argmax())
        found = {"w": w, "t": t, "x": x[i], "cost": cost[i], "best": best[i]}
        expect(cost[i] - best[i] < 1e-6, name, says="median-early", **found)
    lesson.in_float32(median_velocity, x, 0.5, 0.7, like=x)
    return {"most": _share(median_velocity, 0.7), "half": _share(median_velocity, 0.5)}


def _share(velocity, w, n=100):
    """The share of standard normal points that n Euler steps bring to -1."""
    x = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
    for i in range(n):
        x = x + run(velocity, x, torch.tensor(i / n, dtype=x.dtype), w, like=x) / n
    return float((x < 0).double().mean())
