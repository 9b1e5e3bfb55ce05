import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from conftest import PATHS, randn
from fmlib.metrics import over_floor, sliced_wasserstein, straightness, wasserstein
from fmlib.solvers import Trajectory, solve


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
