"""The picture language: one colour for the source, one for the target, one ramp for t.

Every function takes an axes (ax=None makes one), returns it, and never shows it. Colours are Okabe
and Ito's, told apart by the colour-blind and in grey print.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

from fmlib.shapes import check_points

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
    columns = columns or n
    rows = -(-n // columns)
    box = (-limit, limit, -limit, limit) if np.isscalar(limit) else limit
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


def _axes(ax):
    return panels(1, size=4)[0] if ax is None else ax


def _numpy(x):
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def time_color(t):
    """The colour of a cloud at time t: source at 0, target at 1, the ramp in between."""
    return SOURCE if t == 0 else TARGET if t == 1 else TIME(float(t))


def _check_plane(name, x, shape):
    check_points(name, x)
    if x.ndim != len(shape) or x.shape[-1] != 2:
        raise ValueError(f"{name} must have shape ({', '.join(shape)}), got {tuple(x.shape)}")


def scatter(x, ax=None, color=MARGINAL, size=4, alpha=0.6, label=None):
    """A cloud of points x, (n, 2)."""
    _check_plane("x", x, ("n", "2"))
    ax, x = _axes(ax), _numpy(x)
    look = {"s": size, "color": color, "alpha": alpha, "linewidths": 0, "label": label}
    ax.scatter(x[:, 0], x[:, 1], rasterized=len(x) > MANY, **look)
    return ax


def quiver(velocity, t, ax=None, n=16, color=MARGINAL, scale=None):
    """Arrows of the field velocity(x, t) on an n by n grid over the axes, at time t.

    scale: arrow units per axes width, as in matplotlib; give it to compare panels.
    """
    ax = _axes(ax)
    (x_0, x_1), (y_0, y_1) = ax.get_xlim(), ax.get_ylim()
    margin = 0.5 / n
    u = torch.linspace(margin, 1 - margin, n)
    x = torch.cartesian_prod(x_0 + (x_1 - x_0) * u, y_0 + (y_1 - y_0) * u)
    with torch.no_grad():
        v = _numpy(velocity(x, torch.as_tensor(float(t))))
    x = _numpy(x)
    ax.quiver(x[:, 0], x[:, 1], v[:, 0], v[:, 1], color=color, scale=scale, width=0.006)
    return ax


def trajectories(trajectory, ax=None, n=60, color=None, width=0.9, alpha=0.8):
    """The first n paths of a Trajectory; coloured by t on the ramp, or all in one colour."""
    _check_plane("trajectory.x", trajectory.x, ("steps + 1", "n", "2"))
    ax = _axes(ax)
    x, t = _numpy(trajectory.x[:, :n]), _numpy(trajectory.t)  # (steps + 1, n, 2)
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
    ax = _axes(ax)
    (x_0, x_1), (y_0, y_1) = ax.get_xlim(), ax.get_ylim()
    u = (torch.arange(n) + 0.5) / n
    x = torch.cartesian_prod(x_0 + (x_1 - x_0) * u, y_0 + (y_1 - y_0) * u)
    with torch.no_grad():
        p = _numpy(log_prob(x).exp()).reshape(n, n).T
    top = 1.7 * np.quantile(p, 0.998)
    ax.imshow(p, extent=(x_0, x_1, y_0, y_1), origin="lower", cmap=cmap, vmin=0, vmax=top)
    return ax


def warped_grid(flow_map, ax=None, limit=2.0, n=13, color=MARGINAL, width=0.7):
    """The image of a square grid of lines under flow_map: (batch, 2) -> (batch, 2)."""
    ax = _axes(ax)
    lines = np.linspace(-limit, limit, n)
    along = torch.linspace(-limit, limit, 101)
    for value in lines:
        fixed = torch.full_like(along, float(value))
        for line in (torch.stack([along, fixed], 1), torch.stack([fixed, along], 1)):
            y = _numpy(flow_map(line))
            ax.plot(y[:, 0], y[:, 1], color=color, linewidth=width)
    return ax


def image_grid(images, ax=None, columns=10):
    """Images, (n, 1, height, width) in [-1, 1], side by side; -1 is white, as ink on paper."""
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images must be (n, 1, height, width), got {tuple(images.shape)}")
    x = _numpy(images)[:, 0]
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


def animate(draw, n_frames, size=(3.4, 3.2), seconds=4.0, loops=2, alt=""):
    """An animated PNG: draw(fig, i) draws frame i on an empty figure.

    It plays `loops` times and rests on its last frame, so that nothing moves beside the text one is
    reading. It plays wherever a browser shows the notebook, with no kernel; print shows the first
    frame.
    Returns an IPython Image.
    """
    from IPython.display import Image
    from PIL import Image as Pillow

    frames = []
    fig = plt.figure(figsize=size)
    for i in range(n_frames):
        fig.clear()
        draw(fig, i)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=100, bbox_inches=None)
        frames.append(Pillow.open(buffer).convert("RGB"))
    plt.close(fig)
    # One palette for all frames, from all their colours, keeps the file small.
    every = np.concatenate([np.asarray(frame)[::3, ::3] for frame in frames])
    palette = Pillow.fromarray(every).quantize(48, method=Pillow.Quantize.MAXCOVERAGE)
    frames = [frame.quantize(palette=palette, dither=Pillow.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    hold = [int(1000 * seconds / n_frames)] * (n_frames - 1) + [1500]
    frames[0].save(
        buffer, "PNG", save_all=True, append_images=frames[1:], duration=hold, loop=loops
    )
    return Image(buffer.getvalue(), format="png", alt=alt)
