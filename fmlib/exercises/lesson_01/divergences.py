"""One Gaussian for a mixture: which one the forward divergence chooses, and which the reverse."""

import math

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, ndtr

from fmlib.exercises import Lesson, double

lesson = Lesson(__name__)
check, expect, run = lesson.check, lesson.expect, lesson.run

# Mixtures, as lists of weights, means and standard deviations.
ONE = [[1.0], [-3.0], [0.7]]
TWO = [[0.5, 0.5], [-2.0, 2.0], [0.15, 0.15]]  # as two of the eight heaps of the lesson
APART = [  # in the first two only the weights differ
    [[0.3, 0.7], [-2.0, 2.0], [0.15, 0.4]],
    [[0.7, 0.3], [-2.0, 2.0], [0.15, 0.4]],
    [[0.65, 0.35], [-1.0, 3.0], [0.8, 0.3]],
    [[0.2, 0.3, 0.5], [5.0, -4.0, 0.5], [0.5, 0.6, 0.3]],
]
OVERLAP = [[0.3, 0.7], [-0.4, 0.8], [0.7, 0.7]]  # one Gaussian serves both parts


def _tensors(*numbers):
    return [double(a) for a in numbers]


def _fields(mixture):
    return dict(zip(("weights", "means", "stds"), mixture, strict=True))


def _log_gauss(x, mean, std):
    return -(((x - mean) / std) ** 2) / 2 - np.log(std) - math.log(2 * math.pi) / 2


U = np.linspace(-8, 8, 801)
WEIGHTS = 0.02 * np.exp(_log_gauss(U, 0, 1))  # of a mean over a standard normal U


def _log_p(x, mixture):
    weights, means, stds = map(np.array, mixture)
    return logsumexp(np.log(weights) + _log_gauss(x[..., None], means, stds), axis=-1)


def _reverse(mean, std, mixture):
    """KL(q || p) for q = N(mean, std^2), a number."""
    x = mean + std * U
    return float((WEIGHTS * (_log_gauss(x, mean, std) - _log_p(x, mixture))).sum())


def _spread(mixture):
    """Points of the mixture on a grid around each part, and their weights in a mean over it."""
    weights, means, stds = (np.array(part)[:, None] for part in mixture)
    return means + stds * U, weights * WEIGHTS


def _forward(mean, std, mixture):
    """KL(p || q), a number."""
    x, weights = _spread(mixture)
    return float((weights * (_log_p(x, mixture) - _log_gauss(x, mean, std))).sum())


def _moments(mixture):
    x, weights = _spread(mixture)
    mean = float((weights * x).sum())
    return mean, float((weights * (x - mean) ** 2).sum() ** 0.5)


def _on_support(mean, std, mixture):
    """The share of N(mean, std^2) within three standard deviations of a mode; no two overlap."""
    ends = [sign * 3 * s + m for _, m, s in zip(*mixture, strict=True) for sign in (1, -1)]
    below = ndtr((np.array(ends) - float(mean)) / float(std))
    return float((below[::2] - below[1::2]).sum())


@check
def check_share(share):
    """share() -> a number."""
    return lesson.predicted(share, 0, 1, "share-range")


@check
def check_forward_choice(forward_choice):
    """forward_choice(weights, means, stds) -> mean, std: the Gaussian of least KL(p || q)."""
    for name, mixture in (
        ("forward-one", ONE),
        ("forward-between", TWO),
        ("forward-between", [[0.5, 0.5], [1.0, 4.0], [0.3, 2.5]]),
        ("forward-weights", [[0.8, 0.2], [-1.0, 3.0], [1.5, 0.4]]),
        ("forward-weights", [[0.1, 0.3, 0.6], [-2.5, 4.0, 0.5], [0.2, 1.0, 2.2]]),
    ):
        given = _tensors(*mixture)
        mean, std = run(forward_choice, *given, like=(given[1][0], given[1][0]))
        exact, exact_std = _moments(mixture)
        found = _fields(mixture) | {"exact": exact, "exact_std": exact_std, "says": "forward-one"}
        found |= {"got": mean, "got_std": std}
        first = "forward-one" if mixture is ONE else "forward-weights"
        expect(abs(mean - exact) < 1e-6, first, **found)
        expect(abs(std - exact_std) < 1e-6, name, **found)
    like = given[1][0].float()
    run(forward_choice, *(a.float() for a in given), like=(like, like))
    given = _tensors(*TWO)
    mean, std = run(forward_choice, *given, like=(given[1][0], given[1][0]))
    return {"mean": abs(mean), "std": std, "share": _on_support(mean, std, TWO)}


@check
def check_reverse_kl(reverse_kl):
    """reverse_kl(mean, std, weights, means, stds) -> a number: KL(q || p), q = N(mean, std^2)."""
    for name, mean, std, mixture in (
        ("reverse-one", -3.0, 0.7, ONE),
        ("reverse-one", -2.0, 0.7, ONE),
        ("reverse-one", -3.0, 2.0, ONE),
        ("reverse-apart", 2.0, 0.15, TWO),
        ("reverse-apart", 2.0, 0.4, APART[0]),
        ("reverse-apart", -4.0, 0.6, APART[3]),
        ("reverse-mixed", 0.3, 1.1, OVERLAP),
        ("reverse-mixed", -1.2, 0.5, OVERLAP),
        ("reverse-mixed", 1.0, 1.5, APART[2]),
        ("reverse-narrow", -2.0, 0.01, APART[0]),
        ("reverse-narrow", 9.5, 0.02, APART[3]),
        ("reverse-narrow", 0.0, 30.0, OVERLAP),
    ):
        got = run(reverse_kl, *_tensors(mean, std, *mixture), like=float)
        exact, forward = _reverse(mean, std, mixture), _forward(mean, std, mixture)
        found = _fields(mixture) | {"mean": mean, "std": std, "got": got, "exact": exact}
        within = 1e-3 * max(1.0, abs(exact))
        other = abs(got - forward) > within or abs(exact - forward) < 2 * within
        expect(other, "reverse-forward", says="reverse-one", **found)
        expect(abs(got - exact) < within, name, says="reverse-one", **found)


def _best(mixture):
    """The least KL(q || p), and the mean there: a search from every part, and from all of them."""
    mean, std = _moments(mixture)
    starts = [*zip(*mixture[1:], strict=True), (mean, std)]

    def divergence(q):
        return _reverse(q[0], math.exp(q[1]), mixture)

    found = [minimize(divergence, (m, math.log(s)), method="Nelder-Mead") for m, s in starts]
    best = min(found, key=lambda end: end.fun)
    return max(best.fun, 0.0), best.x[0]


@check
def check_reverse_choice(reverse_choice):
    """reverse_choice(weights, means, stds) -> mean, std: the Gaussian of least KL(q || p)."""
    for mixture in (ONE, TWO, *APART, OVERLAP):
        given = _tensors(*mixture)
        mean, std = map(float, run(reverse_choice, *given, like=(given[1][0], given[1][0])))
        expect(std > 0, "choice-negative", std=std)
        got, (least, best) = _reverse(mean, std, mixture), _best(mixture)
        found = {"mean": mean, "std": std, "got": got, "least": least, "says": "choice-near"}
        found |= _fields(mixture)
        right = got < least + 1e-3
        if mixture in APART or mixture is TWO:
            near = any(abs(mean - m) < 3 * s for _, m, s in zip(*mixture, strict=True))
            expect(right or near, "choice-between", **found)
            expect(right or mixture is TWO or abs(mean - best) < 0.5, "choice-local", **found)
        expect(right, "choice-overlap" if mixture is OVERLAP else "choice-near", **found)
    given = _tensors(*TWO)
    mean, std = map(float, run(reverse_choice, *given, like=(given[1][0], given[1][0])))
    share, got = _on_support(mean, std, TWO), _reverse(mean, std, TWO)
    return {"mean": abs(mean), "std": std, "share": share, "got": got}
