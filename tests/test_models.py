import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmlib.models import MLP


@given(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple))
def test_output_has_the_shape_of_x_and_rows_do_not_mix(batch, dims):
    model = MLP(dims, width=8, depth=2).double()
    x, t = torch.randn(batch, *dims, dtype=torch.float64), torch.rand(batch, dtype=torch.float64)
    out = model(x, t)
    assert out.shape == x.shape
    for i in range(batch):
        torch.testing.assert_close(model(x[i : i + 1], float(t[i])), out[i : i + 1])
    torch.testing.assert_close(model(x, t.reshape(batch, *[1] * len(dims))), out)


def test_it_depends_on_time():
    model, x = MLP(), torch.randn(5, 2)
    assert (model(x, 0.1) - model(x, 0.9)).abs().min() > 0


def test_size_is_as_described():
    # 3 -> 64 -> 64 -> 64 -> 2, weights and biases
    assert sum(p.numel() for p in MLP(2, 64, 3).parameters()) == 256 + 2 * 4160 + 130


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 2\), got \(5, 3\)"):
        MLP(2)(torch.zeros(5, 3), 0.5)
    with pytest.raises(ValueError, match="t must be a scalar"):
        MLP(2)(torch.zeros(2, 2), torch.zeros(2, 2))


@pytest.mark.parametrize("setting", [{"width": 0}, {"depth": 0}])
def test_a_network_without_neurons_is_refused(setting):
    with pytest.raises(ValueError, match="at least 1"):
        MLP(**setting)


def test_a_point_may_be_a_number():
    assert MLP(dims=())(torch.zeros(5), 0.5).shape == (5,)
