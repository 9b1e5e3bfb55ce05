import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from conftest import randn
from fmlib.solvers import solve

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def pendulum(x, t):
    """A generic field: nonlinear in x, and it depends on t."""
    return torch.stack([x[:, 1] + 0.3 * t * x[:, 0], -torch.sin(3 * x[:, 0]) * (1 + t**2)], dim=1)


def logistic(x, t):
    """x' = 3 (1 + cos 4t) x (1 - x), whose solution is known."""
    return 3 * (1 + torch.cos(4 * torch.as_tensor(t))) * x * (1 - x)


def logistic_exact(x_0, t, start=0.0):
    grown = 3 * (t - start) + 0.75 * (math.sin(4 * t) - math.sin(4 * start))
    return x_0 * math.exp(grown) / (1 - x_0 + x_0 * math.exp(grown))


@pytest.mark.parametrize("start, end", [(0.0, 1.0), (1.0, 0.0), (0.2, 0.9)])
@pytest.mark.parametrize("method", ORDERS)
def test_error_falls_with_the_methods_order(method, start, end):
    x_0 = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)[:, None]
    exact = logistic_exact(x_0, end, start)
    steps = np.array([16, 32, 64, 128])
    runs = [solve(logistic, x_0, int(n), method, t_start=start, t_end=end) for n in steps]
    error = [float((run.end - exact).square().mean().sqrt()) for run in runs]
    slope = np.polyfit(np.log(steps), np.log(error), 1)[0]
    assert abs(slope + ORDERS[method]) < 0.15  # the next order's term still bends the line a little


@pytest.mark.parametrize("method", [*ORDERS, "dopri5"])
def test_solutions_agree_with_scipy(method):
    x_0 = randn(4, 2)

    def flat(t, x):
        return pendulum(torch.tensor(x).reshape(4, 2), torch.tensor(t)).flatten().numpy()

    truth = solve_ivp(flat, (0, 1), x_0.flatten().numpy(), rtol=1e-11, atol=1e-12).y[:, -1]
    end = solve(pendulum, x_0, 4000, method, rtol=1e-9, atol=1e-9, keep="end").end
    tolerance = {"euler": 5e-3, "midpoint": 1e-6, "heun": 1e-6}.get(method, 1e-8)
    torch.testing.assert_close(end.flatten(), torch.tensor(truth), rtol=0, atol=tolerance)


def test_dopri5_agrees_with_many_small_steps_and_counts_its_evaluations():
    calls = []

    def counted(x, t):
        calls.append(float(t))
        return pendulum(x, t)

    run = solve(counted, randn(5, 2), 4, "dopri5", rtol=1e-8, atol=1e-8)
    fine = solve(pendulum, randn(5, 2), 400, "rk4")
    torch.testing.assert_close(run.x, fine.x[::100], rtol=1e-6, atol=1e-6)
    assert run.nfe == len(calls) > 20
    assert min(calls) >= 0 and max(calls) <= 1  # it never looks beyond the end


@pytest.mark.parametrize(
    "method, evaluations", [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)]
)
def test_a_trajectory_holds_what_was_asked_for(method, evaluations):
    calls = []

    def counted(x, t):
        calls.append(float(t))
        assert t.shape == ()
        return -x

    x_0 = randn(3, 1, 2, 2, dtype=torch.float32)
    run = solve(counted, x_0, 7, method, t_start=0.1, t_end=1.0)
    assert run.x.shape == (8, 3, 1, 2, 2) and run.t.shape == (8,) and run.x.dtype == torch.float32
    assert run.nfe == len(calls) == 7 * evaluations
    assert max(calls) <= 1.0 and torch.equal(run.x[0], x_0) and torch.equal(run.x[-1], run.end)
    end = solve(counted, x_0, 7, method, t_start=0.1, t_end=1.0, keep="end")
    assert end.x.shape == (1, 3, 1, 2, 2) and end.t.tolist() == [1.0]
    assert torch.equal(end.end, run.end)


@pytest.mark.parametrize("n", range(1, 60))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_last_evaluation_is_at_the_end_and_never_beyond(n, dtype):
    latest = []
    for start, end in ((0.0, 1.0), (1.0, 0.0)):
        solve(lambda x, t: latest.append(float(t)) or -x, torch.ones(1, 1, dtype=dtype), n, "rk4",
              t_start=start, t_end=end)  # fmt: skip
    assert 1 - 1e-7 < max(latest) <= 1.0 and min(latest) == 0.0


def test_no_gradient_is_recorded():
    weight = torch.ones((), requires_grad=True)
    end = solve(lambda x, t: weight * x, torch.ones(2, 2), 3).end
    assert not end.requires_grad and not end.is_inference()  # reflow trains on such ends


@pytest.mark.parametrize(
    "change, says",
    [
        ({"method": "eulr"}, r"one of \['euler', .*'dopri5'\], got 'eulr'"),
        ({"keep": "last"}, "keep must be"),
        ({"n_steps": 0}, "at least 1, got 0"),
        ({"n_steps": 2.0}, "must be an integer"),
        ({"t_end": 1.5}, "t_end must lie in"),
        ({"t_start": -0.5}, "t_start must lie in"),
        ({"x_0": torch.tensor([[math.nan]])}, "x_0 must be finite"),
        ({"x_0": torch.tensor([[1]])}, "floating-point"),
        ({"velocity": lambda x, t: x[:1]}, "must return the shape of x"),
        ({"velocity": lambda x, t: x.sum(1)}, "must return the shape of x"),
    ],
)
def test_bad_input_is_refused(change, says):
    arguments = {"velocity": lambda x, t: x, "x_0": torch.ones(3, 2)} | change
    with pytest.raises(ValueError, match=says):
        solve(**arguments)


@pytest.mark.parametrize("method", ["euler", "dopri5"])
def test_a_solution_that_blows_up_is_refused(method):
    with pytest.raises(FloatingPointError):
        solve(lambda x, t: x / (0.5 - t) ** 2 * 1e30, torch.ones(2, 1), 40, method)
