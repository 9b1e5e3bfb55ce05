"""Quality of digits against seconds of training, for U-Net, DiT and MLP, as in lesson 08.

Each network is trained on one half of the digits for 15, 30, 60 and 120 CPU-seconds (each time
anew, with its learning rate falling to zero), by flow matching on the OT path with batches of 64.
Printed for each: parameters, steps, the loss on training and on held-out images, and, for 12
midpoint steps, the metrics of lesson 08 as multiples of their floors, and P(d < d'), the share of
samples closer to the training images than held-out digits are (1/2 for new ones, 1 for copies).
Last, images a second at 8 midpoint steps, all networks by turns.
"""

import argparse
import statistics
import time

import torch
from common import over, taking_turns

from fmlib import models
from fmlib.challenge.judge import trained_classifier
from fmlib.data import Digits, digits
from fmlib.losses import cfm_loss
from fmlib.metrics import copying, frechet_distance, neighbour_test, precision_recall
from fmlib.paths import CondOT
from fmlib.solvers import solve
from fmlib.training import fit

SHAPE, BATCH, CLOUD, WARM_UP = (1, 8, 8), 64, 300, 64
# name -> (how it is built, its learning rate).  The rate: the smallest loss on held-out digits of
# 1e-3, 2e-3, 4e-3 and 6e-3 after 15 s, on seeds 1 and 2. (For the U-Net 4e-3 is as good. With 6e-3
# the MLP was ahead by 1 % then, and broke down in a training of 30 s, so it has the next one.)
NETWORKS = {
    "U-Net": (lambda: models.UNet(SHAPE), 6e-3),
    "MLP": (lambda: models.MLP(SHAPE, width=320, depth=3), 4e-3),
    "DiT": (lambda: models.DiT(SHAPE), 6e-3),
}
METRICS = ("Frechet", "gap", "precision", "recall")


def halves(generator):
    """The digits in two halves, for training and held out: two Digits."""
    images, labels = digits()
    order = torch.randperm(len(images), generator=generator)
    return [Digits(images[i], labels[i]) for i in (order[:898], order[898:])]


@torch.no_grad()
def scores(x, data, classifier, generator):
    """The four metrics of a random 300 of x against a random 300 of data."""
    x, y = (z[torch.randperm(len(z), generator=generator)[:CLOUD]] for z in (x, data))
    far = frechet_distance(classifier.features(x), classifier.features(y))
    return torch.tensor([far, neighbour_test(x, y).gap, *precision_recall(x, y)])


def pairs(data):
    """Independent pairs of noise and data on the OT path, for fit."""

    def draw(n, generator):
        x_1 = data[torch.randint(len(data), (n,), generator=generator)]
        x_0 = torch.randn(x_1.shape, generator=generator)
        return CondOT().sample(x_0, x_1, torch.rand(n, generator=generator))

    return draw


def trained(name, seconds, data, generator):
    """A network trained for so many CPU-seconds, and its steps.

    How many steps that is, is measured on a network that is thrown away."""
    build, lr = NETWORKS[name]

    def train(model, steps):
        start = time.process_time()
        fit(cfm_loss, model, pairs(data), steps, lr, BATCH, 0.98, None, generator, False)
        return time.process_time() - start

    train(build(), WARM_UP)
    steps = max(1, round(seconds * WARM_UP / train(build(), WARM_UP)))
    model = build()
    train(model, steps)
    return model, steps


@torch.no_grad()
def loss_on(data, model, generator):
    """The training loss on 20,000 examples from data."""
    draw = pairs(data)
    return sum(float(cfm_loss(model, draw(2000, generator))) for _ in range(10)) / 10


def noise(n, generator):
    return torch.randn(n, *SHAPE, generator=generator)


def report(train, held_out, options, generator):
    """Print the table; return each network as it is after its longest training."""
    classifier, last = trained_classifier(train, generator), {}
    right = float((classifier(held_out[0]).argmax(1) == held_out[1]).float().mean())
    print(f"the classifier is right on {right:.1%} of the held-out half")
    real = [scores(train[0], held_out[0], classifier, generator) for _ in range(40)]
    floor, spread = torch.stack(real).mean(0), torch.stack(real).std(0)
    for name, value, width in zip(METRICS, floor, spread, strict=True):
        print(f"floor of {name:10s} {value:8.3f}, one comparison spreads by {width:.3f}")
    print("\nnetwork   weights  seconds   steps  loss: train, held-out", end="")
    print("".join(f"{name:>11s}" for name in METRICS), "  P(d < d')", flush=True)
    for name in options.networks:
        for seconds in options.seconds:
            last[name], steps = trained(name, seconds, train[0], generator)
            x = solve(last[name], noise(900, generator), 12, "midpoint", keep="end").end
            rows = [scores(x, held_out[0], classifier, generator) for _ in range(10)]
            losses = [loss_on(data, last[name], generator) for data, _ in (train, held_out)]
            weights = sum(p.numel() for p in last[name].parameters())
            print(f"{name:8s}{weights:9,d}{seconds:9d}{steps:8,d}", end="")
            print("".join(f"{loss:12.1f}" for loss in losses), end=" ")
            print("".join(f"{value:11.2f}" for value in torch.stack(rows).mean(0) / floor), end="")
            print(f"{copying(x, train[0], held_out[0]):12.2f}", flush=True)
    return last


def speed(networks, generator):
    """Print images a second, networks by turns."""
    print("\nimages a second at 8 midpoint steps (16 evaluations), 100 at a time; median of 10")
    x = noise(100, generator)
    sample = {n: lambda m=m: solve(m, x, 8, "midpoint", keep="end") for n, m in networks.items()}
    times = taking_turns(10, **sample)
    first = next(iter(times))
    for name, taken in times.items():
        ratio = statistics.median(over(times[first], taken))
        print(f"{name:8s}{100 / statistics.median(taken):9,.0f}   {ratio:.2f} times {first}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, nargs="+", default=[15, 30, 60, 120])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    speed(report(*halves(generator), options, generator), generator)


if __name__ == "__main__":
    main()
