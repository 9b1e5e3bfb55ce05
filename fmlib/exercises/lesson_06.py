"""Checks of the exercises on lesson 06: DDPM's steps, its score and noise, and a flow's clock."""

import math

import torch

from fmlib.diffusion import DDPM
from fmlib.exact import GaussianMixture
from fmlib.exercises import Hints, check, gap, points, run
from fmlib.paths import VP, CondOT, Cosine

HINTS = Hints(
    {
        "step-data": "solve (6.2) for the data. With a_j = 1 the mean of the step has to be just "
        "that: compare your beta, the sign and the root in front of epsilon.",
        "step-last": "once the step has arrived at the data, how large is the variance of (6.4)?",
        "step-shrink": "without any noise the chain only shrinks. By which factor between the two "
        "steps, and which way are you going?",
        "step-noise": "put true noise in: y_j has to obey (6.2) again. Is the factor of z a "
        "variance or a standard deviation?",
        "step-pair": "the spread of y_j is right, but it keeps too much of the noise of y_k, or "
        "too little. Compare the factor of epsilon with (6.4).",
        "walk-clock": "the network's t runs from 0 to 1. Is it k that you pass, or the time of k?",
        "walk-order": "print the k that you visit. Which end of the chain is the noise?",
        "walk-times": "at which times is the network asked? Each k in steps has its own, once.",
        "walk-next": "print k and j of each step. To which k does it have to lead, if some are "
        "left out of steps?",
        "walk-end": "look at the last step: where does it go, and what does alpha_bar[-1] mean in "
        "Python?",
        "walk-generator": "where does the randomness come from?",
        "walk-spread": "is z drawn anew each time? And does your step pass its own check, for the "
        "alpha_bar that it starts from and the one that it goes to?",
        "score-scale": "set the score to zero. What is left of u, and which ratio carries x?",
        "score-still": "for data from N(0, I) on VP the cloud never changes. What does that say "
        "about the two terms?",
        "score-vp": "which relation between alpha and sigma did you use? Does each path have it?",
        "score-exact": "check your step from the score to the noise: which power of sigma, and "
        "which derivatives of the schedule?",
        "rho-sign": "a square has two roots. Which one does the exercise ask for?",
        "rho-range": "the square root in front of epsilon has to exist.",
        "rho-data": "if a_j = 1, no noise may be left. What is the variance of y_j there?",
        "rho-no-step": "if a_j = a_k, both values of the chain are the same.",
        "rho-root": "is what you return a variance or a standard deviation?",
        "rho-share": "the share is one of the covariance. How large must the factor of epsilon be "
        "for none of it, and for a half?",
        "rho-pair": "write down the covariance of y_j and y_k, given the data, once from (6.1) and "
        "once from the step backwards.",
        "noise-flow": "set g = 0 everywhere. What has to be left?",
        "noise-twice": "count the factors on the way of z, line by line.",
        "noise-root": "dW is a Gaussian of variance dt. How large is it, then?",
        "noise-size": "set the velocity and the score to zero. What is left of (6.11)?",
        "noise-drift": "set the velocity and z to zero. Compare sign, power and factor with "
        "(6.11).",
        "noise-time": "at which time do you ask for g? Everything in the step is taken at its "
        "start.",
        "noise-start": "with which x, and at which t, do you ask for the velocity and the score? "
        "Everything in the step is taken at its start.",
        "clock-runs": "a clock may run forwards or backwards, but not both, and never stand still.",
        "clock-point": "for b = 0 all data are one point, and DDIM's own clock is exact already.",
        "clock-root": "does x / alpha grow like your clock, or like some power of it?",
        "clock-exact": "solve (6.10) for this target: which function of lambda is x / alpha, up to "
        "a factor? Over which clock is its graph a straight line?",
        "scale-sign": "one divides by it, as by alpha. Of which sign may it be, and may it be 0?",
        "scale-ends": "at the end sigma is 0 and the cloud has the spread b: how far is it from "
        "b = 1 in your scale?",
        "scale-still": "how wide is the cloud at time t? Variances add up, not widths.",
        "prediction-range": "a spread is positive; and the factor on the output is 1.05 only.",
        "spread-still": "with b = 1 and no noise the exact velocity is zero. Print the rate by "
        "which x changes.",
        "spread-noise": "two things change the variance in a step: the factor on x and the fresh "
        "noise. How does each of them enter?",
        "spread-root": "is what you return a variance or a standard deviation?",
        "spread-target": "which spread does p_t have on the way, and so how strong is its score?",
        "spread-spoil": "the network's output is what gets the factor. Which terms contain it?",
        "spread-both": "with noise the network enters (6.11) twice: where?",
        "spread-when": "the factor depends on the time. Which clock does spoil have, which beta?",
        "spread-square": "right for short steps only. If x is multiplied by a number, what exactly "
        "happens to its variance?",
        "spread-start": "at which time of its step does Euler take the slope?",
        "spread-steps": "two steps, at t = 0 and t = 1/2. What is the length of a step?",
        "worse-range": "the factor may leave 1 by 0.05 at most, in either direction.",
        "worse-nothing": "this hardly spoils anything: use what you are allowed.",
        "worse-flow": "an error early and an error late: which one does each sampler forget?",
        "worse-little": "the right direction. How much of your error is still there at the end, "
        "in each sampler?",
    }
)
expect = HINTS.expect


def _alpha_bar(n=1000, k=None):
    """alpha_bar, or alpha_bar_k."""
    alpha_bar = DDPM(n, 0.1 / n, 20 / n).alpha_bar
    return alpha_bar if k is None else alpha_bar[k]


@check
def check_ancestral_step(ancestral_step):
    """ancestral_step(y, epsilon, a_k, a_j, z) -> like y."""
    d, e, z = points(3, 6, 2)
    a_k, a_j, one = _alpha_bar(k=599), _alpha_bar(k=499), torch.ones((), dtype=d.dtype)

    def step(d, e, z, a_j):
        y = a_k.sqrt() * d + (1 - a_k).sqrt() * e
        return run(ancestral_step, y, e, a_k, a_j, z, like=y)

    off = gap(step(d, e, 0 * z, one), d)
    found = f"with a_j = 1 and z = 0 the step must give the data of (6.2), misses them by {off:.2g}"
    expect(off < 1e-9, "step-data", found)
    off = gap(step(d, e, z, one), d)
    expect(off < 1e-9, "step-last", f"with a_j = 1 the step adds noise, up to {off:.2g}")
    share = float(step(one + 0 * d, 0 * e, 0 * z, a_j)[0, 0])
    found = f"from a_k = {a_k:.3f} to a_j = {a_j:.3f} the share of the data must become"
    found = f"{found} sqrt(a_j) = {a_j.sqrt():.3f}, becomes {share:.3f}"
    expect(abs(share - a_j.sqrt()) < 1e-9, "step-shrink", found)
    kept = float(step(0 * d, one + 0 * e, 0 * z, a_j)[0, 0])
    fresh = float(step(0 * d, 0 * e, one + 0 * z, a_j)[0, 0])
    found = f"the step keeps {kept:.3f} of the old noise and adds {fresh:.3f} of z: a variance of"
    found = f"{found} {kept**2 + fresh**2:.3f}, where 1 - a_j = {1 - a_j:.3f}"
    expect(abs(kept**2 + fresh**2 - (1 - a_j)) < 1e-9, "step-noise", found)
    covariance, exact = kept * (1 - a_k).sqrt(), (a_k / a_j).sqrt() * (1 - a_j)
    found = f"the covariance of y_j and y_k is {covariance:.3f}, that of the chain is {exact:.3f}"
    expect(abs(covariance - exact) < 1e-9, "step-pair", found)
    step(d.float(), e.float(), z.float(), a_j)
    return "ancestral_step: data, noise and their covariance as in the chain, none added at the end"


def _walk_spread(steps, b):
    """The exact standard deviation that the ancestral sampler makes of N(0, 1), for N(0, b^2)."""
    signal, variance = _alpha_bar(), 1.0
    for k, j in zip(steps, [*steps[1:], None], strict=True):
        a_k, a_j = float(signal[k]), 1.0 if j is None else float(signal[j])
        beta, v = 1 - a_k / a_j, a_k * b**2 + 1 - a_k
        factor = (1 - beta / v) / math.sqrt(1 - beta)
        variance = factor**2 * variance + (1 - a_j) / (1 - a_k) * beta
    return math.sqrt(variance)


def _every(m):
    return list(range(999, -1, -m))


@check
def check_walk(walk):
    """walk(epsilon, y, steps, generator) -> like y."""
    signal, time = _alpha_bar(), DDPM().time
    y, steps, asked, means = points(4000, 2), _every(10), [], []

    def network(mean, b):
        def epsilon(y, t):
            asked.append(float(t))
            means.append(float(y.mean()))
            a = signal[(time - t).abs().argmin()].to(y)
            return (1 - a).sqrt() / (a * b**2 + 1 - a) * (y - a.sqrt() * mean)

        return epsilon

    def walked(mean, b, y=y, seed=0):
        asked.clear()
        means.clear()
        return run(walk, network(mean, b), y, steps, torch.Generator().manual_seed(seed), like=y)

    end = walked(1.5, 0.0, y[:50])
    found = f"the network is asked at t = {asked[0] if asked else 0:.5g}"
    expect(max(asked, default=0) <= 1, "walk-clock", found)
    turned = len(asked) > 1 and asked[0] > asked[-1]
    found = f"the walk starts at t = {asked[0] if asked else 0:.3f} and ends at"
    expect(not turned, "walk-order", f"{found} t = {asked[-1] if asked else 0:.3f}")
    same = len(asked) == len(steps) and gap(torch.tensor(asked), time[steps].float()) < 1e-6
    found = f"for steps = [999, 989, ..., 9] the network is asked {len(asked)} times, at t ="
    found = f"{found} {', '.join(f'{t:.3f}' for t in asked[:3])} ..., not at those of steps"
    expect(same, "walk-times", found)
    found = "the same seed of the generator gives two different results"
    first = list(means)
    walked(1.5, 0.0, y[:50])
    expect(first == means, "walk-generator", found)
    # One data point m and the same z: y_k shifts by sqrt(a_k) m, if the start does so.
    shift, root = [], signal[steps].sqrt()
    for mean in (0.0, 1.5):
        walked(mean, 0.0, y[:50] + root[0] * mean)
        shift.append(torch.tensor(means))
    share, j = (shift[1] - shift[0]) / 1.5, len(steps) // 2
    found = f"for steps = [999, 989, ..., 9] the share of the data in y is {share[j]:.4f} when k ="
    found = f"{found} {steps[j]} is reached, must be {root[j]:.4f}"
    expect(gap(share, root) < 1e-5, "walk-next", found)
    off = gap(end, 1.5)
    found = f"if all data lie at 1.5, so must the end of the walk: it is off by {off:.2g}"
    expect(off < 1e-6, "walk-end", found)
    end = walked(0.0, 0.3)
    found = "two seeds of the generator give the same result"
    expect(gap(end, walked(0.0, 0.3, seed=1)) > 1e-3, "walk-generator", found)
    spread, exact = float(end.std()), _walk_spread(steps, 0.3)
    found = f"for data from N(0, 0.3^2 I) these 100 steps must lead to a spread of {exact:.3f}"
    expect(abs(spread / exact - 1) < 0.05, "walk-spread", f"{found}, yours lead to {spread:.3f}")
    walked(0.0, 0.3, y[:3].float())
    of = ", ".join(f"{_walk_spread(_every(m), 0.3):.3f}" for m in (1, 10, 50, 100))
    return f"walk: for data of spread 0.3, 1000, 100, 20 and 10 steps make {of}"


SPOTS = GaussianMixture(
    torch.tensor([[1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64), torch.tensor([0.3, 0.6])
)


@check
def check_velocity_from_score(velocity_from_score):
    """velocity_from_score(path, score, x, t) -> like x."""
    x, t = points(20, 2), torch.tensor(0.4, dtype=torch.float64)
    for path in (VP(), CondOT()):
        got = run(velocity_from_score, path, 0 * x, x, t, like=x) / x
        exact = float(path.d_alpha(t) / path.alpha(t))
        found = f"where the score is 0, on {type(path).__name__} at t = 0.4, u must be"
        found = f"{found} {exact:.3f} x, is {got[0, 0]:.3f} x"
        expect(gap(got, exact) < 1e-9, "score-scale", found)
    got = run(velocity_from_score, VP(), -x, x, t, like=x)
    found = "on VP, where the score is -x, nothing moves; you move x ="
    found = f"{found} {x[0, 0]:.3f} with the velocity {got[0, 0]:.3f}"
    expect(gap(got, 0) < 1e-9, "score-still", found)
    for path in (VP(), CondOT(), Cosine()):
        for time in (0.2, 0.7):
            t, name = torch.tensor(time, dtype=x.dtype), type(path).__name__
            got = run(velocity_from_score, path, SPOTS.along(path).score(x, t), x, t, like=x)
            exact = SPOTS.along(path).velocity(x, t)
            found = f"for two Gaussians on {name} at t = {time} the velocity is {exact[0, 0]:.3f},"
            found = f"{found} got {got[0, 0]:.3f}"
            alpha, sigma = path.alpha(t), path.sigma(t)
            short = (
                path.d_alpha(t) / alpha * (x + SPOTS.along(path).score(x, t))
            )  # sigma^2 = 1 - alpha^2
            off = gap(got, exact)
            vp_only = gap(alpha**2 + sigma**2, 1) > 1e-6 and gap(got, short) < 1e-9
            expect(off < 1e-9 or not vp_only, "score-vp", found)
            expect(off < 1e-9, "score-exact", found)
    run(velocity_from_score, VP(), -x.float(), x.float(), t.float(), like=x.float())
    return "velocity_from_score: the exact velocity of two Gaussians, on VP, CondOT and Cosine"


@check
def check_fresh_noise(fresh_noise):
    """fresh_noise(a_k, a_j, share) -> a number."""
    pairs = [(_alpha_bar(k=k), _alpha_bar(k=j)) for k, j in ((300, 299), (700, 400), (999, 0))]
    one = torch.ones((), dtype=torch.float64)

    def rho(a_k, a_j, share=1.0):
        return run(fresh_noise, a_k, a_j, share, like=float)

    for a_k, a_j in pairs:
        exact = math.sqrt((1 - a_j) * (1 - a_k / a_j * (1 - a_j) / (1 - a_k)))
        got, at = rho(a_k, a_j), f"for a_k = {a_k:.4f} and a_j = {a_j:.4f}"
        found = f"{at} you return {got:.4f}, the square of what is asked, {exact:.4f}"
        expect(abs(got - exact**2) > 1e-9, "rho-root", found)
        expect(got >= 0, "rho-sign", f"{at} rho is negative, {got:.4f}")
        found = f"{at} rho^2 = {got**2:.4f}, and 1 - a_j - rho^2 is negative"
        expect(got**2 <= 1 - a_j, "rho-range", found)
        got = rho(a_k, one)
        expect(abs(got) < 1e-6, "rho-data", f"for a_j = 1 rho must be 0, is {got:.4f}")
        got = rho(a_k, a_k)
        expect(abs(got) < 1e-6, "rho-no-step", f"for a_j = a_k rho must be 0, is {got:.4f}")
        got = rho(a_k, a_j)
        backward = math.sqrt((1 - a_k) * (1 - a_j - got**2))
        forward = math.sqrt(a_k / a_j) * (1 - a_j)
        found = f"{at} the covariance of y_j and y_k is {forward:.4f} in the chain, with"
        found = f"{found} rho = {got:.4f} it is {backward:.4f} in the step backwards"
        expect(abs(backward - forward) < 1e-9, "rho-pair", found)
        for share in (0.5, 0.0):
            got = rho(a_k, a_j, share)
            backward = math.sqrt((1 - a_k) * max(0.0, 1 - a_j - got**2))
            found = f"{at} and the share {share:g} the covariance must be {share * forward:.4f}, is"
            found = f"{found} {backward:.4f}, with rho = {got:.4f}"
            expect(abs(backward - share * forward) < 1e-7, "rho-share", found)
    off = _ddim_and_ancestral(rho)
    verified = "fresh_noise: the given share of the chain's covariance; with all of it"
    return f"{verified} DDIM is (6.4), to {off:.0e}"


def _ddim_and_ancestral(rho, n=50):
    """The largest difference of the end points of DDIM with this rho and ancestral sampling."""
    chain, signal, x = DDPM(n, 0.1 / n, 20 / n), _alpha_bar(n), points(20, 2)
    model, generator = (lambda x, t: torch.tanh(x) + 0.1 * t), torch.Generator()
    ancestral = chain.ancestral_sample(model, x, generator=generator.manual_seed(0)).end
    generator.manual_seed(0)
    for k in reversed(range(n)):
        a_k, a_j = signal[k], signal[k - 1] if k else signal.new_ones(())
        e, r = model(x, chain.time[k]), rho(a_k, a_j)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype) if k else 0 * x
        x = (a_j / a_k).sqrt() * (x - (1 - a_k).sqrt() * e)
        x = x + (1 - a_j - r**2).clamp(min=0).sqrt() * e + r * z
    return gap(x, ancestral)


@check
def check_noisy_step(noisy_step):
    """noisy_step(velocity, score, g, x, t, h, z) -> like x."""
    x, z = points(2, 5, 2)
    t, h = torch.tensor(0.3, dtype=x.dtype), 0.04

    def zero(x, t):
        return torch.zeros_like(x)

    def step(velocity=zero, score=zero, g=lambda t: 2.0, x=x, z=z):
        return run(noisy_step, velocity, score, g, x, t.to(x), h, z, like=x)

    moved = step(lambda x, t: t * x, lambda x, t: torch.sin(x), lambda t: 0.0)
    found = "with g = 0 the step is not Euler's"
    expect(gap(moved, x + h * 0.3 * x) < 1e-6, "noise-flow", found)
    for size in (2.0, 0.5):
        factor = float(((step(g=lambda t, size=size: size) - x) / z)[0, 0])
        found = f"with g = {size:g} and h = {h:g} the spread of the noise must be"
        found = f"{found} {size * h**0.5:.3f}, is {factor:.3f}"
        expect(abs(factor / (size**2 * h**0.5) - 1) > 1e-6, "noise-twice", found)
        expect(abs(factor / (size * h) - 1) > 1e-6, "noise-root", found)
        expect(abs(factor / (size * h**0.5) - 1) < 1e-6, "noise-size", found)
        pulled = step(zero, lambda x, t: -x, lambda t, size=size: size, z=0 * z) / x
        exact = 1 - 0.5 * size**2 * h
        found = f"with g = {size:g}, the score -x and no velocity a step must multiply x by"
        found = f"{found} {exact:.3f}, multiplies by {pulled[0, 0]:.3f}"
        expect(gap(pulled, exact) < 1e-6, "noise-drift", found)
    factor = float(((step(g=lambda t: 1 + t) - x) / z)[0, 0])
    found = f"with g = 1 + t the spread at t = 0.3 must be {1.3 * h**0.5:.3f}, is {factor:.3f}"
    expect(abs(factor - 1.3 * h**0.5) < 1e-6, "noise-time", found)
    got = step(lambda x, t: t * x, lambda x, t: (1 - t) * torch.sin(x))
    off = gap(got, x + h * (0.3 * x + 2 * 0.7 * torch.sin(x)) + 2 * h**0.5 * z)
    found = "for the velocity t x, the score (1 - t) sin(x) and g = 2 the step of Euler with noise"
    expect(off < 1e-6, "noise-start", f"{found} is missed by up to {off:.2g}")
    step(x=x.float(), z=z.float())
    return "noisy_step: Euler's at g = 0, and drift and noise of the right size for any g"


def _line(x, y):
    """How far y is from a straight line in x, relative to its own range."""
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return gap(y, y[0] + slope * (x - x[0])) / float(y.max() - y.min())


@check
def check_clock(clock):
    """clock(ratio, b) -> like ratio."""
    ratio = torch.linspace(5, 0, 201, dtype=torch.float64)[:-1]
    for b in (0.0, 0.5, 2.0):
        tau, exact = run(clock, ratio, b, like=ratio), torch.sqrt(b**2 + ratio**2)
        ticks = tau.diff()
        one_way = float(ticks.min()) > 0 or float(ticks.max()) < 0
        found = f"for b = {b:g} the clock changes by {ticks.min():.2g} to {ticks.max():.2g}"
        expect(one_way, "clock-runs", f"{found} between neighbouring values of lambda")
        powers = [_line(tau.abs().pow(p), exact) for p in (0.5, 2.0)] if b else [1.0]
        off = _line(tau, exact)
        found = f"for b = {b:g} the exact x / alpha, plotted over your clock, leaves a straight"
        found = f"{found} line by {100 * off:.2g} % of its range"
        expect(b or off < 1e-9, "clock-point", found)
        expect(min(powers) > 1e-9, "clock-root", found)
        expect(off < 1e-6, "clock-exact", found)
    run(clock, ratio.float(), 0.5, like=ratio.float())
    ddim = _line(ratio, torch.sqrt(0.25 + ratio**2))
    straight = "clock: over it x / alpha runs straight, for b = 0, 0.5, 2; over DDIM's clock lambda"
    return f"{straight} and for b = 0.5 the curve leaves a straight line by {ddim:.0%}"


@check
def check_scale(scale):
    """scale(alpha, sigma, b) -> like alpha."""
    t = torch.linspace(0.01, 1, 100, dtype=torch.float64)
    for path in (VP(), CondOT(), Cosine()):
        alpha, sigma = path.alpha(t), path.sigma(t)
        for b in (0.5, 2.0):
            c = run(scale, alpha, sigma, b, like=alpha)
            at = f"on {type(path).__name__} with b = {b:g}"
            found = f"{at} the scale must be positive, gets to {c.min():.2g}"
            expect(float(c.min()) > 0, "scale-sign", found)
            width = torch.sqrt((alpha * b) ** 2 + sigma**2) / c
            found = f"{at} the cloud is {width[0]:.3f} wide in your scale at the start,"
            found = f"{found} {width[-1]:.3f} at the end"
            expect(abs(width[-1] / width[0] - 1) < 0.02, "scale-ends", found)
            found = f"{at} the width of the cloud in your scale runs from {width.min():.3f} to"
            found = f"{found} {width.max():.3f}"
            expect(width.max() / width.min() - 1 < 1e-6, "scale-still", found)
    run(scale, alpha.float(), sigma.float(), 0.5, like=alpha.float())
    return "scale: nothing moves any more, on VP, CondOT and Cosine, for b = 0.5 and 2"


@check
def check_prediction(prediction):
    """prediction() -> a number."""
    spread = run(prediction, like=float)
    expect(0.1 <= spread <= 3, "prediction-range", f"a spread of {spread:g} is not to be expected")
    return f"prediction: {spread:g}. Now measure"


def _T(s):  # the integral of beta from 0 to s
    return 0.1 * s + 9.95 * s**2


def _limit(strength, pieces):
    """The spread for N(0, 1) data in the limit of small steps. pieces: (factor, from t, to t)."""
    v = 1.0  # in the variable T, dV/dT = (1 - (1 + c) p) V + c
    for factor, start, stop in pieces:
        rate, length = 1 - (1 + strength) * factor, _T(1 - start) - _T(1 - stop)
        v = v + (rate * v + strength) * (math.expm1(rate * length) / rate if rate else length)
    return math.sqrt(v)


@check
def check_end_spread(end_spread):
    """end_spread(spoil, strength, b, n_steps) -> a number."""

    def spread(spoil, strength, b=1.0, n=400):
        return run(end_spread, spoil, strength, b, n, like=float)

    for strength, name in ((0.0, "spread-still"), (1.0, "spread-noise")):
        got = spread(lambda t: 1.0, strength)
        found = (
            f"unspoiled, with b = 1 and g^2 = {strength:g} beta, the spread must stay 1, becomes"
        )
        expect(abs(got - 1) < 0.02, name, f"{found} {got:.3f}")
    for strength, name in ((0.0, "spread-spoil"), (1.0, "spread-both")):
        got, exact = spread(lambda t: 1.1, strength), _limit(strength, [(1.1, 0, 1)])
        found = f"with the factor 1.1, b = 1 and g^2 = {strength:g} beta the spread becomes"
        found = f"{found} {exact:.3f} for small steps, you find {got:.3f}"
        expect(abs(got / exact**2 - 1) > 0.02, "spread-root", found)
        expect(abs(got / exact - 1) < 0.02, name, found)
        pieces = [(1.1, 0, 0.25), (1, 0.25, 0.75), (1.3, 0.75, 1)]
        got = spread(lambda t: 1.1 if t < 0.25 else 1.3 if t >= 0.75 else 1.0, strength)
        exact = _limit(strength, pieces)
        found = "with 1.1 before t = 0.25 and 1.3 after t = 0.75, b = 1 and"
        found = (
            f"{found} g^2 = {strength:g} beta the spread becomes {exact:.3f}, you find {got:.3f}"
        )
        expect(abs(got / exact - 1) < 0.02, "spread-when", found)
    for strength in (0.0, 1.0):
        got = spread(lambda t: 1.0, strength, 0.4)
        found = f"unspoiled, with b = 0.4 and g^2 = {strength:g} beta, the spread must become 0.4"
        expect(abs(got - 0.4) < 0.02, "spread-target", f"{found}, becomes {got:.3f}")
    got, shrink = spread(lambda t: 1.05, 0.0, n=2), [0.0125 * rate for rate in (20, 10.05)]
    exact = (1 - shrink[0]) * (1 - shrink[1])
    found = f"two steps with the factor 1.05, b = 1 and no noise must give {exact:.3f}, give"
    found = f"{found} {got:.3f}"
    linear = math.sqrt((1 - 2 * shrink[0]) * (1 - 2 * shrink[1]))
    expect(abs(got - linear) > 0.005, "spread-square", found)
    for rates in ((15.025, 5.075), (10.05, 0.1)):  # in the middle, at the end of the step
        late = (1 - 0.0125 * rates[0]) * (1 - 0.0125 * rates[1])
        expect(abs(got - late) > 0.005, "spread-start", found)
    expect(abs(got - exact) < 0.02, "spread-steps", found)
    flow, noisy = (_limit(strength, [(1.05, 0, 1)]) for strength in (0.0, 1.0))
    return (
        f"end_spread: with the factor 1.05 the flow makes {flow:.2f} of 1, DDPM's noise {noisy:.2f}"
    )


def _spread(spoil, strength, n=1000):
    v = 1.0  # data N(0, 1), where the score is -x all the way
    for i in range(n):
        beta = 0.1 + 19.9 * (1 - i / n)
        rate = 0.5 * beta * (1 - (1 + strength) * spoil[i])
        v = (1 + rate / n) ** 2 * v + strength * beta / n
    return math.sqrt(v)


@check
def check_worse_with_noise(worse_with_noise):
    """worse_with_noise(t) -> a number."""
    n = 1000
    spoil = [run(worse_with_noise, torch.tensor(i / n), like=float) for i in range(n)]
    worst = max(abs(factor - 1) for factor in spoil)
    expect(worst < 0.05 + 1e-6, "worse-range", f"the factor leaves 1 by {worst:.3g}")
    flow, noisy = (abs(_spread(spoil, c) - _spread([1.0] * n, c)) for c in (0.0, 1.0))
    found = f"your error changes the spread by {flow:.4f} in the flow, by {noisy:.4f} with noise"
    expect(max(flow, noisy) > 0.001, "worse-nothing", found)
    expect(noisy > flow, "worse-flow", found)
    expect(noisy > 1.5 * flow, "worse-little", f"{found}, less than 1.5 times as much")
    return f"worse_with_noise: it changes the spread by {noisy:.4f} with noise, {flow:.4f} without"
