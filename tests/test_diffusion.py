import math

import numpy as np
import pytest
import torch

from conftest import randn, wavy
from fmlib.diffusion import DDPM
from fmlib.exact import GaussianMixture
from fmlib.metrics import over_floor
from fmlib.paths import VP, Cosine
from fmlib.predictions import convert
from fmlib.solvers import solve

SHORT = DDPM(20, 0.01, 0.3)
USUAL = DDPM(200, 5e-4, 0.1)  # as noisy at its end as the published chain of 1,000 steps
COSINE = [DDPM(30, schedule="cosine"), DDPM(schedule="cosine")]
CHAINS = [SHORT, USUAL, DDPM(), DDPM(2, 1e-4, 0.02), *COSINE]
MEANS = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [-0.5, -1.5]], dtype=torch.float64)
MIXTURE = GaussianMixture(MEANS, torch.tensor([0.2, 0.4, 0.3]), torch.tensor([1.0, 2, 3]))
chains = pytest.mark.parametrize("chain", CHAINS, ids=lambda c: f"{c.schedule}{c.n_steps}")


class OfChain:
    """The chain's own alpha and sigma at its own times, in the form of a path for fmlib.exact."""

    def __init__(self, chain):
        self.signal = dict(zip(chain.time.tolist(), chain.alpha_bar.tolist(), strict=True))

    def alpha(self, t):
        return self._each(t, math.sqrt)

    def sigma(self, t):
        return self._each(t, lambda a: math.sqrt(1 - a))

    def _each(self, t, function):
        values = [function(self.signal[s]) for s in t.reshape(-1).tolist()]
        return torch.tensor(values, dtype=t.dtype).reshape(t.shape)


def noise_of(target, chain):
    """The exact prediction E[x_0 | x_k] for this target, as a network would make it."""
    path = OfChain(chain)
    return lambda x, t: -path.sigma(t) * target.along(path).score(x, t)


def gaussian(mean, std, dim=2):
    return GaussianMixture(torch.full((1, dim), mean, dtype=torch.float64), std)


# the chain


@chains
def test_betas_grow_and_the_signal_fades(chain):
    assert chain.beta.shape == chain.alpha_bar.shape == chain.time.shape == (chain.n_steps,)
    assert chain.beta.dtype == chain.alpha_bar.dtype == chain.time.dtype == torch.float64
    assert ((chain.beta > 0) & (chain.beta < 1)).all() and (chain.beta.diff() >= 0).all()
    assert ((chain.alpha_bar > 0) & (chain.alpha_bar < 1)).all()
    assert (chain.alpha_bar.diff() < 0).all()


def test_the_published_chain():
    """Ho et al. 2020: 1,000 steps, whose end is within 1e-5 bits of N(0, I), so alpha_bar 4e-5."""
    chain = DDPM()
    assert chain.beta[0] == 1e-4 and chain.beta[-1] == 0.02
    assert 4.0e-5 < chain.alpha_bar[-1] < 4.1e-5


@pytest.mark.parametrize(
    "chain", [SHORT, DDPM(30, schedule="cosine")], ids=lambda chain: chain.schedule
)
def test_a_walk_along_the_chain_has_these_moments(chain, generator):
    n, start = 100_000, 1.5
    x = torch.full((n,), start, dtype=torch.float64)
    for k in range(chain.n_steps):
        z = torch.randn(n, generator=generator, dtype=torch.float64)
        x = (1 - chain.beta[k]).sqrt() * x + chain.beta[k].sqrt() * z
        mean, variance = float(chain.alpha_bar[k].sqrt()) * start, float(1 - chain.alpha_bar[k])
        # five standard errors; a Gaussian's sample variance has relative error sqrt(2 / n)
        assert abs(float(x.mean()) - mean) < 5 * math.sqrt(variance / n)
        assert abs(float(x.var()) / variance - 1) < 5 * math.sqrt(2 / n)


@chains
def test_the_clock_is_turned_round(chain):
    assert chain.time[-1] == 0 and abs(float(chain.time[0]) - (1 - 1 / chain.n_steps)) < 1e-15
    assert abs(float(chain.time[0] + chain.time[-2]) - 1) < 1e-15  # equally spaced, falling
    gaps = chain.time.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, -1 / chain.n_steps))


def test_the_linear_chain_tends_to_its_path_like_one_over_its_length():
    steps, error = np.array([100, 200, 400, 800, 1600, 3200]), []
    for n in steps:
        chain = DDPM(int(n), 0.1 / n, 20 / n)
        path = chain.to_path()
        assert isinstance(path, VP)
        assert math.isclose(path.beta_min, 0.1) and math.isclose(path.beta_max, 20.0)
        error.append(float((path.alpha(chain.time) ** 2 - chain.alpha_bar).abs().max()))
    slope = np.polyfit(np.log(steps), np.log(error), 1)[0]
    assert abs(slope + 1) < 0.1
    assert error[-1] < 2e-3


@pytest.mark.parametrize("n", [2, 10, 100, 1000, 4000])
def test_the_cosine_chain_is_its_path_except_where_beta_is_clipped(n):
    chain = DDPM(n, schedule="cosine")
    free = chain.beta < 0.999
    assert chain.to_path() == Cosine(0.008)
    signal = chain.to_path().alpha(chain.time) ** 2
    torch.testing.assert_close(chain.alpha_bar[free], signal[free], rtol=1e-9, atol=0)
    clipped = (~free).nonzero().flatten().tolist()
    assert clipped == list(range(n - len(clipped), n)) and 1 <= len(clipped) < 3
    assert chain.beta.max() == 0.999 and (chain.alpha_bar[~free] > signal[~free]).all()


# the samplers


def test_ancestral_sampling_is_ddim_with_eta_1():
    for chain in (SHORT, DDPM(30, schedule="cosine")):
        x = randn(6, 2)
        first, second = (torch.Generator().manual_seed(5) for _ in range(2))
        ancestral = chain.ancestral_sample(wavy, x, generator=first, keep="all")
        ddim = chain.ddim_sample(wavy, x, eta=1.0, generator=second, keep="all")
        # at the clipped first step of the cosine chain both divide by sqrt(1 - beta) = 0.03
        torch.testing.assert_close(ancestral.x, ddim.x, rtol=1e-10, atol=1e-10)
        assert torch.equal(ancestral.t, ddim.t)
        assert torch.equal(first.get_state(), second.get_state())


def test_the_two_variances_differ():
    x = randn(6, 2)
    small, large = (
        SHORT.ancestral_sample(wavy, x, variance, torch.Generator().manual_seed(5)).end
        for variance in ("posterior", "beta")
    )
    assert (small - large).abs().min() > 1e-4


@pytest.mark.parametrize("chain", [SHORT, DDPM(5, 0.2, 0.5)], ids=lambda c: str(c.n_steps))
def test_variance_beta_is_exact_for_normal_data(chain, generator):
    """For p_1 = N(0, I) the reverse chain is the forward one, and every state is N(0, I)."""
    n = 50_000
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    model = noise_of(gaussian(0.0, 1.0), chain)
    run = chain.ancestral_sample(model, x, "beta", generator, keep="all")
    for state in run.x[:-1]:
        assert state.mean().abs() < 5 / math.sqrt(2 * n)
        assert abs(float(state.var()) - 1) < 5 * math.sqrt(2 / (2 * n))
    # The last step adds no noise, so its variance beta_0 is missing: 0.01, and 0.2.
    assert abs(float(run.end.var()) - float(1 - chain.beta[0])) < 5 * math.sqrt(2 / (2 * n))


def test_variance_posterior_is_exact_for_one_point(generator):
    """For a single point m, x_k ~ N(sqrt(alpha_bar_k) m, (1 - alpha_bar_k) I), and m at the end."""
    n, m = 50_000, 1.5
    signal = SHORT.alpha_bar
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    x = signal[-1].sqrt() * m + (1 - signal[-1]).sqrt() * x
    model = noise_of(gaussian(m, 0.0), SHORT)
    run = SHORT.ancestral_sample(model, x, "posterior", generator, keep="all")
    for state, a in zip(run.x[:-1], signal.flip(0), strict=True):
        variance = float(1 - a)
        assert abs(float(state.mean()) - float(a.sqrt()) * m) < 5 * math.sqrt(variance / (2 * n))
        assert abs(float(state.var()) / variance - 1) < 5 * math.sqrt(2 / (2 * n))
    torch.testing.assert_close(run.end, torch.full_like(x, m), rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", [None, 7, 1, [19, 12, 11, 3], [15, 2]], ids=str)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_finds_a_single_point_on_every_grid(steps, eta, generator):
    model = noise_of(gaussian(1.5, 0.0), SHORT)
    end = SHORT.ddim_sample(model, randn(6, 2), steps, eta, generator).end
    torch.testing.assert_close(end, torch.full_like(end, 1.5), rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", [None, 7, 1, [19, 12, 11, 3], [15, 2]], ids=str)
def test_ddim_on_normal_data_turns_through_the_angles_of_the_grid(steps):
    """With sqrt(alpha_bar) = cos a and noise = sin(a) x, each step multiplies by cos(a_k - a_j)."""
    seen = []

    def model(x, t):
        seen.append(float(t))
        return noise_of(gaussian(0.0, 1.0), SHORT)(x, t)

    x = randn(6, 2)
    end = SHORT.ddim_sample(model, x, steps).end
    index = [SHORT.time.tolist().index(t) for t in seen]
    angles = [math.acos(math.sqrt(float(SHORT.alpha_bar[k]))) for k in index] + [0.0]
    factor = math.prod(math.cos(a - b) for a, b in zip(angles[:-1], angles[1:], strict=True))
    torch.testing.assert_close(end, factor * x, rtol=1e-12, atol=0)


@pytest.mark.parametrize("mean, std", [(0.0, 0.3), (1.5, 0.5), (-1.0, 2.0)])
def test_ddim_reaches_a_gaussians_moments_like_one_over_its_steps(mean, std):
    target, steps, error = gaussian(mean, std), np.array([100, 200, 400, 800]), []
    x = randn(20, 2)
    for n in steps:
        chain = DDPM(int(n), 0.1 / n, 20 / n)
        a = float(chain.alpha_bar[-1])
        # the flow keeps each point's number of standard deviations from the mean
        z = (x - math.sqrt(a) * mean) / math.sqrt(a * std**2 + 1 - a)
        end = chain.ddim_sample(noise_of(target, chain), x).end
        error.append(float((end - mean - std * z).square().mean().sqrt()))
    slope = np.polyfit(np.log(steps), np.log(error), 1)[0]
    assert abs(slope + 1) < 0.15
    assert error[-1] < 0.02


def test_ddim_is_the_flow_of_the_path_in_the_limit():
    chain = DDPM(1000)
    path, x = chain.to_path(), randn(20, 2)

    def velocity(x, t):
        return MIXTURE.along(path).velocity(x, t)

    def model(x, t):
        return convert(velocity(x, t), x, t, path, "velocity", "noise")

    flow = solve(velocity, x, method="dopri5", t_end=1 - 1e-3, rtol=1e-8, atol=1e-8).end
    end = chain.ddim_sample(model, x).end
    # both leave out the end: the chain's last step, and 1e-3 of the flow, where sigma is 0.01
    assert (end - flow).abs().median() < 0.01 and (end - flow).abs().max() < 0.1


@pytest.mark.parametrize("name", ["posterior", "beta", "ddim", "ddim 50", "ddim eta 0.5", "cosine"])
def test_exact_predictions_give_samples_of_the_target(name, generator):
    chain = DDPM(200, schedule="cosine") if name == "cosine" else USUAL
    model = noise_of(MIXTURE, chain)

    def samples(n):
        x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        if name in ("posterior", "beta"):
            return chain.ancestral_sample(model, x, name, generator).end
        steps = 50 if name == "ddim 50" else None
        eta = 0.5 if name == "ddim eta 0.5" else 0.0
        return chain.ddim_sample(model, x, steps, eta, generator).end

    ratio = over_floor(samples, lambda n: MIXTURE.sample(n, generator))
    # 1 is the floor, 0.15 the spread around it; the wrong model below is above 2
    assert ratio < 1.45


def test_a_wrong_prediction_does_not(generator):
    model = noise_of(gaussian(0.0, 1.0), USUAL)
    ratio = over_floor(
        lambda n: USUAL.ddim_sample(model, torch.randn(n, 2, generator=generator).double()).end,
        lambda n: MIXTURE.sample(n, generator),
    )
    assert ratio > 2


def test_each_point_goes_its_own_way_and_turns_with_the_target():
    """DDIM mixes neither rows nor columns: what the model does is all that happens to them."""
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    turned = GaussianMixture(MEANS @ turn.T, MIXTURE.stds, MIXTURE.weights)
    x = randn(6, 2)
    here = SHORT.ddim_sample(noise_of(MIXTURE, SHORT), x).end
    there = SHORT.ddim_sample(noise_of(turned, SHORT), x @ turn.T).end
    torch.testing.assert_close(here @ turn.T, there, rtol=1e-10, atol=1e-10)
    model = noise_of(MIXTURE, SHORT)
    alone = torch.cat([SHORT.ddim_sample(model, x[i : i + 1]).end for i in range(6)])
    torch.testing.assert_close(alone, here, rtol=1e-10, atol=1e-10)


def test_eta_0_uses_no_noise_and_eta_does():
    generator = torch.Generator().manual_seed(5)
    before, x = generator.get_state(), randn(6, 2)
    assert torch.equal(
        SHORT.ddim_sample(wavy, x, 5, generator=generator).end, SHORT.ddim_sample(wavy, x, 5).end
    )
    assert torch.equal(generator.get_state(), before)
    noisy = [SHORT.ddim_sample(wavy, x, 5, 0.5, generator).end for _ in range(2)]
    assert (noisy[0] - noisy[1]).abs().min() > 0


@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_equal_grids_give_equal_samples(eta):
    def end(chain, steps):
        return chain.ddim_sample(
            wavy, randn(6, 2), steps, eta, torch.Generator().manual_seed(5)
        ).end

    every = list(range(19, -1, -1))
    for grid in (20, every, torch.tensor(every), range(19, -1, -1)):
        assert torch.equal(end(SHORT, None), end(SHORT, grid))
    assert torch.equal(end(SHORT, 4), end(SHORT, [19, 14, 9, 4]))
    assert torch.equal(end(SHORT, 1), end(SHORT, [19]))


@pytest.mark.parametrize("n", [2, 7, 20, 1000])
def test_a_number_of_steps_starts_at_the_noise_and_spreads_evenly(n):
    chain = DDPM(n, 1e-4, 0.02)
    for steps in {1, 2, (n + 1) // 2, n - 1, n}:
        seen = []
        run = chain.ddim_sample(lambda x, t: seen.append(t) or x, randn(1, 1), steps)  # noqa: B023
        assert len(seen) == run.nfe == steps and seen[0] == 0
        gaps = torch.stack([*seen, torch.ones(()).double()]).diff() * n
        assert (gaps > n / steps - 1 - 1e-9).all() and (gaps < n / steps + 1 + 1e-9).all()


@pytest.mark.parametrize("steps, nfe", [(None, 20), (6, 6), ([19, 4, 0], 3), ([5], 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_trajectory_holds_what_was_asked_for(steps, nfe, dtype):
    calls = []

    def model(x, t):
        assert t.shape == () and t.dtype == x.dtype == dtype
        calls.append(float(t))
        return 0.1 * x

    x = randn(3, 1, 2, 2, dtype=dtype)
    run = SHORT.ddim_sample(model, x, steps, keep="all")
    assert run.x.shape == (nfe + 1, 3, 1, 2, 2) and run.x.dtype == run.t.dtype == dtype
    assert run.nfe == len(calls) == nfe and torch.equal(run.x[0], x)
    assert run.t.tolist() == [*calls, 1.0]
    assert (run.t.diff() > 0).all()
    end = SHORT.ddim_sample(model, x, steps)
    assert end.t.tolist() == [1.0] and torch.equal(end.x, run.x[-1:]) and end.nfe == nfe
    ancestral = SHORT.ancestral_sample(model, x, keep="all")
    assert ancestral.x.shape == (21, 3, 1, 2, 2) and ancestral.nfe == 20
    expected = torch.cat([SHORT.time.flip(0), torch.ones(1).double()]).to(dtype)
    assert torch.equal(ancestral.t, expected)
    assert SHORT.ancestral_sample(model, x).x.shape == (1, 3, 1, 2, 2)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_the_generator_decides(variance):
    def end(seed):
        generator = torch.Generator().manual_seed(seed)
        return SHORT.ancestral_sample(wavy, randn(6, 2), variance, generator).end

    assert torch.equal(end(1), end(1)) and (end(1) - end(2)).abs().min() > 0


def test_no_gradient_is_recorded():
    weight = torch.ones((), requires_grad=True)
    assert not SHORT.ddim_sample(lambda x, t: weight * x, randn(2, 2)).end.requires_grad
    assert not SHORT.ancestral_sample(lambda x, t: weight * x, randn(2, 2)).end.requires_grad


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"n_steps": 1}, "n_steps must be an integer of at least 2, got 1"),
        ({"n_steps": 10.0}, "n_steps must be an integer"),
        ({"schedule": "sigmoid"}, "schedule must be 'linear' or 'cosine', got 'sigmoid'"),
        ({"beta_start": 0.0}, "0 < beta_start <= beta_end < 1"),
        ({"beta_start": 0.03}, "0 < beta_start <= beta_end < 1, got 0.03 and 0.02"),
        ({"beta_end": 1.0}, "0 < beta_start <= beta_end < 1"),
        ({"beta_end": math.nan}, "beta_end must be one finite number"),
        ({"n_steps": 20}, "0 < beta_start <= beta_end < 1, got 0.005 and 1.0: a chain this short"),
    ],
)
def test_impossible_chains_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        DDPM(**arguments)


BAD_RUNS = [
    ({"x": torch.ones(3, 2, dtype=torch.int64)}, "x must be a tensor of float32 or float64"),
    ({"x": torch.tensor(1.0)}, "x must have shape"),
    ({"x": torch.tensor([[math.inf]])}, "x must be finite"),
    ({"keep": "last"}, "keep must be 'all' or 'end', got 'last'"),
    ({"model": lambda x, t: x[:1]}, r"must return the shape of x, \(3, 2\), got \(1, 2\)"),
]


@pytest.mark.parametrize(
    "change, says",
    [
        *BAD_RUNS,
        ({"eta": 1.5}, r"eta must lie in \[0, 1\], got 1.5"),
        ({"eta": -0.1}, r"eta must lie in \[0, 1\]"),
        ({"eta": math.nan}, "eta must be one finite number"),
        ({"steps": 0}, "steps must be an integer from 1 to 20, got 0"),
        ({"steps": 21}, "steps must be an integer from 1 to 20, got 21"),
        ({"steps": []}, "falling list of k from 19 to 0"),
        ({"steps": [3, 5]}, "falling list"),
        ({"steps": [5, 5]}, "falling list"),
        ({"steps": [20, 5]}, "a step must be an integer from 0 to 19, got 20"),
        ({"steps": [5, -1]}, "a step must be an integer from 0 to 19, got -1"),
    ],
)
def test_bad_input_to_ddim_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        SHORT.ddim_sample(**{"model": wavy, "x": randn(3, 2)} | change)


@pytest.mark.parametrize(
    "change, says",
    [*BAD_RUNS, ({"variance": "small"}, "variance must be 'posterior' or 'beta', got 'small'")],
)
def test_bad_input_to_ancestral_sampling_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        SHORT.ancestral_sample(**{"model": wavy, "x": randn(3, 2)} | change)


@pytest.mark.parametrize("sampler", ["ancestral_sample", "ddim_sample"])
def test_a_model_that_returns_nan_is_refused(sampler):
    with pytest.raises(FloatingPointError, match="not finite"):
        getattr(SHORT, sampler)(lambda x, t: x / 0, randn(3, 2))
