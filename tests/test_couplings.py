import pytest
import torch

from conftest import randn
from fmlib.couplings import independent


def test_independent_keeps_the_pairs_as_drawn():
    x_0, x_1 = randn(4, 2), randn(4, 2, seed=1)
    a, b = independent(x_0, x_1)
    assert torch.equal(a, x_0) and torch.equal(b, x_1)


def test_independent_refuses_unequal_numbers():
    with pytest.raises(ValueError, match="same shape"):
        independent(randn(4, 2), randn(5, 2))
