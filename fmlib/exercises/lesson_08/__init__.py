"""Checks of the exercises on lesson 08: judges, their blind spots, copies, fillings."""

from fmlib.exercises.guard import seal
from fmlib.exercises.lesson_08.filling import (
    check_diversity,
    check_energy_score,
    check_expected_score,
)
from fmlib.exercises.lesson_08.hole import check_hole_velocity, check_kept, check_replaced
from fmlib.exercises.lesson_08.judges import (
    check_copied_share,
    check_covered,
    check_frechet,
    check_nearer_share,
    check_predicted_recall,
    check_twin,
)

__all__ = [
    "check_copied_share",
    "check_covered",
    "check_diversity",
    "check_energy_score",
    "check_expected_score",
    "check_frechet",
    "check_hole_velocity",
    "check_kept",
    "check_nearer_share",
    "check_predicted_recall",
    "check_replaced",
    "check_twin",
]

seal(__name__)
