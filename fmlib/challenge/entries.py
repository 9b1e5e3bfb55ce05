"""An entry: what somebody's sampler made, under its budget, as a file."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fmlib.challenge.given import EVALUATIONS, Recipe, digits, load
from fmlib.shapes import check_finite, whole

__all__ = ["Entry", "Metered", "OverBudget", "enter", "read"]

TRAINING = 64_000  # evaluations of an image, of all networks together, in the second track
RUNS, IMAGES = 3, 449  # of each number of evaluations; as many images as digits never shown
TRACKS = ("sampler", "training")
FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "challenge"


class OverBudget(RuntimeError):
    """A network was asked about more images than the budget allows."""


class Budget:
    """So many evaluations of one image; spend(n) raises OverBudget beyond them."""

    def __init__(self, evaluations):
        self.left = self.evaluations = whole("evaluations", evaluations, 0)

    def spend(self, n):
        if n > self.left:
            raise OverBudget(
                f"the budget is {self.evaluations:,} evaluations of an image; {n:,} were asked for "
                f"when {self.left:,} were left"
            )
        self.left -= n


class Metered(torch.nn.Module):
    """A network that spends its budget, one evaluation for each image that it is asked about.

    learns: whether gradients pass through it.
    """

    def __init__(self, network, budget, learns=False):
        super().__init__()
        self.network, self.budget, self.learns = network, budget, learns

    def forward(self, x, t, y=None):
        self.budget.spend(len(x))
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            return self.network(x, t, y)


class Entry(NamedTuple):
    """What an entry made."""

    name: str
    track: str  # of TRACKS
    images: dict  # number of evaluations -> (RUNS, IMAGES, 1, 8, 8)


def enter(name, sample, train=None, folder=FOLDER):
    """Run an entry under its budget, store what it makes in a file of `folder`, return the Entry.

    sample(network, x_0, evaluations, generator) -> images like x_0, which is noise (n, 1, 8, 8);
    network(x, t, y=None) is the velocity, and may be asked about `evaluations` n images in all.
    train: None to sample from the network that is given, or train(network, given, data, generator),
    which trains `network`, as large as the given one and untrained, in place: TRAINING evaluations
    of an image, of the two together; data: the Digits that the given one was trained on.
    Every entry gets the same noise, and equal runs give equal images.
    Raises ValueError for a name without a letter or of more than 40, and for a sample that returns
    something else; OverBudget.
    """
    name = checked_name(name)
    with torch.random.fork_rng(devices=[]):
        network = load()
        torch.manual_seed(0)  # for who draws without the generator
        if train is not None:
            network = _trained(train, network)
        images = {n: _runs(sample, network, n) for n in EVALUATIONS}
    entry = Entry(name, TRACKS[train is not None], images)
    store(entry, Path(folder))
    return entry


def _trained(train, given):
    network, budget, generator = Recipe().model(), Budget(TRAINING), torch.Generator()
    own, other = Metered(network, budget, learns=True), Metered(given, budget)
    train(own, other, digits().train, generator.manual_seed(0))
    return network


def _runs(sample, network, evaluations):
    made = []
    for run in range(RUNS):
        generator = torch.Generator().manual_seed(run)
        x_0 = torch.randn(IMAGES, 1, 8, 8, generator=generator)
        with torch.no_grad():
            metered = Metered(network, Budget(evaluations * IMAGES))
            x = sample(metered, x_0.clone(), evaluations, generator)
        if not isinstance(x, torch.Tensor) or x.shape != x_0.shape or x.dtype != x_0.dtype:
            got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"sample must return {x_0.dtype} {tuple(x_0.shape)}, got {got}")
        check_finite("what sample returns", x)
        made.append(x.detach())
    return torch.stack(made)


def checked_name(name):
    """The name without spaces around it; ValueError unless it has a letter, and is short."""
    name = " ".join(str(name).split())
    if not re.search(r"\w", name) or len(name) > 40 or not name.isprintable():
        raise ValueError(f"an entry's name has at most 40 letters, and one at least, got {name!r}")
    return name


def store(entry, folder):
    """Write NAME.TRACK.npz, with the images as 16-bit numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"\W+", "-", entry.name).strip("-").lower()
    about = json.dumps({"name": entry.name, "track": entry.track})
    arrays = {str(n): x.half().numpy() for n, x in entry.images.items()}
    np.savez_compressed(folder / f"{plain}.{entry.track}.npz", about=about, **arrays)


def read(file):
    """The Entry in a file.  Raises ValueError, which says why, for a file that holds none."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            images = {n: torch.from_numpy(arrays[str(n)]).float() for n in EVALUATIONS}
        name, track = checked_name(about["name"]), about["track"]
    except Exception as error:
        raise ValueError(f"{Path(file).name} is no entry: {error}") from None
    shape = (RUNS, IMAGES, 1, 8, 8)
    whole_ones = all(x.shape == shape and x.isfinite().all() for x in images.values())
    if track not in TRACKS or not whole_ones:
        raise ValueError(f"{Path(file).name} is no entry: images {shape} of a track of {TRACKS}")
    return Entry(name, track, images)
