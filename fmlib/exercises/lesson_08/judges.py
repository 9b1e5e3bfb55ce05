"""The Fréchet distance and what it cannot see, coverage, copies."""

import math

import torch

from fmlib.exercises import Lesson, double, gap, points

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _cloud(n, dim, seed=0):
    """Points whose coordinates depend on each other."""
    x = points(n, dim, seed=seed) @ (points(dim, dim, seed=seed + 1) + torch.eye(dim).double())
    return x + points(dim, seed=seed + 2)


def _flat(x):
    """The same, but that the second coordinate never varies, and the last one is a difference."""
    x[:, 1], x[:, -1] = 0.5, x[:, 0] - x[:, 2]
    return x


def _positive(dim, seed):
    """A symmetric positive matrix that does not commute with other matrices."""
    root = points(dim, dim, seed=seed) / math.sqrt(dim)
    return root @ root.T + 0.3 * torch.eye(dim).double()


def _moved(x, stretch, shift):
    """(x - m) A + m + b, and its Fréchet distance from x: A is the best map between Gaussians."""
    mean, other = x.mean(0), stretch - torch.eye(len(stretch)).double()
    exact = (other @ x.T.cov() @ other).trace() + shift.square().sum()
    return (x - mean) @ stretch + mean + shift, float(exact)


@check
def check_frechet(frechet):
    """frechet(x, y) -> a number."""

    def told(x, y, exact, name, **how):
        got = run(frechet, x, y, like=float, **how)
        near = abs(got - exact) < 1e-6 * (1 + exact)
        expect(near, name, says="frechet", n=len(x), m=len(y), dim=x.shape[1], exact=exact, got=got)
        return exact

    x, shift, same = _cloud(40, 3), double([3.0, 0.0, -1.0]), torch.eye(3).double()
    told(x, *_moved(x, same, shift), "frechet-means")
    told(x, *_moved(x, 1.5 * same, 0 * shift), "frechet-spread")
    for n, dim in ((40, 3), (60, 5)):
        x = _cloud(n, dim, seed=dim)
        y, exact = _moved(x, _positive(dim, seed=9), points(dim, seed=8))
        told(x, y, exact, "frechet-root")
        told(y, x, exact, "frechet-root")
        fewer = math.sqrt((2 * n - 2) / (2 * n - 1))  # the covariance of each point twice
        y, exact = _moved(x, fewer * _positive(dim, seed=9), 0 * x[0])
        twice = ((y - y.mean(0)) / fewer + y.mean(0)).repeat(2, 1)
        found = told(x, twice, exact, "frechet-count")
    flat = [("not-finite", "frechet-flat"), ("raises", "frechet-flat")]
    for seed in range(6):  # some of them make an eigenvalue that should be 0 negative
        x = _flat(_cloud(50, 5, seed))
        told(x, *_moved(x, _positive(5, seed), x[0]), "frechet-flat", instead=flat)
    return {"exact": found}


def _heaps(n, dim, seed):
    """Two small heaps, far apart along the first axis."""
    x = 0.3 * _cloud(n, dim, seed)
    x[:, 0] += torch.where(torch.arange(n) % 2 == 0, 2.0, -2.0)
    return x


@check
def check_twin(twin):
    """twin(x, generator) -> like x: other points with the same mean and covariance."""
    flat = [("not-finite", "twin-flat"), ("raises", "twin-flat")]
    cases = [(300, 4, False), (300, 4, False), (250, 9, False), *[(300, 5, True)] * 4]
    for seed, (n, dim, never) in enumerate(cases):
        x = _flat(_heaps(n, dim, seed)) if never else _heaps(n, dim, seed)
        how = {"like": x, "instead": flat if never else ()}
        made = [run(twin, x, torch.Generator().manual_seed(s), **how) for s in (1, 2, 1)]
        got, found = made[0], {"n": n, "dim": dim}
        agree(got.mean(0), x.mean(0), 1e-5, "twin-mean", at=torch.arange(dim), **found)
        off, name = gap(got.T.cov(), x.T.cov()), "twin-flat" if never else "twin-cov"
        expect(off < 1e-5, name, says="twin-cov", off=off, **found)
        expect(float(torch.cdist(got, x).min()) > 1e-6, "twin-rows", **found)
        expect(gap(made[0], made[1]) > 1e-6, "twin-random", **found)
        expect(gap(made[0], made[2]) < 1e-9, "twin-generator", **found)
        z = (got[:, 0] - got[:, 0].mean()) / got[:, 0].std()
        fourth = float(z.pow(4).mean())  # 1 for two heaps, 3 for a normal number
        expect(fourth > 2.1, "twin-normal", got=fourth, **found)
    return {"dim": dim}


@check
def check_predicted_recall(predicted_recall):
    """predicted_recall() -> a number."""
    return lesson.predicted(predicted_recall, 0, 1, "recall-range")


def _share(x, y, k, own=1):
    """By loops; own: how many of the nearest points are left out, since one is the point itself."""
    radius = [sorted(float((a - b).norm()) for b in y)[k - 1 + own] for a in y]
    inside = [any(float((p - a).norm()) <= r for a, r in zip(y, radius, strict=True)) for p in x]
    return sum(inside) / len(x)


@check
def check_covered(covered):
    """covered(x, y, k) -> a share, a number."""
    cases = ((9, 14, 2, 2), (9, 14, 2, 2), (21, 15, 2, 3), (16, 25, 3, 1))
    for seed, (n, m, dim, k) in enumerate(cases):
        x, y = 1.3 * points(n, dim, seed=seed), points(m, dim, seed=seed + 50) + 0.4 * seed
        got, exact = run(covered, x, y, k, like=float), _share(x, y, k)
        found = {"says": "covered", "n": n, "m": m, "k": k, "exact": exact, "got": got}
        others = {"covered-itself": _share(x, y, k, own=0), "covered-way": _share(y, x, k)}
        names = [name for name, other in others.items() if abs(got - other) < 1e-6]
        near = abs(got - exact) < 1e-6
        expect(near, names[0] if names else "covered", **found)
    edge = run(covered, double([[-1.0, 0.0]]), double([[0.0, 0.0], [1, 0], [3, 0]]), 1, like=float)
    expect(edge > 0.5, "covered-edge", got=edge)
    y = points(300, 4, seed=5)
    again = points(75, 4, seed=6).repeat(4, 1)
    parts = {"precision": run(covered, again, y, 3, like=float)}
    return parts | {"recall": run(covered, y, again, 3, like=float)}


def _nearer(samples, train, held_out):
    """By loops, over all pairs."""
    d, other = ([min(float((a - b).norm()) for b in train) for a in z] for z in (samples, held_out))
    wins = [1.0 if a < b else 0.5 if a == b else 0.0 for a in d for b in other]
    return sum(wins) / len(wins)


@check
def check_nearer_share(nearer_share):
    """nearer_share(samples, train, held_out) -> a share, a number."""
    train = points(9, 2, seed=1)
    one = train[:1].expand(6, 2).clone()  # one image by heart, six times
    got = run(nearer_share, one, train, points(7, 2, seed=2), like=float)
    expect(abs(got - 1) < 1e-6, "nearer-way", got=got)
    for seed, (n, m, dim) in enumerate(((6, 6, 2), (5, 8, 2), (12, 7, 3), (12, 7, 3))):
        samples, held_out = 0.8 * points(n, dim, seed=seed), points(m, dim, seed=seed + 20)
        train = points(10, dim, seed=seed + 40)
        given = samples, train, held_out
        got, exact = run(nearer_share, *given, like=float), _nearer(*given)
        found = {"n": n, "m": m, "exact": exact, "got": got}
        expect(abs(got - exact) < 1e-6, "nearer-pairs", **found)
    got = run(nearer_share, held_out, train, held_out, like=float)
    expect(abs(got - 0.5) < 1e-6, "nearer-ties", got=got)
    return {"n": n, "m": m, "exact": exact}


@check
def check_copied_share(copied_share):
    """copied_share(C, C_0) -> a share, a number."""
    for fresh in (0.5, 0.23, 0.4):
        for share in (0.0, 1.0, 0.3, 0.75):
            # so many copies beside 1,000 others
            copies = round(1000 * share / (1 - share)) if share < 1 else 10**9
            exact, nearer = (n / (copies + 1000) for n in (copies, copies + 1000 * fresh))
            got = run(copied_share, nearer, fresh, like=float)
            found = {"nearer": nearer, "fresh": fresh, "exact": exact, "got": got}
            name = "copied-ends" if share in (0.0, 1.0) else "copied-share"
            expect(abs(got - exact) < 1e-4, name, says="copied-share", **found)
    return {"got": run(copied_share, 0.45, 0.23, like=float)}
