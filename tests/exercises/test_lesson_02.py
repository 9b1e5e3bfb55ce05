"""Other right answers to the exercises on lesson 02, and typical wrong ones with their hints."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from solved import answers

from fmlib.exercises import CheckFailed
from fmlib.exercises.lesson_02 import check_colliding_points, check_widening_velocity
from fmlib.shapes import expand_time
from fmlib.solvers import midpoint_step, solve


def midpoint_by_lerp(velocity, x, t, h):
    middle = torch.lerp(x, x + h * velocity(x, t), 0.5)
    return torch.add(x, velocity(middle, t + h / 2), alpha=h)


def heun(velocity, x, t, h):
    u = velocity(x, t)
    return x + h / 2 * (u + velocity(x + h * u, t + h))


def thrice(velocity, x, t, h):
    middle = x + h / 2 * velocity(x, t)
    return x + h / 2 * (velocity(middle, t + h / 2) + velocity(middle, t + h / 2))


def order_by_lstsq(steps, errors):
    matrix = np.stack([np.log10(steps[-2:]), np.ones(2)], axis=1)
    return -np.linalg.lstsq(matrix, np.log10(errors[-2:]), rcond=None)[0][0]


def shear(f, angle=0.0):
    """f(n x) d, along the direction d at this angle."""

    def field(x, t):
        d = torch.tensor([math.cos(angle), math.sin(angle)], dtype=x.dtype)
        n = torch.tensor([-math.sin(angle), math.cos(angle)], dtype=x.dtype)
        return f(x @ n)[:, None] * d

    return field


def fan(x, t):
    """Away from the point (5, 0), at speed 1: straight, but not smooth there."""
    away = x - torch.tensor([5, 0])
    return away / away.norm(dim=1, keepdim=True)


def omega(x):
    return 4 * torch.exp(-0.5 * x.square().sum(1))


def det_by_functions(x, h):
    def step(x):
        return x + h * omega(x[None]) * torch.stack([-x[1], x[0]])

    return torch.stack([torch.linalg.det(torch.func.jacfwd(step)(row)) for row in x])


def det_in_numpy(x, h):
    s = (x.double().numpy() ** 2).sum(1)
    return torch.as_tensor(1 + 16 * h**2 * np.exp(-s) * (1 - s), dtype=x.dtype)


def pair(outer, turn=1.0, inner=1.2):
    radius = torch.tensor([inner, outer], dtype=torch.float64)
    angle = -turn * torch.atan(4 * torch.exp(-0.5 * radius**2))
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def image(r):
    return r * math.sqrt(1 + 16 * math.exp(-(r**2)))


OUTER = brentq(lambda r: image(r) - image(1.2), 2, 4)


def widening(rate=None, apply=None):
    rate = rate or (lambda t, a: ((a * a + 1) * t - 1) / ((1 - t) ** 2 + (a * t) ** 2))
    apply = apply or (lambda rate, x: expand_time(rate, x) * x)
    return lambda x, t, a=1.5: apply(rate(t, a), x)


def error(method="midpoint", norm=None, rate=None, end=None, dtype=torch.float64):
    norm = norm or (lambda gap: gap.norm(dim=1).square().mean().sqrt())
    rate = rate or (lambda c, d_c: d_c / c)

    def scaling_error(x, n, c, d_c):
        x = x.to(dtype)
        got = solve(lambda x, t: rate(c(t), d_c(t)) * x, x, n, method=method).end
        return norm(got - (end or c(torch.ones((), dtype=dtype))) * x)

    return scaling_error


def error_by_steps(x, n, c, d_c):
    y, h = x, 1 / n
    for t in torch.linspace(0, 1, n + 1, dtype=x.dtype)[:-1]:
        y = midpoint_step(lambda x, t: x * d_c(t) / c(t), y, t, h)
    return np.sqrt(((y - c(t + h) * x) ** 2).sum(1).mean().item())


RIGHT = {
    "check_midpoint_step": [
        midpoint_step,
        midpoint_by_lerp,
        lambda velocity, x, t, h: x + velocity(x + velocity(x, t) * (h / 2), t + h / 2) * h,
    ],
    "check_order": [
        order_by_lstsq,
        lambda n, e: math.log(e[-2] / e[-1]) / math.log(n[-1] / n[-2]),
        lambda n, e: np.log(e[-3] / e[-1]) / np.log(n[-1] / n[-3]),
        lambda n, e: torch.tensor(-np.polyfit(np.log(n), np.log(e), 1, w=n**4.0)[0]),
    ],
    "check_straight_field": [
        shear(torch.tanh, 0.7),
        shear(lambda s: s, math.pi / 2),
        lambda x, t: (x.flip(1) + 3) * torch.tensor([1, 0]),
        lambda x, t: torch.from_numpy(
            np.cos(x.numpy()) @ np.array([[0, 1], [0, 0]], x.numpy().dtype)
        ),
        shear(lambda s: s**2, 2.5),
        shear(lambda s: s**4),
        shear(lambda s: s**5, 0.7),
        shear(lambda s: (2 * s).exp()),
        shear(lambda s: (3 * s).exp(), 0.7),
        shear(lambda s: (s**2).exp(), 1.1),
        shear(lambda s: 100 * s),
        shear(lambda s: 1e-5 * s.sin(), 0.3),
        shear(lambda s: 1e6 + s.cos(), 0.8),
        shear(lambda s: (30 * s).sin(), 0.3),
        shear(lambda s: (100 * s).tanh()),
        shear(lambda s: torch.exp(-1 / s.clamp_min(1e-3)), 0.7),  # smooth, 0 on one half
    ],
    "check_euler_det": [det_by_functions, det_in_numpy],
    "check_largest_h": [
        lambda: torch.tensor(math.exp(1) / 4),
        lambda: brentq(lambda h: 1 - 16 * h**2 * math.exp(-2), 0.1, 1),
    ],
    "check_colliding_points": [lambda: pair(OUTER), lambda: pair(OUTER).flip(0).float()],
    "check_widening_velocity": [
        widening(),
        widening(apply=lambda rate, x: (rate * x.T).T),
        widening(apply=lambda rate, x: torch.einsum("...,...i->...i", rate, x)),
    ],
    "check_prediction": [lambda: 3, lambda: torch.tensor(1.5)],
    "check_scaling_error": [
        error(),
        error_by_steps,
        error(norm=lambda gap: np.linalg.norm(gap) / len(gap) ** 0.5),
    ],
}

WRONG = {
    "check_midpoint_step": [
        (lambda v, x, t, h: x - h * v(x - h / 2 * v(x, t), t - h / 2), "midpoint-length"),  # sign
        (lambda v, x, t, h: x + v(x + h / 2 * v(x, t), t + h / 2), "midpoint-length"),
        (lambda v, x, t, h: x + h * v(x, t), "midpoint-once"),  # Euler
        (lambda v, x, t, h: x + h * v(x, t + h / 2), "midpoint-once"),
        (lambda v, x, t, h: x + h * v(x + h / 2 * v(x, t), t), "midpoint-time"),
        (lambda v, x, t, h: x + h * v(x + h / 2 * v(x, t), t + h), "midpoint-time"),  # right end
        (lambda v, x, t, h: x + h * v(x + h * v(x, t), t + h / 2), "midpoint-place"),
        (lambda v, x, t, h: x + h * v(x + 0 * v(x, t), t + h / 2), "midpoint-place"),
        (thrice, "midpoint-calls"),
        (heun, "midpoint-where"),
        (lambda v, x, t, h: v(x, t)[:, 0], "wrong-shape"),
        (lambda v, x, t, h: x.double() + h * v(x + h / 2 * v(x, t), t + h / 2), "wrong-dtype"),
        (lambda v, x, t, h: x.add_(h * v(x + h / 2 * v(x, t), t + h / 2)), "mutates-input"),
    ],
    "check_order": [
        (lambda n, e: np.polyfit(np.log(n[-3:]), np.log(e[-3:]), 1)[0], "order-sign"),
        (lambda n, e: -np.polyfit(n[-3:], e[-3:], 1)[0], "order-axes"),
        (lambda n, e: -np.polyfit(n[-3:], np.log(e[-3:]), 1)[0], "order-axes"),
        (lambda n, e: round(order_by_lstsq(n, e)), "order-rounded"),
        (lambda n, e: order_by_lstsq(n, e).round(2), "order-rounded"),
        (lambda n, e: np.log2(e[-2] / e[-1]), "order-spacing"),
        (lambda n, e: -np.polyfit(np.log(n), np.log(e), 1)[0], "order-where"),
        (lambda n, e: -np.polyfit(np.log(n[:3]), np.log(e[:3]), 1)[0], "order-where"),
    ],
    "check_straight_field": [
        (lambda x, t: torch.ones_like(x), "straight-constant"),
        (lambda x, t: shear(torch.sin)(x, t) * t, "straight-clock"),
        (lambda x, t: x, "straight-speed"),
        (lambda x, t: torch.stack([x[:, 0].sin(), 0 * x[:, 0]], dim=1), "straight-speed"),
        (lambda x, t: torch.stack([-x[:, 1], x[:, 0]], dim=1), "straight-turns"),
        (lambda x, t: x * torch.tensor([1, -1]), "straight-turns"),
        (lambda x, t: 1e-8 * torch.stack([-x[:, 1], x[:, 0]], dim=1), "straight-turns"),
        (fan, "straight-meet"),
        (
            lambda x, t: torch.stack([x[:, 0] / (10 + x[:, 1]), x[:, 0] ** 0], dim=1),
            "straight-meet",
        ),
        (shear(torch.sign), "straight-rough"),
        (shear(torch.floor, 0.7), "straight-rough"),
        (shear(torch.abs), "straight-rough"),
        (shear(torch.relu), "straight-rough"),
        (shear(lambda s: s.abs().sqrt(), 0.7), "straight-rough"),
        (shear(lambda s: (s - 0.777).abs(), 0.7), "straight-rough"),
        (shear(lambda s: (3 * s).exp() + s.abs()), "straight-rough"),
        (shear(lambda s: 1000 * s + s.abs(), 0.3), "straight-rough"),
    ],
    "check_euler_det": [
        (lambda x, h: (h * omega(x)) ** 2 * (1 - x.square().sum(1)), "det-no-step"),
        (lambda x, h: torch.ones_like(x[:, 0]), "det-middle"),  # as the flow
        (lambda x, h: 1 + h * omega(x) ** 2 * (1 - x.square().sum(1)), "det-middle"),
        (lambda x, h: 1 - (h * omega(x)) ** 2 * (1 - x.square().sum(1)), "det-middle"),  # sign
        (lambda x, h: 1 + 16 * h**2 * (1 - x.square().sum(1)), "det-far"),
        (lambda x, h: 1 + (h * omega(x)) ** 2, "det-between"),  # missing derivative
        (lambda x, h: 1 + (h * omega(x)) ** 2 * (1 - x.norm(dim=1)), "det-between"),
        (lambda x, h: 1 + (h * omega(x)[:, None]) ** 2, "wrong-shape"),
    ],
    "check_largest_h": [
        (lambda: 0.25, "h-small"),  # one over the largest omega
        (lambda: math.e**2 / 16, "h-small"),  # the root is missing
        (lambda: -math.e / 4, "h-small"),
        (lambda: 1.0, "h-large"),
        (lambda: math.e / 2, "h-large"),  # omega without its factor
    ],
    "check_colliding_points": [
        (lambda: pair(1.2), "collide-same"),
        (lambda: torch.eye(2), "collide-circle"),
        (lambda: pair(2.0), "collide-radius"),
        (lambda: pair(OUTER).mul(1e3).round().div(1e3), "collide-radius"),  # three digits
        (lambda: pair(OUTER, turn=0.0), "collide-angle"),
        (lambda: pair(OUTER, turn=-1.0), "collide-angle"),  # turned the wrong way
        (lambda: torch.tensor([1.2, OUTER]), "wrong-shape"),  # the radii only
    ],
    "check_widening_velocity": [
        (widening(apply=lambda rate, x: rate * x), "rows-pair"),  # the bug
        (widening(apply=lambda rate, x: rate.mean() * x), "rows-pair"),
        (
            widening(rate=lambda t, a: (1 - (a**2 + 1) * t) / ((1 - t) ** 2 + (a * t) ** 2)),
            "rows-formula",
        ),
        (
            widening(rate=lambda t, a: (3.25 * t - 1) / ((1 - t) ** 2 + 2.25 * t**2) ** 0.5),
            "rows-formula",
        ),
        (widening(rate=lambda t, a: (3.25 * t - 1) / ((1 - t) ** 2 + 2.25 * t**2)), "rows-a"),
        (widening(apply=lambda rate, x: rate[:, None] * x), "raises"),  # one time for all
    ],
    "check_prediction": [
        (lambda: -2, "prediction-range"),
        (lambda: 0, "prediction-range"),
        (lambda: 16, "prediction-range"),
        (lambda: "two", "wrong-type"),
    ],
    "check_scaling_error": [
        (error("euler"), "error-method"),
        (error("heun"), "error-parts"),
        (error("rk4"), "error-parts"),
        (error(rate=lambda c, d_c: d_c), "error-parts"),
        (error(end=1), "error-parts"),
        (error("heun", norm=lambda gap: gap.norm()), "error-parts"),
        (error(norm=lambda gap: gap.mean()), "error-norm"),
        (error(norm=lambda gap: gap.square().mean().sqrt()), "error-norm"),
        (error(norm=lambda gap: gap.square().sum(1).mean()), "error-norm"),  # no root
        (error(norm=lambda gap: gap.norm(dim=1).mean()), "error-norm"),
        (error(norm=lambda gap: gap.norm()), "error-norm"),
        (error(norm=lambda gap: gap.abs().max()), "error-norm"),
        (error(end=1.5), "error-flow"),
        (error(dtype=torch.float32), "error-precision"),
        (error(norm=lambda gap: gap.norm(dim=1)), "wrong-type"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("02", RIGHT, WRONG)


def test_an_error_says_which_shape_of_t_it_was():
    with pytest.raises(CheckFailed, match=r"^✗ with t of shape \(\), .* raised IndexError"):
        check_widening_velocity(widening(apply=lambda rate, x: rate[:, None] * x))


def test_small_differences_are_shown():
    with pytest.raises(CheckFailed, match=r"which differ by 0\.000\d"):
        check_colliding_points(lambda: pair(OUTER + 5e-4))
