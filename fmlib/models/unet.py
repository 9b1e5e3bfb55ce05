"""A network for images, convolutional."""

import math

import torch
from torch import nn
from torch.nn.functional import silu

from fmlib.models.common import check_shape, look_up, shape_of, zero
from fmlib.shapes import expand_time, whole


class _ResBlock(nn.Module):
    """Two convolutions beside a shortcut; the vector e, (batch, width), scales and shifts between.

    The second convolution starts at zero, so that the block starts as its shortcut.
    """

    def __init__(self, channels_in, channels, width):
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.second = zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.modulation = nn.Linear(width, 2 * channels)
        same = channels_in == channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x, e):
        scale, shift = self.modulation(e)[:, :, None, None].chunk(2, dim=1)
        h = self.first(silu(x)) * (1 + scale) + shift
        return self.shortcut(x) + self.second(silu(h))


class UNet(nn.Module):
    """A convolutional network for images: down to coarser grids, up again, with bridges across.

    dims: (channels, height, width) of an image, so that x is (batch, *dims); height and width must
    be divisible by 4, since the grid is halved twice.  width: channels on the finest grid; the
    others have two and four times as many.  t: a number, () or (batch,), enters every block.
    n_classes: how many labels there are, 0 for a model(x, t) without any.  y: labels (batch,) in
    0 ... n_classes, where n_classes itself means "no label"; None means that for the whole batch.
    No normalisation layers: at this size they cost more time than they save.
    Raises ValueError for dims or a width that do not fit, or if x or y has another shape, dtype,
    device or range.
    Ronneberger et al. 2015, figure 1; Ho et al. 2020, appendix B.  Taught in: 08, section 2.
    """

    def __init__(self, dims=(1, 8, 8), width=16, n_classes=0):
        super().__init__()
        self.dims = shape_of(dims, ("channels", "height", "width"))
        width, n_classes = whole("width", width, 1), whole("n_classes", n_classes, 0)
        self.n_classes = n_classes
        if self.dims[1] % 4 or self.dims[2] % 4:
            raise ValueError(f"height and width must be divisible by 4, got {self.dims[1:]}")
        fine, middle, coarse = width, 2 * width, 4 * width
        inner = 4 * width  # of the vector that says what t and y are
        self.register_buffer("frequency", math.pi * 2 ** torch.linspace(-1, 5, 16), False)
        self.time = nn.Sequential(nn.Linear(32, inner), nn.SiLU(), nn.Linear(inner, inner))
        self.label = nn.Embedding(n_classes + 1, inner) if n_classes else None
        self.enter = nn.Conv2d(self.dims[0], fine, 3, padding=1)
        self.down = nn.ModuleList([_ResBlock(n, n, inner) for n in (fine, middle)])
        self.coarsen = nn.ModuleList([nn.Conv2d(n, 2 * n, 2, stride=2) for n in (fine, middle)])
        self.bottom = _ResBlock(coarse, coarse, inner)
        self.refine = nn.ModuleList(
            [nn.ConvTranspose2d(2 * n, n, 2, stride=2) for n in (middle, fine)]
        )
        self.up = nn.ModuleList([_ResBlock(2 * n, n, inner) for n in (middle, fine)])
        self.leave = nn.Conv2d(fine, self.dims[0], 3, padding=1)

    def forward(self, x, t, y=None):
        check_shape(x, self.dims, self.enter.weight)
        angle = expand_time(t, x).reshape(-1, 1) * self.frequency
        e = self.time(torch.cat([angle.sin(), angle.cos()], dim=1)).expand(len(x), -1)
        e = silu(e + self._label(y, x))
        h, bridges = self.enter(x), []
        for block, coarsen in zip(self.down, self.coarsen, strict=True):
            h = block(h, e)
            bridges.append(h)
            h = coarsen(h)
        h = self.bottom(h, e)
        for refine, block in zip(self.refine, self.up, strict=True):
            h = block(torch.cat([refine(h), bridges.pop()], dim=1), e)
        return self.leave(silu(h))

    def _label(self, y, x):
        """The vectors of the labels, (batch, inner); 0 in a model without labels."""
        if y is None and self.n_classes:
            y = torch.full(x.shape[:1], self.n_classes, device=x.device)
        return look_up(self.label, y, x.shape[:1], x)
