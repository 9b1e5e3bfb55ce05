"""How fast is fmlib? Ratios, each measured interleaved in one run, on one torch thread.

    (a)  training steps a second: fit over the plain loop of lesson 04
    (b)  the same over its floor: forward, backward and fused Adam on one fixed batch
    (b2) time to the plain loop's final quality (W_2 within 1.8 times its floor): loop over fit
    (c)  sampling evaluations a second: solve over a bare Python loop, at 300 and 2,000 points
    (d)  import time: fmlib over torch

The set-up is lesson 04's: two moons, MLP 64x3, batches of 256. Run it by `make bench`.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
from sklearn.datasets import make_moons

from fmlib.data import two_moons
from fmlib.losses import cfm_loss
from fmlib.metrics import over_floor
from fmlib.models import MLP
from fmlib.paths import CondOT
from fmlib.solvers import solve
from fmlib.training import fit

BATCH = 256


def draw(n, generator):
    x_1 = two_moons(n, generator=generator)
    x_0 = torch.randn(n, 2, generator=generator)
    return CondOT().sample(x_0, x_1, torch.rand(n, generator=generator))


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def interleaved(rounds, first, second):
    """time(first) / time(second) in each round."""
    return [seconds(first) / seconds(second) for _ in range(rounds)]


def report(name, ratios, target, at_least=True):
    """Print the median of the ratios, their range, and whether the target is met."""
    value, low, high = statistics.median(ratios), min(ratios), max(ratios)
    met = value >= target if at_least else value <= target
    sign = ">=" if at_least else "<="
    verdict = "ok" if met else "MISSED"
    print(
        f"{name:44s} {value:6.2f}  ({low:5.2f} to {high:5.2f})  {sign} {target:4.2f}  {verdict}",
        flush=True,
    )


def plain_loop(model, steps):
    """The training loop of lesson 04, as written there."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        x_1 = torch.tensor(make_moons(BATCH, noise=0.05)[0], dtype=torch.float32)
        x_0 = torch.randn_like(x_1)
        t = torch.rand(BATCH, 1)
        x_t = (1 - t) * x_0 + t * x_1
        dx_t = x_1 - x_0
        loss = (model(x_t, t) - dx_t).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())


def floor_loop(model, batch, steps):
    """Forward, backward and fused Adam on one batch, and nothing else."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    for _ in range(steps):
        loss = (model(batch.x_t, batch.t) - batch.dx_t).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def fit_loop(model, steps, generator):
    fit(cfm_loss, model, draw, steps=steps, lr=1e-2, generator=generator, progress=False)


@torch.no_grad()
def bare_euler(model, x, n):
    h = 1 / n
    for i in range(n):
        x = x + h * model(x, torch.tensor(i * h))
    return x


def quality(model, generator):
    def samples(n):
        return solve(model, torch.randn(n, 2, generator=generator), 50, "midpoint").end

    return over_floor(samples, lambda n: two_moons(n, generator=generator))


def time_to_quality(generator, wanted=1.8, listing_steps=10_000):
    """Seconds until fit is within `wanted`; the listing takes its ten thousand steps."""
    for steps in (250, 500, 1000, 2000, 4000):
        model = MLP()
        needed = seconds(fit_loop, model, steps, generator)
        if quality(model, generator) <= wanted:
            break
    listing = MLP()
    whole = seconds(plain_loop, listing, listing_steps)
    return whole / needed, steps, quality(model, generator), quality(listing, generator)


def import_time(module):
    return seconds(subprocess.run, [sys.executable, "-c", f"import {module}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    model, batch = MLP(), draw(BATCH, g)
    n = 320  # steps a round
    fit_loop(model, n, g), plain_loop(model, n), floor_loop(model, batch, n)  # warm up
    print(f"{'ratio':44s} {'median':>6s}  (range over {rounds} rounds)  target")

    def fitted():
        fit_loop(model, n, g)

    report(
        "(a) fit over the plain loop",
        interleaved(rounds, lambda: plain_loop(model, n), fitted),
        2.0,
    )
    report(
        "(b) fit over its floor",
        interleaved(rounds, lambda: floor_loop(model, batch, n), fitted),
        0.9,
    )
    model = MLP()  # the last one has been fitted to one batch for long, and its flow runs away
    fit_loop(model, n, g)
    for points in (300, 2000):
        x = torch.randn(points, 2, generator=g)
        ratios = interleaved(
            rounds, lambda x=x: bare_euler(model, x, 200), lambda x=x: solve(model, x, 200)
        )
        report(f"(c) solve over a bare loop, {points} points", ratios, 0.97)
    imports = [import_time("fmlib") / import_time("torch") for _ in range(min(rounds, 10))]
    report("(d) import fmlib over import torch", imports, 1.05, at_least=False)
    runs = [time_to_quality(g) for _ in range(3)]
    report("(b2) sooner at 1.8 times the W2 floor", [run[0] for run in runs], 5.0)
    for _, steps, ours, listing in runs:
        print(f"     fit: {ours:.2f} after {steps} steps; the listing: {listing:.2f}")


if __name__ == "__main__":
    main()
