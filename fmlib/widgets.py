"""Sliders and menus around a figure."""

import base64
import html
import io

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

__all__ = ["explore"]


def _png(draw, values):
    """Draw one figure and return it as PNG bytes."""
    figure = draw(**values).figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def _control(name, choices):
    """(low, high, step, start) makes a slider, a list a menu, a str a field to write in."""
    label = {"description": name.replace("_", " "), "continuous_update": False}
    if isinstance(choices, list):
        return ipywidgets.Dropdown(options=choices, description=label["description"])
    if isinstance(choices, str):
        wide = ipywidgets.Layout(width="32em")
        return ipywidgets.Text(value=choices, layout=wide, **label)
    low, high, step, start = choices
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    return kind(value=start, min=low, max=high, step=step, **label)


def explore(draw, alt, **controls):
    """Show draw(**values) -> axes under one control for each keyword, redrawn when one changes.

    alt: what the figure shows, in words.  A control is (low, high, step, start), a slider; a list
    of options, a menu that starts at its first; or a str, a field to write in that starts with it.
    Where no kernel runs, the same output shows the figure for the starting values.
    """
    handles = {name: _control(name, choices) for name, choices in controls.items()}
    picture = ipywidgets.HTML()

    def redraw(_change=None):
        png = _png(draw, {name: handle.value for name, handle in handles.items()})
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
