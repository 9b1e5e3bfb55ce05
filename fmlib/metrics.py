"""How far apart are two clouds of points, are they copies, and how straight is a flow?"""

import math
import sys
from typing import NamedTuple

import numpy as np
import torch

from fmlib.shapes import check_finite, check_points, real, whole

__all__ = [
    "NeighbourTest", "PrecisionRecall", "Straightness", "copying", "frechet_distance",
    "neighbour_test", "over_floor", "precision_recall", "sliced_wasserstein", "straightness",
    "wasserstein",
]  # fmt: skip


def _clouds(**clouds):
    """Clouds as float64 tensors (n, dim) near 0, of size 1, and k: they were 2^k times as large.

    They are moved and scaled together, so that no square is lost beside a large mean, overflows or
    underflows.  Raises ValueError for clouds that are empty, not finite or of different dimension.
    """
    for name, z in clouds.items():
        check_points(name, z)
        check_finite(name, z)
    shapes = [tuple(z.shape) for z in clouds.values()]
    if len({shape[1:] for shape in shapes}) > 1 or len(shapes[0]) < 2 or 0 in sum(shapes, ()):
        raise ValueError(
            f"{' and '.join(clouds)} must be clouds (n, *dims) of points of one shape, not empty, "
            f"got {' and '.join(map(str, shapes))}"
        )
    flat = [z.detach().flatten(1).double().cpu().numpy() for z in clouds.values()]
    both, first = _scaled(np.concatenate(flat))
    middle = np.partition(both, len(both) // 2, axis=0)[len(both) // 2]  # the medians
    both, second = _scaled(both - middle)
    return *torch.from_numpy(both).split([len(z) for z in flat]), first + second


def _scaled(z):
    """z / 2^k, without rounding, and k, such that the largest number is between 1/2 and 1."""
    k = int(np.frexp(np.abs(z).max())[1])
    return np.ldexp(z, -k), k


def _unscaled(name, value, k):
    """value times 2^k, as a float.  Raises ValueError where a float has no room for it."""
    value = float(value)
    inside = sys.float_info.min_exp <= math.frexp(value)[1] + k <= sys.float_info.max_exp
    if value and not inside:
        raise ValueError(f"the {name} is about 2^{k}, beyond what a float holds: scale the points")
    return math.ldexp(value, k) if value else 0.0


def _distances(a, b):
    """The distances (n, m) of points, from their differences: the faster way by |a|^2 - 2ab + |b|^2
    loses what is small beside the norms."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def wasserstein(x, y):
    """The exact 2-Wasserstein distance W_2 between two clouds, by optimal transport (POT).

    W_2^2 = min over couplings pi of E_pi ||x - y||^2.  x: (n, *dims), y: (m, *dims).  Returns a
    float. Two independent samples of one distribution are not at distance 0: compare with that
    floor. Right to 1e-8 of the largest distance of two points: the solver sees no smaller gain.
    Cost grows like n^3: half a second at n = 1,000.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Peyre and Cuturi 2019, eq. 2.11.  Taught in: 02, section 6.
    """
    import ot

    a, b, k = _clouds(x=x, y=y)
    cost = _distances(a, b).square().numpy()
    plan_cost = ot.emd2(ot.unif(len(a)), ot.unif(len(b)), cost, numItermax=10_000_000)
    return _unscaled("distance", max(float(plan_cost), 0.0) ** 0.5, k)


def sliced_wasserstein(x, y, n_projections=200, generator=None):
    """The sliced 2-Wasserstein distance: W_2 of 1-D projections, averaged over directions (POT).

    SW_2^2 = E_theta W_2^2(<theta, x>, <theta, y>), with theta uniform on the sphere, estimated from
    n_projections draws.  x: (n, *dims), y: (m, *dims).  Returns a float.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Bonneel et al. 2015, definition 1.
    """
    import ot

    a, b, k = _clouds(x=x, y=y)
    size = a.shape[1], whole("n_projections", n_projections, 1)
    theta = torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
    theta = (theta / theta.norm(dim=0)).numpy()
    far = ot.sliced_wasserstein_distance(a.numpy(), b.numpy(), projections=theta)
    return _unscaled("distance", far, k)


def over_floor(draw_samples, draw_data, n=400, repeats=10, distance=wasserstein):
    """The distance of samples from data, as a multiple of the distance of data from data.

    = sum_k distance(samples_k, data_k) / sum_k distance(other data_k, data_k), every cloud drawn
    afresh: draw_samples(n) and draw_data(n) -> (n, *dims). 1 is the mean for
    independent draws of the data, with a spread of about 0.1 for the default n and repeats. It is
    no proof: draws that are spread more evenly than chance come below 1, and an error smaller than
    the floor hides in it. A second number that fails differently should stand beside it.
    Returns a float.  Raises ValueError as distance does, for clouds of another size than n, and for
    a floor of 0, where all draws of the data are the same.
    Taught in: 02, section 6.
    """
    n, above, floor = whole("n", n, 1), 0.0, 0.0

    def drawn(name, draw):
        cloud = draw(n)
        if not isinstance(cloud, torch.Tensor) or cloud.shape[:1] != (n,):
            got = tuple(cloud.shape) if isinstance(cloud, torch.Tensor) else type(cloud).__name__
            raise ValueError(f"{name}(n) must return a tensor (n, *dims) with n = {n}, got {got}")
        return cloud

    for _ in range(whole("repeats", repeats, 1)):
        data = drawn("draw_data", draw_data)
        above += real("distance", distance(drawn("draw_samples", draw_samples), data))
        floor += real("distance", distance(drawn("draw_data", draw_data), data))
    if not (above >= 0 < floor):
        raise ValueError(
            f"distances must be at least 0, and those of data from data not all 0, got a sum of "
            f"{above:g} over a floor of {floor:g}: does draw_data draw afresh?"
        )
    return above / floor


def frechet_distance(x, y):
    """The Frechet distance: the squared W_2 of the Gaussians that have the clouds' moments.

    = |m_x - m_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)), for means m and covariances C. On a
    network's features it is the FID of papers. Whatever has the right moments has distance 0.
    x: (n, *dims), y: (m, *dims), two points or more each.  Returns a float.
    Raises ValueError for clouds of different dimension or values that are not finite.
    Heusel et al. 2017, eq. 6.  Taught in: 08, section 1.
    """
    a, b, k = _clouds(x=x, y=y)
    if min(len(a), len(b)) < 2:
        raise ValueError(
            f"a covariance needs two points or more in each cloud, got {len(a)} and {len(b)}"
        )
    c, d = (torch.atleast_2d(z.T.cov()) for z in (a, b))
    root = torch.linalg.eigvals(c @ d).real.clamp(min=0).sqrt().sum()  # trace of (c d)^(1/2)
    far = (a.mean(0) - b.mean(0)).square().sum() + c.trace() + d.trace() - 2 * root
    return _unscaled("squared distance", max(float(far), 0.0), 2 * k)


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
    a, b, _ = _clouds(x=x, y=y)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"x and y must have equally many points, two or more, got {len(a)} and {len(b)}"
        )
    both = torch.cat([a, b])
    far = _distances(both, both).fill_diagonal_(math.inf)
    near = (far == far.min(1, keepdim=True).values).double()  # several, if they are equally near
    right = [
        mine.split(len(a), 1)[i].sum(1) / mine.sum(1) for i, mine in enumerate(near.split(len(a)))
    ]
    of_x, of_y = (float(share.mean()) for share in right)
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
    x, y, _ = _clouds(samples=samples, data=data)
    k = whole("k", k, 1)
    if min(len(x), len(y)) <= k:
        raise ValueError(f"both clouds need more than k = {k} points, got {len(x)} and {len(y)}")

    def covered(points, by):
        radius = _distances(by, by).topk(k + 1, largest=False).values[:, -1]  # the first is itself
        return float((_distances(points, by) <= radius).any(1).double().mean())

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
    a, b, c, _ = _clouds(samples=samples, train=train, held_out=held_out)
    d, other = _distances(a, b).min(1).values[:, None], _distances(c, b).min(1).values
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
    Raises ValueError if fewer than two steps were kept, if nothing moved, or for a trajectory that
    is empty or not finite, or whose times go back and forth.
    Liu, Gong and Liu 2022, eq. 4.  Taught in: 07.
    """
    x, t, k = _states(trajectory)
    h = t.diff() / (t[-1] - t[0])
    chord = x[-1] - x[0]  # (batch, dim)
    speed = x.diff(dim=0) / h[:, None, None]  # (n, batch, dim)
    absolute = float((h * (chord - speed).square().sum(2).mean(1)).sum())
    travelled = float(chord.square().sum(1).mean())
    if absolute == travelled == 0:
        raise ValueError("nothing moved, so straightness means nothing here")
    relative = absolute / travelled if travelled > 0 else math.inf
    return Straightness(_unscaled("straightness", absolute, 2 * k), relative)


def _states(trajectory):
    """x from its start, scaled, (steps + 1, batch, dim), its t, and the power of two taken out."""
    x, t = trajectory.x, trajectory.t
    for name, z in (("trajectory.x", x), ("trajectory.t", t)):
        check_points(name, z)
        check_finite(name, z)
    if x.ndim < 2 or t.shape != x.shape[:1] or x[0].numel() == 0:
        raise ValueError(
            "a trajectory must have t of shape (steps + 1,) and x of shape (steps + 1, batch, "
            f"*dims), not empty, got {tuple(t.shape)} and {tuple(x.shape)}"
        )
    if len(t) < 3:
        raise ValueError(f"straightness needs at least two steps, got {len(t) - 1}: keep='all'")
    x, t = (z.detach().double().cpu() for z in (x, t))
    if not ((t.diff() > 0).all() or (t.diff() < 0).all()):
        raise ValueError("the times of a trajectory must rise, or fall, at every step")
    z, first = _scaled(x.unsqueeze(-1).flatten(2).numpy())
    z, second = _scaled(z - z[0])
    return torch.from_numpy(z), t, first + second
