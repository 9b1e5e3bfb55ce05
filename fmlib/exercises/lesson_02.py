"""Checks of the exercises on lesson 02: solvers, their order, and what a step does to the plane."""

import math

import numpy as np
import torch
from torch.nn.functional import max_pool1d

from fmlib.exercises import CheckFailed, Hints, check, gap, points, run

HINTS = Hints(
    {
        "midpoint-length": "what stands between x and the second slope? In a constant field every "
        "method is exact.",
        "midpoint-once": "the formula holds u twice. Which of the two does your function lack?",
        "midpoint-time": "at which times do you ask for the velocity? Follow t through both calls.",
        "midpoint-place": "at which place do you ask the second time? How far is it from x?",
        "midpoint-calls": "how often is velocity called, and is any result found twice?",
        "midpoint-where": "another second-order method does this. Which slope carries the step?",
        "order-sign": "the error falls as n grows; which way does the line go?",
        "order-axes": "on which axes is a power law a straight line? Both of them?",
        "order-rounded": "measured orders are no whole numbers. Does your function round?",
        "order-spacing": "does your formula assume that n doubles? Use the numbers in steps.",
        "order-where": "which of the points may be used? Lesson 02's common mistakes name this.",
        "straight-constant": "two particles may move differently. What may the velocity depend on, "
        "if each one keeps its own?",
        "straight-clock": "use x alone. What happens to a particle if the field changes under it?",
        "straight-speed": "the direction stays along the line, the speed does not. Which "
        "coordinate changes while a particle moves?",
        "straight-turns": "draw the lines of two particles. Does one of them reach a place where "
        "the arrow points elsewhere?",
        "straight-meet": "follow the paths both ways, and far beyond the part of the plane that "
        "you drew.",
        "straight-rough": "smooth means no jump and no kink. Look along a line across the motion.",
        "det-no-step": "a step of length 0 changes nothing: its Jacobian matrix is the identity.",
        "det-middle": "near the origin omega is nearly 4, and the step is x + 4 h J x. Write this "
        "2 by 2 matrix down and take its determinant.",
        "det-far": "far out the swirl stands still. Which factor has to win there?",
        "det-between": "omega depends on x as well: the product rule gives a second term; mind "
        "its sign.",
        "h-small": "take a slightly longer step. Does any circle land inside a smaller one?",
        "h-large": "follow circles of radius 1 to 2: do larger ones stay larger?",
        "collide-same": "two different points are needed.",
        "collide-circle": "a step turns a whole circle by one angle: it cannot bring two of its "
        "points together.",
        "collide-radius": "first find two radii that land on one circle: plot new over old.",
        "collide-angle": "the circles agree. By which angle does each one turn? Undo it first.",
        "rows-formula": "take t as one number, and compare with the derivative of c(t) x.",
        "rows-a": "is one of the numbers in the function 1.5, or made of it?",
        "rows-pair": "print rate.shape and x.shape. Which axis of x does rate run along?",
        "prediction-range": "for which power of the step length is the error small at small steps?",
        "error-method": "which method made these numbers? The exercise is about the midpoint rule.",
        "error-norm": "root mean square of what? Square the distances, take the mean over the "
        "points, then the root.",
        "error-parts": "check the three parts one by one: the field, the method, the exact end.",
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
    found = "one step asked for the velocity once only"
    expect(len(calls) > 1, "midpoint-once", found)
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
    got = run(order, steps, 0.3 * steps**-1.537, like=float)
    found = f"for errors 0.3 / n^1.537 the order is 1.537, got {got:.3f}"
    expect(abs(got - 1.537) < 1e-6, "order-rounded", found)
    uneven = np.array([10, 15, 25, 60, 100, 170])
    got = run(order, uneven, 7 / uneven**2.0, like=float)
    found = f"for errors 7 / n^2 at n = 10, 15, 25, 60, 100, 170 the order is 2, got {got:.2f}"
    expect(abs(got - 2) < 1e-6, "order-spacing", found)
    got = run(order, steps, steps**-2.0 / (1 + (24 / steps) ** 2), like=float)
    found = f"for errors that fall like n^-2 only from n = 50 on, the order is 2, got {got:.2f}"
    expect(abs(got - 2) < 0.2, "order-where", found)
    return (
        "order: finds 1, 1.537, 2 and 4, at any spacing, and from the steps that are short enough"
    )


def _roughest(u, across):
    """Along the line s across: s where the slope of u changes most abruptly, over which distance,
    by how much; and whether it does so at a shorter distance as well, as at a jump or a kink.
    """

    def look(middle, radius):
        s = middle + radius * torch.linspace(-1, 1, 2001, dtype=across.dtype)
        values = u(s[:, None] * across)
        bends, slopes = (values.diff(n, dim=0).norm(dim=1) for n in (2, 1))
        return s, values, bends, slopes

    s, values, bends, slopes = look(0.0, 3.0)
    nearby = max_pool1d(slopes[None], 101, stride=1, padding=50)[0, 1:]
    at = int((bends / (nearby + 1e-4 * slopes.max())).argmax())  # 0 / 0: constant on this line
    before = float(bends[max(at - 7, 0) : at + 8].max() / (s[1] - s[0]))
    closer, _, bends, _ = look(s[at + 1], 0.02)
    where, apart = int(bends.argmax()), float(closer[1] - closer[0])
    now = float(bends[where]) / apart
    rounding = 1e-12 * float(values.abs().max()) / apart
    return float(closer[where + 1]), 2 * apart, now, now > max(0.3 * before, rounding)


@check
def check_straight_field(straight_field):
    """straight_field(x, t) -> like x.

    Where steps of any length are exact, Du u = 0, so that det(I + h Du) = 1 + h div u: it must not
    vanish for any h of either sign, hence div u = 0.
    """

    def field(x, t=0.3):
        return run(straight_field, x, t, like=x)

    x = points(64, 2)
    u = field(x)
    speed = u.norm(dim=1, keepdim=True)
    fastest, scale = int(speed.argmax()), float(speed.max())
    spread = gap(u, u.mean(0))
    found = f"the velocities at 64 places differ by {spread:.1g} only"
    expect(spread > 1e-9 * scale, "straight-constant", found)
    moved = gap(field(x, 0.9), u)
    found = f"from t = 0.3 to t = 0.9 the velocity changes by {moved:.2g}"
    expect(moved < 1e-9 * scale, "straight-clock", found)
    size = speed + 1e-6 * scale
    for length in (0.1, 1.0, 7.0):
        later = field(x + length / size * u)
        turned = gap((u[:, :1] * later[:, 1:] - u[:, 1:] * later[:, :1]) / size**2, 0)
        changed = gap((later - u) / size, 0)
        found = f"after a step over a distance of {length:g} a particle's velocity has changed by"
        found = f"{found} {changed:.2g} of itself, so its path bends or its speed changes"
        expect(turned < 1e-6, "straight-turns", found)
        expect(changed < 1e-6, "straight-speed", found)
    across = torch.stack([-u[fastest, 1], u[fastest, 0]]) / scale
    s, distance, change, rough = _roughest(field, across)
    place = [round(float(s * part), 3) + 0.0 for part in across]  # + 0.0 makes 0 of -0
    found = f"near x = ({place[0]:.3f}, {place[1]:.3f}) the slope of u changes by {change:.2g}"
    found = f"{found} within a distance of {distance:.1g}"
    expect(not rough, "straight-rough", found)
    sides = 1e-5 * torch.eye(2, dtype=x.dtype)
    slopes = torch.stack([(field(x + side) - field(x - side)) / 2e-5 for side in sides])
    div = slopes[0, :, 0] + slopes[1, :, 1]
    excess = div.abs() - 1e-3 * slopes.norm(dim=(0, 2)) - 1e-8 * scale
    worst = int(excess.argmax())
    found = f"at x = ({x[worst, 0]:.2f}, {x[worst, 1]:.2f}) div u is {div[worst]:.3g}, not 0, so a"
    found = f"{found} step of h = {-1 / div[worst]:.3g} takes x and places beside it to one place"
    expect(excess[worst] < 0, "straight-meet", found)
    run(straight_field, x.float(), 0.3, like=x.float())
    return "straight_field: smooth, not constant, and every Euler step, short or long, is exact"


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
    missed = gap(radius[0], radius[1])
    found = f"one step takes them to distances {radius[0]:.3f} and {radius[1]:.3f} from the origin,"
    found = f"{found} which differ by {missed:.2g}"
    expect(missed < 1e-4, "collide-radius", found)
    missed = float((image[0] - image[1]).norm())
    found = f"one step takes both to one circle, but {missed:.2g} apart"
    expect(missed < 1e-4, "collide-angle", found)
    return f"colliding_points: {apart:.2f} apart, and together after one Euler step with h = 1"


def _scale(t, a=1.5):
    return torch.sqrt((1 - t) ** 2 + (a * t) ** 2)


@check
def check_widening_velocity(widening_velocity):
    """widening_velocity(x, t, a) -> like x, for t () or (batch,)."""

    def moves(x, t, *a):
        try:
            return run(widening_velocity, x, t, *a, like=x)
        except CheckFailed as error:  # with which t?
            which = f"✗ with t of shape {tuple(t.shape)}, "
            error.args = (str(error).replace("✗ ", which, 1),)
            raise

    def truth(time, a=1.5):
        at = time.clone().requires_grad_()
        return torch.autograd.grad(torch.log(_scale(at, a)), at)[0] * x

    x, t = points(2, 2), torch.tensor([0.2, 0.9], dtype=torch.float64)
    for a, hint in ((1.5, "rows-formula"), (0.7, "rows-a")):
        for time in t:
            got, exact = moves(x, time, a), truth(time, a)
            found = f"at t = {time:g} and x = {x[0, 0]:.3f}, with a = {a}, the derivative of the"
            found = f"{found} flow is {exact[0, 0]:.3f}, got {got[0, 0]:.3f}"
            expect(gap(got, exact) < 1e-9, hint, found)
    got, exact = moves(x, t), torch.stack([truth(t[i])[i] for i in (0, 1)])
    found = f"with times (0.2, 0.9) for two points, point 1 must get ({exact[0, 0]:.3f},"
    found = f"{found} {exact[0, 1]:.3f}) as it does alone, gets ({got[0, 0]:.3f}, {got[0, 1]:.3f})"
    expect(gap(got, exact) < 1e-9, "rows-pair", found)
    more = points(5, 2, dtype=torch.float32)
    moves(more, torch.linspace(0, 1, 5))
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

    def errs(flow, n, **other):
        """Found, and true."""
        got = run(scaling_error, x, n, *flow, like=float)
        return got, size * _midpoint_error(*flow, n, **other)

    def holds(got, should, name, flow, n):
        found = f"on the flow {flow} {n} steps err by {should:.3g}, you find {got:.3g}"
        expect(abs(got / should - 1) < 1e-3, name, found)

    got, should = errs(widening, 8, euler=True)
    expect(abs(got / should - 1) > 1e-6, "error-method", "8 steps err as Euler's do")
    three = [errs(widening, 8), errs(widening, 16), errs(cubic, 8)]
    name = "error-parts"
    for power in (1, 2):  # another norm of the right distances: in proportion on every flow
        ratios = [abs(got) / should**power for got, should in three]
        name = "error-norm" if max(ratios) < 1.01 * min(ratios) else name
    holds(*three[0], name, "(2.4)", 8)
    holds(*three[2], "error-flow", "c = 1 + t^3", 8)
    holds(*errs(widening, 512), "error-precision", "(2.4)", 512)
    errors = [[_midpoint_error(*flow, n) for n in (64, 128)] for flow in (widening, cubic)]
    wide, other = (math.log2(a / b) for a, b in errors)
    return f"scaling_error: order {wide:.1f} on the widening flow, {other:.1f} where c = 1 + t^3"
