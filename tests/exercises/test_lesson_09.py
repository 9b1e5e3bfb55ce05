"""Other right answers to the exercises on lesson 09, and typical wrong ones with their hints."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import torch
from scipy.stats import logistic, norm
from solved import answers
from torch.nn.functional import scaled_dot_product_attention

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.paths import CondOT
from fmlib.predictions import guide


def once(labels=None, mix=None, times=None):
    """guided_once, with one part of it another."""
    labels = labels or (lambda y, nothing: [y, torch.full_like(y, nothing)])
    mix = mix or (lambda a, b, w: b + w * (a - b))
    times = times or (lambda t: [t, t])

    def guided_once(network, x, t, y, nothing, w):
        both = network(torch.cat([x, x]), torch.cat(times(t)), torch.cat(labels(y, nothing)))
        return mix(*both.chunk(2), w)

    return guided_once


def interleaved(network, x, t, y, nothing, w):
    labels = torch.stack([torch.full_like(y, nothing), y], dim=1).flatten()
    u = network(x.repeat_interleave(2, 0), t.repeat_interleave(2), labels)
    return (1 - w) * u[::2] + w * u[1::2]


def twice(network, x, t, y, nothing, w):
    field = guide(
        lambda x, t: network(x, t, y), lambda x, t: network(x, t, torch.full_like(y, nothing)), w
    )
    return field(x, t)


def one_by_one(network, x, t, y, nothing, w):
    rows = zip(x.split(1), t.split(1), y.split(1), strict=True)
    return torch.cat([once()(network, *row, nothing, w) for row in rows])


def count_up(p, q, z):
    n = 1
    while abs(p - q) / ((p - p**2 + q - q**2) / n) ** 0.5 < z:
        n += 1
    return n


def by_variance(variance, whole=math.ceil, power=2):
    return lambda p, q, z: whole(z**power * variance(p, q) / (p - q) ** 2)


def both(p, q):
    return p * (1 - p) + q * (1 - q)


def bisect(n, level):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - middle) ** n > level else (low, middle)
    return low


def heads_of(cut=None, join=None, axis=3, scale=lambda q, width: q.shape[3] ** 0.5):
    """attention, with one part of it another."""
    cut = cut or (lambda z, heads: z.unflatten(2, (heads, -1)).transpose(1, 2))
    join = join or (lambda z, x: z.transpose(1, 2).flatten(2))

    def attention(x, to_q, to_k, to_v, heads):
        q, k, v = (cut(to(x), heads) for to in (to_q, to_k, to_v))
        weights = (q @ k.transpose(2, 3) / scale(q, x.shape[2])).softmax(dim=axis)
        return join(weights @ v, x)

    return attention


def reshaped(z, heads):
    return z.reshape(len(z), heads, z.shape[1], -1)


def by_torch(x, to_q, to_k, to_v, heads):
    q, k, v = (torch.stack(to(x).chunk(heads, dim=2), 1) for to in (to_q, to_k, to_v))
    return torch.cat(scaled_dot_product_attention(q, k, v).unbind(1), dim=2)


def by_einsum(x, to_q, to_k, to_v, heads):
    q, k, v = (to(x).reshape(*x.shape[:2], heads, -1) for to in (to_q, to_k, to_v))
    weights = (torch.einsum("nihd,njhd->nhij", q, k) * q.shape[3] ** -0.5).softmax(-1)
    return torch.einsum("nhij,njhd->nihd", weights, v).reshape(x.shape)


def shared_weights(x, to_q, to_k, to_v, heads):
    scores = to_q(x) @ to_k(x).transpose(1, 2) / (x.shape[2] / heads) ** 0.5
    return scores.softmax(2) @ to_v(x)


def with_positions(x, to_q, to_k, to_v, heads):
    places = torch.arange(x.shape[1]).to(x)[:, None]
    return by_torch(x + 0.1 * places * (heads > 1), to_q, to_k, to_v, heads)


def by_change(t, k):
    early = k * t / (1 + (k - 1) * t)
    rate = k / (1 + (k - 1) * t) ** 2
    z = torch.logit(early)
    return torch.exp(-0.5 * z**2) / ((2 * math.pi) ** 0.5 * early * (1 - early)) * rate


def by_scipy(t, k):
    z = logistic.ppf(t.double().numpy())
    return torch.from_numpy(norm.pdf(z + np.log(k)) / logistic.pdf(z)).to(t)


def by_distributions(t, k):
    from torch.distributions import Normal, SigmoidTransform, TransformedDistribution

    normal = Normal(-torch.tensor(k).log(), torch.tensor(1.0))  # single precision
    return TransformedDistribution(normal, [SigmoidTransform()]).log_prob(t).exp()


def of_z(z_of, below=lambda t, k: t * (1 - t)):
    """A density by what stands in the exponent, and below the line."""

    def density(t, k):
        z = z_of(torch.log(t / (1 - t)), k)
        return torch.exp(-0.5 * z**2) / (math.sqrt(2 * math.pi) * below(t, k))

    return density


def not_moved_below(t, k):
    early = k * t / (1 + (k - 1) * t)
    return early * (1 - early)


def squeezed(t, k):
    """Whole, and half of it on the right side, but for another width."""
    width = 1 + 0.2 * math.log(k) ** 2
    return of_z(lambda z, k: z / width + math.log(k))(t, k) / width


def guided(slope=None, mean=None, mix=None):
    """gaussian_guided, with one part of it another."""
    slope = slope or (lambda t, s: (t * s**2 - (1 - t)) / (t**2 * s**2 + (1 - t) ** 2))
    mean = mean or (lambda x, t, m, a: m + a * (x - t * m))
    mix = mix or (lambda a, b, w: b + w * (a - b))

    def gaussian_guided(x, t, r, m, s, w):
        return mix(mean(x, t, m, slope(t, s)), mean(x, t, 0.0, slope(t, r)), w)

    return gaussian_guided


def by_score(x, t, r, m, s, w):  # (9.2) as it stands: 0 / 0 at t = 0
    def velocity(m, s):
        return x / t - (1 - t) / t * (x - t * m) / (t**2 * s**2 + (1 - t) ** 2)

    return guided(mean=lambda *rest: 0 * x, mix=lambda a, b, w: a)(x, t, r, m, s, w) + (
        velocity(0.0, r) + w * (velocity(m, s) - velocity(0.0, r))
    )


def by_mixtures(x, t, r, m, s, w):
    one = torch.ones(1, 1).to(x)
    fields = [GaussianMixture(a * one, b).along(CondOT()) for a, b in ((m, s), (0.0, r))]
    return guide(*(field.velocity for field in fields), w)(x[:, None], t)[:, 0]


def posterior(x, t, r, m, s, w):
    """By E[X_1 | x] and E[X_0 | x], as in (3.8c)."""

    def velocity(m, s):
        sigma = 1 - t
        v = t**2 * s**2 + sigma**2
        x_1 = (sigma**2 * m + s**2 * t * x) / v
        x_0 = sigma * (x - t * m) / v
        return x_1 - x_0

    return (1 - w) * velocity(0.0, r) + w * velocity(m, s)


def integrated(r, s, w, n=4000):
    t = (torch.arange(n).double() + 0.5) / n
    rate = [(t * a**2 - (1 - t)) / (t**2 * a**2 + (1 - t) ** 2) for a in (r, s)]
    return ((1 - w) * rate[0] + w * rate[1]).mean().exp()


def tilted(r, s, w):
    precision = 1 / r**2 + w * (1 / s**2 - 1 / r**2)
    return precision**-0.5


def all_orders(pictures):
    return [pictures[:, list(p)] for p in permutations(range(pictures.shape[1]))]


def by_exact(x, t, pictures):
    target = EmpiricalTarget(torch.cat(all_orders(pictures)))
    return target.along(CondOT()).velocity(x, t)


def by_loops(x, t, pictures):
    every = [picture for order in all_orders(pictures) for picture in order]
    rows = []
    for row in x:
        logs = torch.stack([-0.5 * ((row - t * p) / (1 - t)).square().sum() for p in every])
        weights = (logs - logs.logsumexp(0)).exp()
        rows.append(sum(w * (p - row) / (1 - t) for w, p in zip(weights, every, strict=True)))
    return torch.stack(rows)


def field_mean(x, t, pictures):
    field, total = EmpiricalTarget(pictures).along(CondOT()), torch.zeros_like(x)
    orders = list(map(list, permutations(range(x.shape[1]))))
    for p in orders:
        total[:, p] += field.velocity(x[:, p], t) / len(orders)
    return total


def set_aside(x, t, pictures):
    """Each token by itself, as if the tokens of a picture did not know of each other."""
    if x.shape[1] == 1:
        return by_exact(x, t, pictures)
    target = EmpiricalTarget(pictures.flatten(0, 1))
    flat = target.along(CondOT()).velocity(x.flatten(0, 1), t)
    return flat.reshape(x.shape)


def overflown(x, t, pictures):
    every = torch.cat(all_orders(pictures))
    weights = (-0.5 * ((x[:, None] - t * every) / (1 - t)).square().sum((2, 3))).exp()
    x_1 = torch.einsum("bn,nkd->bkd", weights / weights.sum(1, keepdim=True), every)
    return (x_1 - x) / (1 - t)


def copies(picture):
    return Counter(map(tuple, picture.tolist())).values()


def multinomial(picture):
    logs = sum(math.lgamma(n + 1) for n in copies(picture)) - math.lgamma(len(picture) + 1)
    return math.exp(logs)


def one_after_other(picture):
    """Put one token after the other into its place."""
    left, share = Counter(map(tuple, picture.tolist())), 1.0
    for token in map(tuple, picture.tolist()):
        share *= left[token] / left.total()
        left[token] -= 1
    return torch.tensor(share, dtype=torch.float64)


RIGHT = {
    "check_guided_once": [
        interleaved,
        once(mix=lambda a, b, w: a + (w - 1) * (a - b)),
        lambda network, x, t, y, nothing, w: once()(network, x, t, y, nothing, w),
    ],
    "check_needed": [count_up, lambda p, q, z: float(np.ceil(both(p, q) * (z / (q - p)) ** 2))],
    "check_most_wrong": [bisect, lambda n, level: -math.expm1(math.log(level) / n)],
    "check_attention": [by_torch, by_einsum, heads_of()],
    "check_early_share": [lambda: 0.5, lambda: torch.tensor(1.0)],
    "check_share_before": [
        lambda t, k: t / (1 / k - (1 / k - 1) * t),
        lambda t, k: 1 - (1 - t) / (1 - t + k * t),
        lambda t, k: torch.sigmoid(torch.logit(t) + math.log(k)),
    ],
    "check_density": [by_change, by_scipy, by_distributions],
    "check_gaussian_guided": [by_mixtures, posterior, guided()],
    "check_guided_spread": [integrated, lambda r, s, w: r * (s / r) ** w],
    "check_tilted_spread": [
        tilted,
        lambda r, s, w: r * s / math.sqrt(w * r**2 + (1 - w) * s**2),
        lambda r, s, w: torch.tensor(tilted(r, s, w)),
    ],
    "check_without_places": [by_exact, by_loops],
    "check_in_place": [multinomial, one_after_other],
}

WRONG = {
    "check_guided_once": [
        (twice, "once-calls"),
        (one_by_one, "once-calls"),
        (once(mix=lambda a, b, w: a + w * (a - b)), "once-one"),  # Ho and Salimans' w
        (once(mix=lambda a, b, w: a + w * (b - a)), "once-one"),
        (once(mix=lambda a, b, w: a), "once-zero"),
        (once(labels=lambda y, nothing: [y, torch.zeros_like(y)]), "once-zero"),
        (once(labels=lambda y, nothing: [torch.full_like(y, nothing), y]), "once-one"),  # swapped
        (once(mix=lambda a, b, w: b + w**2 * (a - b)), "once-w"),
        (once(mix=lambda a, b, w: b + max(w, 0) * (a - b)), "once-w"),
        (once(times=lambda t: [t]), "raises"),
        (once(times=lambda t: [t, t.flip(0)]), "once-zero"),
    ],
    "check_needed": [
        (by_variance(lambda p, q: p * (1 - p)), "needed-both"),
        (by_variance(lambda p, q: q * (1 - q)), "needed-both"),
        (by_variance(both, whole=float), "needed-whole"),
        (by_variance(both, whole=math.floor), "needed-whole"),
        (by_variance(both, whole=lambda n: math.ceil(n) + 1), "needed-whole"),
        (by_variance(both, power=1), "needed-n"),
        (by_variance(lambda p, q: 2 * both(p, q)), "needed-n"),
        (by_variance(lambda p, q: 1.0), "needed-n"),
        (lambda p, q, z: math.ceil(z**2 * both(p, q) / abs(p - q)), "needed-n"),
    ],
    "check_most_wrong": [
        (lambda n, level: level ** (1 / n), "wrong-level"),
        (lambda n, level: 1 - (1 - level) ** (1 / n), "wrong-level"),
        (lambda n, level: 3 / n, "wrong-range"),
        (lambda n, level: min(3 / n, 0.95), "wrong-rate"),
        (lambda n, level: 1 - 0.05 ** (1 / n), "wrong-rate"),
        (lambda n, level: (1 - level) / n, "wrong-rate"),
        (lambda n, level: 0.0, "wrong-range"),
    ],
    "check_attention": [
        (heads_of(reshaped, lambda z, x: z.reshape(x.shape)), "attention-order"),  # the bug
        (heads_of(join=lambda z, x: z.reshape(x.shape)), "attention-order"),
        (heads_of(cut=reshaped), "attention-order"),
        (with_positions, "attention-order"),
        (heads_of(axis=2), "attention-same"),
        (heads_of(join=lambda z, x: z.permute(0, 2, 3, 1).flatten(2)), "attention-same"),
        (heads_of(scale=lambda q, width: 1.0), "attention-one"),
        (heads_of(scale=lambda q, width: width**0.5), "attention-heads"),
        (shared_weights, "attention-heads"),
    ],
    "check_early_share": [
        (lambda: 75, "early-range"),
        (lambda: -0.1, "early-range"),
        (lambda: "half", "wrong-type"),
    ],
    "check_share_before": [
        (lambda t, k: t / (k - (k - 1) * t), "before-forward"),
        (lambda t, k: k * t, "before-ends"),
        (lambda t, k: k / (1 + (k - 1) * t), "before-ends"),
        (lambda t, k: t, "before-share"),
        (lambda t, k: 3 * t / (1 + 2 * t), "before-share"),
        (lambda t, k: t ** (1 / k), "before-share"),
        (lambda t, k: 1 - t, "before-ends"),
    ],
    "check_density": [
        (of_z(lambda z, k: z), "density-way"),
        (of_z(lambda z, k: z - math.log(k)), "density-way"),
        (of_z(lambda z, k: z + math.log(k), not_moved_below), "density-rate"),
        (of_z(lambda z, k: z + math.log(k), lambda t, k: 1 + 0 * t), "density-plain"),
        (lambda t, k: of_z(lambda z, k: z + math.log(k))(t, k) * k, "density-whole"),
        (lambda t, k: by_change(t, k) * 2.5066, "density-plain"),
        (of_z(lambda z, k: z * k + math.log(k)), "density-whole"),
        (squeezed, "density-shape"),
    ],
    "check_gaussian_guided": [
        (by_score, "gauss-start"),
        (lambda *a: torch.nan_to_num(by_score(*a)), "gauss-start"),
        (guided(slope=lambda t, s: -1 / (1 - t + 1e-9)), "gauss-all"),  # one data point
        (guided(slope=lambda t, s: (t * s**2 - (1 - t)) / (t * s + 1 - t) ** 2), "gauss-all"),
        (guided(slope=lambda t, s: (t * s - (1 - t)) / (t**2 * s + (1 - t) ** 2)), "gauss-all"),
        (guided(mean=lambda x, t, m, a: a * (x - t * m)), "gauss-class"),
        (guided(mean=lambda x, t, m, a: m + a * (x - m)), "gauss-class"),
        (guided(mix=lambda a, b, w: a + w * (a - b)), "gauss-all"),
        (guided(mix=lambda a, b, w: b + w**2 * (a - b)), "gauss-guided"),
        (guided(mix=lambda a, b, w: b + min(w, 1) * (a - b)), "gauss-guided"),
    ],
    "check_guided_spread": [
        (lambda r, s, w: tilted(r, s, w), "spread-mixed"),
        (lambda r, s, w: (r ** (1 - w) * s**w) ** 2, "spread-square"),
        (lambda r, s, w: r ** (1 + w) * s**w, "spread-ends"),
        (lambda r, s, w: s, "spread-ends"),
        (lambda r, s, w: s**w, "spread-ends"),
        (lambda r, s, w: abs((1 - w) * r + w * s), "spread-guided"),
        (lambda r, s, w: abs((1 - w) * r**2 + w * s**2) ** 0.5, "spread-guided"),
    ],
    "check_tilted_spread": [
        (lambda r, s, w: r ** (1 - w) * s**w, "spread-mixed"),
        (lambda r, s, w: tilted(r, s, w) ** 2, "spread-square"),
        (lambda r, s, w: (1 / r**2 + w / s**2) ** -0.5, "spread-ends"),
        (lambda r, s, w: s / w**0.5 if w > 1 else [r, s][w > 0], "spread-tilted"),
        (lambda r, s, w: abs((1 - w) * r**2 + w * s**2) ** 0.5, "spread-tilted"),
        (lambda r, s, w: abs((1 - w) / r + w / s) ** -1, "spread-tilted"),
    ],
    "check_without_places": [
        (lambda x, t, pictures: -by_exact(x, t, pictures), "places-plain"),
        (lambda x, t, p: EmpiricalTarget(p).along(CondOT()).velocity(x, t), "places-order"),
        (field_mean, "places-field"),
        (set_aside, "places-best"),
        (lambda x, t, p: by_exact(x, t, p[:1]), "places-plain"),
        (lambda x, t, p: by_exact(x, t, p) * (2 if x.shape[1] > 1 else 1), "places-same"),
        (
            lambda x, t, p: (p.mean((0, 1)) - x) / (1 - t) if x.shape[1] > 1 else by_exact(x, t, p),
            "places-field",
        ),
        (overflown, "not-finite"),
    ],
    "check_in_place": [
        (lambda picture: 1 / math.factorial(len(picture)), "place-twins"),
        (lambda picture: 1 / len(picture), "place-share"),
        (lambda picture: math.factorial(len(picture)), "place-share"),
        (lambda picture: 1 / math.factorial(len(copies(picture))), "place-share"),
        (lambda picture: multinomial(picture) if len(picture) < 9 else 0.0, "place-share"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("09", RIGHT, WRONG)
