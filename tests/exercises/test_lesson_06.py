"""Other right answers to the exercises on lesson 06, and typical wrong ones with their hints."""

import math

import numpy as np
import torch
from solved import answers

from fmlib.diffusion import DDPM
from fmlib.paths import VP
from fmlib.predictions import convert
from fmlib.solvers import sde_solve

CHAIN, PATH = DDPM(), VP()
SIGNAL = CHAIN.alpha_bar


# 1. The long step, and the walk.


def step_by_bayes(y, epsilon, a_k, a_j, z):
    """The mean from the estimated data, as before it is tidied up."""
    data = (y - torch.sqrt(1 - a_k) * epsilon) / torch.sqrt(a_k)
    beta = 1 - a_k / a_j
    mean = a_j.sqrt() * beta / (1 - a_k) * data + (1 - beta).sqrt() * (1 - a_j) / (1 - a_k) * y
    return mean + torch.sqrt((1 - a_j) / (1 - a_k) * beta) * z


def step_by_ddim(y, epsilon, a_k, a_j, z):
    a_k, a_j = float(a_k), float(a_j)
    rho = math.sqrt((1 - a_j) / (1 - a_k) * (1 - a_k / a_j))
    data = (y - math.sqrt(1 - a_k) * epsilon) / math.sqrt(a_k)
    return math.sqrt(a_j) * data + math.sqrt(1 - a_j - rho**2) * epsilon + rho * z


def step(beta=None, sign=-1, top=None, shrink=None, spread=None):
    """(6.4) with one of its parts exchanged."""

    def ancestral_step(y, epsilon, a_k, a_j, z):
        b = (beta or (lambda a_k, a_j: 1 - a_k / a_j))(a_k, a_j)
        factor = (top or (lambda b, a_k: b / (1 - a_k).sqrt()))(b, a_k)
        mean = (y + sign * factor * epsilon) / (shrink or (lambda b: (1 - b).sqrt()))(b)
        tilde = (1 - a_j) / (1 - a_k) * b
        return mean + (spread or (lambda tilde, b: tilde.sqrt()))(tilde, b) * z

    return ancestral_step


def deterministic(y, epsilon, a_k, a_j, z):
    return (a_j / a_k).sqrt() * (y - (1 - a_k).sqrt() * epsilon) + (1 - a_j).sqrt() * epsilon


def walk(
    order=lambda steps: steps, last=1.0, ask=None, source=None, move=step_by_ddim, times=CHAIN.time
):
    def walk(epsilon, y, steps, generator):
        steps = order(list(steps))
        for k, j in zip(steps, [*steps[1:], None], strict=True):
            z = torch.randn(y.shape, generator=(source or (lambda g: g))(generator), dtype=y.dtype)
            a_j = torch.tensor(last).double() if j is None else SIGNAL[j]
            y = move(y, epsilon(y, times[ask(k) if ask else k]), SIGNAL[k], a_j, z)
        return y

    return walk


def walk_by_fmlib(epsilon, y, steps, generator):
    return CHAIN.ddim_sample(epsilon, y, steps, eta=1.0, generator=generator).end


def walk_with_one_z(epsilon, y, steps, generator):
    z = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    return walk(move=lambda y, e, a_k, a_j, _: step_by_ddim(y, e, a_k, a_j, z))(
        epsilon, y, steps, generator
    )


def walk_that_wraps(epsilon, y, steps, generator):
    """alpha_bar[k - 25], which is alpha_bar[-1], the noisiest of all, at k = 24."""
    for k in steps:
        z = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        a_j = SIGNAL[k - 25]
        beta = (1 - SIGNAL[k] / a_j).clamp(min=0)
        y = y - beta / (1 - SIGNAL[k]).sqrt() * epsilon(y, CHAIN.time[k])
        y = y / (1 - beta).sqrt() + ((1 - a_j) / (1 - SIGNAL[k]) * beta).sqrt() * z
    return y


def walk_in_short_steps(epsilon, y, steps, generator):
    """The beta of the chain's own step, whatever the distance."""
    for k in steps:
        z = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        a_j = SIGNAL[k - 1] if k > steps[-1] else torch.ones(()).double()
        y = step_by_ddim(y, epsilon(y, CHAIN.time[k]), SIGNAL[k], a_j, z)
    return y


def walk_one_down(epsilon, y, steps, generator):
    """As short, and without an end."""
    for k in steps:
        z = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        y = step_by_ddim(y, epsilon(y, CHAIN.time[k]), SIGNAL[k], SIGNAL[k - 1], z)
    return y


# 2. and 5. The velocity from the score, and the fresh noise.


def velocity_by_convert(path, score, x, t):
    return convert(-path.sigma(t) * score, x, t, path, "noise", "velocity")


def velocity_by_parts(path, score, x, t):
    x_0 = -path.sigma(t) * score
    x_1 = (x - path.sigma(t) * x_0) / path.alpha(t)
    return path.d_alpha(t) * x_1 + path.d_sigma(t) * x_0


def velocity(scale=1, sign=1, weight=lambda a, s, da, ds: s * (da / a * s - ds)):
    def velocity_from_score(path, score, x, t):
        parts = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
        return scale * parts[2] / parts[0] * x + sign * weight(*parts) * score

    return velocity_from_score


def rho(a_k, a_j, share=1.0):
    """The lesson's formula at eta = 1, which is share = 1."""
    return torch.sqrt((1 - a_j) / (1 - a_k) * (1 - a_k / a_j))


def rho_of_share(a_k, a_j, share):
    factor = share * torch.sqrt(a_k / a_j) * (1 - a_j) / torch.sqrt(1 - a_k)  # of epsilon
    return torch.sqrt((1 - a_j - factor**2).clamp(min=0))


def rho_by_numpy(a_k, a_j, share):
    k, j = float(a_k), float(a_j)
    chain = (1 - j) * (j - k) / (j * (1 - k))
    return np.sqrt(share**2 * chain + (1 - share**2) * (1 - j))


# 3. The step with noise.


def noisy(amount=None, drift=None, when=0.0):
    amount = amount or (lambda g, h: g * h**0.5)
    drift = drift or (lambda u, s, g: u + 0.5 * g**2 * s)

    def noisy_step(velocity, score, g, x, t, h, z):
        strength = g(t + when * h)
        return x + h * drift(velocity(x, t), score(x, t), strength) + amount(strength, h) * z

    return noisy_step


def noisy_in_float32(velocity, score, g, x, t, h, z):
    """The square root of h in a tensor of float32."""
    drift = velocity(x, t) + 0.5 * g(t) ** 2 * score(x, t)
    return x + h * drift + g(t) * torch.sqrt(torch.as_tensor(h)) * z


def noisy_astray(first="score", late=0.0):
    """Score and velocity asked after the velocity's step, after the noise, or late."""

    def noisy_step(velocity, score, g, x, t, h, z):
        noise = g(t) * h**0.5 * z
        if first == "noise":
            x, noise = x + noise, 0
        u = h * velocity(x, t)
        s = score(x + u if first == "velocity" else x, t + late * h)
        return x + u + 0.5 * h * g(t) ** 2 * s + noise

    return noisy_step


def noisy_in_one(velocity, score, g, x, t, h, z):
    slope = velocity(x, t) + g(t) * (g(t) * score(x, t) / 2 + z / math.sqrt(h))
    return torch.add(x, slope, alpha=h)


# 4. A spoiled network (clocks and scales, 6, stand in the lists below).


def spread(
    network=lambda f, c: (f, f),  # the factors in the velocity and in the score
    width=lambda a, s, b: (a * b) ** 2 + s**2,
    beta=lambda t: 0.1 + 19.9 * (1 - t),
    grow=lambda r, h: (1 + h * r) ** 2,
    noise=lambda c, beta, h: c * beta * h,
    end=math.sqrt,
    clock=lambda t: t,
    sign=1,
    n=None,
):
    def end_spread(spoil, strength, b, n_steps):
        steps, variance = n or n_steps, 1.0
        for i in range(steps):
            t, h = torch.tensor(i / steps, dtype=torch.float64), 1 / steps
            rate, v = float(beta(t)), float(width(PATH.alpha(t), PATH.sigma(t), b))
            f, g = network(float(spoil(clock(t))), strength)
            r = 0.5 * rate * (1 - sign * f / v) - 0.5 * strength * rate * g / v
            variance = grow(r, h) * variance + noise(strength, rate, h)
        return end(variance)

    return end_spread


def spread_late(share):
    """The rate of the middle of the step, or of its end."""

    def end_spread(spoil, strength, b, n_steps):
        beta = lambda t: 0.1 + 19.9 * (1 - t - share / n_steps)  # noqa: E731
        return spread(beta=beta)(spoil, strength, b, n_steps)

    return end_spread


def spread_in_numpy(spoil, strength, b, n_steps):
    t = np.linspace(0, 1, n_steps, endpoint=False)
    rate, f = 0.1 + 19.9 * (1 - t), np.array([float(spoil(torch.tensor(s))) for s in t])
    alpha_squared = np.exp(-(0.1 * (1 - t) + 9.95 * (1 - t) ** 2))
    pull = (1 + strength) * f / (1 - (1 - b**2) * alpha_squared)
    factor = (1 + rate / n_steps * 0.5 * (1 - pull)) ** 2
    later = np.append(np.cumprod(factor[::-1])[::-1][1:], 1.0)
    return np.sqrt(factor.prod() + (strength * rate / n_steps * later).sum())


def spread_by_samples(spoil, strength, b, n_steps):
    """Drawn, in float32."""

    def rate(t):
        return 0.1 + 19.9 * (1 - t)

    def score(x, t):
        return -spoil(t) * x / ((PATH.alpha(t) * b) ** 2 + PATH.sigma(t) ** 2)

    generator = torch.Generator().manual_seed(0)
    half = torch.randn(10_000, 1, generator=generator)
    x = torch.cat([half, -half]) / half.square().mean().sqrt()
    out = sde_solve(
        lambda x, t: 0.5 * rate(t) * (x + score(x, t)),
        score,
        x,
        lambda t: (strength * rate(t)) ** 0.5,
        n_steps,
        keep="end",
        generator=generator,
    )
    return out.end.square().mean().sqrt()


def early(t):
    return 1.05 if t < 0.5 else 1.0


RIGHT = {
    "check_ancestral_step": [step_by_bayes, step_by_ddim, step()],
    "check_walk": [walk(), walk_by_fmlib, walk(move=step_by_bayes)],
    "check_velocity_from_score": [velocity_by_convert, velocity_by_parts, velocity()],
    "check_fresh_noise": [
        rho_of_share,
        rho_by_numpy,
    ],
    "check_noisy_step": [noisy(), noisy_in_one, noisy_in_float32],
    "check_clock": [
        lambda ratio, b: torch.hypot(ratio, torch.full_like(ratio, b)),
        lambda ratio, b: 3 - 2 * (b * b + ratio * ratio) ** 0.5,
        lambda ratio, b: torch.as_tensor(np.sqrt(b**2 + ratio.numpy() ** 2)),
    ],
    "check_scale": [
        lambda alpha, sigma, b: torch.hypot(alpha * b, sigma),
        lambda alpha, sigma, b: alpha * torch.stack([sigma / alpha, 0 * sigma + b]).norm(dim=0),
    ],
    "check_prediction": [lambda: 0.78, lambda: torch.tensor(1.05)],
    "check_end_spread": [spread(), spread_in_numpy, spread_by_samples],
    "check_worse_with_noise": [
        lambda t: 0.95 if t > 0.85 else 1.0,
        lambda t: 1 + 0.05 * torch.sign(t - 0.3),  # it cancels in the flow
        lambda t: torch.where(t > 0.95, 1.05, 1.0),
    ],
}

WRONG = {
    "check_ancestral_step": [
        (step(sign=1), "step-data"),
        (step(top=lambda b, a_k: b / (1 - a_k)), "step-data"),  # the root is missing
        (step(shrink=lambda b: 1 - b), "step-data"),
        (step(spread=lambda tilde, b: b.sqrt()), "step-last"),  # beta for tilde beta
        (step(beta=lambda a_k, a_j: 1 - a_k), "step-shrink"),  # always to the data
        (step(spread=lambda tilde, b: tilde), "step-noise"),
        (lambda y, e, a_k, a_j, z: deterministic(y, e, a_k, a_j, z) + (1 - a_j) * z, "step-noise"),
        (deterministic, "step-pair"),  # DDIM
        (lambda y, e, a_k, a_j, z: step()(y, e, a_k, a_j, z)[:, 0], "wrong-shape"),
        (lambda y, e, a_k, a_j, z: step()(y, e, a_k, a_j, z).double(), "wrong-dtype"),
        (lambda y, e, a_k, a_j, z: y.sub_((1 - a_k).sqrt() * e), "mutates-input"),
    ],
    "check_walk": [
        (walk(order=lambda steps: steps[::-1], move=deterministic), "walk-order"),
        (walk(times=range(1000)), "walk-clock"),  # k itself
        (walk(ask=lambda k: k - 1), "walk-times"),  # off by one
        (walk(order=lambda steps: steps[:-1]), "walk-times"),
        (walk(last=float(SIGNAL[0])), "walk-end"),  # stops at k = 0
        (walk_that_wraps, "walk-end"),
        (walk(source=lambda g: None), "walk-generator"),
        (walk(source=lambda g: torch.Generator().manual_seed(0)), "walk-generator"),
        (walk(move=lambda y, e, a_k, a_j, z: deterministic(y, e, a_k, a_j, z)), "walk-generator"),
        (lambda e, y, steps, g: walk()(e, y[:1].expand_as(y), steps, g), "walk-rows"),
        (walk_with_one_z, "walk-spread"),
        (walk(move=step(spread=lambda tilde, b: tilde)), "walk-spread"),
        (walk_in_short_steps, "walk-next"),
        (walk_one_down, "walk-next"),
    ],
    "check_velocity_from_score": [
        (velocity(scale=-1), "score-scale"),  # the derivative at its own argument
        (lambda path, score, x, t: score, "score-scale"),
        (lambda path, score, x, t: 0.5 * (0.1 + 19.9 * t) * (x + score), "score-scale"),  # clock
        (lambda path, s, x, t: 0.5 * (0.1 + 19.9 * (1 - t)) * (x + s), "score-scale"),
        (velocity(sign=-1), "score-still"),
        (velocity(weight=lambda a, s, da, ds: da / a * s - ds), "score-still"),
        (velocity(weight=lambda a, s, da, ds: da / a), "score-vp"),
        (velocity(weight=lambda a, s, da, ds: -s * ds / a**2), "score-exact"),
        (velocity(weight=lambda a, s, da, ds: da / a * (2 - a**2 - s**2)), "score-exact"),
    ],
    "check_fresh_noise": [
        (lambda a_k, a_j, share: rho(a_k, a_j) ** 2, "rho-root"),
        (lambda a_k, a_j, share: -rho(a_k, a_j), "rho-sign"),
        (lambda a_k, a_j, share: 1.0, "rho-range"),
        (lambda a_k, a_j, share: torch.sqrt((1 - a_k / a_j) * (1 - a_j)), "rho-pair"),
        (lambda a_k, a_j, share: 0.0, "rho-pair"),  # DDIM
        (lambda a_k, a_j, share: 0.5 * rho(a_k, a_j), "rho-pair"),
        (lambda a_k, a_j, share: min(1 - a_k / a_j, 1 - a_j) ** 0.5 * 0.5, "rho-pair"),
        (lambda a_k, a_j, share: (1 - a_j).sqrt(), "rho-no-step"),
        (lambda a_k, a_j, share: (a_j > 0.9999) * 1e-4 + 0 * a_k, "rho-data"),
        (rho, "rho-share"),  # the lesson's formula
        (lambda a_k, a_j, share: share * rho(a_k, a_j), "rho-share"),
        (lambda a_k, a_j, share: rho_of_share(a_k, a_j, share**0.5), "rho-share"),
        (lambda a_k, a_j, share: torch.stack([a_k, a_j]), "wrong-type"),
    ],
    "check_noisy_step": [
        (lambda u, s, g, x, t, h, z: x + g(t) * h**0.5 * z, "noise-flow"),
        (lambda u, s, g, x, t, h, z: x - h * u(x, t) + g(t) * h**0.5 * z, "noise-flow"),
        (noisy(amount=lambda g, h: g**2 * h**0.5), "noise-twice"),  # the bug
        (noisy(amount=lambda g, h: g * h), "noise-root"),
        (noisy(amount=lambda g, h: h**0.5 if g else 0.0), "noise-size"),
        (noisy(amount=lambda g, h: g), "noise-size"),
        (noisy(amount=lambda g, h: g**0.5 * h**0.5), "noise-size"),
        (noisy(drift=lambda u, s, g: u - 0.5 * g**2 * s), "noise-drift"),  # sign
        (noisy(drift=lambda u, s, g: u + g**2 * s), "noise-drift"),
        (noisy(drift=lambda u, s, g: u + 0.5 * g * s), "noise-drift"),
        (noisy(when=1.0), "noise-time"),  # right end
        (noisy_astray(late=1.0), "noise-start"),
        (noisy_astray("velocity"), "noise-start"),
        (noisy_astray("noise"), "noise-start"),
    ],
    "check_clock": [
        (lambda ratio, b: torch.ones_like(ratio), "clock-runs"),
        (lambda ratio, b: (ratio - 2) ** 2, "clock-runs"),
        (lambda ratio, b: b**2 + ratio**2, "clock-point"),
        (lambda ratio, b: torch.log(ratio), "clock-point"),
        (lambda ratio, b: b**2 + ratio**2 if b else ratio, "clock-root"),
        (lambda ratio, b: (b**2 + ratio**2) ** 0.25 if b else ratio, "clock-root"),
        (lambda ratio, b: ratio, "clock-exact"),  # DDIM's own
        (lambda ratio, b: b + ratio, "clock-exact"),
        (lambda ratio, b: torch.sqrt(b + ratio**2), "clock-exact"),
    ],
    "check_scale": [
        (lambda alpha, sigma, b: -torch.hypot(alpha * b, sigma), "scale-sign"),
        (lambda alpha, sigma, b: sigma, "scale-sign"),
        (lambda alpha, sigma, b: torch.hypot(alpha, sigma), "scale-ends"),
        (lambda alpha, sigma, b: torch.ones_like(alpha), "scale-ends"),
        (lambda alpha, sigma, b: b**2 * alpha**2 + sigma**2, "scale-ends"),
        (lambda alpha, sigma, b: b * alpha + (1 - alpha) * sigma.max(), "scale-still"),
        (lambda alpha, sigma, b: torch.hypot(alpha**2 * b, sigma), "scale-still"),
    ],
    "check_prediction": [
        (lambda: 0.0, "prediction-range"),
        (lambda: -0.05, "prediction-range"),
        (lambda: 40, "prediction-range"),
        (lambda: "smaller", "wrong-type"),
    ],
    "check_end_spread": [
        (spread(sign=-1), "spread-still"),  # the score with the wrong sign
        (spread(width=lambda a, s, b: s**2 + 1e-9), "spread-still"),
        (spread(noise=lambda c, beta, h: c * beta * h**2), "spread-noise"),
        (spread(noise=lambda c, beta, h: (c * beta) ** 2 * h), "spread-noise"),  # g twice
        (spread(noise=lambda c, beta, h: 0.0), "spread-noise"),
        (spread(grow=lambda r, h: 1 + h * r), "spread-noise"),
        (spread(end=lambda v: v), "spread-root"),
        (spread(width=lambda a, s, b: 1.0), "spread-target"),
        (spread(width=lambda a, s, b: (a * b + s) ** 2 + 1 - (a + s) ** 2), "spread-target"),
        (spread(network=lambda f, c: (1, 1)), "spread-spoil"),
        (spread(network=lambda f, c: (1, f)), "spread-spoil"),
        (spread(network=lambda f, c: (f, 1)), "spread-both"),
        (spread(beta=lambda t: 0.1 + 19.9 * t), "spread-when"),
        (spread(clock=lambda t: 1 - t), "spread-when"),
        (spread(grow=lambda r, h: 1 + 2 * h * r), "spread-square"),
        (spread(n=1000), "spread-steps"),
        (spread_late(0.5), "spread-start"),
        (spread_late(1.0), "spread-start"),
        (lambda spoil, c, b, n: torch.ones(2), "wrong-type"),
    ],
    "check_worse_with_noise": [
        (lambda t: 1.2 if t > 0.9 else 1.0, "worse-range"),
        (lambda t: 0.05, "worse-range"),
        (lambda t: 1.0, "worse-nothing"),
        (lambda t: 1.05 if t > 0.97 else 1.0, "worse-nothing"),
        (lambda t: 1.05, "worse-flow"),
        (early, "worse-flow"),
        (lambda t: 1.05 if t > 0.7 else 1.0, "worse-little"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("06", RIGHT, WRONG)
