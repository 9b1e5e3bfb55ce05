"""Networks for velocities, each called as model(x, t), and a classifier of images.

They are created in torch's default dtype and on its default device, and take x in theirs.
"""

from fmlib.models.classifier import Classifier
from fmlib.models.dit import DiT
from fmlib.models.mlp import MLP
from fmlib.models.unet import UNet

__all__ = ["MLP", "Classifier", "DiT", "UNet"]
