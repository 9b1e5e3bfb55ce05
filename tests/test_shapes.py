import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmlib.shapes import (
    check_finite,
    check_points,
    check_returned,
    check_same_shape,
    check_settled,
    check_unit_interval,
    expand_time,
    real,
    whole,
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


@pytest.mark.parametrize("three", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_a_whole_number_may_come_from_python_numpy_or_torch(three):
    assert type(whole("n", three)) is int and whole("n", three, 1, 3) == real("n", three) == 3


@pytest.mark.parametrize("half", [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5)])
def test_a_real_number_may_come_from_python_numpy_or_torch(half):
    assert type(real("h", half)) is float and real("h", half) == 0.5
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got"):
        whole("n", half, 1)


NO_NUMBERS = [
    True,
    np.True_,
    torch.tensor(True),
    "1",
    None,
    [1],
    1j,
    np.complex64(1),
    torch.ones(2),
]


def test_a_bound_says_what_it_is():
    assert real("h", 0, low=0) == 0 and real("h", 1e-300, above=0) > 0
    with pytest.raises(ValueError, match="h must be at least 0, got -1"):
        real("h", -1, low=0)
    with pytest.raises(ValueError, match="h must be above 0, got 0"):
        real("h", 0, above=0)


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.nan, math.inf, torch.tensor(math.nan)])
@pytest.mark.parametrize("check", [whole, real])
def test_what_is_no_number_is_none(check, value):
    with pytest.raises(ValueError, match="n must be"):
        check("n", value)


def test_a_whole_number_has_limits():
    for value in (0, 5):
        with pytest.raises(ValueError, match="n must be an integer from 1 to 4, got"):
            whole("n", value, 1, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.int64])
def test_points_have_32_bits_or_64(dtype):
    with pytest.raises(ValueError, match=f"float32 or float64, got {dtype}"):
        check_points("x", torch.ones(2, 2).to(dtype))


@pytest.mark.parametrize("t", [None, "0.5", 1j, [[0.1], [0.2, 0.3]], torch.tensor([True, False])])
def test_a_time_is_a_real_number(t):
    with pytest.raises(ValueError, match="t must"):
        expand_time(t, torch.zeros(2, 2))


X = torch.zeros(3, 2)
NOT_LIKE_X = [
    None,
    (X,),
    X.numpy(),
    [0.0],
    X.long(),
    X + 0j,
    X[:2],
    X.T,
    X[..., None],
    X.to("meta"),
]


@pytest.mark.parametrize("value", NOT_LIKE_X, ids=lambda value: type(value).__name__)
def test_what_a_function_returned_must_be_like_x(value):
    with pytest.raises(ValueError, match="^u must return"):
        check_returned("u", value, X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_a_function_returned_gets_the_dtype_of_x(dtype):
    for x in (X, X.double()):
        u = check_returned("u", torch.full((3, 2), 0.5, dtype=dtype), x)
        assert u.dtype == x.dtype and (u == 0.5).all()


@pytest.mark.parametrize(
    "layer", [torch.nn.Dropout(0.1), torch.nn.BatchNorm1d(2), torch.nn.Dropout2d()]
)
def test_a_layer_that_acts_otherwise_in_training_is_found(layer):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(layer))
    with pytest.raises(ValueError, match=rf"the model has a {type(layer).__name__}.*eval\(\)"):
        check_settled("the model", model)
    check_settled("the model", model.eval())


def test_other_layers_and_functions_may_be_in_any_mode():
    layers = torch.nn.Dropout(0.0), torch.nn.LayerNorm(2), torch.nn.InstanceNorm1d(2)
    check_settled("the model", torch.nn.Sequential(*layers))
    check_settled("the model", lambda x, t: x)
