"""Quality against evaluations (NFE), for every way to train in lesson 07, over ten seeds.

The checkerboard on [-4, 4]^2, MLP 64x3, 4,000 steps of 256 examples, as in the lesson. For each
method, solver and NFE, with equal time steps on each path: the sliced Wasserstein distance of 2,000
samples over its floor, and the share of samples on black cells, as mean and standard deviation over
the seeds. The table is printed and drawn to build/few_steps.png.
"""

import argparse
import time
from pathlib import Path

import torch

from fmlib.couplings import minibatch_ot
from fmlib.data import checkerboard
from fmlib.losses import cfm_loss, noise_loss
from fmlib.metrics import sliced_wasserstein
from fmlib.models import MLP
from fmlib.paths import VP, CondOT
from fmlib.plotting import PATHS, plt, use_style
from fmlib.predictions import convert
from fmlib.solvers import solve
from fmlib.training import examples, fit

POINTS, CLOUDS = 2000, 5
PICTURE = Path(__file__).resolve().parent.parent / "build" / "few_steps.png"
OT, DIFFUSION = CondOT(), VP()
NFE = {"euler": (1, 2, 4, 8, 10, 20, 100), "midpoint": (2, 4, 8, 10, 20, 100)}
LOOKS = {
    "FM, OT path": (PATHS["CondOT"], "o-"),
    "FM, diffusion path": (PATHS["VP"], "s-"),
    "score matching, diffusion": (PATHS["VP"], "s--"),
    "minibatch OT": ("0", "^-"),
    "reflow": ("0.6", "v-"),
}


def methods(generator, steps):
    """Train each method; yield (its name, its velocity, its path)."""

    def train(draw, loss=cfm_loss):
        model = MLP(2, width=64, depth=3)
        fit(loss, model, draw, steps, 1e-2, generator=generator, progress=False)
        return model

    flow = train(examples(OT, checkerboard))
    yield "FM, OT path", flow, OT
    yield "FM, diffusion path", train(examples(DIFFUSION, checkerboard)), DIFFUSION
    noise = train(examples(DIFFUSION, checkerboard), noise_loss)
    velocity = lambda x, t: convert(noise(x, t), x, t, DIFFUSION)  # noqa: E731
    yield "score matching, diffusion", velocity, DIFFUSION
    pool = examples(OT, checkerboard, minibatch_ot)(2**15, generator)
    yield "minibatch OT", train(examples(OT, (pool.x_0, pool.x_1))), OT
    x_0 = torch.randn(2**15, 2, generator=generator)
    followed = x_0, solve(flow, x_0, 10, "midpoint", keep="end").end
    yield "reflow", train(examples(OT, followed)), OT


def rated(velocity, path, solver, nfe, generator, floor):
    """(sliced W_2 over its floor, share on black) of the samples with this many evaluations."""
    steps = nfe // (2 if solver == "midpoint" else 1)
    far, black = 0.0, 0.0
    for _ in range(CLOUDS):
        x = torch.randn(POINTS, 2, generator=generator)
        x = solve(velocity, x, steps, solver, t_end=path.t_end, keep="end").end
        data = checkerboard(POINTS, generator)
        far += sliced_wasserstein(x, data, 100, generator) / floor / CLOUDS
        cell = ((x + 4) / 2).floor().sum(1)
        black += float(((cell % 2 == 0) & (x.abs() < 4).all(1)).float().mean()) / CLOUDS
    return far, black


def one_seed(seed, steps):
    """{(method, solver, nfe): (far, black)} for one seed."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    board = lambda: checkerboard(POINTS, generator)  # noqa: E731
    floor = sum(sliced_wasserstein(board(), board(), 100, generator) for _ in range(40)) / 40
    return {
        (name, solver, nfe): rated(velocity, path, solver, nfe, generator, floor)
        for name, velocity, path in methods(generator, steps)
        for solver, budgets in NFE.items()
        for nfe in budgets
    }


def draw(mean, spread):
    """The table as a picture: a panel for each solver, a line for each method."""
    use_style()
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for ax, (solver, budgets) in zip(axes, NFE.items(), strict=True):
        for name, (color, look) in LOOKS.items():
            rows = torch.stack([mean[name, solver, nfe] for nfe in budgets])[:, 0]
            bars = torch.stack([spread[name, solver, nfe] for nfe in budgets])[:, 0]
            ax.errorbar(budgets, rows, bars, fmt=look, color=color, label=name, lw=1.2, capsize=2)
        ax.set(xscale="log", yscale="log", title=solver, xlabel="evaluations (NFE)")
        ax.xaxis.set_minor_locator(plt.NullLocator())
        ax.set_xticks(NFE["euler"], labels=NFE["euler"])
    axes[0].set_ylabel("sliced W2 over its floor")
    axes[0].set_yticks([1, 2, 4, 8, 16], labels=[1, 2, 4, 8, 16])
    axes[0].yaxis.set_minor_locator(plt.NullLocator())
    axes[0].legend()
    PICTURE.parent.mkdir(exist_ok=True)
    fig.savefig(PICTURE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0")
    parser.add_argument("--steps", type=int, default=4000, help="of training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, runs = time.perf_counter(), []
    for seed in range(options.seeds):
        runs.append(one_seed(seed, options.steps))
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    values = {key: torch.tensor([run[key] for run in runs]) for key in runs[0]}  # (seeds, 2)
    mean = {key: value.mean(0) for key, value in values.items()}
    spread = {key: value.std(0) if len(runs) > 1 else value[0] * 0 for key, value in values.items()}
    print("\nsliced W2 over its floor, mean and standard deviation (share on black, %)")
    for solver, budgets in NFE.items():
        print(f"{solver:26s}" + "".join(f"{f'NFE {nfe}':>16s}" for nfe in budgets))
        for name in LOOKS:
            print(f"{name:26s}", end="")
            for nfe in budgets:
                (far, black), (give, _) = mean[name, solver, nfe], spread[name, solver, nfe]
                print(f"{far:7.2f} {give:4.2f} ({100 * black:2.0f})", end="")
            print()
    draw(mean, spread)
    print(f"\ndrawn to {PICTURE.relative_to(PICTURE.parent.parent)}")


if __name__ == "__main__":
    main()
