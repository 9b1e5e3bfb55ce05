"""Other right answers to the exercises on lesson 07, and typical wrong ones with their hints."""

import math

import numpy as np
import torch
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from solved import answers, checks_of

from fmlib.metrics import straightness
from fmlib.solvers import Trajectory, euler_step, heun_step, midpoint_step, rk4_step, solve

STEPS = {"euler": euler_step, "midpoint": midpoint_step, "heun": heun_step, "rk4": rk4_step}


def cost(name):
    return {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}[name]


def error(steps=None, norm=None, stop=None):
    steps = steps or (lambda nfe, solver: nfe // cost(solver))
    norm = norm or (lambda off: off.norm(dim=1).square().mean().sqrt())

    def error_at_cost(velocity, x_0, end, nfe, solver, t_end):
        return norm(solve(velocity, x_0, steps(nfe, solver), solver, t_end=stop or t_end).end - end)

    return error_at_cost


def error_by_steps(velocity, x, end, nfe, solver, t_end):
    n = nfe // cost(solver)
    for i in range(n):
        x = STEPS[solver](velocity, x, torch.tensor(t_end * i / n), t_end / n)
    return np.sqrt(((x - end).numpy() ** 2).sum(1).mean())


def error_from_one_step_too_many(velocity, x_0, end, nfe, solver, t_end):
    velocity(x_0, torch.tensor(0.0))
    return error()(velocity, x_0, end, nfe, solver, t_end)


def straight_in_numpy(t, x):
    t, x = t.numpy(), x.numpy()
    speed = np.diff(x, axis=0) / np.diff(t)[:, None, None]
    square = ((speed - (x[-1] - x[0])) ** 2).sum(2).mean(1)
    return np.average(square, weights=np.diff(t)) / ((x[-1] - x[0]) ** 2).sum(1).mean()


def straight_by_energy(t, x):  # S = the mean square of the speed, less that of the whole way
    h, d = t.diff(), (x[-1] - x[0]).square().sum(1).mean()
    return (x.diff(dim=0).square().sum(2).mean(1) / h).sum() / d - 1


def straight(speed=None, off=None, mean=None):
    """The buggy one, or another in one of its parts."""
    speed = speed or (lambda t, x: x.diff(dim=0) / t.diff()[:, None, None])
    off = off or (lambda speed, d: (speed - d).square().sum(2))
    mean = mean or (lambda off, d, h: off.mean() / d.square().sum(1).mean())
    return lambda t, x: mean(off(speed(t, x), x[-1] - x[0]), x[-1] - x[0], t.diff()[:, None])


def weighted(off, h):
    return (h * off).sum(0)  # (batch,)


def clock_S(p, s):
    def square(t):
        angle = math.pi / 2 * t**p
        rate = math.pi / 2 * p * t ** (p - 1) * math.sin(angle) * math.cos(angle)
        return ((s**2 - 1) * rate) ** 2 / (1 + (s**2 - 1) * math.sin(angle) ** 2)

    return quad(square, 0, 1)[0]


def power_by_brent(s):
    return minimize_scalar(clock_S, bounds=(0.5, 2), args=(s,), method="bounded").x


def power_by_hand(s):
    t = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    p = torch.linspace(0.5, 2, 151, dtype=torch.float64)[:, None]
    angle = math.pi / 2 * t**p
    rate = math.pi / 2 * p * t ** (p - 1)
    speed = (s * s - 1) * angle.sin() * angle.cos() * rate
    return p[(speed**2 / (1 + (s * s - 1) * angle.sin() ** 2)).mean(1).argmin(), 0]


def power_through_nan(s):  # at t = 0 the rate is infinite for p < 1
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    p = torch.linspace(0.5, 2, 151, dtype=torch.float64)[:, None]
    angle = math.pi / 2 * t**p
    speed = (s * s - 1) * angle.sin() * angle.cos() * math.pi / 2 * p * t ** (p - 1)
    S = (speed**2 / (1 + (s * s - 1) * angle.sin() ** 2)).mean(1)
    return float(p[np.argmin(S.numpy()), 0])


def clock_by_arctan(t, s):  # tan^2 = (m^2 - 1) / (s^2 - m^2)
    m = 1 + (s - 1) * t
    return torch.atan2(((m**2 - 1) * (s - 1)).sqrt(), ((s**2 - m**2) * (s - 1)).sqrt())


def clock_by_roots(t, s):
    def angle(m):
        return brentq(lambda a: 1 + (s**2 - 1) * math.sin(a) ** 2 - m**2, 0, math.pi / 2)

    ends = {0.0: 0.0, 1.0: math.pi / 2}
    found = [ends.get(v) if v in ends else angle(1 + (s - 1) * v) for v in t.tolist()]
    return torch.tensor(found, dtype=t.dtype)


def corrected(bend=None, half=0.5):
    bend = bend or (lambda v, x, t, u, e: (v(x + e * u, t + e) - u) / e)

    def step(velocity, x, t, h, e):
        u = velocity(x, t)
        return x + h * (u + half * h * bend(velocity, x, t, u, e))

    return step


def corrected_as_a_mean(velocity, x, t, h, e):
    u, share = velocity(x, t), h / (2 * e)
    return torch.add(x, (1 - share) * u + share * velocity(x + e * u, t + e), alpha=h)


def corrected_as_written(v, x, t, h, e):  # term by term, the same velocity three times
    return x + h * (v(x, t) + 0.5 * h * (v(x + e * v(x, t), t + e) - v(x, t)) / e)


def times(density=torch.sqrt, width=None, ends=lambda at: at):
    width = width or (lambda t: t.diff())

    def step_times(t, bend, n):
        w = density(bend)
        steps = (0.5 * (w[1:] + w[:-1]) * width(t)).cumsum(0)
        share = np.concatenate([[0], steps / steps[-1]])
        return ends(torch.as_tensor(np.interp(np.linspace(0, 1, n + 1), share, t)).to(t))

    return step_times


def times_by_search(t, bend, n):
    steps = torch.cumulative_trapezoid(bend.sqrt(), t)
    goal = steps[-1] * torch.arange(1, n, dtype=t.dtype) / n
    i = torch.searchsorted(steps, goal)
    before = torch.cat([steps.new_zeros(1), steps])[i]
    inner = t[i] + (goal - before) / (steps[i] - before) * (t[i + 1] - t[i])
    return torch.cat([t[:1], inner, t[-1:]])


def times_by_walking(t, bend, n):  # as long as the sum of h sqrt(bend) is below a share
    w = bend.sqrt()
    total, at, gone = float((w[:-1] * t.diff()).sum()), [0.0], 0.0
    for a, b, c in zip(t[:-1].tolist(), t[1:].tolist(), w.tolist(), strict=False):
        gone += c * (b - a)
        while gone >= total * len(at) / n * (1 + 1e-12) and len(at) < n:
            at.append(b - (gone - total * len(at) / n) / c)
    return torch.tensor([*at[:n], 1.0], dtype=t.dtype)


def times_by_marching(t, bend, n):  # each miss taken with the acceleration at the step's start
    t_, bend_ = t.numpy(), bend.numpy()

    def march(miss):
        at = [0.0]
        for _ in range(n):
            at.append(at[-1] + math.sqrt(miss / np.interp(at[-1], t_, bend_)))
        return at

    miss = brentq(lambda miss: march(miss)[-1] - 1, 1e-9, 1e6, xtol=1e-14)
    return torch.tensor([*march(miss)[:-1], 1.0], dtype=t.dtype)


def loop(step=lambda a, b, n, span: b - a, time=lambda a, b: a, keep=False):
    def euler_at(velocity, x, times):
        start, n = x, len(times) - 1
        for a, b in zip(times[:-1], times[1:], strict=True):
            length = step(a, b, n, times[-1] - times[0])
            x = x + length * velocity(start if keep else x, time(a, b))
        return x

    return euler_at


def loop_by_solve(velocity, x, times):
    for a, b in zip(times.tolist()[:-1], times.tolist()[1:], strict=True):
        x = solve(velocity, x, 1, t_start=a, t_end=b).end
    return x


def recursion(velocity, x, times):
    if len(times) == 1:
        return x
    return recursion(velocity, euler_step(velocity, x, times[0], times[1] - times[0]), times[1:])


def S_by_quad(s, rho):
    def square(t):
        rate = (1 + s * s - 2 * rho * s) * t - (1 - rho * s)
        return rate**2 / ((1 - t) ** 2 + (s * t) ** 2 + 2 * rho * s * t * (1 - t))

    return 0.0 if rho == 1 and s == 1 else quad(square, 0, 1)[0] - (s - 1) ** 2


def S_by_angle(s, rho):
    angle = torch.acos(torch.tensor(rho, dtype=torch.float64))
    return 2 * s * (1 - rho) - s * angle * angle.sin()


def flow_by_rank(x_0, x_1, t):  # in the order of x_0
    x_t = torch.stack([(1 - s) * x_0 + s * x_1 for s in t])
    return x_t.sort(dim=1).values[:, x_0.argsort().argsort()]


def flow_in_numpy(x_0, x_1, t):
    rows = [np.sort(((1 - s) * x_0 + s * x_1).numpy()) for s in t]
    return torch.as_tensor(np.stack(rows)).flip(1)


RIGHT = {
    "check_predicted_ratio": [lambda: 0.5, lambda: torch.tensor(2)],
    "check_error_at_cost": [
        error(),
        error_by_steps,
        error(norm=lambda off: np.linalg.norm(off) / len(off) ** 0.5),
    ],
    "check_relative_straightness": [
        straight_in_numpy,
        straight_by_energy,
        lambda t, x: straightness(Trajectory(t, x, 0)).relative,
        lambda t, x: straight_by_energy(t, x.double()),
    ],
    "check_best_power": [power_by_brent, power_by_hand],
    "check_straight_clock": [
        clock_by_arctan,
        clock_by_roots,
        lambda t, s: torch.asin((((1 + (s - 1) * t) ** 2 - 1) / (s**2 - 1)).sqrt()),
        lambda t, s: torch.acos(((s**2 - (1 + (s - 1) * t) ** 2) / (s**2 - 1)).sqrt()),
    ],
    "check_corrected_step": [
        corrected(),
        corrected_as_a_mean,
        corrected_as_written,
    ],
    "check_step_times": [times(), times_by_search, times_by_walking, times_by_marching],
    "check_euler_at": [(answer, times()) for answer in (loop(), loop_by_solve, recursion)],
    "check_paired_S": [S_by_quad, S_by_angle],
    "check_predicted_fall": [lambda: 30, lambda: torch.tensor(10.0)],
    "check_own_flow": [flow_by_rank, flow_in_numpy],
}

WRONG = {
    "check_predicted_ratio": [
        (lambda: -0.5, "ratio-range"),
        (lambda: 0, "ratio-range"),
        (lambda: 1e6, "ratio-range"),
        (lambda: "OT", "wrong-type"),
    ],
    "check_error_at_cost": [
        (error(steps=lambda nfe, solver: nfe), "cost-steps"),  # equal steps
        (error(steps=lambda nfe, solver: nfe // 2), "cost-steps"),
        (error_from_one_step_too_many, "cost-steps"),
        (error(norm=lambda off: off.square().mean().sqrt()), "cost-norm"),
        (error(norm=lambda off: off.norm(dim=1).mean()), "cost-norm"),
        (error(norm=lambda off: off.square().sum(1).mean()), "cost-norm"),
        (error(stop=1.0), "cost-end"),
        (error(norm=lambda off: off.norm(dim=1)), "wrong-type"),
    ],
    "check_relative_straightness": [
        (straight(), "straight-weight"),  # the bug
        (straight(speed=lambda t, x: x.diff(dim=0) * (len(t) - 1)), "straight-speed"),
        (straight(speed=lambda t, x: x.diff(dim=0)), "straight-zero"),
        (straight(off=lambda speed, d: speed.square().sum(2)), "straight-zero"),
        (straight(mean=lambda off, d, h: weighted(off, h).mean()), "straight-scale"),
        (straight(mean=lambda off, d, h: off.mean() / d.norm(dim=1).mean()), "straight-scale"),
        (
            straight(
                off=lambda speed, d: speed - d,
                mean=lambda off, d, h: (
                    (h[..., None] * off).sum(0).square().sum() / d.square().sum()
                ),
            ),
            "straight-square",
        ),
        (straight(mean=lambda off, d, h: (h * off).mean() / d.square().mean()), "straight-sum"),
        (straight(mean=lambda off, d, h: (h * off).sum() / d.square().mean()), "straight-sum"),
        (
            straight(
                off=lambda speed, d: (speed - d).norm(dim=2),
                mean=lambda off, d, h: weighted(off, h).square().mean() / d.square().sum(1).mean(),
            ),
            "straight-sum",
        ),
        (
            straight(mean=lambda off, d, h: (weighted(off, h) / d.square().sum(1)).mean()),
            "straight-mean",
        ),
    ],
    "check_best_power": [
        (lambda s: 1.0, "power-small"),  # the lesson's
        (lambda s: 0.5, "power-small"),
        (lambda s: -1.0, "power-small"),
        (power_through_nan, "power-small"),
        (lambda s: 1.04, "power-small"),  # off by 0.025 at s = 4
        (lambda s: 2.0, "power-large"),
        (lambda s: 1.07, "power-large"),  # the best at s = 4, at every s
        (lambda s: torch.linspace(0.5, 2, 4), "wrong-type"),
    ],
    "check_straight_clock": [
        (lambda t, s: t, "clock-ends"),
        (lambda t, s: torch.asin(t * (2 + (s - 1) * t) / (2 + s)), "clock-ends"),
        (lambda t, s: clock_by_arctan(1 - t, s), "clock-ends"),  # noise and data swapped
        (lambda t, s: math.pi / 2 * t + torch.sin(2 * math.pi * t), "clock-back"),
        (lambda t, s: math.pi / 2 * t, "clock-linear"),  # the lesson's
        (lambda t, s: torch.asin(t), "clock-linear"),
        (lambda t, s: torch.asin(t.sqrt()), "clock-linear"),  # m^2 at constant speed
        (lambda t, s: torch.asin(t * (2 + (s - 1) * t) / (s + 1)), "clock-linear"),  # no root
        (lambda t, s: torch.asin((((1 + s * t) ** 2 - 1) / (s**2 - 1)).sqrt()), "not-finite"),
    ],
    "check_corrected_step": [
        (lambda v, x, t, h, e: x + h * v(x, t) + h / 2, "half-none"),
        (lambda v, x, t, h, e: x + v(x, t), "half-none"),
        (lambda v, x, t, h, e: x + h * v(x, t), "half-clock"),  # Euler
        (corrected(lambda v, x, t, u, e: (v(x + e * u, t) - u) / e), "half-clock"),
        (corrected(half=1.0), "half-size"),
        (corrected(half=-0.5), "half-size"),  # sign
        (corrected(lambda v, x, t, u, e: v(x + e * u, t + e) - u), "half-size"),
        (corrected(lambda v, x, t, u, e: (v(x, t + e) - u) / e), "half-place"),
        (corrected(lambda v, x, t, u, e: (v(x + u, t + e) - u) / e), "half-place"),
        (
            corrected(lambda v, x, t, u, e: (v(x + e * u, t + e) - v(x - e * u, t - e)) / (2 * e)),
            "half-where",
        ),
        (lambda v, x, t, h, e: midpoint_step(v, x, t, h), "half-where"),
        (lambda v, x, t, h, e: heun_step(v, x, t, h), "half-where"),
    ],
    "check_step_times": [
        (lambda t, bend, n: torch.linspace(0, 1, n + 2).to(t)[1:], "times-ends"),
        (lambda t, bend, n: torch.linspace(0, 0.9, n + 1).to(t), "times-ends"),
        (times(ends=lambda at: at.flip(0)), "times-ends"),
        (lambda t, bend, n: (torch.linspace(0, 1, n + 1) > 0.5).to(t), "times-order"),
        (lambda t, bend, n: torch.linspace(0, 1, n + 1).to(t) ** 2, "times-even"),
        (lambda t, bend, n: torch.linspace(0, 1, n + 1).to(t), "times-where"),
        (times(density=lambda bend: 1 / bend.sqrt()), "times-where"),
        (times(density=lambda bend: bend), "times-miss"),
        (times(density=lambda bend: bend**0.25), "times-miss"),
        (times(width=lambda t: 1.0), "times-spacing"),
        (lambda t, bend, n: t[: n + 1].diff(), "wrong-shape"),
    ],
    "check_euler_at": [
        ((loop(step=lambda a, b, n, span: 1 / n), times()), "at-length"),
        ((loop(step=lambda a, b, n, span: b), times()), "at-length"),
        ((loop(step=lambda a, b, n, span: span / n), times()), "at-step"),
        ((loop(time=lambda a, b: b), times()), "at-step"),  # right end
        ((loop(time=lambda a, b: (a + b) / 2), times()), "at-step"),
        ((loop(keep=True), times()), "at-place"),
        ((loop(keep=True), times(density=lambda bend: bend)), "at-place"),
    ],
    "check_paired_S": [
        (lambda s, rho: (2 - math.pi / 2) * s * s, "pairs-independent"),
        (
            lambda s, rho: 2 * s * (1 - rho) - (1 - rho**2) ** 0.5 * math.acos(rho),
            "pairs-independent",
        ),
        (lambda s, rho: S_by_quad(s, rho) + (s - 1) ** 2, "pairs-independent"),  # not subtracted
        (lambda s, rho: (2 - math.pi / 2) * s, "pairs-aligned"),
        (lambda s, rho: s * (2 - (1 - rho**2) ** 0.5 * math.acos(rho)), "pairs-aligned"),
        (lambda s, rho: (2 - math.pi / 2) * s * (1 - rho), "pairs-between"),
        (lambda s, rho: s * (2 * (1 - rho) - (1 - rho**2) ** 0.5 * math.pi / 2), "pairs-between"),
        (lambda s, rho: s * (2 * (1 - rho) - (1 - rho**2) * math.acos(rho)), "pairs-between"),
    ],
    "check_predicted_fall": [
        (lambda: 1 / 30, "fall-range"),
        (lambda: 1, "fall-range"),
        (lambda: 1e9, "fall-range"),
        (lambda: -10, "fall-range"),
    ],
    "check_own_flow": [
        (lambda a, b, t: a + t[:, None] * (b - a), "flow-cross"),  # the pairs' own paths
        (lambda a, b, t: a.sort().values + t[:, None] * (b - a), "flow-marginal"),
        (lambda a, b, t: torch.lerp(a.sort()[0], b.sort()[0], t[:, None]), "flow-marginal"),
        (lambda a, b, t: (b + t[:, None] * (a - b)).sort(1).values, "flow-start"),  # swapped
        (lambda a, b, t: (a + t[:, None] * (b - a)).sort(0).values, "flow-start"),  # wrong axis
        (lambda a, b, t: (a[:, None] + t * (b - a)[:, None]).sort(0).values, "wrong-shape"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("07", RIGHT, WRONG)


def test_euler_at_scores_without_step_times(capsys):
    def stub(t, bend, n):
        raise NotImplementedError

    for other in (stub, times(density=lambda bend: bend)):
        checks_of("07").check_euler_at(loop(), other)
        assert "Of yours, once step_times passes" in capsys.readouterr().out
