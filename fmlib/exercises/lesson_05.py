"""Checks of the exercises on lesson 05: couplings, paths, and what a prediction means."""

from itertools import permutations, product

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from fmlib.data import two_moons
from fmlib.exact import GaussianMixture
from fmlib.exercises import Lesson, double, gap, points
from fmlib.paths import VP, CondOT, Cosine, LinearVP

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _mixture():
    means = double([[-1.0, 0.5], [1.0, 0.3], [0.2, -1.2]])
    return GaussianMixture(means, stds=torch.tensor([0.3, 0.5, 0.2]).double())


@check
def check_velocity_from_v(velocity_from_v):
    """velocity_from_v(x, v, t, path) -> like x, on paths with alpha^2 + sigma^2 = 1."""
    cases = [(Cosine(), 0.3), (VP(), 0.3), (VP(), 0.8), (LinearVP(), 0.6)]
    for i, (path, time) in enumerate(cases):
        t, x, field = double(time), points(20, 2, seed=i), _mixture().along(path)
        x_1, x_0 = field.posterior_mean(x, t), -path.sigma(t) * field.score(x, t)
        v, u = path.alpha(t) * x_0 - path.sigma(t) * x_1, field.velocity(x, t)
        got = run(velocity_from_v, x, v, t, path, like=x)
        found = {"path": type(path).__name__, "t": t, "exact": u[0, 0]}
        expect(gap(got, v) > 1e-6, "v-same", **found)
        expect(gap(got, -u) > 1e-6, "v-sign", got=got[0, 0], **found)
        name = "v-constant" if i else "v-formula"
        expect(gap(got, u) < 1e-9, name, says="v-sign", got=got[0, 0], **found)
    path, v = Cosine(), points(20, 2, seed=1)  # any v: at t = 1 that of the target is 0
    for t in (double(0.0), double(1.0)):
        infinite = {"where": lesson.say("v-at", t=t), "instead": [("not-finite", "v-ends")]}
        got = run(velocity_from_v, x, v, t, path, like=x, **infinite)
        u = (path.alpha(t) * path.d_sigma(t) - path.sigma(t) * path.d_alpha(t)) * v
        agree(got, u, 1e-6, "v-ends", at=v, t=t)
    lesson.in_float32(velocity_from_v, x, v, double(0.5), Cosine(), like=x)


@check
def check_score_factor(score_factor):
    """score_factor(t, path) -> like t: what multiplies the score in the velocity."""
    t = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    near = double([0.999])
    late = float(run(score_factor, near, CondOT(), like=near))
    expect(abs(late) < 0.01, "factor-end", got=late)
    x = points(len(t), 2)
    for path in (Cosine(), VP(), CondOT()):  # on the last, two mistakes look alike
        t = 0.98 * t.flip(0)
        c = run(score_factor, t, path, like=t)[:, None]
        x_grad, field = x.clone().requires_grad_(), _mixture().along(path)
        (score,) = torch.autograd.grad(field.log_prob(x_grad, t).sum(), x_grad)
        rest = (path.d_alpha(t) / path.alpha(t))[:, None] * x
        u, got = field.velocity(x, t), rest + c * score
        found = {"path": type(path).__name__, "t": t[3], "exact": u[3, 0], "factor": c[3, 0]}
        expect(gap(rest - c * score, u) > 1e-6, "factor-sign", got=got[3, 0], **found)
        right = gap(got, u) < 1e-6
        expect(right, "factor-formula", says="factor-sign", got=got[3, 0], **found)
    lesson.in_float32(score_factor, t, CondOT(), like=t)
    told = {"early": (0.001, CondOT()), "first": (0.0, VP()), "last": (0.999, VP())}
    told = {
        name: run(score_factor, double(t), path, like=float) for name, (t, path) in told.items()
    }
    return told | {"late": late}


def _rows(x):
    return sorted(map(tuple, x.tolist()))


@check
def check_pair_by_plan(pair_by_plan):
    """pair_by_plan(x_0, x_1, generator) -> (x_0, x_1), re-paired."""

    def paired(x_0, x_1):
        return run(pair_by_plan, x_0, x_1, torch.Generator().manual_seed(0), like=(x_0, x_1))

    x_0, x_1 = points(64, 2), 1 + points(64, 2, seed=1)
    for name, side, x in zip(("noise", "data"), paired(x_0, x_1), (x_0, x_1), strict=True):
        missing = len(set(_rows(x)) - set(_rows(side)))
        expect(_rows(side) == _rows(x), "pair-once", side=name, missing=missing)
    for seed in range(8):
        x_0, x_1 = points(5, 2, seed=seed), points(5, 2, seed=100 + seed)
        a, b = paired(x_0, x_1)
        best = min(_square(x_0, x_1[list(p)]) for p in permutations(range(5)))
        expect(_square(a, b) < best + 1e-6, "pair-cost", exact=best, got=_square(a, b))
    paired(points(7, 3).float(), points(7, 3, seed=1).float())


@check
def check_missed_share(missed_share):
    """missed_share(n) -> a number: the mean share of n points that n draws with repeats miss."""

    def found(n):
        return run(missed_share, n, like=float)

    got = found(5)
    expect(0 <= got <= 1, "missed-share", got=got)
    for n in range(2, 6):
        got, draws = found(n), list(product(range(n), repeat=n))  # all of them, equally likely
        exact = sum(n - len(set(draw)) for draw in draws) / (n * len(draws))
        values = {"n": n, "count": len(draws), "exact": exact, "got": got}
        expect(abs(got - (1 - exact)) > 1e-9, "missed-come", **values)
        changes = abs(got - found(2 * n)) > 1e-9
        expect(changes, "missed-small", says="missed-come", **values)
        right = abs(got - exact) < 1e-9
        expect(right, "missed-formula", says="missed-come", **values)
    for n in (16, 256):
        exact = 1.0
        for _ in range(n):  # draw by draw
            exact -= exact / n
        agree(found(n), exact, 1e-9, "missed-formula", says="missed-many", n=n)
    return {"few": found(16), "many": found(256)}


@check
def check_share(share):
    """share() -> a number."""
    return lesson.predicted(share, 0, 1, "share-range")


def _shortest(x_0, x_1):
    """The best pairs, both sides in a new order."""
    rows, columns = linear_sum_assignment(torch.cdist(x_0, x_1).square().numpy())
    return x_0[rows[::-1].copy()], x_1[columns[::-1].copy()]


def _square(x_0, x_1):
    return float((x_0 - x_1).square().sum(1).mean())


def _pool(x):
    """A function that hands out the rows of x in order, n at a time."""
    at = 0

    def draw(n):
        nonlocal at
        at += n
        return x[torch.arange(at - n, at) % len(x)]

    return draw


def _on_the_moons(mean_square, total=1024):
    """The mean squares at n = 1, 16 and 256, all from the same points."""
    noise = points(total, 2).float()
    moons = two_moons(total, generator=torch.Generator().manual_seed(0))
    found, says = [], "length-unpaired"
    for n, count in ((1, total), (16, total // 16), (256, total // 256)):
        got = run(mean_square, _shortest, _pool(noise), _pool(moons), n, count, like=float)
        exact = np.mean([*map(lambda *p: _square(*_shortest(*p)), noise.split(n), moons.split(n))])
        agree(got, exact, 1e-3 * exact, "length-mean", says=says, n=n, count=count)
        found += [got]
    share = (found[0] - found[1]) / (found[0] - found[2])
    return dict(zip(("one", "few", "many", "share"), (*found, share), strict=True))


@check
def check_mean_square(mean_square):
    """mean_square(pair, draw_noise, draw_data, n, repeats) -> a number."""
    x_0, x_1 = points(20, 3), points(20, 3, seed=1)
    batches = list(zip(x_0.split(5), x_1.split(5), strict=True))
    best = [_square(*_shortest(*batch)) for batch in batches]
    got = run(mean_square, _shortest, _pool(x_0), _pool(x_1), 5, 4, like=float)
    found = {"says": "length-unpaired", "exact": np.mean(best), "got": got, "n": 5, "count": 4}

    def unlike(name, *others):
        for other in others:
            expect(abs(got - float(other)) > 1e-9, name, **found)

    half = [[_square(a, _shortest(a, b)[1]), _square(_shortest(a, b)[0], b)] for a, b in batches]
    unlike("length-unpaired", _square(x_0, x_1))
    unlike("length-both", *np.mean(half, axis=0))
    unlike("length-pooled", _square(*_shortest(x_0, x_1)))
    unlike("length-repeats", best[0], best[-1], sum(best))
    roots = torch.cat([(a - b).norm(dim=1) for a, b in (_shortest(*pair) for pair in batches)])
    unlike("length-square", roots.mean(), np.mean(best) ** 0.5, np.mean(np.sqrt(best)))
    expect(abs(got - np.mean(best)) < 1e-9, "length-mean", **found)
    return _on_the_moons(mean_square)


def _expect_derivatives(four, t, h=1e-5):
    inner = t[1:-1]
    rates, ahead, behind = four(inner)[2:], four(inner + h), four(inner - h)
    for i, (part, rate) in enumerate(zip(("alpha", "sigma"), rates, strict=True)):
        slope = (ahead[i] - behind[i]) / (2 * h)
        k = int((slope - rate).abs().argmax())
        right = gap(slope, rate) < 1e-4 * (1 + float(slope.abs().max()))
        found = {"t": inner[k], "part": part, "slope": slope[k], "rate": rate[k]}
        expect(right, "still-derivative", **found)


@check
def check_still_path(still_path):
    """still_path(t) -> alpha, sigma, d_alpha, d_sigma, each like t."""

    def four(t):
        return run(still_path, t, like=(t, t, t, t))

    t, h = torch.linspace(0, 1, 401, dtype=torch.float64), 1e-5
    alpha, sigma, d_alpha, d_sigma = four(t)
    for i, wanted in ((0, (0, 1)), (-1, (1, 0))):
        right = max(abs(alpha[i] - wanted[0]), abs(sigma[i] - wanted[1])) < 1e-9
        found = {"t": t[i], "wanted": wanted, "alpha": alpha[i], "sigma": sigma[i]}
        expect(right, "still-ends", **found)
    agree(alpha + sigma, 1, 1e-9, "still-known", at=t)
    _expect_derivatives(four, t)
    slopes = (four(t[:1] + h)[0] / h, four(t[-1:] - h)[1] / h)
    speed = max(gap(s, 0) for s in (*slopes, d_alpha[[0, -1]], d_sigma[[0, -1]]))
    expect(speed < 1e-3, "still-rest", speed=speed)
    back = float(alpha.diff().min())
    expect(back > -1e-9, "still-forward", back=-back)
    four(torch.tensor(0.5))
    lesson.in_float32(lambda t: torch.stack(still_path(t), 1), t, like=torch.stack([t] * 4, 1))


def _linear_truth(path, t, rho):
    """E[X_0 | x] = noise @ x and the score = -precision @ x, from the joint covariance."""
    mix = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    data = torch.eye(3, dtype=torch.float64)  # of (X_1 first, X_1 second, noise)
    data[0, 1] = data[1, 0] = rho
    joint = mix @ data @ mix.T  # of (X_0, X_1)
    both = torch.eye(2, dtype=torch.float64)
    now = torch.cat([path.sigma(t) * both, path.alpha(t) * both], dim=1)
    precision = torch.linalg.inv(now @ joint @ now.T)
    return (joint @ now.T)[:2] @ precision, precision


CASES = [(CondOT(), 0.4), (Cosine(), 0.3), (VP(), 0.6)]


@check
def check_masked_noise(masked_noise):
    """masked_noise(x, t, path, rho) -> like x."""
    for rho, unknown in ((0.0, "noise-unknown"), (0.8, "noise-rho"), (-0.5, "noise-rho")):
        for path, time in CASES:
            t, x = double(time), points(20, 2, seed=int(10 * time + 20 * rho))
            got = run(masked_noise, x, t, path, rho, like=x)
            exact = x @ _linear_truth(path, t, rho)[0].T
            found = {"says": "noise-known", "path": type(path).__name__, "t": t, "rho": rho}
            agree(got[:, 0], exact[:, 0], 1e-9, "noise-known", i=1, **found)
            agree(got[:, 1], exact[:, 1], 1e-9, unknown, i=2, **found)
    lesson.in_float32(masked_noise, x, double(0.5), CondOT(), 0.5, like=x)


@check
def check_masked_score(masked_score):
    """masked_score(x, t, path, rho) -> like x."""
    for rho in (0.0, 0.8, -0.5):
        for path, time in CASES:
            t, x = double(time), points(20, 2, seed=20 + int(10 * time + 20 * rho))
            got = run(masked_score, x, t, path, rho, like=x)
            noise, precision = _linear_truth(path, t, rho)
            exact, identity = -x @ precision, -x @ noise.T / path.sigma(t)
            found = {"says": "gradient-unknown", "path": type(path).__name__, "t": t, "rho": rho}
            agree(got[:, 1], exact[:, 1], 1e-6, "gradient-unknown", i=2, **found)
            trap = gap(got[:, 0], identity[:, 0]) < 1e-6
            name = "gradient-identity" if trap else "gradient-known"
            agree(got[:, 0], exact[:, 0], 1e-6, name, i=1, **found)
    lesson.in_float32(masked_score, x, double(0.5), CondOT(), 0.5, like=x)


def _masked_mixture(path, t, x):
    """Score and velocity where x_1 is a mixture of Gaussians and its first number is known."""
    target = _mixture()
    alpha, sigma, d_alpha, d_sigma = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
    known, s = alpha + sigma, target.stds
    variance = torch.stack([(known * s) ** 2, (alpha * s) ** 2 + sigma**2], dim=1)  # (3, 2)
    middle = target.means * torch.stack([known, alpha])
    x = x.clone().requires_grad_()
    gaps = x[:, None] - middle
    log_joint = (-0.5 * gaps**2 / variance - 0.5 * variance.log()).sum(2)
    (score,) = torch.autograd.grad(log_joint.logsumexp(1).sum(), x)
    rate = torch.stack(
        [(d_alpha + d_sigma) * known * s**2, d_alpha * alpha * s**2 + d_sigma * sigma]
    )
    moves = target.means * torch.stack([d_alpha + d_sigma, d_alpha]) + rate.T * gaps / variance
    return score, (log_joint.softmax(1)[:, :, None] * moves).sum(1).detach()


@check
def check_masked_velocity(masked_velocity):
    """masked_velocity(x, score, t, path) -> like x."""
    for path, time in (*CASES, (VP(), 0.9)):
        t, x = double(time), points(20, 2, seed=int(10 * time))
        score, exact = _masked_mixture(path, t, x)
        got = run(masked_velocity, x, score, t, path, like=x)
        found = {"says": "flow-known", "path": type(path).__name__, "t": t}
        for i, name in enumerate(("flow-known", "flow-unknown")):
            agree(got[:, i], exact[:, i], 1e-6, name, i=i + 1, **found)
    lesson.in_float32(masked_velocity, x, score, double(0.5), CondOT(), like=x)
