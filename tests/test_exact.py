import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import PATHS, randn
from fmlib import exact
from fmlib.data import two_moons
from fmlib.exact import EmpiricalTarget, GaussianMixture, two_moons_target
from fmlib.metrics import over_floor
from fmlib.paths import VP, CondOT, Cosine
from fmlib.solvers import solve

MIXTURE = GaussianMixture(
    randn(3, 2, seed=7), torch.tensor([0.2, 0.5, 0.9]), torch.tensor([1.0, 2, 3])
)
POINTS = EmpiricalTarget(randn(6, 2, seed=8))
TARGETS = pytest.mark.parametrize("target", [MIXTURE, POINTS], ids=["mixture", "points"])


@TARGETS
@pytest.mark.parametrize("t", [0.0, 0.3, torch.rand(9, dtype=torch.float64)], ids=["0", "0.3", "t"])
def test_score_is_the_gradient_of_log_prob(target, path, t):
    x = randn(9, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(target.along(path).log_prob(x, t).sum(), x)
    torch.testing.assert_close(target.along(path).score(x, t), gradient, rtol=1e-9, atol=1e-9)


@TARGETS
@pytest.mark.parametrize("t", [0.0, 0.5, 0.8])
def test_density_integrates_to_one(target, t):
    line = torch.linspace(-8, 8, 401, dtype=torch.float64)
    p = target.along(CondOT()).log_prob(torch.cartesian_prod(line, line), t).exp()
    # the trapezoid rule is exact to rounding for a sum of smooth bumps wider than the grid
    assert abs(float(p.sum()) * (16 / 400) ** 2 - 1) < 1e-9


@TARGETS
@pytest.mark.parametrize("t", [0.1, 0.5, 0.85])
def test_continuity_equation(target, path, t):
    x = randn(40, 2).requires_grad_()
    s = torch.tensor(t, dtype=torch.float64)
    h = 1e-5
    rate = (
        target.along(path).log_prob(x, s + h).exp() - target.along(path).log_prob(x, s - h).exp()
    ) / (2 * h)
    flux = target.along(path).log_prob(x, s).exp()[:, None] * target.along(path).velocity(x, s)
    divergence = sum(
        torch.autograd.grad(flux[:, i].sum(), x, retain_graph=True)[0][:, i] for i in (0, 1)
    )
    scale = float(rate.detach().abs().max())
    # the finite difference in t is wrong by h^2 times a third derivative, of order 1 / sigma^3
    assert float((rate + divergence).detach().abs().max()) < 1e-5 * scale + 1e-8


@TARGETS
@pytest.mark.parametrize("t", [0.2, 0.7])
def test_posterior_mean_and_velocity_are_means_over_x_1(target, path, t):
    """Against self-normalised sums over many draws of x_1, with the Gaussian likelihood of x."""
    x_1 = target.sample(200_000, torch.Generator().manual_seed(1))
    x = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    likelihood = torch.distributions.Normal(path.alpha(t) * x_1, path.sigma(t)).log_prob(x).sum(1)
    w = likelihood.softmax(0)[:, None]
    u = path.conditional_velocity(x.expand_as(x_1), x_1, t)
    for exactly, each in (
        (target.along(path).posterior_mean(x, t), x_1),
        (target.along(path).velocity(x, t), u),
    ):
        mean = (w * each).sum(0)
        error = (w**2 * (each - mean) ** 2).sum(0).sqrt()  # standard error of a weighted mean
        assert ((exactly[0] - mean).abs() < 5 * error + 1e-12).all()


def test_points_agree_with_a_plain_loop(path):
    points, x, t = [(0.5, -1.0), (2.0, 0.3), (-1.0, 1.5)], (0.2, 0.4), 0.6
    alpha, sigma, d_alpha, d_sigma = (
        float(f(torch.tensor(t, dtype=torch.float64)))
        for f in (path.alpha, path.sigma, path.d_alpha, path.d_sigma)
    )
    density = [
        math.exp(-((x[0] - alpha * a) ** 2 + (x[1] - alpha * b) ** 2) / (2 * sigma**2))
        for a, b in points
    ]
    total = sum(density)
    mean = [sum(d * p[i] for d, p in zip(density, points, strict=True)) / total for i in (0, 1)]
    expected = [d_sigma / sigma * (x[i] - alpha * mean[i]) + d_alpha * mean[i] for i in (0, 1)]
    target = EmpiricalTarget(torch.tensor(points, dtype=torch.float64))
    place = torch.tensor([x], dtype=torch.float64)
    torch.testing.assert_close(
        target.along(path).velocity(place, t)[0], torch.tensor(expected, dtype=torch.float64)
    )
    torch.testing.assert_close(
        target.along(path).posterior_weights(place, t)[0],
        torch.tensor([d / total for d in density], dtype=torch.float64),
    )
    log_p = math.log(total / 3 / (2 * math.pi * sigma**2))
    assert abs(float(target.along(path).log_prob(place, t)) - log_p) < 1e-12


@pytest.mark.parametrize("path", [CondOT(), VP(), Cosine()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("a", [0.3, 2.0])
def test_gaussian_to_gaussian_flow_scales_each_point(path, a):
    """The flow of N(0, I) to N(0, a^2 I) multiplies by the ratio of the standard deviations."""
    target = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), a)
    x_0, stop = randn(50, 2), 0.99
    end = solve(target.along(path).velocity, x_0, 200, method="rk4", t_end=stop).end
    std = [math.hypot(float(path.alpha(t)) * a, float(path.sigma(t))) for t in (0.0, stop)]
    # rk4's own error is of order (1/200)^4 times the fifth derivative of the schedule
    torch.testing.assert_close(end, x_0 * std[1] / std[0], rtol=1e-5, atol=0)


def test_mixture_flow_has_the_targets_moments(generator):
    target, n = MIXTURE, 20_000
    x_0 = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    end = solve(target.along(CondOT()).velocity, x_0, 40, method="rk4").end
    w, m, s = target.weights, target.means, target.stds
    mean = w @ m
    cov = (w[:, None] * (m - mean)).T @ (m - mean) + (w * s**2).sum() * torch.eye(2)
    # five standard errors of n independent draws of size about 1.5
    assert (end.mean(0) - mean).abs().max() < 5 * 1.5 / math.sqrt(n)
    assert (end.T.cov() - cov).abs().max() < 5 * 3 / math.sqrt(n)


def test_flow_to_points_ends_on_the_points(generator):
    x_0 = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    end = solve(POINTS.along(CondOT()).velocity, x_0, 400, "rk4", t_end=1 - 1e-3).end
    distance = torch.cdist(end, POINTS.means).min(1).values
    assert distance.median() < 5e-3  # sigma at the end is 1e-3


def test_samples_have_the_density_they_should(generator):
    n = 100_000
    x = MIXTURE.sample(n, generator)
    log_p = MIXTURE.along(CondOT()).log_prob(x, 1.0)
    line = torch.linspace(-8, 8, 801, dtype=torch.float64)
    grid = MIXTURE.along(CondOT()).log_prob(torch.cartesian_prod(line, line), 1.0)
    entropy = -float((grid.exp() * grid).sum()) * (16 / 800) ** 2
    assert abs(float(-log_p.mean()) - entropy) < 5 * float(log_p.std()) / math.sqrt(n)


def test_two_moons_target_is_the_distribution_of_two_moons(generator):
    target = two_moons_target()
    ratio = over_floor(
        lambda n: target.sample(n, generator), lambda n: two_moons(n, generator=generator)
    )
    assert ratio < 1.3
    fine = two_moons_target(n_components=2000)
    x = two_moons(2000, generator=generator)
    here, there = (z.along(CondOT()).log_prob(x, 1.0) for z in (target, fine))
    # the midpoint rule is exact to rounding along the arcs, and less so beyond their four ends
    assert (here - there).abs().median() < 1e-5 and (here - there).abs().mean() < 2e-3


@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    st.sampled_from(PATHS),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_shapes_and_forms_of_t(batch, dims, path, dtype):
    target = EmpiricalTarget(randn(4, *dims))
    x, t = randn(batch, *dims, seed=2, dtype=dtype), 0.2 + 0.5 * torch.rand(batch, dtype=dtype)
    field = target.along(path)
    for query in (field.velocity, field.score, field.posterior_mean):
        out = query(x, t)
        assert out.shape == x.shape and out.dtype == dtype
        by_row = torch.cat([query(x[i : i + 1], float(t[i])) for i in range(batch)])
        # one row at a time, t as a float: the same arithmetic up to the order of sums
        torch.testing.assert_close(out, by_row, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(query(x, t.reshape(batch, *[1] * len(dims))), out)
    assert target.along(path).log_prob(x, t).shape == (batch,)
    weights = target.along(path).posterior_weights(x, t)
    assert weights.shape == (batch, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(batch, dtype=dtype))


def test_blocks_change_nothing(monkeypatch):
    x, t = randn(50, 2), torch.rand(50, dtype=torch.float64)
    field = MIXTURE.along(VP())

    def answers():
        each = [f(x, t) for f in (field.velocity, field.log_prob, field.posterior_weights)]
        return [*each, field.velocity(x, 0.4)]

    whole = answers()
    monkeypatch.setattr(exact, "_CHUNK", 40)
    parts = answers()
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@given(st.sampled_from(PATHS), st.floats(0, 1), st.sampled_from(["mixture", "points"]))
def test_answers_are_finite_or_refused(path, t, which):
    target = {"mixture": MIXTURE, "points": POINTS}[which]
    x = randn(5, 2)
    try:
        u = target.along(path).velocity(x, t)
    except ValueError as error:
        assert "sigma" in str(error)
    else:
        assert torch.isfinite(u).all()


def test_a_point_target_has_no_density_at_the_end():
    with pytest.raises(ValueError, match="made of points, so p_t has no density"):
        POINTS.along(CondOT()).velocity(randn(3, 2), 1.0)


def test_a_mixture_is_defined_up_to_the_end():
    x = randn(5, 2)
    density = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(MIXTURE.weights),
        torch.distributions.Independent(
            torch.distributions.Normal(MIXTURE.means, MIXTURE.stds[:, None]), 1
        ),
    )
    torch.testing.assert_close(MIXTURE.along(CondOT()).log_prob(x, 1.0), density.log_prob(x))


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((torch.tensor([[1, 2]]), 1.0), "float32 or float64"),
        ((torch.zeros(0, 2), 1.0), "at least one"),
        ((randn(2, 2) / 0, 1.0), "means must be finite"),
        ((randn(2, 2), torch.ones(3)), r"stds must be a number or have shape \(2,\)"),
        ((randn(2, 2), -1.0), "at least 0"),
        ((randn(2, 2), 1.0, torch.tensor([1.0, 0.0])), "positive"),
        ((randn(2, 2), 1.0, torch.tensor([1.0, math.nan])), "weights must be finite"),
    ],
)
def test_bad_targets_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        GaussianMixture(*arguments)


def test_points_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 2\) like the target"):
        POINTS.along(CondOT()).velocity(randn(5, 3), 0.5)
    with pytest.raises(ValueError, match="t must be a scalar"):
        POINTS.along(CondOT()).velocity(randn(2, 2), torch.zeros(3))


def test_numbers_are_taken_at_the_precision_of_the_means():
    mixture = GaussianMixture(torch.zeros(2, 2).double(), 0.1, [0.1, 0.9])
    assert mixture.stds.tolist() == [0.1, 0.1]
    torch.testing.assert_close(
        mixture.weights, torch.tensor([0.1, 0.9], dtype=torch.float64), rtol=1e-15, atol=0
    )


@pytest.mark.parametrize("t", [-0.1, 1.2])
def test_a_time_outside_the_unit_interval_is_refused(t):
    mixture, x = GaussianMixture(torch.zeros(2, 2), 0.1), torch.ones(3, 2)
    field = mixture.along(CondOT())
    for query in (field.velocity, field.score, field.log_prob, field.posterior_mean):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            query(x, t)


def test_no_points_give_no_answers():
    field = GaussianMixture(torch.zeros(2, 2), 0.1).along(CondOT())
    assert field.velocity(torch.ones(0, 2), 0.5).shape == (0, 2)


@TARGETS
def test_a_field_asks_the_schedule_once(target):
    calls = []

    class Counted(CondOT):
        def alpha(self, t):
            calls.append("alpha")
            return super().alpha(t)

        def sigma(self, t):
            calls.append("sigma")
            return super().sigma(t)

    field = target.along(Counted())
    for query in (field.velocity, field.score, field.log_prob, field.posterior_mean):
        calls.clear()
        query(randn(3, 2), 0.5)
        assert sorted(calls) == ["alpha", "sigma"]


def test_a_field_belongs_to_a_path():
    with pytest.raises(ValueError, match=r"needs a path, such as CondOT\(\), got <class"):
        MIXTURE.along(CondOT)
    assert MIXTURE.along(VP(0.1, 10)) == MIXTURE.along(VP(0.1, 10.0))


def test_points_may_be_plain_numbers(path):
    """A mixture on a line, its points without an axis, is the mixture in one dimension."""
    plain = GaussianMixture(randn(3, seed=7), 0.4)
    column = GaussianMixture(randn(3, seed=7)[:, None], 0.4)
    x, t = randn(20), 0.3
    for name in ("velocity", "score", "posterior_mean", "log_prob", "posterior_weights"):
        got = getattr(plain.along(path), name)(x, t)
        expected = getattr(column.along(path), name)(x[:, None], t)
        assert torch.equal(got, expected.reshape(got.shape))
    draws = plain.sample(50, torch.Generator().manual_seed(1))
    assert draws.shape == (50,) and plain.sample(0).shape == (0,)
