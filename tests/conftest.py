"""What several test files share."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import HealthCheck, settings

from fmlib.paths import VE, VP, CondOT, Cosine, LinearVP, Polynomial

on_a_graphics_card = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a graphics card, as nothing else here does"
)
PATHS = [CondOT(), VP(), Cosine(), LinearVP(), Polynomial(3.0), VE(0.05, 10.0)]

# No test knows what time it is.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


@pytest.fixture(params=PATHS, ids=lambda path: type(path).__name__)
def path(request):
    return request.param


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@contextmanager
def other_defaults(dtype, device="meta"):
    """A caller who has set another default dtype and another default device."""
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def wavy(x, t):
    """A smooth function of both, of one t for all rows."""
    return torch.sin(3 * x + t) + 0.1 * x.flip(1)


def close(a, b):
    """Assert the same arithmetic up to its order: 1e-10, of the number or absolutely."""
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
