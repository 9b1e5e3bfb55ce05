"""How sure a share is, and how training times and steps lie after a time shift."""

import math

import numpy as np
import torch

from fmlib.exercises import Lesson, double, gap

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


@check
def check_needed(needed):
    """needed(p, q, z) -> how many sentences, a whole number."""
    cases = [(0.7, 0.9, 1.0), (0.9, 0.7, 1.0), (0.99, 0.95, 2.0), (0.3, 0.35, 1.5)]
    for p, q, z in [*cases, (0.5, 0.45, 2.5), (0.02, 0.05, 1.0), (0.97, 0.978, 2.0)]:
        got, n = run(needed, p, q, z, like=float), 1
        while abs(p - q) < z * math.sqrt((p * (1 - p) + q * (1 - q)) / n):
            n += 1
        found = {"says": "needed-n", "p": p, "q": q, "z": z, "exact": n, "got": got}
        alone = [math.ceil(z**2 * share * (1 - share) / (p - q) ** 2) for share in (p, q)]
        expect(got not in alone, "needed-both", **found)
        near = 1e-9 < abs(got - n) <= 1
        expect(not near, "needed-whole", **found)
        expect(abs(got - n) < 1e-9, "needed-n", **found)
    return {"p": p, "q": q, "z": z, "got": got}


@check
def check_most_wrong(most_wrong):
    """most_wrong(n, level) -> an error rate, a number."""
    for n, level in ((1, 0.05), (1, 0.3), (3, 0.05), (50, 0.01), (200, 0.05), (2000, 0.05)):
        got = run(most_wrong, n, level, like=float)
        expect(0 < got < 1, "wrong-range", n=n, got=got)
        chance = math.exp(n * math.log1p(-got))  # of n right ones
        found = {"says": "wrong-rate", "n": n, "level": level, "chance": chance, "got": got}
        expect(abs(chance - (1 - level)) > 2e-5, "wrong-level", **found)
        expect(abs(chance - level) < 2e-5, "wrong-rate", **found)
    few, many = (run(most_wrong, n, 0.05, like=float) for n in (200, 2000))
    return {"few": few, "many": many}


@check
def check_early_share(early_share):
    """early_share() -> a number."""
    return lesson.predicted(early_share, 0, 1, "early-range")


def _shifted(t, k):
    return t / (k - (k - 1) * t)


@check
def check_share_before(share_before):
    """share_before(t, k) -> like t: the share of the shifted steps that lie before t."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for k in (1.0, 3.0, 2.0, 0.4):
        got = run(share_before, t, k, like=t)
        ends = {"start": got[0], "end": got[-1], "k": k}
        expect(max(abs(got[0]), abs(got[-1] - 1)) < 1e-6, "before-ends", **ends)
        counted = [
            float((_shifted(torch.arange(8000) / 8000, k) < time).double().mean()) for time in t
        ]
        found = {"says": "before-share", "at": t, "k": k}
        forward = k != 1 and gap(got, _shifted(t, k)) < 1e-6
        agree(got, double(counted), 2e-4, "before-forward" if forward else "before-share", **found)
        agree(_shifted(got, k), t, 1e-6, "before-share", **found)
    lesson.in_float32(share_before, t, 3.0, like=t)
    return {"share": run(share_before, double([0.5]), 3.0, like=double([0.5]))[0]}


def _mass(density, k, low, high):
    """The integral of a density from low to high, by 60 points of Gauss and Legendre."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(60))
    t = low + (high - low) * (nodes + 1) / 2
    return float((high - low) / 2 * (weights * run(density, t, k, like=t)).sum())


def _normal_share(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def _per_time(z, t):
    """The density of a standard normal z, divided by t (1 - t)."""
    return (-z.square() / 2).exp() / (t * (1 - t) * math.sqrt(2 * math.pi))


@check
def check_density(density):
    """density(t, k) -> like t: of logit-normal times, shifted by k."""
    t = torch.linspace(0.04, 0.96, 24, dtype=torch.float64)
    agree(run(density, t, 1.0, like=t), _per_time(t.logit(), t), 1e-6, "density-plain", at=t)
    for k in (3.0, 0.4, 1.7):
        got = run(density, t, k, like=t)
        early = _shifted(t, 1 / k)  # the times before the shift
        z = early.logit()
        whole = _mass(density, k, 0.001, 0.999)  # next to nothing is outside
        name = "density-rate" if gap(got, _per_time(z, early)) < 1e-6 else "density-whole"
        expect(abs(whole - 1) < 1e-3, name, says="density-whole", k=k, got=whole)
        half = _normal_share(math.log(k))  # z - log k < 0
        way = _mass(density, k, 0.001, 0.5)
        expect(abs(way - half) < 1e-3, "density-way", k=k, exact=half, got=way)
        agree(got, _per_time(z, t), 1e-6, "density-shape", at=t, k=k)
    lesson.in_float32(density, t, 3.0, like=t)
    parts = {f"k{k:g}": _mass(density, k, 0.001, 0.5) for k in (1.0, 3.0)}
    return {"plain": parts["k1"], "shifted": parts["k3"]}
