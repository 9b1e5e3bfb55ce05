"""Probability paths x_t = alpha_t x_1 + sigma_t x_0 between noise x_0 and data x_1.

A path is a frozen dataclass with four functions of t: alpha, sigma and their derivatives.
Everything else, the sample and the conditional velocity, follows from those four and is written
once, in AffinePath.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch

from fmlib.shapes import check_finite, check_same_shape, check_unit_interval, expand_time, real

__all__ = ["AffinePath", "CondOT", "Cosine", "LinearVP", "PathSample", "Polynomial", "VE", "VP"]


class PathSample(NamedTuple):
    """One draw from a path; also one batch of training examples for fmlib.losses."""

    x_0: torch.Tensor  # (batch, *dims), noise
    x_1: torch.Tensor  # (batch, *dims), data
    t: torch.Tensor  # (batch,)
    x_t: torch.Tensor  # (batch, *dims), alpha_t x_1 + sigma_t x_0
    dx_t: torch.Tensor  # (batch, *dims), its derivative with respect to t
    y: torch.Tensor | None = None  # (batch, ...), labels of x_1, where there are any


def _tensor(t):
    return t if isinstance(t, torch.Tensor) else torch.tensor(real("t", t), device="cpu")


def _refuse(condition, t, what, advice):
    """Raise ValueError, naming the first offending t, where a formula divides by zero."""
    if condition.any():
        at = float(t.expand(condition.shape)[condition][0])
        raise ValueError(f"{what} at t = {at:g}: {advice}")


@dataclass(frozen=True)
class AffinePath:
    """x_t = alpha_t x_1 + sigma_t x_0: the base of all paths here, for x_0 ~ N(0, I).

    alpha, sigma, d_alpha, d_sigma map t, a number or a tensor in [0, 1], to a tensor of its shape.
    A derivative raises ValueError at an end where it is infinite.
    t_end is the last time at which dx_t is finite, to train and to solve up to: 1, or 1 - 1e-3 on
    paths whose d_sigma is infinite at t = 1.
    Lipman et al. 2024 (Guide and Code), eq. 4.50.  Taught in: 03, section 1.
    """

    t_end = 1.0

    def __post_init__(self):
        for field in fields(self):  # also of NumPy: as Python's, they leave a tensor's dtype alone
            object.__setattr__(self, field.name, real(field.name, getattr(self, field.name)))

    def alpha(self, t):
        raise NotImplementedError

    def sigma(self, t):
        raise NotImplementedError

    def d_alpha(self, t):
        raise NotImplementedError

    def d_sigma(self, t):
        raise NotImplementedError

    def sample(self, x_0, x_1, t, y=None):
        """x_t = alpha_t x_1 + sigma_t x_0 and dx_t = d_alpha_t x_1 + d_sigma_t x_0.

        x_0, x_1: (batch, *dims).  t: a number, () or (batch,), in [0, 1].  y: None, or labels of
        x_1, (batch, ...), handed on.  Returns a PathSample whose t has shape (batch,).
        Raises ValueError for mismatched shapes, values that are not finite, t outside [0, 1], and
        where the derivative of the schedule is infinite.
        Lipman et al. 2024 (Guide and Code), eq. 4.50.  Taught in: 03, section 1.
        """
        check_same_shape("x_0", x_0, "x_1", x_1)
        check_finite("x_0", x_0)
        check_finite("x_1", x_1)
        s = expand_time(t, x_1)
        check_unit_interval("t", s)
        x_t = self.alpha(s) * x_1 + self.sigma(s) * x_0
        dx_t = self.d_alpha(s) * x_1 + self.d_sigma(s) * x_0
        if y is not None and len(y) != len(x_1):
            raise ValueError(f"y must have a row for each of the {len(x_1)} points, got {len(y)}")
        return PathSample(x_0, x_1, s.reshape(-1).expand(x_1.shape[0]), x_t, dx_t, y)

    def conditional_velocity(self, x, x_1, t):
        """u_t(x | x_1) = (d_sigma_t / sigma_t) (x - alpha_t x_1) + d_alpha_t x_1.

        x, x_1: (batch, *dims).  t: a number, () or (batch,), in [0, 1].  Returns (batch, *dims).
        Raises ValueError where sigma_t = 0: there all mass sits at alpha_t x_1.
        Lipman et al. 2023, eq. 15.  Taught in: 03, section 3.
        """
        check_same_shape("x", x, "x_1", x_1)
        t = expand_time(t, x)
        check_unit_interval("t", t)
        alpha_t, sigma_t = self.alpha(t), self.sigma(t)
        _refuse(sigma_t <= 0, t, "sigma_t = 0", "evaluate before that, say at t = 1 - 1e-3")
        return self.d_sigma(t) / sigma_t * (x - alpha_t * x_1) + self.d_alpha(t) * x_1


@dataclass(frozen=True)
class CondOT(AffinePath):
    """alpha_t = t, sigma_t = 1 - t: each x_1 alone is reached along straight lines.

    Also called rectified flow. "OT" here is *conditional* optimal transport, towards one x_1 at a
    time; it is not the optimal transport of a minibatch, nor of p_0 to p_1.
    Lipman et al. 2023, eq. 20 with sigma_min = 0; Liu et al. 2022, eq. 1.
    Taught in: 03, section 1.
    """

    def alpha(self, t):
        return _tensor(t)

    def sigma(self, t):
        return 1 - _tensor(t)

    def d_alpha(self, t):
        return torch.ones_like(_tensor(t))

    def d_sigma(self, t):
        return -torch.ones_like(_tensor(t))


@dataclass(frozen=True)
class VP(AffinePath):
    """The variance-preserving diffusion path: alpha_t = exp(-T/2), sigma_t = sqrt(1 - exp(-T)).

    T(s) = s beta_min + s^2 (beta_max - beta_min) / 2 at diffusion time s = 1 - t. With the usual
    values alpha_0 = 0.0066, so p_0 is only nearly N(0, I); d_sigma is infinite at t = 1.
    Song et al. 2021, eq. 33; Lipman et al. 2023, eqs. 18 and 19.  Taught in: 03, section 7.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_end = 1 - 1e-3

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"VP needs 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}"
            )

    def _T(self, t):
        s = 1 - _tensor(t)
        return s * self.beta_min + 0.5 * s**2 * (self.beta_max - self.beta_min)

    def _dT(self, t):  # derivative of T with respect to t, hence the minus sign
        return -(self.beta_min + (1 - _tensor(t)) * (self.beta_max - self.beta_min))

    def alpha(self, t):
        return torch.exp(-0.5 * self._T(t))

    def sigma(self, t):
        return torch.sqrt(-torch.expm1(-self._T(t)))  # 1 - exp(-T) would cancel near t = 1

    def d_alpha(self, t):
        return -0.5 * self._dT(t) * self.alpha(t)

    def d_sigma(self, t):
        sigma_t = self.sigma(t)
        _refuse(sigma_t == 0, _tensor(t), "d_sigma is infinite", "stop at t = 1 - 1e-3")
        return 0.5 * self._dT(t) * torch.exp(-self._T(t)) / sigma_t


@dataclass(frozen=True)
class Cosine(AffinePath):
    """alpha_t = sin(pi t / 2), sigma_t = cos(pi t / 2): variance-preserving, from N(0, I).

    offset: o >= 0 as published for DDPM, where it is 0.008. Then alpha_t = sin(c t) / sin(c) with
    c = pi / (2 + 2 o), sigma_t = sqrt(1 - alpha_t^2), and d_sigma is infinite at t = 1.
    Nichol and Dhariwal 2021, eq. 17, time reversed.  Taught in: 03, section 7.
    """

    offset: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.offset < math.inf:
            raise ValueError(f"Cosine needs offset >= 0, got {self.offset}")

    @property
    def _c(self):
        return 0.5 * math.pi / (1 + self.offset)

    @property
    def t_end(self):
        return 1.0 if self.offset == 0 else 1 - 1e-3

    def alpha(self, t):
        return torch.sin(self._c * _tensor(t)) / math.sin(self._c)

    def sigma(self, t):
        left, c = 1 - _tensor(t), self._c
        if self.offset == 0:
            return torch.sin(c * left)  # the cosine, exactly 0 at t = 1
        beyond = left + 2 * self.offset  # sin(c (1 + t)) = sin(c beyond), with more digits
        return torch.sqrt(torch.sin(c * left) * torch.sin(c * beyond)) / math.sin(c)

    def d_alpha(self, t):  # cos(c t), by what is left until t = 1: so it keeps its digits there
        c, left = self._c, self._c * (1 - _tensor(t))
        return c * (torch.sin(left) + torch.cos(left) / math.tan(c))

    def d_sigma(self, t):
        if self.offset == 0:
            return -self._c * self.alpha(t)
        sigma_t = self.sigma(t)
        _refuse(sigma_t == 0, _tensor(t), "d_sigma is infinite", "stop at t = 1 - 1e-3")
        return -self.alpha(t) * self.d_alpha(t) / sigma_t


@dataclass(frozen=True)
class LinearVP(AffinePath):
    """alpha_t = t, sigma_t = sqrt(1 - t^2); d_sigma is infinite at t = 1.

    Lipman et al. 2024 (Guide and Code), section 4.8.
    """

    t_end = 1 - 1e-3

    def alpha(self, t):
        return _tensor(t)

    def sigma(self, t):
        t = _tensor(t)
        return torch.sqrt((1 - t) * (1 + t))

    def d_alpha(self, t):
        return torch.ones_like(_tensor(t))

    def d_sigma(self, t):
        sigma_t = self.sigma(t)
        _refuse(sigma_t == 0, _tensor(t), "d_sigma is infinite", "stop at t = 1 - 1e-3")
        return -_tensor(t) / sigma_t


@dataclass(frozen=True)
class Polynomial(AffinePath):
    """alpha_t = t^n, sigma_t = 1 - t^n, with n >= 1; n = 1 is CondOT.

    Lipman et al. 2024 (Guide and Code), section 4.8.
    """

    n: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.n < math.inf:
            raise ValueError(f"Polynomial needs n >= 1, got {self.n}: else d_alpha_0 is infinite")

    def alpha(self, t):
        return _tensor(t) ** self.n

    def sigma(self, t):
        t = _tensor(t)
        late = -torch.expm1(self.n * torch.log(t.clamp(min=0.5)))  # 1 - t^n cancels near t = 1
        return torch.where(t < 0.5, 1 - t**self.n, late)

    def d_alpha(self, t):
        return self.n * _tensor(t) ** (self.n - 1)

    def d_sigma(self, t):
        return -self.d_alpha(t)


@dataclass(frozen=True)
class VE(AffinePath):
    """The variance-exploding path: alpha_t = 1, sigma_t = sigma_max (sigma_min / sigma_max)^t.

    The source is N(x_1, sigma_max^2 I), nearly N(0, sigma_max^2 I); sigma never reaches 0.
    Song et al. 2021, eq. 31; Lipman et al. 2023, eq. 16.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"VE needs 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}"
            )

    def alpha(self, t):
        return torch.ones_like(_tensor(t))

    def sigma(self, t):
        return self.sigma_max * (self.sigma_min / self.sigma_max) ** _tensor(t)

    def d_alpha(self, t):
        return torch.zeros_like(_tensor(t))

    def d_sigma(self, t):
        return math.log(self.sigma_min / self.sigma_max) * self.sigma(t)
