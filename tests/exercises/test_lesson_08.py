"""Other right answers to the exercises on lesson 08, and typical wrong ones with their hints."""

import math

import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.spatial import cKDTree
from scipy.stats import foldnorm
from solved import answers

from fmlib.metrics import copying, frechet_distance


def frechet(means=None, root=None, cov=None):
    """frechet, with one part of it another."""
    means = means or (lambda a, b: (a - b).square().sum())
    cov = cov or (lambda x: x.T.cov())
    root = root or (lambda c, d: torch.linalg.eigvals(c @ d).real.clamp(min=0).sqrt().sum())

    def answer(x, y):
        c, d = cov(x), cov(y)
        return float(means(x.mean(0), y.mean(0)) + c.trace() + d.trace() - 2 * root(c, d))

    return answer


def symmetric_root(c):
    values, vectors = torch.linalg.eigh(c)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T


def by_roots(c, d):
    r = symmetric_root(c)
    return symmetric_root(r @ d @ r).trace()


def by_scipy(x, y):
    c, d = (np.cov(z.numpy(), rowvar=False) for z in (x, y))
    root = np.trace(sqrtm(c @ d + 0j)).real
    return np.sum((x.numpy().mean(0) - y.numpy().mean(0)) ** 2) + np.trace(c + d) - 2 * root


def twin(noise=None, white=None, colour=None, mean=None):
    """twin, with one part of it another."""
    noise = noise or (lambda x, g: torch.randn(x.shape, generator=g, dtype=x.dtype))
    white = white or (lambda z: torch.linalg.solve(torch.linalg.cholesky(z.T.cov()), z.T).T)
    colour = colour or (lambda z, c: z @ symmetric_root(c))
    mean = mean or (lambda z: z - z.mean(0))

    def answer(x, generator):
        return x.mean(0) + colour(white(mean(noise(x, generator))), x.T.cov())

    return answer


def by_numpy(x, generator):
    seed = int(torch.randint(10**6, (), generator=generator))
    z = np.random.default_rng(seed).standard_normal(x.shape)
    z -= z.mean(0)
    u, _, v = np.linalg.svd(z, full_matrices=False)  # white already, up to a factor
    values, vectors = np.linalg.eigh(np.cov(x.numpy(), rowvar=False))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    return torch.from_numpy(x.numpy().mean(0) + math.sqrt(len(x) - 1) * u @ v @ root.T)


def by_map(x, generator):
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    a = symmetric_root(z.T.cov())
    return x.mean(0) + (z - z.mean(0)) @ torch.linalg.inv(a) @ symmetric_root(x.T.cov())


def bootstrapped(x, generator):
    return x[torch.randint(len(x), (len(x),), generator=generator)]


def heaps_whitened(x, generator):
    """Points with the same two heaps."""
    rows = torch.randint(len(x), (len(x),), generator=generator)
    z = x[rows] + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return by_map_of(z, x)


def by_map_of(z, x):
    z = z - z.mean(0)
    return x.mean(0) + z @ torch.linalg.inv(symmetric_root(z.T.cov())) @ symmetric_root(x.T.cov())


def covered(radius=None, inside=None, over=None):
    """covered, with one part of it another."""
    radius = radius or (lambda y, k: torch.cdist(y, y).sort(1).values[:, k])
    inside = inside or (lambda far, r: far <= r)
    over = over or (lambda hits: hits.any(1))

    def answer(x, y, k):
        return float(over(inside(torch.cdist(x, y), radius(y, k))).double().mean())

    return answer


def by_tree(x, y, k):
    tree = cKDTree(y.numpy())
    radius = tree.query(y.numpy(), k + 1)[0][:, -1]
    near = (np.linalg.norm(x.numpy()[:, None] - y.numpy(), axis=2) <= radius + 1e-12).any(1)
    return near.mean()


def nearer(d=None, wins=None):
    """nearer_share, with one part of it another."""
    d = d or (lambda z, train: torch.cdist(z, train).amin(1))
    wins = wins or (lambda a, b: (a[:, None] < b).double() + 0.5 * (a[:, None] == b))

    def answer(samples, train, held_out):
        return float(wins(d(samples, train), d(held_out, train)).double().mean())

    return answer


def as_found(samples, train, held_out):
    d, other = torch.cdist(samples, train).amin(0), torch.cdist(held_out, train).amin(0)
    return float((d < other).double().mean())


def energy(size=None, half=0.5, pairs=lambda m: m * (m - 1), apart=None):
    """energy_score, with one part of it another."""
    size = size or (lambda z: z.norm(dim=-1))
    apart = apart or (lambda f: size(f[:, :, None] - f[:, None]).sum((1, 2)))

    def answer(f, x):
        off = size(f - x[:, None]).mean()
        return float(off - half * apart(f).mean() / pairs(f.shape[1]))

    return answer


def energy_by_pairs(f, x):
    i, j = torch.triu_indices(f.shape[1], f.shape[1], 1)
    return float((f - x[:, None]).norm(dim=2).mean() - (f[:, i] - f[:, j]).norm(dim=2).mean() / 2)


def hole(mean=None, spread=None, slope=None):
    """hole_velocity, with one part of it another."""

    def answer(z, t, c, m, cov):
        k = c.shape[1]
        gain = torch.linalg.solve(cov[:k, :k], cov[:k, k:])
        centre = (mean or (lambda m, c, gain, k: m[k:] + (c - m[:k]) @ gain))(m, c, gain, k)
        s = (spread or (lambda cov, gain, k: cov[k:, k:] - cov[k:, :k] @ gain))(cov, gain, k)
        one = torch.eye(len(s), dtype=s.dtype)
        up, down = t * s - (1 - t) * one, t**2 * s + (1 - t) ** 2 * one
        a = slope(up, down) if slope else torch.linalg.solve(down, up)
        return centre + (z - t * centre) @ a

    return answer


def by_axes(z, t, c, m, cov):
    k = c.shape[1]
    precision = torch.linalg.inv(cov)
    s = torch.linalg.inv(precision[k:, k:])
    centre = m[k:] - (c - m[:k]) @ precision[:k, k:] @ s
    values, vectors = torch.linalg.eigh(s)
    rate = (t * values - (1 - t)) / (t**2 * values + (1 - t) ** 2)
    return centre + ((z - t * centre) @ vectors * rate) @ vectors.T


def by_ends(z, t, c, m, cov):
    """The mean of X_1 less the mean of X_0."""
    k = c.shape[1]
    gain = torch.linalg.solve(cov[:k, :k], cov[:k, k:])
    centre, s = m[k:] + (c - m[:k]) @ gain, cov[k:, k:] - cov[k:, :k] @ gain
    whole = t**2 * s + (1 - t) ** 2 * torch.eye(len(s), dtype=s.dtype)
    away = torch.linalg.solve(whole, (z - t * centre).T)
    return centre + t * (s @ away).T - (1 - t) * away.T


def no_condition(z, t, c, m, cov):
    k = c.shape[1]
    return hole()(z, t, torch.zeros_like(c) + m[:k], m, _apart(cov, k))


def _apart(cov, k):
    cov = cov.clone()
    cov[:k, k:], cov[k:, :k] = 0, 0
    return cov


def over_time(z, t, c, m, cov):
    """(E[X_1 | z, c] - z) / (1 - t), which does not work at t = 1."""
    x_1 = z + (1 - t) * hole()(z, t, c, m, cov)
    return (x_1 - z) / (1 - t) if t < 1 else torch.zeros_like(z)


def replace(before=None, after=None, step=None, times=None):
    """replaced, with one part of it another."""

    def answer(velocity, c, x_0, steps):
        x, k = x_0.clone(), c.shape[1]
        way = lambda t: (1 - t) * x_0[:, :k] + t * c  # noqa: E731
        for i in range(steps):
            t = (times or (lambda i, n: i / n))(i, steps)
            if before is not False:
                x[:, :k] = (before or (lambda way, t, h: way(t)))(way, t, 1 / steps)
            u = velocity(x, t)
            x = x + (step or (lambda u, h, k: u * h))(u, 1 / steps, k)
        return after(x, c) if after else torch.cat([c, x[:, k:]], 1)

    return answer


def hole_only(velocity, c, x_0, steps):
    k, hole = c.shape[1], x_0[:, c.shape[1] :].clone()
    for t in torch.linspace(0, 1, steps + 1, dtype=x_0.dtype)[:-1]:
        x = torch.cat([torch.lerp(x_0[:, :k], c, t), hole], 1)
        hole = hole + velocity(x, t)[:, k:] / steps
    return torch.cat([c, hole], 1)


def midpoint(velocity, c, x_0, steps):
    x, k, h = x_0.clone(), c.shape[1], 1 / steps
    for i in range(steps):
        x[:, :k] = (1 - i * h) * x_0[:, :k] + i * h * c
        x = x + h * velocity(x + h / 2 * velocity(x, i * h), i * h + h / 2)
    return torch.cat([c, x[:, k:]], 1)


def folded(s):
    wide = foldnorm.mean(0, scale=math.hypot(1, s))
    return wide - (foldnorm.mean(0, scale=s * math.sqrt(2)) / 2 if s else 0)


def score(off=lambda s: math.sqrt(1 + s**2), apart=lambda s: s / math.sqrt(2)):
    return lambda s: math.sqrt(2 / math.pi) * (off(s) - apart(s))


def flat_part(x, y):
    keep = (x.var(0) > 1e-12) | (y.var(0) > 1e-12)
    rest = float((x.mean(0) - y.mean(0))[~keep].square().sum())
    return frechet()(x[:, keep], y[:, keep]) + rest


RIGHT = {
    "check_frechet": [
        frechet_distance,
        frechet(root=by_roots),
        by_scipy,
        flat_part,
        frechet(
            root=lambda c, d: torch.linalg.svdvals(symmetric_root(c) @ symmetric_root(d)).sum()
        ),
    ],
    "check_twin": [by_numpy, by_map, twin()],
    "check_predicted_recall": [lambda: 0, lambda: torch.tensor(1.0)],
    "check_covered": [
        by_tree,
        covered(radius=lambda y, k: torch.cdist(y, y).kthvalue(k + 1).values),
    ],
    "check_nearer_share": [
        copying,
        nearer(),
        nearer(wins=lambda a, b: ((b - a[:, None]).sign() + 1) / 2),
    ],
    "check_copied_share": [
        lambda C, C_0: 1 - (1 - C) / (1 - C_0),
        lambda C, C_0: np.linalg.solve([[1, C_0], [1, 1]], [C, 1])[0],
    ],
    "check_energy_score": [energy_by_pairs, energy(apart=lambda f: torch.cdist(f, f).sum((1, 2)))],
    "check_diversity": [
        lambda s, b: 2 / (1 + (1 + b**2) / s**2) if s else 0.0,
        lambda s, b: torch.tensor(2 * s**2 / (s**2 + b**2 + 1)),
    ],
    "check_expected_score": [folded, lambda s: (math.sqrt(2 + 2 * s * s) - s) / math.pi**0.5],
    "check_hole_velocity": [by_axes, by_ends, hole()],
    "check_kept": [lambda: 0.5, lambda: np.float64(1)],
    "check_replaced": [hole_only, replace()],
}

WRONG = {
    "check_frechet": [
        (frechet(means=lambda a, b: (a - b).norm()), "frechet-means"),
        (frechet(means=lambda a, b: 0.0), "frechet-means"),
        (frechet(root=lambda c, d: 0.0), "frechet-means"),
        (frechet(root=lambda c, d: c.trace()), "frechet-spread"),
        (frechet(cov=lambda x: x.T.cov(correction=0)), "frechet-spread"),
        (
            frechet(root=lambda c, d: (symmetric_root(c) @ symmetric_root(d)).trace()),
            "frechet-root",
        ),
        (frechet(root=lambda c, d: symmetric_root((c @ d + d @ c) / 2).trace()), "frechet-root"),
        (lambda x, y: frechet()(x, y[: len(x)]), "frechet-count"),
        (lambda x, y: frechet()(x[: len(y)], y[: len(x)]), "frechet-count"),
        (
            frechet(
                root=lambda c, d: (
                    torch.linalg.eigvals(c @ d).real.log().mul(0.5).exp().sum()
                    + 0 * torch.linalg.inv(c).sum()
                )
            ),
            "frechet-flat",
        ),
        (
            frechet(root=lambda c, d: torch.linalg.cholesky(c).sum() * 0 + by_roots(c, d)),
            "frechet-flat",
        ),
    ],
    "check_twin": [
        (twin(mean=lambda z: z), "twin-mean"),
        (lambda x, generator: twin()(x, generator) - x.mean(0), "twin-mean"),
        (twin(white=lambda z: z), "twin-cov"),
        (twin(white=lambda z: z / z.std(0)), "twin-cov"),
        (twin(colour=lambda z, c: z * c.diagonal().sqrt()), "twin-cov"),
        (twin(colour=lambda z, c: z @ c), "twin-cov"),
        (twin(colour=lambda z, c: z @ torch.linalg.cholesky(c)), "twin-cov"),
        (twin(colour=lambda z, c: z @ torch.linalg.cholesky(c).T), "twin-flat"),
        (lambda x, generator: x.clone(), "twin-rows"),
        (lambda x, generator: x.flip(0), "twin-rows"),
        (bootstrapped, "twin-mean"),
        (lambda x, generator: 2 * x.mean(0) - x, "twin-random"),
        (lambda x, generator: twin()(x, torch.Generator().manual_seed(1)), "twin-random"),
        (lambda x, generator: twin()(x, None), "twin-generator"),
        (heaps_whitened, "twin-normal"),
        (twin(noise=lambda x, g: torch.rand(x.shape, generator=g).to(x)), "twin-normal"),
        (twin(noise=lambda x, g: torch.randint(2, x.shape, generator=g).to(x)), "twin-normal"),
    ],
    "check_predicted_recall": [
        (lambda: 100, "recall-range"),
        (lambda: -0.5, "recall-range"),
        (lambda: "none", "wrong-type"),
    ],
    "check_covered": [
        (covered(radius=lambda y, k: torch.cdist(y, y).sort(1).values[:, k - 1]), "covered-itself"),
        (lambda x, y, k: covered()(y, x, k), "covered-way"),
        (covered(inside=lambda far, r: far < r), "covered-edge"),
        (covered(over=lambda hits: hits.all(1)), "covered"),
        (covered(over=lambda hits: hits.double().mean(1)), "covered"),
        (covered(radius=lambda y, k: torch.cdist(y, y).sort(1).values[:, k].mean()), "covered"),
        (
            covered(radius=lambda y, k: torch.cdist(y, y).sort(1).values[:, 1 : k + 1].mean(1)),
            "covered-itself",
        ),
        (covered(radius=lambda y, k: torch.cdist(y, y).sort(1).values[:, 1]), "covered-itself"),
        (covered(radius=lambda y, k: torch.cdist(y, y).sort(1).values[:, k + 1]), "covered"),
    ],
    "check_nearer_share": [
        (as_found, "nearer-way"),
        (nearer(d=lambda z, train: torch.cdist(z, train).mean(1)), "nearer-pairs"),
        (nearer(wins=lambda a, b: (a[:, None] > b).double()), "nearer-way"),
        (nearer(wins=lambda a, b: (a.mean() < b.mean()).double()), "nearer-pairs"),
        (nearer(wins=lambda a, b: (a < b.median()).double()), "nearer-pairs"),
        (nearer(wins=lambda a, b: (a[: len(b)] < b[: len(a)]).double()), "nearer-pairs"),
        (nearer(wins=lambda a, b: (a[:, None] < b).double()), "nearer-ties"),
        (nearer(wins=lambda a, b: (a[:, None] <= b).double()), "nearer-ties"),
    ],
    "check_copied_share": [
        (lambda C, C_0: C - C_0, "copied-ends"),
        (lambda C, C_0: 2 * C - 1, "copied-ends"),
        (lambda C, C_0: C, "copied-ends"),
        (
            lambda C, C_0: (C - C_0) / (1 - C_0) * (1 if C - C_0 < 1e-3 or C > 0.99 else 0.9),
            "copied-share",
        ),
        (lambda C, C_0: (C - C_0) * C / (1 - C_0), "copied-share"),
        (lambda C, C_0: (C - C_0) / C_0, "copied-ends"),
    ],
    "check_energy_score": [
        (energy(size=lambda z: z.square().sum(-1)), "energy-far"),
        (energy(size=lambda z: z.abs().sum(-1)), "energy-far"),
        (lambda f, x: float((f.mean(1) - x).norm()), "energy-far"),
        (energy(pairs=lambda m: m**2), "energy-itself"),
        (energy(half=1.0), "energy-apart"),
        (energy(half=0.0), "energy-apart"),
        (energy(half=-0.5), "energy-apart"),
        (energy(apart=lambda f: (f - f.mean(1, keepdim=True)).norm(dim=2).sum(1)), "energy-apart"),
        (
            lambda f, x: energy_by_pairs(f, x) if f.shape[1] != 3 else energy_neighbours(f, x),
            "energy-apart",
        ),
    ],
    "check_diversity": [
        (lambda s, b: s**2 / (1 + s**2 + b**2), "diversity-right"),
        (lambda s, b: 1 + s * b, "diversity-sure"),
        (lambda s, b: s / (1 + b), "diversity-spread"),
        (lambda s, b: s**2 / (1 + b**2), "diversity-spread"),
        (lambda s, b: 2 * s / (1 + s), "diversity-spread"),
        (lambda s, b: 2 * s**2 / (1 + s**2), "diversity-bias"),
        (lambda s, b: 2 * s**2 / (1 + s**2 + abs(b)), "diversity-bias"),
        (lambda s, b: 2 * (s**2 + b**2) / (1 + s**2 + b**2), "diversity-sure"),
        (lambda s, b: 2 * s**2 / (1 + s**2 + 2 * b**2), "diversity-bias"),
    ],
    "check_expected_score": [
        (score(apart=lambda s: s * math.sqrt(2)), "expected-score"),
        (score(apart=lambda s: s), "expected-score"),
        (score(apart=lambda s: 0.0), "expected-score"),
        (score(off=lambda s: 1 + s), "expected-score"),
        (score(off=lambda s: s), "expected-sure"),
        (lambda s: math.sqrt(1 + s**2) - s / math.sqrt(2), "expected-sure"),
        (lambda s: (1 + s**2) - s**2, "expected-sure"),
    ],
    "check_hole_velocity": [
        (no_condition, "hole-blind"),
        (hole(mean=lambda m, c, gain, k: m[k:].expand(len(c), -1)), "hole-blind"),
        (hole(mean=lambda m, c, gain, k: c @ gain), "hole-start"),
        (hole(mean=lambda m, c, gain, k: m[k:] - (c - m[:k]) @ gain), "hole-start"),
        (hole(spread=lambda cov, gain, k: cov[k:, k:]), "hole-between"),
        (hole(spread=lambda cov, gain, k: cov[k:, k:] + cov[k:, :k] @ gain), "hole-between"),
        (hole(slope=lambda up, down: -torch.linalg.solve(down, up)), "hole-start"),
        (hole(slope=lambda up, down: torch.eye(len(up)).to(up) * -1), "hole-end"),
        (over_time, "hole-end"),
    ],
    "check_kept": [
        (lambda: 80, "kept-range"),
        (lambda: -1, "kept-range"),
        (lambda: None, "returns-none"),
    ],
    "check_replaced": [
        (midpoint, "replaced-times"),
        (replace(times=lambda i, n: (i + 1) / n), "replaced-times"),
        (replace(times=lambda i, n: 1 - i / n), "replaced-times"),
        (replace(before=False), "replaced-path"),
        (replace(before=lambda way, t, h: way(1.0)), "replaced-path"),
        (replace(before=lambda way, t, h: way(t + h)), "replaced-path"),
        (replace(step=lambda u, h, k: 0.9 * u * h), "replaced-hole"),
        (replace(step=lambda u, h, k: u * h**2), "replaced-hole"),
        (replace(after=lambda x, c: x), "replaced-known"),
    ],
}


def energy_neighbours(f, x):
    off = (f - x[:, None]).norm(dim=2).mean()
    return float(off - 0.5 * f.diff(dim=1).norm(dim=2).mean())


test_right, test_wrong, test_there_are_enough_of_both = answers("08", RIGHT, WRONG)
