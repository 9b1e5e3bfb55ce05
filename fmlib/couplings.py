"""Couplings: which noise point x_0 is paired with which data point x_1."""

from fmlib.shapes import check_same_shape

__all__ = ["independent"]


def independent(x_0, x_1):
    """The independent coupling pi(x_0, x_1) = p_0(x_0) p_1(x_1): pairs stay as they were drawn.

    x_0, x_1: (batch, *dims), drawn independently.  Returns (x_0, x_1).
    Raises ValueError if their shapes differ.
    Lipman et al. 2024 (Guide and Code), section 4.3.  Taught in: 04, section 1.
    """
    check_same_shape("x_0", x_0, "x_1", x_1)
    return x_0, x_1
