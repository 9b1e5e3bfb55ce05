"""Checks of the exercises on lesson 09: guidance, a judge, attention, times, positions."""

from fmlib.exercises.guard import seal
from fmlib.exercises.lesson_09.guidance import (
    check_gaussian_guided,
    check_guided_once,
    check_guided_spread,
    check_tilted_spread,
)
from fmlib.exercises.lesson_09.judge import (
    check_density,
    check_early_share,
    check_most_wrong,
    check_needed,
    check_share_before,
)
from fmlib.exercises.lesson_09.tokens import (
    check_attention,
    check_in_place,
    check_without_places,
)

__all__ = [
    "check_attention",
    "check_density",
    "check_early_share",
    "check_gaussian_guided",
    "check_guided_once",
    "check_guided_spread",
    "check_in_place",
    "check_most_wrong",
    "check_needed",
    "check_share_before",
    "check_tilted_spread",
    "check_without_places",
]

seal(__name__)
