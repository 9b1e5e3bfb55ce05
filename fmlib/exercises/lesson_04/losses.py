"""What a loss learns: its targets, a wrong table of them, another loss."""

import itertools

import numpy as np
import torch

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.exercises import Lesson, gap, one_by_one, points
from fmlib.paths import CondOT

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


PATH = CondOT()


@check
def check_swapped_velocity(swapped_velocity):
    """swapped_velocity(velocity, x, t) -> like x."""
    for name, time in (("swap-middle", 0.5), ("swap-time", 0.2), ("swap-time", 0.7)):
        data, x = points(6, 2, seed=int(10 * time)), points(40, 2, seed=1 + int(10 * time))
        target = EmpiricalTarget(data).along(PATH)
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
    t = torch.linspace(0.9, 0, 6, dtype=x_0.dtype)
    rate = float(x_1[0] - x_0[0])

    def loss(velocity, x_0=x_0, x_1=x_1, t=t):
        return run(line_loss, velocity, x_0, x_1, t, like=float)

    def of_one(velocity, t=t[:1]):
        return loss(velocity, x_0[:1], x_1[:1], t)

    agree(of_one(lambda x, t: torch.zeros_like(x)), rate**2, 1e-9, "line-target")
    agree(of_one(lambda x, t: torch.full_like(x, rate)), 0, 1e-9, "line-sign", rate=rate)
    for where in (0.0, 1.0, 0.3):
        got, place = of_one(lambda x, t: x, torch.full_like(t[:1], where)), x_0[0] + where * rate
        agree(got, (place - rate) ** 2, 1e-9, "line-place", t=where)
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
    place = np.array([0, 0, 1])

    def best(
        n, target
    ):  # the value at each place that minimises the mean of all tables of n examples
        top, count = np.zeros(2), np.zeros(2)
        for batch in itertools.product(range(3), repeat=n):
            np.add.at(top, place[list(batch)], target[list(batch)].mean())
            np.add.at(count, place[list(batch)], 1)
        return torch.as_tensor(top / count)

    cases = [("table-one", 1), ("table-many", 10**9), ("table-between", 3), ("table-between", 4)]
    for (name, n), sign in itertools.product(cases, (1, -2)):
        target = sign * np.array([-1.0, 2.0, 4.0])
        u, mean = torch.as_tensor(sign * np.array([0.5, 4.0])), float(target.mean())
        got = run(learned_instead, u, mean, n, like=u)
        exact = best(n, target) if n < 10 else mean
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
    x = torch.linspace(-3, 3, 60, dtype=torch.float64).flip(0)
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
