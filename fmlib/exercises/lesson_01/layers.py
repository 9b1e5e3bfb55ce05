"""Coupling layers undone, the density of what layers make, and what a likelihood costs."""

import math

import torch

from fmlib.exercises import Lesson, gap, points

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _zero(a):
    return 0 * a


def _constant(value):
    return lambda a: 0 * a + value


def _waves(a):  # each number of the result depends on all of a
    return 0.8 * torch.sin(2 * a.sum(1, keepdim=True)) + 0.3 * torch.cos(a)


def _bowl(a):  # two places with one value: nobody can invert it
    return a.flip(1).square() / 4 - 1


def _couple(x, log_scale, shift):
    a, b = x.chunk(2, dim=1)
    return torch.cat([log_scale(a).exp() * b + shift(a), a], dim=1)


def _uncouple(y, log_scale, shift):
    moved, a = y.chunk(2, dim=1)
    return torch.cat([a, (moved - shift(a)) * torch.exp(-log_scale(a))], dim=1)


def _log_normal(x):
    return -(x.square() + math.log(2 * math.pi)).sum(1) / 2


@check
def check_uncouple(uncouple):
    """uncouple(y, log_scale, shift) -> the x with couple(x, log_scale, shift) = y."""
    cases = [
        ("undo-parts", 4, _zero, _zero),
        ("undo-shift", 4, _zero, _constant(1.5)),
        ("undo-scale", 4, _constant(0.7), _zero),
        ("undo-both", 4, _constant(-0.4), _constant(3.0)),
        ("undo-network", 2, _waves, _bowl),
        ("undo-network", 4, _bowl, _waves),
        ("undo-network", 6, _waves, _bowl),
    ]
    for seed, (name, dim, log_scale, shift) in enumerate(cases):
        x = 1.5 * points(20, dim, seed=seed)
        y = _couple(x, log_scale, shift)
        got = run(uncouple, y, log_scale, shift, like=x)
        off = gap(got, x)
        expect(off < 1e-9 * (1 + gap(y, 0)), name, dim=dim, off=off)
    lesson.in_float32(uncouple, y, log_scale, shift, like=x)


def _log_det(layer, x):
    """log |det| of the Jacobian matrix of a layer at each row of x, by autograd: (batch,)."""
    x = x.clone().requires_grad_()
    columns = layer(x).unbind(1)
    rows = [torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in columns]
    return torch.linalg.slogdet(torch.stack(rows, dim=1))[1]


@check
def check_layer_log_density(layer_log_density):
    """layer_log_density(y, log_scale, shift) -> (batch,): log p(y) of couple(X_0), X_0 normal."""
    cases = [
        ("layer-shift", 4, _zero, _constant(1.5)),
        ("layer-scale", 4, _constant(0.7), _zero),
        ("layer-scale", 6, _constant(-0.4), _constant(2.0)),
        ("layer-network", 2, _waves, _bowl),
        ("layer-network", 4, _bowl, _waves),
        ("layer-network", 6, _waves, _bowl),
    ]
    for seed, (name, dim, log_scale, shift) in enumerate(cases):
        x = 1.2 * points(20, dim, seed=seed)
        y = _couple(x, log_scale, shift)
        got = run(layer_log_density, y, log_scale, shift, like=y[:, 0])
        noise = _log_normal(x)
        slope = _log_det(lambda x, a=log_scale, b=shift: _couple(x, a, b), x)
        within = 1e-8 * (1 + gap(noise, 0))
        if name != "layer-shift":
            found = {"got": got[0], "exact": (noise - slope)[0], "dim": dim}
            expect(gap(got, noise) > within, "layer-stretch", **found)
            expect(gap(got, noise + slope) > within, "layer-sign", says="layer-stretch", **found)
        agree(got, noise - slope, within, name, says="layer-stretch", dim=dim)
    lesson.in_float32(layer_log_density, y, log_scale, shift, like=y[:, 0])


def _coupling(log_scale, shift):
    """A layer as the three functions of the exercise."""
    return (
        lambda x: _couple(x, log_scale, shift),
        lambda y: _uncouple(y, log_scale, shift),
        lambda x: log_scale(x.chunk(2, dim=1)[0]).sum(1),
    )


def _stretching(scale, shift):
    return (
        lambda x: scale * x + shift,
        lambda y: (y - shift) / scale,
        lambda x: 0 * x[:, 0] + x.shape[1] * math.log(abs(scale)),
    )


SINH = (torch.sinh, torch.asinh, lambda x: torch.log(torch.cosh(x)).sum(1))


def _through(layers, x):
    """Where the layers carry x, and the exact log-density there."""
    log_p = _log_normal(x)
    for layer in layers:
        log_p, x = log_p - _log_det(layer[0], x), layer[0](x)
    return x, log_p


@check
def check_flow_log_density(flow_log_density):
    """flow_log_density(y, layers) -> (batch,).  layers: triples to_data, to_noise, log_slope."""
    stretched, bent = _stretching(2.0, 1.0), _coupling(lambda a: torch.sin(2 * a), _constant(0.5))
    grid = torch.cartesian_prod(*[torch.linspace(-15, 15, 301).double()] * 2)
    cases = [
        ("flow-one", [stretched], 2),
        ("flow-order", [stretched, _stretching(-0.5, 3.0)], 2),
        ("flow-place", [bent], 2),
        ("flow-layers", [bent, stretched, _coupling(_waves, _bowl)], 2),
        ("flow-layers", [SINH, _coupling(_waves, _bowl), bent, _coupling(_waves, _waves)], 4),
    ]
    for seed, (name, layers, dim) in enumerate(cases):
        x, exact = _through(layers, points(20, dim, seed=seed))
        got = run(flow_log_density, x, layers, like=exact)
        if name == "flow-place":
            mass = float(run(flow_log_density, grid, layers, like=grid[:, 0]).exp().sum()) * 0.1**2
            expect(abs(mass - 1) < 1e-3, name, mass=mass)
        within = 1e-7 * (1 + gap(exact, 0))
        says = "flow-at" if name == "flow-place" else "flow-one"
        more = {} if says == "flow-at" else {"count": len(layers)}
        agree(got, exact, within, name, says=says, **more)
    lesson.in_float32(flow_log_density, x, layers[2:], like=exact)
    return {"mass": mass}


def _passes(n, dim):
    """How often the lesson's log_likelihood_ode asks a network, or differentiates it."""
    count, x = 0, points(3, dim).requires_grad_()

    def net(x, t):
        nonlocal count
        count += 1
        return torch.sin(x) + t

    for i in range(n, 0, -1):
        middle = x - net(x, i / n) / (2 * n)
        u = net(middle, (i - 0.5) / n)
        for k in range(dim):
            torch.autograd.grad(u[:, k].sum(), middle, retain_graph=True)
            count += 1
        x = x - u / n
    return count


@check
def check_price(price):
    """price(n, dim) -> a number: network evaluations, and derivatives, of one training step."""
    for n, dim in ((1, 2), (8, 2), (3, 5), (5, 3), (7, 1), (2, 9)):
        got, exact = run(price, n, dim, like=float), _passes(n, dim)
        found = {"n": n, "dim": dim, "exact": exact, "got": got, "says": "price-calls"}
        expect(got not in (n, 2 * n), "price-calls", **found)
        expect(got != 2 * n * (1 + dim), "price-both", **found)
        expect(dim == 2 or got != 4 * n, "price-plane", **found)
        expect(abs(got - exact) < 1e-6, "price-count", **found)
    n, dim = 8, 28 * 28  # too many to count one by one: each number of the data adds as much
    one, two = _passes(n, 1), _passes(n, 2)
    got, exact = run(price, n, dim, like=float), one + (dim - 1) * (two - one)
    found = {"n": n, "dim": dim, "exact": exact, "got": got, "says": "price-calls"}
    expect(abs(got - exact) < 1e-6, "price-count", **found)
    return {"plane": run(price, 8, 2, like=float), "image": got}
