"""How far apart are two clouds of points, and how straight is a flow?"""

import math
from typing import NamedTuple

import torch

from fmlib.shapes import check_finite, check_points

__all__ = ["Straightness", "over_floor", "sliced_wasserstein", "straightness", "wasserstein"]


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
