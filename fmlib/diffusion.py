"""DDPM's discrete world, and its bridge to paths.

Diffusion papers count noising steps: k = 0 is the least noise, k = n_steps - 1 the most. That
clock is turned round here and nowhere else: step k is time t = 1 - (k + 1) / n_steps, so that
t = 0 is noise and t = 1 is data, as everywhere in fmlib. A network is called as model(x, t).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from fmlib.paths import VP, Cosine
from fmlib.shapes import check_returned, noise_like, real, whole
from fmlib.solvers import Trajectory, check_end, check_start

__all__ = ["DDPM"]


@dataclass(frozen=True)
class DDPM:
    """The forward chain q(x_k | x_{k-1}) = N(sqrt(1 - beta_k) x_{k-1}, beta_k I) and its samplers.

    n_steps: length of the chain.  schedule: "linear", beta_k from beta_start to beta_end, or
    "cosine", where both are ignored (offset 0.008, beta_k at most 0.999).
    beta_start, beta_end: None for 0.1 / n_steps and 20 / n_steps, so that a chain of any length
    ends in as much noise as the published one of 1,000 steps, from 1e-4 to 0.02.
    Raises ValueError for n_steps < 2, an unknown schedule, or betas outside (0, 1).
    Ho et al. 2020; Nichol and Dhariwal 2021, eq. 17.  Taught in: 06, section 1.
    """

    n_steps: int = 1000
    beta_start: float | None = None
    beta_end: float | None = None
    schedule: str = "linear"

    def __post_init__(self):
        object.__setattr__(self, "n_steps", whole("n_steps", self.n_steps, 2))
        for name, total in (("beta_start", 0.1), ("beta_end", 20.0)):
            value = getattr(self, name)
            value = total / self.n_steps if value is None else real(name, value)
            object.__setattr__(self, name, value)
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule must be 'linear' or 'cosine', got {self.schedule!r}")
        if self.schedule == "linear" and not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"DDPM needs 0 < beta_start <= beta_end < 1, got {self.beta_start} and "
                f"{self.beta_end}: a chain this short needs smaller ones of its own"
            )

    @property
    def beta(self):
        """beta_k, (n_steps,), float64."""
        if self.schedule == "linear":
            ends = self.beta_start, self.beta_end
            return torch.linspace(*ends, self.n_steps, dtype=torch.float64, device="cpu")
        k = torch.arange(self.n_steps + 1, dtype=torch.float64, device="cpu")
        t = 1 - k / self.n_steps
        alpha = Cosine(0.008).alpha(t)
        return (1 - (alpha[1:] / alpha[:-1]) ** 2).clamp(max=0.999)

    @property
    def alpha_bar(self):
        """prod_{j <= k} (1 - beta_j), (n_steps,), float64: the signal's share of the variance."""
        return torch.cumprod(1 - self.beta, dim=0)

    @property
    def time(self):
        """The time t in [0, 1) of each step k, (n_steps,), float64, falling."""
        k = torch.arange(1, self.n_steps + 1, dtype=torch.float64, device="cpu")
        return 1 - k / self.n_steps

    def to_path(self):
        """The path that the chain tends to: alpha(time_k)^2 = alpha_bar_k + O(1 / n_steps).

        Linear: VP(n_steps beta_start, n_steps beta_end).  Cosine: Cosine(offset=0.008).
        Song et al. 2021, appendix B.  Taught in: 06, section 2.
        """
        if self.schedule == "cosine":
            return Cosine(0.008)
        return VP(self.n_steps * self.beta_start, self.n_steps * self.beta_end)

    def ancestral_sample(self, model, x, variance="posterior", generator=None, keep="end"):
        """Algorithm 2 of DDPM: n_steps random steps from noise x to data.

        mean = (x - beta_k / sqrt(1 - alpha_bar_k) model(x, t_k)) / sqrt(1 - beta_k), to which
        noise is added, except in the last step, of variance beta_k ("beta") or
        beta_k (1 - alpha_bar_{k-1}) / (1 - alpha_bar_k) ("posterior").
        model(x, t): noise prediction.  x: (batch, *dims), from N(0, I).  keep: "all" or "end".
        Returns a Trajectory.  Raises ValueError for an unknown variance or keep, or a bad x;
        FloatingPointError if the samples are not finite.
        Ho et al. 2020, algorithm 2.  Taught in: 06, section 1.
        """
        if variance not in ("posterior", "beta"):
            raise ValueError(f"variance must be 'posterior' or 'beta', got {variance!r}")
        beta, signal = self.beta, self._signal()

        def step(x, noise, k, _):
            beta_k, rest = float(beta[k]), float(1 - signal[k + 1])
            mean = (x - beta_k / math.sqrt(rest) * noise) / math.sqrt(1 - beta_k)
            spread = beta_k if variance == "beta" else beta_k * float(1 - signal[k]) / rest
            return mean, math.sqrt(spread) if k > 0 else 0.0

        return self._run(model, x, self._grid(self.n_steps), step, generator, keep)

    def ddim_sample(self, model, x, steps=None, eta=0.0, generator=None, keep="end"):
        """DDIM: from step k of a sub-grid straight to the next one, j.

        x_j = sqrt(a_j) x_1 + sqrt(1 - a_j - s^2) noise + s z, with a = alpha_bar,
        x_1 = (x_k - sqrt(1 - a_k) noise) / sqrt(a_k), s = eta sqrt((1 - a_j) / (1 - a_k))
        sqrt(1 - a_k / a_j), z ~ N(0, I). The last step goes to a = 1.
        model(x, t): noise prediction.  x: (batch, *dims), from N(0, I).  steps: how many, equally
        spaced and starting at n_steps - 1, or the falling list of k itself; None means all.
        eta: 0 is deterministic, 1 on the whole grid is the ancestral sampler.
        Returns a Trajectory.  Raises ValueError for an eta outside [0, 1] or a bad grid, keep or x;
        FloatingPointError if the samples are not finite.
        Song et al. 2021 (DDIM), eqs. 12 and 16.  Taught in: 06, section 5.
        """
        eta = real("eta", eta)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        signal = self._signal()

        def step(x, noise, k, j):  # j = -1 is the data itself
            a_k, a_j = float(signal[k + 1]), float(signal[j + 1])
            s = eta * math.sqrt((1 - a_j) / (1 - a_k) * (1 - a_k / a_j))
            x_1 = (x - math.sqrt(1 - a_k) * noise) / math.sqrt(a_k)
            return math.sqrt(a_j) * x_1 + math.sqrt(max(1 - a_j - s**2, 0.0)) * noise, s

        return self._run(model, x, self._grid(steps), step, generator, keep)

    def _signal(self):
        """alpha_bar_k at [k + 1], and at [0] that of the data, 1."""
        return torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar])

    def _grid(self, steps):
        """The falling list of k to visit."""
        if steps is None:
            steps = self.n_steps
        if np.ndim(steps) == 0:
            steps = whole("steps", steps, 1, self.n_steps)
            return [self.n_steps - 1 - (i * self.n_steps) // steps for i in range(steps)]
        grid = [whole("a step", k, 0, self.n_steps - 1) for k in steps]
        if not grid or any(a <= b for a, b in pairwise(grid)):
            raise ValueError(
                f"steps must be how many, or a falling list of k from {self.n_steps - 1} to 0, "
                f"got {steps!r}"
            )
        return grid

    @torch.no_grad()
    def _run(self, model, x, grid, step, generator, keep):
        """Follow step(x, noise, k, j) -> (mean, standard deviation) down the grid."""
        check_start("x", x, keep, {"model": model})
        times = torch.cat([self.time[grid], self.time.new_ones(1)]).to(x)
        states = [x]
        for k, j, t in zip(grid, [*grid[1:], -1], times[:-1], strict=True):
            noise = check_returned("model(x, t)", model(x, t), x)
            x, spread = step(x, noise, k, j)
            if spread > 0:
                x = x + spread * noise_like(x, generator)
            if keep == "all":
                states.append(x)
        check_end(x)
        if keep == "end":
            states, times = [x], times[-1:]
        return Trajectory(times, torch.stack(states), len(grid))
