"""Other right answers to the exercises on lesson 01, and typical wrong ones with their hints."""

import math

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from solved import answers
from torch.nn.functional import softplus


def halves(y):
    return y.chunk(2, dim=1)


def undone(y, log_scale, shift, of=None):
    """uncouple, with the networks looking at `of`, a function of (moved, a)."""
    moved, a = halves(y)
    at = a if of is None else of(moved, a)
    return torch.cat([a, (moved - shift(at)) / log_scale(at).exp()], dim=1)


def undone_in_place(y, log_scale, shift):
    d = y.shape[1] // 2
    x = torch.empty_like(y)
    x[:, :d] = y[:, d:]
    x[:, d:] = y[:, :d]
    x[:, d:] -= shift(x[:, :d])
    x[:, d:] *= (-log_scale(x[:, :d])).exp()
    return x


def with_moved(back):
    """uncouple, with what becomes of the moved part given by back(moved, log_scale, shift)."""

    def uncouple(y, log_scale, shift):
        moved, a = halves(y)
        return torch.cat([a, back(moved, log_scale(a), shift(a))], dim=1)

    return uncouple


def swapped_parts(y, log_scale, shift):
    return undone(y, log_scale, shift).roll(y.shape[1] // 2, dims=1)


def log_normal(x):
    return -(x.square() + math.log(2 * math.pi)).sum(1) / 2


def layer(noise_at=undone, slope=lambda a, log_scale: log_scale(a).sum(1), sign=-1):
    """layer_log_density, with one part of it another."""

    def layer_log_density(y, log_scale, shift):
        a = halves(y)[1]
        return log_normal(noise_at(y, log_scale, shift)) + sign * slope(a, log_scale)

    return layer_log_density


def by_jacobian(y, log_scale, shift):
    with torch.enable_grad():
        y = y.detach().clone().requires_grad_()
        x = undone(y, log_scale, shift)
        rows = [torch.autograd.grad(c.sum(), y, retain_graph=True)[0] for c in x.unbind(1)]
    return (log_normal(x) + torch.stack(rows, 1).det().abs().log()).detach()


def by_parts(y, log_scale, shift):
    """a is normal; given a, the moved part is, too."""
    moved, a = halves(y)
    given = torch.distributions.Normal(shift(a), log_scale(a).exp()).log_prob(moved)
    return (torch.distributions.Normal(0, 1).log_prob(a) + given).sum(1)


def chain(order=reversed, late=True, sign=-1, add=lambda total, slope: total + slope):
    """flow_log_density, with one part of it another."""

    def flow_log_density(y, layers):
        total = 0 * y[:, 0]
        for _, to_noise, log_slope in order(layers):
            x = to_noise(y)
            total = add(total, sign * log_slope(x if late else y))
            y = x
        return log_normal(y) + total

    return flow_log_density


def by_recursion(y, layers):
    if not layers:
        return log_normal(y)
    x = layers[-1][1](y)
    return by_recursion(x, layers[:-1]) - layers[-1][2](x)


def there_and_back(y, layers):
    """First all the way to the noise, then forwards again, with the slopes."""
    for _, to_noise, _ in layers[::-1]:
        y = to_noise(y)
    found = log_normal(y)
    for to_data, _, log_slope in layers:
        found, y = found - log_slope(y), to_data(y)
    return found


def bound(spread=1, kl=1, constant=1, kl_of=None):
    """elbo, with one of its parts multiplied."""
    kl_of = kl_of or (lambda m, s: (m**2 + (2 * s).exp() - 1) / 2 - s)

    def elbo(x, mean, log_std, w, std):
        miss = (x - torch.outer(mean, w)).square().sum(1)
        miss = miss + spread * w.square().sum() * (2 * log_std).exp()
        found = -miss / (2 * std**2) - constant * len(w) * (std * math.sqrt(2 * math.pi)).log()
        return found - kl * kl_of(mean, log_std)

    return elbo


def bound_by_torch(x, mean, log_std, w, std):
    """By the gap: log p(x) - KL(q || p(z|x))."""
    q = torch.distributions.Normal(mean, log_std.exp())
    middle, log_spread = encoder(x, w, std)
    gap = torch.distributions.kl_divergence(q, torch.distributions.Normal(middle, log_spread.exp()))
    return evidence(x, w, std) - gap


def evidence(x, w, std):
    covariance = torch.einsum("i,j->ij", w, w) + std**2 * torch.eye(len(w), dtype=x.dtype)
    return torch.distributions.MultivariateNormal(torch.zeros_like(w), covariance).log_prob(x)


def evidence_by_hand(x, w, std):
    """Along w the variance is |w|^2 + std^2, across it std^2."""
    size = w.square().sum()
    square = (x.square().sum(1) - (x @ w) ** 2 / (size + std**2)) / std**2
    log_det = (len(w) - 1) * torch.log(std**2) + torch.log(size + std**2)
    return -(square + log_det + len(w) * math.log(2 * math.pi)) / 2


def with_covariance(of):
    def log_marginal(x, w, std):
        covariance = of(torch.outer(w, w), torch.eye(len(w), dtype=w.dtype), std)
        zero = torch.zeros_like(w)
        return torch.distributions.MultivariateNormal(zero, covariance).log_prob(x)

    return log_marginal


def encoder(x, w, std):
    size = w.square().sum() + std**2
    return (x @ w) / size, (torch.log(std) - torch.log(size) / 2).expand(len(x))


def encoder_by_regression(x, w, std):
    """E[z|x] = Cov(z, x) Cov(x)^-1 x."""
    covariance = torch.outer(w, w) + std**2 * torch.eye(len(w), dtype=w.dtype)
    slope = torch.linalg.solve(covariance, w)
    return [torch.einsum("bi,i->b", x, slope), torch.log(1 - slope @ w) / 2 + 0 * x[:, 0]]


def encoder_with(mean=None, log_std=None):
    def best_encoder(x, w, std):
        m, s = encoder(x, w, std)
        return (mean(x, w, std) if mean else m), (log_std(s, w, std) if log_std else s)

    return best_encoder


def loss_of(D, scale=1.0):
    """least_loss with another discriminator."""

    def least_loss(log_p, log_q, dx):
        d = D(log_p, log_q)
        return scale * ((log_p.exp() * softplus(-d) + log_q.exp() * softplus(d)).sum() * dx)

    return least_loss


def jensen(log_p, log_q, dx):
    p, q = log_p.double().exp().numpy(), log_q.double().exp().numpy()
    both = (p + q) / 2
    with np.errstate(all="ignore"):
        parts = [np.where(a > 0, a * np.log(a / both), 0) for a in (p, q)]
    return sum(np.trapezoid(part, dx=dx) for part in parts) / 2


def by_cross_entropy(log_p, log_q, dx):
    both = torch.logaddexp(log_p, log_q)
    return -(log_p.exp() * (log_p - both) + log_q.exp() * (log_q - both)).sum() * dx


def derived(x, D):
    """The logits of D, and their derivative."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        logit = D(x)
        return logit.detach(), torch.autograd.grad(logit.sum(), x)[0]


def slopes_of(first, second):
    return lambda x, D: (first(*derived(x, D)), second(*derived(x, D)))


def low(d, slope):
    return -torch.sigmoid(d) * slope


def high(d, slope):
    return -torch.sigmoid(-d) * slope


def in_numpy(x, D):
    d, slope = (a.numpy() for a in derived(x, D))
    return torch.from_numpy(-expit(d) * slope), torch.from_numpy(-expit(-d) * slope)


def by_loss(first, second, mean=False):
    """slopes, from two losses of the logits."""

    def slopes(x, D):
        found = []
        for loss in (first, second):
            at = x.detach().clone().requires_grad_()
            value = loss(D(at))
            found.append(torch.autograd.grad(value.mean() if mean else value.sum(), at)[0])
        return found

    return slopes


def moments(weights, means, stds):
    second = (weights * (stds**2 + means**2)).sum()
    mean = weights @ means
    return mean, torch.sqrt(second - mean**2)


def moments_in_numpy(weights, means, stds):
    w, m, s = (a.numpy() for a in (weights, means, stds))
    mean = np.average(m, weights=w)
    variance = np.average(s**2 + (m - mean) ** 2, weights=w)
    return torch.tensor(mean, dtype=means.dtype), torch.tensor(variance**0.5, dtype=means.dtype)


def log_p(x, weights, means, stds):
    parts = torch.distributions.Normal(means, stds).log_prob(x[..., None])
    return (parts + weights.log()).logsumexp(-1)


def integrated(of=None, over=None, log_of=log_p):
    """reverse_kl on a grid, with one part of it another."""
    over = over or (lambda mean, std: torch.linspace(-9, 9, 4001, dtype=mean.dtype) * std + mean)
    of = of or (lambda q, p: q.exp() * (q - p))

    def reverse_kl(mean, std, *mixture):
        x = over(mean, std)
        log_q = torch.distributions.Normal(mean, std).log_prob(x)
        return torch.trapezoid(of(log_q, log_of(x, *mixture)), x)

    return reverse_kl


def by_quad(mean, std, weights, means, stds):
    w, m, s = (a.numpy() for a in (weights, means, stds))
    mean, std = float(mean), float(std)

    def integrand(u):
        parts = np.log(w) + norm.logpdf(mean + std * u, m, s)
        top = parts.max()
        log_p = top + np.log(np.exp(parts - top).sum())
        return norm.pdf(u) * (norm.logpdf(u) - math.log(std) - log_p)

    return quad(integrand, -9, 9, limit=200, points=[0])[0]


def forward_kl(mean, std, weights, means, stds):
    x = torch.linspace(-60, 60, 60_001, dtype=means.dtype)
    log = log_p(x, weights, means, stds)
    return torch.trapezoid(log.exp() * (log - torch.distributions.Normal(mean, std).log_prob(x)), x)


def summed_logs(x, weights, means, stds):
    return (torch.distributions.Normal(means, stds).log_prob(x[..., None]) * weights).sum(-1)


def unweighted(x, weights, means, stds):
    return torch.distributions.Normal(means, stds).log_prob(x[..., None]).logsumexp(-1)


def nearest(x, weights, means, stds):
    """The logarithm of the largest of the parts, in place of that of their sum."""
    return (torch.distributions.Normal(means, stds).log_prob(x[..., None]) + weights.log()).amax(-1)


def clamped(x, *mixture):
    return (log_p(x, *mixture).exp() + 1e-300).log()


def descended(steps=800, rate=0.05, every=True):
    """reverse_choice by Adam, from every heap and from all of them."""

    def reverse_choice(weights, means, stds):
        middle, spread = moments(weights, means, stds)
        starts = torch.stack([torch.cat([means, middle[None]]), torch.cat([stds, spread[None]])])
        starts = starts if every else starts[:, :1]
        q = torch.stack([starts[0], starts[1].log()]).requires_grad_()
        u = torch.linspace(-6, 6, 241, dtype=means.dtype)
        density = torch.exp(-(u**2) / 2) * 0.05 / math.sqrt(2 * math.pi)

        def divergences():
            x = q[0][:, None] + q[1].exp()[:, None] * u
            log_q = -(u**2) / 2 - q[1][:, None] - math.log(2 * math.pi) / 2
            return (density * (log_q - log_p(x, weights, means, stds))).sum(1)

        adam = torch.optim.Adam([q], lr=rate)
        for step in range(steps):
            adam.param_groups[0]["lr"] = rate * (1 - step / steps)
            adam.zero_grad()
            divergences().sum().backward()
            adam.step()
        best = q[:, divergences().argmin()].detach()
        return best[0], best[1].exp()

    return reverse_choice


def on_a_grid(weights, means, stds):
    """All means and widths of a grid, then a finer one around the best."""
    u = torch.linspace(-6, 6, 121, dtype=means.dtype)
    density = torch.exp(-(u**2) / 2) * 0.1 / math.sqrt(2 * math.pi)
    low, high = means.min() - 0.5, means.max() + 0.5
    log_stds = (float(stds.min().log()) - 0.5, float(stds.max().log()) + 1.0)
    for _ in range(4):
        m = torch.linspace(float(low), float(high), 81, dtype=means.dtype)
        s = torch.linspace(*log_stds, 41, dtype=means.dtype)
        m, s = (a.flatten() for a in torch.meshgrid(m, s, indexing="ij"))
        x = m[:, None] + s.exp()[:, None] * u
        log_q = -(u**2) / 2 - s[:, None] - math.log(2 * math.pi) / 2
        k = (density * (log_q - log_p(x, weights, means, stds))).sum(1).argmin()
        width, height = (high - low) / 20, (log_stds[1] - log_stds[0]) / 10
        low, high = m[k] - width / 2, m[k] + width / 2
        log_stds = (float(s[k] - height / 2), float(s[k] + height / 2))
    return m[k], s[k].exp()


def heaviest(weights, means, stds):
    k = weights.argmax()
    return means[k], stds[k]


def narrowest(weights, means, stds):
    k = stds.argmin()
    return means[k], stds[k]


def first_heap(weights, means, stds):
    return means[0], stds[0]


def last_heap(weights, means, stds):
    return means[-1], stds[-1]


RIGHT = {
    "check_uncouple": [
        undone,
        undone_in_place,
        with_moved(lambda moved, s, m: torch.exp(-s) * moved - torch.exp(-s) * m),
    ],
    "check_layer_log_density": [by_parts, by_jacobian, layer()],
    "check_flow_log_density": [by_recursion, there_and_back, chain()],
    "check_price": [
        lambda n, dim: 2 * n + n * dim,
        lambda n, dim: torch.tensor(n * (dim + 2)),
        lambda n, dim: sum(2 + dim for _ in range(n)),
    ],
    "check_elbo": [bound(), bound_by_torch],
    "check_log_marginal": [evidence, evidence_by_hand],
    "check_best_encoder": [encoder, encoder_by_regression],
    "check_least_loss": [
        by_cross_entropy,
        lambda *given: math.log(4) - 2 * jensen(*given),
        loss_of(lambda p, q: p - q),
    ],
    "check_ratio": [lambda: 1, lambda: torch.tensor(400.0)],
    "check_slopes": [slopes_of(low, high), in_numpy],
    "check_share": [lambda: 0.0, lambda: torch.tensor(0.22)],
    "check_forward_choice": [moments, moments_in_numpy],
    "check_reverse_kl": [integrated(), by_quad],
    "check_reverse_choice": [descended(), on_a_grid],
}

WRONG = {
    "check_uncouple": [
        (swapped_parts, "undo-parts"),
        (lambda y, s, m: y, "undo-parts"),
        (with_moved(lambda moved, s, m: (moved + m) * torch.exp(-s)), "undo-shift"),
        (with_moved(lambda moved, s, m: moved * torch.exp(-s)), "undo-shift"),
        (with_moved(lambda moved, s, m: (moved - m) * torch.exp(s)), "undo-scale"),
        (with_moved(lambda moved, s, m: (moved - m) / (1 + s)), "undo-scale"),
        (with_moved(lambda moved, s, m: moved * torch.exp(-s) - m), "undo-both"),
        (lambda *given: undone(*given, of=lambda moved, a: moved), "undo-network"),  # the other
        (lambda *given: undone(*given, of=lambda moved, a: 0 * a), "undo-network"),
        (lambda y, s, m: undone(y, s, m)[:, :1], "wrong-shape"),
    ],
    "check_layer_log_density": [
        (layer(slope=lambda a, s: 0), "layer-stretch"),  # forgotten
        (layer(sign=1), "layer-sign"),
        (layer(noise_at=lambda y, s, m: y), "layer-shift"),
        (layer(noise_at=lambda y, s, m: halves(undone(y, s, m))[1]), "layer-shift"),  # one half
        (layer(slope=lambda a, s: s(a).exp().sum(1)), "layer-shift"),  # no logarithm
        (layer(slope=lambda a, s: s(a).mean(1)), "layer-scale"),
        (layer(slope=lambda a, s: s(a)[:, 0]), "layer-scale"),
        (layer(slope=lambda a, s: s(a).exp().sum(1).log()), "layer-shift"),
        (lambda y, s, m: log_normal(undone(y, s, m)) - s(halves(y)[0]).sum(1), "layer-network"),
        (layer(slope=lambda a, s: s(a).sum(1).mean().expand(len(a))), "layer-network"),
        (lambda *given: layer()(*given)[:, None], "wrong-shape"),
    ],
    "check_flow_log_density": [
        (chain(late=False), "flow-place"),  # the bug
        (chain(sign=1), "flow-one"),
        (chain(sign=0), "flow-one"),
        (chain(order=lambda layers: layers), "flow-order"),
        (chain(add=lambda total, slope: slope), "flow-order"),  # the last one only
        (chain(add=lambda total, slope: total + slope.mean()), "flow-place"),
        (
            lambda y, layers: chain()(y, layers[:1] if len(layers) == 3 else layers),
            "flow-layers",
        ),
        (lambda y, layers: chain()(y, layers[:2]), "flow-layers"),
        (lambda y, layers: chain(late=len(layers) != 4)(y, layers), "flow-layers"),
    ],
    "check_price": [
        (lambda n, dim: 2 * n, "price-calls"),  # evaluations only
        (lambda n, dim: n, "price-calls"),
        (lambda n, dim: 2 * n * (1 + dim), "price-both"),
        (lambda n, dim: 4 * n, "price-plane"),
        (lambda n, dim: n * (1 + dim), "price-count"),  # one evaluation a step
        (lambda n, dim: 2 * n + dim, "price-count"),
        (lambda n, dim: n * dim, "price-calls"),  # derivatives only: in the plane 2 n
    ],
    "check_elbo": [
        (bound(constant=0), "elbo-decoder"),
        (lambda x, m, s, w, std: bound()(x, m, s, w, std.sqrt()), "elbo-decoder"),
        (bound(kl=-1), "elbo-kl"),
        (bound(kl=0), "elbo-kl"),
        (bound(kl_of=lambda m, s: (m**2 + s.exp() - 1 - s) / 2), "elbo-kl"),
        (bound(kl_of=lambda m, s: m**2 + (2 * s).exp() - 1 - 2 * s), "elbo-kl"),
        (bound(spread=0), "elbo-middle"),
        (bound(spread=2), "elbo-formula"),
        (bound(spread=-1), "elbo-formula"),
        (lambda x, m, s, w, std: evidence(x, w, std), "elbo-kl"),
        (lambda *given: bound()(*given).mean(), "wrong-shape"),
    ],
    "check_log_marginal": [
        (with_covariance(lambda ww, eye, std: ww + std * eye), "marginal-noise"),
        (lambda x, w, std: evidence(x, w, std) + math.log(2 * math.pi), "marginal-noise"),
        (lambda x, w, std: evidence(x, w, std).exp(), "marginal-noise"),
        (with_covariance(lambda ww, eye, std: ww * eye + std**2 * eye), "marginal-axes"),
        (
            with_covariance(lambda ww, eye, std: (ww.diagonal().sum() + std**2) * eye),
            "marginal-axes",
        ),
        (with_covariance(lambda ww, eye, std: std**2 * eye), "marginal-formula"),
        (with_covariance(lambda ww, eye, std: 2 * ww + std**2 * eye), "marginal-formula"),
        (lambda x, w, std: bound()(x, 0 * x[:, 0], 0 * x[:, 0], w, std), "marginal-formula"),
    ],
    "check_best_encoder": [
        (encoder_with(log_std=lambda s, w, std: std.log() + 0 * s), "encoder-prior"),
        (encoder_with(mean=lambda x, w, std: x[:, 0]), "encoder-prior"),
        (encoder_with(log_std=lambda s, w, std: s.exp()), "encoder-prior"),  # no logarithm
        (encoder_with(mean=lambda x, w, std: x @ w), "encoder-mean"),
        (encoder_with(mean=lambda x, w, std: x @ w / (w.square().sum() + std)), "encoder-mean"),
        (encoder_with(mean=lambda x, w, std: x @ w / (1 + std**2)), "encoder-mean"),
        (lambda x, w, std: (0 * x[:, 0], 0 * x[:, 0]), "encoder-mean"),  # the prior
        (encoder_with(log_std=lambda s, w, std: 2 * s), "encoder-spread"),  # of the variance
        (encoder_with(log_std=lambda s, w, std: 0 * s), "encoder-spread"),
        (lambda x, w, std: encoder(x, w, std)[0], "wrong-type"),
    ],
    "check_least_loss": [
        (lambda p, q, dx: 2 * jensen(p, q, dx) - math.log(4), "least-sign"),  # the paper's gain
        (jensen, "least-same"),
        (loss_of(lambda p, q: p - q, scale=0.5), "least-same"),
        (lambda p, q, dx: by_cross_entropy(p, q, 1.0), "least-same"),  # no spacing
        (loss_of(lambda p, q: 0 * p), "least-far"),  # it never tries
        (loss_of(lambda p, q: q - p), "least-far"),
        (lambda p, q, dx: math.log(4) - jensen(p, q, dx), "least-far"),
        (loss_of(lambda p, q: (p - q) / 2), "least-between"),
        (loss_of(lambda p, q: 2 * (p - q)), "least-between"),
        (loss_of(lambda p, q: torch.sign(p - q) * 20), "least-between"),
    ],
    "check_ratio": [
        (lambda: -28, "ratio-range"),
        (lambda: 1e12, "ratio-range"),
        (lambda: -0.1, "ratio-range"),
    ],
    "check_slopes": [
        (slopes_of(high, low), "slopes-order"),
        (by_loss(softplus, lambda d: -softplus(-d)), "slopes-sign"),
        (by_loss(softplus, lambda d: softplus(-d)), "slopes-first"),
        (by_loss(lambda d: -torch.sigmoid(d), lambda d: softplus(-d)), "slopes-first"),
        (by_loss(lambda d: -softplus(d), softplus), "slopes-second"),
        (by_loss(lambda d: -softplus(d), lambda d: -d), "slopes-second"),
        (by_loss(lambda d: -softplus(d), lambda d: softplus(-d), mean=True), "slopes-first"),
        (slopes_of(lambda d, slope: -torch.sigmoid(d), high), "slopes-first"),  # no chain rule
        (lambda x, D: derived(x, D)[1], "wrong-type"),
    ],
    "check_share": [
        (lambda: -0.2, "share-range"),
        (lambda: 22, "share-range"),
        (lambda: 1.5, "share-range"),
    ],
    "check_forward_choice": [
        (lambda w, m, s: (moments(w, m, s)[0], moments(w, m, s)[1] ** 2), "forward-one"),
        (lambda w, m, s: (w @ m, (w @ s**2).sqrt()), "forward-between"),
        (lambda w, m, s: (w @ m, (w @ (m - w @ m) ** 2 + (w @ s) ** 2).sqrt()), "forward-between"),
        (lambda w, m, s: (w @ m, (w @ (s**2 + m**2)).sqrt()), "forward-one"),  # about the origin
        (lambda w, m, s: moments(torch.full_like(w, 1 / len(w)), m, s), "forward-weights"),
        (heaviest, "forward-weights"),
        (
            lambda w, m, s: (w @ m, moments(torch.full_like(w, 1 / len(w)), m, s)[1]),
            "forward-weights",
        ),
    ],
    "check_reverse_kl": [
        (forward_kl, "reverse-forward"),
        (integrated(of=lambda q, p: q.exp() * (p - q)), "reverse-one"),
        (integrated(of=lambda q, p: -q.exp() * p), "reverse-one"),  # without the entropy
        (integrated(log_of=unweighted), "reverse-apart"),
        (integrated(log_of=nearest), "reverse-mixed"),
        (integrated(log_of=summed_logs), "reverse-apart"),
        (
            integrated(over=lambda m, s: torch.linspace(-12, 12, 2401, dtype=m.dtype)),
            "reverse-narrow",
        ),
        (integrated(log_of=clamped), "reverse-narrow"),
    ],
    "check_reverse_choice": [
        (moments, "choice-between"),
        (first_heap, "choice-local"),
        (last_heap, "choice-local"),
        (narrowest, "choice-local"),
        (descended(every=False), "choice-local"),
        (heaviest, "choice-overlap"),
        (lambda w, m, s: (heaviest(w, m, s)[0], 1.1 * heaviest(w, m, s)[1]), "choice-near"),
        (descended(steps=5), "choice-near"),
        (lambda w, m, s: (m[0], s[0].log()), "choice-negative"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("01", RIGHT, WRONG)
