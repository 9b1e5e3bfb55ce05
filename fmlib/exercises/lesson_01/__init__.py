"""Checks of the exercises on lesson 01: layers, a bound, a game, and what a divergence prefers."""

from fmlib.exercises.guard import seal
from fmlib.exercises.lesson_01.divergences import (
    check_forward_choice,
    check_reverse_choice,
    check_reverse_kl,
    check_share,
)
from fmlib.exercises.lesson_01.layers import (
    check_flow_log_density,
    check_layer_log_density,
    check_price,
    check_uncouple,
)
from fmlib.exercises.lesson_01.objectives import (
    check_best_encoder,
    check_elbo,
    check_least_loss,
    check_log_marginal,
    check_ratio,
    check_slopes,
)

__all__ = [
    "check_best_encoder",
    "check_elbo",
    "check_flow_log_density",
    "check_forward_choice",
    "check_layer_log_density",
    "check_least_loss",
    "check_log_marginal",
    "check_price",
    "check_ratio",
    "check_reverse_choice",
    "check_reverse_kl",
    "check_share",
    "check_slopes",
    "check_uncouple",
]

seal(__name__)
