"""The bound that a VAE trains, and the game that a GAN plays, where all can be worked out."""

import math

import numpy as np
import torch

from fmlib.exercises import Lesson, double, gap, points

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _log_gauss(x, mean, std):
    return -(((x - mean) / std) ** 2) / 2 - math.log(2 * math.pi) / 2 - math.log(std)


def _log_joint(x, z, w, std):
    """log p(x | z) + log p_0(z), (batch, n).  z: (n,) or (batch, n)."""
    z = z.expand(len(x), z.shape[-1])
    given = _log_gauss(x[:, None], z[:, :, None] * w, std).sum(2)
    return given + _log_gauss(z, 0.0, 1.0)


def _bound(x, mean, log_std, w, std):
    """(1.3) by Gauss and Hermite's rule, exact for these integrands."""
    nodes, weights = (double(part) for part in np.polynomial.hermite_e.hermegauss(8))
    z = mean[:, None] + log_std.exp()[:, None] * nodes
    log_q = -(nodes**2) / 2 - math.log(2 * math.pi) / 2 - log_std[:, None]
    return ((_log_joint(x, z, w, std) - log_q) * weights).sum(1) / math.sqrt(2 * math.pi)


# A decoder in the plane that ignores z, two that do not, and one in space: w and std
DECODERS = [([0.0, 0.0], 0.6), ([1.5, -0.8], 0.5), ([0.4, 2.5], 1.7), ([-1.0, 0.3, 2.0], 0.8)]


def _line():
    """A grid of z for integrals over all of them, of spacing 0.01."""
    return torch.linspace(-12, 12, 2401, dtype=torch.float64)


def _evidence(x, w, std):
    return (_log_joint(x, _line(), w, std) + math.log(0.01)).logsumexp(1)


def _decoders():
    """Of each decoder: w and std, as tensors, and points x.  The first one ignores z."""
    for seed, (w, std) in enumerate(DECODERS):
        yield double(w), double(std), 1.5 * points(20, len(w), seed=seed)


@check
def check_elbo(elbo):
    """elbo(x, mean, log_std, w, std) -> (batch,), for q(z|x) = N(mean, exp(log_std)^2)."""
    for seed, (w, std, x) in enumerate(_decoders()):
        mean, log_std = points(20, seed=10 + seed), 0.7 * points(20, seed=20 + seed) - 0.3
        if seed == 0:  # with q = p_0 first
            exact = _log_gauss(x, 0.0, std).sum(1)
            got = run(elbo, x, 0 * mean, 0 * mean, w, std, like=exact)
            agree(got, exact, 1e-8, "elbo-decoder", std=std)
        got, exact = (
            run(elbo, x, mean, log_std, w, std, like=mean),
            _bound(x, mean, log_std, w, std),
        )
        found = {"says": "elbo-kl", "mean": mean[0], "spread": log_std[0].exp(), "std": std}
        found |= {"got": got[0], "exact": exact[0], "w": w.tolist()}
        decoded = exact + w.square().sum() * (2 * log_std).exp() / (2 * std**2)  # mean z only
        expect(seed == 0 or gap(got, decoded) > 1e-8, "elbo-middle", **found)
        right = gap(got, exact) < 1e-8 * (1 + gap(exact, 0))
        expect(right, "elbo-formula" if seed else "elbo-kl", **found)
    lesson.in_float32(elbo, x, mean, log_std, w, std, like=mean)


@check
def check_log_marginal(log_marginal):
    """log_marginal(x, w, std) -> (batch,): the exact log p(x)."""
    for seed, (w, std, x) in enumerate(_decoders()):
        got, exact = run(log_marginal, x, w, std, like=x[:, 0]), _evidence(x, w, std)
        found = {"w": w.tolist(), "std": std, "got": got[0], "exact": exact[0]}
        right = gap(got, exact) < 1e-6
        expect(seed or right, "marginal-noise", **found)
        for square in (w.square().sum(), w.square()):  # as if no two coordinates went together
            spread = (square + std**2).sqrt()
            other = (_log_gauss(x / spread, 0.0, 1.0) - spread.log()).sum(1)
            apart = seed == 0 or gap(got, other) > 1e-6
            expect(apart, "marginal-axes", says="marginal-noise", **found)
        expect(right, "marginal-formula", says="marginal-noise", **found)
    lesson.in_float32(log_marginal, x, w, std, like=x[:, 0])


@check
def check_best_encoder(best_encoder):
    """best_encoder(x, w, std) -> mean, log_std, (batch,) each: the q whose bound is log p(x)."""
    for seed, (w, std, x) in enumerate(_decoders()):
        mean, log_std = run(best_encoder, x, w, std, like=(x[:, 0], x[:, 0]))
        z = _line()
        weights = _log_joint(x, z, w, std).softmax(1)
        middle = (weights * z).sum(1)
        spread = (weights * (z - middle[:, None]) ** 2).sum(1).sqrt()
        found = {"w": w.tolist(), "std": std, "exact_std": spread[0], "got_std": log_std[0].exp()}
        found |= {"exact": middle[0], "got": mean[0], "says": "encoder-prior"}
        right = [gap(mean, middle) < 1e-6, gap(log_std, spread.log()) < 1e-6]
        expect(seed or all(right), "encoder-prior", **found)
        expect(right[0], "encoder-mean", **found)
        expect(right[1], "encoder-spread", **found)
    lesson.in_float32(lambda *a: torch.stack(run(best_encoder, *a), 1), x, w, std, like=x[:, :2])
    log_p, zero = _evidence(x, w, std), torch.zeros_like(mean)
    none, prior = ((log_p - _bound(x, *q, w, std)).mean() for q in ((mean, log_std), (zero, zero)))
    divergence = (1 + mean**2) / (2 * (2 * log_std).exp()) + log_std - 0.5  # KL(p_0 || theirs)
    return {"none": none.abs(), "prior": prior, "divergence": divergence.mean()}


@check
def check_ratio(ratio):
    """ratio() -> a number."""
    return lesson.predicted(ratio, 0, 1e9, "ratio-range")


def _loss(log_p1, log_pG, D, dx):
    """The discriminator's loss, (1.2) on the left, as a sum over a grid."""
    zeta = torch.nn.functional.softplus
    return float((log_p1.exp() * zeta(-D) + log_pG.exp() * zeta(D)).sum() * dx)


def _two_heaps(x):
    parts = [math.log(0.3) + _log_gauss(x, -2.0, 0.7), math.log(0.7) + _log_gauss(x, 1.0, 0.5)]
    return torch.stack(parts).logsumexp(0)


@check
def check_least_loss(least_loss):
    """least_loss(log_p1, log_pG, dx) -> a number: the smallest loss of any discriminator."""
    for n in (1301, 2001):
        x = torch.linspace(-9, 13, n, dtype=torch.float64)
        dx = float(x[1] - x[0])
        normal, far, near = (_log_gauss(x, *q) for q in ((0.0, 1.0), (10.0, 0.5), (1.5, 0.6)))
        for name, p, q in (
            ("least-same", normal, normal),
            ("least-same", near, near),
            ("least-far", normal, far),
            ("least-between", near, normal),
            ("least-between", _two_heaps(x), near),
            ("least-between", normal, _two_heaps(x)),
        ):
            both = torch.logaddexp(p, q) - math.log(2)
            jensen = sum(float((a.exp() * (a - both)).sum() * dx) / 2 for a in (p, q))
            got, exact = run(least_loss, p, q, dx, like=float), math.log(4) - 2 * jensen
            found = {"got": got, "exact": exact}
            expect(abs(got + exact) > 1e-4 or exact < 1e-4, "least-sign", **found)
            expect(abs(got - exact) < 1e-5, name, **found)
    return {"same": run(least_loss, normal, normal, dx, like=float)} | {
        name: run(least_loss, normal, _log_gauss(x, mean, 1.0), dx, like=float)
        for name, mean in (("one", 1.0), ("four", 4.0))
    }


def _mean_slopes(slopes, mu):
    """The mean slope of each loss over N(mu, 1), for the best discriminator against N(0, 1)."""
    x = mu + torch.linspace(-8, 8, 1601, dtype=torch.float64)
    weights = _log_gauss(x, mu, 1.0).exp() * 0.01
    exact = mu * torch.stack([torch.sigmoid(mu * (mu / 2 - x)), torch.sigmoid(mu * (x - mu / 2))])
    got = run(slopes, x, lambda x: mu * (mu / 2 - x), like=(x, x))
    for one, right, name in zip(got, exact, ("slopes-first", "slopes-second"), strict=True):
        agree(one, right, 1e-8, name, says="slopes-best", at=x)
    return [float((weights * one).sum()) for one in got]


@check
def check_slopes(slopes):
    """slopes(x, D) -> two tensors like x: the slope of each loss at the generator's samples."""
    cases = [
        (lambda x: 2 - 3 * x, lambda x: -3 + 0 * x),
        (lambda x: 2 * torch.sin(x), lambda x: 2 * torch.cos(x)),
        (lambda x: x**2 - 1, lambda x: 2 * x),
    ]
    for seed, (D, d_D) in enumerate(cases):
        x = 1.5 * points(20, seed=seed)
        first, second = -torch.sigmoid(D(x)) * d_D(x), -torch.sigmoid(-D(x)) * d_D(x)
        got = run(slopes, x, D, like=(x, x))
        found = {"x": x[0], "first": first[0], "second": second[0]}
        found |= {"got_first": got[0][0], "got_second": got[1][0], "says": "slopes-sign"}
        near = lambda *pair: max(map(gap, got, pair)) < 1e-8  # noqa: E731, B023
        expect(not near(second, first), "slopes-order", **found)
        expect(not near(-first, -second), "slopes-sign", **found)
        expect(gap(got[0], first) < 1e-8, "slopes-first", **found)
        expect(gap(got[1], second) < 1e-8, "slopes-second", **found)
    lesson.in_float32(lambda x: torch.stack(run(slopes, x, D), 1), x, like=torch.stack([x, x], 1))
    found = {}
    for name, mu in (("one", 1.0), ("four", 4.0)):
        low, high = _mean_slopes(slopes, mu)
        found |= {f"{name}_first": low, f"{name}_second": high, f"{name}_ratio": high / low}
    return found
