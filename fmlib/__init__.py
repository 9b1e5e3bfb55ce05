"""fmlib: the thin helper package of the series "Flow Matching and Diffusion Models".

One convention holds everywhere: t = 0 is the source (noise), t = 1 is the target (data), and
every velocity, score and model is called as ``f(x, t)``.
"""

import os
import random

import numpy as np
import torch

__all__ = ["seed"]


def seed(s=None):
    """Seed torch, numpy and random, and return a torch.Generator with the same seed.

    s: an integer in [0, 2**32); None means the environment variable FMLIB_SEED, else 0.
    Raises ValueError if s (or FMLIB_SEED) is no such integer.
    Every notebook starts from this call; its claims hold for FMLIB_SEED = 0 ... 9.
    """
    value = os.environ.get("FMLIB_SEED", "0") if s is None else s
    try:
        number = int(value) if isinstance(value, (int, str)) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2**32:
        raise ValueError(f"the seed must be an integer in [0, 2**32), got {value!r}")
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)
