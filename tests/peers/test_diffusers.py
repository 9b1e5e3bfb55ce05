"""Agreement with Hugging Face's diffusers.

Its schedulers keep betas and their product in float32, whatever the samples' dtype: alpha_bar is
then wrong by 4e-7 of itself (linear) or 1e-5 (cosine). So its tables are compared at that
precision, and for all that is computed from them they are first replaced by float64 ones.
"""

import math

import numpy as np
import pytest
import torch

from conftest import close, randn, wavy
from fmlib.diffusion import DDPM

diffusers = pytest.importorskip("diffusers")

ALL = [DDPM(), DDPM(schedule="cosine"), DDPM(50, 1e-3, 0.3), DDPM(50, schedule="cosine")]
chains = pytest.mark.parametrize("chain", ALL, ids=lambda c: f"{c.schedule}{c.n_steps}")


def exact_table(chain):
    """alpha_bar in float64 without fmlib: numpy's product, of the betas as published."""
    n = chain.n_steps
    if chain.schedule == "linear":
        beta = np.linspace(chain.beta_start, chain.beta_end, n)
    else:
        f = [math.cos((k / n + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(n + 1)]
        beta = np.array([min(1 - b / a, 0.999) for a, b in zip(f[:-1], f[1:], strict=True)])
    return torch.tensor(np.cumprod(1 - beta))


def scheduler(name, chain, exact=True, **more):
    theirs = getattr(diffusers, name)(
        num_train_timesteps=chain.n_steps,
        beta_start=chain.beta_start,
        beta_end=chain.beta_end,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[chain.schedule],
        clip_sample=False,
        **({"set_alpha_to_one": True} if name == "DDIMScheduler" else {}),
        **more,
    )
    if exact:
        theirs.alphas_cumprod = exact_table(chain)
    return theirs


# tables


@chains
@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_the_tables(chain, name):
    theirs = scheduler(name, chain, exact=False)
    assert theirs.alphas_cumprod.dtype == torch.float32
    # float32 rounds each of n factors by 6e-8
    torch.testing.assert_close(chain.beta.float(), theirs.betas, rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(
        chain.alpha_bar.float(), theirs.alphas_cumprod, rtol=6e-8 * chain.n_steps + 1e-6, atol=1e-9
    )
    torch.testing.assert_close(chain.alpha_bar, exact_table(chain), rtol=1e-11, atol=0)


def test_their_table_is_wrong_in_the_seventh_digit_and_ours_is_not():
    """Against exp(sum log(1 - beta)), summed without rounding."""
    chain = DDPM()
    logs = [math.log1p(-1e-4 - (0.02 - 1e-4) * k / 999) for k in range(1000)]
    truth = math.exp(math.fsum(logs))
    theirs = float(scheduler("DDPMScheduler", chain, exact=False).alphas_cumprod[-1])
    assert abs(float(chain.alpha_bar[-1]) / truth - 1) < 1e-12
    assert abs(theirs / truth - 1) > 1e-7


@chains
def test_noising(chain):
    x_1, x_0, k = randn(4, 2), randn(4, 2, seed=1), torch.tensor([0, 3, 20, 49])
    theirs = scheduler("DDPMScheduler", chain).add_noise(x_1, x_0, k)
    a = chain.alpha_bar[k][:, None]
    close(a.sqrt() * x_1 + (1 - a).sqrt() * x_0, theirs)


# one step and whole runs


@chains
@pytest.mark.parametrize(
    "variance, theirs", [("posterior", "fixed_small"), ("beta", "fixed_large")]
)
def test_ancestral_sampling(chain, variance, theirs):
    """All n_steps, the same noise from generators in the same state, state by state."""
    peer = scheduler("DDPMScheduler", chain, variance_type=theirs)
    first, second = (torch.Generator().manual_seed(5) for _ in range(2))
    x = randn(6, 2)
    run = chain.ancestral_sample(wavy, x, variance, first, keep="all")
    for k, before, after in zip(peer.timesteps.tolist(), run.x[:-1], run.x[1:], strict=True):
        stepped = peer.step(wavy(before, chain.time[k]), k, before, generator=second).prev_sample
        # one step from the very same state: they compute beta_k as 1 - alpha_bar_k /
        # alpha_bar_{k-1}, which loses 1e-16 / beta_k, and subtract what they added of x_k
        torch.testing.assert_close(after, stepped, rtol=1e-10, atol=1e-9)
    assert torch.equal(first.get_state(), second.get_state())


@pytest.mark.parametrize("chain", [ALL[0], ALL[2]], ids=lambda chain: str(chain.n_steps))
def test_a_whole_ancestral_run(chain):
    peer = scheduler("DDPMScheduler", chain)
    first, second = (torch.Generator().manual_seed(5) for _ in range(2))
    x = ours = randn(6, 2)
    for k in peer.timesteps.tolist():
        x = peer.step(0.5 * x, k, x, generator=second).prev_sample
    ours = chain.ancestral_sample(lambda x, t: 0.5 * x, ours, generator=first).end
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


GRIDS = [(steps, spacing) for spacing in ("trailing", "leading") for steps in (1, 5, 10, 25, 50)]


@chains
@pytest.mark.parametrize("steps, spacing", GRIDS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_on_sub_grids(chain, steps, spacing, eta):
    """Our own grid is their "trailing"; any other is passed as a list."""
    peer = scheduler("DDIMScheduler", chain, timestep_spacing=spacing)
    peer.set_timesteps(steps)
    grid = peer.timesteps.tolist()
    generator = torch.Generator().manual_seed(5)
    x = randn(6, 2)
    run = chain.ddim_sample(wavy, x, grid, eta, generator, keep="all")
    generator.manual_seed(5)
    states = [x]
    for k in grid:
        noise = wavy(x, chain.time[k])
        x = peer.step(noise, k, x, eta=eta, generator=generator).prev_sample
        states.append(x)
    close(run.x, torch.stack(states))
    if spacing == "trailing":
        generator.manual_seed(5)
        own = chain.ddim_sample(wavy, randn(6, 2), steps, eta, generator, keep="all")
        assert torch.equal(own.x, run.x)


@pytest.mark.parametrize("chain", ALL[:1] + ALL[2:3], ids=lambda chain: str(chain.n_steps))
def test_ddim_in_their_own_float32(chain):
    """As they are used: the tables' error of 1e-6 is what remains."""
    peer = scheduler("DDIMScheduler", chain, exact=False, timestep_spacing="trailing")
    peer.set_timesteps(10)
    x = randn(6, 2, dtype=torch.float32)
    ours = chain.ddim_sample(lambda x, t: 0.5 * x, x, 10).end
    for k in peer.timesteps.tolist():
        x = peer.step(0.5 * x, k, x).prev_sample
    # x is divided by sqrt(alpha_bar), 0.006 at worst
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps, spacing", [(7, "trailing"), (10, "linspace")])
def test_their_ddim_goes_to_a_step_that_it_does_not_visit(steps, spacing):
    """diffusers goes from k to k - n_steps // steps, whatever its next timestep is.

    Where n_steps is no multiple of steps, or the spacing is linspace, that is another step, and the
    model is then asked at a noise level which x does not have. For normal data the truth is known:
    with sqrt(alpha_bar) = cos a, noise = sin(a) x, so each step multiplies by cos(a_k - a_j).
    """
    chain, x = DDPM(), randn(6, 2)
    peer = scheduler("DDIMScheduler", chain, timestep_spacing=spacing)
    peer.set_timesteps(steps)
    grid = peer.timesteps.tolist()
    angle = torch.acos(chain.alpha_bar.sqrt())

    def model(x, t):
        k = int((chain.time - t).abs().argmin())
        return torch.sin(angle[k]) * x

    ours = chain.ddim_sample(model, x, grid).end
    visited = torch.cat([angle[grid], torch.zeros(1).double()])
    close(ours, torch.cos(visited.diff()).prod() * x)
    theirs = x
    for k in grid:
        theirs = peer.step(model(theirs, chain.time[k]), k, theirs).prev_sample
    assert (theirs / x - ours / x).abs().min() > 1e-3
    reached = [k - 1000 // steps for k in grid[:-1]]
    assert reached != grid[1:]
