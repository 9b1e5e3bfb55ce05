import random

import numpy as np
import pytest
import torch

import fmlib


def draws():
    return torch.rand(()).item(), np.random.rand(), random.random()


def test_seed_fixes_all_three_generators_and_the_returned_one():
    g = fmlib.seed(5)
    first, own = draws(), torch.rand((), generator=g)
    g = fmlib.seed(5)
    assert draws() == first and torch.rand((), generator=g) == own
    fmlib.seed(6)
    assert draws() != first


def test_seed_comes_from_the_environment_unless_given(monkeypatch):
    monkeypatch.setenv("FMLIB_SEED", "7")
    fmlib.seed()
    from_environment = draws()
    fmlib.seed(7)
    assert draws() == from_environment
    monkeypatch.delenv("FMLIB_SEED")
    fmlib.seed()
    unset = draws()
    fmlib.seed(0)
    assert draws() == unset


@pytest.mark.parametrize("bad", ["seven", "-1", str(2**32)])
def test_seed_refuses_what_is_no_seed(monkeypatch, bad):
    monkeypatch.setenv("FMLIB_SEED", bad)
    with pytest.raises(ValueError, match="seed must be an integer"):
        fmlib.seed()
