"""DDPM's chain: its step, its walk, and the noise that a step may add."""

import math

import torch

from fmlib.diffusion import DDPM
from fmlib.exercises import Lesson, gap, points

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _alpha_bar(n=1000, k=None):
    """alpha_bar, or alpha_bar_k."""
    alpha_bar = DDPM(n, 0.1 / n, 20 / n).alpha_bar
    return alpha_bar if k is None else alpha_bar[k]


@check
def check_ancestral_step(ancestral_step):
    """ancestral_step(y, epsilon, a_k, a_j, z) -> like y."""
    d, e, z = points(3, 6, 2)
    one = torch.ones((), dtype=d.dtype)

    def step(d, e, z, a_j):
        y = a_k.sqrt() * d + (1 - a_k).sqrt() * e
        return run(ancestral_step, y, e, a_k, a_j, z, like=y)

    for k, j in ((599, 499), (900, 300)):
        a_k, a_j = _alpha_bar(k=k), _alpha_bar(k=j)
        agree(step(d, e, 0 * z, one), d, 1e-9, "step-data")
        agree(step(d, e, z, one), d, 1e-9, "step-last")
        share = step(one + 0 * d, 0 * e, 0 * z, a_j)[0, 0]
        agree(share, a_j.sqrt(), 1e-9, "step-shrink", a_k=a_k, a_j=a_j)
        kept = step(0 * d, one + 0 * e, 0 * z, a_j)[0, 0]
        up, down = (step(0 * d, 0 * e, by + 0 * z, a_j)[0, 0] for by in (1, -3))
        fresh = (up - down) / 4
        agree(kept**2 + fresh**2, 1 - a_j, 1e-9, "step-noise", kept=kept, fresh=fresh)
        agree(kept * (1 - a_k).sqrt(), (a_k / a_j).sqrt() * (1 - a_j), 1e-9, "step-pair")
    lesson.in_float32(ancestral_step, d, e, a_k, a_j, z, like=d)


def _walk_spread(steps, b):
    """The exact standard deviation that the ancestral sampler makes of N(0, 1), for N(0, b^2)."""
    signal, variance = _alpha_bar(), 1.0
    for k, j in zip(steps, [*steps[1:], None], strict=True):
        a_k, a_j = float(signal[k]), 1.0 if j is None else float(signal[j])
        beta, v = 1 - a_k / a_j, a_k * b**2 + 1 - a_k
        factor = (1 - beta / v) / math.sqrt(1 - beta)
        variance = factor**2 * variance + (1 - a_j) / (1 - a_k) * beta
    return math.sqrt(variance)


class _Network:
    """The exact noise prediction for data from N(mean, b^2), which notes when it is asked, and
    the mean of the y that it gets.
    """

    def __init__(self, mean, b):
        self.mean, self.b, self.times, self.means = mean, b, [], []
        self.signal, self.clock = _alpha_bar(), DDPM().time

    def __call__(self, y, t):
        self.times.append(float(t))
        self.means.append(float(y.mean()))
        a = self.signal[(self.clock - t).abs().argmin()].to(y)
        return (1 - a).sqrt() / (a * self.b**2 + 1 - a) * (y - a.sqrt() * self.mean)


def _expect_times(network, steps):
    """The network is asked at the times of these steps."""
    asked, exact = network.times, DDPM().time[steps].float()
    expect(max(asked, default=0) <= 1, "walk-clock", t=asked[0] if asked else 0)
    ends = {"first": asked[0] if asked else 0, "last": asked[-1] if asked else 0}
    expect(not (len(asked) > 1 and asked[0] > asked[-1]), "walk-order", **ends)
    same = len(asked) == len(steps) and gap(torch.tensor(asked), exact) < 1e-6
    shown = ", ".join(f"{t:.3f}" for t in asked[:3])
    expect(same, "walk-times", count=len(asked), times=shown)


@check
def check_walk(walk):
    """walk(epsilon, y, steps, generator) -> like y."""
    y, steps = points(4000, 2), list(range(999, -1, -25))
    few, root = y[:50], _alpha_bar()[steps].sqrt()

    def walked(mean, b, y, seed=0, steps=steps):
        network = _Network(mean, b)
        return run(walk, network, y, steps, torch.Generator().manual_seed(seed), like=y), network

    end, network = walked(1.5, 0.0, few)
    _expect_times(network, steps)
    others = [900, 700, 350, 20]  # uneven, and not to the last step
    _expect_times(walked(1.5, 0.0, few, steps=others)[1], others)
    expect(network.means == walked(1.5, 0.0, few)[1].means, "walk-generator")
    # One data point m and the same z: y_k shifts by sqrt(a_k) m, if the start does so.
    still, shifted = (walked(m, 0.0, few + root[0] * m)[1].means for m in (0.0, 1.5))
    share = (torch.tensor(shifted) - torch.tensor(still)) / 1.5
    j = len(steps) // 2
    right = gap(share, root) < 1e-5
    expect(right, "walk-next", share=share[j], k=steps[j], root=root[j])
    agree(end, 1.5, 1e-6, "walk-end")
    pushed = few.clone()
    pushed[7] += 1
    here, there = (walked(0.0, 0.3, start, steps=others)[0] for start in (few, pushed))
    moved = (here - there).abs().amax(1) > 1e-9
    expect(moved[7] and moved.sum() == 1, "walk-rows", count=int(moved.sum()))
    end, other = (walked(0.0, 0.3, y, seed)[0] for seed in (0, 1))
    expect(gap(end, other) > 1e-3, "walk-generator", says="walk-seeds")
    spread, exact = float(end.std()), _walk_spread(steps, 0.3)
    right = abs(spread / exact - 1) < 0.05
    expect(right, "walk-spread", count=len(steps), exact=exact, spread=spread)
    walked(0.0, 0.3, y[:3].float())
    made = [_walk_spread(list(range(999, -1, -m)), 0.3) for m in (1, 10, 50, 100)]
    return {"spreads": ", ".join(f"{spread:.3f}" for spread in made)}


@check
def check_fresh_noise(fresh_noise):
    """fresh_noise(a_k, a_j, share) -> a number."""
    pairs = [(_alpha_bar(k=k), _alpha_bar(k=j)) for k, j in ((300, 299), (700, 400), (999, 0))]
    one = torch.ones((), dtype=torch.float64)

    def rho(a_k, a_j, share=1.0):
        return run(fresh_noise, a_k, a_j, share, like=float)

    for a_k, a_j in pairs:
        exact = math.sqrt((1 - a_j) * (1 - a_k / a_j * (1 - a_j) / (1 - a_k)))
        got, at = rho(a_k, a_j), {"a_k": a_k, "a_j": a_j}
        expect(abs(got - exact**2) > 1e-9, "rho-root", rho=got, exact=exact, **at)
        expect(got >= 0, "rho-sign", rho=got, **at)
        expect(got**2 <= 1 - a_j, "rho-range", square=got**2, **at)
        agree(rho(a_k, one), 0, 1e-6, "rho-data")
        agree(rho(a_k, a_k), 0, 1e-6, "rho-no-step")
        forward = math.sqrt(a_k / a_j) * (1 - a_j)
        for share, name in ((1.0, "rho-pair"), (0.5, "rho-share"), (0.0, "rho-share")):
            got = rho(a_k, a_j, share)
            backward = math.sqrt((1 - a_k) * max(0.0, 1 - a_j - got**2))
            at |= {"share": share} if name == "rho-share" else {}
            agree(backward, share * forward, 1e-7 if share < 1 else 1e-9, name, rho=got, **at)
    off = _ddim_and_ancestral(rho)
    expect(off < 1e-6, "rho-pair", says="rho-walk", off=off)


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
