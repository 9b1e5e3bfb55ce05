import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from conftest import randn
from fmlib.exact import GaussianMixture
from fmlib.metrics import over_floor
from fmlib.paths import VP, CondOT, Cosine
from fmlib.solvers import sde_solve, solve

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


@pytest.mark.parametrize("start, end", [(0.0, 1.0), (0.2, 0.7), (1.0, 0.0), (0.7, 0.2)])
def test_dopri5_stays_in_its_interval_though_the_flow_starts_slowly(start, end):
    """Where the velocity is small at first, the probe for a first step would go far."""
    calls = []

    def starts_slowly(x, t):
        calls.append(float(t))
        return torch.full_like(x, 1e-3 + 20 * abs(float(t) - start) ** 3)

    run = solve(starts_slowly, randn(5, 2), 1, "dopri5", t_start=start, t_end=end)
    assert min(start, end) <= min(calls) and max(calls) <= max(start, end)
    way = (1e-3 * abs(end - start) + 5 * abs(end - start) ** 4) * (1 if end > start else -1)
    torch.testing.assert_close(run.end, randn(5, 2) + way, rtol=1e-4, atol=1e-4)


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
        ({"steps": 0}, "at least 1, got 0"),
        ({"steps": 2.0}, "must be an integer"),
        ({"t_end": 1.5}, "t_end must lie in"),
        ({"t_start": -0.5}, "t_start must lie in"),
        ({"x_0": torch.tensor([[math.nan]])}, "x_0 must be finite"),
        ({"x_0": torch.tensor([[1]])}, "float32 or float64"),
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


# sde_solve


def of_target(std, path, mean=0.0):
    """velocity and score of N(mean, std^2 I) on a path."""
    target = GaussianMixture(torch.full((1, 2), mean, dtype=torch.float64), std)
    field = target.along(path)
    return field.velocity, field.score


@pytest.mark.parametrize("diffusion", [0, 0.0, lambda t: 0 * t], ids=["int", "float", "function"])
@pytest.mark.parametrize("keep", ["all", "end"])
def test_without_diffusion_the_sde_is_euler(diffusion, keep):
    x_0, times = randn(5, 2), {"steps": 9, "t_start": 0.1, "t_end": 0.9, "keep": keep}
    run = sde_solve(pendulum, lambda x, t: torch.exp(x), x_0, diffusion, **times)
    flow = solve(pendulum, x_0, method="euler", **times)
    assert torch.equal(run.x, flow.x) and torch.equal(run.t, flow.t) and run.nfe == flow.nfe == 9


def test_without_drift_the_sde_is_brownian_motion(generator):
    n, g = 20_000, 0.7
    run = sde_solve(
        lambda x, t: 0 * x, lambda x, t: 0 * x, torch.zeros(n, 1), g, 4, 0.0, 0.8,
        generator=generator,
    )  # fmt: skip
    steps = run.x.diff(dim=0)[:, :, 0]
    variance = g**2 * 0.2
    assert (steps.var(dim=1) / variance - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert (steps.mean(dim=1)).abs().max() < 5 * math.sqrt(variance / n)
    correlation = torch.corrcoef(steps) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(n)


def test_ornstein_uhlenbeck_forgets_its_start():
    """dX = -X g^2 / 2 dt + g dW from x: mean x exp(-g^2 t / 2), variance 1 - exp(-g^2 t)."""
    n, g, x = 50_000, 1.5, 2.0
    generator = torch.Generator().manual_seed(2)
    run = sde_solve(
        lambda x, t: 0 * x, lambda x, t: -x, torch.full((n, 1), x, dtype=torch.float64), g, 200,
        generator=generator,
    )  # fmt: skip
    decay, end = math.exp(-(g**2) / 2), run.end
    # five standard errors, and the bias of 200 Euler steps: (g^2 / 2)^2 / 400 = 0.003 of the decay
    assert abs(float(end.mean()) - x * decay) < 5 / math.sqrt(n) + 0.004 * x * decay
    assert abs(float(end.var()) - (1 - decay**2)) < 5 * math.sqrt(2 / n) + 0.01


@pytest.mark.parametrize("path", [CondOT(), VP(), Cosine()], ids=lambda path: type(path).__name__)
@pytest.mark.parametrize(
    "diffusion",
    [0.0, 0.5, 1.5, lambda t: 2 * (1 - t), lambda t: (2 * (1 - t)).sqrt()],
    ids=["0", "0.5", "1.5", "linear", "root"],
)
def test_every_diffusion_has_the_flows_marginals(path, diffusion):
    n, generator = 4000, torch.Generator().manual_seed(3)
    x_0 = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    velocity, score = of_target(0.5, path, 1.0)
    run = sde_solve(velocity, score, x_0, diffusion, 120, t_end=0.95, generator=generator)
    for i in (40, 80, 120):
        t = run.t[i]
        mean, variance = (
            float(path.alpha(t)),
            float((0.5 * path.alpha(t)) ** 2 + path.sigma(t) ** 2),
        )
        # five standard errors, and 0.03 for the bias of 120 Euler steps
        assert abs(float(run.x[i].mean()) - mean) < 5 * math.sqrt(variance / (2 * n)) + 0.03
        assert abs(float(run.x[i].var()) / variance - 1) < 5 * math.sqrt(2 / (2 * n)) + 0.03


def test_the_weak_error_falls_like_one_over_the_steps():
    """For linear drift Euler-Maruyama's variance obeys v <- (1 + h a)^2 v + h g^2, no sampling."""
    path, g = CondOT(), 1.0
    velocity, score = of_target(0.5, path)
    steps, error, sampled = np.array([40, 80, 160, 320]), [], []
    for n in steps:
        # A unit vector in, and no noise, shows by how much a step multiplies; g enters apart.
        one, h, v = torch.ones(1, 2, dtype=torch.float64), 0.9 / n, 1.0
        for i in range(n):
            t = torch.tensor(i * h, dtype=torch.float64)
            a = float((velocity(one, t) + 0.5 * g**2 * score(one, t))[0, 0])
            v = (1 + h * a) ** 2 * v + h * g**2
        error.append(abs(v - (0.45**2 + 0.1**2)))
        if n > 80:
            continue
        generator = torch.Generator().manual_seed(int(n))
        x_0 = torch.randn(25_000, 2, generator=generator, dtype=torch.float64)
        run = sde_solve(velocity, score, x_0, g, int(n), t_end=0.9, keep="end", generator=generator)
        sampled.append(abs(float(run.end.var()) / v - 1))
    slope = np.polyfit(np.log(steps), np.log(error), 1)[0]
    assert abs(slope + 1) < 0.15
    assert max(sampled) < 5 * math.sqrt(2 / 50_000)  # what sde_solve does is that recursion


def test_the_sde_makes_samples_of_a_mixture(generator):
    target = GaussianMixture(randn(3, 2, seed=7), torch.tensor([0.2, 0.5, 0.9]))
    field = target.along(CondOT())

    def samples(n):
        x_0 = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return sde_solve(
            field.velocity, field.score, x_0, lambda t: 1 - t, 200, keep="end", generator=generator
        ).end

    ratio = over_floor(samples, lambda n: target.sample(n, generator), n=300, repeats=5)
    assert ratio < 1.3


def test_the_sde_is_reproducible():
    def end(seed):
        generator = torch.Generator().manual_seed(seed)
        return sde_solve(pendulum, lambda x, t: -x, randn(5, 2), 0.5, 9, generator=generator).end

    assert torch.equal(end(1), end(1)) and (end(1) - end(2)).abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_sde_trajectory_holds_what_was_asked_for(dtype):
    calls = []

    def diffusion(t):
        calls.append(float(t))
        assert t.shape == () and t.dtype == dtype
        return 1 - t

    x_0 = randn(3, 1, 2, 2, dtype=dtype)
    run = sde_solve(lambda x, t: -x, lambda x, t: -x, x_0, diffusion, 8, t_start=0.2)
    assert run.x.shape == (9, 3, 1, 2, 2) and run.x.dtype == run.t.dtype == dtype
    assert torch.equal(run.x[0], x_0) and run.nfe == 8
    # g is evaluated at the start of each step, so never at the end, where it may not exist
    assert set(calls) == set(run.t[:-1].tolist())
    end = sde_solve(lambda x, t: -x, lambda x, t: -x, x_0, 0.3, 8, keep="end")
    assert end.x.shape == (1, 3, 1, 2, 2) and end.t.tolist() == [1.0]


def test_no_gradient_is_recorded_by_the_sde():
    weight = torch.ones((), requires_grad=True)
    end = sde_solve(lambda x, t: weight * x, lambda x, t: -weight * x, torch.ones(2, 2), 0.1, 3).end
    assert not end.requires_grad


@pytest.mark.parametrize(
    "change, says",
    [
        ({"steps": 0}, "at least 1, got 0"),
        ({"steps": 2.0}, "must be an integer"),
        ({"t_start": 0.5, "t_end": 0.5}, "forwards only, got times from 0.5 to 0.5"),
        ({"t_start": 1.0, "t_end": 0.0}, "forwards only"),
        ({"t_end": math.nan}, "t_end must be one finite number"),
        ({"t_end": 1.5}, "t_end must lie in"),
        ({"t_start": -0.5}, "t_start must lie in"),
        ({"keep": "last"}, "keep must be"),
        ({"x_0": torch.tensor([[math.nan]])}, "x_0 must be finite"),
        ({"x_0": torch.tensor([[1]])}, "float32 or float64"),
    ],
)
def test_bad_input_to_the_sde_is_refused(change, says):
    arguments = {"velocity": lambda x, t: x, "score": lambda x, t: -x, "x_0": torch.ones(3, 2)}
    with pytest.raises(ValueError, match=says):
        sde_solve(**arguments | {"diffusion": 0.1, "steps": 5} | change)


@pytest.mark.parametrize("name", ["velocity", "score"])
def test_a_wrong_shape_is_refused_by_the_sde_too(name):
    arguments = {"velocity": lambda x, t: x, "score": lambda x, t: -x} | {name: lambda x, t: x[:1]}
    with pytest.raises(ValueError, match="must return the shape of x"):
        sde_solve(**arguments, x_0=torch.ones(3, 2), diffusion=0.1, steps=5)


def test_an_sde_that_blows_up_is_refused():
    with pytest.raises(FloatingPointError):
        sde_solve(lambda x, t: x / 0, lambda x, t: -x, torch.ones(2, 1), 0.1, 4)


def test_a_diffusion_that_is_no_number_is_refused():
    for g in (torch.ones(2), lambda t: torch.ones(2)):
        with pytest.raises(ValueError, match="diffusion must be one finite number"):
            sde_solve(lambda x, t: x, lambda x, t: -x, torch.ones(2, 2), g, 4)


def test_dopri5_over_no_time_is_refused_and_keeps_its_hands_off_other_errors():
    with pytest.raises(ValueError, match="times that differ"):
        solve(lambda x, t: x, torch.ones(2, 2), 1, "dopri5", t_start=0.5, t_end=0.5)

    def asserting(x, t):
        raise AssertionError("my own")

    with pytest.raises(AssertionError, match="my own"):
        solve(asserting, torch.ones(2, 2), 1, "dopri5")


# given times, gradients, and what dopri5 reports by an assert


STEPPED = pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "rk4"])


@STEPPED
def test_given_times_are_taken_one_step_each(method):
    """Over two stretches of equal steps it is the two stretches, one after the other."""
    first = solve(pendulum, randn(5, 2), 3, method, t_end=0.3)
    second = solve(pendulum, first.end, 5, method, t_start=0.3)
    times = torch.cat([first.t, second.t[1:]])
    run = solve(pendulum, randn(5, 2), times, method)
    torch.testing.assert_close(run.x, torch.cat([first.x, second.x[1:]]), rtol=1e-12, atol=1e-12)
    assert torch.equal(run.t, times) and run.nfe == first.nfe + second.nfe
    torch.testing.assert_close(
        solve(pendulum, randn(5, 2), times, method, keep="end").x, run.x[-1:]
    )


@STEPPED
def test_equal_steps_are_given_times_too(method):
    equal = solve(pendulum, randn(5, 2), 7, method)
    for times in (torch.linspace(0, 1, 8), np.linspace(0, 1, 8), [i / 7 for i in range(8)]):
        torch.testing.assert_close(
            solve(pendulum, randn(5, 2), times, method).x, equal.x, rtol=1e-6, atol=1e-6
        )


@STEPPED
def test_given_times_may_fall(method):
    times = torch.tensor([0.0, 0.01, 0.1, 0.4, 1.0], dtype=torch.float64)
    fine = torch.cat([torch.linspace(a, b, 101)[:-1] for a, b in pairwise(times)] + [times[-1:]])
    there = solve(pendulum, randn(5, 2), fine, method).end
    back = solve(pendulum, there, fine.flip(0), method).end
    assert float((back - randn(5, 2)).abs().max()) < (0.05 if method == "euler" else 1e-3)


def test_dopri5_reports_at_the_given_times():
    times = [0.0, 0.05, 0.5, 1.0]
    run = solve(pendulum, randn(5, 2), times, "dopri5", rtol=1e-9, atol=1e-9)
    assert run.t.tolist() == times
    for t, x in zip(times[1:], run.x[1:], strict=True):
        exact = solve(pendulum, randn(5, 2), 400, "rk4", t_end=t).end
        torch.testing.assert_close(x, exact, rtol=1e-7, atol=1e-7)


def test_the_sde_takes_given_times_too(generator):
    """Brownian motion: the variance of each step is g^2 times its length."""
    times, n, g = [0.0, 0.1, 0.5, 0.6, 1.0], 20_000, 0.7
    still = lambda x, t: 0 * x  # noqa: E731
    run = sde_solve(still, still, torch.zeros(n, 1), g, times, generator=generator)
    variance = run.x.diff(dim=0)[:, :, 0].var(dim=1)
    expected = g**2 * torch.tensor(times).diff()
    assert (variance / expected - 1).abs().max() < 5 * math.sqrt(2 / n) and run.nfe == 4


@pytest.mark.parametrize(
    "steps, says",
    [
        ([0.0], "must all rise, or all fall"),
        ([0.0, 0.5, 0.5, 1.0], "must all rise, or all fall"),
        ([0.0, 0.5, 0.4], "must all rise, or all fall"),
        ([[0.0, 1.0]], "must all rise, or all fall"),
        ([0.0, 1.5], r"must lie in \[0, 1\]"),
        ([0.0, math.nan], r"must lie in \[0, 1\]"),
        ([0.0, "1"], "must be a number or a list of times"),
        (None, "steps must be an integer"),
        (True, "steps must be an integer"),
    ],
)
@pytest.mark.parametrize("method", ["euler", "dopri5"])
def test_times_out_of_order_are_refused(steps, says, method):
    with pytest.raises(ValueError, match=says):
        solve(pendulum, randn(2, 2), steps, method)


def test_given_times_and_an_end_contradict_each_other():
    with pytest.raises(ValueError, match="leave t_start and t_end out"):
        solve(pendulum, randn(2, 2), [0.0, 0.5], t_end=0.9)


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "rk4", "dopri5"])
@pytest.mark.parametrize("keep", ["all", "end"])
def test_gradients_are_recorded_if_asked_for(method, keep):
    """x(1) = x_0 e^a for dx/dt = a x, so its derivatives are e^a and x_0 e^a."""
    x_0 = randn(4, 2).requires_grad_()
    a = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    run = solve(lambda x, t: a * x, x_0, 40, method, keep=keep, grad=True)
    by_x, by_a = torch.autograd.grad(run.end.sum(), (x_0, a))
    tolerance = 0.02 if method == "euler" else 1e-4
    torch.testing.assert_close(by_x, torch.full_like(x_0, math.exp(0.4)), rtol=tolerance, atol=0)
    assert float(by_a) == pytest.approx(
        float(x_0.detach().sum()) * math.exp(0.4), rel=3 * tolerance
    )
    again = solve(lambda x, t: a * x, x_0, 40, method, keep=keep)
    assert not again.end.requires_grad and torch.equal(again.x, run.x.detach())
    with torch.no_grad():
        assert not solve(lambda x, t: a * x, x_0, 3, method, grad=True).end.requires_grad


HANGS = """
import torch
from fmlib.solvers import solve
if __debug__: raise SystemExit("asserts are on")
for velocity in (lambda x, t: x / 0, lambda x, t: 1 / (0.5 - t) ** 2 + 0 * x):
    try:
        solve(velocity, torch.ones(2, 2), 1, "dopri5")
    except FloatingPointError as error:
        print("no step small enough" in str(error))
"""


def test_dopri5_ends_where_python_leaves_asserts_out():
    command = [sys.executable, "-O", "-c", HANGS]
    run = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert run.stdout.split() == ["True", "True"], run.stderr


@pytest.mark.parametrize("optimize", ["rtol", "atol"])
def test_dopri5_needs_a_tolerance(optimize):
    for value in (-1e-3, math.nan, "small"):
        with pytest.raises(ValueError, match="tol"):
            solve(pendulum, randn(2, 2), 1, "dopri5", **{optimize: value})
    assert solve(pendulum, torch.zeros(0, 2), 3, "dopri5").x.shape == (4, 0, 2)
