"""From a velocity field to its flow: numerical solvers of dx/dt = u_t(x)."""

from dataclasses import dataclass

import numpy as np
import torch

from fmlib.shapes import (
    check_finite,
    check_points,
    check_returned,
    check_settled,
    check_unit_interval,
    noise_like,
    real,
    whole,
)

__all__ = [
    "Trajectory",
    "euler_step",
    "heun_step",
    "midpoint_step",
    "rk4_step",
    "sde_solve",
    "solve",
]


@dataclass(frozen=True)
class Trajectory:
    """What solve returns: the states that were kept, and what they cost."""

    t: torch.Tensor  # (n + 1,), or (1,) with keep="end"
    x: torch.Tensor  # (n + 1, batch, *dims), or (1, batch, *dims)
    nfe: int  # number of velocity evaluations

    @property
    def end(self):
        """The last state, (batch, *dims)."""
        return self.x[-1]


def euler_step(velocity, x, t, h):
    """x + h u_t(x): follow the tangent. First order, 1 evaluation.

    velocity(x, t) -> (batch, *dims).  x: (batch, *dims).  t: () .  h: a number, of either sign.
    Hairer, Norsett and Wanner 1993, section II.1.  Taught in: 02, section 4.
    """
    return x + h * velocity(x, t)


def midpoint_step(velocity, x, t, h):
    """x + h u_{t+h/2}(x + (h/2) u_t(x)): the slope at mid-step. Second order, 2 evaluations.

    Arguments as in euler_step.  Hairer, Norsett and Wanner 1993, eq. II.1.4.
    """
    return x + h * velocity(x + 0.5 * h * velocity(x, t), t + 0.5 * h)


def heun_step(velocity, x, t, h):
    """x + (h/2) (u_t(x) + u_{t+h}(x + h u_t(x))): the mean of the slopes at both ends.

    Second order, 2 evaluations. Arguments as in euler_step.
    Hairer, Norsett and Wanner 1993, section II.1.  Taught in: 02, section 5.
    """
    u = velocity(x, t)
    return x + 0.5 * h * (u + velocity(x + h * u, t + h))


def rk4_step(velocity, x, t, h):
    """The classical Runge-Kutta step: slopes k_1 ... k_4, weights 1, 2, 2, 1.

    Fourth order, 4 evaluations. Arguments as in euler_step.
    Hairer, Norsett and Wanner 1993, table II.1.2.
    """
    k_1 = velocity(x, t)
    k_2 = velocity(x + 0.5 * h * k_1, t + 0.5 * h)
    k_3 = velocity(x + 0.5 * h * k_2, t + 0.5 * h)
    k_4 = velocity(x + h * k_3, t + h)
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


_STEPS = {  # method -> (step, evaluations per step)
    "euler": (euler_step, 1),
    "midpoint": (midpoint_step, 2),
    "heun": (heun_step, 2),
    "rk4": (rk4_step, 4),
}


def _time_grid(steps, t_start, t_end, x):
    """The times from t_start to t_end, (n + 1,), in float64: equal steps, or those given."""
    bounds = [real("t_start", t_start), real("t_end", t_end)]
    for name, bound in zip(("t_start", "t_end"), bounds, strict=True):
        check_unit_interval(name, bound)
    if isinstance(steps, (torch.Tensor, np.ndarray, list, tuple)) and np.ndim(steps) > 0:
        if bounds != [0.0, 1.0]:
            raise ValueError("steps holds the times themselves: leave t_start and t_end out")
        try:
            steps = steps.detach() if isinstance(steps, torch.Tensor) else steps
            times = torch.as_tensor(steps, dtype=torch.float64, device="cpu")
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"steps must be a number or a list of times, got {steps!r}") from None
    else:
        n = whole("steps", steps, 1)
        # Spaced in float64, then rounded: so t + h of the last step never comes out just beyond 1.
        times = torch.linspace(*bounds, n + 1, dtype=torch.float64, device="cpu")
    check_unit_interval("the times", times)
    moves = times.to(x.dtype).diff()
    one_way = (moves > 0).all() or (moves < 0).all() or t_start == t_end
    if times.ndim != 1 or len(times) < 2 or not one_way:
        raise ValueError(f"the times must all rise, or all fall, got {times.tolist()}")
    return times


def _follow(step, x_0, times, keep, grad=False):
    """The states of x = step(x, t, h) along the times, and the times that belong to them."""
    hs, clock = times.diff().tolist(), times.to(x_0)
    x, kept = x_0, [x_0]
    # One block for all states: many small ones scatter the memory and slow every step.
    block = None if grad or keep == "end" else x_0.new_empty(len(times), *x_0.shape)
    for i, (t, h) in enumerate(zip(clock[:-1], hs, strict=True), 1):
        x = step(x, t, h)
        if block is not None:
            block[i] = x
        elif keep == "all":
            kept.append(x)
    if keep == "end":
        return clock[-1:], x.unsqueeze(0)
    if block is None:
        return clock, torch.stack(kept)
    block[0] = x_0
    return clock, block


def check_start(name, x, keep, functions):
    """What solvers and samplers ask of their start, of keep, and of the modules they follow."""
    if keep not in ("all", "end"):
        raise ValueError(f"keep must be 'all' or 'end', got {keep!r}")
    check_points(name, x)
    check_finite(name, x)
    for what, function in functions.items():
        check_settled(what, function)


def check_end(x):
    """Raise FloatingPointError unless the end of a trajectory is finite."""
    if not torch.isfinite(x).all():  # what is not finite once stays so
        raise FloatingPointError(
            "the solution is not finite: take more steps, stop earlier (t_end = 1 - 1e-3), "
            "or look for a division by zero in what the model returns"
        )


def solve(
    velocity,
    x_0,
    steps=1,
    method="euler",
    t_start=0.0,
    t_end=1.0,
    keep="all",
    rtol=1e-5,
    atol=1e-5,
    grad=False,
):
    """Follow dx/dt = velocity(x, t) from x_0 at t_start to t_end; return a Trajectory.

    velocity(x, t) -> (batch, *dims), with t a tensor of shape ().  x_0: (batch, *dims), float32 or
    float64: in 16 bits small steps are rounded away.
    steps: how many equal steps, or the times themselves, n + 1 of them, rising or falling in
    [0, 1].  method: "euler", "midpoint", "heun", "rk4" take these steps; "dopri5" (through
    torchdiffeq) chooses its own to meet rtol and atol, and reports the states at these times.
    t_start > t_end follows the flow backwards.  keep: "all" or "end".  grad: whether gradients are
    recorded, of all states with respect to x_0 and to whatever velocity depends on.
    Raises ValueError for an unknown method or keep, steps < 1, times outside [0, 1] or out of
    order, an x_0 that is not finite, a module in training mode whose results depend on it, or a
    velocity that returns something unlike x; FloatingPointError if the solution diverges.
    Lipman et al. 2024 (Guide and Code), section 3.4.  Taught in: 02, sections 4 and 5.
    """
    if method != "dopri5" and method not in _STEPS:
        raise ValueError(f"method must be one of {[*_STEPS, 'dopri5']}, got {method!r}")
    check_start("x_0", x_0, keep, {"velocity": velocity})
    times = _time_grid(steps, t_start, t_end, x_0)

    def checked(x, t):
        return check_returned("velocity(x, t)", velocity(x, t), x)

    with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
        if method == "dopri5":
            clock = times.to(x_0)
            states, nfe = _dopri5(checked, x_0, clock, rtol, atol)
            if keep == "end":
                clock, states = clock[-1:], states[-1:]
        else:
            step, evaluations = _STEPS[method]
            clock, states = _follow(lambda *at: step(checked, *at), x_0, times, keep, grad)
            nfe = (len(times) - 1) * evaluations
    check_end(states[-1])
    return Trajectory(clock, states, nfe)


@torch.no_grad()
def sde_solve(
    velocity, score, x_0, diffusion, steps, t_start=0.0, t_end=1.0, keep="all", generator=None
):
    """Euler-Maruyama for dX = (u_t(X) + g_t^2 score_t(X) / 2) dt + g_t dW.

    For every g this has the same marginals p_t as the flow dX = u_t(X) dt, which is g = 0: what the
    noise spreads out, the score draws together.
    velocity(x, t), score(x, t) -> (batch, *dims).  x_0: (batch, *dims).  diffusion: g, a number
    or a function of t, () -> (); all three are evaluated at the start of each step.
    steps: how many, or the rising times themselves, as in solve.
    Returns a Trajectory, whose nfe counts a velocity with its score as one.
    Raises ValueError as solve does, and unless t_start < t_end: noise cannot be taken back.
    Maruyama 1955; Albergo et al. 2023, corollary 18; Song et al. 2021, appendix D.1, for g = 0.
    Taught in: 06, section 6.
    """
    check_start("x_0", x_0, keep, {"velocity": velocity, "score": score})
    times = _time_grid(steps, t_start, t_end, x_0)
    if not times[0] < times[-1]:
        raise ValueError(f"an SDE runs forwards only, got times from {times[0]} to {times[-1]}")

    def step(x, t, h):
        g = real("diffusion", diffusion(t) if callable(diffusion) else diffusion)
        z = noise_like(x, generator)
        u = check_returned("velocity(x, t)", velocity(x, t), x)
        s = check_returned("score(x, t)", score(x, t), x)
        return x + h * (u + 0.5 * g**2 * s) + g * h**0.5 * z

    clock, states = _follow(step, x_0, times, keep)
    check_end(states[-1])
    return Trajectory(clock, states, len(times) - 1)


def _dopri5(velocity, x_0, times, rtol, atol):
    """Dormand and Prince's adaptive 5(4) pair: states (n + 1, batch, *dims) and evaluations.

    torchdiffeq reports a step size that went to zero by an assert. Where Python leaves asserts out
    (PYTHONOPTIMIZE) it would go on for ever: so the times at which it asks are watched as well.
    """
    rtol, atol = real("rtol", rtol, 0), real("atol", atol, 0)
    if max(rtol, atol) == 0:
        raise ValueError("rtol or atol must be above 0, got 0 and 0")
    if times[0] == times[-1]:
        raise ValueError(f"dopri5 needs times that differ, got {float(times[0]):g} for both ends")
    if x_0.numel() == 0:
        return x_0.expand(len(times), *x_0.shape), 0
    from torchdiffeq import odeint

    asked, low, high = [], times.min(), times.max()
    no_step = FloatingPointError(
        "dopri5 found no step small enough: stop earlier (t_end = 1 - 1e-3), or look for a "
        "division by zero in velocity"
    )

    def counted(t, x):
        asked.append(float(t.detach()))
        u = velocity(x, t.clamp(low, high))  # its probe for a first step may look beyond the end
        stuck = len(asked) > 20 and len(set(asked[-20:])) == 1  # a step asks at five times
        if stuck or not torch.isfinite(u).all():
            raise no_step
        return u

    # step_t keeps the solver from stepping over t_end, where velocity may not exist.
    options = {"step_t": times[-1:]}
    try:
        states = odeint(counted, x_0, times, rtol=rtol, atol=atol, method="dopri5", options=options)
    except AssertionError as error:
        if "underflow" not in str(error):
            raise
        raise no_step from error
    return states, len(asked)
