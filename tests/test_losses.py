import math

import pytest
import torch

from fmlib.exact import GaussianMixture
from fmlib.losses import cfm_loss, fm_loss, noise_loss
from fmlib.models import MLP
from fmlib.paths import CondOT

TARGET = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), 1.0)


def velocity(x, t):
    return TARGET.along(CondOT()).velocity(x, t)


def batch(n, generator):
    x_0, x_1 = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return CondOT().sample(x_0, x_1, torch.rand(n, generator=generator, dtype=torch.float64))


def test_losses_are_zero_for_their_own_answer(generator):
    b = batch(50, generator)
    assert cfm_loss(lambda x, t: b.dx_t, b) == 0
    assert noise_loss(lambda x, t: b.x_0, b) == 0
    assert fm_loss(velocity, b, velocity) == 0


def test_loss_sums_over_dimensions_and_averages_over_the_batch(generator):
    b = batch(50, generator)
    for loss, answer in ((cfm_loss, b.dx_t), (noise_loss, b.x_0)):
        assert float(loss(lambda x, t, a=answer: a + 3.0, b)) == pytest.approx(2 * 9.0)
    one_wrong = b.dx_t.clone()
    one_wrong[0, 0] += 5
    assert float(cfm_loss(lambda x, t: one_wrong, b)) == pytest.approx(25 / 50)


def test_values_differ_by_the_conditional_variance_known_by_quadrature(generator):
    """N(0, I) to N(0, I): V = pi.

    Cov(X_1 - X_0, X_t) = 2t - 1 and Var X_t = v = t^2 + (1-t)^2, so the variance left over in each
    of two dimensions is 2 - (2t-1)^2 / v = 1 / v, whose integral over t is pi / 2.
    """
    model, n = MLP(2, 16, 1).double(), 100_000
    b = batch(n, generator)
    with torch.no_grad():
        u = model(b.x_t, b.t)
        each = (u - b.dx_t).square().sum(1) - (u - velocity(b.x_t, b.t)).square().sum(1)
        gap = cfm_loss(model, b) - fm_loss(model, b, velocity)
    assert abs(float(gap) - 2 * math.pi / 2) < 5 * float(each.std()) / math.sqrt(n)


def test_gradients_agree_in_the_mean_and_those_of_another_target_do_not(generator):
    model = MLP(2, 16, 1).double()

    def gradient(loss):
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, tuple(model.parameters()))]
        )

    gaps = {"cfm": [], "noise": []}
    for _ in range(20):
        b = batch(5000, generator)
        right = gradient(fm_loss(model, b, velocity))
        gaps["cfm"].append(gradient(cfm_loss(model, b)) - right)
        gaps["noise"].append(gradient(noise_loss(model, b)) - right)
    errors = {
        k: torch.stack(g).mean(0) / (torch.stack(g).std(0) / 20**0.5) for k, g in gaps.items()
    }
    assert errors["cfm"].abs().max() < 5  # in standard errors, over all weights
    assert errors["noise"].abs().max() > 20


@pytest.mark.parametrize("loss", [cfm_loss, noise_loss])
@pytest.mark.parametrize("wrong", [lambda x, t: x[:, 0], lambda x, t: x[:1], lambda x, t: x.T])
def test_an_output_of_another_shape_is_refused(loss, wrong, generator):
    with pytest.raises(ValueError, match=r"model\(x, t\) must return the shape of x"):
        loss(wrong, batch(7, generator))
    with pytest.raises(ValueError, match=r"velocity\(x, t\) must return the shape of x"):
        fm_loss(lambda x, t: x, batch(7, generator), wrong)


def test_an_empty_batch_is_refused():
    batch = CondOT().sample(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0))
    with pytest.raises(ValueError, match="at least one example"):
        cfm_loss(lambda x, t: x, batch)


@pytest.mark.parametrize("loss", [cfm_loss, noise_loss, lambda m, b: fm_loss(m, b, velocity)])
def test_labels_reach_the_model_and_no_labels_do_not(loss, generator):
    b, y = batch(9, generator), torch.arange(9)
    seen = []
    loss(lambda x, t, *more: seen.append(more) or x, b)
    loss(lambda x, t, *more: seen.append(more) or x, b._replace(y=y))
    assert seen[0] == () and len(seen[1]) == 1 and torch.equal(seen[1][0], y)


def test_a_network_in_16_bits_by_autocast_is_trained_in_32(generator):
    model = MLP(2, 16, 1)
    b = batch(64, generator)
    b = b._make(None if x is None else x.float() for x in b)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(b.x_t, b.t).dtype == torch.bfloat16
        loss = cfm_loss(model, b)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(
        float(cfm_loss(model, b).detach()), rel=0.02
    )  # of 8 bits
