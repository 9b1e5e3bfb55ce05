"""Checks of the exercises on lesson 03: velocities at a place, posteriors, fields of one path."""

import math

import torch

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.exercises import Lesson, gap, one_by_one, points
from fmlib.paths import CondOT
from fmlib.solvers import solve

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run
PATH = CondOT()
CLOSE = 1e-5  # a float32 constant or a difference quotient is right, too
UNDERFLOW = [("not-finite", "underflow")]  # of weights made of densities: most likely all are 0


def _walk_velocity(x, x_1, t):
    """By automatic differentiation."""
    t = t.clone().requires_grad_()
    walk = torch.sin(0.5 * math.pi * t) * x_1 + torch.cos(0.5 * math.pi * t) * x
    rates = [torch.autograd.grad(part, t, retain_graph=True)[0] for part in walk.reshape(-1)]
    return walk.detach(), torch.stack(rates).reshape(x.shape)


@check
def check_cosine_velocity(cosine_velocity):
    """cosine_velocity(x, x_1, t) -> like x, for t () or (batch,)."""
    x, x_1 = points(6, 2), 1.5 * points(6, 2, seed=1)
    t = torch.tensor(0.3, dtype=x.dtype)
    way = run(cosine_velocity, torch.zeros_like(x), x_1, t, like=x)
    expect(((way * x_1).sum(1) > 0).all(), "walk-sign")
    u = run(cosine_velocity, x, x_1, torch.zeros_like(t), like=x)
    expect(gap(u[:, 0] * x_1[:, 1], u[:, 1] * x_1[:, 0]) < CLOSE, "walk-start")
    right = gap(u, 0.5 * math.pi * x_1) < CLOSE
    expect(right, "walk-factor", ratio=u[0, 0] / x_1[0, 0])
    times = torch.tensor([0.3, 0.8], dtype=x.dtype)
    pairs = ((x, x_1), (points(6, 2, seed=2), x - 1))
    for time, (start, end) in zip(times, pairs, strict=True):
        walk, exact = _walk_velocity(start, end, time)
        got = run(cosine_velocity, walk, end, time, like=x)
        i = int((got - exact).norm(dim=1).argmax())
        right = gap(got, exact) < CLOSE
        found = {"x": start[i], "x_1": end[i], "exact": exact[i], "got": got[i]}
        expect(right, "walk-place", t=time, **found)

    def alone(x, x_1, t):
        return run(cosine_velocity, x, x_1, t[0], like=x)

    pair = run(cosine_velocity, x[:2], x_1[:2], times, like=x[:2])
    agree(pair, torch.cat(one_by_one(alone, x[:2], x_1[:2], times)), CLOSE, "walk-rows")
    lesson.in_float32(cosine_velocity, x[:2], x_1[:2], times, like=x[:2])


@check
def check_arrow_tip(arrow_tip):
    """arrow_tip(velocity, x, t) -> like x."""
    one = EmpiricalTarget(torch.tensor([[1.5, -0.5]], dtype=torch.float64))
    several = GaussianMixture(2 * points(4, 2, seed=1), stds=0.3)

    def tip(target, t):
        x = points(20, 2, seed=int(10 * t))
        return run(arrow_tip, target.along(PATH).velocity, x, t, like=x)

    for t, name in ((0.0, "tip-start"), (0.6, "tip-time")):
        got = tip(one, t)
        expect(gap(got, one.means) < 1e-2, name, says="tip-start", t=t, tip=got[0])
    for t in (0.2, 0.5, 0.9):
        exact = several.along(PATH).posterior_mean(points(20, 2, seed=int(10 * t)), t)
        agree(tip(several, t), exact, CLOSE, "tip-flow", t=t)
    x = points(20, 2)
    lesson.in_float32(arrow_tip, several.along(PATH).velocity, x, 0.5, like=x)


def _gaussian(m, a):
    return GaussianMixture(torch.tensor([[m]], dtype=torch.float64), stds=a).along(PATH)


@check
def check_gaussian_velocity(gaussian_velocity):
    """gaussian_velocity(x, t, m, a) -> like x, (batch,)."""
    x, m, a = points(30), 0.8, 1.5

    def holds(name, exact, x, t, m, a, close=CLOSE):
        got = run(gaussian_velocity, x, t, m, a, like=x)
        agree(got, exact, close, name, says="gauss-start", at=x, t=t, m=m, a=a)

    holds("gauss-start", m - x, x, 0.0, m, a)
    holds("gauss-centre", m, torch.full_like(x, 0.6 * m), 0.6, m, a)
    holds("gauss-point", (m - x) / 0.5, x, 0.5, m, 1e-6, close=1e-4)
    for t, m, a in ((0.3, 0.8, 1.5), (0.9, 0.8, 1.5), (0.5, -2.0, 0.4), (0.7, 0.0, 2.5)):
        holds("gauss-between", _gaussian(m, a).velocity(x[:, None], t)[:, 0], x, t, m, a)
    lesson.in_float32(gaussian_velocity, x, 0.5, m, a, like=x)


def _posterior(target, x, t):
    return target.along(PATH).posterior_weights(x, t)


def _expect_width_in_weights(component_weights, stds):
    """Of two components around the origin the narrow one is more likely there, by the variances."""
    t, two = 0.8, stds.new_zeros(2, 2)
    pair, place = stds[[0, 1]], stds.new_zeros(1, 2)
    got = run(component_weights, place, t, two, pair, like=stds.new_empty(1, 2))
    variance = (t * pair) ** 2 + (1 - t) ** 2
    ratio, exact = float(got[0, 0] / got[0, 1]), float(variance[1] / variance[0])
    expect(abs(ratio - 1) > 1e-6, "which-norm", exact=exact, t=t, ratio=ratio)
    right = abs(ratio / exact - 1) < CLOSE
    expect(right, "which-power", says="which-norm", exact=exact, t=t, ratio=ratio)


@check
def check_component_weights(component_weights):
    """component_weights(x, t, means, stds) -> (batch, K)."""
    means, x = 1.5 * points(3, 2, seed=2), 2 * points(20, 2)
    same = x.new_full((3,), 0.4)
    stds = torch.tensor([0.2, 1.5, 0.6], dtype=x.dtype)
    like = x.new_empty(20, 3)

    def weights(t, stds):
        return run(component_weights, x, t, means, stds, like=like, instead=UNDERFLOW)

    got = weights(0.6, same)
    total = got.sum(1)
    expect(gap(got.sum(0), 1.0) > CLOSE, "which-axis", total=total[0])
    agree(total, 1, CLOSE, "which-sum")
    for t in (0.3, 0.6, 0.999):
        exact = _posterior(GaussianMixture(means, same), x, t)
        agree(weights(t, same), exact, CLOSE, "which-equal", t=t)
    got = weights(0.0, stds)
    shown = [round(float(w), 3) for w in got[0]]
    expect(gap(got, 1 / 3) < CLOSE, "which-start", weights=shown)
    _expect_width_in_weights(component_weights, stds)
    exact = _posterior(GaussianMixture(means, stds), x, 0.7)
    agree(weights(0.7, stds), exact, CLOSE, "which-power", says="which-widths", t=0.7)
    exact = _posterior(EmpiricalTarget(means), x, 0.99)
    agree(weights(0.99, 0 * stds), exact, CLOSE, "which-equal", says="which-points", t=0.99)
    lesson.in_float32(component_weights, x, 0.5, means, stds, like=like)


@check
def check_prediction(prediction):
    """prediction() -> a number."""
    return lesson.predicted(prediction, 0, 4, "prediction-range")


def _tempered(x, t, x_1, power):
    """The field of noise N(0, I / power): its weights are those of the power, in closed form."""
    square = (x[:, None] - t * x_1).square().sum(2)
    weights = (-0.5 * power * square / (1 - t) ** 2).softmax(1)
    return (weights @ x_1 - x) / (1 - t)


def _spread_of_cloud(tempered_velocity, power):
    """How wide the flow to a round cloud makes it, over how wide it is."""
    x_0, cloud = points(200, 2, seed=4), 1.5 * points(200, 2, seed=3)

    def velocity(x, t):
        return run(tempered_velocity, x, t, cloud, power, like=x)

    end = solve(velocity, x_0, 40, t_end=0.99, keep="end").end
    return float(end.std(0).norm() / cloud.std(0).norm())


@check
def check_tempered_velocity(tempered_velocity):
    """tempered_velocity(x, t, x_1, power) -> like x."""
    x, x_1 = points(20, 2), 1.5 * points(7, 2, seed=1)

    def holds(name, power, exact):
        for t in (0.2, 0.7, 0.99):
            got = run(tempered_velocity, x, t, x_1, power, like=x, instead=UNDERFLOW)
            off = gap(got, exact(t)) * (1 - t)
            expect(off < CLOSE, name, says="power-one", power=power, off=off)

    data = EmpiricalTarget(x_1).along(PATH)
    holds("power-one", 1.0, lambda t: data.velocity(x, t))
    holds("power-zero", 0.0, lambda t: (x_1.mean(0) - x) / (1 - t))
    for power in (0.5, 3.0):
        holds("power-half", power, lambda t, power=power: _tempered(x, t, x_1, power))
    lesson.in_float32(tempered_velocity, x, 0.5, x_1, 0.5, like=x)
    whole, half = (_spread_of_cloud(tempered_velocity, power) for power in (1.0, 0.5))
    return {"whole": whole, "half": half}


def _residual(density, velocity, x, t, h=1e-4):
    """Largest violation of (3.9) at the points x, over the largest rate of change there."""
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    flows = 0
    for axis in (0, 1):
        step = torch.zeros(2, dtype=x.dtype)
        step[axis] = h
        ahead, behind = (density(p, t) * velocity(p, t)[:, axis] for p in (x + step, x - step))
        flows = flows + (ahead - behind) / (2 * h)
    return float((rate + flows).abs().max() / rate.abs().max())


@check
def check_right_std(right_std):
    """right_std(power) -> a number."""
    x, x_1 = points(200, 2), 1.5 * points(7, 2, seed=1)

    def residual(power, s):
        def density(x, t):
            variance = ((1 - t) * s) ** 2
            square = (x[:, None] - t * x_1).square().sum(2)
            return (torch.exp(-0.5 * square / variance) / (2 * math.pi * variance)).mean(1)

        return _residual(density, lambda x, t: _tempered(x, t, x_1, power), x, 0.5)

    agree(run(right_std, 1.0, like=float), 1, 1e-6, "std-one")
    for power in (0.5, 0.25, 3.0):
        s = run(right_std, power, like=float)
        expect(s > 0 and (s > 1) == (power < 1), "std-wide", power=power, s=s)
        off = residual(power, s)
        expect(off < 1e-5, "std-square", power=power, s=s, off=off)


def _variance(t, a):
    return (a * t) ** 2 + (1 - t) ** 2


@check
def check_turned_velocity(turned_velocity):
    """turned_velocity(x, t, a) -> like x."""
    x = points(40, 2)
    for a in (1.5, 0.5):

        def density(x, t, a=a):
            v = _variance(t, a)
            return torch.exp(-0.5 * x.square().sum(1) / v) / (2 * math.pi * v)

        def velocity(x, t, a=a):
            return run(turned_velocity, x, t, a, like=x)

        for t in (0.25, 0.6, 0.9):
            off = _residual(density, velocity, x, torch.tensor(t, dtype=x.dtype))
            expect(off < 1e-5, "turned-path", a=a, t=t, off=off)
        end = solve(velocity, x, method="dopri5", keep="end").end
        i = int((end + a * x).norm(dim=1).argmax())  # the one that misses by most
        found = {"a": a, "x": x[i], "end": end[i], "exact": -a * x[i]}
        expect(gap(end, a * x) > 3e-2, "turned-none", **found)
        expect(gap(end, -a * x) < 3e-2, "turned-angle", says="turned-none", **found)
    lesson.in_float32(turned_velocity, x, torch.tensor(0.5).double(), a, like=x)


def _growth(n, c, a, heun=False):
    """What n Euler steps multiply a distance by, over what the flow does: |1 + h (k + i c / v)|."""

    def rate(t):
        v = _variance(t, a)
        return torch.complex(((a**2 + 1) * t - 1) / v, -c / v)

    t = torch.arange(n, dtype=torch.float64) / n
    k = rate(t)
    factors = 1 + 0.5 / n * (k + rate(t + 1 / n) * (1 + k / n)) if heun else 1 + k / n
    return float(factors.abs().log().sum().exp() / a)


@check
def check_growth(growth):
    """growth(x, n, c, a) -> a number."""
    x = 3 * points(30, 2)

    def holds(names, n, c, a):
        """names: of the hint where the number is nearly right, and where it is not."""
        got, exact = run(growth, x, n, c, a, like=float), _growth(n, c, a)
        heun = _growth(n, c, a, heun=True)
        expect(abs(got / heun - 1) > CLOSE, "growth-method", n=n)
        miss, found = abs(got / exact - 1), {"n": n, "c": c, "a": a, "exact": exact, "got": got}
        name = names[0] if miss < 0.02 else names[1]
        expect(miss < CLOSE, name, says="growth-plain", **found)

    holds(("growth-end", "growth-plain"), 20, 0.0, 1.5)
    holds(("growth-centre", "growth-swirl"), 25, 6.0, 1.5)
    holds(("growth-swirl", "growth-swirl"), 15, -2.0, 0.5)
    holds(("growth-swirl", "growth-swirl"), 30, 20.0, 1.0)
    return {"sizes": ", ".join(f"{_growth(100, c, 1.5):.2f}" for c in (0, 5, 10, 20))}
