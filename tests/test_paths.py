import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import PATHS, randn
from fmlib.paths import VE, VP, CondOT, Cosine, LinearVP, Polynomial

INNER = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)


OFFSET = Cosine(0.008)


@pytest.mark.parametrize("name", ["alpha", "sigma"])
def test_derivatives_agree_with_finite_differences(path, name):
    f, df, h = getattr(path, name), getattr(path, f"d_{name}"), 1e-5
    central = (f(INNER + h) - f(INNER - h)) / (2 * h)
    # central differences of step h are wrong by h^2 f'''/6, here about 1e-8 of the value
    torch.testing.assert_close(df(INNER), central, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("path", [CondOT(), Cosine(), LinearVP(), Polynomial(2.5)])
def test_ends_are_noise_and_data_exactly(path):
    ends = torch.tensor([0.0, 1.0])
    assert path.alpha(ends).tolist() == [0.0, 1.0]
    assert path.sigma(ends).tolist() == [1.0, 0.0]


def test_vp_ends_where_the_papers_say():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    # T(1) = 0.1 + 19.9 / 2 = 10.05
    torch.testing.assert_close(VP().alpha(ends)[0].item(), math.exp(-5.025), rtol=1e-14, atol=0)
    assert VP().alpha(ends)[1] == 1 and VP().sigma(ends)[1] == 0


def test_ve_runs_from_sigma_max_to_sigma_min():
    path = VE(0.02, 30.0)
    torch.testing.assert_close(path.sigma(torch.tensor([0.0, 1.0])), torch.tensor([30.0, 0.02]))
    assert path.alpha(0.3) == 1


@pytest.mark.parametrize("offset", [0.008, 0.3, 2.0])
@pytest.mark.parametrize("name", ["alpha", "sigma"])
def test_derivatives_agree_with_finite_differences_for_an_offset_too(name, offset):
    f, df = (getattr(Cosine(offset), each) for each in (name, f"d_{name}"))
    h = 1e-5
    central = (f(INNER + h) - f(INNER - h)) / (2 * h)
    torch.testing.assert_close(df(INNER), central, rtol=1e-6, atol=1e-8)


def test_the_offset_cosine_is_the_published_one():
    """Nichol and Dhariwal 2021, eq. 17: alpha_bar = f(s) / f(0), f(s) = cos^2((s + o) / (1 + o)
    pi / 2), at diffusion time s = 1 - t."""
    f = ((1 - INNER + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    f_0 = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(OFFSET.alpha(INNER) ** 2, f / f_0, rtol=1e-12, atol=0)


def test_the_offset_cosine_has_exact_ends():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert OFFSET.alpha(ends).tolist() == [0.0, 1.0]
    assert OFFSET.sigma(ends)[1] == 0 and abs(float(OFFSET.sigma(ends)[0]) - 1) < 1e-15


def test_the_offset_cosines_sigma_is_precise_near_the_data():
    t = 1 - 1e-9
    s = 1 - t  # the s that was really passed on
    # alpha = sin(c t) / sin(c) falls with slope d_alpha(1), so sigma^2 = 2 s d_alpha(1) + O(s^2)
    expected = math.sqrt(2 * s * float(OFFSET.d_alpha(torch.tensor(1.0, dtype=torch.float64))))
    assert abs(float(OFFSET.sigma(torch.tensor(t, dtype=torch.float64))) / expected - 1) < 1e-6


def test_an_offset_that_vanishes_makes_no_difference():
    for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
        almost, plain = (getattr(path, name)(INNER) for path in (Cosine(1e-9), Cosine()))
        torch.testing.assert_close(almost, plain, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("path", [VP(), Cosine(), LinearVP(), OFFSET, Cosine(0.5)])
def test_variance_is_preserved(path):
    total = path.alpha(INNER) ** 2 + path.sigma(INNER) ** 2
    torch.testing.assert_close(total, torch.ones_like(INNER), rtol=1e-14, atol=0)


def test_vp_sigma_is_precise_near_the_data():
    s = 1e-9  # sigma^2 = 1 - exp(-T) = T - T^2/2 + ..., T = s beta_min + s^2 (19.9) / 2
    sigma = VP().sigma(torch.tensor(1 - s, dtype=torch.float64))
    s = 1 - (1 - s)  # the s that was really passed on
    expected = math.sqrt(0.1 * s)
    assert abs(float(sigma) / expected - 1) < 1e-6


def test_polynomial_of_degree_one_is_condot():
    for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
        torch.testing.assert_close(
            getattr(Polynomial(1.0), name)(INNER), getattr(CondOT(), name)(INNER)
        )


def test_sample_moves_with_its_own_velocity(path):
    x_0, x_1, t, h = randn(97, 3), randn(97, 3, seed=1), INNER, 1e-5
    here, before, after = (path.sample(x_0, x_1, s) for s in (t, t - h, t + h))
    central = (after.x_t - before.x_t) / (2 * h)
    torch.testing.assert_close(here.dx_t, central, rtol=1e-5, atol=1e-6)


def test_conditional_velocity_is_the_walkers_velocity(path):
    batch = path.sample(randn(97, 3), randn(97, 3, seed=1), INNER)
    u = path.conditional_velocity(batch.x_t, batch.x_1, batch.t)
    torch.testing.assert_close(u, batch.dx_t, rtol=1e-9, atol=1e-9)


def test_sample_names_its_parts_and_expands_t(path):
    batch = path.sample(randn(5, 1, 2, 2), randn(5, 1, 2, 2, seed=1), 0.4)
    assert batch.t.shape == (5,) and batch.x_t.shape == batch.dx_t.shape == (5, 1, 2, 2)
    assert batch._fields == ("x_0", "x_1", "t", "x_t", "dx_t", "y")


@given(
    st.sampled_from([*PATHS, OFFSET]),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_a_path_returns_finite_numbers_or_says_why_not(path, t, dtype):
    x_0, x_1 = randn(4, 2, dtype=dtype), randn(4, 2, seed=1, dtype=dtype)
    try:
        batch = path.sample(x_0, x_1, t)
        u = path.conditional_velocity(batch.x_t, x_1, t)
    except ValueError as error:
        assert "at t = " in str(error)
    else:
        assert all(z.dtype == dtype and torch.isfinite(z).all() for z in (batch.x_t, batch.dx_t, u))


@pytest.mark.parametrize("path", [VP(), LinearVP(), OFFSET])
def test_an_infinite_derivative_is_refused(path):
    with pytest.raises(ValueError, match="d_sigma is infinite at t = 1"):
        path.d_sigma(1.0)


@pytest.mark.parametrize("path", [*PATHS[:4], Polynomial(), OFFSET])
def test_conditional_velocity_is_refused_where_sigma_is_zero(path):
    with pytest.raises(ValueError, match="sigma_t = 0 at t = 1"):
        path.conditional_velocity(randn(3, 2), randn(3, 2), torch.tensor([0.5, 1.0, 0.2]))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"x_0": randn(4, 2)}, "same shape"),
        ({"x_1": randn(3, 2) / 0}, "x_1 must be finite"),
        ({"x_0": randn(3, 2) * math.nan}, "x_0 must be finite"),
        ({"t": 1.5}, r"t must lie in \[0, 1\]"),
        ({"t": torch.tensor([0.1, -0.1, 0.0])}, r"t must lie in \[0, 1\]"),
        ({"t": torch.rand(2)}, "t must be a scalar or have shape"),
        ({"t": torch.rand(3, 2)}, "t must be a scalar or have shape"),
    ],
)
def test_sample_refuses_bad_input(change, says):
    with pytest.raises(ValueError, match=says):
        CondOT().sample(**{"x_0": randn(3, 2), "x_1": randn(3, 2), "t": 0.5} | change)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VP(0.0, 1.0),
        lambda: VP(3, 2),
        lambda: Polynomial(0.5),
        lambda: VE(2, 1),
        lambda: Cosine(-0.1),
        lambda: Cosine(math.inf),
        lambda: Cosine(math.nan),
    ],
)
def test_impossible_schedules_are_refused(make):
    with pytest.raises(ValueError, match="needs|must be one finite number"):
        make()


# near the ends, and up to t_end


def test_digits_are_kept_near_both_ends_of_the_path():
    """In float32 at a float32 time: what float64 gives at that very time, to rounding."""
    gaps = 10.0 ** -torch.arange(1, 7, dtype=torch.float32)
    for path in [*PATHS, OFFSET, Polynomial(1.0), Polynomial(3.5)]:
        for t in torch.cat([gaps, 1 - gaps]):
            for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
                function = getattr(path, name)
                exact, got = float(function(t.double())), float(function(t))
                scale = max(abs(exact), 1e-30)
                assert abs(got - exact) < 2e-6 * scale, (path, name, float(t))


@pytest.mark.parametrize("path", [*PATHS, OFFSET, Polynomial()], ids=repr)
def test_t_end_is_the_last_time_at_which_training_is_possible(path):
    x_0, x_1 = randn(4, 2), randn(4, 2, seed=1)
    assert torch.isfinite(path.sample(x_0, x_1, path.t_end).dx_t).all()
    if path.t_end < 1:
        with pytest.raises(ValueError, match="infinite at t = 1"):
            path.sample(x_0, x_1, 1.0)
    assert path.t_end in (1.0, 1 - 1e-3)


def test_numbers_of_numpy_make_the_same_path():
    for one, other in (
        (VP(0.1, 20.0), VP(np.float64(0.1), np.int64(20))),
        (Cosine(0.5), Cosine(np.float32(0.5))),
        (Polynomial(3), Polynomial(np.float64(3))),
        (VE(0.5, 2), VE(np.float32(0.5), np.int64(2))),
    ):
        assert one == other and repr(one) == repr(other)
        t = torch.linspace(0.1, 0.9, 5)
        assert torch.equal(one.sigma(t), other.sigma(t)) and one.sigma(t).dtype == torch.float32
        assert torch.equal(one.alpha(np.float64(0.3)), one.alpha(0.3))


@pytest.mark.parametrize("y", [torch.arange(2), torch.zeros(4, 7)])
def test_labels_have_a_row_for_each_point(y):
    assert CondOT().sample(randn(4, 2), randn(4, 2), 0.5, torch.zeros(4, 7)).y.shape == (4, 7)
    if len(y) != 4:
        with pytest.raises(ValueError, match="y must have a row for each of the 4 points, got 2"):
            CondOT().sample(randn(4, 2), randn(4, 2), 0.5, y)
