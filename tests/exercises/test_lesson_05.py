"""Other right answers to the exercises on lesson 05, and typical wrong ones with their hints."""

import math

import torch
from scipy.optimize import linear_sum_assignment
from solved import answers

from fmlib.couplings import independent, minibatch_ot
from fmlib.paths import CondOT, Cosine, Polynomial
from fmlib.predictions import convert


def from_v(x_0, x_1):
    """The velocity by (5.3), from these two."""

    def velocity_from_v(x, v, t, path):
        a, s = path.alpha(t), path.sigma(t)
        return path.d_alpha(t) * x_1(x, v, a, s) + path.d_sigma(t) * x_0(x, v, a, s)

    return velocity_from_v


def by_angle(sign=1.0):
    """u = -theta' v, where theta is the angle of (alpha, sigma)."""

    def velocity_from_v(x, v, t, path):
        turn = path.d_alpha(t) * path.sigma(t) - path.d_sigma(t) * path.alpha(t)
        return -sign * turn * v

    return velocity_from_v


def through_noise(x, v, t, path):  # divides by alpha
    return convert(path.sigma(t) * x + path.alpha(t) * v, x, t, path, "noise", "velocity")


def turn(path, t):
    return path.alpha(t) * path.d_sigma(t) - path.sigma(t) * path.d_alpha(t)


def wrong_at(end, wrong):
    """The right answer but for one end of time."""
    return lambda x, v, t, path: wrong(v) if t == end else turn(path, t) * v


def by_sigma(guard):
    """u = -(d_alpha / sigma) v, right but where sigma is 0."""
    return lambda x, v, t, path: guard(path.d_alpha(t), path.sigma(t), v)


def of(formula):
    """c_t by a formula in alpha, sigma and their derivatives."""
    return lambda t, path: formula(path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t))


def score_by_logarithms(t, path):
    with torch.enable_grad():
        s = t.detach().double().requires_grad_()
        ratio = torch.log(path.alpha(s) / path.sigma(s))
        (rate,) = torch.autograd.grad(ratio.sum(), s)
    return (path.sigma(s) ** 2 * rate).detach().to(t)


def assigned(x_0, x_1, power=2):
    return linear_sum_assignment((torch.cdist(x_0, x_1) ** power).numpy())


def plan(x_0, x_1):
    matrix = torch.zeros(len(x_0), len(x_1))
    matrix[assigned(x_0, x_1)] = 1 / len(x_0)
    return matrix


def drawn(replacement):
    def pair_by_plan(x_0, x_1, generator=None):
        n, flat = len(x_0), plan(x_0, x_1).flatten()
        pairs = torch.multinomial(flat, n, replacement=replacement, generator=generator)
        return x_0[pairs // n], x_1[pairs % n]

    return pair_by_plan


def by_columns(x_0, x_1, generator=None):
    rows, columns = assigned(x_1, x_0)
    return [x_0[columns], x_1[rows]]


def missed_by_hand(n):
    missed = 1.0
    for _ in range(n):
        missed *= (n - 1) / n
    return missed


def lengths(n_of=lambda n: n, own=False, of=None, mean=None, pairs=None):
    """mean_square, with one part of it another."""
    of = of or (lambda a, b: (a - b).square().sum(1))
    mean = mean or (lambda values: torch.stack(values).mean())

    def mean_square(pair, draw_noise, draw_data, n, repeats):
        values = []
        for _ in range(repeats):
            a, b = draw_noise(n), draw_data(n)
            c, d = pair(a, b)
            values.append(of(*(pairs(a, b, c, d) if pairs else (c, d))))
        return mean(values)

    return mean_square


def chunked(pair, draw_noise, draw_data, n, repeats):
    sides = (draw(n * repeats).split(n) for draw in (draw_noise, draw_data))
    both = [pair(a, b) for a, b in zip(*sides, strict=True)]
    return sum(torch.nn.functional.mse_loss(a, b) * a.shape[1] for a, b in both) / repeats


def in_numpy(pair, draw_noise, draw_data, n, repeats):
    total = 0.0
    for _ in range(repeats):
        a, b = (side.double().numpy() for side in pair(draw_noise(n), draw_data(n)))
        total += ((a - b) ** 2).sum()
    return total / (n * repeats)


def pooled(pair, draw_noise, draw_data, n, repeats):
    a, b = pair(draw_noise(n * repeats), draw_data(n * repeats))
    return (a - b).square().sum(1).mean()


def on_line(alpha, d_alpha):
    return lambda t: (alpha(t), 1 - alpha(t), d_alpha(t), -d_alpha(t))


def of_path(path):
    return lambda t: (path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t))


def by_autograd(t):
    with torch.enable_grad():
        s = t.detach().clone().requires_grad_()
        alpha = s**3 * (10 - 15 * s + 6 * s**2)
        (rate,) = torch.autograd.grad(alpha.sum(), s)
    return [alpha.detach(), 1 - alpha.detach(), rate, -rate]


def half_wave(t):
    return torch.sin(0.5 * math.pi * t) ** 2


def half_wave_rate(t):
    return 0.5 * math.pi * torch.sin(math.pi * t)


def wobble(t):
    return half_wave(t) + 0.5 * torch.sin(2 * math.pi * t) ** 2


def wobble_rate(t):
    return half_wave_rate(t) + math.pi * torch.sin(4 * math.pi * t)


def means(first=None, second=None, left=None):
    """masked_noise, with one part of it another."""
    first = first or (lambda x, a, s: x / (a + s))
    left = left or (lambda rho: 1 - rho**2)
    second = second or (lambda x, k, a, s, rho, left: s * (x - a * rho * k) / (a**2 * left + s**2))

    def masked_noise(x, t, path, rho):
        a, s = path.alpha(t), path.sigma(t)
        known = x[:, 0] / (a + s)
        other = second(x[:, 1], known, a, s, rho, left(rho))
        return torch.stack([first(x[:, 0], a, s), other], dim=1)

    return masked_noise


def regression(x, t, path, rho):
    """E[X_0 | x] = Cov(X_0, X_t) Cov(X_t)^-1 x."""
    a, s = path.alpha(t), path.sigma(t)
    zero = torch.zeros_like(a)
    with_x = torch.stack([a + s, a * rho, zero, s]).reshape(2, 2)
    return x @ torch.linalg.inv(spread(x, t, path, rho)) @ with_x.T


def spread(x, t, path, rho):
    a, s = path.alpha(t), path.sigma(t)
    shared = rho * a * (a + s)
    return torch.stack([(a + s) ** 2, shared, shared, a**2 + s**2]).reshape(2, 2)


def score_by_torch(x, t, path, rho):
    x = x.detach().clone().requires_grad_()
    normal = torch.distributions.MultivariateNormal(torch.zeros(2).to(x), spread(x, t, path, rho))
    return torch.autograd.grad(normal.log_prob(x).sum(), x)[0]


def score_by_factors(x, t, path, rho):
    a, s = path.alpha(t), path.sigma(t)
    noise = means()(x, t, path, rho)
    slope = a * rho / (a + s)  # p_t(x^2 | x^1) has its mean there
    second = -noise[:, 1] / s
    return torch.stack([-x[:, 0] / (a + s) ** 2 - slope * second, second], dim=1)


def with_first(first):
    def masked_score(x, t, path, rho):
        score = score_by_torch(x, t, path, rho)
        return torch.stack([first(x[:, 0], path.alpha(t), path.sigma(t)), score[:, 1]], dim=1)

    return masked_score


def identity(x, t, path, rho):  # the trap
    return -means()(x, t, path, rho) / path.sigma(t)


def moved(known=None, noise=lambda score, sigma: -sigma * score):
    """masked_velocity, with one part of it another."""
    known = known or (lambda x, a, s, da, ds: (da + ds) / (a + s) * x)

    def masked_velocity(x, score, t, path):
        a, s, da, ds = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
        u = da / a * x + (ds - s * da / a) * noise(score, s)
        return torch.stack([known(x[:, 0], a, s, da, ds), u[:, 1]], dim=1)

    return masked_velocity


def moved_by_convert(x, score, t, path):
    s, a = path.sigma(t), path.alpha(t)
    noise = torch.where(torch.tensor([True, False]), x / (a + s), -s * score)
    return convert(noise, x, t, path, "noise", "velocity", normal_source=False)


def all_by_score(x, score, t, path):
    return convert(score, x, t, path, "score", "velocity")


RIGHT = {
    "check_velocity_from_v": [
        by_angle(),
        lambda x, v, t, path: (
            path.d_sigma(t) * (path.sigma(t) * x + path.alpha(t) * v)
            + path.d_alpha(t) * (path.alpha(t) * x - path.sigma(t) * v)
        ),
    ],
    "check_score_factor": [
        of(lambda a, s, da, ds: s / a * (da * s - ds * a)),
        score_by_logarithms,
    ],
    "check_pair_by_plan": [
        drawn(replacement=False),
        by_columns,
        lambda x_0, x_1, generator: (x_0, x_1[assigned(x_0, x_1)[1]]),
        lambda x_0, x_1, generator: minibatch_ot(x_0, x_1),
    ],
    "check_missed_share": [
        lambda n: (1 - 1 / n) ** n,
        missed_by_hand,
        lambda n: math.exp(n * math.log1p(-1 / n)),
        lambda n: torch.tensor(1 - 1 / n, dtype=torch.float64) ** n,
    ],
    "check_share": [lambda: 0.9, lambda: torch.tensor(0.0)],
    "check_mean_square": [chunked, in_numpy, lengths()],
    "check_still_path": [
        by_autograd,
        on_line(half_wave, half_wave_rate),
        lambda t: (
            (1 - torch.cos(math.pi * t)) / 2,
            (1 + torch.cos(math.pi * t)) / 2,
            math.pi * torch.sin(math.pi * t) / 2,
            -math.pi * torch.sin(math.pi * t) / 2,
        ),
    ],
    "check_masked_noise": [means(), regression],
    "check_masked_score": [score_by_torch, score_by_factors],
    "check_masked_velocity": [moved(), moved_by_convert],
}

WRONG = {
    "check_velocity_from_v": [
        (lambda x, v, t, path: v, "v-same"),  # the word
        (by_angle(sign=-1), "v-sign"),
        (lambda x, v, t, path: -0.5 * math.pi * v, "v-constant"),  # of the cosine path
        (from_v(lambda x, v, a, s: v, lambda x, v, a, s: (x - s * v) / a), "v-formula"),  # as noise
        (from_v(lambda x, v, a, s: (x - a * v) / s, lambda x, v, a, s: v), "v-formula"),  # as data
        (
            from_v(lambda x, v, a, s: s * x - a * v, lambda x, v, a, s: a * x + s * v),
            "v-sign",
        ),
        (wrong_at(1, lambda v: 17 * v), "v-ends"),
        (wrong_at(1, lambda v: 0 * v), "v-ends"),
        (wrong_at(0, lambda v: 0 * v), "v-ends"),
        (by_sigma(lambda da, s, v: torch.nan_to_num(-da / s * v)), "v-ends"),
        (by_sigma(lambda da, s, v: -da / s.clamp(min=1e-5) * v), "v-ends"),
        (by_sigma(lambda da, s, v: -da / s * v), "v-ends"),  # 0 / 0
        (through_noise, "raises"),  # alpha_0 = 0
        (
            from_v(
                lambda x, v, a, s: (x - a * (a * x - s * v)) / s, lambda x, v, a, s: a * x - s * v
            ),
            "v-ends",  # divides by sigma_1 = 0
        ),
    ],
    "check_score_factor": [
        (of(lambda a, s, da, ds: ds - s * da / a), "factor-end"),  # of the noise
        (of(lambda a, s, da, ds: (da * s / a - ds) / s), "factor-end"),
        (of(lambda a, s, da, ds: s * (ds - da * s / a)), "factor-sign"),
        (of(lambda a, s, da, ds: s * (ds * s / a - da)), "factor-formula"),  # dots swapped
        (of(lambda a, s, da, ds: s * (da * s / a + ds)), "factor-formula"),  # d/ds of sigma
        (of(lambda a, s, da, ds: s**2 * da / a), "factor-formula"),  # a term is missing
        (lambda t, path: 1 / t, "factor-end"),
        (lambda t, path: (1 - t) / t, "factor-formula"),  # of CondOT
        (lambda t, path: ((1 - t) / t)[None], "wrong-shape"),
    ],
    "check_pair_by_plan": [
        (drawn(replacement=True), "pair-once"),  # the bug
        (lambda x_0, x_1, g: (x_0, x_1[torch.cdist(x_0, x_1).argmin(1)]), "pair-once"),
        (lambda x_0, x_1, g: (x_0[plan(x_0, x_1).argmax(1)], x_1), "pair-cost"),  # other way round
        (lambda x_0, x_1, g: (x_0, x_1[assigned(x_0, x_1, 1)[1]]), "pair-cost"),  # no square
        (lambda x_0, x_1, g: independent(x_0, x_1), "pair-cost"),
        (lambda x_0, x_1, g: x_1[assigned(x_0, x_1)[1]], "wrong-type"),
        (lambda x_0, x_1, g: (x_0, plan(x_0, x_1).argmax(1)), "wrong-shape"),  # the indices
    ],
    "check_missed_share": [
        (lambda n: n * (1 - 1 / n) ** n, "missed-share"),  # how many
        (lambda n: 1 - (1 - 1 / n) ** n, "missed-come"),
        (lambda n: math.exp(-1), "missed-small"),  # the limit
        (lambda n: 0.5, "missed-small"),
        (lambda n: 1 - 1 / n, "missed-formula"),  # by one draw
        (lambda n: (1 - 1 / n) ** (n - 1), "missed-formula"),
        (lambda n: (1 - 1 / n**2) ** n, "missed-formula"),  # one entry of the n^2
        (lambda n: 1 / n, "missed-formula"),
    ],
    "check_share": [
        (lambda: -0.5, "share-range"),
        (lambda: 85, "share-range"),
        (lambda: 3.3, "share-range"),
        (lambda: "half", "wrong-type"),
    ],
    "check_mean_square": [
        (lengths(pairs=lambda a, b, c, d: (a, b)), "length-unpaired"),
        (lengths(pairs=lambda a, b, c, d: (a, d)), "length-both"),
        (lengths(pairs=lambda a, b, c, d: (c, b)), "length-both"),
        (pooled, "length-pooled"),
        (lengths(mean=lambda values: values[-1].mean()), "length-repeats"),
        (lengths(mean=lambda values: values[0].mean()), "length-repeats"),
        (lengths(mean=lambda values: sum(v.mean() for v in values)), "length-repeats"),
        (lengths(of=lambda a, b: (a - b).norm(dim=1)), "length-square"),
        (lengths(mean=lambda values: torch.cat(values).mean().sqrt()), "length-square"),
        (lengths(of=lambda a, b: (a - b).square()), "length-mean"),  # over the coordinates too
        (lengths(of=lambda a, b: 2 * (a - b).square().mean(1)), "length-mean"),  # in the plane
        (lengths(of=lambda a, b: (a - b)[:, :2].square().sum(1)), "length-mean"),
        (lengths(mean=lambda values: sum(v.sum() for v in values)), "length-mean"),
        (lengths(mean=torch.cat), "wrong-type"),
    ],
    "check_still_path": [
        (of_path(Cosine()), "still-known"),
        (of_path(CondOT()), "still-rest"),
        (of_path(Polynomial(2)), "still-rest"),
        (
            lambda t: (1 - half_wave(t), half_wave(t), -half_wave_rate(t), half_wave_rate(t)),
            "still-ends",
        ),  # swapped
        (on_line(half_wave, lambda t: half_wave_rate(1 - t) * 0.5), "still-derivative"),
        (on_line(half_wave, lambda t: torch.sin(math.pi * t)), "still-derivative"),  # inner one
        (on_line(half_wave, lambda t: -half_wave_rate(t)), "still-derivative"),  # by s = 1 - t
        (on_line(wobble, wobble_rate), "still-forward"),
        (lambda t: (half_wave(t), 1 - half_wave(t)), "wrong-type"),
        (
            lambda t: (t**2 * (3 - 2 * t), 1 - t, 6 * t * (1 - t), -torch.ones_like(t)),
            "still-known",
        ),
        (lambda t: (half_wave(t), 1 - half_wave(t), 0, 0), "wrong-type"),
    ],
    "check_masked_noise": [
        (means(first=lambda x, a, s: s * x / (a**2 + s**2)), "noise-known"),  # as if independent
        (means(first=lambda x, a, s: x), "noise-known"),
        (means(first=lambda x, a, s: 0 * x), "noise-known"),
        (means(second=lambda x, k, a, s, rho, left: (x - a * rho * k) / s), "noise-unknown"),
        (
            means(second=lambda x, k, a, s, rho, left: (x - a * rho * k) / (a**2 * left + s**2)),
            "noise-unknown",
        ),  # sigma is missing
        (means(left=lambda rho: 0 * rho), "noise-unknown"),
        (means(left=lambda rho: 1), "noise-rho"),
        (means(left=lambda rho: 1 - rho), "noise-rho"),
        (means(second=lambda x, k, a, s, rho, left: s * x / (a**2 + s**2)), "noise-rho"),
    ],
    "check_masked_score": [
        (identity, "gradient-identity"),  # the trap
        (lambda x, t, path, rho: -identity(x, t, path, rho), "gradient-unknown"),
        (lambda x, t, path, rho: -x, "gradient-unknown"),
        (lambda x, t, path, rho: -x / path.sigma(t) ** 2, "gradient-unknown"),
        (lambda x, t, path, rho: -x @ spread(x, t, path, rho), "gradient-unknown"),
        (with_first(lambda x, a, s: -x / (a + s) ** 2), "gradient-known"),  # x^1 alone
        (with_first(lambda x, a, s: 0 * x), "gradient-known"),
    ],
    "check_masked_velocity": [
        (all_by_score, "flow-known"),  # the trap
        (moved(known=lambda x, a, s, da, ds: 0 * x), "flow-known"),  # on CondOT only
        (moved(known=lambda x, a, s, da, ds: (da + ds) * x), "flow-known"),
        (moved(noise=lambda score, s: s * score), "flow-unknown"),  # sign
        (moved(noise=lambda score, s: -score / s), "flow-unknown"),
        (moved(noise=lambda score, s: score), "flow-unknown"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("05", RIGHT, WRONG)
