"""What an entry of the challenge is worth, by the judges of lesson 08."""

import functools
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from fmlib.challenge.given import digits, unseen
from fmlib.metrics import copying, frechet_distance, neighbour_test, precision_recall
from fmlib.models import Classifier
from fmlib.training import fit

__all__ = ["Judge", "Rating", "trained_classifier"]

CLOSEST = 0.02  # the share of images that are the closest ones to what was shown
COPIES = 0.7  # closest below this are copies: real digits get 0.9 to 1.1


class Rating(NamedTuple):
    """What lesson 08 asks of images: the first decides."""

    gap: float  # (8.2), from 0 to 1, of which 0 is best; two sets of real digits get about 0.05
    frechet: float  # (8.1) in a classifier's features
    precision: float  # (8.3)
    recall: float
    newness: float  # C = P(d < d'), (8.4)
    closest: float  # how far the closest are from what was shown, over the same of real digits

    @property
    def copies(self):
        """Whether the closest images are copies."""
        return self.closest < COPIES


class Judge:
    """Rates images against real digits.

    real: images (n, 1, 8, 8), such as those of digits().trial, or None for those that nobody has
    seen.  Copies are looked for among all digits that an entry may look at, `real` left out.
    Taught in: 08, sections 1 and 2.
    """

    def __init__(self, real=None):
        train, trial = digits()
        self.real = unseen() if real is None else real
        self.shown = torch.cat([train.images, trial.images]) if real is None else train.images
        self.features = _classifier().features
        with torch.no_grad():
            self.real_features, self.real_near = self.features(self.real), self._near(self.real)

    @torch.no_grad()
    def rate(self, x):
        """The Rating of images x, as many as there are real ones.

        Raises ValueError as the metrics do.
        """
        return Rating(
            neighbour_test(x, self.real).gap,
            frechet_distance(self.features(x), self.real_features),
            *precision_recall(x, self.real),
            copying(x, self.shown, self.real),
            self._near(x) / self.real_near,
        )

    def _near(self, x):
        far = torch.cdist(x.flatten(1), self.shown.flatten(1)).amin(1)
        return float(far.quantile(CLOSEST))


@functools.cache
def _classifier():
    """The one that all judges ask."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trained_classifier(digits().train, torch.Generator().manual_seed(0))


def trained_classifier(data, generator):
    """Lesson 08's: trained on digits, a Digits, with a little noise on them."""

    def draw(n, generator):
        i = torch.randint(len(data.images), (n,), generator=generator)
        noise = torch.randn(n, *data.images.shape[1:], generator=generator)
        return data.images[i] + 0.1 * noise, data.labels[i]

    def loss(model, batch):
        return cross_entropy(model(batch[0]), batch[1])

    model = Classifier()
    fit(loss, model, draw, 500, 3e-3, 64, generator=generator, progress=False)
    return model
