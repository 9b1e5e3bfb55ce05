"""Checks of the exercises on lesson 06: DDPM's steps, its score and noise, and a flow's clock."""

from fmlib.exercises.guard import seal
from fmlib.exercises.lesson_06.chain import (
    check_ancestral_step,
    check_fresh_noise,
    check_walk,
)
from fmlib.exercises.lesson_06.flow import (
    check_clock,
    check_end_spread,
    check_noisy_step,
    check_prediction,
    check_scale,
    check_velocity_from_score,
    check_worse_with_noise,
)

__all__ = [
    "check_ancestral_step",
    "check_clock",
    "check_end_spread",
    "check_fresh_noise",
    "check_noisy_step",
    "check_prediction",
    "check_scale",
    "check_velocity_from_score",
    "check_walk",
    "check_worse_with_noise",
]

seal(__name__)
