"""From a velocity field to its flow: numerical solvers of dx/dt = u_t(x)."""

from dataclasses import dataclass

import torch

from fmlib.shapes import check_finite, check_points, check_unit_interval, noise_like

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

    Arguments as in euler_step.  Hairer, Norsett and Wanner 1993, eq. II.1.3.
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


def check_keep(keep):
    """Raise ValueError unless keep says which states a Trajectory shall hold."""
    if keep not in ("all", "end"):
        raise ValueError(f"keep must be 'all' or 'end', got {keep!r}")


def _check_steps(n_steps):
    if not isinstance(n_steps, int) or n_steps < 1:
        raise ValueError(f"n_steps must be an integer of at least 1, got {n_steps!r}")


def _check_keeps_shape(x, u, name):
    if u.shape != x.shape:
        raise ValueError(
            f"{name}(x, t) must return the shape of x, {tuple(x.shape)}, got {tuple(u.shape)}"
        )


@torch.no_grad()
def solve(
    velocity,
    x_0,
    n_steps=1,
    method="euler",
    t_start=0.0,
    t_end=1.0,
    keep="all",
    rtol=1e-5,
    atol=1e-5,
):
    """Follow dx/dt = velocity(x, t) from x_0 at t_start to t_end; return a Trajectory.

    velocity(x, t) -> (batch, *dims), with t a tensor of shape ().  x_0: (batch, *dims).
    method: "euler", "midpoint", "heun", "rk4" take n_steps equal steps; "dopri5" (through
    torchdiffeq) chooses its own to meet rtol and atol, and n_steps says how many equally spaced
    states it reports.  t_start > t_end follows the flow backwards.  keep: "all" or "end".
    No gradients are recorded.
    Raises ValueError for an unknown method or keep, n_steps < 1, times outside [0, 1], an x_0 that
    is not finite, or a velocity of the wrong shape; FloatingPointError if the solution diverges.
    Lipman et al. 2024 (Guide and Code), section 3.4.  Taught in: 02, sections 4 and 5.
    """
    if method != "dopri5" and method not in _STEPS:
        raise ValueError(f"method must be one of {[*_STEPS, 'dopri5']}, got {method!r}")
    check_keep(keep)
    _check_steps(n_steps)
    check_unit_interval("t_start", t_start)
    check_unit_interval("t_end", t_end)
    if method == "dopri5" and t_start == t_end:
        raise ValueError(f"dopri5 needs t_start and t_end to differ, got {t_start} for both")
    check_points("x_0", x_0)
    check_finite("x_0", x_0)

    def checked(x, t):
        u = velocity(x, t)
        _check_keeps_shape(x, u, "velocity")
        return u

    # Spaced in float64, then rounded: so t + h of the last step never comes out just beyond 1.
    times = torch.linspace(t_start, t_end, n_steps + 1, dtype=torch.float64).to(x_0)
    if method == "dopri5":
        states, nfe = _dopri5(checked, x_0, times, rtol, atol)
    else:
        step, evaluations = _STEPS[method]
        # One block for all states: many small ones scatter the memory and slow every step.
        states = x_0.new_empty(n_steps + 1 if keep == "all" else 1, *x_0.shape)
        states[0] = x_0
        rows = states[1:] if keep == "all" else states.expand(n_steps, *x_0.shape)
        h, x = (t_end - t_start) / n_steps, x_0
        for t, row in zip(times[:-1], rows, strict=True):
            x = step(checked, x, t, h)
            row.copy_(x)
        nfe = n_steps * evaluations
    if keep == "end":
        times, states = times[-1:], states[-1:]
    if not torch.isfinite(states[-1]).all():  # what is not finite once stays so
        raise FloatingPointError(
            "the solution is not finite: take more steps, stop earlier (t_end = 1 - 1e-3), "
            "or look for a division by zero in velocity"
        )
    return Trajectory(times, states, nfe)


@torch.no_grad()
def sde_solve(
    velocity, score, x_0, diffusion, n_steps, t_start=0.0, t_end=1.0, keep="all", generator=None
):
    """Euler-Maruyama for dX = (u_t(X) + g_t^2 score_t(X) / 2) dt + g_t dW.

    For every g this has the same marginals p_t as the flow dX = u_t(X) dt, which is g = 0: what the
    noise spreads out, the score draws together.
    velocity(x, t), score(x, t) -> (batch, *dims).  x_0: (batch, *dims).  diffusion: g, a number
    or a function of t, () -> (); all three are evaluated at the start of each step.
    Returns a Trajectory, whose nfe counts a velocity with its score as one.
    Raises ValueError as solve does, and unless t_start < t_end: noise cannot be taken back.
    Maruyama 1955; Song et al. 2021, eqs. 37 and 38; Albergo et al. 2023, corollary 18.
    Taught in: 06, section 6.
    """
    _check_steps(n_steps)
    if not t_start < t_end:
        raise ValueError(f"an SDE runs forwards only, got t_start = {t_start}, t_end = {t_end}")
    h = (t_end - t_start) / n_steps

    def drift_and_noise(x, t):  # Euler's step multiplies this by h, and makes sqrt(h) of the noise
        g = diffusion(t) if callable(diffusion) else diffusion
        if isinstance(g, torch.Tensor) and g.ndim > 0:
            raise ValueError(f"diffusion must be or return one number, got shape {tuple(g.shape)}")
        z = noise_like(x, generator)
        u, s = velocity(x, t), score(x, t)
        _check_keeps_shape(x, u, "velocity")
        _check_keeps_shape(x, s, "score")
        return u + 0.5 * g**2 * s + g / h**0.5 * z

    return solve(drift_and_noise, x_0, n_steps, "euler", t_start, t_end, keep)


def _dopri5(velocity, x_0, times, rtol, atol):
    """Dormand and Prince's adaptive 5(4) pair: states (n + 1, batch, *dims) and evaluations."""
    from torchdiffeq import odeint

    nfe, low, high = 0, times.min(), times.max()

    def counted(t, x):
        nonlocal nfe
        nfe += 1
        return velocity(x, t.clamp(low, high))  # its probe for a first step may look beyond the end

    # step_t keeps the solver from stepping over t_end, where velocity may not exist.
    options = {"step_t": times[-1:]}
    try:
        states = odeint(counted, x_0, times, rtol=rtol, atol=atol, method="dopri5", options=options)
    except AssertionError as error:  # how torchdiffeq reports a step size that went to zero
        if "underflow" not in str(error):
            raise
        raise FloatingPointError(
            f"dopri5 found no step small enough ({error}): stop earlier (t_end = 1 - 1e-3), or "
            "look for a division by zero in velocity"
        ) from error
    return states, nfe
