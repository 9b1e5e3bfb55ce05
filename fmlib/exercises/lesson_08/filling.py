"""Fillings: the energy score, and how alike they should be."""

import math

import numpy as np
import torch

from fmlib.exercises import Lesson, points

lesson = Lesson(__name__)
check, expect, run = lesson.check, lesson.expect, lesson.run


def _score(f, x, pairs=lambda m: m * (m - 1)):
    """The energy score by loops; pairs: by how many the distances of fillings are divided."""
    total = 0.0
    for fillings, truth in zip(f, x, strict=True):
        off = sum(float((a - truth).norm()) for a in fillings) / len(fillings)
        apart = sum(float((a - b).norm()) for a in fillings for b in fillings)
        total += off - 0.5 * apart / pairs(len(fillings))
    return total / len(x)


@check
def check_energy_score(energy_score):
    """energy_score(f, x) -> a number."""
    x = points(3, 4, seed=1)
    sure = points(3, 1, 4, seed=2).repeat(1, 5, 1)
    cases = [("energy-far", sure, x)]
    for seed, (n, m, d) in enumerate(((4, 5, 2), (3, 3, 6), (1, 2, 3), (4, 5, 2))):
        cases.append(("energy-apart", 2 * points(n, m, d, seed=seed), points(n, d, seed=seed + 9)))
    for name, f, truth in cases:
        got, exact = run(energy_score, f, truth, like=float), _score(f, truth)
        with_itself = abs(got - _score(f, truth, lambda m: m**2)) < 1e-6 and name != "energy-far"
        n, m, _ = f.shape
        found = {"says": "energy", "n": n, "m": m, "exact": exact, "got": got}
        expect(abs(got - exact) < 1e-6, "energy-itself" if with_itself else name, **found)
    return {"exact": exact}


def _means(s, b):
    """E (F - F')^2 and E (F - x)^2, by quadrature: F ~ N(b, s^2), x ~ N(0, 1)."""
    z, weight = np.polynomial.hermite_e.hermegauss(12)
    weight = np.outer(weight, weight) / (2 * math.pi)
    one, two = np.meshgrid(z, z, indexing="ij")
    return ((s * one - s * two) ** 2 * weight).sum(), ((b + s * one - two) ** 2 * weight).sum()


@check
def check_diversity(diversity):
    """diversity(s, b) -> R, a number."""
    cases = [("diversity-right", 1.0, 0.0), ("diversity-sure", 0.0, 0.7)]
    cases += [("diversity-spread", s, 0.0) for s in (0.5, 2.0, 1.3)]
    cases += [("diversity-bias", *row) for row in ((1.0, 1.0), (0.6, 2.0), (1.5, -0.4))]
    for name, s, b in cases:
        got, (apart, off) = run(diversity, s, b, like=float), _means(s, b)
        found = {"says": "diversity", "s": s, "b": b, "exact": apart / off, "got": got}
        expect(abs(got - apart / off) < 1e-6, name, **found)
    return {
        "narrow": run(diversity, 0.5, 0.0, like=float),
        "off": run(diversity, 1.0, 1.0, like=float),
    }


def _expected(s):
    """E|F - x| - E|F - F'| / 2, by sums over the density of the differences."""

    def mean_size(std):
        if std == 0:
            return 0.0
        z = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000 * 12 * std
        density = (-(z**2) / (2 * std**2)).exp() / (std * math.sqrt(2 * math.pi))
        return float(2 * (z * density).sum() * 12 * std / 40_000)

    return mean_size(math.hypot(s, 1.0)) - mean_size(s * math.sqrt(2)) / 2


@check
def check_expected_score(expected_score):
    """expected_score(s) -> a number."""
    for s in (0.0, 1.0, 0.4, 2.5, 1.7):
        got, exact = run(expected_score, s, like=float), _expected(s)
        name = "expected-sure" if s == 0 else "expected-score"
        expect(abs(got - exact) < 1e-5, name, says="expected-score", s=s, exact=exact, got=got)
    parts = {
        name: run(expected_score, s, like=float) for name, s in (("right", 1.0), ("sure", 0.0))
    }
    return parts | {"wide": run(expected_score, 2.0, like=float)}
