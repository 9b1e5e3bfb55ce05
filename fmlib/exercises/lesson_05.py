"""Checks of the exercises on lesson 05: couplings, paths, and what a prediction means."""

from itertools import permutations, product

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from fmlib.data import two_moons
from fmlib.exact import GaussianMixture
from fmlib.exercises import Hints, check, gap, points, run
from fmlib.paths import VP, CondOT, Cosine, LinearVP

HINTS = Hints(
    {
        "v-same": "their v is not a velocity. Put X_0 = noise, X_1 = data into (5.2) beside it.",
        "v-sign": "where the noise is large, v points towards the noise. Which way does a flow "
        "go that ends in data?",
        "v-formula": "two equations, one for x and one for v, in the two unknowns noise and data. "
        "Put what you find back into both.",
        "v-constant": "is the rate at which alpha and sigma change the same at every t, on every "
        "path?",
        "v-ends": "which of alpha and sigma is 0 there, and does your formula divide by it, openly "
        "or behind a clamp?",
        "factor-end": "to get the noise out of the score, do you multiply by sigma or divide? And "
        "what does (5.5) multiply by?",
        "factor-sign": "the noise points away from the data. Which way does the score point?",
        "factor-formula": "start from (5.5), replace the noise, and collect what stands before "
        "the score. Which schedule carries the dot in each term?",
        "pair-two": "the function returns two tensors, the noise and the data of each pair.",
        "pair-once": "count how often each row of x_0 and x_1 comes back. Which line decides that?",
        "pair-cost": "is it the sum of the squares in (5.1) that is smallest, and are row i of the "
        "first and row i of the second result one pair?",
        "missed-share": "a part of the n points, between none and all of them, not how many.",
        "missed-come": "is it the points left out that you count, or those that come back?",
        "missed-small": "does your number depend on n? Take two points and list by hand what two "
        "draws can be.",
        "missed-formula": "follow one point. It may be missed by one draw and come in another.",
        "share-range": "0 means no part of the way, 1 all of it.",
        "length-unpaired": "which points do you measure between, those that you drew or those that "
        "pair returned?",
        "length-both": "pair may put either of the two in another order.",
        "length-pooled": "how many points does pair see at a time?",
        "length-repeats": "how many batches enter the mean, and with the same weight?",
        "length-square": "the square of a length, no root: compare with (5.1).",
        "length-mean": "what do you sum over, and what do you average over? One pair has one "
        "squared length.",
        "still-four": "four tensors in this order: alpha, sigma and their derivatives.",
        "still-ends": "which of the two belongs to the data? At t = 0 there is only noise.",
        "still-known": "what multiplies a coordinate that x_0 and x_1 have in common?",
        "still-derivative": "differentiate by t, and mind the inner derivative and its sign.",
        "still-rest": "look at the slope of your alpha at t = 0 and at t = 1.",
        "still-forward": "plot alpha against t: does it ever turn back?",
        "noise-known": "in this coordinate x_0 and x_1 are one number. What is x_t then?",
        "noise-unknown": "take rho = 0: a Gaussian signal times alpha plus a Gaussian noise times "
        "sigma. How is the sum shared out between the two?",
        "noise-rho": "if you know one coordinate of x_1, what mean and what variance is left in "
        "the other?",
        "gradient-unknown": "what variances and what covariance has X_t? Write down log p_t(x) and "
        "differentiate, or let autograd do it.",
        "gradient-identity": "where in the proof of the lesson was it needed that x_0 is drawn "
        "independently of x_1? Here the source depends on the data.",
        "gradient-known": "in how many factors of p_t(x) does this coordinate appear?",
        "flow-known": "how does this coordinate move? (5.2), where X_0 and X_1 are one number; and "
        "x is what it has become, not what it was.",
        "flow-unknown": "what did you see in this coordinate when you printed the two sides? Mind "
        "the sign and the power of sigma.",
    }
)
expect = HINTS.expect


def _t(value):
    return torch.tensor(value, dtype=torch.float64)


def _mixture():
    means = torch.tensor([[-1.0, 0.5], [1.0, 0.3], [0.2, -1.2]], dtype=torch.float64)
    return GaussianMixture(means, stds=torch.tensor([0.3, 0.5, 0.2]).double())


@check
def check_velocity_from_v(velocity_from_v):
    """velocity_from_v(x, v, t, path) -> like x, on paths with alpha^2 + sigma^2 = 1."""
    target, x = _mixture(), points(20, 2)

    def both(path, time):
        t = _t(time)
        x_1 = target.along(path).posterior_mean(x, t)
        x_0 = -path.sigma(t) * target.along(path).score(x, t)
        v = path.alpha(t) * x_0 - path.sigma(t) * x_1
        return run(velocity_from_v, x, v, t, path, like=x), target.along(path).velocity(x, t), v

    got, u, v = both(Cosine(), 0.3)
    found = f"on the cosine path at t = 0.3 the velocity is {u[0, 0]:.3f}, got {got[0, 0]:.3f}"
    expect(gap(got, v) > 1e-6, "v-same", f"{found}, which is v itself")
    expect(gap(got, -u) > 1e-6, "v-sign", found)
    expect(gap(got, u) < 1e-9, "v-formula", found)
    for path, time in ((VP(), 0.3), (VP(), 0.8), (LinearVP(), 0.6)):
        got, u, _ = both(path, time)
        found = f"on {type(path).__name__} at t = {time:g} the velocity is {u[0, 0]:.3f}"
        expect(gap(got, u) < 1e-9, "v-constant", f"{found}, got {got[0, 0]:.3f}")
    path, v = Cosine(), points(20, 2, seed=1)  # any v: at t = 1 that of the target is 0
    for time in (0.0, 1.0):
        t = _t(time)
        at = f"on the cosine path at t = {time:g}"
        got = run(velocity_from_v, x, v, t, path)
        finite = not isinstance(got, torch.Tensor) or bool(got.isfinite().all())
        expect(finite, "v-ends", f"{at} some of the numbers returned are NaN or infinite")
        got = run(velocity_from_v, x, v, t, path, like=x)
        u = (path.alpha(t) * path.d_sigma(t) - path.sigma(t) * path.d_alpha(t)) * v
        found = f"{at}, for v = {v[0, 0]:.3f}, the velocity is {u[0, 0]:.3f}, got {got[0, 0]:.3f}"
        expect(gap(got, u) < 1e-6, "v-ends", found)
    run(velocity_from_v, x.float(), v.float(), torch.tensor(0.5), Cosine(), like=x.float())
    return "velocity_from_v: exact on Cosine, VP and LinearVP, also where alpha or sigma is 0"


@check
def check_score_factor(score_factor):
    """score_factor(t, path) -> like t: what multiplies the score in the velocity."""
    t = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    near = _t([0.999])
    got = float(run(score_factor, near, CondOT(), like=near))
    found = f"on CondOT at t = 0.999, where nearly no noise is left, the factor is {got:.3g}"
    expect(abs(got) < 0.01, "factor-end", found)
    target, x = _mixture(), points(len(t), 2)
    for path in (Cosine(), VP(), CondOT()):  # on the last, two mistakes look alike
        name = type(path).__name__
        c = run(score_factor, t, path, like=t)[:, None]
        x_grad = x.clone().requires_grad_()
        (score,) = torch.autograd.grad(target.along(path).log_prob(x_grad, t).sum(), x_grad)
        rest = (path.d_alpha(t) / path.alpha(t))[:, None] * x
        u = target.along(path).velocity(x, t)
        found = f"on {name} at t = {t[3]:.2f} and one x the velocity is {u[3, 0]:.3f}, but"
        found = f"{found} (alpha'/alpha) x + {c[3, 0]:.3f} score = {(rest + c * score)[3, 0]:.3f}"
        expect(gap(rest - c * score, u) > 1e-6, "factor-sign", found)
        expect(gap(rest + c * score, u) < 1e-6, "factor-formula", found)
    first, last = (float(run(score_factor, _t([at]), VP())) for at in (0.0, 0.999))
    early = float(run(score_factor, _t([0.001]), CondOT()))
    one = torch.tensor(0.5)
    run(score_factor, one, CondOT(), like=one)
    return (
        "score_factor: velocity and score of three paths agree; on CondOT it is "
        f"{early:.0f} at t = 0.001 and {got:.2g} at 0.999, on VP {first:.2g} at 0 and {last:.2g} "
        "at 0.999"
    )


def _rows(x):
    return sorted(map(tuple, x.tolist()))


@check
def check_pair_by_plan(pair_by_plan):
    """pair_by_plan(x_0, x_1, generator) -> (x_0, x_1), re-paired."""

    def paired(x_0, x_1):
        result = run(pair_by_plan, x_0, x_1, torch.Generator().manual_seed(0))
        two = isinstance(result, (tuple, list)) and len(result) == 2
        two = two and all(isinstance(side, torch.Tensor) for side in result)
        expect(two, "pair-two", f"two tensors are needed, got {type(result).__name__}")
        for side, x in zip(result, (x_0, x_1), strict=True):
            right = side.shape == x.shape and side.dtype == x.dtype
            found = (
                f"shape {tuple(side.shape)} and {side.dtype}, for {tuple(x.shape)} and {x.dtype}"
            )
            expect(right, "pair-two", f"one of the two has {found}")
        return result

    x_0, x_1 = points(64, 2), 1 + points(64, 2, seed=1)
    for name, side, x in zip(("noise", "data"), paired(x_0, x_1), (x_0, x_1), strict=True):
        missing = len(set(_rows(x)) - set(_rows(side)))
        found = f"of 64 {name} points {missing} do not come back, and others come twice or more"
        expect(_rows(side) == _rows(x), "pair-once", found)
    for seed in range(8):
        x_0, x_1 = points(5, 2, seed=seed), points(5, 2, seed=100 + seed)
        a, b = paired(x_0, x_1)
        best = min(float((x_0 - x_1[list(p)]).square().sum()) for p in permutations(range(5)))
        got = float((a - b).square().sum())
        found = f"of the 120 ways to pair 5 points the best has the sum {best:.3f}, yours {got:.3f}"
        expect(got < best + 1e-6, "pair-cost", found)
    paired(points(7, 3, dtype=torch.float32), points(7, 3, seed=1, dtype=torch.float32))
    return "pair_by_plan: every point once and only once, and no other pairing of 5 is shorter"


@check
def check_missed_share(missed_share):
    """missed_share(n) -> a number: the mean share of n points that n draws with repeats miss."""
    value = run(missed_share, 5, like=float)
    expect(0 <= value <= 1, "missed-share", f"of 5 points a share of {value:.3f} is not possible")
    for n in range(2, 6):
        value = run(missed_share, n, like=float)
        draws = list(product(range(n), repeat=n))  # all of them, equally likely
        exact = sum(n - len(set(draw)) for draw in draws) / (n * len(draws))
        found = f"of {n} points the {len(draws)} possible batches miss {exact:.4f} on average"
        found = f"{found}, got {value:.4f}"
        expect(abs(value - (1 - exact)) > 1e-9, "missed-come", found)
        same = abs(value - run(missed_share, 2 * n, like=float)) < 1e-9
        expect(not same, "missed-small", found)
        expect(abs(value - exact) < 1e-9, "missed-formula", found)
    told = []
    for n in (16, 256):
        value, exact = run(missed_share, n, like=float), 1.0
        for _ in range(n):  # draw by draw
            exact -= exact / n
        found = f"of {n} points {exact:.4f} are missed on average, got {value:.4f}"
        expect(abs(value - exact) < 1e-9, "missed-formula", found)
        told.append(f"{value:.3f} of {n} points")
    return (
        f"missed_share: one call misses {' and '.join(told)}; up to n = 5 every batch was counted"
    )


@check
def check_share(share):
    """share() -> a number."""
    value = run(share, like=float)
    expect(0 <= value <= 1, "share-range", f"a share of {value:g} is not possible")
    return f"share: {value:g}. Now measure"


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


@check
def check_mean_square(mean_square):
    """mean_square(pair, draw_noise, draw_data, n, repeats) -> a number."""
    n, repeats = 5, 4
    x_0, x_1 = points(n * repeats, 3), points(n * repeats, 3, seed=1)
    batches = list(zip(x_0.split(n), x_1.split(n), strict=True))
    best = [_square(*_shortest(*batch)) for batch in batches]
    value = run(mean_square, _shortest, _pool(x_0), _pool(x_1), n, repeats, like=float)
    found = (
        f"for 4 batches of 5 pairs in three dimensions it is {np.mean(best):.4f}, got {value:.4f}"
    )

    def unlike(name, *others):
        for other in others:
            expect(abs(value - float(other)) > 1e-9, name, found)

    half = [[_square(a, _shortest(a, b)[1]), _square(_shortest(a, b)[0], b)] for a, b in batches]
    unlike("length-unpaired", _square(x_0, x_1))
    unlike("length-both", *np.mean(half, axis=0))
    unlike("length-pooled", _square(*_shortest(x_0, x_1)))
    unlike("length-repeats", best[0], best[-1], sum(best))
    roots = torch.cat([(a - b).norm(dim=1) for a, b in (_shortest(*pair) for pair in batches)])
    unlike("length-square", roots.mean(), np.mean(best) ** 0.5, np.mean(np.sqrt(best)))
    expect(abs(value - np.mean(best)) < 1e-9, "length-mean", found)
    generator = torch.Generator().manual_seed(0)
    noise = points(8192, 2, dtype=torch.float32)
    moons = two_moons(8192, generator=generator)
    sizes = {}
    for n in (1, 16, 256):
        total = 4096 if n == 1 else 8192
        pools = _pool(noise), _pool(moons)
        sizes[n] = run(mean_square, _shortest, *pools, n, total // n, like=float)
    told = ", ".join(f"{value:.2f} at n = {n}" for n, value in sizes.items())
    fallen = (sizes[1] - sizes[16]) / (sizes[1] - sizes[256])
    return (
        f"mean_square: each batch is paired by itself; on the two moons {told}, so that at 16 the "
        f"share is {fallen:.2f}"
    )


@check
def check_still_path(still_path):
    """still_path(t) -> alpha, sigma, d_alpha, d_sigma, each like t."""

    def four(t):
        result = run(still_path, t)
        right = isinstance(result, (tuple, list)) and len(result) == 4
        expect(right, "still-four", f"four tensors are needed, got {type(result).__name__}")
        found = []
        for value, name in zip(result, ("alpha", "sigma", "d_alpha", "d_sigma"), strict=True):

            def part(value=value):
                return value

            part.__name__ = f"{name} of still_path"
            found.append(run(part, like=t))
        return found

    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    alpha, sigma, d_alpha, d_sigma = four(t)
    for at, wanted in ((0, (0, 1)), (-1, (1, 0))):
        got = float(alpha[at]), float(sigma[at])
        found = f"at t = {t[at]:g} (alpha, sigma) must be {wanted}, is ({got[0]:.3g}, {got[1]:.3g})"
        expect(
            max(abs(g - w) for g, w in zip(got, wanted, strict=True)) < 1e-9, "still-ends", found
        )
    worst = int((alpha + sigma - 1).abs().argmax())
    found = f"at t = {t[worst]:.2f} a known coordinate of 1 has become"
    found = f"{found} {(alpha + sigma)[worst]:.3f}"
    expect(gap(alpha + sigma, 1) < 1e-9, "still-known", found)
    h, inner = 1e-5, t[1:-1]
    ahead, behind = four(inner + h), four(inner - h)
    for i, (name, rate) in enumerate((("alpha", d_alpha), ("sigma", d_sigma))):
        slope = (ahead[i] - behind[i]) / (2 * h)
        off = (slope - rate[1:-1]).abs()
        worst = int(off.argmax())
        found = f"at t = {inner[worst]:.2f} the slope of {name} is {slope[worst]:.3f}, d_{name}"
        found = f"{found} {rate[1:-1][worst]:.3f}"
        size = 1e-4 * (1 + float(slope.abs().max()))
        expect(float(off[worst]) < size, "still-derivative", found)
    slope = (four(t[:1] + h)[0] / h, four(t[-1:] - h)[1] / h)
    rest = max(float(s.abs()) for s in (*slope, d_alpha[0], d_alpha[-1], d_sigma[0], d_sigma[-1]))
    expect(rest < 1e-3, "still-rest", f"at an end the path moves at a speed of {rest:.3g}")
    back = float(alpha.diff().min())
    found = f"alpha falls by {-back:.2g} in one of 400 steps of time"
    expect(back > -1e-9, "still-forward", found)
    four(torch.tensor(0.5))
    return "still_path: a known coordinate stands still, the walkers start and arrive at rest"


def _linear_truth(path, t, rho):
    """E[X_0 | x] = noise @ x and the score = -precision @ x, from the joint covariance."""
    mix = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    data = torch.eye(3, dtype=torch.float64)  # of (X_1 first, X_1 second, noise)
    data[0, 1] = data[1, 0] = rho
    joint = mix @ data @ mix.T  # of (X_0, X_1)
    now = torch.cat(
        [path.sigma(t) * torch.eye(2).double(), path.alpha(t) * torch.eye(2).double()], dim=1
    )
    precision = torch.linalg.inv(now @ joint @ now.T)
    return (joint @ now.T)[:2] @ precision, precision


CASES = [(CondOT(), 0.4), (Cosine(), 0.3), (VP(), 0.6)]


@check
def check_masked_noise(masked_noise):
    """masked_noise(x, t, path, rho) -> like x."""
    x = points(20, 2)
    for rho, names in (
        (0.0, ("noise-known", "noise-unknown")),
        (0.8, ("noise-known", "noise-rho")),
    ):
        for path, time in CASES:
            t = _t(time)
            got = run(masked_noise, x, t, path, rho, like=x)
            exact = x @ _linear_truth(path, t, rho)[0].T
            for i, which in enumerate(("first", "second")):
                found = f"on {type(path).__name__} at t = {time:g} with rho = {rho:g} the mean of"
                found = f"{found} the {which} coordinate of X_0 is {exact[0, i]:.3f}"
                right = gap(got[:, i], exact[:, i]) < 1e-9
                expect(right, names[i], f"{found}, got {got[0, i]:.3f}")
    run(masked_noise, x.float(), torch.tensor(0.5), CondOT(), 0.5, like=x.float())
    return "masked_noise: the conditional mean of the joint Gaussian, on three paths"


@check
def check_masked_score(masked_score):
    """masked_score(x, t, path, rho) -> like x."""
    x = points(20, 2)
    for rho in (0.0, 0.8, -0.5):
        for path, time in CASES:
            t = _t(time)
            got = run(masked_score, x, t, path, rho, like=x)
            noise, precision = _linear_truth(path, t, rho)
            exact, identity = -x @ precision, -x @ noise.T / path.sigma(t)
            found = [
                f"on {type(path).__name__} at t = {time:g} with rho = {rho:g} the {which} "
                f"coordinate of the score is {exact[0, i]:.3f}, got {got[0, i]:.3f}"
                for i, which in enumerate(("first", "second"))
            ]
            expect(gap(got[:, 1], exact[:, 1]) < 1e-6, "gradient-unknown", found[1])
            expect(gap(got[:, 0], identity[:, 0]) > 1e-6, "gradient-identity", found[0])
            expect(gap(got[:, 0], exact[:, 0]) < 1e-6, "gradient-known", found[0])
    run(masked_score, x.float(), torch.tensor(0.5), CondOT(), 0.5, like=x.float())
    return "masked_score: the gradient of log p_t, on three paths"


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
    x = points(20, 2)
    for path, time in (*CASES, (VP(), 0.9)):
        t = _t(time)
        score, exact = _masked_mixture(path, t, x)
        got = run(masked_velocity, x, score, t, path, like=x)
        for i, name in enumerate(("flow-known", "flow-unknown")):
            found = f"on {type(path).__name__} at t = {time:g}, for data from three Gaussians,"
            found = f"{found} coordinate {i + 1} moves at {exact[0, i]:.3f}, got {got[0, i]:.3f}"
            expect(gap(got[:, i], exact[:, i]) < 1e-6, name, found)
    run(masked_velocity, x.float(), score.float(), torch.tensor(0.5), CondOT(), like=x.float())
    return "masked_velocity: the exact velocity, for data that are not Gaussian, on three paths"
