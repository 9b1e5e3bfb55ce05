"""Other right answers to the exercises on lesson 04, and typical wrong ones with their hints."""

import copy
import math

import torch
from solved import answers

from fmlib.exact import GaussianMixture
from fmlib.losses import cfm_loss
from fmlib.paths import CondOT


def remember(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def mean_weights(states):
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def mean_by_steps(states):
    mean = copy.deepcopy(states[0])
    for k, state in enumerate(states[1:], 2):
        for name in mean:
            mean[name] += (state[name] - mean[name]) / k
    return mean


def mean_in_place(states):
    mean = states[0]
    for state in states[1:]:
        for name in mean:
            mean[name] += state[name]
    return {name: value / len(states) for name, value in mean.items()}


def mean_of_means(states):
    mean = states[0]
    for state in states[1:]:
        mean = {name: (mean[name] + state[name]) / 2 for name in mean}
    return mean


def gradient(model, batch):
    parts = torch.autograd.grad(cfm_loss(model, batch), tuple(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def noise(of):
    """of(gradients), (batches, weights), -> a number."""
    return lambda model, batches: of(torch.stack([gradient(model, b) for b in batches]))


def noise_by_backward(model, batches, clear=True):
    mean, square = 0, 0
    for batch in batches:
        if clear:
            model.zero_grad()
        cfm_loss(model, batch).backward()
        g = torch.cat([w.grad.flatten() for w in model.parameters()])
        mean, square = mean + g / len(batches), square + g**2 / len(batches)
    return (square - mean**2).sum().item()


def noise_without_copies(model, batches):
    kept = []
    for batch in batches:
        model.zero_grad(set_to_none=False)
        cfm_loss(model, batch).backward()
        kept.append([w.grad for w in model.parameters()])
    return torch.stack([torch.cat([part.flatten() for part in g]) for g in kept]).var(0).sum()


def noise_of_the_first(model, batches):
    first = next(model.parameters())
    g = [torch.autograd.grad(cfm_loss(model, batch), first)[0].flatten() for batch in batches]
    return torch.stack(g).var(0).sum()


def floor_by_regression(t, s):
    """What is left of the variance of X_1 - X_0 by its best linear guess from X_t."""
    covariance = t * s**2 - (1 - t)
    return s**2 + 1 - covariance**2 / ((1 - t) ** 2 + t**2 * s**2)


def floor_by_precision(t, s):
    precision = (1 - t) ** 2 / s**2 + t**2
    return 1 / precision


def new_time(t, c):
    return c * t / (1 - t + c * t)


def scaled_uncancelled(v, t, c):
    r = new_time(t, c)
    return (c * (1 - r) / (1 - t)) ** 2 * v(r)


def scaled_by_derivative(v, t, c):
    t = t.clone().requires_grad_()
    r = new_time(t, c)
    (rate,) = torch.autograd.grad(r.sum(), t)
    return c * rate * v(r.detach())


def line(dx_t=None, mean=None, back=False):
    dx_t = dx_t or (lambda x_0, x_1: (x_1 - x_0)[:, 0])
    mean = mean or (lambda square: square.mean())

    def line_loss(velocity, x_0, x_1, t):
        x_t = torch.lerp(x_0[:, 0], x_1[:, 0], 1 - t if back else t)
        return mean((velocity(x_t, t) - dx_t(x_0, x_1)).square())

    return line_loss


def line_by_library(velocity, x_0, x_1, t):
    def model(x, t):
        return velocity(x[:, 0], t)[:, None]

    return cfm_loss(model, CondOT().sample(x_0, x_1, t))


def bregman(phi, d_phi):
    return lambda u, y: phi(y) - phi(u) - d_phi(u) * (y - u)


def quartic(u, y):
    return (u - y) ** 2 * (3 * u**2 + 2 * u * y + y**2)


def median_by_posterior(x, t, w):
    both = torch.tensor([[1.0], [-1.0]], dtype=x.dtype)
    target = GaussianMixture(both, 0.0, torch.tensor([w, 1 - w], dtype=x.dtype))
    best = target.along(CondOT()).posterior_weights(x[:, None], t).argmax(1)
    return (both[best, 0] - x) / (1 - t)


def median_by_boundary(x, t, w):
    turned = t * x < -0.5 * math.log(w / (1 - w)) * (1 - t) ** 2
    return (1 - 2 * turned.to(x.dtype) - x) / (1 - t)


def towards(where):
    return lambda x, t, w: (where(x, t, w) - x) / (1 - t)


def log_odds(x, t, w):
    return math.log(w / (1 - w)) + 2 * t * x / (1 - t) ** 2


RIGHT = {
    "check_swapped_velocity": [
        lambda velocity, x, t: velocity(x, 1.0 - float(t)),
        lambda velocity, x, t: velocity(x, (1 - t).expand(len(x))),
        lambda velocity, x, t: velocity(x, torch.full((len(x), 1), 1 - float(t))),  # in float32
    ],
    "check_mean_weights": [
        (remember, mean_weights),
        (lambda model: {k: v + 0 for k, v in model.state_dict().items()}, mean_by_steps),
    ],
    "check_noise_ratio": [
        lambda between, within, n: (between + within / n) / ((between + within) / n),
        lambda between, within, n: torch.tensor(1 + (n - 1) * between / (between + within)),
    ],
    "check_predicted_ratio": [lambda: 1, lambda: torch.tensor(256.0)],
    "check_gradient_noise": [
        noise(lambda g: (g - g.mean(0)).square().mean(0).sum()),
        noise(lambda g: torch.trace(torch.cov(g.T))),
        noise_by_backward,
    ],
    "check_floor_at": [floor_by_regression, floor_by_precision],
    "check_scaled_floor_at": [
        scaled_by_derivative,
        lambda v, t, c: v(new_time(t, c)) * (c / torch.lerp(torch.ones_like(t), t * 0 + c, t)) ** 2,
    ],
    "check_line_loss": [
        line(),
        line_by_library,
        lambda v, x_0, x_1, t: (
            (v(((1 - t)[:, None] * x_0 + t[:, None] * x_1)[:, 0], t)[:, None] - (x_1 - x_0))
            .square()
            .mean()
        ),
    ],
    "check_learned_instead": [
        lambda u, mean, n: mean + (u - mean) / n,
        lambda u, mean, n: torch.lerp(torch.full_like(u, mean), u, 1 / n),
    ],
    "check_mean_loss": [
        bregman(torch.exp, torch.exp),
        quartic,
        bregman(lambda z: z**2 + z**4, lambda z: 2 * z + 4 * z**3),
        lambda u, y: 3 * u**4 - 4 * u**3 * y + y**4,
        lambda u, y: torch.exp(y) - torch.exp(u) * (1 + y - u),
        bregman(lambda z: torch.log(2 * torch.cosh(z)), torch.tanh),
    ],
    "check_predicted_share": [lambda: 0.3, lambda: torch.tensor(1)],
    "check_median_velocity": [median_by_posterior, median_by_boundary],
}

WRONG = {
    "check_swapped_velocity": [
        (lambda velocity, x, t: -velocity(x, t), "swap-middle"),
        (lambda velocity, x, t: -velocity(x, 1 - t), "swap-middle"),  # as if run backwards
        (lambda velocity, x, t: velocity(-x, 1 - t), "swap-middle"),
        (lambda velocity, x, t: velocity(x, t), "swap-time"),  # as if nothing had changed
        (lambda velocity, x, t: velocity(x, 0 * t + 0.5), "swap-time"),
        (lambda velocity, x, t: velocity(x, t - 1), "raises"),
    ],
    "check_mean_weights": [
        ((lambda model: model.state_dict(), mean_weights), "remember-alias"),
        ((lambda model: dict(model.named_parameters()), mean_weights), "remember-alias"),
        ((lambda model: list(model.parameters()), mean_weights), "remember-all"),
        ((lambda model: copy.deepcopy(model), mean_weights), "remember-all"),
        ((remember, mean_in_place), "mean-keeps"),
        (
            (remember, lambda states: {k: sum(s[k] for s in states) for k in states[0]}),
            "mean-same",
        ),
        ((remember, mean_of_means), "mean-each"),
        ((remember, lambda states: states[-1]), "mean-each"),
    ],
    "check_noise_ratio": [
        (lambda b, w, n: b + w / n, "ratio-one"),
        (lambda b, w, n: (b + w) / b, "ratio-one"),
        (lambda b, w, n: n, "ratio-within"),
        (lambda b, w, n: (b + w) / (n * b + w), "ratio-between"),  # upside down
        (lambda b, w, n: ((n * b + w) / (b + w)) ** 0.5, "ratio-between"),  # the deviation's
        (lambda b, w, n: (n * b * b + w * w) / (b * b + w * w), "ratio-exact"),
    ],
    "check_predicted_ratio": [
        (lambda: 0.5, "ratio-range"),
        (lambda: -10, "ratio-range"),
        (lambda: 1000, "ratio-range"),
        (lambda: "tenfold", "wrong-type"),
    ],
    "check_gradient_noise": [
        (noise(lambda g: g.square().mean(0).sum()), "noise-same"),  # the mean is not taken off
        (lambda model, batches: noise_by_backward(model, batches, clear=False), "noise-same"),
        (noise_without_copies, "noise-alias"),
        (noise(lambda g: g.std(0).sum()), "noise-square"),
        (noise(lambda g: g.var(0).mean()), "noise-sum"),
        (noise(lambda g: g.norm(dim=1).var()), "noise-sum"),
        (noise_of_the_first, "noise-weights"),
        (noise(lambda g: g.var(0)), "wrong-type"),
    ],
    "check_floor_at": [
        (lambda t, s: torch.ones_like(t), "floor-start"),
        (lambda t, s: s / ((1 - t) + s * t), "floor-start"),
        (lambda t, s: (1 - t) ** 2 + (s * t) ** 2, "floor-start"),  # the variance of X_t
        (lambda t, s: torch.full_like(t, s**2), "floor-end"),
        (lambda t, s: s**2 / ((1 - t) ** 2 + t**2), "floor-end"),
        (lambda t, s: (1 - t) * s**2 + t, "floor-between"),
        (lambda t, s: s**2 / (1 - t + (s * t) ** 2), "floor-between"),
    ],
    "check_scaled_floor_at": [
        (lambda v, t, c: v(t) / 2, "scaled-same"),
        (lambda v, t, c: v(new_time(t, c)), "scaled-start"),
        (lambda v, t, c: c * v(t), "scaled-start"),
        (lambda v, t, c: c**2 * v(t), "scaled-end"),
        (lambda v, t, c: c**2 * v(new_time(t, c)), "scaled-end"),
        (lambda v, t, c: c**2 * v(t) / (1 - t + c * t) ** 2, "scaled-between"),
        (scaled_uncancelled, "scaled-limit"),  # 0 / 0 at t = 1
        (lambda v, t, c: c**2 * v(new_time(t, 1 / c)) / (1 - t + c * t) ** 2, "scaled-between"),
    ],
    "check_line_loss": [
        (line(dx_t=lambda x_0, x_1: x_1 - x_0), "line-table"),  # the bug
        (line(dx_t=lambda x_0, x_1: (x_1 - x_0)[0]), "line-table"),  # one target for all
        (line(mean=torch.sum), "line-mean"),
        (line(dx_t=lambda x_0, x_1: x_1[:, 0]), "line-target"),
        (line(dx_t=lambda x_0, x_1: (x_0 - x_1)[:, 0]), "line-sign"),
        (line(back=True), "line-place"),
        (lambda v, x_0, x_1, t: line()(v, x_0, x_1, t).detach(), "line-gradient"),
        (lambda v, x_0, x_1, t: line()(v, x_0, x_1, t).item(), "line-gradient"),
        (torch.no_grad()(line()), "line-gradient"),
        (line(mean=lambda square: square.mean().sqrt()), "line-target"),
        (line(mean=lambda square: square), "wrong-type"),
    ],
    "check_learned_instead": [
        (lambda u, mean, n: torch.full_like(u, mean), "table-one"),
        (lambda u, mean, n: (u + mean) / 2, "table-one"),
        (lambda u, mean, n: u, "table-many"),  # as if nothing were wrong
        (lambda u, mean, n: mean + (u - mean) / n**2, "table-between"),
        (lambda u, mean, n: mean + (u - mean) / n**0.5, "table-many"),
    ],
    "check_mean_loss": [
        (lambda u, y: u**2 - 2 * u * y, "loss-zero"),
        (lambda u, y: torch.nn.functional.softplus(u) - y * u, "loss-zero"),
        (lambda u, y: u - y, "loss-sign"),
        (lambda u, y: torch.zeros_like(u), "loss-sign"),
        (bregman(lambda z: z**2 + z**3 / 10, lambda z: 2 * z + 0.3 * z**2), "loss-sign"),
        (lambda u, y: (u - y).abs(), "loss-mean"),
        (lambda u, y: (u - y) ** 4, "loss-mean"),
        (lambda u, y: torch.nn.functional.huber_loss(u, y, reduction="none"), "loss-mean"),
        (lambda u, y: (1 + 0.01 * y) * (u - y) ** 2, "loss-mean"),
        (lambda u, y: (1 + u**2) * (u - y) ** 2, "loss-mean"),
        (lambda u, y: (1 + y**2) * (u - y) ** 2, "loss-mean"),
        (lambda u, y: bregman(torch.exp, torch.exp)(y, u), "loss-mean"),  # u and y swapped
        (lambda u, y: 3 * (u - y) ** 2, "loss-shift"),
        (lambda u, y: y * torch.log(y / u) - y + u, "not-finite"),  # for positive numbers only
        (lambda u, y: (u - y).square().mean(), "wrong-shape"),
    ],
    "check_predicted_share": [
        (lambda: 30, "share-range"),
        (lambda: -0.1, "share-range"),
        (lambda: "30%", "wrong-type"),
    ],
    "check_median_velocity": [
        (towards(lambda x, t, w: torch.tanh(log_odds(x, t, w) / 2)), "median-two"),  # the mean
        (lambda x, t, w: torch.sign(log_odds(x, t, w)) - x, "median-two"),
        (lambda x, t, w: -towards(lambda x, t, w: log_odds(x, t, w).sign())(x, t, w), "median-two"),
        (towards(lambda x, t, w: x.sign()), "median-early"),
        (towards(lambda x, t, w: log_odds(x, t, 1 - w).sign()), "median-early"),
        (towards(lambda x, t, w: torch.full_like(x, math.copysign(1, w - 0.5))), "median-where"),
        (towards(lambda x, t, w: log_odds(x * (1 - t), t, w).sign()), "median-where"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("04", RIGHT, WRONG)
