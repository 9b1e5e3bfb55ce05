"""Networks for velocities: every model is called as model(x, t)."""

import math

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from fmlib.shapes import check_points, expand_time, flat_points

__all__ = ["MLP", "Classifier", "DiT", "UNet"]


def _check_shape(x, dims):
    """Raise ValueError unless x is a batch of points of shape dims."""
    check_points("x", x)
    if x.shape[1:] != dims:
        shape = ", ".join(str(n) for n in ("batch", *dims))
        raise ValueError(f"x must have shape ({shape}), got {tuple(x.shape)}")


def _zero(layer):
    """Let a layer begin as 0, so that the block which it ends begins as its shortcut."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Module):
    """A multilayer perceptron on (x, t): the input is x with t appended, the output has x's shape.

    dims: the shape of one point, an int or a tuple, so that x is (batch, *dims).  width: neurons in
    each of the depth hidden layers, with SiLU between.  t: a number, () or (batch,).
    Raises ValueError for a width or depth below 1, or if x has another shape.
    Taught in: 04, section 3.
    """

    def __init__(self, dims=2, width=64, depth=3):
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"MLP needs width and depth of at least 1, got {width} and {depth}")
        self.dims = (dims,) if isinstance(dims, int) else tuple(dims)
        n = math.prod(self.dims)
        sizes = [n + 1, *[width] * depth]
        layers = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(fan_in, fan_out), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, n))

    def forward(self, x, t):
        _check_shape(x, self.dims)
        t = expand_time(t, x).reshape(-1, 1).expand(x.shape[0], 1)
        return self.layers(torch.cat([flat_points(x), t], dim=1)).reshape(x.shape)


class _ResBlock(nn.Module):
    """Two convolutions beside a shortcut; the vector e, (batch, width), scales and shifts between.

    The second convolution starts at zero, so that the block starts as its shortcut.
    """

    def __init__(self, channels_in, channels, width):
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.second = _zero(nn.Conv2d(channels, channels, 3, padding=1))
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
    Raises ValueError for dims or a width that do not fit, or if x or y has another shape.
    Ronneberger et al. 2015, figure 1; Ho et al. 2020, appendix B.  Taught in: 08, section 2.
    """

    def __init__(self, dims=(1, 8, 8), width=16, n_classes=0):
        super().__init__()
        self.dims, self.n_classes = tuple(dims), n_classes
        if len(self.dims) != 3 or self.dims[1] % 4 or self.dims[2] % 4 or width < 1:
            raise ValueError(
                "UNet needs dims = (channels, height, width), the last two divisible by 4, and a "
                f"width of at least 1, got {self.dims} and {width}"
            )
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
        _check_shape(x, self.dims)
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
        if self.label is None:
            if y is not None:
                raise ValueError("this UNet has no labels: build it with n_classes, or leave y out")
            return 0.0
        if y is None:
            y = torch.full(x.shape[:1], self.n_classes, device=x.device)
        if y.shape != x.shape[:1] or y.is_floating_point():
            raise ValueError(
                f"y must be whole numbers of shape ({len(x)},), one label for each image, got "
                f"{y.dtype} of shape {tuple(y.shape)}"
            )
        return self.label(y)


class Classifier(nn.Module):
    """A small convolutional classifier; what it sees before its last layer are its features.

    dims: (channels, height, width) of an image.  model(x) -> logits (batch, n_classes);
    model.features(x) -> (batch, 40), at least 0.
    Taught in: 08, section 1.
    """

    def __init__(self, dims=(1, 8, 8), n_classes=10):
        super().__init__()
        channels, height, width = dims
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * ((height + 1) // 2) * ((width + 1) // 2), 40), nn.ReLU(),
        )  # fmt: skip
        self.logits = nn.Linear(40, n_classes)

    def forward(self, x):
        return self.logits(self.features(x))


class _Stream(nn.Module):
    """The weights that one kind of tokens, image or text, has in a block."""

    def __init__(self, width, heads, ends):
        super().__init__()
        self.heads, self.ends = heads, ends  # ends: read by the others, and not needed any more
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        # adaLN-Zero: the gates start closed, and every block as the identity.
        self.modulation = _zero(nn.Linear(width, (2 if ends else 6) * width))
        self.qkv = nn.Linear(width, 3 * width)
        if not ends:
            self.out = nn.Linear(width, width)
            inner = nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
            self.mlp = nn.Sequential(*inner)

    def before(self, x, c):
        """Queries, keys and values, (3, batch, heads, tokens, width / heads), and what c says."""
        m = self.modulation(c)[:, None].chunk(2 if self.ends else 6, dim=2)
        qkv = self.qkv(_modulate(self.norm(x), *m[:2]))
        return qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4), m

    def after(self, x, mixed, m):
        """The residual steps of attention and of the MLP, each through a gate."""
        x = x + m[2] * self.out(mixed)
        return x + m[5] * self.mlp(_modulate(self.norm(x), *m[3:5]))


def _modulate(x, shift, scale):
    return x * (1 + scale) + shift


class _Block(nn.Module):
    """A block of one stream (DiT), or of several that share one attention (MM-DiT)."""

    def __init__(self, width, heads, ends):
        super().__init__()
        self.streams = nn.ModuleList(_Stream(width, heads, end) for end in ends)

    def forward(self, tokens, c):
        pairs = zip(self.streams, tokens, strict=True)
        qkv, m = zip(*(stream.before(x, c) for stream, x in pairs), strict=True)
        mixed = scaled_dot_product_attention(*torch.cat(qkv, dim=3)).transpose(1, 2).flatten(2)
        mixed = mixed.split([x.shape[1] for x in tokens], dim=1)
        parts = zip(self.streams, tokens, mixed, m, strict=True)
        return [stream.after(*rest) for stream, *rest in parts if not stream.ends]


class DiT(nn.Module):
    """A diffusion transformer: velocity of images x at time t, for a label or a text y.

    dims: (channels, height, width) of an image, cut into patches of patch by patch pixels, each a
    token of the given width, for depth blocks with heads heads.  t: a number, () or (batch,); it
    acts through adaptive layer norms whose gates start at zero (adaLN-Zero).
    words: how many labels or words there are, 0 for a model(x, t) of neither.  length: None, for
    labels y, (batch,), whose vectors are added to that of t; or the number of words of a text y,
    (batch, length). joint: its words are tokens with weights of their own that join the attention
    (MM-DiT); otherwise the text is made into one vector, which is added to that of t.
    Raises ValueError if dims, patch, width and heads do not fit each other, or x or y them.
    Peebles and Xie 2023, section 3; Esser et al. 2024, section 4.  Taught in: 09, sections 3 and 5.
    """

    def __init__(self, dims, patch=2, width=64, depth=4, heads=4, words=0, length=None, joint=True):
        super().__init__()
        channels, height, across = self.dims = tuple(dims)
        if height % patch or across % patch or width % heads or width % 2:
            raise ValueError(
                f"patch must divide height and width, got {patch} and {height}, {across}; the "
                f"width must be even and a multiple of heads, got {width} and {heads}"
            )
        n = (height // patch) * (across // patch)
        self.patch = patch
        self.shape_y = None if words == 0 else () if length is None else (length,)
        self.patches = nn.Linear(channels * patch**2, width)
        self.place = nn.Parameter(0.1 * torch.randn(n, width))
        self.register_buffer("frequency", 100 ** torch.linspace(0, 1, width // 2), persistent=False)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.joint = bool(self.shape_y) and joint
        if words:
            self.word = nn.Embedding(words, width)
            nn.init.normal_(self.word.weight, std=0.5)
        if self.shape_y:
            self.order = nn.Parameter(0.1 * torch.randn(length, width))
        if self.shape_y and not joint:
            layers = nn.Linear(length * width, width), nn.SiLU(), nn.Linear(width, width)
            self.pool = nn.Sequential(nn.Flatten(), *layers)
        kinds = [[False, i == depth - 1][: 1 + self.joint] for i in range(depth)]
        self.blocks = nn.ModuleList(_Block(width, heads, ends) for ends in kinds)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = _zero(nn.Linear(width, 2 * width))
        self.pixels = _zero(nn.Linear(width, channels * patch**2))

    def tokens(self, x, t, y=None):
        """The tokens, a list of (batch, tokens, width), and c, (batch, width): what blocks take."""
        # (batch, channels, rows, patch, columns, patch)
        cut = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        cut = cut.permute(0, 2, 4, 1, 3, 5)  # (batch, rows, columns, channels, patch, patch)
        tokens = [self.patches(cut.flatten(3).flatten(1, 2)) + self.place]
        angle = expand_time(t, x).reshape(-1, 1) * self.frequency
        c = self.time(torch.cat([angle.cos(), angle.sin()], dim=1)).expand(len(x), -1)
        if self.joint:
            tokens.append(self.word(y) + self.order)
        elif self.shape_y:
            c = c + self.pool(self.word(y) + self.order)
        elif self.shape_y is not None:
            c = c + self.word(y)
        return tokens, silu(c)

    def forward(self, x, t, y=None):
        _check_shape(x, self.dims)
        self._check(y, len(x))
        tokens, c = self.tokens(x, t, y)
        for block in self.blocks:
            tokens = block(tokens, c)
        m = self.modulation(c)[:, None].chunk(2, dim=2)
        out = self.pixels(_modulate(self.norm(tokens[0]), *m))
        rows, columns = (n // self.patch for n in self.dims[1:])
        out = out.unflatten(2, (-1, self.patch, self.patch)).unflatten(1, (rows, columns))
        return out.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)

    def _check(self, y, batch):
        want = None if self.shape_y is None else (batch, *self.shape_y)
        got = None if y is None else tuple(y.shape)
        if got != want:
            raise ValueError(
                f"y must be {'None' if want is None else f'of shape {want}'}, got {got}"
            )
