import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmlib.shapes import (
    check_finite,
    check_points,
    check_same_shape,
    check_unit_interval,
    expand_time,
)

BATCH = st.integers(1, 6)
DIMS = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@given(BATCH, DIMS, st.sampled_from([torch.float32, torch.float64]))
def test_t_multiplies_rows_whatever_the_shapes(batch, dims, dtype):
    x = torch.randn(batch, *dims, dtype=dtype)
    t = torch.rand(batch)
    by_row = torch.stack([row * value for row, value in zip(x, t.to(dtype), strict=True)])
    for form in (t, t.reshape(batch, *[1] * len(dims))):
        product = expand_time(form, x) * x
        assert product.dtype == dtype
        torch.testing.assert_close(product, by_row, rtol=0, atol=0)


@given(BATCH, DIMS)
def test_a_single_time_multiplies_everything(batch, dims):
    x = torch.randn(batch, *dims, dtype=torch.float64)
    for t in (0.3, torch.tensor(0.3, dtype=torch.float64)):
        torch.testing.assert_close(expand_time(t, x) * x, 0.3 * x, rtol=0, atol=0)


@given(BATCH, DIMS, st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
def test_every_other_shape_of_t_is_refused(batch, dims, shape):
    x = torch.zeros(batch, *dims)
    if shape in {(batch,), (batch, *[1] * len(dims))}:
        return
    with pytest.raises(ValueError, match=r"t must be a scalar or have shape \(batch,\)"):
        expand_time(torch.zeros(shape), x)


def test_batch_equal_to_dim_is_no_trap():
    x, t = torch.ones(2, 2), torch.tensor([1.0, 5.0])
    assert (expand_time(t, x) * x).tolist() == [[1, 1], [5, 5]]


@pytest.mark.parametrize(
    "bad, says", [([1.0], "got list"), (torch.tensor([1]), "int64"), (torch.tensor(1.0), "batch")]
)
def test_points_are_floating_tensors_with_a_batch(bad, says):
    with pytest.raises(ValueError, match=says):
        check_points("x", bad)


def test_shapes_have_to_match():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4, 2\)"):
        check_same_shape("x_0", torch.zeros(3, 2), "x_1", torch.zeros(4, 2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_have_to_be_finite(bad):
    with pytest.raises(ValueError, match="got 1 NaN or infinite of 2"):
        check_finite("x", torch.tensor([0.0, bad]))


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), torch.tensor([0.5, 1.5])])
def test_times_lie_between_0_and_1(bad):
    with pytest.raises(ValueError, match="t_end must lie in"):
        check_unit_interval("t_end", bad)
