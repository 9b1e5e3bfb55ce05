"""Checks of the exercises on lesson 02: solvers, their order, and what a step does to the plane."""

import math

import numpy as np
import torch

from fmlib.exercises import Hints, check, gap, points, run

HINTS = Hints(
    {
        "midpoint-length": "what stands between x and the second slope? In a constant field every "
        "method is exact.",
        "midpoint-time": "at which times do you ask for the velocity? Follow t through both calls.",
        "midpoint-place": "at which place do you ask the second time? How far is it from x?",
        "midpoint-calls": "how often is velocity called, and is any result found twice?",
        "midpoint-where": "another second-order method does this. Which slope carries the step?",
        "order-sign": "the error falls as n grows; which way does the line go?",
        "order-axes": "on which axes is a power law a straight line? Both of them?",
        "order-spacing": "does your formula assume that n doubles? Use the numbers in steps.",
        "order-where": "which of the points may be used? Lesson 02's common mistakes name this.",
        "straight-constant": "two particles may move differently. What may the velocity depend on, "
        "if each one keeps its own?",
        "straight-clock": "use x alone. What happens to a particle if the field changes under it?",
        "straight-speed": "the direction stays along the line, the speed does not. Which "
        "coordinate changes while a particle moves?",
        "straight-turns": "draw the lines of two particles. Does one of them reach a place where "
        "the arrow points elsewhere?",
        "straight-jumps": "a flow needs a smooth field. Look along a line across the motion.",
        "det-no-step": "a step of length 0 changes nothing: its Jacobian matrix is the identity.",
        "det-middle": "near the origin omega is nearly 4, and the step is x + 4 h J x. Write this "
        "2 by 2 matrix down and take its determinant.",
        "det-far": "far out the swirl stands still. Which factor has to win there?",
        "det-between": "omega depends on x as well: the product rule gives a second term.",
        "h-small": "take a slightly longer step. Does any circle land inside a smaller one?",
        "h-large": "follow circles of radius 1 to 2: do larger ones stay larger?",
        "collide-same": "two different points are needed.",
        "collide-circle": "a step turns a whole circle by one angle: it cannot bring two of its "
        "points together.",
        "collide-radius": "first find two radii that land on one circle: plot new over old.",
        "collide-angle": "the circles agree. By which angle does each one turn? Undo it first.",
        "rows-formula": "take t as one number, and compare with the derivative of c(t) x.",
        "rows-pair": "print rate.shape and x.shape. Which axis of x does rate run along?",
        "prediction-range": "for which power of the step length is the error small at small steps?",
        "error-method": "which method made these numbers? The exercise is about the midpoint rule.",
        "error-norm": "root mean square of what? Square the distances, take the mean over the "
        "points, then the root.",
        "error-precision": "at 512 steps the error is below what float32 can show.",
        "error-flow": "which parts of your function belong to the widening flow only?",
    }
)
expect = HINTS.expect


@check
def check_midpoint_step(midpoint_step):
    """midpoint_step(velocity, x, t, h) -> like x."""
    x, t, h = points(5, 2), torch.tensor(0.3, dtype=torch.float64), 0.2
    calls = []

    def step(velocity, x=x):
        def counted(x, t):
            calls.append(float(t))
            return velocity(x, t)

        calls.clear()
        return run(midpoint_step, counted, x, t, h, like=x)

    added = step(lambda x, t: torch.ones_like(x)) - x
    found = f"where u = 1, a step of h = {h} must add {h}, adds {added[0, 0]:.3f}"
    expect(gap(added, h) < 1e-9, "midpoint-length", found)
    added, exact = step(lambda x, t: 2 * t * torch.ones_like(x)) - x, (0.3 + h) ** 2 - 0.3**2
    found = f"where u = 2t, a step from 0.3 to 0.5 must add {exact:.3f}, adds {added[0, 0]:.3f}"
    expect(gap(added, exact) < 1e-9, "midpoint-time", found)
    grown, exact = step(lambda x, t: x) / x, 1 + h + h**2 / 2
    found = f"where u = x, a step must multiply by 1 + h + h^2/2 = {exact}, gives {grown[0, 0]:.3f}"
    expect(gap(grown, exact) < 1e-9, "midpoint-place", found)
    found = f"velocity was called {len(calls)} times in one step"
    expect(len(calls) == 2, "midpoint-calls", found)
    where = sorted(round((time - 0.3) / h, 6) for time in calls)
    found = f"the slopes were taken at t + {where[0]:g} h and t + {where[1]:g} h"
    expect(where == [0, 0.5], "midpoint-where", found)
    step(lambda x, t: x, points(4, 3, dtype=torch.float32))
    return "midpoint_step: exact for u = 1 and u = 2t, second order for u = x, two evaluations"


@check
def check_order(order):
    """order(steps, errors) -> a number."""
    steps = np.array([4, 8, 16, 32, 64, 128, 256])
    for p in (1, 2, 4):
        got = run(order, steps, 0.3 * steps ** -float(p), like=float)
        found = f"for errors 0.3 / n^{p} the order is {p}, got {got:.2f}"
        expect(abs(got + p) > 1e-6, "order-sign", found)
        expect(abs(got - p) < 1e-6, "order-axes", found)
    uneven = np.array([10, 15, 25, 60, 100, 170])
    got = run(order, uneven, 7 / uneven**2.0, like=float)
    found = f"for errors 7 / n^2 at n = 10, 15, 25, 60, 100, 170 the order is 2, got {got:.2f}"
    expect(abs(got - 2) < 1e-6, "order-spacing", found)
    got = run(order, steps, steps**-2.0 / (1 + (24 / steps) ** 2), like=float)
    found = f"for errors that fall like n^-2 only from n = 50 on, the order is 2, got {got:.2f}"
    expect(abs(got - 2) < 0.2, "order-where", found)
    return "order: finds 1, 2 and 4, at any spacing, and from the steps that are short enough"


@check
def check_straight_field(straight_field):
    """straight_field(x, t) -> like x."""
    x = points(64, 2)
    u = run(straight_field, x, 0.3, like=x)
    spread = gap(u, u.mean(0))
    found = f"the velocities at 64 places differ by {spread:.1g} only"
    expect(spread > 1e-3, "straight-constant", found)
    moved = gap(run(straight_field, x, 0.9, like=x), u)
    found = f"from t = 0.3 to t = 0.9 the velocity changes by {moved:.2g}"
    expect(moved < 1e-9, "straight-clock", found)
    for h in (0.1, 1.0, 7.0):
        later = run(straight_field, x + h * u, 0.3, like=x)
        cross = gap(u[:, 0] * later[:, 1], u[:, 1] * later[:, 0])
        found = f"after a step of h = {h:g} a particle's velocity has changed by"
        found = f"{found} {gap(later, u):.2g}, so its path bends or its speed changes"
        size = 1 + float(u.square().max())
        expect(cross < 1e-6 * size, "straight-turns", found)
        expect(gap(later, u) < 1e-6 * size, "straight-speed", found)
    angle = torch.linspace(0, math.pi, 13, dtype=x.dtype)[:-1]
    for way in torch.stack([angle.cos(), angle.sin()], dim=1):
        along = run(straight_field, torch.linspace(-3, 3, 6001, dtype=x.dtype)[:, None] * way, 0.3)
        jump = gap(along[1:], along[:-1])
        expect(jump < 0.1, "straight-jumps", f"within a distance of 0.001 u changes by {jump:.2g}")
    run(straight_field, x.float(), 0.3, like=x.float())
    return "straight_field: not constant, and every Euler step, short or long, is exact"


def _swirl_velocity(x):
    turned = torch.stack([-x[..., 1], x[..., 0]], dim=-1)
    return 4 * torch.exp(-0.5 * x.square().sum(-1, keepdim=True)) * turned


def _step_det(x, h):
    """By automatic differentiation: each row of the step depends on its own row of x."""
    x = x.clone().requires_grad_()
    step = x + h * _swirl_velocity(x)
    rows = [torch.autograd.grad(step[:, i].sum(), x, retain_graph=True)[0] for i in (0, 1)]
    return torch.linalg.det(torch.stack(rows, dim=1))


@check
def check_euler_det(euler_det):
    """euler_det(x, h) -> (batch,)."""
    x = points(40, 2)
    one = x.new_ones(40)
    got = run(euler_det, x, 0.0, like=one)
    expect(gap(got, one) < 1e-9, "det-no-step", f"for h = 0 it gives {got[0]:.3f}, not 1")
    got, exact = run(euler_det, 1e-9 * x, 0.5, like=one), 1 + 4 * 0.5**2 * 4
    found = f"at the origin the step with h = 0.5 has the determinant {exact:g}, got {got[0]:.3f}"
    expect(gap(got, exact) < 1e-6, "det-middle", found)
    far = 20 * x / x.norm(dim=1, keepdim=True)
    got = run(euler_det, far, 0.5, like=one)
    expect(gap(got, one) < 1e-6, "det-far", f"at a distance of 20 it gives {got[0]:.3f}, not 1")
    for h in (0.2, 1.0):
        got, exact = run(euler_det, x, h, like=one), _step_det(x, h)
        worst = int((got - exact).abs().argmax())
        found = f"at x = ({x[worst, 0]:.2f}, {x[worst, 1]:.2f}) with h = {h:g} automatic"
        found = f"{found} differentiation gives {exact[worst]:.3f}, you give {got[worst]:.3f}"
        expect(gap(got, exact) < 1e-6, "det-between", found)
    run(euler_det, x.float(), 0.5, like=one.float())
    return "euler_det: agrees with automatic differentiation at 40 places, for h = 0.2 and 1"


def _image_radius(r, h):
    return r * torch.sqrt(1 + (4 * h * torch.exp(-0.5 * r**2)) ** 2)


@check
def check_largest_h(largest_h):
    """largest_h() -> a number."""
    h = run(largest_h, like=float)
    r = torch.linspace(0, 5, 5001, dtype=torch.float64)
    growth = _image_radius(r, 0.995 * h).diff()
    at = float(r[growth.argmin()])
    found = f"with h just below {h:.4g}, circles of a radius near {at:.2f} land inside smaller ones"
    expect(h <= 0 or growth.min() > 0, "h-large", found)
    growth = _image_radius(r, 1.005 * h).diff()
    found = f"with h just above {h:.4g}, circles still land outside all smaller ones"
    expect(h > 0 and growth.min() < 0, "h-small", found)
    return f"largest_h: below h = {h:.3f} no two circles meet, just above it some do"


@check
def check_colliding_points(colliding_points):
    """colliding_points() -> (2, 2), two points."""
    pair = run(colliding_points)
    dtype = pair.dtype if isinstance(pair, torch.Tensor) else torch.float64
    pair = run(colliding_points, like=torch.empty(2, 2, dtype=dtype)).double()
    apart = float((pair[0] - pair[1]).norm())
    expect(apart > 1e-2, "collide-same", f"the two points are {apart:.2g} apart")
    radius = pair.norm(dim=1)
    found = f"both points lie at a distance of {radius[0]:.3f} from the origin"
    expect(gap(radius[0], radius[1]) > 1e-4, "collide-circle", found)
    image = pair + _swirl_velocity(pair)
    radius = image.norm(dim=1)
    found = f"one step takes them to distances {radius[0]:.3f} and {radius[1]:.3f} from the origin"
    expect(gap(radius[0], radius[1]) < 1e-4, "collide-radius", found)
    missed = float((image[0] - image[1]).norm())
    found = f"one step takes both to one circle, but {missed:.2g} apart"
    expect(missed < 1e-4, "collide-angle", found)
    return f"colliding_points: {apart:.2f} apart, and together after one Euler step with h = 1"


def _scale(t, a=1.5):
    return torch.sqrt((1 - t) ** 2 + (a * t) ** 2)


@check
def check_widening_velocity(widening_velocity):
    """widening_velocity(x, t) -> like x, for t () or (batch,)."""
    x, t = points(2, 2), torch.tensor([0.2, 0.9], dtype=torch.float64)
    rows = []
    for time in t:
        at = time.clone().requires_grad_()
        (rate,) = torch.autograd.grad(torch.log(_scale(at)), at)
        got, exact = run(widening_velocity, x, time, like=x), rate * x
        found = f"at t = {time:g} and x = {x[0, 0]:.3f} the derivative of the flow is"
        found = f"{found} {exact[0, 0]:.3f}, got {got[0, 0]:.3f}"
        expect(gap(got, exact) < 1e-9, "rows-formula", found)
        rows.append(exact)
    got, exact = run(widening_velocity, x, t, like=x), torch.stack([rows[0][0], rows[1][1]])
    found = f"with times (0.2, 0.9) for two points, point 1 must get ({exact[0, 0]:.3f},"
    found = f"{found} {exact[0, 1]:.3f}) as it does alone, gets ({got[0, 0]:.3f}, {got[0, 1]:.3f})"
    expect(gap(got, exact) < 1e-9, "rows-pair", found)
    more = points(5, 2, dtype=torch.float32)
    run(widening_velocity, more, torch.linspace(0, 1, 5), like=more)
    return "widening_velocity: each point moves by its own time, one time for all works, too"


@check
def check_prediction(prediction):
    """prediction() -> a number."""
    p = run(prediction, like=float)
    expect(0.5 <= p <= 8, "prediction-range", f"an order of {p:g} is not to be expected")
    return f"prediction: {p:g}. Now measure"


def _midpoint_error(c, d_c, n, euler=False):
    """What n midpoint steps, or Euler's, to t = 1 multiply a point by, less what the flow does."""
    t = torch.arange(n, dtype=torch.float64) / n
    rate, middle = d_c(t) / c(t), d_c(t + 0.5 / n) / c(t + 0.5 / n)
    factors = 1 + rate / n if euler else 1 + middle / n * (1 + 0.5 * rate / n)
    return abs(float(factors.prod() - c(t.new_ones(()))))


@check
def check_scaling_error(scaling_error):
    """scaling_error(x, n, c, d_c) -> a number."""
    x = points(50, 2)
    size = float(x.square().sum(1).mean().sqrt())
    widening = (_scale, lambda t: (3.25 * t - 1) / _scale(t))
    cubic = (lambda t: 1 + t**3, lambda t: 3 * t**2)

    def off(flow, n, **other):
        got = run(scaling_error, x, n, *flow, like=float)
        should = size * _midpoint_error(*flow, n, **other)
        return abs(got / should - 1), f"{n} steps err by {should:.3g}, you find {got:.3g}"

    expect(off(widening, 8, euler=True)[0] > 1e-6, "error-method", "8 steps err as Euler's do")
    relative, found = off(widening, 8)
    expect(relative < 1e-3, "error-norm", f"on the widening flow {found}")
    relative, found = off(cubic, 8)
    expect(relative < 1e-3, "error-flow", f"on the flow c = 1 + t^3 {found}")
    relative, found = off(widening, 512)
    expect(relative < 1e-3, "error-precision", f"on the widening flow {found}")
    errors = [[_midpoint_error(*flow, n) for n in (64, 128)] for flow in (widening, cubic)]
    wide, other = (math.log2(a / b) for a, b in errors)
    return f"scaling_error: order {wide:.1f} on the widening flow, {other:.1f} where c = 1 + t^3"
