"""Checks of the exercises on lesson 04: the two losses, their floor, and what a loss learns."""

import itertools
import math

import numpy as np
import torch

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.exercises import Hints, check, gap, points, run
from fmlib.models import MLP
from fmlib.paths import CondOT, PathSample

HINTS = Hints(
    {
        "swap-middle": "at t = 1/2 the swap changes nothing in the distribution of x_t, and the "
        "target is the same. So what is the mean of the targets there?",
        "swap-time": "where is the swapped x_t at t = 0, and where at t = 1? At which time does "
        "the right path pass there?",
        "remember-alias": "does what you keep have numbers of its own, or does it show the "
        "network's? Take one optimizer step, and look at what you have kept.",
        "remember-all": "model.load_state_dict wants every name of model.state_dict() with its "
        "tensor.",
        "mean-keeps": "into which tensor do you add? The states are needed again later.",
        "mean-same": "the mean of three equal states is that state.",
        "mean-each": "with which factor does each of the states enter? All must be alike.",
        "ratio-one": "in a batch of one pair, one time for all is a time of its own.",
        "ratio-within": "put between = 0 into the variance of each batch's mean. What is left?",
        "ratio-between": "if all gradients at one time are equal, the batch with one t knows as "
        "much as a single pair. How much does the other one know? Compare variances.",
        "ratio-exact": "write both variances of the mean of n gradients. Which part of a "
        "gradient's variance is divided by n, in either batch?",
        "ratio-range": "which values can your noise_ratio have for n = 256?",
        "noise-same": "the same batch again and again gives the same gradient: nothing varies. Is "
        "the mean taken off? Does something remain from one batch to the next?",
        "noise-alias": "different batches have different gradients. Keep the first one, go on to "
        "the second batch, and print the first again.",
        "noise-square": "gradients twice as large have a variance four times as large.",
        "noise-sum": "one variance for each weight, over the batches; then what is asked of them?",
        "noise-weights": "the network has several tensors of weights. Does each of them count?",
        "floor-start": "at t = 0 you know X_0 and nothing of X_1. What varies in X_1 - X_0?",
        "floor-end": "at t = 1 you know X_1 and nothing of X_0. What varies in X_1 - X_0?",
        "floor-between": "take X_t as given. How are X_0 and X_1 tied to each other then, and what "
        "is the variance of X_1, given X_t?",
        "scaled-same": "for c = 1 the data are the same.",
        "scaled-start": "at t = 0 only the data vary. How does the variance of c X_1 grow with c?",
        "scaled-end": "at t = 1 only the noise varies, and c does not touch it.",
        "scaled-limit": "look at t = 1: what is 0 / 0 there, and what should stand in its place?",
        "scaled-between": "find r with (1 - t) X_0 + t c X_1 = (a number) * ((1 - r) X_0 + r X_1). "
        "Ask v at which time? And how does c X_1 - X_0 depend on X_1 once this is given?",
        "line-target": "take a batch of one pair, and a velocity of zero. What is left of (4.2)?",
        "line-sign": "one pair has one target. For which constant velocity is its loss zero?",
        "line-place": "where must x_t be at t = 0, and where at t = 1?",
        "line-table": "print the shape of what is squared. How many numbers should it have?",
        "line-mean": "what is done with the squares of a batch? Compare with its pairs one by one.",
        "line-gradient": "training calls backward() on what comes back. Does every step from the "
        "network's weights to it let the gradient through?",
        "table-one": "with one pair in the batch the table has one entry, and nothing is wrong.",
        "table-many": "in a large table, how many of a row's entries belong to the pair itself?",
        "table-between": "count the entries of one row: how many have the row's own target, and "
        "what is the mean of the others?",
        "loss-zero": "who answers exactly y has made no error: put u = y.",
        "loss-sign": "every other answer than y must cost something.",
        "loss-mean": "differentiate your loss with respect to u. How must the result depend on y, "
        "so that its mean is zero at u = E[Y] whatever the distribution of Y?",
        "loss-shift": "your loss sees only the difference u - y. Among those with the property, "
        "squared error is the only one. Look for one that treats u near 0 and far from 0 unlike.",
        "share-range": "a share lies between 0 and 1.",
        "median-two": "there are two targets, with weights p and 1 - p. Draw p |u - y_1| + (1 - p) "
        "|u - y_2| over u: where is the lowest point of this line with two corners?",
        "median-early": "at the start x says little about X_1. What do you know about it anyway?",
        "median-where": "which of the two is more likely at x? Weigh the two Gaussians of X_t "
        "given X_1, with w, at their width at time t.",
    }
)
expect = HINTS.expect
PATH = CondOT()


@check
def check_swapped_velocity(swapped_velocity):
    """swapped_velocity(velocity, x, t) -> like x."""
    data, x = points(6, 2, seed=1), points(40, 2)
    target = EmpiricalTarget(data)

    def compare(name, time):
        t = torch.tensor(time, dtype=x.dtype)
        got = run(swapped_velocity, target.along(PATH).velocity, x, t, like=x)
        x_0 = (x[:, None] - (1 - t) * data) / t  # the noise that each data point needs, (40, 6, 2)
        weight = (-0.5 * x_0.square().sum(2)).softmax(1)[..., None]
        exact = (weight * (data - x_0)).sum(1)
        worst = int((got - exact).abs().max(1).values.argmax())
        found = f"at t = {time:g} and x = ({x[worst, 0]:.2f}, {x[worst, 1]:.2f}) the mean target is"
        found = f"{found} ({exact[worst, 0]:.2f}, {exact[worst, 1]:.2f}), yours is"
        found = f"{found} ({got[worst, 0]:.2f}, {got[worst, 1]:.2f})"
        expect(gap(got, exact) < 1e-5 * (1 + exact.abs().max()), name, found)  # float32 times pass

    compare("swap-middle", 0.5)
    for time in (0.2, 0.7):
        compare("swap-time", time)
    return "swapped_velocity: the mean target of six data points at 40 places, at three times"


@check
def check_mean_weights(remember, mean_weights):
    """remember(model) -> a state; mean_weights(states) -> a state."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MLP(2, 4, 1).double()
    states, copies = [], []
    for _ in range(3):
        kept, now = run(remember, model), model.state_dict()
        fits = isinstance(kept, dict) and set(kept) == set(now)
        fits = fits and all(torch.equal(kept[name], now[name]) for name in now)
        found = "what was kept cannot be loaded into the network, or has other numbers than it"
        expect(fits, "remember-all", found)
        states.append(kept)
        copies.append({name: value.detach().clone() for name, value in now.items()})
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(weights.square() + 1)
        still = all(torch.equal(kept[name], copies[-1][name]) for name in now)
        found = "after the network has learned on, what was kept has changed as well"
        expect(still, "remember-alias", found)

    def mean(*which):
        got = run(mean_weights, [states[i] for i in which])
        pairs = list(zip(states, copies, strict=True))
        same = all(torch.equal(state[name], copy[name]) for state, copy in pairs for name in copy)
        expect(same, "mean-keeps", "after the call, the states are not what they were")
        return got

    def off(got, factors):
        fits = isinstance(got, dict) and set(got) == set(copies[0])
        expect(fits, "remember-all", "the mean cannot be loaded into the network")
        like = {name: copies[0][name] for name in got}
        exact = {
            name: sum(f * c[name] for f, c in zip(factors, copies, strict=True)) for name in got
        }
        shaped = all(got[n].shape == like[n].shape and got[n].dtype == like[n].dtype for n in got)
        expect(shaped, "remember-all", "the mean has tensors of another shape or dtype")
        return max(gap(got[name], exact[name]) for name in got)

    got = mean(0, 0, 0)
    error = off(got, (1, 0, 0))
    expect(error < 1e-9, "mean-same", f"the mean of three equal states differs by {error:.2g}")
    got = mean(0, 1, 2)
    error = off(got, (1 / 3, 1 / 3, 1 / 3))
    expect(error < 1e-9, "mean-each", f"the mean of three states is off by {error:.2g}")
    return "remember, mean_weights: kept for good, and each state counts for the same"


def _enumerated_ratio(values, n):
    """By going through all batches of n; values: (times, gradients), all equally likely."""
    own = [np.mean(batch) for batch in itertools.product(values.ravel(), repeat=n)]
    one = [np.mean(batch) for row in values for batch in itertools.product(row, repeat=n)]
    return np.var(one) / np.var(own)


@check
def check_noise_ratio(noise_ratio):
    """noise_ratio(between, within, n) -> a number."""
    got = run(noise_ratio, 1.5, 4.0, 1, like=float)
    expect(abs(got - 1) < 1e-5, "ratio-one", f"for n = 1 the ratio is 1, you give {got:.3g}")
    got = run(noise_ratio, 0.0, 4.0, 7, like=float)
    expect(abs(got - 1) < 1e-5, "ratio-within", f"for between = 0 it is 1, you give {got:.3g}")
    got = run(noise_ratio, 1.5, 0.0, 7, like=float)
    found = f"for within = 0 and n = 7 the ratio is 7, you give {got:.3g}"
    expect(abs(got - 7) < 1e-5, "ratio-between", found)
    values = np.array([[1.0, 3.0], [0.0, 8.0], [-2.0, 0.5]])
    between, within = float(values.mean(1).var()), float(values.var(1).mean())
    for n in (2, 4):
        got, exact = run(noise_ratio, between, within, n, like=float), _enumerated_ratio(values, n)
        found = f"over all batches of {n} from three times with two gradients each the ratio is"
        found = f"{found} {exact:.4f}, you give {got:.4f}"
        expect(abs(got - exact) < 1e-5, "ratio-exact", found)
    return "noise_ratio: right at its limits, and over all batches of 2 and 4 from a small example"


@check
def check_predicted_ratio(predicted_ratio):
    """predicted_ratio() -> a number."""
    got = run(predicted_ratio, like=float)
    expect(1 <= got <= 256, "ratio-range", f"a ratio of {got:g} cannot be")
    return f"predicted_ratio: {got:g}. Now measure"


class _Shift(torch.nn.Module):
    """u(x) = a + b: two tensors of weights whose gradients are equal."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x, t):
        return (self.a + self.b).expand_as(x)


class _Offset(torch.nn.Module):
    """Zero, or the exact velocity, plus a network whose last layer may be zero."""

    def __init__(self, velocity, zero):
        super().__init__()
        self.network, self.velocity = MLP(2, 16, 1).double(), velocity
        if zero:
            torch.nn.init.zeros_(self.network.layers[-1].weight)
            torch.nn.init.zeros_(self.network.layers[-1].bias)

    def forward(self, x, t):
        return self.velocity(x, t) + self.network(x, t)


@check
def check_gradient_noise(gradient_noise):
    """gradient_noise(model, batches) -> a number."""
    y = points(40, 5, 2) + 3
    still = torch.zeros_like(y[0])

    def batches(targets):
        return [PathSample(still, y, still[:, 0], still, y) for y in targets]

    got = run(gradient_noise, _Shift(), batches(y[:1].expand(8, -1, -1)), like=float)
    found = f"eight times the same batch: the variance is 0, you give {got:.3g}"
    expect(abs(got) < 1e-9, "noise-same", found)
    got = run(gradient_noise, _Shift(), batches(y), like=float)
    expect(got > 1e-9, "noise-alias", f"for 40 different batches you give {got:.3g}")
    twice = run(gradient_noise, _Shift(), batches(2 * y), like=float)
    found = f"when all targets are doubled, your number goes from {got:.3g} to {twice:.3g}"
    expect(abs(twice - 4 * got) < 1e-6 * abs(twice), "noise-square", found)
    exact = 8 * float(y.mean(1).var(0).sum())  # each weight's gradient is -2 times the mean target
    found = f"two tensors of two weights each: the variances sum to {exact:.3f}, you give {got:.3f}"
    expect(abs(got / exact - 0.5) > 0.02, "noise-weights", found)
    expect(abs(got / exact - 1) < 0.03, "noise-sum", found)  # divided by 40, or by 39
    ratios = []
    target = GaussianMixture(torch.tensor([[1.5, 0.0], [-1.5, 1.0]], dtype=y.dtype), 0.3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = [_Offset(lambda x, t: 0 * x, False)]
        models.append(_Offset(target.along(PATH).velocity, True))
        generator = torch.Generator().manual_seed(0)
        for model in models:
            own, one = [], []
            for i in range(50):
                x_1 = target.sample(64, generator)
                x_0, t = torch.randn(2, 64, 2, generator=generator, dtype=y.dtype)
                own.append(PATH.sample(x_0, x_1, torch.special.ndtr(t[:, 0])))  # uniform in [0, 1]
                one.append(PATH.sample(x_0, x_1, (i + 0.5) / 50))
            noise = [run(gradient_noise, model, batches, like=float) for batches in (one, own)]
            ratios.append(noise[0] / noise[1])
    return (
        "gradient_noise: right where it is known. In batches of 64, one t for all multiplies it "
        f"by {ratios[0]:.0f} at random weights, by {ratios[1]:.0f} at the exact field"
    )


@check
def check_floor_at(floor_at):
    """floor_at(t, s) -> like t."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)  # exact for squares of linear functions
    x_0, z = (torch.as_tensor(a.ravel()) for a in np.meshgrid(nodes, nodes))
    weight = torch.as_tensor(np.outer(weights, weights).ravel()) / (2 * math.pi)
    for s in (0.5, 3.0):
        got = run(floor_at, t, s, like=t)
        found = f"for s = {s:g} at t = 0 it is {s**2:g}, you give {got[0]:.3f}"
        expect(gap(got[0], s**2) < 1e-9, "floor-start", found)
        found = f"for s = {s:g} at t = 1 it is 1, you give {got[-1]:.3f}"
        expect(gap(got[-1], 1.0) < 1e-9, "floor-end", found)
        target = GaussianMixture(torch.tensor([[0.7]], dtype=t.dtype), s)
        x_1 = 0.7 + s * z
        for time, value in zip(t[1:-1], got[1:-1], strict=True):
            batch = PATH.sample(x_0[:, None], x_1[:, None], time)
            rest = batch.dx_t - target.along(PATH).velocity(batch.x_t, time)
            exact = float((weight * rest[:, 0].square()).sum())
            found = f"for s = {s:g} at t = {time:g} the exact field leaves {exact:.3f}, you give"
            expect(gap(value, exact) < 1e-6, "floor-between", f"{found} {value:.3f}")
    run(floor_at, t.float(), 0.5, like=t.float())
    return "floor_at: what the exact field leaves, at eleven times, for s = 0.5 and 3"


def _floor_of_mixture(t, c=1.0):
    """E Y^2 - E u^2 at each time, for data on a line scaled by c, by a sum over a fine grid."""
    means = c * torch.tensor([[-1.0], [0.2], [2.0]], dtype=t.dtype)
    stds = c * torch.tensor([0.2, 0.5, 0.3], dtype=t.dtype)
    target = GaussianMixture(means, stds, torch.tensor([0.5, 0.2, 0.3], dtype=t.dtype))
    square = 1 + float((target.weights * (stds**2 + means[:, 0] ** 2)).sum())
    x = torch.linspace(-14, 14, 4001, dtype=t.dtype)[:, None]
    values = []
    for time in t.reshape(-1):
        density = target.along(PATH).log_prob(x, time).exp()
        u = target.along(PATH).velocity(x, time)[:, 0]
        values.append(square - float((density * u**2).sum() * (x[1, 0] - x[0, 0])))
    return torch.tensor(values, dtype=t.dtype).reshape(t.shape)


@check
def check_scaled_floor_at(scaled_floor_at):
    """scaled_floor_at(v, t, c) -> like t."""
    t = torch.tensor([0.0, 0.15, 0.5, 0.8, 1.0], dtype=torch.float64)

    def floor(c):
        got = run(scaled_floor_at, _floor_of_mixture, t, c)
        if isinstance(got, torch.Tensor) and got.shape == t.shape and got[:-1].isfinite().all():
            found = f"for c = {c:g} you give a number at every time but t = 1, and there {got[-1]}"
            expect(bool(got[-1].isfinite()), "scaled-limit", found)
        return run(scaled_floor_at, _floor_of_mixture, t, c, like=t), _floor_of_mixture(t, c)

    got, exact = floor(1.0)
    found = f"for c = 1 at t = 0.5 it is {exact[2]:.3f}, you give {got[2]:.3f}"
    expect(gap(got, exact) < 1e-6, "scaled-same", found)
    for c in (2.0, 0.5):
        got, exact = floor(c)
        found = [
            f"for c = {c:g} at t = {t[i]:g} it is {exact[i]:.3f}, you give {got[i]:.3f}"
            for i in range(5)
        ]
        expect(gap(got[0], exact[0]) < 1e-6, "scaled-start", found[0])
        expect(gap(got[-1], exact[-1]) < 1e-6, "scaled-end", found[-1])
        worst = int((got - exact).abs().argmax())
        expect(gap(got, exact) < 1e-6, "scaled-between", found[worst])
    return "scaled_floor_at: agrees with the exact field of scaled data, for c = 2 and 1/2"


@check
def check_line_loss(line_loss):
    """line_loss(velocity, x_0, x_1, t) -> a tensor () that has a gradient."""
    x_0, x_1 = points(6, 1), points(6, 1, seed=1)
    t = torch.linspace(0, 0.9, 6, dtype=x_0.dtype)

    def loss(velocity, x_0=x_0, x_1=x_1, t=t):
        return run(line_loss, velocity, x_0, x_1, t, like=float)

    exact = float((x_1[0] - x_0[0]) ** 2)
    got = loss(lambda x, t: torch.zeros_like(x), x_0[:1], x_1[:1], t[:1])
    found = f"one pair, and u = 0: the loss is {exact:.3f}, you give {got:.3f}"
    expect(abs(got - exact) < 1e-9, "line-target", found)
    rate = float(x_1[0] - x_0[0])
    got = loss(lambda x, t: torch.full_like(x, rate), x_0[:1], x_1[:1], t[:1])
    found = f"one pair, and u = {rate:.3f}, its own target: the loss is 0, you give {got:.3f}"
    expect(abs(got) < 1e-9, "line-sign", found)
    for place, where in ((x_0, 0.0), (x_1, 1.0)):
        got = loss(lambda x, t: x, x_0[:1], x_1[:1], torch.full_like(t[:1], where))
        exact = (float(place[0]) - rate) ** 2
        found = f"one pair at t = {where:g}, and u = x: the loss is {exact:.3f}, you give {got:.3f}"
        expect(abs(got - exact) < 1e-9, "line-place", found)
    got = loss(lambda x, t: (2 - x) / (1 - t), x_1=torch.full_like(x_1, 2))
    found = "all data at 2, and u = (2 - x) / (1 - t), which hits all targets: the loss is 0, not"
    expect(abs(got) < 1e-9, "line-table", f"{found} {got:.3f}")
    field = lambda x, t: torch.sin(3 * x) - t  # noqa: E731
    single = [loss(field, x_0[i : i + 1], x_1[i : i + 1], t[i : i + 1]) for i in range(6)]
    got, exact = loss(field), sum(single) / 6
    found = f"six pairs one by one have a mean loss of {exact:.3f}, as a batch {got:.3f}"
    expect(abs(got - exact) < 1e-9, "line-mean", found)
    weight = torch.tensor(0.5, dtype=t.dtype, requires_grad=True)
    got = run(line_loss, lambda x, t: weight * torch.ones_like(x), x_0, x_1, t)
    trains = isinstance(got, torch.Tensor) and got.requires_grad
    expect(trains, "line-gradient", "the value is right, but no gradient of it can be taken")
    (slope,) = torch.autograd.grad(got, weight, allow_unused=True)
    exact = float(2 * (0.5 - (x_1 - x_0)).mean())
    found = f"for u = a, at a = 0.5, the derivative of the loss by a is {exact:.3f}, you have"
    slope = 0.0 if slope is None else float(slope)
    expect(abs(slope - exact) < 1e-9, "line-gradient", f"{found} {slope:.3f}")
    return "line_loss: zero for what hits all targets, the mean over the pairs, and it can train"


@check
def check_learned_instead(learned_instead):
    """learned_instead(u, mean, n) -> like u."""
    # Three equally likely examples, two of them at one place: (place, target).
    place, target = np.array([0, 0, 1]), np.array([-1.0, 2.0, 4.0])
    u, mean = torch.tensor([0.5, 4.0], dtype=torch.float64), float(target.mean())

    def best(n):  # the value at each place that minimises the mean of all tables of n examples
        top, count = np.zeros(2), np.zeros(2)
        for batch in itertools.product(range(3), repeat=n):
            np.add.at(top, place[list(batch)], target[list(batch)].mean())
            np.add.at(count, place[list(batch)], 1)
        return torch.as_tensor(top / count)

    for name, n in (("table-one", 1), ("table-many", 10**9), ("table-between", 3)):
        got = run(learned_instead, u, mean, n, like=u)
        exact = best(n) if n < 10 else torch.full_like(u, mean)
        found = f"for u = 4, mean = {mean:.3f} and n = {n} it learns {exact[1]:.3f}, you give"
        expect(gap(got, exact) < 1e-6, name, f"{found} {got[1]:.3f}")
    return "learned_instead: right for n = 1, for n without end, and over all batches of three"


@check
def check_mean_loss(mean_loss):
    """mean_loss(u, y) -> like u."""
    u, y = (
        a.reshape(-1)
        for a in torch.meshgrid(*[torch.linspace(-5, 5, 41).double()] * 2, indexing="ij")
    )
    got = run(mean_loss, y, y, like=y)
    found = f"for u = y the loss is {got[got.abs().argmax()]:.3g}"
    expect(gap(got, 0.0) < 1e-9, "loss-zero", found)
    far = (u - y).abs() > 0.01
    got = run(mean_loss, u[far], y[far], like=y[far])
    at = int(got.argmin())
    found = f"for u = {u[far][at]:.1f} and y = {y[far][at]:.1f} the loss is {got[at]:.3g}"
    expect(got[at] > 0, "loss-sign", found)
    grid = torch.linspace(-2, 2, 4001).double()
    for values, chances in (
        ((-1, 0, 2), (0.6, 0.3, 0.1)),
        ((0.5, 1, 2), (0.2, 0.7, 0.1)),
        ((-2, -1), (0.8, 0.2)),
    ):
        total = sum(
            p * run(mean_loss, grid, torch.full_like(grid, v), like=grid)
            for v, p in zip(values, chances, strict=True)
        )
        best = float(grid[total.argmin()])
        mean = sum(v * p for v, p in zip(values, chances, strict=True))
        found = f"for y = {values} with probabilities {chances} the best answer is {best:.3f}, the"
        expect(abs(best - mean) < 0.0015, "loss-mean", f"{found} mean is {mean:.3f}")
    moved = gap(
        run(mean_loss, u[far] / 2 + 1, y[far] / 2 + 1), run(mean_loss, u[far] / 2, y[far] / 2)
    )
    found = f"when u and y both grow by 1, the loss changes by {moved:.1g} at most"
    expect(moved > 1e-6, "loss-shift", found)
    run(mean_loss, u.float(), y.float(), like=u.float())
    return "mean_loss: not the squared error, and yet its best answer is the mean"


@check
def check_predicted_share(predicted_share):
    """predicted_share() -> a number."""
    got = run(predicted_share, like=float)
    expect(0 <= got <= 1, "share-range", f"you predict {got:g}")
    return f"predicted_share: {got:g}. Now find the field"


@check
def check_median_velocity(median_velocity):
    """median_velocity(x, t, w) -> like x."""
    x = torch.linspace(-3, 3, 60, dtype=torch.float64)
    both = torch.tensor([[1.0], [-1.0]], dtype=x.dtype)
    for name, time, w in (
        ("median-early", 0.01, 0.7),
        ("median-early", 0.01, 0.3),
        ("median-where", 0.3, 0.7),
        ("median-where", 0.6, 0.7),
        ("median-where", 0.5, 0.3),
    ):
        t = torch.tensor(time, dtype=x.dtype)
        got = run(median_velocity, x, t, w, like=x)
        targets = (both - x) / (1 - t)  # (2, 60)
        missed = float((got - targets).abs().min(0).values.max())
        found = f"at t = {time:g} the velocity of some x is {missed:.2f} away from both targets"
        expect(missed < 1e-6, "median-two", found)
        target = GaussianMixture(both, 0.0, torch.tensor([w, 1 - w], dtype=x.dtype))
        p = target.along(PATH).posterior_weights(x[:, None], t).T  # (2, 60)
        cost = [(p * (u - targets).abs()).sum(0) for u in (got, *targets)]
        more = cost[0] - torch.minimum(cost[1], cost[2])
        at = int(more.argmax())
        found = (
            f"for w = {w:g} at t = {time:g}, x = {x[at]:.2f} your velocity has the mean absolute"
        )
        found = f"{found} error {cost[0][at]:.3f}, another one has {cost[0][at] - more[at]:.3f}"
        expect(more[at] < 1e-6, name, found)
    run(median_velocity, x.float(), 0.5, 0.7, like=x.float())
    shares = [_share(median_velocity, w) for w in (0.7, 0.5)]
    return (
        "median_velocity: the smallest absolute error at 60 places. Of its samples "
        f"{shares[0]:.0%} arrive at -1, where 30% should; for w = 1/2 it is {shares[1]:.0%}"
    )


def _share(velocity, w, n=300):
    """The share of standard normal points that n Euler steps bring to -1."""
    x = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
    for i in range(n):
        x = x + run(velocity, x, torch.tensor(i / n, dtype=x.dtype), w, like=x) / n
    return float((x < 0).double().mean())
