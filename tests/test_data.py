import inspect
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

from conftest import other_defaults
from fmlib import data
from fmlib.metrics import over_floor
from fmlib.tiny_flux import scenes

SETS = [name for name in data.__all__ if name not in ("Digits", "digits")]
every_set = pytest.mark.parametrize("name", SETS)


def drawn(name, n=50, **how):
    return getattr(data, name)(n, generator=torch.Generator().manual_seed(3), **how)


def under(dtype, function):
    """What a function returns under another default dtype and on another default device."""
    with other_defaults(dtype):
        return function()


@every_set
def test_points_do_not_depend_on_torchs_defaults(name):
    expected = drawn(name)
    assert expected.dtype == torch.float32
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        found = under(dtype, lambda: drawn(name))
        assert found.dtype == torch.float32 and torch.equal(found, expected)
    # in float64 the same distribution, from longer random numbers
    found = under(torch.float64, lambda: drawn(name))
    assert found.dtype == torch.float64 and found.device.type == "cpu"
    with other_defaults(torch.float64, "cpu"):
        assert torch.equal(found, drawn(name))


def test_digits_and_scenes_do_not_depend_on_torchs_defaults():
    def everything():
        half = scenes.halves()[1]
        pictures, words = scenes.Scenes(half).draw(20, torch.Generator().manual_seed(0))
        read = scenes.Reader(half).read(pictures)
        return (
            *data.digits(),
            pictures,
            words,
            scenes.encode(["two nines"]),
            torch.tensor([sum(map(len, scene)) for scene in read], device="cpu"),
        )

    expected = everything()
    for dtype in (torch.float64, torch.bfloat16):
        for a, b in zip(under(dtype, everything), expected, strict=True):
            assert a.dtype == b.dtype and torch.equal(a, b)


@every_set
def test_the_numbers_of_a_set_may_come_from_numpy(name):
    parameters = inspect.signature(getattr(data, name)).parameters.values()
    sizes = {p.name: p.default for p in parameters if isinstance(p.default, float)}
    for n in (np.int64(50), np.array(50), torch.tensor(50)):
        assert torch.equal(drawn(name, n), drawn(name))
    assert drawn(name, 0).shape == (0, 2) and drawn(name, 1).shape == (1, 2)
    for wrong in (-1, 2.0, True, "2", None, [2], math.nan):
        with pytest.raises(ValueError, match="^n must be an integer of at least 0"):
            drawn(name, wrong)
    for key in sizes:
        for kind in (np.float32, np.float64, torch.tensor):
            found = drawn(name, **{key: kind(0.5)})
            assert type(found) is torch.Tensor and torch.equal(found, drawn(name, **{key: 0.5}))
        assert not torch.equal(found, drawn(name))
        for wrong in (-0.1, math.nan, math.inf, True, "1", None, 1j, torch.ones(2)):
            with pytest.raises(ValueError, match=f"^{key} must be"):
                drawn(name, **{key: wrong})
        assert torch.isfinite(drawn(name, **{key: 0})).all()


@every_set
def test_planar_sets_are_drawn_from_their_generator(name):
    draw = getattr(data, name)
    a, b = (draw(100, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and a.shape == (100, 2) and torch.isfinite(a).all()
    assert not torch.equal(a, draw(100, generator=torch.Generator().manual_seed(4)))


def test_two_moons_has_the_distribution_of_scikit_learns(generator):
    x = data.two_moons(200_000, generator=generator).double()
    y = torch.tensor(make_moons(200_000, noise=0.05, random_state=1)[0])
    error = 5 / math.sqrt(200_000)  # five standard errors, the coordinates being of size 1
    assert (x.mean(0) - y.mean(0)).abs().max() < error
    assert (x.T.cov() - y.T.cov()).abs().max() < 2 * error
    ratio = over_floor(
        lambda n: torch.tensor(make_moons(n, noise=0.05, random_state=2)[0]),
        lambda n: data.two_moons(n, generator=generator).double(),
    )
    assert ratio < 1.2  # below 1 is possible: scikit-learn's angles are on a grid


def test_checkerboard_is_uniform_on_eight_cells(generator):
    n = 80_000
    x = data.checkerboard(n, generator=generator)
    assert x.min() >= -4 and x.max() <= 4
    cell = ((x + 4) / 2).floor().long()
    assert ((cell.sum(1) % 2) == 0).all()  # black cells only
    counts = torch.bincount(cell[:, 0] * 4 + cell[:, 1], minlength=16)
    counts = counts[counts > 0].double()
    assert len(counts) == 8
    chi_square = float(((counts - n / 8) ** 2 / (n / 8)).sum())
    assert chi_square < 24.3  # 7 degrees of freedom: exceeded once in a thousand seeds
    inside = ((x + 4) / 2) % 1
    assert (inside.mean(0) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / n)


def test_eight_gaussians_stand_on_their_circle(generator):
    x = data.eight_gaussians(40_000, radius=2.0, std=0.1, generator=generator)
    octant = torch.atan2(x[:, 1], x[:, 0]).div(math.pi / 4).round().remainder(8).long()
    assert torch.bincount(octant).min() > 4600  # 5000 expected, standard deviation 66
    east = x[octant == 0]
    assert (east.mean(0) - torch.tensor([2.0, 0.0])).abs().max() < 0.01
    assert (east.std(0) - 0.1).abs().max() < 0.01


def test_swiss_roll_is_a_spiral(generator):
    x = data.swiss_roll(5000, noise=0.0, generator=generator)
    radius = x.norm(dim=1)
    angle = radius * 4.5 * math.pi / 2  # the radius grows with the angle
    torch.testing.assert_close(x[:, 0], radius * angle.cos(), rtol=0, atol=1e-4)
    assert radius.min() > 0.6 and radius.max() <= 2 + 1e-5


def test_digits_are_images_between_minus_one_and_one():
    images, labels = data.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert torch.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
