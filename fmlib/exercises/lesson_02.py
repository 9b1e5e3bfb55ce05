"""Checks of the exercises on lesson 02: solvers, their order, and what a step does to the plane."""

import math

import numpy as np
import torch
from torch.nn.functional import max_pool1d

from fmlib.exercises import Counted, Lesson, gap, one_by_one, points

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


@check
def check_midpoint_step(midpoint_step):
    """midpoint_step(velocity, x, t, h) -> like x."""
    for x, time, h in ((points(5, 2), 0.3, 0.2), (points(5, 2, seed=1), 0.9, -0.5)):
        t = torch.tensor(time, dtype=torch.float64)

        def step(velocity, x=x, t=t, h=h):
            velocity = Counted(velocity)
            return run(midpoint_step, velocity, x, t, h, like=x), velocity.times

        agree(step(lambda x, t: torch.ones_like(x))[0] - x, h, 1e-9, "midpoint-length")
        end, times = step(lambda x, t: 2 * t * torch.ones_like(x))
        expect(len(times) > 1, "midpoint-once")
        at = {"t": time, "end": time + h}
        agree(end - x, (time + h) ** 2 - time**2, 1e-9, "midpoint-time", **at)
        end, times = step(lambda x, t: x)
        agree(end / x, 1 + h + h**2 / 2, 1e-9, "midpoint-place")
        expect(len(times) == 2, "midpoint-calls", calls=len(times))
        where = sorted(round((time - float(t)) / h, 6) + 0.0 for time in times)
        expect(where == [0, 0.5], "midpoint-where", first=where[0], second=where[1])
    lesson.in_float32(midpoint_step, lambda x, t: x, points(4, 3), 0.3, h, like=points(4, 3))


@check
def check_order(order):
    """order(steps, errors) -> a number."""
    steps = np.array([4, 8, 16, 32, 64, 128, 256])
    for p in (1, 2, 4):
        got = run(order, steps, 0.3 * steps ** -float(p), like=float)
        expect(abs(got + p) > 1e-6, "order-sign", p=p, got=got)
        agree(got, p, 1e-6, "order-axes")
    got = run(order, steps, 0.3 * steps**-1.537, like=float)
    agree(got, 1.537, 1e-6, "order-rounded")
    uneven = np.array([10, 15, 25, 40, 60, 100, 170])
    agree(run(order, uneven, 7 / uneven**2.0, like=float), 2, 1e-6, "order-spacing")
    got = run(order, steps, steps**-2.0 / (1 + (24 / steps) ** 2), like=float)
    agree(got, 2, 0.2, "order-where")


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


def _expect_straight(field, x, u, scale):
    """A particle keeps its velocity, over any distance."""
    size = u.norm(dim=1, keepdim=True) + 1e-6 * scale
    for length in (0.1, 1.0, 7.0):
        later = field(x + length / size * u)
        turned = gap((u[:, :1] * later[:, 1:] - u[:, 1:] * later[:, :1]) / size**2, 0)
        changed = gap((later - u) / size, 0)
        expect(turned < 1e-6, "straight-turns", length=length, changed=changed)
        expect(changed < 1e-6, "straight-speed", length=length, changed=changed)


def _expect_no_meeting(field, x, scale):
    """Where steps of any length are exact, Du u = 0, so that det(I + h Du) = 1 + h div u: it must
    not vanish for any h of either sign, hence div u = 0.
    """
    sides = 1e-5 * torch.eye(2, dtype=x.dtype)
    slopes = torch.stack([(field(x + side) - field(x - side)) / 2e-5 for side in sides])
    div = slopes[0, :, 0] + slopes[1, :, 1]
    excess = div.abs() - 1e-3 * slopes.norm(dim=(0, 2)) - 1e-8 * scale
    worst = int(excess.argmax())
    found = {"x": x[worst], "div": div[worst], "h": -1 / div[worst]}
    expect(excess[worst] < 0, "straight-meet", **found)


@check
def check_straight_field(straight_field):
    """straight_field(x, t) -> like x."""

    def field(x, t=0.3):
        return run(straight_field, x, t, like=x)

    x = points(64, 2)
    u = field(x)
    speed = u.norm(dim=1)
    scale, spread = float(speed.max()), gap(u, u.mean(0))
    expect(spread > 1e-9 * scale, "straight-constant", spread=spread)
    moved = gap(field(x, 0.9), u)
    expect(moved < 1e-9 * scale, "straight-clock", moved=moved)
    _expect_straight(field, x, u, scale)
    fastest = u[speed.argmax()]
    across = torch.stack([-fastest[1], fastest[0]]) / scale
    s, distance, change, rough = _roughest(field, across)
    place = [round(float(s * part), 3) + 0.0 for part in across]  # + 0.0 makes 0 of -0
    expect(not rough, "straight-rough", place=place, change=change, distance=distance)
    _expect_no_meeting(field, x, scale)
    lesson.in_float32(straight_field, x, 0.3, like=x)


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
    agree(run(euler_det, x, 0.0, like=one), 1, 1e-9, "det-no-step")
    agree(run(euler_det, 1e-9 * x, 0.5, like=one), 1 + 4 * 0.5**2 * 4, 1e-6, "det-middle")
    far = 20 * x / x.norm(dim=1, keepdim=True)
    agree(run(euler_det, far, 0.5, like=one), 1, 1e-6, "det-far")
    for h in (0.2, 1.0, -0.4):
        got = run(euler_det, x, h, like=one)
        agree(got, _step_det(x, h), 1e-6, "det-between", at=x, h=h)
    lesson.in_float32(euler_det, x, 0.5, like=one)


def _image_radius(r, h):
    return r * torch.sqrt(1 + (4 * h * torch.exp(-0.5 * r**2)) ** 2)


@check
def check_largest_h(largest_h):
    """largest_h() -> a number."""
    h = run(largest_h, like=float)
    r = torch.linspace(0, 5, 5001, dtype=torch.float64)
    growth = _image_radius(r, 0.995 * h).diff()
    expect(h <= 0 or growth.min() > 0, "h-large", h=h, at=r[growth.argmin()])
    growth = _image_radius(r, 1.005 * h).diff()
    expect(h > 0 and growth.min() < 0, "h-small", h=h)
    return {"h": h}


@check
def check_colliding_points(colliding_points):
    """colliding_points() -> (2, 2), two points."""
    pair = run(colliding_points)
    dtype = pair.dtype if isinstance(pair, torch.Tensor) else torch.float64
    pair = run(colliding_points, like=torch.empty(2, 2, dtype=dtype)).double()
    apart = float((pair[0] - pair[1]).norm())
    expect(apart > 1e-2, "collide-same", apart=apart)
    radius = pair.norm(dim=1)
    expect(gap(radius[0], radius[1]) > 1e-4, "collide-circle", radius=radius[0])
    image = pair + _swirl_velocity(pair)
    radius = image.norm(dim=1)
    agree(radius[0], radius[1], 1e-4, "collide-radius", radius=radius)
    off = float((image[0] - image[1]).norm())
    expect(off < 1e-4, "collide-angle", off=off)
    return {"apart": apart}


def _scale(t, a=1.5):
    return torch.sqrt((1 - t) ** 2 + (a * t) ** 2)


@check
def check_widening_velocity(widening_velocity):
    """widening_velocity(x, t, a) -> like x, for t () or (batch,)."""

    def moves(x, t, *a):
        where = lesson.say("rows-shape", shape=tuple(t.shape))
        return run(widening_velocity, x, t, *a, like=x, where=where)

    def truth(x, t, a=1.5):
        at = t.clone().requires_grad_()
        return torch.autograd.grad(torch.log(_scale(at, a)), at)[0] * x

    x, t = points(2, 2), torch.tensor([0.2, 0.9], dtype=torch.float64)
    for a, hint in ((1.5, "rows-formula"), (0.7, "rows-a")):
        for at, time in ((x, t[0]), (x.flip(0), t[1])):
            got, exact = moves(at, time, a), truth(at, time, a)
            agree(got, exact, 1e-9, hint, t=time, x=at[0, 0], a=a)
    alone = torch.cat(one_by_one(lambda x, t: truth(x, t[0]), x, t))
    agree(moves(x, t), alone, 1e-9, "rows-pair", at=t)
    moves(x.float(), t.float())


@check
def check_prediction(prediction):
    """prediction() -> a number."""
    return lesson.predicted(prediction, 0.5, 8, "prediction-range")


def _midpoint_error(c, d_c, n, euler=False):
    """What n midpoint steps, or Euler's, to t = 1 multiply a point by, less what the flow does."""
    t = torch.arange(n, dtype=torch.float64) / n
    rate, middle = d_c(t) / c(t), d_c(t + 0.5 / n) / c(t + 0.5 / n)
    factors = 1 + rate / n if euler else 1 + middle / n * (1 + 0.5 * rate / n)
    return abs(float(factors.prod() - c(t.new_ones(()))))


FLOWS = {
    "(2.4)": (_scale, lambda t: (3.25 * t - 1) / _scale(t)),
    "c = 1 + t^3": (lambda t: 1 + t**3, lambda t: 3 * t**2),
}


@check
def check_scaling_error(scaling_error):
    """scaling_error(x, n, c, d_c) -> a number."""

    def errs(flow, n, **other):
        """Found, and true."""
        x = points(50, 2, seed=n // 128)
        size = float(x.square().sum(1).mean().sqrt())
        got = run(scaling_error, x, n, *FLOWS[flow], like=float)
        return {"got": got, "should": size * _midpoint_error(*FLOWS[flow], n, **other)}

    def holds(name, flow, n, got, should):
        right = abs(got / should - 1) < 1e-3
        expect(right, name, says="error-parts", flow=flow, n=n, got=got, should=should)

    wide, other = FLOWS
    euler = errs(wide, 8, euler=True)
    expect(abs(euler["got"] / euler["should"] - 1) > 1e-6, "error-method")
    three = [errs(wide, 8), errs(wide, 16), errs(other, 8)]
    name = "error-parts"
    for power in (1, 2):  # another norm of the right distances: in proportion on every flow
        ratios = [abs(error["got"]) / error["should"] ** power for error in three]
        name = "error-norm" if max(ratios) < 1.01 * min(ratios) else name
    holds(name, wide, 8, **three[0])
    holds("error-flow", other, 8, **three[2])
    holds("error-precision", wide, 128, **errs(wide, 128))
    errors = [[_midpoint_error(*flow, n) for n in (64, 128)] for flow in FLOWS.values()]
    orders = [math.log2(a / b) for a, b in errors]
    return {"wide": orders[0], "other": orders[1]}
