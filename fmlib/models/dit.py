"""A network for images, a transformer, for a label or a text."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from fmlib.models.common import check_shape, look_up, shape_of, zero
from fmlib.shapes import expand_time, whole


class _Stream(nn.Module):
    """The weights that one kind of tokens, image or text, has in a block."""

    def __init__(self, width, heads, ends):
        super().__init__()
        self.heads, self.ends = heads, ends  # ends: read by the others, and not needed any more
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        # adaLN-Zero: the gates start closed, and every block as the identity.
        self.modulation = zero(nn.Linear(width, (2 if ends else 6) * width))
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
    Raises ValueError if dims, patch, width and heads do not fit each other, or x or y them, in
    shape, dtype, device or range.
    Peebles and Xie 2023, section 3; Esser et al. 2024, section 4.  Taught in: 09, sections 3 and 5.
    """

    def __init__(self, dims, patch=2, width=64, depth=4, heads=4, words=0, length=None, joint=True):
        super().__init__()
        channels, height, across = self.dims = shape_of(dims, ("channels", "height", "width"))
        sizes = {"patch": patch, "width": width, "depth": depth, "heads": heads}
        patch, width, depth, heads = (whole(name, n, 1) for name, n in sizes.items())
        if height % patch or across % patch or width % heads or width % 2:
            raise ValueError(
                f"patch must divide height and width, got {patch} and {height}, {across}; the "
                f"width must be even and a multiple of heads, got {width} and {heads}"
            )
        words = whole("words", words, 0)
        length = length if length is None else whole("length", length, 1)
        if length and not words:
            raise ValueError(f"a text of length = {length} needs words, got words = 0")
        if not isinstance(joint, bool):
            raise ValueError(f"joint must be True or False, got {joint!r}")
        n = (height // patch) * (across // patch)
        self.patch = patch
        self.shape_y = None if words == 0 else () if length is None else (length,)
        self.patches = nn.Linear(channels * patch**2, width)
        self.place = nn.Parameter(0.1 * torch.randn(n, width))
        self.register_buffer("frequency", 100 ** torch.linspace(0, 1, width // 2), persistent=False)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.joint = bool(self.shape_y) and joint
        self.word = nn.Embedding(words, width) if words else None
        if words:
            nn.init.normal_(self.word.weight, std=0.5)
        if self.shape_y:
            self.order = nn.Parameter(0.1 * torch.randn(length, width))
        if self.shape_y and not joint:
            layers = nn.Linear(length * width, width), nn.SiLU(), nn.Linear(width, width)
            self.pool = nn.Sequential(nn.Flatten(), *layers)
        kinds = [[False, i == depth - 1][: 1 + self.joint] for i in range(depth)]
        self.blocks = nn.ModuleList(_Block(width, heads, ends) for ends in kinds)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.pixels = zero(nn.Linear(width, channels * patch**2))

    def tokens(self, x, t, y=None):
        """The tokens, a list of (batch, tokens, width), and c, (batch, width): what blocks take."""
        check_shape(x, self.dims, self.patches.weight)
        # (batch, channels, rows, patch, columns, patch)
        cut = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        cut = cut.permute(0, 2, 4, 1, 3, 5)  # (batch, rows, columns, channels, patch, patch)
        words = look_up(self.word, y, (len(x), *(self.shape_y or ())), x)
        tokens = [self.patches(cut.flatten(3).flatten(1, 2)) + self.place]
        angle = expand_time(t, x).reshape(-1, 1) * self.frequency
        c = self.time(torch.cat([angle.cos(), angle.sin()], dim=1)).expand(len(x), -1)
        if self.joint:
            tokens.append(words + self.order)
        elif self.shape_y:
            c = c + self.pool(words + self.order)
        else:
            c = c + words
        return tokens, silu(c)

    def forward(self, x, t, y=None):
        tokens, c = self.tokens(x, t, y)
        for block in self.blocks:
            tokens = block(tokens, c)
        m = self.modulation(c)[:, None].chunk(2, dim=2)
        out = self.pixels(_modulate(self.norm(tokens[0]), *m))
        rows, columns = (n // self.patch for n in self.dims[1:])
        out = out.unflatten(2, (-1, self.patch, self.patch)).unflatten(1, (rows, columns))
        return out.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)
