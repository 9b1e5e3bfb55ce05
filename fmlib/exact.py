"""Targets whose marginal velocity, score, likelihood and posterior mean are known in closed form.

For x_0 ~ N(0, I), drawn independently of x_1, and p_1 = sum_k w_k N(m_k, s_k^2 I), the marginal of
x_t = alpha_t x_1 + sigma_t x_0 is again a mixture,

    p_t = sum_k w_k N(alpha_t m_k, v_k I),    v_k = alpha_t^2 s_k^2 + sigma_t^2,

and every quantity of flow matching is a mean over its components, weighted by the posterior
w_k(x) = P(component k | x_t = x). A finite set of points is the case s_k = 0.
"""

import math
from dataclasses import dataclass

import torch

from fmlib.data import half_circles
from fmlib.paths import AffinePath
from fmlib.shapes import (
    check_finite,
    check_points,
    check_unit_interval,
    expand_time,
    flat_points,
    noise_like,
    numbers,
    real,
    whole,
)

__all__ = ["EmpiricalTarget", "Field", "GaussianMixture", "two_moons_target"]

_CHUNK = 2**20  # numbers in one block of (dim, batch, K) differences: small enough for the cache


class GaussianMixture:
    """p_1 = sum_k weights_k N(means_k, stds_k^2 I); along(path) gives what follows from it exactly.

    means: (K, *dims).  stds: a number or (K,), at least 0.  weights: (K,), positive, scaled here to
    sum to one; None means equal.
    Raises ValueError for a wrong shape, and for values that are not finite or of the wrong sign.
    Taught in: 03, sections 2 and 4.
    """

    def __init__(self, means, stds, weights=None):
        check_points("means", means)
        check_finite("means", means)
        if means.shape[0] == 0:
            raise ValueError("means must hold at least one component, got none")
        weights = numbers("weights", 1.0 if weights is None else weights, means)
        stds = numbers("stds", stds, means)
        for name, value in (("stds", stds), ("weights", weights)):
            if value.shape not in ((), means.shape[:1]):
                raise ValueError(
                    f"{name} must be a number or have shape ({means.shape[0]},), one for each "
                    f"component, got {tuple(value.shape)}"
                )
            check_finite(name, value)
        if not ((stds >= 0).all() and (weights > 0).all()):
            raise ValueError(
                f"stds must be at least 0 and weights positive, got {stds.tolist()} and "
                f"{weights.tolist()}"
            )
        self.means = means
        self.stds = stds.expand(means.shape[0])
        weights = weights.expand(means.shape[0])
        self.weights = weights / weights.sum()

    def sample(self, n, generator=None):
        """Draw n points of p_1.  Returns (n, *dims).  Raises ValueError for a negative n."""
        n, means = whole("n", n, 0), self.means
        if n == 0:
            return means[:0].clone()
        k = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator)
        k, noise = k.to(means.device), noise_like(means[:1].expand(n, *means.shape[1:]), generator)
        return self.means[k] + expand_time(self.stds[k], noise) * noise

    def along(self, path):
        """What is known of p_t on the way from noise N(0, I) to this target: a Field.

        path: an AffinePath.  Raises ValueError for anything else.
        """
        return Field(self, path)


@dataclass(frozen=True)
class Field:
    """p_t of a target along a path: density, score, posterior and velocity, in closed form.

    Queries take x: (batch, *dims) and t: a number, () or (batch,), in [0, 1], convert the target to
    the dtype and device of x, and are differentiable in x and t.
    All raise ValueError for a wrong shape, t outside [0, 1], and where p_t has no density (a target
    of points at sigma_t = 0).
    Taught in: 03, sections 2 and 4.
    """

    target: GaussianMixture
    path: AffinePath

    def __post_init__(self):
        if isinstance(self.path, type) or not hasattr(self.path, "sigma"):
            raise ValueError(f"along(path) needs a path, such as CondOT(), got {self.path!r}")

    def log_prob(self, x, t):
        """log p_t(x) = log sum_k w_k N(x; alpha_t m_k, v_k I).  Returns (batch,)."""
        return self._rows(lambda x, t: self._components(x, t)[0].logsumexp(1), x, t)

    def posterior_weights(self, x, t):
        """w_k(x) = P(x_1 came from component k | x_t = x).  Returns (batch, K), rows sum to one.

        Lipman et al. 2023, the fraction in eq. 8.  Taught in: 03, section 4.
        """
        return self._rows(lambda x, t: self._components(x, t)[0].softmax(1), x, t)

    def score(self, x, t):
        """grad_x log p_t(x) = -sum_k w_k(x) (x - alpha_t m_k) / v_k.  Returns (batch, *dims)."""
        return self._rows(lambda x, t: self._means(x, t)[2], x, t).reshape(x.shape)

    def posterior_mean(self, x, t):
        """E[x_1 | x_t = x], the best guess of the data (the "denoised" x).  Returns (batch, *dims).

        = sum_k w_k(x) (m_k + alpha_t s_k^2 (x - alpha_t m_k) / v_k).
        """
        return self._rows(lambda x, t: self._means(x, t)[1], x, t).reshape(x.shape)

    def velocity(self, x, t):
        """u_t(x) = E[dx_t | x_t = x] = d_alpha_t E[x_1 | x] + d_sigma_t E[x_0 | x].

        Returns (batch, *dims).
        Raises ValueError also where a derivative of the schedule is infinite (VP and LinearVP at
        t = 1).
        Lipman et al. 2023, eq. 8; Lipman et al. 2024 (Guide and Code), eq. 4.55.
        Taught in: 03, section 4.
        """

        def rows(x, t):
            x_0, x_1, _ = self._means(x, t)
            s = expand_time(t, x)
            return self.path.d_alpha(s) * x_1 + self.path.d_sigma(s) * x_0

        return self._rows(rows, x, t).reshape(x.shape)

    def _rows(self, function, x, t):
        """Apply function(x, t) to x flattened to (batch, dim), in blocks that fit in memory."""
        check_points("x", x)
        means = self.target.means
        if x.shape[1:] != means.shape[1:]:
            shape = ", ".join(str(n) for n in ("batch", *means.shape[1:]))
            raise ValueError(f"x must have shape ({shape}) like the target, got {tuple(x.shape)}")
        t = expand_time(t, x).reshape(-1)
        check_unit_interval("t", t)
        flat = flat_points(x)
        size = max(1, _CHUNK // means.numel())
        if flat.shape[0] <= size:
            return function(flat, t if t.numel() > 1 else t.reshape(()))
        blocks = zip(flat.split(size), t.expand(flat.shape[0]).split(size), strict=True)
        return torch.cat([function(*block) for block in blocks])

    def _components(self, x, t):
        """log(w_k N(x; alpha_t m_k, v_k I)): (batch, K), v_k: (1 or batch, K), alpha_t, sigma_t."""
        target, t = self.target, expand_time(t, x).reshape(-1, 1)
        means, stds = flat_points(target.means).to(x), target.stds.to(x)
        alpha_t, sigma_t = self.path.alpha(t), self.path.sigma(t)
        variance = (alpha_t * stds) ** 2 + sigma_t**2
        if (variance <= 0).any():
            raise ValueError(
                "sigma_t = 0 and the target is made of points, so p_t has no density: "
                "stop before t = 1, say at t_end = 1 - 1e-3"
            )
        # Differences, not |x|^2 - 2 x.m + |m|^2, which cancels when sigma_t is small.
        gaps = x.T[:, :, None] - alpha_t * means.T[:, None, :]  # (dim, batch, K)
        square = (gaps**2).sum(0)
        log_norm = target.weights.to(x).log() - 0.5 * x.shape[1] * torch.log(2 * math.pi * variance)
        return log_norm - 0.5 * square / variance, variance, alpha_t, sigma_t

    def _means(self, x, t):
        """E[x_0 | x], E[x_1 | x] and the score, each (batch, dim)."""
        log_joint, variance, alpha_t, sigma_t = self._components(x, t)
        weights = log_joint.softmax(1)
        means, stds = flat_points(self.target.means).to(x), self.target.stds.to(x)

        def mean_gap(c):  # sum_k c_k (x - alpha_t m_k)
            return c.sum(1, keepdim=True) * x - alpha_t * (c @ means)

        score = -mean_gap(weights / variance)
        x_0 = -sigma_t * score
        x_1 = weights @ means + alpha_t * mean_gap(weights * stds**2 / variance)
        return x_0, x_1, score


class EmpiricalTarget(GaussianMixture):
    """p_1 = (1/N) sum_i delta(x - x_i): a finite data set, taken for the whole truth.

    points: (N, *dims).  The queries of its Field hold with s_k = 0; at sigma_t = 0 there is no
    density and they raise ValueError.
    Taught in: 03, sections 2 and 4.
    """

    def __init__(self, points):
        super().__init__(points, stds=0.0)


def two_moons_target(noise=0.05, n_components=200):
    """The distribution of fmlib.data.two_moons as a mixture: one Gaussian at each of many angles.

    The noisy half circles are an integral of Gaussians over the angle; the midpoint rule with 100
    angles a moon, 0.03 apart where the noise is 0.05, is wrong only in the tails beyond the arcs'
    four ends, by a tenth of log p at most where points still fall.
    noise: at least 0.  Returns a GaussianMixture with n_components (even, at least 2) components.
    Raises ValueError for other values.
    Taught in: 02, section 6.
    """
    half, odd = divmod(whole("n_components", n_components, 2), 2)
    if odd:
        raise ValueError(f"n_components must be even, half for each moon, got {n_components}")
    angle = math.pi * (torch.arange(half, dtype=torch.float64, device="cpu") + 0.5) / half
    means = torch.cat(half_circles(angle)).to(torch.get_default_dtype())
    return GaussianMixture(means, stds=real("noise", noise))
