"""Couplings: which noise point x_0 is paired with which data point x_1."""

import torch

from fmlib.shapes import check_finite, check_points, check_same_shape, flat_points, noise_like

__all__ = ["independent", "masked", "minibatch_ot"]


def independent(x_0, x_1):
    """The independent coupling pi(x_0, x_1) = p_0(x_0) p_1(x_1): pairs stay as they were drawn.

    x_0, x_1: (batch, *dims), drawn independently.  Returns (x_0, x_1).
    Raises ValueError if their shapes differ.
    Lipman et al. 2024 (Guide and Code), eq. 4.1.  Taught in: 05, section 1.
    """
    check_same_shape("x_0", x_0, "x_1", x_1)
    return x_0, x_1


def masked(x_1, mask, generator=None):
    """The coupling of inpainting: x_0 = x_1 where mask is True, noise N(0, 1) elsewhere.

    x_1: (batch, *dims).  mask: bool, of a shape that broadcasts to x_1's; True is what is known.
    Returns (x_0, x_1). The source depends on the data, so there is no score identity on the path.
    Raises ValueError for a mask that is not bool or does not fit, and data that are not finite.
    Lipman et al. 2024 (Guide and Code), section 4.9.1.  Taught in: 05, section 1.
    """
    check_points("x_1", x_1)
    check_finite("x_1", x_1)
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        raise ValueError("mask must be a bool tensor, True where x_1 is known")
    try:
        mask = mask.to(x_1.device).expand_as(x_1)
    except RuntimeError:
        raise ValueError(
            f"mask must broadcast to x_1, {tuple(x_1.shape)}, got {tuple(mask.shape)}"
        ) from None
    return torch.where(mask, x_1, noise_like(x_1, generator)), x_1


def minibatch_ot(x_0, x_1):
    """Minibatch optimal transport: re-pair a batch so that sum ||x_0 - x_1||^2 is smallest.

    x_0, x_1: (batch, *dims).  Returns (x_0, x_1) with the rows of x_0 in another order: a
    permutation, by POT's exact solver, so that each point is used once and only once. Row k of x_1
    stays row k, and so does its label: noise has none.
    Cost grows a little faster than batch^2: some milliseconds for 256.
    Raises ValueError for mismatched shapes or values that are not finite.
    Tong et al. 2024, section 3.3; Pooladian et al. 2023, section 4.  Taught in: 05, section 1.
    """
    import ot

    check_same_shape("x_0", x_0, "x_1", x_1)
    check_finite("x_0", x_0)
    check_finite("x_1", x_1)
    rows = (flat_points(x.detach().double()) for x in (x_0, x_1))
    # By differences: |x|^2 - 2 x.y + |y|^2 would cancel far from the origin.
    cost = torch.cdist(*rows, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    if len(cost) == 0:
        return x_0, x_1
    # With equal weights a corner of the transport polytope is a permutation, 1/batch at each pair.
    plan = ot.emd([], [], cost.cpu().numpy(), numItermax=10_000_000)
    return x_0[torch.as_tensor(plan.argmax(0), device=x_0.device)], x_1
