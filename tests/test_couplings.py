import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from conftest import randn
from fmlib.couplings import independent, masked, minibatch_ot
from fmlib.paths import CondOT


def test_independent_keeps_the_pairs_as_drawn():
    x_0, x_1 = randn(4, 2), randn(4, 2, seed=1)
    a, b = independent(x_0, x_1)
    assert torch.equal(a, x_0) and torch.equal(b, x_1)


def test_independent_refuses_unequal_numbers():
    with pytest.raises(ValueError, match="same shape"):
        independent(randn(4, 2), randn(5, 2))


# masked


@pytest.mark.parametrize(
    "shape, mask",
    [
        ((2000, 2), torch.tensor([True, False])),
        ((2000, 2), torch.arange(4000).reshape(2000, 2) % 3 == 0),
        ((500, 1, 4, 4), torch.arange(16).reshape(4, 4) < 8),
        ((500, 3, 4, 4), torch.arange(500).reshape(500, 1, 1, 1) % 2 == 0),
        ((500, 3, 4, 4), torch.arange(3).reshape(3, 1, 1) == 1),
        ((4000,), torch.arange(4000) % 2 == 0),
        ((500, 4), torch.tensor(False)),
    ],
    ids=lambda value: "-".join(map(str, tuple(getattr(value, "shape", value)))) or "one",
)
def test_masked_keeps_what_is_known_and_draws_the_rest(shape, mask, generator):
    x_1 = 5 + 3 * randn(*shape, seed=1)
    before = x_1.clone()
    x_0, same = masked(x_1, mask, generator)
    assert same is x_1 and torch.equal(x_1, before)
    assert x_0.shape == shape and x_0.dtype == x_1.dtype
    known = torch.broadcast_to(mask, shape)
    assert torch.equal(x_0[known], x_1[known])
    noise = x_0[~known]
    n = noise.numel()
    # five standard errors of the mean, the variance and the kurtosis of n draws from N(0, 1)
    assert abs(float(noise.mean())) < 5 / math.sqrt(n)
    assert abs(float(noise.var()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float((noise**4).mean()) - 3) < 5 * math.sqrt(96 / n)
    # independent of the data that it replaces
    assert abs(float((noise * (x_1[~known] - 5) / 3).mean())) < 5 / math.sqrt(n)


def test_masked_everywhere_is_the_data():
    x_1 = randn(4, 2)
    assert torch.equal(masked(x_1, torch.ones(4, 2, dtype=torch.bool))[0], x_1)


def test_masked_is_reproducible():
    x_1, mask = randn(8, 2), torch.tensor([True, False])
    draws = [masked(x_1, mask, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert (draws[0] - draws[2])[:, 1].abs().min() > 0


def test_on_a_masked_path_the_known_never_moves(path):
    """On CondOT exactly so; on the others it is scaled, with everything else, by alpha + sigma."""
    mask = torch.tensor([True, False])
    x_0, x_1 = masked(randn(9, 2), mask, torch.Generator().manual_seed(1))
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    batch = path.sample(x_0, x_1, t)
    scale = path.alpha(t) + path.sigma(t)
    torch.testing.assert_close(batch.x_t[:, 0], scale * x_1[:, 0], rtol=1e-12, atol=1e-12)
    if path == CondOT():
        torch.testing.assert_close(batch.dx_t[:, 0], torch.zeros(9, dtype=torch.float64))


@pytest.mark.parametrize(
    "x_1, mask, says",
    [
        (randn(4, 2), torch.ones(4, 2), "mask must be a bool tensor"),
        (randn(4, 2), [True, False], "mask must be a bool tensor"),
        (randn(4, 2), torch.ones(3, dtype=torch.bool), r"must broadcast to x_1, \(4, 2\), got"),
        (randn(4, 2), torch.ones(4, dtype=torch.bool), r"must broadcast to x_1, \(4, 2\), got"),
        (randn(2), torch.ones(4, 2, dtype=torch.bool), "must broadcast to x_1"),
        (
            torch.ones(4, 2, dtype=torch.int64),
            torch.ones(2, dtype=torch.bool),
            "float32 or float64",
        ),
    ],
)
def test_masked_refuses_bad_input(x_1, mask, says):
    with pytest.raises(ValueError, match=says):
        masked(x_1, mask)


# minibatch_ot


def cost(x_0, x_1):
    return float((x_0 - x_1).square().sum())


def rows(x):
    return sorted(map(tuple, x.flatten(1).tolist()))


@given(
    st.integers(1, 40),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    st.integers(0, 1000),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60)
def test_minibatch_ot_is_a_permutation_and_no_other_is_cheaper(n, dims, seed, dtype):
    x_0, x_1 = randn(n, *dims, seed=seed, dtype=dtype), randn(n, *dims, seed=seed + 1, dtype=dtype)
    given_0, given_1 = x_0.clone(), x_1.clone()
    a, b = minibatch_ot(x_0, x_1)
    assert torch.equal(b, x_1) and a.shape == x_0.shape and a.dtype == dtype
    assert rows(a) == rows(x_0)
    assert torch.equal(x_0, given_0) and torch.equal(x_1, given_1)
    best, generator = cost(a, b), torch.Generator().manual_seed(seed)
    slack = 1e-12 if dtype == torch.float64 else 1e-5  # cost is summed in the points' own precision
    assert best <= cost(x_0, x_1) * (1 + slack)
    for _ in range(20):
        other = b[torch.randperm(n, generator=generator)]
        assert best <= cost(a, other) * (1 + slack)
    for _ in range(20):  # the neighbours: two rows exchanged
        i, j = torch.randint(n, (2,), generator=generator).tolist()
        other = b.clone()
        other[i], other[j] = b[j], b[i]
        assert best <= cost(a, other) * (1 + slack)


@pytest.mark.parametrize("dims", [(1,), (2,), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("n", range(1, 7))
def test_minibatch_ot_is_the_best_of_all_permutations(n, dims):
    for seed in range(5):
        x_0, x_1 = randn(n, *dims, seed=seed), randn(n, *dims, seed=seed + 10)
        best = min((x_0[list(p)] for p in permutations(range(n))), key=lambda a: cost(a, x_1))
        assert torch.equal(minibatch_ot(x_0, x_1)[0], best)


def test_minibatch_ot_agrees_with_scipys_assignment_solver():
    x_0, x_1 = randn(300, 2), randn(300, 2, seed=1)
    _, order = linear_sum_assignment(torch.cdist(x_1, x_0).square().numpy())
    assert torch.equal(minibatch_ot(x_0, x_1)[0], x_0[order])


def test_minibatch_ot_takes_doubled_points_and_empty_batches():
    x_0, x_1 = randn(40, 2).repeat(3, 1), randn(60, 2, seed=1).repeat(2, 1)
    a, b = minibatch_ot(x_0, x_1)
    assert torch.equal(b, x_1) and rows(a) == rows(x_0)
    assert minibatch_ot(x_0[:0], x_1[:0])[0].shape == (0, 2)


def test_minibatch_ot_on_a_line_keeps_the_order():
    x_0, x_1 = randn(50, 1), randn(50, 1, seed=1)
    a, b = minibatch_ot(x_0, x_1)
    assert torch.equal(a[:, 0].argsort(), b[:, 0].argsort())


def test_minibatch_ot_undoes_a_permutation():
    x = randn(100, 2)
    assert torch.equal(minibatch_ot(x[torch.randperm(100)], x)[0], x)
    assert torch.equal(minibatch_ot(x[torch.randperm(100)], x + 7.0)[0], x)


def test_minibatch_ot_walks_never_meet():
    """Optimal straight walks from t = 0 to 1 do not cross on the way, random ones do."""
    a, b = minibatch_ot(randn(60, 2), randn(60, 2, seed=1))
    # Cyclical monotonicity: no exchange of two partners is cheaper, for any pair of rows.
    inner = a @ b.T
    exchange = inner.diagonal()[:, None] + inner.diagonal()[None, :] - inner - inner.T
    assert exchange.min() > -1e-12
    unpaired = randn(60, 2) @ randn(60, 2, seed=1).T
    loose = unpaired.diagonal()[:, None] + unpaired.diagonal()[None, :] - unpaired - unpaired.T
    assert loose.min() < -1


def test_minibatch_ot_takes_plain_numbers_too():
    x_0, x_1 = randn(9), randn(9, seed=1)
    a, b = minibatch_ot(x_0, x_1)
    assert torch.equal(a.argsort(), b.argsort())


@pytest.mark.parametrize(
    "x_0, x_1, says",
    [
        (randn(4, 2), randn(5, 2), "same shape"),
        (randn(4, 2), randn(4, 3), "same shape"),
        (randn(4, 2) * math.nan, randn(4, 2), "x_0 must be finite"),
        (randn(4, 2), randn(4, 2) / 0, "x_1 must be finite"),
        (torch.ones(4, 2, dtype=torch.int64), randn(4, 2), "x_0 must be a tensor of float32"),
        (randn(4, 2), "data", "x_1 must be a tensor of float32"),
    ],
)
def test_minibatch_ot_refuses_bad_input(x_0, x_1, says):
    with pytest.raises(ValueError, match=says):
        minibatch_ot(x_0, x_1)


def test_minibatch_ot_far_from_the_origin_pairs_as_near_it():
    """What both clouds are moved by changes no pair, whatever it does to |x|^2."""
    x_0, x_1 = randn(64, 2), randn(64, 2, seed=1)
    for shift in (1e4, 1e7):
        moved = minibatch_ot(x_0 + shift, x_1 + shift)[0] - shift
        torch.testing.assert_close(moved, minibatch_ot(x_0, x_1)[0], rtol=0, atol=1e-6)
