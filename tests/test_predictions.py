import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from conftest import PATHS, randn
from fmlib.couplings import masked, minibatch_ot
from fmlib.exact import GaussianMixture
from fmlib.paths import VE, VP, CondOT, Cosine, LinearVP, Polynomial
from fmlib.predictions import KINDS, convert, guide, transform_schedule
from fmlib.shapes import expand_time
from fmlib.solvers import solve

MIXTURE = GaussianMixture(
    randn(3, 2, seed=7), torch.tensor([0.3, 0.5, 0.9]), torch.tensor([1.0, 2, 3])
)
IMAGES = GaussianMixture(randn(4, 1, 2, 3, seed=9), 0.4)
PAIRS = [(a, b) for a in KINDS for b in KINDS if a != b]
ALL = [*PATHS, Cosine(0.008)]
WITHOUT_NOISE = [CondOT(), VP(), Cosine(), LinearVP(), Polynomial(3.0), Cosine(0.008)]  # at t = 1
FROM_NOISE = [CondOT(), Cosine(), LinearVP(), Cosine(0.008)]  # alpha_0 = 0, d_alpha_0 > 0
ROWS = 0.05 + 0.9 * torch.rand(11, generator=torch.Generator().manual_seed(3)).double()


def named(path):
    return type(path).__name__ + ("_offset" if getattr(path, "offset", 0) else "")


pairs = pytest.mark.parametrize("source, target", PAIRS, ids=lambda kind: kind)


def exactly(kind, mixture, path, x, t):
    if kind == "noise":
        return -path.sigma(expand_time(t, x)) * mixture.along(path).score(x, t)
    name = {"data": "posterior_mean"}.get(kind, kind)
    return getattr(mixture.along(path), name)(x, t)


# convert


@pairs
@pytest.mark.parametrize("mixture", [MIXTURE, IMAGES], ids=["plane", "image"])
def test_each_kind_becomes_each_other_as_it_is_exactly(path, source, target, mixture):
    x = randn(11, *mixture.means.shape[1:])
    for t in (0.1, torch.tensor(0.9), ROWS):
        value, expected = (exactly(kind, mixture, path, x, t) for kind in (source, target))
        result = convert(value, x, t, path, source, target)
        # rounding grows by up to 1 / alpha_t, which for Polynomial(3) is 8000 at the smallest t
        torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)


@pairs
def test_there_and_back_is_where_one_was(path, source, target):
    x, value = randn(11, 3), randn(11, 3, seed=1)
    there = convert(value, x, ROWS, path, source, target)
    back = convert(there, x, ROWS, path, target, source)
    torch.testing.assert_close(back, value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_stays_itself_even_at_the_ends(path, kind):
    value = randn(4, 2)
    for t in (0.0, 1.0):
        assert convert(value, randn(4, 2, seed=1), t, path, kind, kind, False) is value


@pytest.mark.parametrize(
    "source, target", [pair for pair in PAIRS if "score" not in pair], ids=lambda kind: kind
)
@pytest.mark.parametrize("coupling", ["minibatch_ot", "masked"])
def test_three_kinds_need_no_independent_source(path, source, target, coupling):
    x_0, x_1 = randn(11, 2), randn(11, 2, seed=1)
    if coupling == "minibatch_ot":
        x_0, x_1 = minibatch_ot(x_0, x_1)
    else:
        x_0, x_1 = masked(x_1, torch.tensor([True, False]), torch.Generator().manual_seed(4))
    batch = path.sample(x_0, x_1, ROWS)
    known = {"velocity": batch.dx_t, "noise": batch.x_0, "data": batch.x_1}
    result = convert(known[source], batch.x_t, ROWS, path, source, target, normal_source=False)
    torch.testing.assert_close(result, known[target], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", ALL, ids=named)
def test_score_from_velocity_is_the_gradient_of_log_prob(path):
    x = randn(11, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(MIXTURE.along(path).log_prob(x, ROWS).sum(), x)
    x = x.detach()
    score = convert(MIXTURE.along(path).velocity(x, ROWS), x, ROWS, path, "velocity", "score")
    torch.testing.assert_close(score, gradient, rtol=1e-9, atol=1e-9)


def test_at_the_data_the_velocity_says_that_the_data_is_here():
    x, u = randn(5, 2), randn(5, 2, seed=1)
    for path in (CondOT(), Cosine(), Polynomial(3.0)):
        torch.testing.assert_close(convert(u, x, 1.0, path, "velocity", "data"), x)


@pytest.mark.parametrize("path", FROM_NOISE, ids=named)
def test_at_the_noise_every_other_kind_says_that_the_noise_is_here(path):
    x, value = randn(5, 2), randn(5, 2, seed=1)
    for source in ("velocity", "data"):
        torch.testing.assert_close(convert(value, x, 0.0, path, source, "noise"), x)
        torch.testing.assert_close(convert(value, x, 0.0, path, source, "score"), -x)


def test_on_condot_the_velocity_leads_straight_to_both_ends():
    x, u = randn(11, 2), randn(11, 2, seed=1)
    data = convert(u, x, ROWS, CondOT(), "velocity", "data")
    noise = convert(u, x, ROWS, CondOT(), "velocity", "noise")
    torch.testing.assert_close(data - noise, u, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(convert(u, x, 0.0, CondOT(), "velocity", "data"), x + u)


@pytest.mark.parametrize("path", FROM_NOISE, ids=named)
@pytest.mark.parametrize("source", ["noise", "score"])
@pytest.mark.parametrize("target", ["velocity", "data"])
def test_pure_noise_says_nothing_about_the_data(path, source, target):
    for t in (0.0, torch.tensor([0.5, 0.0, 0.7])):  # one such row is enough
        with pytest.raises(ValueError, match=f"{target} does not follow: stay 1e-3 away"):
            convert(randn(3, 2), randn(3, 2, seed=1), t, path, source, target)


@pytest.mark.parametrize("target", ["noise", "data", "score"])
def test_a_velocity_that_is_zero_for_all_data_says_nothing_about_it(target):
    with pytest.raises(ValueError, match="does not follow"):
        convert(randn(3, 2), randn(3, 2, seed=1), 0.0, Polynomial(2.0), "velocity", target)


@pytest.mark.parametrize("path", FROM_NOISE, ids=named)
def test_the_score_at_pure_noise_is_minus_the_noise(path):
    value, x = randn(3, 2), randn(3, 2, seed=1)
    torch.testing.assert_close(convert(value, x, 0.0, path, "noise", "score"), -value)


@pytest.mark.parametrize("path", FROM_NOISE, ids=named)
def test_the_noise_at_pure_noise_is_minus_the_score(path):
    value, x = randn(3, 2), randn(3, 2, seed=1)
    torch.testing.assert_close(convert(value, x, 0.0, path, "score", "noise"), -value)


@pytest.mark.parametrize("path", WITHOUT_NOISE, ids=named)
def test_pure_data_says_nothing_about_the_noise(path):
    for t in (1.0, torch.tensor([0.5, 1.0, 0.7])):
        with pytest.raises(ValueError, match="noise does not follow: stay 1e-3 away"):
            convert(randn(3, 2), randn(3, 2, seed=1), t, path, "data", "noise")


@pytest.mark.parametrize("path", WITHOUT_NOISE, ids=named)
@pytest.mark.parametrize("source", ["velocity", "noise", "data"])
def test_an_infinite_score_is_refused(path, source):
    for t in (1.0, torch.tensor([0.5, 1.0, 0.7])):
        with pytest.raises(ValueError, match="sigma_t = 0, where the score is infinite"):
            convert(randn(3, 2), randn(3, 2, seed=1), t, path, source, "score")


@pytest.mark.parametrize("path", [VP(), LinearVP(), Cosine(0.008)], ids=named)
@pytest.mark.parametrize("pair", [("noise", "velocity"), ("velocity", "data")])
def test_an_infinite_velocity_is_refused(path, pair):
    with pytest.raises(ValueError, match="d_sigma is infinite at t = 1"):
        convert(randn(3, 2), randn(3, 2, seed=1), 1.0, path, *pair)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "score" in pair])
def test_a_score_without_a_normal_source_is_refused(pair):
    with pytest.raises(ValueError, match=r"only if x_0 ~ N\(0, I\)"):
        convert(randn(3, 2), randn(3, 2), 0.5, CondOT(), *pair, normal_source=False)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"given": "eps"}, r"given must be one of \['velocity', 'noise', 'data', 'score'\]"),
        ({"wanted": "x_1"}, "wanted must be one of .*'score'.*, got 'x_1'"),
        ({"given": "eps", "wanted": "eps"}, "given must be one of"),
        ({"value": randn(3, 1)}, "value and x_t must have the same shape"),
        ({"value": torch.ones(3, 2, dtype=torch.int64)}, "float32 or float64"),
        ({"x_t": 1.0}, "x_t must be a tensor of float32"),
        ({"t": torch.rand(2)}, "t must be a scalar or have shape"),
        ({"t": torch.rand(3, 2)}, "t must be a scalar or have shape"),
    ],
)
def test_bad_input_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        convert(**{"value": randn(3, 2), "x_t": randn(3, 2), "t": 0.5, "path": CondOT()} | change)


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 3), max_size=3).map(tuple),
    st.sampled_from(PATHS),
    st.sampled_from(PAIRS),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_each_row_has_its_own_time(batch, dims, path, pair, dtype):
    x, value = randn(batch, *dims, dtype=dtype), randn(batch, *dims, seed=1, dtype=dtype)
    t = 0.2 + 0.6 * torch.rand(batch, dtype=dtype)
    whole = convert(value, x, t, path, *pair)
    assert whole.shape == x.shape and whole.dtype == dtype
    by_row = [
        convert(value[i : i + 1], x[i : i + 1], float(t[i]), path, *pair) for i in range(batch)
    ]
    torch.testing.assert_close(whole, torch.cat(by_row), rtol=1e-4, atol=1e-4)


@pairs
def test_gradients_flow_through(source, target):
    x, value = randn(3, 2).requires_grad_(), randn(3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, y: convert(v, y, 0.4, VP(), source, target), (value, x)
    )


# transform_schedule


def velocity_on(path, mixture=MIXTURE):
    return mixture.along(path).velocity


def angle(path, r):
    return torch.atan2(path.alpha(r), path.sigma(r))


def scale_and_time(path, new_path, r):
    """s and t of the definition, from scipy's root finder on the ratio alpha_t / sigma_t."""
    alpha, sigma = float(new_path.alpha(tensor(r))), float(new_path.sigma(tensor(r)))

    def gap(t):  # alpha_t / sigma_t - alpha / sigma, without the divisions
        return float(path.alpha(tensor(t)) * sigma - path.sigma(tensor(t)) * alpha)

    t = brentq(gap, 0, 1, xtol=1e-15, rtol=1e-15)
    return alpha / float(path.alpha(tensor(t))), t


def tensor(t):
    return torch.tensor(t, dtype=torch.float64)


def wavy(x, t):
    """No flow matching velocity, only a smooth function of both."""
    return torch.sin(2 * x + 3 * torch.as_tensor(t).reshape(-1, 1)) - x.flip(1)


@pytest.mark.parametrize("new_path", ALL, ids=named)
@pytest.mark.parametrize("path", ALL, ids=named)
def test_the_transformed_velocity_is_the_new_paths_own(path, new_path):
    r = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
    low, high = angle(path, tensor(0.0)), angle(path, tensor(1.0))
    within = (angle(new_path, r) > low) & (angle(new_path, r) < high)
    assert within.sum() > 50
    r, x = r[within], randn(97, 2)[within]
    x = x * torch.hypot(new_path.alpha(r), new_path.sigma(r))[:, None]  # where the points are
    result = transform_schedule(velocity_on(path), path, new_path)(x, r)
    # rounding grows by up to 1 / d_alpha_t, for Polynomial(3) at its smallest t about 100
    torch.testing.assert_close(result, MIXTURE.along(new_path).velocity(x, r), rtol=1e-9, atol=1e-9)


FINITE = [CondOT(), Cosine(), Polynomial(2.0)]  # at t = 1, too
AT_THE_ENDS = [(0.0, old, new) for old in FROM_NOISE for new in [*FINITE, LinearVP()]]
AT_THE_ENDS += [(1.0, old, new) for old in [CondOT(), Cosine(), Polynomial(3.0)] for new in FINITE]


@pytest.mark.parametrize("r, path, new_path", AT_THE_ENDS, ids=named)
def test_it_is_so_at_the_ends(r, path, new_path):
    x = randn(20, 2)
    result = transform_schedule(velocity_on(path), path, new_path)(x, r)
    torch.testing.assert_close(
        result, MIXTURE.along(new_path).velocity(x, r), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("new_path", [CondOT(), Cosine(), Polynomial(2.0)], ids=named)
@pytest.mark.parametrize("path", [VP(), LinearVP(), Cosine(0.008)], ids=named)
def test_a_network_may_say_anything_where_its_own_velocity_is_infinite(path, new_path):
    def network(x, t):
        return torch.full_like(x, 7.0) if t == 1 else MIXTURE.along(path).velocity(x, t)

    x = randn(20, 2)
    transformed = transform_schedule(network, path, new_path)
    torch.testing.assert_close(transformed(x, 1.0), MIXTURE.along(new_path).velocity(x, 1.0))
    just_before = transformed(x, 1 - 1e-6)
    torch.testing.assert_close(just_before, transformed(x, 1.0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("path", ALL, ids=named)
def test_the_same_path_changes_nothing(path):
    r = torch.linspace(0.02, 0.98, 20, dtype=torch.float64)
    x = randn(20, 2)
    result = transform_schedule(wavy, path, path)(x, r)
    torch.testing.assert_close(result, wavy(x, r), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "path, new_path",
    [
        (CondOT(), Cosine()),
        (Cosine(), Polynomial(2.0)),
        (Polynomial(3.0), CondOT()),
        (VP(), CondOT()),
        (LinearVP(), VE(0.05, 10.0)),
        (VE(), VP()),
        (Cosine(0.008), LinearVP()),
    ],
    ids=named,
)
@pytest.mark.parametrize("r", [0.3, 0.6, 0.9])
def test_the_formula_that_is_written_out(path, new_path, r):
    h, x = 1e-5, randn(20, 2)
    s, t = scale_and_time(path, new_path, r)
    (s_1, t_1), (s_2, t_2) = (scale_and_time(path, new_path, r + step) for step in (-h, h))
    ds, dt = (s_2 - s_1) / (2 * h), (t_2 - t_1) / (2 * h)
    expected = ds / s * x + s * dt * wavy(x / s, t)
    result = transform_schedule(wavy, path, new_path)(x, r)
    # the differences are wrong by h^2 s'''/6 and 1e-15/h, both about 1e-10, times up to 100
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "path, new_path",
    [(CondOT(), Cosine()), (CondOT(), Polynomial(3.0)), (Cosine(), CondOT())],
    ids=named,
)
def test_both_flows_end_at_the_same_points(path, new_path):
    x_0, options = randn(20, 2), {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}
    end = solve(velocity_on(path), x_0, **options).end
    new_end = solve(transform_schedule(velocity_on(path), path, new_path), x_0, **options).end
    torch.testing.assert_close(new_end, end, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "path, new_path",
    [(VP(), CondOT()), (VE(0.05, 10.0), VP()), (LinearVP(), VE(0.05, 10.0))],
    ids=named,
)
def test_on_the_way_the_new_flow_is_the_old_one_rescaled(path, new_path):
    (s_a, t_a), (s_b, t_b) = (scale_and_time(path, new_path, r) for r in (0.5, 0.8))
    x_0, options = randn(20, 2), {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}
    end = solve(wavy, x_0, t_start=t_a, t_end=t_b, **options).end
    new = transform_schedule(wavy, path, new_path)
    new_end = solve(new, s_a * x_0, t_start=0.5, t_end=0.8, **options).end
    torch.testing.assert_close(new_end, s_b * end, rtol=1e-6, atol=1e-6)


def test_a_source_that_starts_above_pure_noise_is_wrong_there_by_that_much():
    x, error, alpha = randn(50, 2), [], []
    for beta_max in (10.0, 15.0, 20.0, 25.0, 30.0):
        path = VP(0.1, beta_max)
        result = transform_schedule(velocity_on(path), path, CondOT())(x, 0.0)
        gap = result - MIXTURE.along(CondOT()).velocity(x, 0.0)
        error.append(float(gap.square().mean().sqrt()))
        alpha.append(float(path.alpha(0.0)))
    slope = np.polyfit(np.log(alpha), np.log(error), 1)[0]
    assert abs(slope - 1) < 0.15  # the posterior mean moves in proportion to alpha_0
    assert max(e / a for e, a in zip(error, alpha, strict=True)) < 10


@pytest.mark.parametrize("new_path", [VP(), LinearVP(), Cosine(0.008)], ids=named)
def test_a_new_path_with_an_infinite_velocity_is_refused_there(new_path):
    transformed = transform_schedule(velocity_on(CondOT()), CondOT(), new_path)
    for r in (1.0, torch.tensor([0.3, 1.0, 0.5])):
        with pytest.raises(ValueError, match="d_sigma is infinite at t = 1"):
            transformed(randn(3, 2), r)


def test_a_source_that_says_nothing_about_the_data_is_refused_there():
    transformed = transform_schedule(velocity_on(Polynomial(2.0)), Polynomial(2.0), CondOT())
    with pytest.raises(ValueError, match="does not follow"):
        transformed(randn(3, 2), 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", [(), (2,), (1, 2, 3)], ids=str)
def test_rows_forms_and_types_of_r(dims, dtype):
    seen = []

    def recording(x, t):
        seen.append((x.shape, x.dtype, t.shape, t.dtype))
        return torch.sin(x) * (1 + expand_time(t, x))

    transformed = transform_schedule(recording, VP(), CondOT())
    x, r = randn(4, *dims, dtype=dtype), torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=dtype)
    whole = transformed(x, r)
    assert seen == [(x.shape, dtype, (4,), dtype)]
    assert whole.shape == x.shape and whole.dtype == dtype
    by_row = [transformed(x[i : i + 1], float(r[i])) for i in range(4)]
    assert seen[-1][2] == ()
    torch.testing.assert_close(whole, torch.cat(by_row), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="t must be a scalar or have shape"):
        transformed(x, torch.rand(3))


def test_the_angle_is_that_of_the_ratio():
    """So the time that the model is asked at has the ratio of the new path."""
    seen = []
    transform_schedule(lambda x, t: seen.append(t) or x, VP(), Cosine())(randn(1, 2), 0.37)
    assert abs(float(VP().alpha(seen[0]) / VP().sigma(seen[0])) / math.tan(0.185 * math.pi) - 1) < (
        1e-12
    )


@pytest.mark.parametrize("path", [VP(), LinearVP()], ids=named)
def test_float32_works_close_to_the_end(path):
    def network(x, t):
        return x if t == 1 else MIXTURE.along(path).velocity(x, t)

    x, r = randn(20, 2, dtype=torch.float32), 1 - 1e-5
    result = transform_schedule(network, path, CondOT())(x, r)
    torch.testing.assert_close(result, MIXTURE.along(CondOT()).velocity(x, r), rtol=1e-2, atol=1e-2)


# guide


def test_guidance_on_exact_fields_is_the_conditional_one_and_beyond():
    """With two components asked for one at a time: w = 1 is one of them, w = 0 the mixture."""
    path, x = CondOT(), randn(20, 2)
    both = GaussianMixture(torch.tensor([[1.0, 0], [-1, 0]], dtype=torch.float64), 0.3).along(path)
    one = GaussianMixture(torch.tensor([[1.0, 0]], dtype=torch.float64), 0.3).along(path)
    ends = [guide(one.velocity, both.velocity, w)(x, 0.6) for w in (0, 1, 2.5, np.float32(2.5))]
    torch.testing.assert_close(ends[0], both.velocity(x, 0.6))
    torch.testing.assert_close(ends[1], one.velocity(x, 0.6))
    torch.testing.assert_close(ends[2], ends[0] + 2.5 * (ends[1] - ends[0]))
    assert torch.equal(ends[2], ends[3])
    # Gradients of log p(x | y) and log p(x) differ by that of log p(y | x), by Bayes' rule.
    t = torch.tensor(0.6, dtype=torch.float64)
    z = x.clone().requires_grad_()
    log_y = both.posterior_weights(z, t)[:, 0].log().sum()
    push = path.sigma(t) * (1 / t) * torch.autograd.grad(log_y, z)[0]
    torch.testing.assert_close(ends[2], ends[0] + 2.5 * push)


def test_guidance_asks_no_more_than_it_needs():
    asked = []

    def named(name):
        return lambda x, t: asked.append(name) or x

    for w in (0, 1, 3):
        guide(named("with y"), named("without"), w)(randn(2, 2), 0.5)
    assert asked == ["without", "with y", "with y", "without"]


@pytest.mark.parametrize("w", [math.nan, math.inf, None, "2", torch.ones(2)])
def test_a_guidance_scale_is_one_number(w):
    with pytest.raises(ValueError, match="w must be one finite number"):
        guide(lambda x, t: x, lambda x, t: x, w)
