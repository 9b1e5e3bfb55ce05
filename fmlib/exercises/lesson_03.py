"""Checks of the exercises on lesson 03: velocities at a place, posteriors, fields of one path."""

import math
from contextlib import contextmanager

import torch

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.exercises import CheckFailed, Hints, check, gap, points, run
from fmlib.paths import CondOT
from fmlib.solvers import solve

HINTS = Hints(
    {
        "walk-sign": "a walker at the origin is on its way to x_1. Look at the sign of each "
        "derivative, and of each term that they multiply.",
        "walk-start": "put t = 0 into the derivative of the walk: which of its two terms is left?",
        "walk-factor": "differentiate sin(pi t / 2) once more, slowly. The chain rule?",
        "walk-place": "which X_0 did you put in: where the walker is now, or where it started?",
        "walk-rows": "print t.shape and x.shape. Which axis of x does t run along? fmlib.shapes "
        "has a function for this.",
        "tip-start": "for a single data point every arrow ends at this point. Where does the arrow "
        "start, and which way does it go?",
        "tip-time": "a velocity is not yet a way. How much time is left at t?",
        "tip-flow": "nothing is to be solved. How often do you ask for the velocity, and where?",
        "gauss-start": "at t = 0 the place says nothing about x_1, so all of them count as in p_1.",
        "gauss-centre": "on average X_t is t m. What does a walker who is there know about x_1?",
        "gauss-point": "for a tiny a the target is one point, and (3.5) must come out. Which of "
        "your terms has to vanish with a?",
        "gauss-between": "X_t is a sum of two independent terms: what adds up, and what is its "
        "variance? Which values of x_1 does a place x favour, and how strongly?",
        "underflow": "print torch.exp(torch.tensor(-1000.0)). What is divided by what, if all "
        "densities at a place are like this?",
        "which-axis": "over which axis do the weights have to add up to one?",
        "which-sum": "these are probabilities of components, given the place. What stands below "
        "the line in (3.7)?",
        "which-equal": "components of one width: (3.7) with the density of X_t given the "
        "component. What are its centre and its variance?",
        "which-start": "at t = 0 nobody has moved yet. Whose width do you use: that of the data, "
        "or that of X_t?",
        "which-norm": "what cancels above and below the line in (3.7) if all widths agree? Does it "
        "still?",
        "which-power": "the factor in front of the exponential in (3.2): which power of the width "
        "makes the density integrate to one, in the plane?",
        "prediction-range": "a multiple of the right spread: 1 if nothing changes, and never below "
        "0. No particle is thrown far away.",
        "power-one": "with power 1 this is the marginal velocity (3.8). Which mean of which "
        "velocities is it?",
        "power-zero": "with power 0 all weights are equal, and this is the field to the mean of "
        "the data. What do your weights add up to?",
        "power-half": "what does the power act on: a weight before it is normalised, after, or a "
        "mixture of two sets of weights?",
        "std-one": "with power 1 it is the field of the lesson. From which noise does that start?",
        "std-wide": "a power below 1 makes the weights more alike. Does more noise do so, or less?",
        "std-square": "write (3.2) for noise of width s. Where does s stand in the exponent, "
        "and where does the power?",
        "turned-none": "at the end, where is each particle, and where should it be? How far round "
        "has it gone?",
        "turned-path": "what may be added to a field without a change of the density at any time? "
        "Lesson 03 names it, below (3.9).",
        "turned-angle": "the particles go round. At which speed, at each time? Add up the angle.",
        "growth-end": "nearly right. Up to which time do the points run, and in how many steps? A "
        "Gaussian target has a density at t = 1, too.",
        "growth-plain": "without a swirl: divide by the size that the flow itself would give these "
        "very points.",
        "growth-method": "which method made these numbers? The exercise is about Euler's.",
        "growth-centre": "nearly right. From where do you measure the distances? The points that "
        "were drawn do not have the origin as their mean.",
        "growth-swirl": "what does c multiply? The score of N(0, v I) at x has a length that "
        "changes with the time.",
    }
)
expect = HINTS.expect
PATH = CondOT()
CLOSE = 1e-5  # a float32 constant or a difference quotient is right, too


@contextmanager
def _densities():
    """For weights made of densities: NaN most likely means that all of them are 0."""
    try:
        yield
    except CheckFailed as error:
        found = str(error).splitlines()[0].removeprefix("✗ ")
        expect(error.name != "not-finite", "underflow", found)
        raise


@check
def check_cosine_velocity(cosine_velocity):
    """cosine_velocity(x, x_1, t) -> like x, for t () or (batch,)."""
    x, x_1 = points(6, 2), 1.5 * points(6, 2, seed=1)
    t = torch.tensor(0.3, dtype=x.dtype)
    way = run(cosine_velocity, torch.zeros_like(x), x_1, t, like=x)
    found = "at the origin, at t = 0.3, the velocity does not point to x_1"
    expect(((way * x_1).sum(1) > 0).all(), "walk-sign", found)
    u = run(cosine_velocity, x, x_1, torch.zeros_like(t), like=x)
    aside = gap(u[:, 0] * x_1[:, 1], u[:, 1] * x_1[:, 0])
    expect(aside < CLOSE, "walk-start", "at t = 0 the velocity is no multiple of x_1")
    ratio = u[0, 0] / x_1[0, 0]
    found = f"at t = 0 the velocity is {ratio:.3f} x_1"
    expect(gap(u, 0.5 * math.pi * x_1) < CLOSE, "walk-factor", found)
    times = torch.tensor([0.3, 0.8], dtype=x.dtype)
    for time in times:
        s = time.clone().requires_grad_()
        walk = torch.sin(0.5 * math.pi * s) * x_1 + torch.cos(0.5 * math.pi * s) * x
        exact = [torch.autograd.grad(walk[0, i], s, retain_graph=True)[0] for i in (0, 1)]
        got = run(cosine_velocity, walk.detach(), x_1, time, like=x)[0]
        found = f"a walker from ({x[0, 0]:.2f}, {x[0, 1]:.2f}) to ({x_1[0, 0]:.2f}, "
        found = f"{found}{x_1[0, 1]:.2f}) has at t = {time:g} the velocity ({exact[0]:.3f}, "
        found = f"{found}{exact[1]:.3f}), got ({got[0]:.3f}, {got[1]:.3f})"
        expect(gap(got, torch.stack(exact)) < CLOSE, "walk-place", found)
    pair = run(cosine_velocity, x[:2], x_1[:2], times, like=x[:2])
    alone = [run(cosine_velocity, x[:2], x_1[:2], time, like=x[:2]) for time in times]
    alone = torch.stack([alone[0][0], alone[1][1]])
    found = "with times (0.3, 0.8) for two points they do not move as each one does alone"
    expect(gap(pair, alone) < CLOSE, "walk-rows", found)
    few = points(5, 2, dtype=torch.float32)
    run(cosine_velocity, few, few + 1, torch.linspace(0, 0.9, 5), like=few)
    return "cosine_velocity: the derivative of every walk, at each one's own time"


@check
def check_arrow_tip(arrow_tip):
    """arrow_tip(velocity, x, t) -> like x."""
    x, one = points(20, 2), EmpiricalTarget(torch.tensor([[1.5, -0.5]], dtype=torch.float64))
    several = GaussianMixture(2 * points(4, 2, seed=1), stds=0.3)

    def tip(target, t, x=x):
        return run(arrow_tip, target.along(PATH).velocity, x, t, like=x)

    for t, name in ((0.0, "tip-start"), (0.6, "tip-time")):
        got = tip(one, t)
        found = f"the data are the one point (1.5, -0.5); at t = {t:g} a tip is at "
        found = f"{found}({got[0, 0]:.3f}, {got[0, 1]:.3f})"
        expect(gap(got, one.means) < 1e-2, name, found)
    for t in (0.2, 0.5, 0.9):
        off = gap(tip(several, t), several.along(PATH).posterior_mean(x, t))
        found = f"for four clusters, at t = {t:g}, the tip misses E[X_1 | X_t = x] by {off:.2g}"
        expect(off < CLOSE, "tip-flow", found)
    tip(several, 0.5, points(5, 2, dtype=torch.float32))
    return "arrow_tip: the mean of the data given x, for one point and for four clusters"


def _gaussian(m, a):
    return GaussianMixture(torch.tensor([[m]], dtype=torch.float64), stds=a)


@check
def check_gaussian_velocity(gaussian_velocity):
    """gaussian_velocity(x, t, m, a) -> like x, (batch,)."""
    x, m, a = points(30), 0.8, 1.5

    def off(x, t, m, a, exact):
        got = run(gaussian_velocity, x, t, m, a, like=x)
        found = f"for m = {m:g}, a = {a:g}, at t = {t:g} and x = {x[0]:.3f} the velocity is"
        return gap(got, exact), f"{found} {float((exact + 0 * x)[0]):.3f}, got {got[0]:.3f}"

    miss, found = off(x, 0.0, m, a, m - x)
    expect(miss < CLOSE, "gauss-start", found)
    miss, found = off(torch.full_like(x, 0.6 * m), 0.6, m, a, m)
    expect(miss < CLOSE, "gauss-centre", found)
    miss, found = off(x, 0.5, m, 1e-6, (m - x) / 0.5)
    expect(miss < 1e-4, "gauss-point", found)
    for t, m, a in ((0.3, 0.8, 1.5), (0.9, 0.8, 1.5), (0.5, -2.0, 0.4), (0.7, 0.0, 2.5)):
        miss, found = off(x, t, m, a, _gaussian(m, a).along(PATH).velocity(x[:, None], t)[:, 0])
        expect(miss < CLOSE, "gauss-between", found)
    run(gaussian_velocity, x.float(), 0.5, m, a, like=x.float())
    return "gaussian_velocity: agrees with fmlib.exact for four targets, and with (3.5) as a -> 0"


@check
def check_component_weights(component_weights):
    """component_weights(x, t, means, stds) -> (batch, K)."""
    means, x = 1.5 * points(3, 2, seed=2), 2 * points(20, 2)
    same = x.new_full((3,), 0.4)
    stds = torch.tensor([0.2, 0.6, 1.5], dtype=x.dtype)
    like = x.new_empty(20, 3)
    weights = run(component_weights, x, 0.6, means, same, like=like)
    found = f"the weights of a place add up to {weights[0].sum():.3f}"
    across = gap(weights.sum(0), 1.0)
    expect(across > CLOSE, "which-axis", f"{found}, those of a component to 1")
    expect(gap(weights.sum(1), 1.0) < CLOSE, "which-sum", found)
    for t in (0.3, 0.6, 0.999):
        with _densities():
            got = run(component_weights, x, t, means, same, like=like)
        off = gap(got, GaussianMixture(means, same).along(PATH).posterior_weights(x, t))
        found = f"for three components of one width, at t = {t:g}, a weight is off by {off:.2g}"
        expect(off < CLOSE, "which-equal", found)
    got = run(component_weights, x, 0.0, means, stds, like=like)
    found = f"at t = 0 the weights of a place are {[round(float(w), 3) for w in got[0]]}"
    expect(gap(got, 1 / 3) < CLOSE, "which-start", found)
    t, two = 0.8, x.new_zeros(2, 2)  # both components are centred at the origin
    got = run(component_weights, x.new_zeros(1, 2), t, two, stds[[0, 2]], like=x.new_empty(1, 2))
    variance = (t * stds) ** 2 + (1 - t) ** 2
    ratio, exact = float(got[0, 0] / got[0, 1]), float(variance[2] / variance[0])
    found = "of two components around the origin, of standard deviation 0.2 and 1.5, the narrow"
    found = f"{found} one is {exact:.1f} times as likely there at t = 0.8, you say {ratio:.1f}"
    expect(abs(ratio - 1) > 1e-6, "which-norm", found)
    expect(abs(ratio / exact - 1) < CLOSE, "which-power", found)
    exact = GaussianMixture(means, stds).along(PATH).posterior_weights(x, 0.7)
    off = gap(run(component_weights, x, 0.7, means, stds, like=like), exact)
    found = f"for three widths, at t = 0.7, a weight is off by {off:.2g}"
    expect(off < CLOSE, "which-power", found)
    with _densities():
        got = run(component_weights, x, 0.99, means, 0 * stds, like=like)
    off = gap(got, EmpiricalTarget(means).along(PATH).posterior_weights(x, 0.99))
    found = f"for data points, at t = 0.99, a weight is off by {off:.2g}"
    expect(off < CLOSE, "which-equal", found)
    run(component_weights, x.float(), 0.5, means.float(), stds.float(), like=like.float())
    return "component_weights: agrees with fmlib.exact, for one width and for three"


@check
def check_prediction(prediction):
    """prediction() -> a number."""
    p = run(prediction, like=float)
    expect(0 <= p <= 4, "prediction-range", f"{p:g} times the right spread is not to be expected")
    return f"prediction: {p:g} times the right spread. Now run it"


def _tempered(x, t, x_1, power):
    """The field of noise N(0, I / power): its weights are those of the power, in closed form."""
    square = (x[:, None] - t * x_1).square().sum(2)
    weights = (-0.5 * power * square / (1 - t) ** 2).softmax(1)
    return (weights @ x_1 - x) / (1 - t)


@check
def check_tempered_velocity(tempered_velocity):
    """tempered_velocity(x, t, x_1, power) -> like x."""
    x, x_1 = points(20, 2), 1.5 * points(7, 2, seed=1)

    def off(power, exact):
        misses = []
        for t in (0.2, 0.7, 0.99):
            with _densities():
                got = run(tempered_velocity, x, t, x_1, power, like=x)
            misses.append(gap(got, exact(t)) * (1 - t))
        return max(misses), f"with power {power:g} the velocity is off by {max(misses):.2g}"

    data = EmpiricalTarget(x_1)
    miss, found = off(1.0, lambda t: data.along(PATH).velocity(x, t))
    expect(miss < CLOSE, "power-one", found)
    miss, found = off(0.0, lambda t: (x_1.mean(0) - x) / (1 - t))
    expect(miss < CLOSE, "power-zero", found)
    for power in (0.5, 3.0):
        miss, found = off(power, lambda t, power=power: _tempered(x, t, x_1, power))
        expect(miss < CLOSE, "power-half", found)
    run(tempered_velocity, x.float(), 0.5, x_1.float(), 0.5, like=x.float())
    x_0, cloud = points(200, 2, seed=4), 1.5 * points(200, 2, seed=3)
    sizes = {}
    for power in (1.0, 0.5):

        def velocity(x, t, power=power):
            return run(tempered_velocity, x, t, cloud, power, like=x)

        end = solve(velocity, x_0, 40, t_end=0.99, keep="end").end
        sizes[power] = float(end.std(0).norm() / cloud.std(0).norm())
    found = f"{sizes[1.0]:.1f} times the right spread with power 1, {sizes[0.5]:.1f} with 1/2"
    return f"tempered_velocity: right for the powers 0, 1/2, 1, 3. A round cloud: {found}"


def _residual(density, velocity, x, t, h=1e-4):
    """Largest violation of (3.9) at the points x, over the largest rate of change there."""
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    flows = 0
    for axis in (0, 1):
        step = torch.zeros(2, dtype=x.dtype)
        step[axis] = h
        ahead, behind = (density(p, t) * velocity(p, t)[:, axis] for p in (x + step, x - step))
        flows = flows + (ahead - behind) / (2 * h)
    return float((rate + flows).abs().max() / rate.abs().max())


@check
def check_right_std(right_std):
    """right_std(power) -> a number."""
    x, x_1 = points(200, 2), 1.5 * points(7, 2, seed=1)

    def residual(power, s):
        def density(x, t):
            variance = ((1 - t) * s) ** 2
            square = (x[:, None] - t * x_1).square().sum(2)
            return (torch.exp(-0.5 * square / variance) / (2 * math.pi * variance)).mean(1)

        return _residual(density, lambda x, t: _tempered(x, t, x_1, power), x, 0.5)

    s = run(right_std, 1.0, like=float)
    expect(abs(s - 1) < 1e-6, "std-one", f"with power 1 the noise has the width 1, you say {s:g}")
    for power in (0.5, 0.25, 3.0):
        s = run(right_std, power, like=float)
        found = f"for power {power:g} you give noise of the width {s:.3g}"
        expect(s > 0 and (s > 1) == (power < 1), "std-wide", found)
        relative = residual(power, s)
        found = f"{found}; (3.9) is then violated by {relative:.2g} of the largest rate of change"
        expect(relative < 1e-5, "std-square", found)
    return "right_std: the continuity equation holds for the powers 1/4, 1/2 and 3"


def _variance(t, a):
    return (a * t) ** 2 + (1 - t) ** 2


@check
def check_turned_velocity(turned_velocity):
    """turned_velocity(x, t, a) -> like x."""
    x = points(40, 2)
    for a in (1.5, 0.5):

        def density(x, t, a=a):
            v = _variance(t, a)
            return torch.exp(-0.5 * x.square().sum(1) / v) / (2 * math.pi * v)

        def velocity(x, t, a=a):
            return run(turned_velocity, x, t, a, like=x)

        for t in (0.25, 0.6, 0.9):
            time = torch.tensor(t, dtype=x.dtype)
            relative = _residual(density, velocity, x, time)
            found = f"for a = {a:g}, at t = {t:g}, (3.9) is violated by {relative:.2g} of the"
            found = f"{found} largest rate of change"
            expect(relative < 1e-5, "turned-path", found)
        end = solve(velocity, x, 400, method="rk4", keep="end").end
        i = int((end + a * x).norm(dim=1).argmax())  # the one that misses by most
        places = [f"({p[0]:.2f}, {p[1]:.2f})" for p in (x[i], end[i], -a * x[i])]
        found = f"for a = {a:g} the particle from {places[0]} ends at {places[1]}, and should at "
        found = f"{found}{places[2]}"
        expect(gap(end, a * x) > 3e-2, "turned-none", found)
        expect(gap(end, -a * x) < 3e-2, "turned-angle", found)
    velocity(x.float(), torch.tensor(0.5))
    return "turned_velocity: the densities of the path at every t, and all particles change sides"


def _growth(n, c, a, heun=False):
    """What n Euler steps multiply a distance by, over what the flow does: |1 + h (k + i c / v)|."""

    def rate(t):
        v = _variance(t, a)
        return torch.complex(((a**2 + 1) * t - 1) / v, -c / v)

    t = torch.arange(n, dtype=torch.float64) / n
    k = rate(t)
    factors = 1 + 0.5 / n * (k + rate(t + 1 / n) * (1 + k / n)) if heun else 1 + k / n
    return float(factors.abs().log().sum().exp() / a)


@check
def check_growth(growth):
    """growth(x, n, c, a) -> a number."""
    x = 3 * points(30, 2)

    def got(n, c, a):
        value = run(growth, x, n, c, a, like=float)
        exact, heun = _growth(n, c, a), _growth(n, c, a, heun=True)
        found = f"for c = {c:g}, a = {a:g} and {n} steps it is {exact:.4f}, you find {value:.4f}"
        return abs(value / exact - 1), abs(value / heun - 1), found

    for n, c, a, name in ((20, 0.0, 1.5, "growth-plain"), (50, 6.0, 1.5, "growth-swirl")):
        miss, from_heun, found = got(n, c, a)
        expect(from_heun > CLOSE, "growth-method", f"{n} steps come out as Heun's do")
        nearly = "growth-end" if c == 0 else "growth-centre"
        expect(miss < CLOSE, nearly if miss < 0.02 else name, found)
    for n, c, a in ((30, -2.0, 0.5), (100, 20.0, 1.0)):
        miss, _, found = got(n, c, a)
        expect(miss < CLOSE, "growth-swirl", found)
    sizes = ", ".join(f"{_growth(100, c, 1.5):.2f}" for c in (0, 5, 10, 20))
    return f"growth: with c = 0, 5, 10, 20, a = 1.5 and 100 steps {sizes} times the right size"
