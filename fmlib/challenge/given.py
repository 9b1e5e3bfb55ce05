"""What everybody gets: the digits, and a network, whose recipe `make weights` follows."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from fmlib import stored
from fmlib.data import Digits
from fmlib.losses import cfm_loss
from fmlib.models import UNet
from fmlib.paths import CondOT
from fmlib.tiny_flux.scenes import halves
from fmlib.training import fit

__all__ = ["EVALUATIONS", "Parts", "Recipe", "digits", "load", "train", "unseen"]

NAME = "challenge"
EVALUATIONS = (2, 4)  # of the network, for each image


class Parts(NamedTuple):
    """The digits that may be looked at."""

    train: Digits  # 899, on which the network was trained
    trial: Digits  # 449, on which it was not, to try an entry on


def digits():
    """The handwritten digits but those of `unseen`, the same in every run: Parts."""
    train, (images, labels) = halves()
    return Parts(train, Digits(images[::2], labels[::2]))


def unseen():
    """The 449 images (449, 1, 8, 8) against which the scoreboard rates: no entry may use them."""
    return halves()[1].images[1::2]


@dataclass(frozen=True)
class Recipe:
    """All that decides which network is given."""

    width: int = 16
    steps: int = 2500
    batch_size: int = 64
    lr: float = 4e-3
    ema: float = 0.99
    drop: float = 0.15  # how often the label is left out
    seed: int = 0

    def model(self):
        """The untrained network(x, t, y=None): x (n, 1, 8, 8), y (n,) from 0 to 9, 10 for none."""
        return UNet((1, 8, 8), self.width, n_classes=10)

    def draw_from(self, data):
        """The function draw(n, generator) -> PathSample that fit asks for."""

        def draw(n, generator):
            rows = torch.randint(len(data.images), (n,), generator=generator)
            left_out = torch.rand(n, generator=generator) < self.drop
            x_0 = torch.randn(n, 1, 8, 8, generator=generator)
            t = torch.rand(n, generator=generator)
            y = data.labels[rows].masked_fill(left_out, 10)
            return CondOT().sample(x_0, data.images[rows], t, y)

        return draw


def train(recipe, watch=None, progress=True):
    """Train on the digits' first part.  Returns the model and fit's History.

    The same on every call, bit for bit, on one machine with one setting of torch's threads.
    """
    torch.manual_seed(recipe.seed)
    model, draw = recipe.model(), recipe.draw_from(digits().train)
    how = {key: getattr(recipe, key) for key in ("steps", "lr", "batch_size", "ema")}
    how |= {"generator": torch.Generator().manual_seed(recipe.seed), "progress": progress}
    return model, fit(cfm_loss, model, draw, watch=watch, **how)


def load(folder=stored.FOLDER):
    """The stored network, frozen.  Raises what `stored.read` raises."""
    about, weights = stored.read(NAME, folder)
    model = Recipe(**about["recipe"]).model()
    model.load_state_dict(weights)
    return model.requires_grad_(False)
