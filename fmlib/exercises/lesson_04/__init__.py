"""Checks of the exercises on lesson 04: the two losses, their floor, and what a loss learns."""

from fmlib.exercises.guard import seal
from fmlib.exercises.lesson_04.losses import (
    check_learned_instead,
    check_line_loss,
    check_mean_loss,
    check_median_velocity,
    check_predicted_share,
    check_swapped_velocity,
)
from fmlib.exercises.lesson_04.noise import (
    check_floor_at,
    check_gradient_noise,
    check_mean_weights,
    check_noise_ratio,
    check_predicted_ratio,
    check_scaled_floor_at,
)

__all__ = [
    "check_floor_at",
    "check_gradient_noise",
    "check_learned_instead",
    "check_line_loss",
    "check_mean_loss",
    "check_mean_weights",
    "check_median_velocity",
    "check_noise_ratio",
    "check_predicted_ratio",
    "check_predicted_share",
    "check_scaled_floor_at",
    "check_swapped_velocity",
]

seal(__name__)
