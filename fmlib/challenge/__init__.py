"""The challenge: the best digits that two and four evaluations of one small network can make.

The rules stand in notebooks/challenge.ipynb. `enter` runs an entry under its budget and stores what
it made; `Judge` says what that is worth, and `make scoreboard` asks it about a class's entries.
"""

from fmlib.challenge.entries import TRAINING, Entry, OverBudget, enter, read
from fmlib.challenge.given import EVALUATIONS, Parts, digits, load
from fmlib.challenge.judge import Judge, Rating

__all__ = [
    "EVALUATIONS", "TRAINING", "Entry", "Judge", "OverBudget", "Parts", "Rating", "digits", "enter",
    "load", "read",
]  # fmt: skip
