"""How fast is fmlib? Ratios, each measured interleaved in one run, on one torch thread.

    (a)  training steps a second: fit over the plain loop of lesson 04
    (b)  the same over its floor: forward, backward and fused Adam on one fixed batch
    (b2) time to the plain loop's final quality (W_2 within 1.8 times its floor): loop over fit
    (c)  sampling evaluations a second: solve over a bare Python loop, at 300 and 2,000 points
    (d)  import time: fmlib over torch

The set-up is lesson 04's: two moons, MLP 64x3, batches of 256. Run it by `make bench`.
"""

import subprocess
import sys

import torch
from common import (
    BATCH,
    LR,
    bare_euler,
    draw,
    fit_loop,
    over,
    plain_loop,
    quality,
    report,
    seconds,
    start,
    taking_turns,
)

from fmlib.models import MLP
from fmlib.solvers import solve


def floor_loop(model, batch, steps):
    """Forward, backward and fused Adam on one batch, and nothing else."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    for _ in range(steps):
        loss = (model(batch.x_t, batch.t) - batch.dx_t).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


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
    rounds = start(__doc__).rounds
    g = torch.Generator().manual_seed(0)
    model, batch = MLP(), draw(BATCH, g)
    n = 320  # steps a round
    times = taking_turns(
        rounds, plain=lambda: plain_loop(model, n), fit=lambda: fit_loop(model, n, g)
    )
    report("(a) fit over the plain loop", over(times["plain"], times["fit"]), 2.0)
    times = taking_turns(
        rounds, floor=lambda: floor_loop(model, batch, n), fit=lambda: fit_loop(model, n, g)
    )
    report("(b) fit over its floor", over(times["floor"], times["fit"]), 0.9)
    model = MLP()  # the last one has been fitted to one batch for long, and its flow runs away
    fit_loop(model, n, g)
    for points in (300, 2000):
        x = torch.randn(points, 2, generator=g)
        times = taking_turns(
            5 * rounds,  # each takes a moment only
            plain=lambda x=x: bare_euler(model, x, 200),
            solve=lambda x=x: solve(model, x, 200),
        )
        report(
            f"(c) solve over a bare loop, {points} points",
            over(times["plain"], times["solve"]),
            0.97,
        )
    times = taking_turns(
        min(rounds, 10), fmlib=lambda: import_time("fmlib"), torch=lambda: import_time("torch")
    )
    report(
        "(d) import fmlib over import torch",
        over(times["fmlib"], times["torch"]),
        1.05,
        at_least=False,
    )
    runs = [time_to_quality(g) for _ in range(3)]
    report("(b2) sooner at 1.8 times the W2 floor", [run[0] for run in runs], 5.0)
    for _, steps, ours, listing in runs:
        print(f"     fit: {ours:.2f} after {steps} steps; the listing: {listing:.2f}")


if __name__ == "__main__":
    main()
