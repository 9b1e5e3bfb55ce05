"""Checks of the exercises on lesson 07: what a solver costs, what straightens, what an error is."""

import math

import torch

from fmlib.exact import GaussianMixture, two_moons_target
from fmlib.exercises import CheckFailed, Counted, Lesson, gap, points
from fmlib.metrics import straightness
from fmlib.paths import VP, CondOT, Cosine
from fmlib.solvers import Trajectory, solve

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run
DOUBLE = torch.float64
COSTS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def _rms(difference):
    return float(difference.square().sum(-1).mean().sqrt())


def _line(*numbers):
    return torch.tensor(numbers, dtype=DOUBLE)


@check
def check_predicted_ratio(predicted_ratio):
    """predicted_ratio() -> a number."""
    return lesson.predicted(predicted_ratio, 0.01, 100, "ratio-range")


def _moons():
    """The moons of exercise 1, at data scale 1."""
    moons = two_moons_target(n_components=40)
    means = moons.means.double() - moons.means.double().mean(0)
    scale = float(means.square().mean().sqrt())
    return GaussianMixture(means / scale, 0.05 / scale)


def _on_the_moons(error_at_cost):
    """CondOT's error over VP's, by two solvers."""
    x, ratios = points(100, 2), {}
    for path, t_end in ((CondOT(), 1.0), (VP(), 1 - 1e-3)):
        u = _moons().along(path).velocity
        end = solve(u, x, 20, "rk4", t_end=t_end, keep="end").end
        for solver in ("euler", "midpoint"):
            error = run(error_at_cost, u, x, end, 8, solver, t_end, like=float)
            ratios[solver] = error if solver not in ratios else ratios[solver] / error
    return ratios


@check
def check_error_at_cost(error_at_cost):
    """error_at_cost(velocity, x_0, end, nfe, solver, t_end) -> a number."""

    def field(x, t):
        return torch.sin(x.flip(1)) + t * x

    for t_end, nfe, hint in ((1.0, 8, "cost-norm"), (0.5, 12, "cost-end")):
        x = points(30, 2, seed=nfe)
        end = solve(field, x, 20, "rk4", t_end=t_end, keep="end").end
        for solver, cost in COSTS.items():
            exact = _rms(solve(field, x, nfe // cost, solver, t_end=t_end, keep="end").end - end)
            counted = Counted(field)
            got = run(error_at_cost, counted, x, end, nfe, solver, t_end, like=float)
            calls = len(counted.times)
            expect(calls == nfe, "cost-steps", solver=solver, nfe=nfe, calls=calls)
            found = {"solver": solver, "t_end": t_end, "exact": exact, "got": got}
            expect(abs(got / exact - 1) < 1e-3, hint, says="cost-norm", **found)
    return _on_the_moons(error_at_cost)


@check
def check_relative_straightness(relative_straightness):
    """relative_straightness(t, x) -> a number."""
    even = torch.linspace(0, 1, 401, dtype=DOUBLE)
    uneven = even**2
    start, way = points(20, 2), points(20, 2, seed=1)

    def measured(t, clock, way=way):
        """On straight lines, with the share clock of each way covered at each time."""
        return run(relative_straightness, t, start + clock[:, None, None] * way, like=float)

    agree(measured(even, even), 0, 1e-9, "straight-zero")
    small, large = measured(even, even**2), measured(even, even**2, 3 * way)
    expect(abs(small - large) < 1e-6, "straight-scale", small=small, large=large)
    expect(small > 1e-6, "straight-square", got=small)
    agree(small, 1 / 3, 1e-3, "straight-sum", says="straight-square")
    two = torch.stack([even, even**2], dim=1)[..., None] * _line(1, 2)[:, None]  # (401, 2, 1)
    agree(run(relative_straightness, even, two, like=float), 4 / 15, 1e-3, "straight-mean")
    agree(measured(uneven, uneven), 0, 1e-9, "straight-speed")
    agree(measured(uneven, uneven**2), 1 / 3, 1e-3, "straight-weight")


def _power_S(p, s):
    """S of the clock theta = pi/2 t^p, by differences at times that are dense near 0."""
    t = torch.linspace(0, 1, 4001, dtype=DOUBLE) ** 3
    m = torch.sqrt(1 + (s**2 - 1) * torch.sin(0.5 * math.pi * t**p) ** 2)
    return float((m.diff() ** 2 / t.diff()).sum() - (s - 1) ** 2)


@check
def check_best_power(best_power):
    """best_power(s) -> a number."""
    best = {}
    for s in (4.0, 0.5, 2.0):
        p = run(best_power, s, like=float)
        for other, hint in ((p + 0.04, "power-small"), (p - 0.04, "power-large")):
            worse = p > 0 and (other <= 0 or _power_S(p, s) < _power_S(other, s))
            expect(worse, hint, says="power-small", s=s, other=other, p=p)
        best[s] = _power_S(p, s)
    return {"best": best[4.0], "one": _power_S(1, 4.0)}


@check
def check_straight_clock(straight_clock):
    """straight_clock(t, s) -> like t."""
    t = torch.linspace(0, 1, 101, dtype=DOUBLE)
    for s in (4.0, 2.0, 0.5):
        theta = run(straight_clock, t, s, like=t)
        right = gap(theta[[0, -1]], _line(0, math.pi / 2)) < 1e-6
        expect(right, "clock-ends", s=s, first=theta[0], last=theta[-1])
        back = float(theta.diff().min())
        expect(back > 0, "clock-back", s=s, back=back)
        m = torch.sqrt(1 + (s**2 - 1) * torch.sin(theta) ** 2)
        agree(m, 1 + (s - 1) * t, 1e-6, "clock-linear", at=t, s=s)
    lesson.in_float32(straight_clock, t, 2.0, like=t)


@check
def check_corrected_step(corrected_step):
    """corrected_step(velocity, x, t, h, e) -> like x."""

    def step(velocity, e):
        velocity = Counted(velocity)
        return run(corrected_step, velocity, x, t, h, e, like=x), len(velocity.times)

    def field(x, t):
        return torch.sin(3 * x.flip(1)) + (t * x) ** 2

    for e, time, h in ((0.05, 0.3, 0.2), (0.1, 0.3, 0.2), (0.2, 0.6, -0.4), (0.1, 0.0, 0.5)):
        t, x = torch.tensor(time, dtype=DOUBLE), points(5, 2, seed=int(100 * e + 10 * time))
        agree(step(lambda x, t: torch.ones_like(x), e)[0] - x, h, 1e-9, "half-none")
        added = step(lambda x, t: 2 * t * torch.ones_like(x), e)[0] - x
        euler = gap(added, 2 * t * h) < 1e-6
        name, at = "half-clock" if euler else "half-size", {"t": time, "end": time + h, "e": e}
        agree(added, (t + h) ** 2 - t**2, 1e-9, name, says="half-clock", **at)
        end, calls = step(lambda x, t: x, e)
        agree(end / x, 1 + h + h**2 / 2, 1e-9, "half-place")
        u = field(x, t)
        exact = x + h * (u + 0.5 * h * (field(x + e * u, t + e) - u) / e)
        agree(step(field, e)[0], exact, 1e-9, "half-where", e=e)
    lesson.in_float32(corrected_step, lambda x, t: x, points(4, 3), t, h, 0.1, like=points(4, 3))
    return {"calls": calls}


def _expect_times(step_times):
    t = torch.linspace(0, 1, 1001, dtype=DOUBLE)
    for n in (4, 30):
        got = run(step_times, t, torch.ones_like(t), n, like=t.new_empty(n + 1))
        right = gap(got[[0, -1]], _line(0, 1)) < 1e-9
        expect(right, "times-ends", first=got[0], last=got[-1])
        h = got.diff()
        expect(h.min() > 0, "times-order", least=h.min())
        expect(gap(h, 1 / n) < 0.003, "times-even", least=h.min(), most=h.max())
    n = 100  # so many that it does not matter where in a step the acceleration is taken
    for scale, at, hint in ((1.0, t, "times-miss"), (50.0, t**2, "times-spacing")):
        bend = scale * (1 + 3 * at) ** 2
        got = run(step_times, at, bend, n, like=t.new_empty(n + 1))
        h, middle = got.diff(), 0.5 * (got[1:] + got[:-1])
        where = "times-where" if at is t else hint
        expect(h[0] > 1.05 * h[-1], where, says="times-where", first=h[0], last=h[-1])
        miss = h**2 * scale * (1 + 3 * middle) ** 2 / 2
        share = (got + 1.5 * got.square()) / 2.5  # of the integral of the root, up to each time
        right = gap(share, torch.linspace(0, 1, n + 1)) < 0.008
        expect(right, hint, says="times-miss", first=miss[0], last=miss[-1])
    got = run(step_times, t, (4 - 3 * t) ** 2, n, like=t.new_empty(n + 1))
    right = gap((4 * got - 1.5 * got.square()) / 2.5, torch.linspace(0, 1, n + 1)) < 0.008
    first, last = got[1] - got[0], got[-1] - got[-2]
    expect(right, "times-where", says="times-falls", first=first, last=last)
    lesson.in_float32(step_times, t, torch.ones_like(t), 4, like=t.new_empty(5), rows=False)


@check
def check_step_times(step_times):
    """step_times(t, bend, n) -> (n + 1,)."""
    _expect_times(step_times)


def _ring(scale):
    angle = torch.arange(8, dtype=DOUBLE) * math.pi / 4
    return GaussianMixture(
        1.4 * scale * torch.stack([angle.cos(), angle.sin()], dim=1), 0.14 * scale
    )


def _bend(velocity, trajectory, e=1e-5):
    """The rms acceleration at each time of a trajectory."""
    rows = []
    for x, t in zip(trajectory.x, trajectory.t.clamp(e, 1 - e), strict=True):
        u = velocity(x, t)
        rows.append(_rms(velocity(x + e * u, t + e) - velocity(x - e * u, t - e)) / (2 * e))
    return _line(*rows)


def _on_the_ring(euler_at, step_times=None):
    """The errors of 16 equal steps and, if any, of the learner's own, on two paths, in words."""
    x, told = points(60, 2), []
    for name, path in (("CondOT", CondOT()), ("Cosine", Cosine())):
        u = _ring(4.0).along(path).velocity
        exact = solve(u, x, 16, "rk4")
        grids = [torch.linspace(0, 1, 17, dtype=DOUBLE)]
        if step_times:
            grids.append(run(step_times, exact.t, _bend(u, exact), 16, like=exact.t))
        errors = [_rms(run(euler_at, u, x, at, like=x) - exact.end) for at in grids]
        told.append(f"{name} " + " and ".join(f"{error:.3f}" for error in errors))
    return ", ".join(told)


@check
def check_euler_at(euler_at, step_times):
    """euler_at(velocity, x, times) -> like x; with step_times, on the ring at data scale 4."""
    x, times = points(60, 2), _line(0, 0.1, 0.4, 0.7)
    h = times.diff()
    added = run(euler_at, lambda x, t: torch.ones_like(x), x, times, like=x) - x
    agree(added, 0.7, 1e-6, "at-length")
    added = run(euler_at, lambda x, t: 2 * t * torch.ones_like(x), x, times, like=x) - x
    agree(added, (2 * times[:-1] * h).sum(), 1e-6, "at-step")
    for at in (times, _line(0.2, 0.3, 0.8, 0.9)):
        grown = run(euler_at, lambda x, t: x, x, at, like=x) / x
        agree(grown, (1 + at.diff()).prod(), 1e-6, "at-place")
    lesson.in_float32(euler_at, lambda x, t: x, x, times, like=x)
    try:
        _expect_times(step_times)
    except CheckFailed:  # it has a check of its own: this one is about euler_at
        return {"told": lesson.say("at-equal", errors=_on_the_ring(euler_at))}
    return {"told": lesson.say("at-both", errors=_on_the_ring(euler_at, step_times))}


@check
def check_paired_S(paired_S):
    """paired_S(s, rho) -> a number."""
    t = torch.linspace(0, 1, 4001, dtype=DOUBLE)
    for s in (2.0, 1.0, 0.5):
        got = run(paired_S, s, 0.0, like=float)
        agree(got, (2 - math.pi / 2) * s, 1e-6, "pairs-independent", s=s)
        agree(run(paired_S, s, 1.0, like=float), 0, 1e-6, "pairs-aligned", s=s)
        for rho in (-0.5, 0.5, 0.9):
            m = torch.sqrt((1 - t) ** 2 + (s * t) ** 2 + 2 * rho * s * t * (1 - t))
            exact = float((m.diff() ** 2 / t.diff()).sum() - (s - 1) ** 2)
            got = run(paired_S, s, rho, like=float)
            agree(got, exact, 1e-4 * exact, "pairs-between", s=s, rho=rho)


@check
def check_predicted_fall(predicted_fall):
    """predicted_fall() -> a number."""
    return lesson.predicted(predicted_fall, math.nextafter(1, 2), 1e4, "fall-range")


def _batches(size, n=2**15):
    """n pairs of numbers from N(0, 1), paired by transport within batches: on a line, by rank."""
    return (points(n // size, size, seed=k).sort(1).values.reshape(-1) for k in (0, 1))


@check
def check_own_flow(own_flow):
    """own_flow(x_0, x_1, t) -> (len(t), n)."""
    t = torch.linspace(0, 1, 21, dtype=DOUBLE)
    x_0, x_1 = points(50), 0.5 * points(50, seed=1) - 0.4
    x_t = x_0 + t[:, None] * (x_1 - x_0)
    got = run(own_flow, x_0, x_1, t, like=x_t)
    agree(got[0].sort().values, x_0.sort().values, 1e-9, "flow-start")
    for way in (t, t.flip(0)):  # times in any order
        there = x_0 + way[:, None] * (x_1 - x_0)
        flown = run(own_flow, x_0, x_1, way, like=x_t)
        off = (flown.sort(1).values - there.sort(1).values).abs().amax(1)
        expect(off.max() < 1e-9, "flow-marginal", t=way[off.argmax()], off=off.max())
    back = float(got[:, got[0].argsort()].diff(dim=1).min())
    expect(back > -1e-9, "flow-cross", back=-back)
    lesson.in_float32(own_flow, x_0, x_1, t, like=x_t, rows=False)  # the order may be by chance
    told, t = [], torch.linspace(0, 1, 11, dtype=DOUBLE)  # few times: steps wider than the gaps
    for size in (1, 4, 16, 64):
        x_0, x_1 = _batches(size)
        S = straightness(Trajectory(t, run(own_flow, x_0, x_1, t)[..., None], 0)).absolute
        told.append(f"{size}: {(x_1 - x_0).square().mean():.3f} and {S:.4f}")
    return {"told": ", ".join(told)}
