"""The network of the lessons in the plane."""

import math

import torch
from torch import nn

from fmlib.models.common import check_shape, shape_of
from fmlib.shapes import expand_time, flat_points, whole


class MLP(nn.Module):
    """A multilayer perceptron on (x, t): the input is x with t appended, the output has x's shape.

    dims: the shape of one point, an int or a tuple, so that x is (batch, *dims).  width: neurons in
    each of the depth hidden layers, with SiLU between.  t: a number, () or (batch,).
    Raises ValueError for a width or depth below 1, or if x has another shape, dtype or device.
    Taught in: 04, section 3.
    """

    def __init__(self, dims=2, width=64, depth=3):
        super().__init__()
        width, depth = whole("width", width, 1), whole("depth", depth, 1)
        self.dims = shape_of(dims)
        n = math.prod(self.dims)
        sizes = [n + 1, *[width] * depth]
        layers = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(fan_in, fan_out), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, n))

    def forward(self, x, t):
        check_shape(x, self.dims, self.layers[0].weight)
        t = expand_time(t, x).reshape(-1, 1).expand(x.shape[0], 1)
        return self.layers(torch.cat([flat_points(x), t], dim=1)).reshape(x.shape)
