"""What the benchmarks share: the clock, the table, and the loops that fmlib is compared with.

The set-up is lesson 04's: two moons, MLP 64x3, batches of 256. Speed is compared by ratios only,
between things that take turns within one run: on a busy machine nothing else means anything.
"""

import argparse
import statistics
import time

import torch
from sklearn.datasets import make_moons

from fmlib.couplings import minibatch_ot
from fmlib.data import two_moons
from fmlib.losses import cfm_loss
from fmlib.metrics import over_floor
from fmlib.paths import CondOT
from fmlib.solvers import solve
from fmlib.training import fit

BATCH = 256
LR = 1e-2


def start(doc, **options):
    """Read the command line: --rounds, and each of options, whole numbers, by name and default.

    One torch thread, a fixed seed, the head of the table.  doc: the caller's docstring.
    """
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    for name, default in {"rounds": 20, **options}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'ratio':48s} {'median':>6s}  (range; rounds)       target", flush=True)
    return given


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def taking_turns(rounds, **functions):
    """Seconds that each function took in each round, by its name; a first round does not count."""
    for function in functions.values():
        function()  # warm up
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return times


def over(first, second):
    """first / second, round by round."""
    return [a / b for a, b in zip(first, second, strict=True)]


def report(name, ratios, target=None, at_least=True):
    """Print the ratios' median, range and number, and whether the target, if any, is met."""
    value, low, high = statistics.median(ratios), min(ratios), max(ratios)
    line = f"{name:48s} {value:6.2f}  ({low:5.2f} to {high:5.2f}; {len(ratios):3d})"
    if target is not None:
        met = value >= target if at_least else value <= target
        line += f"  {'>=' if at_least else '<='} {target:4.2f}  {'ok' if met else 'MISSED'}"
    print(line, flush=True)


def draw(n, generator):
    """n fresh examples for fit: two moons, noise, and the straight path between them."""
    x_1 = two_moons(n, generator=generator)
    x_0 = torch.randn(n, 2, generator=generator)
    return CondOT().sample(x_0, x_1, torch.rand(n, generator=generator))


def paired(data, batches, size, generator):
    """Noise and data(n, generator=), (batches * size, 2) of each, paired batch by batch."""
    pairs = [
        minibatch_ot(torch.randn(size, 2, generator=generator), data(size, generator=generator))
        for _ in range(batches)
    ]
    return [torch.cat(side) for side in zip(*pairs, strict=True)]


def draw_from(x_0, x_1):
    """A draw for fit: rows of a pool of pairs, at random, each at a fresh t."""

    def draw(n, generator):
        row = torch.randint(len(x_0), (n,), generator=generator)
        return CondOT().sample(x_0[row], x_1[row], torch.rand(n, generator=generator))

    return draw


def fit_loop(model, steps, generator, draw=draw):
    fit(cfm_loss, model, draw, steps=steps, lr=LR, generator=generator, progress=False)


def moons():
    """One batch of data, as lesson 04 draws it."""
    return torch.tensor(make_moons(BATCH, noise=0.05)[0], dtype=torch.float32)


def plain_loop(model, steps):
    """The training loop of lesson 04, as written there."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    losses = []
    for _ in range(steps):
        x_1 = moons()
        x_0 = torch.randn_like(x_1)
        t = torch.rand(BATCH, 1)
        x_t = (1 - t) * x_0 + t * x_1
        dx_t = x_1 - x_0
        loss = (model(x_t, t) - dx_t).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())


@torch.no_grad()
def bare_euler(model, x, n):
    """Euler's method as a bare Python loop."""
    h = 1 / n
    for i in range(n):
        x = x + h * model(x, torch.tensor(i * h))
    return x


def quality(model, generator):
    """W_2 between the model's samples and the data, as a multiple of its floor."""

    def samples(n):
        return solve(model, torch.randn(n, 2, generator=generator), 50, "midpoint").end

    return over_floor(samples, lambda n: two_moons(n, generator=generator))
