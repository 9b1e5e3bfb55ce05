"""DDPM as a flow: its score, its noise, its clock, and what an error does to its spread."""

import math

import torch

from fmlib.exact import GaussianMixture
from fmlib.exercises import Lesson, gap, points
from fmlib.paths import VP, CondOT, Cosine

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _spots():
    means = torch.tensor([[1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)
    return GaussianMixture(means, torch.tensor([0.3, 0.6]))


@check
def check_velocity_from_score(velocity_from_score):
    """velocity_from_score(path, score, x, t) -> like x."""
    x, t = points(20, 2), torch.tensor(0.4, dtype=torch.float64)
    for path in (VP(), CondOT()):
        got = run(velocity_from_score, path, 0 * x, x, t, like=x) / x
        exact = path.d_alpha(t) / path.alpha(t)
        agree(got, exact, 1e-9, "score-scale", path=type(path).__name__, t=t)
    got = run(velocity_from_score, VP(), -x, x, t, like=x)
    expect(gap(got, 0) < 1e-9, "score-still", x=x[0, 0], velocity=got[0, 0])
    for path in (VP(), CondOT(), Cosine()):
        field = _spots().along(path)
        for time in (0.2, 0.7):
            t, x = torch.tensor(time, dtype=x.dtype), points(20, 2, seed=int(10 * time))
            score = field.score(x, t)
            got = run(velocity_from_score, path, score, x, t, like=x)
            alpha, sigma = path.alpha(t), path.sigma(t)
            short = path.d_alpha(t) / alpha * (x + score)  # by sigma^2 = 1 - alpha^2
            vp_only = gap(alpha**2 + sigma**2, 1) > 1e-6 and gap(got, short) < 1e-9
            name = "score-vp" if vp_only else "score-exact"
            found = {"says": "score-vp", "path": type(path).__name__, "t": t}
            agree(got, field.velocity(x, t), 1e-9, name, **found)
    lesson.in_float32(velocity_from_score, VP(), -x, x, t, like=x)


def _zero(x, t):
    return torch.zeros_like(x)


@check
def check_noisy_step(noisy_step):
    """noisy_step(velocity, score, g, x, t, h, z) -> like x."""
    x, z = points(2, 5, 2)
    t, h = torch.tensor(0.3, dtype=x.dtype), 0.04

    def step(velocity=_zero, score=_zero, g=lambda t: 2.0, z=z, t=t, h=h):
        return run(noisy_step, velocity, score, g, x, t, h, z, like=x)

    moved = step(lambda x, t: (1 + t) * x, lambda x, t: torch.sin(x), lambda t: 0.0)
    agree(moved, x + h * 1.3 * x, 1e-6, "noise-flow")
    for g in (2.0, 0.5):
        factor, exact = float(((step(g=lambda t, g=g: g) - x) / z)[0, 0]), g * h**0.5
        found = {"g": g, "h": h, "exact": exact, "got": factor}
        expect(abs(factor / (g * exact) - 1) > 1e-6, "noise-twice", **found)
        expect(abs(factor / (g * h) - 1) > 1e-6, "noise-root", says="noise-twice", **found)
        expect(abs(factor / exact - 1) < 1e-6, "noise-size", says="noise-twice", **found)
        pulled = step(_zero, lambda x, t: -x, lambda t, g=g: g, z=0 * z) / x
        agree(pulled, 1 - 0.5 * g**2 * h, 1e-6, "noise-drift", g=g)
    factor = ((step(g=lambda t: 1 + t) - x) / z)[0, 0]
    agree(factor, 1.3 * h**0.5, 1e-6, "noise-time")
    for time, long in ((0.3, 0.04), (0.8, 0.09)):
        at = {"t": torch.tensor(time, dtype=x.dtype), "h": long}
        got = step(lambda x, t: t * x, lambda x, t: (1 - t) * torch.sin(x), **at)
        exact = x + long * (time * x + 2 * (1 - time) * torch.sin(x)) + 2 * long**0.5 * z
        agree(got, exact, 1e-6, "noise-start")
    lesson.in_float32(noisy_step, _zero, _zero, lambda t: 2.0, x, t, h, z, like=x)


def _line(x, y):
    """How far y is from a straight line in x, relative to its own range."""
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return gap(y, y[0] + slope * (x - x[0])) / float(y.max() - y.min())


@check
def check_clock(clock):
    """clock(ratio, b) -> like ratio."""
    ratio = torch.linspace(5, 0, 201, dtype=torch.float64)[:-1]
    for b in (0.0, 0.5, 2.0):
        tau, exact = run(clock, ratio, b, like=ratio), torch.sqrt(b**2 + ratio**2)
        least, most = float(tau.diff().min()), float(tau.diff().max())
        expect(least > 0 or most < 0, "clock-runs", b=b, least=least, most=most)
        found = {"b": b, "off": _line(tau, exact)}
        if b == 0:
            expect(found["off"] < 1e-9, "clock-point", **found)
            continue
        powers = [_line(tau.abs().pow(p), exact) for p in (0.5, 2.0)]
        expect(min(powers) > 1e-9, "clock-root", says="clock-point", **found)
        expect(found["off"] < 1e-6, "clock-exact", says="clock-point", **found)
    lesson.in_float32(clock, ratio, 0.5, like=ratio)
    return {"ddim": _line(ratio, torch.sqrt(0.25 + ratio**2))}


@check
def check_scale(scale):
    """scale(alpha, sigma, b) -> like alpha."""
    t = torch.linspace(0.01, 1, 100, dtype=torch.float64)
    for path in (VP(), CondOT(), Cosine()):
        alpha, sigma = path.alpha(t), path.sigma(t)
        for b in (0.5, 2.0):
            c = run(scale, alpha, sigma, b, like=alpha)
            at = {"path": type(path).__name__, "b": b}
            expect(float(c.min()) > 0, "scale-sign", least=c.min(), **at)
            width = torch.sqrt((alpha * b) ** 2 + sigma**2) / c
            start, end, least, most = width[0], width[-1], width.min(), width.max()
            expect(abs(end / start - 1) < 0.02, "scale-ends", start=start, end=end, **at)
            expect(most / least - 1 < 1e-6, "scale-still", least=least, most=most, **at)
    lesson.in_float32(scale, alpha, sigma, 0.5, like=alpha)


@check
def check_prediction(prediction):
    """prediction() -> a number."""
    return lesson.predicted(prediction, 0.1, 3, "prediction-range")


def _T(s):  # the integral of beta from 0 to s
    return 0.1 * s + 9.95 * s**2


def _limit(strength, pieces):
    """The spread for N(0, 1) data in the limit of small steps. pieces: (factor, from t, to t)."""
    v = 1.0  # in the variable T, dV/dT = (1 - (1 + c) p) V + c
    for factor, start, stop in pieces:
        rate, length = 1 - (1 + strength) * factor, _T(1 - start) - _T(1 - stop)
        v = v + (rate * v + strength) * (math.expm1(rate * length) / rate if rate else length)
    return math.sqrt(v)


PIECES = [(1.1, 0, 0.25), (1, 0.25, 0.75), (1.3, 0.75, 1)]


def _piecewise(t):
    return 1.1 if t < 0.25 else 1.3 if t >= 0.75 else 1.0


def _expect_two_steps(end_spread):
    """With two steps only it matters how a step is made."""
    got, shrink = run(end_spread, lambda t: 1.05, 0.0, 1.0, 2, like=float), [0.25, 0.125625]
    exact = (1 - shrink[0]) * (1 - shrink[1])
    found = {"says": "spread-square", "exact": exact, "got": got}
    linear = math.sqrt((1 - 2 * shrink[0]) * (1 - 2 * shrink[1]))
    expect(abs(got - linear) > 0.005, "spread-square", **found)
    for rates in ((15.025, 5.075), (10.05, 0.1)):  # in the middle, at the end of the step
        late = (1 - 0.0125 * rates[0]) * (1 - 0.0125 * rates[1])
        expect(abs(got - late) > 0.005, "spread-start", **found)
    expect(abs(got - exact) < 0.02, "spread-steps", **found)


@check
def check_end_spread(end_spread):
    """end_spread(spoil, strength, b, n_steps) -> a number."""

    def spread(spoil, c, b=1.0, n=200):
        return run(end_spread, spoil, c, b, n, like=float)

    for c, name in ((0.0, "spread-still"), (1.0, "spread-noise")):
        agree(spread(lambda t: 1.0, c), 1, 0.02, name, says="spread-still", c=c)
    for c, name in ((0.0, "spread-spoil"), (0.3, "spread-both")):
        got, exact = spread(lambda t: 1.1, c), _limit(c, [(1.1, 0, 1)])
        found = {"says": "spread-root", "c": c, "exact": exact, "got": got}
        expect(abs(got / exact**2 - 1) > 0.02, "spread-root", **found)
        expect(abs(got / exact - 1) < 0.02, name, **found)
        got, exact = spread(_piecewise, c), _limit(c, PIECES)
        expect(abs(got / exact - 1) < 0.02, "spread-when", c=c, exact=exact, got=got)
    for c in (0.0, 1.0):
        agree(spread(lambda t: 1.0, c, 0.4), 0.4, 0.02, "spread-target", c=c)
    _expect_two_steps(end_spread)
    flow, noisy = (_limit(c, [(1.05, 0, 1)]) for c in (0.0, 1.0))
    return {"flow": flow, "noisy": noisy}


def _spread(spoil, strength):
    v, n = 1.0, len(spoil)  # data N(0, 1), where the score is -x all the way
    for i in range(n):
        beta = 0.1 + 19.9 * (1 - i / n)
        rate = 0.5 * beta * (1 - (1 + strength) * spoil[i])
        v = (1 + rate / n) ** 2 * v + strength * beta / n
    return math.sqrt(v)


@check
def check_worse_with_noise(worse_with_noise):
    """worse_with_noise(t) -> a number."""
    n = 200
    spoil = [run(worse_with_noise, torch.tensor(i / n), like=float) for i in range(n)]
    worst = max(abs(factor - 1) for factor in spoil)
    expect(worst < 0.05 + 1e-6, "worse-range", worst=worst)
    flow, noisy = (abs(_spread(spoil, c) - _spread([1.0] * n, c)) for c in (0.0, 1.0))
    found = {"flow": flow, "noisy": noisy}
    expect(max(flow, noisy) > 0.001, "worse-nothing", **found)
    expect(noisy > flow, "worse-flow", says="worse-nothing", **found)
    expect(noisy > 1.5 * flow, "worse-little", **found)
    return found
