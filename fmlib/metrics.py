"""How far apart are two clouds of points, are they copies, and how straight is a flow?"""

import math
from typing import NamedTuple

import torch

from fmlib.shapes import check_finite, check_points

__all__ = [
    "NeighbourTest", "PrecisionRecall", "Straightness", "copying", "frechet_distance",
    "neighbour_test", "over_floor", "precision_recall", "sliced_wasserstein", "straightness",
    "wasserstein",
]  # fmt: skip


def _clouds(x, y):
    for name, z in (("x", x), ("y", y)):
        check_points(name, z)
        check_finite(name, z)
    if x.shape[1:] != y.shape[1:] or x.ndim < 2 or 0 in (len(x), len(y)):
        raise ValueError(
            f"x and y must be clouds (n, *dims) of points of one shape, not empty, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    return (z.detach().flatten(1).double().cpu().numpy() for z in (x, y))


def wasserstein(x, y):
    """The exact 2-Wasserstein distance W_2 between two clouds, by optimal transport (POT).

    W_2^2 = min over couplings pi of E_pi ||x - y||^2.  x: (n, *dims), y: (m, *dims).  Returns a
    float. Two independent samples of one distribution are not at distance 0: compare with that
    floor. Cost grows like n^3: half a second at n = 1,000.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Peyre and Cuturi 2019, eq. 2.11.  Taught in: 02, section 6.
    """
    import ot

    a, b = _clouds(x, y)
    plan_cost = ot.emd2(ot.unif(len(a)), ot.unif(len(b)), ot.dist(a, b), numItermax=10_000_000)
    return max(float(plan_cost), 0.0) ** 0.5


def sliced_wasserstein(x, y, n_projections=200, generator=None):
    """The sliced 2-Wasserstein distance: W_2 of 1-D projections, averaged over directions (POT).

    SW_2^2 = E_theta W_2^2(<theta, x>, <theta, y>), with theta uniform on the sphere, estimated from
    n_projections draws.  x: (n, *dims), y: (m, *dims).  Returns a float.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Bonneel et al. 2015, definition 1.
    """
    import ot

    a, b = _clouds(x, y)
    theta = torch.randn(a.shape[1], n_projections, generator=generator, dtype=torch.float64)
    theta = (theta / theta.norm(dim=0)).numpy()
    return float(ot.sliced_wasserstein_distance(a, b, projections=theta))


def over_floor(draw_samples, draw_data, n=400, repeats=10, distance=wasserstein):
    """The distance of samples from data, as a multiple of the distance of data from data.

    = sum_k distance(samples_k, data_k) / sum_k distance(other data_k, data_k), every cloud drawn
    afresh: draw_samples(n) and draw_data(n) -> (n, *dims). 1 means that no test by this distance
    could tell them apart; for the default n and repeats, expect a spread of about 0.1 around it.
    Returns a float.  Raises ValueError as distance does.
    Taught in: 02, section 6.
    """
    above, floor = 0.0, 0.0
    for _ in range(repeats):
        data = draw_data(n)
        above += distance(draw_samples(n), data)
        floor += distance(draw_data(n), data)
    return above / floor


def frechet_distance(x, y):
    """The Frechet distance: the squared W_2 of the Gaussians that have the clouds' moments.

    = |m_x - m_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)), for means m and covariances C. On a
    network's features it is the FID of papers. Whatever has the right moments has distance 0.
    x: (n, *dims), y: (m, *dims), two points or more each.  Returns a float.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Heusel et al. 2017, eq. 6.  Taught in: 08, section 1.
    """
    a, b = (torch.from_numpy(z) for z in _clouds(x, y))
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs two points or more in each cloud")
    c, d = (torch.atleast_2d(z.T.cov()) for z in (a, b))
    root = torch.linalg.eigvals(c @ d).real.clamp(min=0).sqrt().sum()  # trace of (c d)^(1/2)
    far = (a.mean(0) - b.mean(0)).square().sum() + c.trace() + d.trace() - 2 * root
    return max(float(far), 0.0)


class NeighbourTest(NamedTuple):
    """Shares of points whose nearest other point, in both clouds together, is of their own cloud.

    gap = |of_x - 1/2| + |of_y - 1/2|, from 0 to 1.
    """

    gap: float
    of_x: float
    of_y: float


def neighbour_test(x, y):
    """The two-sample test by nearest neighbours: does a point's neighbour tell where it is from?

    x, y: (n, *dims), equally many, so that both shares are 1/2, up to chance, if both clouds are
    drawn from one distribution; 1 if they lie apart.  Their mean, the test's usual number, is 1/2
    also for y and a noisy copy of it, where every neighbour is of y: the gap is 1 then.
    Returns a NeighbourTest.
    Raises ValueError for clouds of different dimension or size, or values that are not finite.
    Lopez-Paz and Oquab 2017, section 3; Xu et al. 2018, section 2.  Taught in: 08, section 1.
    """
    a, b = (torch.from_numpy(z) for z in _clouds(x, y))
    if len(a) != len(b):
        raise ValueError(f"x and y must have equally many points, got {len(a)} and {len(b)}")
    both = torch.cat([a, b])
    from_x = torch.arange(len(both)) < len(a)
    nearest = torch.cdist(both, both).fill_diagonal_(math.inf).argmin(1)
    right = (from_x[nearest] == from_x).double()
    of_x, of_y = float(right[: len(a)].mean()), float(right[len(a) :].mean())
    return NeighbourTest(abs(of_x - 0.5) + abs(of_y - 0.5), of_x, of_y)


class PrecisionRecall(NamedTuple):
    """Precision: the share of samples where data are. Recall: of data where samples are."""

    precision: float
    recall: float


def precision_recall(samples, data, k=3):
    """Precision and recall of samples, both by the same estimate of where a cloud is.

    A cloud is the union of balls around its points, each reaching to the k-th nearest other point.
    samples: (n, *dims), data: (m, *dims), more than k each.  Returns a PrecisionRecall.
    Raises ValueError for clouds of different dimension, too few points, values not finite.
    Kynkäänniemi et al. 2019, eqs. 1 and 2.  Taught in: 08, section 1.
    """
    x, y = (torch.from_numpy(z) for z in _clouds(samples, data))
    if min(len(x), len(y)) <= k:
        raise ValueError(f"both clouds need more than k = {k} points, got {len(x)} and {len(y)}")

    def covered(points, by):
        radius = torch.cdist(by, by).topk(k + 1, largest=False).values[:, -1]  # the first is itself
        return float((torch.cdist(points, by) <= radius).any(1).double().mean())

    return PrecisionRecall(covered(x, y), covered(y, x))


def copying(samples, train, held_out):
    """How often a sample is closer to the training data than held-out data are: P(d < d').

    d and d' are the distances of a random sample and of a random held-out point to their nearest
    training point; ties count half. 1/2 is what new draws of the data's distribution get, up to
    chance; well above is a copy, well below lies far from the data or between them.
    samples, train, held_out: (n, *dims), any numbers of points.  Returns a float.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Meehan, Chaudhuri and Dasgupta 2020, section 3.  Taught in: 08, section 2.
    """
    near = []
    for z in (samples, held_out):
        a, b = (torch.from_numpy(c) for c in _clouds(z, train))
        near.append(torch.cdist(a, b).min(1).values)
    d, other = near[0][:, None], near[1]
    return float((d < other).double().mean() + 0.5 * (d == other).double().mean())


class Straightness(NamedTuple):
    """S, in squared units of x, and S divided by the mean squared distance from start to end.

    relative is infinite for a flow that ends where it started, having moved on the way.
    """

    absolute: float
    relative: float


def straightness(trajectory):
    """S = integral over t of E ||(Z_1 - Z_0) - v(Z_t, t)||^2 along the flow's own trajectories.

    trajectory: from solve, forwards or backwards, with every state kept; its time is scaled to
    [0, 1]. The speed on each interval is taken from its two ends, so the error falls with the
    square of the step. S = 0 if and only if every trajectory is straight and run through at
    constant speed.  Returns a Straightness.
    Raises ValueError if fewer than two steps were kept, or if nothing moved.
    Liu, Gong and Liu 2022, eq. 4.  Taught in: 07.
    """
    x, t = trajectory.x.double().unsqueeze(-1).flatten(2), trajectory.t.double()
    if len(t) < 3:
        raise ValueError(f"straightness needs at least two steps, got {len(t) - 1}: keep='all'")
    h = t.diff() / (t[-1] - t[0])
    chord = x[-1] - x[0]  # (batch, dim)
    speed = x.diff(dim=0) / h[:, None, None]  # (n, batch, dim)
    absolute = float((h * (chord - speed).square().sum(2).mean(1)).sum())
    travelled = float(chord.square().sum(1).mean())
    if absolute == travelled == 0:
        raise ValueError("nothing moved, so straightness means nothing here")
    return Straightness(absolute, absolute / travelled if travelled > 0 else math.inf)
