"""Checks of the exercises on lesson 07: what a solver costs, what straightens, what an error is."""

import math

import torch

from fmlib.exact import GaussianMixture, two_moons_target
from fmlib.exercises import Hints, check, gap, points, run
from fmlib.metrics import straightness
from fmlib.paths import VP, CondOT, Cosine
from fmlib.solvers import Trajectory, solve

HINTS = Hints(
    {
        "ratio-range": "a ratio of two errors is positive. Which of the two is it divided by?",
        "cost-steps": "how often does one step of each solver call velocity? The exact end points "
        "are given, they need no call.",
        "cost-norm": "root mean square of what? Square the distances, take the mean over the "
        "points, then the root.",
        "cost-end": "at which time does the solver stop, and at which one is end?",
        "straight-zero": "for a particle at constant speed on a straight line, what are the two "
        "sides of the difference in (7.1)?",
        "straight-scale": "in which units does the result come? Doubling all lengths must not "
        "change it.",
        "straight-square": "a velocity that differs back and forth must not cancel. In which "
        "order come the difference, the square and the mean?",
        "straight-sum": "intervals, particles, coordinates: over which do you sum, over which take "
        "a mean, and is the square taken before either?",
        "straight-mean": "(7.1) divides one mean over the points by another. What do you divide?",
        "straight-speed": "the intervals are not equally long. How do two states become a "
        "velocity?",
        "straight-weight": "the integral over t became a sum over intervals. What does each of "
        "them count for?",
        "power-small": "draw the curve of S against p and look to the right of your p. Is S a "
        "number, not NaN, at each of them?",
        "power-large": "draw the curve of S against p and look to the left of your p.",
        "clock-ends": "at t = 0 all is noise and at t = 1 all is data. Which angles are these?",
        "clock-back": "a clock only runs forwards.",
        "clock-linear": "which m_t has constant speed, from 1 to s? The angle follows from it.",
        "half-none": "where u does not change, there is no acceleration, and the step is Euler's.",
        "half-clock": "a field that is the same everywhere has an acceleration, too, if it changes "
        "with time.",
        "half-size": "what are the factors in front of the difference? One is in (7.3), one "
        "belongs to a difference quotient.",
        "half-place": "the acceleration is felt by a particle that moves. Where is it after the "
        "time e?",
        "half-calls": "how often is velocity called? A forward difference needs two values.",
        "half-where": "compare with the text: both values of the difference, their places and "
        "their times, e apart.",
        "times-ends": "the first time is 0, the last is 1.",
        "times-order": "each step goes forwards.",
        "times-even": "if the acceleration is the same at all times, is there a reason for steps "
        "of different lengths?",
        "times-where": "which steps shall be short, those where the acceleration is large or where "
        "it is small?",
        "times-miss": "by (7.2) a step misses by half h^2 times the acceleration. Of which power "
        "of the acceleration must the density of the steps be?",
        "times-spacing": "the times at which the acceleration is known need not be equally spaced.",
        "at-length": "where u = 1, all steps together go as far as the time from first to last.",
        "at-step": "follow t and h through the loop: at which time do you ask for the velocity, "
        "and how long is this step?",
        "at-place": "from which place does the second step start?",
        "pairs-independent": "for rho = 0 the pairs are independent, and (7.5) holds.",
        "pairs-aligned": "for rho = 1 each point goes straight to s times itself.",
        "pairs-between": "write m_t^2 as a quadratic in t with rho in it, and follow the way to "
        "(7.5). What becomes of the angle, and of the numerator?",
        "fall-range": "S falls as the batch grows: by which factor, greater than 1?",
        "flow-start": "at t = 0 each trajectory starts at a point of the noise.",
        "flow-marginal": "at each time the flow has the same points on the line as the pairs have. "
        "Only who is who differs.",
        "flow-cross": "these are paths of single pairs. On a line, do trajectories of a flow "
        "change places?",
    }
)
expect = HINTS.expect
DOUBLE = torch.float64
COSTS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def _rms(difference):
    return float(difference.square().sum(-1).mean().sqrt())


def _line(*numbers):
    return torch.tensor(numbers, dtype=DOUBLE)


def _along(target, path):
    return target.along(path).velocity


@check
def check_predicted_ratio(predicted_ratio):
    """predicted_ratio() -> a number."""
    ratio = run(predicted_ratio, like=float)
    expect(0.01 <= ratio <= 100, "ratio-range", f"a ratio of {ratio:g} is not to be expected")
    return f"predicted_ratio: {ratio:g}. Now measure"


def _moons():
    """The moons of exercise 1, at data scale 1."""
    moons = two_moons_target(n_components=40)
    means = moons.means.double() - moons.means.double().mean(0)
    scale = float(means.square().mean().sqrt())
    return GaussianMixture(means / scale, 0.05 / scale)


@check
def check_error_at_cost(error_at_cost):
    """error_at_cost(velocity, x_0, end, nfe, solver, t_end) -> a number."""
    x, calls = points(30, 2), []

    def field(x, t):
        calls.append(float(t))
        return torch.sin(x.flip(1)) + t * x

    for t_end, hint in ((1.0, "cost-norm"), (0.5, "cost-end")):
        end = solve(field, x, 40, "rk4", t_end=t_end, keep="end").end
        for solver, cost in COSTS.items():
            should = _rms(solve(field, x, 8 // cost, solver, t_end=t_end, keep="end").end - end)
            calls.clear()
            got = run(error_at_cost, field, x, end, 8, solver, t_end, like=float)
            found = f"{solver} shall take 8 evaluations and takes {len(calls)}"
            expect(len(calls) == 8, "cost-steps", found)
            found = f"{solver} to t = {t_end:g} errs by {should:.3g}, you find {got:.3g}"
            expect(abs(got / should - 1) < 1e-3, hint, found)
    x, target, ratio = points(100, 2), _moons(), {}
    for path, t_end in ((CondOT(), 1.0), (VP(), 1 - 1e-3)):
        u = _along(target, path)
        end = solve(u, x, 40, "rk4", t_end=t_end, keep="end").end
        for solver in ("euler", "midpoint"):
            error = run(error_at_cost, u, x, end, 8, solver, t_end, like=float)
            ratio[solver] = error if solver not in ratio else ratio[solver] / error
    found = ", ".join(f"{value:.2f} by {solver}" for solver, value in ratio.items())
    return f"error_at_cost: 8 evaluations each. CondOT's error over VP's on the moons: {found}"


@check
def check_relative_straightness(relative_straightness):
    """relative_straightness(t, x) -> a number."""
    even = torch.linspace(0, 1, 401, dtype=DOUBLE)
    uneven = even**2
    start, way = points(20, 2), points(20, 2, seed=1)

    def measured(t, clock, way=way):
        """On straight lines, with the share clock of each way covered at each time."""
        return run(relative_straightness, t, start + clock[:, None, None] * way, like=float)

    got = measured(even, even)
    found = f"for straight lines at constant speed it gives {got:.3g}, not 0"
    expect(abs(got) < 1e-9, "straight-zero", found)
    small, large = measured(even, even**2), measured(even, even**2, 3 * way)
    found = f"{small:.3f}, but {large:.3f} for ways that are three times as long"
    expect(abs(small - large) < 1e-6, "straight-scale", found)
    found = f"on ways covered like t^2 the velocity is off by a share 1 - 2t: 1/3, got {small:.3f}"
    expect(small > 1e-6, "straight-square", found)
    expect(abs(small - 1 / 3) < 1e-3, "straight-sum", found)
    two = torch.stack([even, even**2], dim=1)[..., None] * _line(1, 2)[:, None]  # (401, 2, 1)
    got = run(relative_straightness, even, two, like=float)
    found = f"two particles with S = 0, |d|^2 = 1 and S = 4/3, |d|^2 = 4: 4/15, got {got:.3f}"
    expect(abs(got - 4 / 15) < 1e-3, "straight-mean", found)
    got = measured(uneven, uneven)
    found = f"with unequal steps, for straight lines at constant speed it gives {got:.3g}, not 0"
    expect(abs(got) < 1e-9, "straight-speed", found)
    got = measured(uneven, uneven**2)
    found = f"on ways covered like t^2, seen at unequal steps, it is 1/3 as before, got {got:.3f}"
    expect(abs(got - 1 / 3) < 1e-3, "straight-weight", found)
    return "relative_straightness: 0 and 1/3 where it must be, whatever the steps and the scale"


def _power_S(p, s):
    """S of the clock theta = pi/2 t^p, by differences at times that are dense near 0."""
    t = torch.linspace(0, 1, 4001, dtype=DOUBLE) ** 3
    m = torch.sqrt(1 + (s**2 - 1) * torch.sin(0.5 * math.pi * t**p) ** 2)
    return float((m.diff() ** 2 / t.diff()).sum() - (s - 1) ** 2)


@check
def check_best_power(best_power):
    """best_power(s) -> a number."""
    best = []
    for s in (4.0, 0.5, 2.0):
        p = run(best_power, s, like=float)
        for other, hint in ((p + 0.04, "power-small"), (p - 0.04, "power-large")):
            worse = p > 0 and (other <= 0 or _power_S(p, s) < _power_S(other, s))
            found = f"at s = {s:g}, p = {other:.2f} has a smaller S than your p = {p:.2f}"
            expect(worse, hint, found)
        best.append(f"S = {_power_S(p, s):.3f} at s = {s:g}, where p = 1 has {_power_S(1, s):.3f}")
    return f"best_power: no better one beside it. {best[0]}"


@check
def check_straight_clock(straight_clock):
    """straight_clock(t, s) -> like t."""
    t = torch.linspace(0, 1, 101, dtype=DOUBLE)
    for s in (4.0, 2.0, 0.5):
        theta = run(straight_clock, t, s, like=t)
        found = f"at s = {s:g} it runs from {theta[0]:.3f} to {theta[-1]:.3f}, not from 0 to pi/2"
        expect(gap(theta[[0, -1]], _line(0, math.pi / 2)) < 1e-6, "clock-ends", found)
        back = float(theta.diff().min())
        expect(back > 0, "clock-back", f"at s = {s:g} some step of the clock is {back:.2g}")
        m = torch.sqrt(1 + (s**2 - 1) * torch.sin(theta) ** 2)
        worst = int((m - 1 - (s - 1) * t).abs().argmax())
        found = f"at s = {s:g} and t = {t[worst]:.2f} the flow multiplies by {m[worst]:.3f}, at"
        found = f"{found} constant speed it would be {1 + (s - 1) * float(t[worst]):.3f}"
        expect(gap(m, 1 + (s - 1) * t) < 1e-6, "clock-linear", found)
    run(straight_clock, t.float(), 2.0, like=t.float())
    return "straight_clock: m_t grows or shrinks at constant speed, so S = 0, at three scales"


@check
def check_corrected_step(corrected_step):
    """corrected_step(velocity, x, t, h, e) -> like x."""
    x, t, h, calls = points(5, 2), torch.tensor(0.3, dtype=DOUBLE), 0.2, []

    def step(velocity, e, x=x):
        def counted(x, t):
            calls.append(float(t))
            return velocity(x, t)

        calls.clear()
        return run(corrected_step, counted, x, t, h, e, like=x)

    def field(x, t):
        return torch.sin(3 * x.flip(1)) + (t * x) ** 2

    for e in (0.05, 0.1, 0.2):
        added = step(lambda x, t: torch.ones_like(x), e) - x
        found = f"where u = 1, a step of h = {h} must add {h}, adds {added[0, 0]:.3f}"
        expect(gap(added, h) < 1e-9, "half-none", found)
        added, exact = step(lambda x, t: 2 * t * torch.ones_like(x), e) - x, 0.5**2 - 0.3**2
        found = f"where u = 2t, a step from 0.3 to 0.5 must add {exact:.2f}, adds"
        found = f"{found} {added[0, 0]:.3f} with e = {e}"
        expect(gap(added, 2 * 0.3 * h) > 1e-6, "half-clock", found)
        expect(gap(added, exact) < 1e-9, "half-size", found)
        grown, exact = step(lambda x, t: x, e) / x, 1 + h + h**2 / 2
        found = f"where u = x, a step must multiply by {exact}, gives {grown[0, 0]:.3f}"
        expect(gap(grown, exact) < 1e-9, "half-place", found)
        found = f"velocity was called {len(calls)} times in one step"
        expect(len(calls) == 2, "half-calls", found)
        u = field(x, t)
        exact = x + h * (u + 0.5 * h * (field(x + e * u, t + e) - u) / e)
        got = step(field, e)
        found = f"in a field that is not linear, with e = {e}, a step must end at"
        found = f"{found} {exact[0, 0]:.4f}, ends at {got[0, 0]:.4f}"
        expect(gap(got, exact) < 1e-9, "half-where", found)
    step(lambda x, t: x, 0.1, points(4, 3, dtype=torch.float32))
    return "corrected_step: exact for u = 2t, right up to h^2 for u = x, two evaluations"


def _expect_times(step_times):
    t = torch.linspace(0, 1, 1001, dtype=DOUBLE)
    for n in (4, 10):
        like = t.new_empty(n + 1)
        got = run(step_times, t, torch.ones_like(t), n, like=like)
        found = f"the times go from {got[0]:.3g} to {got[-1]:.3g}"
        expect(gap(got[[0, -1]], _line(0, 1)) < 1e-9, "times-ends", found)
        found = f"one of the steps has the length {float(got.diff().min()):.3g}"
        expect(got.diff().min() > 0, "times-order", found)
        h = got.diff()
        found = f"with the same acceleration everywhere, steps of {h.min():.3f} to {h.max():.3f}"
        expect(gap(h, 1 / n) < 0.003, "times-even", found)
    n = 100  # so many that it does not matter where in a step the acceleration is taken
    for scale, at, hint in ((1.0, t, "times-miss"), (50.0, t**2, "times-spacing")):
        bend = scale * (1 + 3 * at) ** 2
        got = run(step_times, at, bend, n, like=t.new_empty(n + 1))
        h, middle = got.diff(), 0.5 * (got[1:] + got[:-1])
        found = f"the acceleration grows, and the first step is {h[0]:.3g}, the last {h[-1]:.3g}"
        where = "times-where" if at is t else hint
        expect(h[0] > 1.05 * h[-1], where, found)
        miss = h**2 * scale * (1 + 3 * middle) ** 2 / 2
        found = f"the first step misses by {miss[0]:.3g}, the last by {miss[-1]:.3g}"
        share = (got + 1.5 * got.square()) / 2.5  # of the integral of the root, up to each time
        expect(gap(share, torch.linspace(0, 1, n + 1)) < 0.008, hint, found)
    run(step_times, t.float(), torch.ones_like(t).float(), 4, like=t.new_empty(5).float())


@check
def check_step_times(step_times):
    """step_times(t, bend, n) -> (n + 1,)."""
    _expect_times(step_times)
    return "step_times: from 0 to 1, and all steps miss by the same"


def _ring(scale):
    angle = torch.arange(8, dtype=DOUBLE) * math.pi / 4
    return GaussianMixture(
        1.4 * scale * torch.stack([angle.cos(), angle.sin()], dim=1), 0.14 * scale
    )


def _bend(velocity, run, e=1e-5):
    """The rms acceleration at each time of a trajectory."""
    rows = []
    for x, t in zip(run.x, run.t.clamp(e, 1 - e), strict=True):
        u = velocity(x, t)
        rows.append(_rms(velocity(x + e * u, t + e) - velocity(x - e * u, t - e)) / (2 * e))
    return _line(*rows)


@check
def check_euler_at(euler_at, step_times):
    """euler_at(velocity, x, times) -> like x; with step_times, on the ring at data scale 4."""
    x, times = points(60, 2), _line(0, 0.1, 0.4, 0.7)
    h = times.diff()
    added = run(euler_at, lambda x, t: torch.ones_like(x), x, times, like=x) - x
    found = f"where u = 1, steps from 0 to 0.7 must add 0.7, they add {added[0, 0]:.3f}"
    expect(gap(added, 0.7) < 1e-6, "at-length", found)
    added = run(euler_at, lambda x, t: 2 * t * torch.ones_like(x), x, times, like=x) - x
    exact = float((2 * times[:-1] * h).sum())
    found = f"where u = 2t, Euler at 0, 0.1, 0.4 to 0.7 adds {exact:.2f}, got {added[0, 0]:.3f}"
    expect(gap(added, exact) < 1e-6, "at-step", found)
    grown, exact = run(euler_at, lambda x, t: x, x, times, like=x) / x, float((1 + h).prod())
    found = f"where u = x, the steps multiply by {exact:.3f}, got {grown[0, 0]:.3f}"
    expect(gap(grown, exact) < 1e-6, "at-place", found)
    run(euler_at, lambda x, t: x, x.float(), times.float(), like=x.float())
    _expect_times(step_times)
    told = []
    for name, path in (("CondOT", CondOT()), ("Cosine", Cosine())):
        u = _along(_ring(4.0), path)
        exact = solve(u, x, 64, "rk4")
        own = run(step_times, exact.t, _bend(u, exact), 16, like=exact.t.new_empty(17))
        equal = torch.linspace(0, 1, 17, dtype=DOUBLE)
        errors = [_rms(run(euler_at, u, x, at, like=x) - exact.end) for at in (equal, own)]
        told.append(f"{name} {errors[0]:.3f} and {errors[1]:.3f}")
    return f"euler_at: the error of 16 equal steps, and of yours: {', '.join(told)}"


@check
def check_paired_S(paired_S):
    """paired_S(s, rho) -> a number."""
    t = torch.linspace(0, 1, 4001, dtype=DOUBLE)
    for s in (2.0, 1.0, 0.5):
        got, exact = run(paired_S, s, 0.0, like=float), (2 - math.pi / 2) * s
        found = f"for s = {s:g} and rho = 0, (7.5) is {exact:.4f}, got {got:.4f}"
        expect(abs(got - exact) < 1e-6, "pairs-independent", found)
        got = run(paired_S, s, 1.0, like=float)
        expect(abs(got) < 1e-6, "pairs-aligned", f"for s = {s:g} and rho = 1 it is {got:.4f}")
        for rho in (-0.5, 0.5, 0.9):
            m = torch.sqrt((1 - t) ** 2 + (s * t) ** 2 + 2 * rho * s * t * (1 - t))
            exact = float((m.diff() ** 2 / t.diff()).sum() - (s - 1) ** 2)
            got = run(paired_S, s, rho, like=float)
            found = f"for s = {s:g} and rho = {rho:g} a quadrature gives {exact:.4f}, got {got:.4f}"
            expect(abs(got - exact) < 1e-4 * exact, "pairs-between", found)
    return "paired_S: (7.5) for independent pairs, 0 for aligned ones, a quadrature between"


@check
def check_predicted_fall(predicted_fall):
    """predicted_fall() -> a number."""
    factor = run(predicted_fall, like=float)
    found = f"a factor of {factor:g} is not to be expected"
    expect(1 < factor <= 1e4, "fall-range", found)
    return f"predicted_fall: {factor:g}. Now measure"


def _batches(size, n=2**16):
    """n pairs of numbers from N(0, 1), paired by transport within batches: on a line, by rank."""
    return (points(n // size, size, seed=k).sort(1).values.reshape(-1) for k in (0, 1))


@check
def check_own_flow(own_flow):
    """own_flow(x_0, x_1, t) -> (len(t), n)."""
    t = torch.linspace(0, 1, 21, dtype=DOUBLE)
    x_0, x_1 = points(50), 0.5 * points(50, seed=1) + 2
    x_t = x_0 + t[:, None] * (x_1 - x_0)
    got = run(own_flow, x_0, x_1, t, like=x_t)
    off = gap(got[0].sort().values, x_0.sort().values)
    expect(
        off < 1e-9, "flow-start", f"at t = 0 the points differ from the noise by up to {off:.2g}"
    )
    off = (got.sort(1).values - x_t.sort(1).values).abs().amax(1)
    found = (
        f"at t = {t[off.argmax()]:.2f} the cloud differs from the pairs' by up to {off.max():.2g}"
    )
    expect(off.max() < 1e-9, "flow-marginal", found)
    back = float(got[:, got[0].argsort()].diff(dim=1).min())
    found = f"a trajectory that starts left of another is later {-back:.2g} to its right"
    expect(back > -1e-9, "flow-cross", found)
    run(own_flow, x_0.float(), x_1.float(), t.float(), like=x_t.float())
    told, t = [], torch.linspace(0, 1, 11, dtype=DOUBLE)  # few times: steps wider than the gaps
    for size in (1, 4, 16, 64):
        x_0, x_1 = _batches(size)
        S = straightness(Trajectory(t, run(own_flow, x_0, x_1, t)[..., None], 0)).absolute
        told.append(f"{size}: {(x_1 - x_0).square().mean():.3f} and {S:.4f}")
    found = ", ".join(told)
    return f"own_flow: nobody overtakes. Mean squared distance and S, by size of batch: {found}"
