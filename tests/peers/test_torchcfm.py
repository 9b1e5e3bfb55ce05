"""Agreement with torchcfm, the library of Tong et al. 2024."""

import numpy as np
import pytest
import torch

from conftest import close, randn
from fmlib.couplings import minibatch_ot
from fmlib.metrics import wasserstein
from fmlib.paths import CondOT, Cosine

peer = pytest.importorskip("torchcfm.conditional_flow_matching")
OTPlanSampler = pytest.importorskip("torchcfm.optimal_transport").OTPlanSampler

T = torch.rand(30, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("dims", [(2,), (1, 3, 3)], ids=str)
@pytest.mark.parametrize(
    "path, matcher",
    [
        (CondOT(), peer.ConditionalFlowMatcher(sigma=0.0)),
        (Cosine(), peer.VariancePreservingConditionalFlowMatcher(sigma=0.0)),
    ],
    ids=["condot", "cosine"],
)
def test_samples_and_targets(path, matcher, dims):
    """sigma = 0 takes away the noise that they add around each straight line."""
    x_0, x_1 = randn(30, *dims), randn(30, *dims, seed=1)
    batch = path.sample(x_0, x_1, T)
    t, x_t, u_t = matcher.sample_location_and_conditional_flow(x_0, x_1, t=T)
    assert torch.equal(t, batch.t)
    close(batch.x_t, x_t)
    close(batch.dx_t, u_t)


def test_velocity_of_lipman_et_al_towards_one_point():
    """TargetConditionalFlowMatcher draws its own noise, and returns it as eps: our x_0."""
    x_1 = randn(30, 2, seed=1)
    matcher = peer.TargetConditionalFlowMatcher(sigma=0.0)
    t, x_t, u_t, eps = matcher.sample_location_and_conditional_flow(
        randn(30, 2), x_1, t=T, return_noise=True
    )
    close(CondOT().sample(eps, x_1, t).x_t, x_t)
    close(CondOT().conditional_velocity(x_t, x_1, t), u_t)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 200])
@pytest.mark.parametrize("dims", [(2,), (1, 3, 3)], ids=str)
def test_the_plan_and_its_cost(n, dims):
    """Between equally many points of equal weight the best plan is a permutation: the same one."""
    x_0, x_1 = randn(n, *dims), randn(n, *dims, seed=1)
    plan = torch.tensor(OTPlanSampler(method="exact").get_map(x_0, x_1))
    paired, _ = minibatch_ot(x_0, x_1)
    close(n * torch.einsum("ij,i...->j...", plan, x_0), paired)
    cost = (plan * torch.cdist(x_0.flatten(1), x_1.flatten(1)) ** 2).sum()
    close((paired - x_1).square().sum() / n, cost)
    assert abs(float(cost) ** 0.5 - wasserstein(x_0, x_1)) < 1e-10


def test_their_sampler_repeats_points_and_ours_uses_each_once():
    """They draw n pairs from the plan, with replacement: about n / e points of each batch are
    left out, and others come twice or more. Every pair that they draw is one of ours."""
    n = 256
    x_0, x_1 = randn(n, 2), randn(n, 2, seed=1)
    a, b = minibatch_ot(x_0, x_1)
    assert len(torch.unique(a, dim=0)) == len(torch.unique(b, dim=0)) == n
    state = np.random.get_state()
    np.random.seed(0)  # the generator that their sampler draws from
    drawn_0, drawn_1 = OTPlanSampler(method="exact").sample_plan(x_0, x_1)
    np.random.set_state(state)
    left = n - len(torch.unique(drawn_0, dim=0))
    assert abs(left / n - np.exp(-1)) < 0.1
    assert len(torch.unique(drawn_1, dim=0)) == n - left
    pairs = set(map(tuple, torch.cat([a, b], dim=1).tolist()))
    assert set(map(tuple, torch.cat([drawn_0, drawn_1], dim=1).tolist())) < pairs
