"""solve against torchdiffeq, called directly, and against scipy's adaptive solvers."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torchdiffeq import odeint

from conftest import randn
from fmlib.exact import GaussianMixture
from fmlib.paths import CondOT, Cosine
from fmlib.solvers import solve

MIXTURE = GaussianMixture(randn(3, 2, seed=7), torch.tensor([0.3, 0.5, 0.9]))


def pendulum(x, t):
    return torch.stack([x[:, 1] + 0.3 * t * x[:, 0], -torch.sin(3 * x[:, 0]) * (1 + t**2)], dim=1)


def mixture(x, t):
    return MIXTURE.along(Cosine()).velocity(x, t)


fields = pytest.mark.parametrize("field", [pendulum, mixture], ids=lambda f: f.__name__)
ends = pytest.mark.parametrize("start, end", [(0.0, 1.0), (1.0, 0.0), (0.2, 0.9)])


def grid(start, end, n=5):
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


@fields
@ends
def test_dopri5_is_torchdiffeqs(field, start, end):
    """A function that needs no protection beyond the end: the same steps, the same numbers."""
    x_0, times = randn(9, 2), grid(start, end)
    run = solve(field, x_0, 5, "dopri5", start, end, rtol=1e-7, atol=1e-8)
    options = {"step_t": times[-1:]}
    direct = odeint(
        lambda t, x: field(x, t), x_0, times, rtol=1e-7, atol=1e-8, method="dopri5", options=options
    )
    torch.testing.assert_close(run.x, direct, rtol=1e-10, atol=1e-10)
    assert torch.equal(run.t, times)


@fields
@ends
def test_dopri5_without_the_stop_at_the_end(field, start, end):
    """torchdiffeq's own default steps over t_end and interpolates; the tolerance is the same."""
    if field is mixture:  # whose velocity exists in [0, 1] only
        start, end = 0.1 + 0.8 * start, 0.1 + 0.8 * end
    x_0 = randn(9, 2)
    run = solve(field, x_0, 5, "dopri5", start, end, rtol=1e-9, atol=1e-9)
    direct = odeint(
        lambda t, x: field(x, t), x_0, grid(start, end), rtol=1e-9, atol=1e-9, method="dopri5"
    )
    # errors of 1e-9 in each of some 50 steps, grown by the field
    torch.testing.assert_close(run.x, direct, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
@fields
@ends
def test_fixed_steps(method, field, start, end):
    """Their "rk4" is the 3/8 rule: of the same order, but with other stages, so only close."""
    x_0, times = randn(9, 2), grid(start, end, 40)
    run = solve(field, x_0, 40, method, start, end)
    direct = odeint(lambda t, x: field(x, t), x_0, times, method=method)
    atol = 1e-5 if method == "rk4" else 1e-10
    torch.testing.assert_close(run.x, direct, rtol=0, atol=atol)


@pytest.mark.parametrize("method", ["RK45", "DOP853"])
@fields
@ends
def test_dopri5_against_scipy(method, field, start, end):
    x_0, times = randn(9, 2), grid(start, end)

    def flat(t, x):
        x = torch.tensor(x).reshape(9, 2)
        return field(x, torch.tensor(t, dtype=torch.float64)).flatten().numpy()

    truth = solve_ivp(
        flat, (start, end), x_0.flatten().numpy(), method, times.numpy(), rtol=1e-10, atol=1e-11
    )
    run = solve(field, x_0, 5, "dopri5", start, end, rtol=1e-10, atol=1e-11)
    ours = run.x.reshape(6, -1).numpy().T
    # each is within 1e-10 of the truth per step; scipy's values between its steps are interpolated,
    # DOP853 to 7th order and RK45 to 4th
    np.testing.assert_allclose(ours, truth.y, rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours[:, -1], truth.y[:, -1], rtol=0, atol=3e-8)


def test_a_tighter_tolerance_costs_more_and_is_closer():
    x_0 = randn(9, 2)
    truth = solve(MIXTURE.along(CondOT()).velocity, x_0, 500, "rk4").end
    nfe, error = [], []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        run = solve(
            MIXTURE.along(CondOT()).velocity, x_0, 1, "dopri5",
            rtol=tolerance, atol=tolerance,
        )  # fmt: skip
        nfe.append(run.nfe)
        error.append(float((run.end - truth).abs().max()))
    assert nfe == sorted(nfe) and len(set(nfe)) == 4
    assert error == sorted(error, reverse=True) and error[-1] < 1e-7
