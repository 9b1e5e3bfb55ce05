"""Agreement with Meta's flow_matching, the library of Lipman et al. 2024 (Guide and Code).

Wherever it breaks down, the test says so and holds ours against a truth of its own.
"""

import math

import numpy as np
import pytest
import torch

from conftest import close, randn
from fmlib.exact import GaussianMixture
from fmlib.paths import VP, CondOT, Cosine, LinearVP, Polynomial
from fmlib.predictions import convert, transform_schedule
from fmlib.solvers import solve

peer = pytest.importorskip("flow_matching.path.scheduler")
AffineProbPath = pytest.importorskip("flow_matching.path").AffineProbPath
ODESolver = pytest.importorskip("flow_matching.solver").ODESolver

SHARED = [
    (CondOT(), peer.CondOTScheduler()),
    (VP(), peer.VPScheduler()),
    (VP(0.3, 12.0), peer.VPScheduler(0.3, 12.0)),
    (Cosine(), peer.CosineScheduler()),
    (LinearVP(), peer.LinearVPScheduler()),
    (Polynomial(2.0), peer.PolynomialConvexScheduler(2.0)),
    (Polynomial(3.5), peer.PolynomialConvexScheduler(3.5)),
]
INNER = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
MIXTURE = GaussianMixture(
    randn(3, 2, seed=7), torch.tensor([0.3, 0.5, 0.9]), torch.tensor([1.0, 2, 3])
)
NAMES = {"velocity": "velocity", "noise": "epsilon", "data": "target"}  # ours: theirs


def named(value):
    return type(value).__name__


shared = pytest.mark.parametrize("ours, theirs", SHARED, ids=named)


@shared
def test_schedules_and_their_derivatives(ours, theirs):
    their = theirs(INNER)
    for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
        close(getattr(ours, name)(INNER), getattr(their, f"{name}_t"))


@shared
def test_samples_of_the_path(ours, theirs):
    x_0, x_1 = randn(97, 3), randn(97, 3, seed=1)
    batch = ours.sample(x_0, x_1, INNER)
    sample = AffineProbPath(theirs).sample(x_0=x_0, x_1=x_1, t=INNER)
    close(batch.x_t, sample.x_t)
    close(batch.dx_t, sample.dx_t)


@shared
@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES)
def test_conversions(ours, theirs, source, target):
    convert_theirs = getattr(AffineProbPath(theirs), f"{NAMES[source]}_to_{NAMES[target]}", None)
    if source == target:
        assert convert_theirs is None  # all six others it has
        return
    x, value = randn(97, 2), randn(97, 2, seed=1)
    expected = convert_theirs(value, x, INNER[:, None])  # their t must already be a column
    # Polynomial(3.5) divides by t^3.5, 1e-6 at the smallest t: errors relative to the result
    ours_converted = convert(value, x, INNER, ours, source, target)
    torch.testing.assert_close(ours_converted, expected, rtol=1e-9, atol=1e-9)


def test_their_noise_at_t_0_is_infinite_and_ours_a_refusal():
    """At alpha_0 = 0 the noise does not determine the data: theirs divides by zero in silence."""
    x, noise, t = randn(3, 2), randn(3, 2, seed=1), torch.zeros(3, 1, dtype=torch.float64)
    theirs = AffineProbPath(peer.CondOTScheduler())
    assert not torch.isfinite(theirs.epsilon_to_target(noise, x, t)).any()
    with pytest.raises(ValueError, match="data does not follow"):
        convert(noise, x, 0.0, CondOT(), "noise", "data")


@pytest.mark.parametrize("ours, theirs", [SHARED[1], SHARED[4]], ids=named)
def test_their_derivative_at_t_1_is_infinite_and_ours_a_refusal(ours, theirs):
    assert theirs(torch.ones((), dtype=torch.float64)).d_sigma_t == -math.inf
    with pytest.raises(ValueError, match="d_sigma is infinite"):
        ours.d_sigma(1.0)


def test_their_vp_sigma_cancels_near_the_data():
    """sigma = sqrt(1 - exp(-T)) loses its digits where T is small; ours uses expm1.

    At 1 - t = 1e-13 theirs is wrong in the fourth digit. The truth is sqrt(T), to first order in T.
    """
    t = torch.tensor(1 - 1e-13, dtype=torch.float64)
    truth = math.sqrt(0.1 * float(1 - t))
    assert abs(float(VP().sigma(t)) / truth - 1) < 1e-11
    assert abs(float(peer.VPScheduler()(t).sigma_t) / truth - 1) > 1e-4


def test_their_cosine_ends_a_rounding_error_above_zero():
    one = torch.ones((), dtype=torch.float64)
    assert 0 < float(peer.CosineScheduler()(one).sigma_t) < 1e-16
    assert Cosine().sigma(one) == 0


# change of schedule

PAIRS = [(old, new) for old in SHARED for new in SHARED if old[0] != new[0]]


def both(old, new, field):
    """The two transformed velocities of one field on the old path.

    At the ends theirs may ask for a t that is NaN, infinite or beyond 1, and is given NaN.
    """

    def lenient(x, t):  # they call it by keyword
        return field(x, t) if 0 <= t <= 1 else x * torch.nan

    mine = transform_schedule(field, old[0], new[0])
    theirs = peer.ScheduleTransformedModel(
        velocity_model=lenient,
        original_scheduler=old[1],
        new_scheduler=new[1],
    )
    return mine, theirs


@pytest.mark.parametrize("old, new", PAIRS, ids=lambda pair: named(pair[0]))
@pytest.mark.parametrize("r", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_change_of_schedule(old, new, r):
    def field(x, t):
        return torch.sin(2 * x + 3 * t) - x.flip(1)

    r = torch.tensor(r, dtype=torch.float64)
    low = float(old[0].alpha(0.0) / old[0].sigma(0.0))
    if float(new[0].alpha(r) / new[0].sigma(r)) < low:
        # VP starts at alpha_0 > 0. Below that ratio theirs goes on to negative t, where no model
        # was trained, and ours stays at t = 0: no agreement to test. (VP(0.3, 12) has 0.05.)
        assert float(old[1].snr_inverse(new[0].alpha(r) / new[0].sigma(r))) < 0
        return
    x = randn(20, 2)
    mine, theirs = both(old, new, field)
    # Theirs multiplies by ds/dr and dt/dr of up to 100, on both sides of a subtraction.
    torch.testing.assert_close(mine(x, r), theirs(x, r), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("old, new", PAIRS[:6] + PAIRS[18:30], ids=lambda pair: named(pair[0]))
def test_change_of_schedule_of_an_exact_velocity(old, new):
    def field(x, t):
        return MIXTURE.along(old[0]).velocity(x, t)

    r = torch.tensor(0.6, dtype=torch.float64)
    x = randn(20, 2)
    mine, theirs = both(old, new, field)
    truth = MIXTURE.along(new[0]).velocity(x, r)
    close(mine(x, r), truth)
    close(theirs(x, r), truth)


def test_their_change_from_vp_at_r_0_is_nan():
    """VPScheduler.snr_inverse(0) takes log(0), so t = -inf and every number is NaN.

    Ours asks the model at VP's own start, and is right up to alpha_0 = 0.0066: here against the
    exact velocity of the new path, and against a central difference of a point along its flow.
    """
    old, new = SHARED[1], SHARED[0]
    mine, theirs = both(old, new, MIXTURE.along(old[0]).velocity)
    zero, x = torch.zeros((), dtype=torch.float64), randn(20, 2)
    assert torch.isneginf(old[1].snr_inverse(zero))
    assert torch.isnan(theirs(x, zero)).all()
    truth = MIXTURE.along(CondOT()).velocity(x, 0.0)
    torch.testing.assert_close(mine(x, 0.0), truth, rtol=0, atol=10 * float(VP().alpha(0.0)))
    h = 1e-3
    moved = solve(MIXTURE.along(CondOT()).velocity, x, 50, "rk4", t_end=h).end
    torch.testing.assert_close(mine(x, 0.0), (moved - x) / h, rtol=0, atol=0.1)


@pytest.mark.parametrize("old", [SHARED[0], SHARED[3], SHARED[5]], ids=lambda pair: named(pair[0]))
@pytest.mark.parametrize("new", [SHARED[0], SHARED[3], SHARED[5]], ids=lambda pair: named(pair[0]))
def test_their_change_at_r_1_breaks_down(old, new):
    """There alpha / sigma is infinite, or 1e16 on their Cosine: NaN, or wrong. Ours is exact.

    Cosine to Cosine alone is right there too: 1 / 6e-17 is inverted to t = 1 without loss.
    """
    mine, theirs = both(old, new, MIXTURE.along(old[0]).velocity)
    one, x = torch.ones((), dtype=torch.float64), randn(20, 2)
    truth = MIXTURE.along(new[0]).velocity(x, 1.0)
    close(mine(x, one), truth)
    if old[0] == new[0] == Cosine():
        close(theirs(x, one), truth)
    else:
        assert not (theirs(x, one) - truth).abs().max() < 1e-3  # NaN is not less either
    # And a central difference of one point along the new flow, ending at x.
    h = 1e-4
    before = solve(MIXTURE.along(new[0]).velocity, x, 50, "rk4", t_start=1.0, t_end=1 - h).end
    torch.testing.assert_close(mine(x, one), (x - before) / h, rtol=0, atol=1e-2)


def test_their_change_from_polynomial_at_r_0_is_nan_and_ours_a_refusal():
    old, new = SHARED[5], SHARED[0]
    mine, theirs = both(old, new, MIXTURE.along(old[0]).velocity)
    assert torch.isnan(theirs(randn(3, 2), torch.zeros((), dtype=torch.float64))).all()
    with pytest.raises(ValueError, match="does not follow"):
        mine(randn(3, 2), 0.0)


# solvers


@pytest.mark.parametrize("method", ["euler", "midpoint", "dopri5"])
def test_solutions(method):
    def field(x, t):  # defined beyond t = 1 too, where their dopri5 looks
        return torch.sin(2 * x + 3 * t) - x.flip(1)

    x_0, times = randn(20, 2), torch.linspace(0, 1, 9, dtype=torch.float64)
    mine = solve(field, x_0, 8, method, rtol=1e-8, atol=1e-8)
    theirs = ODESolver(velocity_model=lambda x, t: field(x, t)).sample(
        x_init=x_0,
        step_size=None if method == "dopri5" else 0.125,
        method=method,
        time_grid=times,
        rtol=1e-8,
        atol=1e-8,
        return_intermediates=True,
    )
    # dopri5: both stop within 1e-8 of the truth per step, along different steps
    atol = 1e-6 if method == "dopri5" else 1e-12
    torch.testing.assert_close(mine.x, theirs, rtol=0, atol=atol)
    np.testing.assert_allclose(mine.t, times, rtol=0, atol=1e-15)
