"""Exercises that check themselves: what the checks of all lessons share.

A check calls a learner's function and tests properties of what it returns. It prints one line, or
raises CheckFailed, which a notebook shows as a few lines: what broke, and where to look.
"""

from fmlib.exercises.catalogue import CheckFailed, NotAttempted
from fmlib.exercises.guard import seal
from fmlib.exercises.harness import Counted, Lesson, double, gap, one_by_one, points, run

__all__ = [
    "CheckFailed",
    "Counted",
    "Lesson",
    "NotAttempted",
    "double",
    "gap",
    "one_by_one",
    "points",
    "run",
]

for _name in ("", ".catalogue", ".guard", ".harness"):
    seal(__name__ + _name)
