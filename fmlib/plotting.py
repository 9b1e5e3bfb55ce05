"""The picture language: one colour for the source, one for the target, one ramp for t.

Every function takes an axes (ax=None makes one), returns it, and never shows it. Colours are Okabe
and Ito's, told apart by the colour-blind and in grey print. The functions that one gives are called
with points on the CPU, in float64 if that is torch's default dtype, else in float32. What is not
finite, or has not the shape described, is a ValueError.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

from fmlib.shapes import (
    check_finite,
    check_points,
    check_returned,
    check_unit_interval,
    cpu_floats,
    real,
    whole,
)

SOURCE, TARGET, MARGINAL = "#0072B2", "#D55E00", "#000000"
PATHS = {"CondOT": "#009E73", "VP": "#AA4499", "Cosine": "#56B4E9"}
# The last tenth of cividis is too pale on white.
TIME = LinearSegmentedColormap.from_list("time", plt.get_cmap("cividis")(np.linspace(0, 0.9, 256)))
LEARNED = "--"  # exact is solid, learned is dashed
MANY = 300  # more marks than this are an image inside an SVG, which would be too large otherwise

__all__ = [
    "LEARNED", "MARGINAL", "PATHS", "SOURCE", "TARGET", "TIME", "animate", "density",
    "image_grid", "panels", "quiver", "scatter", "time_bar",
    "time_color", "trajectories", "use_style", "warped_grid",
]  # fmt: skip


def use_style():
    """Make the series' style sheet the current one."""
    plt.style.use(Path(__file__).with_name("fmlib.mplstyle"))


def panels(n, limit=3.0, size=2.3, titles=None, columns=None, fig=None):
    """n equal square panels, each showing [-limit, limit]^2 (or the box (x_0, x_1, y_0, y_1)).

    Returns an array of n axes, in rows of `columns` (default: one row), on a new figure unless one
    is given. Ticks are left out: the box is the scale.
    """
    n = whole("n", n, 1)
    columns = n if columns is None else whole("columns", columns, 1)
    rows, box, size = -(-n // columns), _box(limit), real("size", size, above=0)
    height = size * (box[3] - box[2]) / (box[1] - box[0])
    fig = fig or plt.figure(figsize=(size * columns, height * rows + 0.3))
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for i, ax in enumerate(axes):
        ax.set(xlim=box[:2], ylim=box[2:], aspect="equal", xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(True)
        ax.set_visible(i < n)
    for ax, title in zip(axes, titles or [], strict=False):
        ax.set_title(title)
    return axes[:n]


def _box(limit):
    try:
        sides = [real("a side of limit", side) for side in limit]
    except TypeError:  # not iterable
        size = real("limit", limit, above=0)
        sides = [-size, size, -size, size]
    if len(sides) != 4 or not (sides[0] < sides[1] and sides[2] < sides[3]):
        raise ValueError(f"limit must be a number or (x_0, x_1, y_0, y_1), rising, got {limit!r}")
    return sides


def _axes(ax):
    return panels(1, size=4)[0] if ax is None else ax


def _numpy(x):
    return x.detach().cpu().numpy()


def _time(t):
    t = real("t", t)
    check_unit_interval("t", t)
    return t


def _alpha(value):
    alpha = real("alpha", value)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie from 0, invisible, to 1, opaque, got {value!r}")
    return alpha


def time_color(t):
    """The colour of a cloud at time t: source at 0, target at 1, the ramp in between."""
    t = _time(t)
    return SOURCE if t == 0 else TARGET if t == 1 else TIME(t)


def _check_plane(name, x, shape):
    check_points(name, x)
    if x.ndim != len(shape) or x.shape[-1] != 2:
        raise ValueError(f"{name} must have shape ({', '.join(shape)}), got {tuple(x.shape)}")
    check_finite(name, x)


def _places(ax, u):
    """The places (n^2, 2) over an axes that stand at u, (n,) from 0 to 1, along each side."""
    (x_0, x_1), (y_0, y_1) = (map(float, limits) for limits in (ax.get_xlim(), ax.get_ylim()))
    return torch.cartesian_prod(x_0 + (x_1 - x_0) * u, y_0 + (y_1 - y_0) * u)


def _called(name, function, x, *rest):
    """What a function says of x, numbers like x, as NumPy's."""
    value = function(x, *rest)
    check_returned(name, value, x)
    check_finite(f"what {name} returns", value)
    return _numpy(value)


def scatter(x, ax=None, color=MARGINAL, size=4, alpha=0.6, label=None):
    """A cloud of points x, (n, 2)."""
    _check_plane("x", x, ("n", "2"))
    size, alpha = real("size", size, above=0), _alpha(alpha)
    ax, x = _axes(ax), _numpy(x)
    look = {"s": size, "color": color, "alpha": alpha, "linewidths": 0, "label": label}
    ax.scatter(x[:, 0], x[:, 1], rasterized=len(x) > MANY, **look)
    return ax


def quiver(velocity, t, ax=None, n=16, color=MARGINAL, scale=None):
    """Arrows of the field velocity(x, t) on an n by n grid over the axes, at time t.

    velocity: called once, with x of shape (n^2, 2) and t of shape ().  scale: arrow units per axes
    width, as in matplotlib; give it to compare panels.
    """
    n, t = whole("n", n, 1), torch.tensor(_time(t), **cpu_floats())
    scale = None if scale is None else real("scale", scale, above=0)
    ax, margin = _axes(ax), 0.5 / n
    x = _places(ax, torch.linspace(margin, 1 - margin, n, **cpu_floats()))
    with torch.no_grad():
        v = _called("velocity", velocity, x, t)
    x = _numpy(x)
    ax.quiver(x[:, 0], x[:, 1], v[:, 0], v[:, 1], color=color, scale=scale, width=0.006)
    return ax


def trajectories(trajectory, ax=None, n=60, color=None, width=0.9, alpha=0.8):
    """The first n paths of a Trajectory; coloured by t on the ramp, or all in one colour.

    Raises ValueError for one that kept no step.
    """
    x, t, n = trajectory.x, trajectory.t, whole("n", n, 1)
    _check_plane("trajectory.x", x, ("steps + 1", "n", "2"))
    check_points("trajectory.t", t)
    check_finite("trajectory.t", t)
    if len(x) < 2 or t.shape != x.shape[:1]:
        raise ValueError(
            f"a trajectory must have two states or more, and a time for each, got {len(x)} and "
            f"times of shape {tuple(t.shape)}: keep='all'"
        )
    width, alpha, ax = real("width", width, above=0), _alpha(alpha), _axes(ax)
    x, t = _numpy(x[:, :n]), _numpy(t)  # (steps + 1, n, 2)
    if color is not None:
        ax.plot(x[:, :, 0], x[:, :, 1], color=color, linewidth=width, alpha=alpha)
        return ax
    pieces = np.stack([x[:-1], x[1:]], axis=2).reshape(-1, 2, 2)
    colors = np.repeat(TIME(0.5 * (t[:-1] + t[1:])), x.shape[1], axis=0)
    look = {"colors": colors, "linewidths": width, "alpha": alpha}
    ax.add_collection(LineCollection(pieces, rasterized=len(pieces) > MANY, **look))
    return ax


def time_bar(axes, label="t"):
    """The ramp of t from 0 to 1, beside the given axes."""
    fig = np.atleast_1d(axes)[0].figure
    mappable = ScalarMappable(cmap=TIME)
    return fig.colorbar(mappable, ax=list(np.atleast_1d(axes)), label=label, pad=0.02)


def density(log_prob, ax=None, n=120, cmap="Greys"):
    """The density exp(log_prob(x)), for log_prob: (batch, 2) -> (batch,), shaded over the axes.

    The darkest shade is a middle grey, so that points drawn on it stay visible.
    """
    n, ax = whole("n", n, 1), _axes(ax)
    x = _places(ax, (torch.arange(n, **cpu_floats()) + 0.5) / n)
    with torch.no_grad():
        value = log_prob(x)
        check_returned("log_prob", value, x[:, 0])
        check_finite("exp(log_prob(x))", value.exp())
    p = _numpy(value.exp()).reshape(n, n).T
    top, extent = 1.7 * np.quantile(p, 0.998), (*ax.get_xlim(), *ax.get_ylim())
    ax.imshow(p, extent=extent, origin="lower", cmap=cmap, vmin=0, vmax=top)
    return ax


def warped_grid(flow_map, ax=None, limit=2.0, n=13, color=MARGINAL, width=0.7):
    """The image of a square grid of lines under flow_map: (batch, 2) -> (batch, 2)."""
    limit, width, n = real("limit", limit, above=0), real("width", width, above=0), whole("n", n, 1)
    ax = _axes(ax)
    along = torch.linspace(-limit, limit, 101, **cpu_floats())
    for value in np.linspace(-limit, limit, n):
        fixed = torch.full_like(along, float(value))
        for line in (torch.stack([along, fixed], 1), torch.stack([fixed, along], 1)):
            y = _called("flow_map", flow_map, line)
            ax.plot(y[:, 0], y[:, 1], color=color, linewidth=width)
    return ax


def image_grid(images, ax=None, columns=10):
    """Images, (n, 1, height, width) in [-1, 1], side by side; -1 is white, as ink on paper."""
    check_points("images", images)
    if images.ndim != 4 or images.shape[1] != 1 or not images.numel():
        raise ValueError(
            f"images must be (n, 1, height, width), not empty, got {tuple(images.shape)}"
        )
    check_finite("images", images)
    x, columns = _numpy(images)[:, 0], whole("columns", columns, 1)
    n, height, width = x.shape
    rows = -(-n // columns)
    ax = plt.subplots(figsize=(6.4, 6.4 * rows / columns))[1] if ax is None else ax
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), -1.0)
    for i in range(n):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = x[i]
    ax.imshow(sheet, cmap="Greys", vmin=-1, vmax=1)
    ax.axis("off")
    return ax


def animate(frame, n_frames, size=(3.4, 3.2), seconds=4.0, loops=2, alt=""):
    """An animated PNG: frame(fig, i) fills an empty figure with frame i.

    It plays `loops` times and rests on its last frame, so that nothing moves beside the text one is
    reading. It plays wherever a browser shows the notebook, with no kernel; print shows the first
    frame.
    Returns an IPython Image.  Raises ValueError if a figure was left empty.
    """
    from IPython.display import Image
    from PIL import Image as Pillow

    n_frames, loops = whole("n_frames", n_frames, 1), whole("loops", loops, 0)
    seconds, size = (
        real("seconds", seconds, above=0),
        [real("size", side, above=0) for side in size],
    )
    frames = _frames(frame, n_frames, size)
    # One palette for all frames, from all their colours, keeps the file small.
    every = np.concatenate([np.asarray(image)[::3, ::3] for image in frames])
    palette = Pillow.fromarray(every).quantize(48, method=Pillow.Quantize.MAXCOVERAGE)
    frames = [image.quantize(palette=palette, dither=Pillow.Dither.NONE) for image in frames]
    buffer = io.BytesIO()
    hold = [int(1000 * seconds / n_frames)] * (n_frames - 1) + [1500]
    frames[0].save(
        buffer, "PNG", save_all=True, append_images=frames[1:], duration=hold, loop=loops
    )
    return Image(buffer.getvalue(), format="png", alt=alt)


def _frames(frame, n_frames, size):
    """The pictures that frame(fig, i) makes, as Pillow's images."""
    from PIL import Image as Pillow

    images, fig = [], plt.figure(figsize=size)
    try:
        for i in range(n_frames):
            fig.clear()
            empty = len(fig.get_children())
            frame(fig, i)
            if len(fig.get_children()) == empty:
                raise ValueError(
                    f"frame(fig, {i}) left fig empty: draw on it, as on panels(1, fig=fig)"
                )
            buffer = io.BytesIO()
            fig.savefig(buffer, format="png", dpi=100, bbox_inches=None)
            images.append(Pillow.open(buffer).convert("RGB"))
    finally:
        plt.close(fig)
    return images
