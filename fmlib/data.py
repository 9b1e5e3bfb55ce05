"""Data sets small enough to see: 2-D shapes drawn point by point, and 8x8 handwritten digits.

Every 2-D set is drawn independently, point by point, from its generator: (n, generator=) -> (n, 2).
The points are on the CPU, where the generator lives, whatever the default device; in float64 if
that is the default dtype, else in float32.  A wrong n, or a noise below 0, is a ValueError.
"""

import math
from typing import NamedTuple

import torch

from fmlib.shapes import cpu_floats, real, whole

__all__ = ["Digits", "checkerboard", "digits", "eight_gaussians", "swiss_roll", "two_moons"]


def _uniform(*shape, generator):
    return torch.rand(*shape, generator=generator, **cpu_floats())


def _noise(std, n, generator):
    return std * torch.randn(n, 2, generator=generator, **cpu_floats())


def _one_of_eight(n, generator):
    return torch.randint(8, (n,), generator=generator, device="cpu")


def half_circles(angle):
    """The middle lines of the two moons at the given angles, (n,) in [0, pi]: two of (n, 2)."""
    outer = torch.stack([angle.cos(), angle.sin()], dim=1)
    middle = torch.tensor([1.0, 0.5], dtype=angle.dtype, device=angle.device)
    return outer, middle - outer  # the same half circle, turned and shifted


def two_moons(n, noise=0.05, generator=None):
    """Two interleaved half circles of radius 1, with Gaussian noise.  Returns (n, 2).

    The distribution of scikit-learn's make_moons, except that there the angles stand on a regular
    grid; here each point is independent, as the samples of a model are.
    """
    n, noise = whole("n", n, 0), real("noise", noise, 0)
    outer, inner = half_circles(math.pi * _uniform(n, generator=generator))
    is_outer = _uniform(n, generator=generator) < 0.5
    return torch.where(is_outer[:, None], outer, inner) + _noise(noise, n, generator)


def checkerboard(n, generator=None):
    """Uniform on the eight black cells, each 2 by 2, of a 4 by 4 board on [-4, 4]^2.

    The density is 1/32 on the black cells.  Returns (n, 2).
    """
    n = whole("n", n, 0)
    cell = _one_of_eight(n, generator)
    row, pair = cell // 2, cell % 2
    corner = torch.stack([2 * pair + row % 2, row], dim=1)
    inside = _uniform(n, 2, generator=generator)
    return 2 * (corner + inside) - 4


def eight_gaussians(n, radius=2.0, std=0.15, generator=None):
    """Eight equal Gaussians on a circle.  Returns (n, 2)."""
    n, radius, std = whole("n", n, 0), real("radius", radius, 0), real("std", std, 0)
    angle = math.pi / 4 * _one_of_eight(n, generator).to(**cpu_floats())
    centre = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centre + _noise(std, n, generator)


def swiss_roll(n, noise=0.05, generator=None):
    """A spiral of one and a half turns inside a disc of radius 2.  Returns (n, 2).

    The plane section of scikit-learn's make_swiss_roll, scaled.
    """
    n, noise = whole("n", n, 0), real("noise", noise, 0)
    angle = 1.5 * math.pi * (1 + 2 * _uniform(n, generator=generator))
    radius = 2 * angle / (4.5 * math.pi)
    roll = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return roll + _noise(noise, n, generator)


class Digits(NamedTuple):
    """scikit-learn's handwritten digits."""

    images: torch.Tensor  # (1797, 1, 8, 8), in [-1, 1], -1 is background
    labels: torch.Tensor  # (1797,), 0 ... 9


def digits():
    """All 1,797 handwritten digits that come with scikit-learn, 8 by 8 pixels.  Returns Digits.

    Alpaydin and Kaynak 1998 (UCI Machine Learning Repository, test part).
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32, device="cpu")[:, None] / 8 - 1
    return Digits(images, torch.tensor(raw.target, device="cpu"))
