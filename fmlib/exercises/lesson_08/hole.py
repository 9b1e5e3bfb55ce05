"""The exact field in a hole among Gaussian pixels, and a shortcut that misses it."""

import torch

from fmlib.exercises import Counted, Lesson, double, points

lesson = Lesson(__name__)
check, expect, agree, run = lesson.check, lesson.expect, lesson.agree, lesson.run


def _pixels(k, h, seed):
    """A mean and a covariance of k known and h hidden pixels, tied to each other."""
    root = points(k + h, k + h, seed=seed)
    return points(k + h, seed=seed + 1), root @ root.T / (k + h) + 0.2 * torch.eye(k + h).double()


def _best(z, t, c, mean, cov, see_c=True):
    """E[X_1 - X_0 | z, c] in the hole, by regression on all that is seen together."""
    k, h = c.shape[1], z.shape[1]
    one = torch.eye(h).double()
    of_c, of_z = cov[k:, :k], t * cov[k:, k:] - (1 - t) * one
    seen = cov.clone()
    seen[:k, k:], seen[k:, :k] = t * cov[:k, k:], t * cov[k:, :k]
    seen[k:, k:] = t**2 * cov[k:, k:] + (1 - t) ** 2 * one
    off = torch.cat([c - mean[:k], z - t * mean[k:]], 1)
    both = torch.cat([of_c, of_z], 1)
    if not see_c:
        off, both, seen = off[:, k:], of_z, seen[k:, k:]
    return mean[k:] + off @ torch.linalg.solve(seen, both.T)


@check
def check_hole_velocity(hole_velocity):
    """hole_velocity(z, t, c, mean, cov) -> like z: the exact velocity in the hole."""
    for k, h, seed in ((1, 1, 3), (2, 3, 5), (3, 2, 8)):
        mean, cov = _pixels(k, h, seed)
        c, z = points(6, k, seed=1), points(6, h, seed=2)
        for t in map(double, (0.0, 1.0, 0.3, 0.8)):
            got, exact = run(hole_velocity, z, t, c, mean, cov, like=z), _best(z, t, c, mean, cov)
            blind = float((got - _best(z, t, c, mean, cov, False)).abs().max()) < 1e-6
            ends = "hole-start" if t == 0 else "hole-end" if t == 1 else "hole-between"
            name = "hole-blind" if blind else ends
            agree(got, exact, 1e-6, name, says="hole", at=z, t=t, k=k, h=h)
    lesson.in_float32(hole_velocity, z, t, c, mean, cov, like=z, rows=False)
    return {"k": k, "h": h}


@check
def check_kept(kept):
    """kept() -> a number."""
    return lesson.predicted(kept, 0, 1, "kept-range")


def _pair(rho):
    """The exact velocity of two pixels with mean 0, variance 1 and correlation rho, on OT."""
    cov, one = double([[1.0, rho], [rho, 1.0]]), torch.eye(2).double()

    def velocity(x, t):
        slope = torch.linalg.solve(t**2 * cov + (1 - t) ** 2 * one, t * cov - (1 - t) * one)
        return x @ slope

    return velocity


class Recorded(Counted):
    """A velocity that also notes the states, and what it answered."""

    def __init__(self, velocity):
        super().__init__(velocity)
        self.states, self.answers = [], []

    def __call__(self, x, t):
        u = super().__call__(x, torch.as_tensor(t, dtype=torch.float64))
        self.states.append(x.clone())
        self.answers.append(u.clone())
        return u


@check
def check_replaced(replaced):
    """replaced(velocity, c, x_0, steps) -> like x_0: fillings by overwriting."""
    for seed, (k, h, steps) in enumerate(((1, 1, 4), (2, 1, 5), (1, 3, 7), (1, 3, 7))):
        c, x_0 = points(5, k, seed=seed), points(5, k + h, seed=seed + 10)
        mix = points(k + h, k + h, seed=seed + 20)
        velocity = Recorded(lambda x, t, mix=mix: x @ mix + t)
        end = run(replaced, velocity, c, x_0, steps, like=x_0)
        times = [i / steps for i in range(steps)]
        right = len(velocity.times) == steps
        right = right and max(abs(a - b) for a, b in zip(velocity.times, times, strict=True)) < 1e-6
        expect(right, "replaced-times", steps=steps, calls=len(velocity.times))
        for t, x in zip(times, velocity.states, strict=True):
            agree(x[:, :k], (1 - t) * x_0[:, :k] + t * c, 1e-6, "replaced-path", t=t)
        hole = x_0[:, k:] + sum(u[:, k:] for u in velocity.answers) / steps
        agree(end[:, k:], hole, 1e-6, "replaced-hole", steps=steps)
        agree(end[:, :k], c, 1e-6, "replaced-known")
    start, one = torch.zeros(1, 2).double(), torch.ones(1, 1).double()
    return {"slope": float(run(replaced, _pair(0.8), one, start, 200, like=start)[0, 1])}
