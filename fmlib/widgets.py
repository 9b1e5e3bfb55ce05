"""Sliders and menus around a figure."""

import base64
import html
import io

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from fmlib.shapes import real, whole

__all__ = ["explore"]


def _png(plot, values):
    """Make one figure and return it as PNG bytes."""
    axes = plot(**values)
    if not hasattr(getattr(axes, "figure", None), "savefig"):
        raise ValueError(f"plot must return the axes that it drew on, got {type(axes).__name__}")
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png")
    plt.close(axes.figure)
    return buffer.getvalue()


def _control(name, choices):
    """(low, high, step, start) makes a slider, a list a menu, a str a field to write in."""
    label = {"description": name.replace("_", " "), "continuous_update": False}
    if isinstance(choices, list) and choices:
        return ipywidgets.Dropdown(options=choices, description=label["description"])
    if isinstance(choices, str):
        wide = ipywidgets.Layout(width="32em")
        return ipywidgets.Text(value=choices, layout=wide, **label)
    if not isinstance(choices, tuple) or len(choices) != 4:
        raise ValueError(
            f"{name} must be (low, high, step, start), a list of options or a str, got {choices!r}"
        )
    try:
        numbers, kind = [whole(name, n) for n in choices], ipywidgets.IntSlider
    except ValueError:
        numbers, kind = [real(name, n) for n in choices], ipywidgets.FloatSlider
    low, high, step, start = numbers
    if not (low <= start <= high and low < high and step > 0):
        raise ValueError(
            f"{name} must have low <= start <= high, low < high and a step above 0, got {choices}"
        )
    return kind(value=start, min=low, max=high, step=step, **label)


def explore(plot, alt, /, **controls):
    """Show plot(**values) -> axes under one control for each keyword, anew when one changes.

    alt: what the figure shows, in words.  A control is (low, high, step, start), a slider, of whole
    numbers if all four are; a list of options, a menu that starts at its first; or a str, a field
    to write in that starts with it.
    Where no kernel runs, the same output shows the figure for the starting values.
    Raises ValueError for any other control, and if plot returns no axes.
    """
    if not isinstance(alt, str):
        raise ValueError(f"alt must say in words what the figure shows, got {alt!r}")
    handles = {name: _control(name, choices) for name, choices in controls.items()}
    picture = ipywidgets.HTML()

    def redraw(_change=None):
        png = _png(plot, {name: handle.value for name, handle in handles.items()})
        text = base64.b64encode(png).decode()
        picture.value = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{text}">'
        return png

    still = redraw()
    for handle in handles.values():
        handle.observe(redraw, names="value")
    box = ipywidgets.VBox([*handles.values(), picture])
    start = ", ".join(f"{name} = {handle.value}" for name, handle in handles.items())
    bundle = box._repr_mimebundle_()
    bundle |= {"image/png": base64.b64encode(still).decode(), "text/plain": f"Interactive: {start}"}
    display(bundle, raw=True)
