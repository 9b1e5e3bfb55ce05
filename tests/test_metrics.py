import inspect
import itertools
import math
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from conftest import PATHS, other_defaults, randn
from fmlib import metrics
from fmlib.metrics import (
    copying,
    frechet_distance,
    neighbour_test,
    over_floor,
    precision_recall,
    sliced_wasserstein,
    straightness,
    wasserstein,
)
from fmlib.solvers import Trajectory, solve


def seeded():
    return torch.Generator().manual_seed(0)


def floor_of(x, y, **how):
    """over_floor of clouds that are not drawn, but halves of y by turns."""
    half = len(y) // 2
    draws = itertools.cycle(y.split(half))
    how = {"n": half, "repeats": 3} | how
    return over_floor(lambda n: x[:half], lambda n: next(draws), **how)


TIMES = torch.tensor([0.2, 0.3, 1.0])


def sliced(x, y, **how):
    return sliced_wasserstein(x, y, generator=seeded(), **how)


# Every metric as a function of two clouds of equal size, and by which power of their size it grows.
CASES = {
    "wasserstein": (wasserstein, [1]),
    "sliced_wasserstein": (sliced, [1]),
    "over_floor": (floor_of, [0]),
    "frechet_distance": (frechet_distance, [2]),
    "neighbour_test": (neighbour_test, [0, 0, 0]),
    "precision_recall": (precision_recall, [0, 0]),
    "copying": (lambda x, y: copying(x[:-20], y, x[-20:]), [0]),
    "straightness": (
        lambda x, y: straightness(Trajectory(TIMES, torch.stack([x, y.flip(0), y]), 0)),
        [2, 0],
    ),
}  # fmt: skip
METRICS = [name for name in metrics.__all__ if not isinstance(getattr(metrics, name), type)]
every_metric = pytest.mark.parametrize("name", METRICS)
# On a grid, so that the sum of a number and 1e8 is not rounded.
X, Y = ((z * 2**20).round() / 2**20 for z in (randn(40, 2), 1.5 * randn(40, 2, seed=1) + 0.5))


def numbers(name, x=X, y=Y, **how):
    """What a metric returns, a list of float; without how, and with."""
    found = CASES[name][0](x, y, **how)
    found = list(found) if isinstance(found, tuple) else [found]
    assert {type(number) for number in found} == {float}
    return found


@every_metric
@pytest.mark.parametrize("shift", [1e8, -1e8, [1e8, 0.0], 2.0**30])
def test_a_metric_does_not_feel_where_the_clouds_are(name, shift):
    far = torch.tensor(shift, dtype=torch.float64)
    assert numbers(name, X + far, Y + far) == pytest.approx(numbers(name), rel=1e-9)


@every_metric
@pytest.mark.parametrize("scale", [1e-160, 1e-150, 1e150, 1e160, 1e-307, 1e307])
def test_a_metric_grows_with_the_clouds_or_says_that_it_cannot(name, scale):
    before, powers = numbers(name), CASES[name][1]
    try:
        wanted = [a * scale**power for a, power in zip(before, powers, strict=True)]
        fits = all(b >= sys.float_info.min for a, b in zip(before, wanted, strict=True) if a)
    except OverflowError:
        fits = False
    if fits:
        assert numbers(name, scale * X, scale * Y) == pytest.approx(wanted, rel=1e-9, abs=0)
    else:
        assert 2 in CASES[name][1] or scale in (1e-307, 1e307)
        with pytest.raises(ValueError, match="beyond what a float holds: scale the points"):
            numbers(name, scale * X, scale * Y)


def test_wasserstein_is_right_to_a_hundred_millionth_of_the_largest_distance():
    for far in (2.0**10, 2.0**20, 2.0**30):  # two sites, and no mass goes between them
        x, y = (torch.cat([z, z + far]) for z in (X, Y))
        assert wasserstein(x, y) == pytest.approx(wasserstein(X, Y), abs=1e-8 * far)


@pytest.mark.parametrize("name", ["neighbour_test", "precision_recall", "copying"])
def test_a_small_distance_is_not_lost_beside_a_large_one(name):
    """Two sites, so far apart that what happens at each is as if the other were not there."""
    if name == "copying":
        sites = [torch.cat([z, z + 2.0**30]) for z in (X[:-20], Y, X[-20:])]
        assert [copying(*sites)] == numbers(name)
    else:
        x, y = (torch.cat([z, z + 2.0**30]) for z in (X, Y))
        assert numbers(name, x, y) == pytest.approx(numbers(name), rel=1e-6)


def test_a_distance_may_be_as_large_as_a_float():
    far = torch.tensor([[1e308]], dtype=torch.float64)
    assert wasserstein(0 * far, -far) == pytest.approx(1e308)
    assert wasserstein(far, -0.5 * far) == pytest.approx(1.5e308)
    with pytest.raises(ValueError, match="beyond what a float holds"):
        wasserstein(far, -far)


@every_metric
def test_a_metric_takes_clouds_in_any_layout_and_ignores_torchs_defaults(name):
    expected = numbers(name)
    apart = torch.stack([X, 0 * X], 2)[..., 0]
    assert not apart.is_contiguous()
    for x in (apart, X.clone().requires_grad_(), X.T.contiguous().T):
        assert numbers(name, x) == expected
    assert numbers(name, X, Y.clone().requires_grad_()) == expected
    assert numbers(name, X[:, None], Y[:, None]) == expected  # (n, 1, 2)
    x, y = X.float(), Y.float()
    assert numbers(name, x, y) == numbers(name, x.double(), y.double())
    for default in (torch.float64, torch.bfloat16):
        with other_defaults(default):
            found = numbers(name)
        assert found == expected


@every_metric
def test_a_metric_refuses_what_is_no_cloud(name):
    for wrong in (
        X.half(),
        X.bfloat16(),
        X.long(),
        X + 0j,
        X[:0],
        X[:, :0],
        X / 0,
        X[:, :1] / 0 + X,
    ):
        # torch.stack turns (X.half(), Y) into one trajectory in float64, which is right
        mixed = [] if name == "straightness" else [(wrong, Y), (X, wrong)]
        for x, y in (*mixed, (wrong, wrong)):
            with pytest.raises(ValueError):
                numbers(name, x, y)


def test_two_points_are_clouds():
    x, y = randn(1, 3), randn(1, 3, seed=1)
    assert wasserstein(x, y) == pytest.approx(float((x - y).norm()))
    # E over directions of <theta, m>^2 is |m|^2 / dim
    found = sliced_wasserstein(x, y, 50_000, seeded())
    assert found == pytest.approx(float((x - y).norm()) / 3**0.5, rel=0.02)
    assert copying(x, x, y) == 1 and copying(y, x, x) == 0 and copying(x, x, x) == 0.5
    for metric, needs in (
        (frechet_distance, "two points or more in each cloud, got 1 and 1"),
        (neighbour_test, "two or more, got 1 and 1"),
        (precision_recall, "more than k = 3 points, got 1 and 1"),
    ):
        with pytest.raises(ValueError, match=needs):
            metric(x, y)


NUMBERS = {
    "sliced_wasserstein": {"n_projections": 7},
    "over_floor": {"n": 20, "repeats": 2},
    "precision_recall": {"k": 2},
}


@every_metric
def test_the_numbers_of_a_metric_may_come_from_numpy_and_are_whole(name):
    asked = inspect.signature(getattr(metrics, name)).parameters.values()
    default = {p.name for p in asked if isinstance(p.default, int)}
    assert default == set(NUMBERS.get(name, {}))
    for key, value in NUMBERS.get(name, {}).items():
        for twin in (np.int64(value), np.array(value), torch.tensor(value)):
            assert numbers(name, **{key: twin}) == numbers(name, **{key: value})
        for wrong in (True, float(value), "2", None, 0, -1, math.nan):
            with pytest.raises(ValueError, match=f"^{key} must be an integer of at least 1, got"):
                numbers(name, **{key: wrong})


WRONG_CLOUDS = [None, X.numpy(), (X,), [[0.0, 1.0]] * 40, X[:39], X.sum(), 1.0]


@pytest.mark.parametrize("wrong", WRONG_CLOUDS, ids=lambda wrong: type(wrong).__name__)
def test_over_floor_says_which_function_returned_no_cloud(wrong):
    for name, functions in (
        ("draw_samples", (lambda n: wrong, lambda n: X)),
        ("draw_data", (lambda n: X, lambda n: wrong)),
    ):
        with pytest.raises(ValueError, match=rf"^{name}\(n\) must return a tensor \(n, \*dims\)"):
            over_floor(*functions, n=40, repeats=1)


def test_over_floor_says_that_the_data_are_not_drawn_afresh():
    with pytest.raises(ValueError, match="data from data not all 0.*does draw_data draw afresh"):
        over_floor(lambda n: X, lambda n: Y, n=40, repeats=2)


def with_distance(distance):
    return over_floor(lambda n: X, lambda n: Y, 40, 2, distance=lambda x, y: distance)


def test_over_floor_takes_any_distance_that_is_a_number():
    for right in (np.float32(2.0), torch.tensor(2.0, requires_grad=True), 2):
        assert type(with_distance(right)) is float and with_distance(right) == 1
    for wrong in (None, math.nan, "2", torch.ones(2), 1j):
        with pytest.raises(ValueError, match="^distance must be one finite number"):
            with_distance(wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="distances must be at least 0"):
            with_distance(wrong)
    with pytest.raises(ValueError, match="distances must be at least 0, .* got a sum of -2 over"):
        over_floor(lambda n: X, lambda n: Y, 40, 2, distance=lambda x, y: -1 if x is X else 1)


def test_over_floor_is_the_ratio_of_the_two_sums():
    """Each term has fresh data; the samples are compared with the data that the data meet."""
    clouds = (torch.full((3, 1), float(i)) for i in itertools.count())  # draw k is all k
    # per round: data k, samples 100, other data k + 1
    assert (
        over_floor(lambda n: torch.full((n, 1), 100.0), lambda n: next(clouds), 3, 2)
        == (100 + 98) / 2
    )


def test_wasserstein_of_a_shifted_cloud_is_the_shift():
    x, shift = randn(60, 3), torch.tensor([1.0, -2.0, 2.0])
    assert wasserstein(x, x + shift) == pytest.approx(3.0, abs=1e-9)
    assert wasserstein(x, x) == pytest.approx(0.0, abs=1e-6)


def test_wasserstein_agrees_with_an_assignment():
    x, y = randn(50, 2), 2 * randn(50, 2, seed=1) + 1
    cost = torch.cdist(x, y) ** 2
    rows, columns = linear_sum_assignment(cost.numpy())
    assert wasserstein(x, y) == pytest.approx(float(cost[rows, columns].mean().sqrt()), rel=1e-9)


def test_wasserstein_takes_clouds_of_unequal_size():
    x = randn(20, 2)
    assert wasserstein(x, torch.cat([x, x])) == pytest.approx(0.0, abs=1e-6)


def test_sliced_wasserstein_of_a_shift(generator):
    """E over directions of <theta, m>^2 is |m|^2 / dim."""
    x, m = randn(100, 3), torch.tensor([1.0, 2.0, 2.0])
    found = sliced_wasserstein(x, x + m, n_projections=20_000, generator=generator)
    # <theta, m>^2 = 9 u^2 with u uniform on [-1, 1]: mean 3, standard deviation 9 sqrt(4/45)
    assert abs(found**2 - 3) < 5 * 9 * math.sqrt(4 / 45 / 20_000)


def test_metrics_take_images_and_refuse_other_clouds():
    x = randn(10, 1, 2, 2, dtype=torch.float32)
    assert wasserstein(x, x + 1) == pytest.approx(2.0, abs=1e-5)
    for metric in (wasserstein, sliced_wasserstein):
        with pytest.raises(ValueError, match="clouds"):
            metric(randn(5, 2), randn(5, 3))
        with pytest.raises(ValueError, match="y must be finite"):
            metric(randn(5, 2), randn(5, 2) / 0)


def test_over_floor_is_one_for_the_data_and_more_for_others(generator):
    def data(n):
        return torch.randn(n, 2, generator=generator)

    assert 0.7 < over_floor(data, data) < 1.4  # ten ratios, each of spread about 0.3
    assert over_floor(lambda n: data(n) + 2, data) > 4


def gaussian_flow(path, scale, n_steps=400):
    """The exact flow of N(0, 1) to N(0, scale^2): each point grows with the standard deviation."""
    t = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    std = (path.alpha(t) ** 2 * scale**2 + path.sigma(t) ** 2).sqrt()
    x_0 = torch.randn(4000, 1, dtype=torch.float64)
    x_0 = x_0 / x_0.square().mean().sqrt()  # unit second moment, so that no sampling noise is left
    return Trajectory(t, (std / std[0])[:, None, None] * x_0, nfe=0)


TABLE = {  # path -> {scale: S}: closed forms, integrated by quadrature
    "CondOT": {0.05: 0.0215, 0.3: 0.129, 1.0: 2 - math.pi / 2, 2.0: 0.858, 3.0: 1.288},
    "Cosine": {0.05: 0.211, 0.3: 0.1145, 2.0: 0.234, 3.0: 0.935},
    "VP": {0.05: 1.122, 0.3: 0.560, 2.0: 0.847, 3.0: 3.074},
}


@pytest.mark.parametrize("path", PATHS[:3], ids=TABLE)
def test_straightness_of_gaussian_flows(path):
    for scale, expected in TABLE[type(path).__name__].items():
        # the table has three digits, and VP's last interval is not resolved better than 1 percent
        found = straightness(gaussian_flow(path, scale, 4000)).absolute
        assert found == pytest.approx(expected, rel=0.01, abs=1e-3)


def test_straight_lines_have_straightness_zero():
    run = solve(lambda x, t: torch.ones_like(x), randn(20, 2), 10)
    assert straightness(run).absolute < 1e-20
    assert straightness(run).relative < 1e-20


def test_relative_straightness_has_no_scale():
    runs = [
        solve(lambda x, t: torch.stack([-x[:, 1], x[:, 0]], 1), c * randn(50, 2), 50)
        for c in (1, 9)
    ]
    a, b = (straightness(run) for run in runs)
    assert a.relative == pytest.approx(b.relative) and b.absolute == pytest.approx(81 * a.absolute)


def test_a_flow_that_returns_is_not_straight_at_all():
    t = torch.linspace(0, 1, 101)
    x = (t * (1 - t))[:, None, None] * torch.ones(1, 3, 2)
    # speed 1 - 2t in each of two dimensions, chord 0: the integral of 2 (1 - 2t)^2 is 2/3
    assert straightness(Trajectory(t, x, 0)).absolute == pytest.approx(2 / 3, rel=1e-3)
    assert straightness(Trajectory(t, x, 0)).relative > 1e6


def test_straightness_refuses_what_has_none():
    with pytest.raises(ValueError, match="at least two steps"):
        straightness(solve(lambda x, t: x, randn(5, 2), 10, keep="end"))
    with pytest.raises(ValueError, match="nothing moved"):
        straightness(solve(lambda x, t: 0 * x, randn(5, 2), 10))


def test_straightness_is_the_same_backwards():
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = solve(lambda x, t: torch.stack([-x[:, 1], x[:, 0]], 1), x, 400, "rk4")
    back = solve(
        lambda x, t: torch.stack([-x[:, 1], x[:, 0]], 1), there.end, 400, "rk4", t_start=1, t_end=0
    )
    assert straightness(there) == pytest.approx(straightness(back), rel=1e-6)


def test_empty_clouds_are_refused():
    for distance in (wasserstein, sliced_wasserstein):
        with pytest.raises(ValueError, match="not empty"):
            distance(torch.zeros(0, 2), torch.zeros(3, 2))


def test_frechet_distance_is_the_wasserstein_distance_of_gaussians():
    """For x -> A x + b with A symmetric and positive definite, the optimal map between them."""
    x = randn(500, 3)
    a = randn(3, 3, seed=1)
    a = a @ a.T + torch.eye(3)
    y = x @ a + torch.tensor([1.0, -2.0, 0.5])
    # the map is the gradient of a convex function, hence optimal, for the clouds as for the moments
    cost = (x - y).square().sum(1)
    centred = x - x.mean(0)
    shift = (x.mean(0) - y.mean(0)).square().sum()
    expected = float(shift + (centred - centred @ a).square().sum() / 499)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(x, y) == pytest.approx(wasserstein(x, y) ** 2, rel=0.01)
    assert wasserstein(x, y) ** 2 == pytest.approx(float(cost.mean()), rel=1e-9)


def test_frechet_distance_sees_moments_only():
    x = randn(400, 2)
    coins = randn(400, 2, seed=1).sign()
    coins = (coins - coins.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(coins.T.cov())).T
    same = coins @ torch.linalg.cholesky(x.T.cov()).T + x.mean(0)  # x's moments, another shape
    assert frechet_distance(x, same) < 1e-9 < 0.1 < wasserstein(x, same)


def test_frechet_distance_takes_dead_features_and_single_numbers():
    x = torch.cat([randn(50, 2), torch.zeros(50, 1)], 1)
    assert frechet_distance(x, x + torch.tensor([0.0, 0.0, 3.0])) == pytest.approx(9.0)
    assert frechet_distance(randn(50, 1), randn(50, 1) + 2) == pytest.approx(4.0)
    for few in (randn(5, 10, seed=seed) for seed in range(5)):  # fewer points than dimensions
        assert frechet_distance(few, few + 2) == pytest.approx(40.0)
    with pytest.raises(ValueError, match="two points or more"):
        frechet_distance(randn(1, 2), randn(5, 2))


def test_neighbours_tell_clouds_apart_and_not_two_draws_of_one():
    x, y = randn(400, 5), randn(400, 5, seed=1)
    apart, one = neighbour_test(x, y + 20), neighbour_test(x, y)
    assert apart == (1.0, 1.0, 1.0)
    assert abs(one.of_x - 0.5) < 0.1 and abs(one.of_y - 0.5) < 0.1
    assert one.gap == pytest.approx(abs(one.of_x - 0.5) + abs(one.of_y - 0.5))
    swapped = neighbour_test(y, x)
    assert (swapped.of_x, swapped.of_y) == (one.of_y, one.of_x)


def test_of_points_equally_near_each_has_its_share():
    x, y = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([[-1.0], [11.0], [20.0]])
    # 0 has 1 and -1 beside it; 1 has 0; 10 has 11 | -1 has 0; 11 has 10; 20 has 11
    assert neighbour_test(x, y)[1:] == pytest.approx(((0.5 + 1 + 0) / 3, (0 + 0 + 1) / 3))
    assert neighbour_test(y, x)[1:] == neighbour_test(x, y)[:0:-1]


def test_the_gap_sees_noise_that_the_mean_of_the_shares_does_not():
    y = randn(300, 40)
    found = neighbour_test(y + 2 * randn(300, 40, seed=1), randn(300, 40, seed=2))
    assert abs(found.of_x + found.of_y - 1) < 0.1 and found.gap > 0.8


def test_neighbours_agree_with_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    x, y = randn(60, 3), 1.3 * randn(60, 3, seed=1)
    both = torch.cat([x, y]).numpy()
    nearest = NearestNeighbors(n_neighbors=1).fit(both).kneighbors(return_distance=False)[:, 0]
    own = (nearest < 60) == (torch.arange(120).numpy() < 60)
    found = neighbour_test(x, y)
    assert (found.of_x, found.of_y) == (own[:60].mean(), own[60:].mean())
    with pytest.raises(ValueError, match="equally many"):
        neighbour_test(x, y[:50])


def test_precision_and_recall_of_a_part_and_of_more_than_all():
    data = torch.cat([randn(200, 2), randn(200, 2, seed=1) + 30])
    part, more = randn(400, 2, seed=2), torch.cat([data + 1e-3, randn(400, 2, seed=3) - 40])
    assert precision_recall(part, data).precision > 0.9
    assert precision_recall(part, data).recall == pytest.approx(0.5, abs=0.05)
    assert precision_recall(more, data).precision == pytest.approx(0.5, abs=0.05)
    assert precision_recall(more, data).recall > 0.99
    turned = precision_recall(data, more)
    assert turned == precision_recall(more, data)[::-1]  # exchanged clouds exchange them
    with pytest.raises(ValueError, match="more than k = 3 points, got 3"):
        precision_recall(data[:3], data)


def test_precision_counts_balls_to_the_kth_neighbour():
    data = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # radii for k = 1: 1, 1, 2, 4
    samples = torch.tensor([[-1.0], [-1.1], [4.9], [11.0], [11.1]])
    assert precision_recall(samples, data, k=1).precision == pytest.approx(3 / 5)


def test_copying_is_a_half_for_new_draws_one_for_copies_and_none_for_strangers():
    train, held_out, new = randn(300, 3), randn(300, 3, seed=1), randn(300, 3, seed=2)
    assert copying(new, train, held_out) == pytest.approx(0.5, abs=0.08)
    assert copying(train, train, held_out) == 1
    assert copying(train + 1e-3, train, held_out) > 0.98
    assert copying(new + 50, train, held_out) == 0
    assert copying(held_out, train, held_out) == 0.5  # ties count half
