"""Lesson 09's text-to-image model: its recipe, its training, its pictures, its stored weights.

`make weights` runs `python -m fmlib.tiny_flux`, which trains it anew, on one thread, and stores
weights/tiny_flux.safetensors and weights/tiny_flux.json. The grammar of the sentences, the pictures
and their judge are in fmlib.tiny_flux.scenes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from fmlib import stored
from fmlib.losses import cfm_loss
from fmlib.models import DiT
from fmlib.paths import CondOT
from fmlib.predictions import guide
from fmlib.shapes import real, whole
from fmlib.solvers import solve
from fmlib.stored import FOLDER
from fmlib.tiny_flux.scenes import LENGTH, WORDS, Scenes, halves, layout_of, parse
from fmlib.training import fit

__all__ = ["FOLDER", "Rating", "Recipe", "load", "paint", "rating", "shifted_times", "train"]

NAME = "tiny_flux"


@dataclass(frozen=True)
class Recipe:
    """All that decides which model is trained.  Taught in: 09, sections 5 and 6."""

    patch: int = 4
    width: int = 64
    depth: int = 4
    heads: int = 4
    joint: bool = True  # joint attention; False: the text as one vector
    steps: int = 6000
    batch_size: int = 64
    lr: float = 2e-3
    warmup: int = 400
    ema: float | None = 0.995
    logit_normal: bool = True  # t is the sigmoid of a normal number; False: t is uniform
    drop: float = 0.1  # how often the text is left out, for guidance
    seed: int = 0

    def model(self):
        """The untrained model(x, t, y): x (n, 1, 16, 16), y (n, LENGTH), all 0 for no text."""
        shape = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        return DiT((1, 16, 16), **shape, words=len(WORDS), length=LENGTH, joint=self.joint)

    def draw_from(self, scenes):
        """The function draw(n, generator) -> PathSample that fit asks for."""

        def draw(n, generator):
            x_1, y = scenes.draw(n, generator)
            y = torch.where(torch.rand(n, 1, generator=generator) < self.drop, 0, y)
            if self.logit_normal:
                t = torch.randn(n, generator=generator).sigmoid()
            else:
                t = torch.rand(n, generator=generator)
            return CondOT().sample(torch.randn(x_1.shape, generator=generator), x_1, t, y)

        return draw


def train(recipe, watch=None, progress=True):
    """Train on the digits' training half.  Returns the model and fit's History.

    The same on every call, bit for bit, on one machine with one setting of torch's threads.
    """
    torch.manual_seed(recipe.seed)
    model, draw = recipe.model(), recipe.draw_from(Scenes(halves()[0]))
    how = {key: getattr(recipe, key) for key in ("steps", "lr", "warmup", "batch_size", "ema")}
    how |= {"generator": torch.Generator().manual_seed(recipe.seed), "progress": progress}
    return model, fit(cfm_loss, model, draw, watch=watch, **how)


def shifted_times(n, shift=1.0):
    """n + 1 times from 0 to 1, t / (shift - (shift - 1) t) for equal steps of t: the early ones
    closer together if shift > 1.

    Raises ValueError for n < 1, or a shift that is not positive.
    Esser et al. 2024, eq. 23, where t = 1 is noise.  Taught in: 09, section 6.
    """
    n, shift = whole("n", n, 1), real("shift", shift, above=0)
    t = torch.linspace(0, 1, n + 1, device="cpu")
    return t / (shift - (shift - 1) * t)


def paint(model, y, w=2.0, steps=16, shift=1.0, generator=None):
    """Pictures, (n, 1, 16, 16), for the texts y, (n, LENGTH), by Euler steps along

    u_t(x) + w (u_t(x | y) - u_t(x)), with u_t(x) = model(x, t, no text).

    w: the guidance scale, 1 for none.  steps, shift: the times, as shifted_times gives them.
    Raises ValueError as guide and shifted_times do, and for a model that returns no pictures.
    Ho and Salimans 2022, eq. 6, where w counts from 0.  Taught in: 09, sections 2 and 6.
    """
    nothing = torch.zeros_like(y)
    guided = guide(lambda x, t: model(x, t, y), lambda x, t: model(x, t, nothing), w)
    x_0 = torch.randn(len(y), 1, 16, 16, generator=generator, device="cpu")
    return solve(guided, x_0, shifted_times(steps, shift), keep="end").end


class Rating(NamedTuple):
    """Shares of what was right."""

    scenes: float  # every digit, its place, and nothing else
    layouts: float
    digits: float  # of those that the texts ask for, at the places where they should be


def rating(model, scenes, reader, n=400, seed=1, **how):
    """How many of n texts of scenes, painted, are read by reader as what was asked for: a Rating.

    how: w, steps and shift of paint.
    """
    generator = torch.Generator().manual_seed(seed)
    y = scenes.draw(n, generator)[1]
    asked, pictures = [parse(row) for row in y], paint(model, y, generator=generator, **how)
    layouts = [layout_of(scene) for scene in asked]
    found, there = reader.read(pictures), reader.read_as(pictures, layouts)
    return Rating(
        _share(asked, found),
        _share(layouts, map(layout_of, found)),
        _share(_digits(asked), _digits(there)),
    )


def _share(asked, found):
    equal = [a == b for a, b in zip(asked, found, strict=True)]
    return sum(equal) / len(equal)


def _digits(scenes):
    return [digit for scene in scenes for row in scene for digit in row]


def load(folder=FOLDER):
    """The stored model, ready to paint.  Raises what `stored.read` raises."""
    about, weights = stored.read(NAME, folder)
    model = Recipe(**about["recipe"]).model()
    model.load_state_dict(weights)
    return model
