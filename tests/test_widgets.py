import base64
import io

import ipywidgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")

from fmlib import widgets


@pytest.fixture
def shown(monkeypatch):
    """explore() a figure that writes down its arguments.

    Returns the calls, the bundle displayed, the handles and the live picture.
    """
    bundles, boxes, calls = [], [], []
    monkeypatch.setattr(widgets, "display", lambda bundle, raw: bundles.append(bundle))
    make_box = ipywidgets.VBox
    monkeypatch.setattr(
        ipywidgets, "VBox", lambda children: boxes.append(make_box(children)) or boxes[0]
    )

    def draw(n, speed, method):
        calls.append((n, speed, method))
        ax = plt.subplots()[1]
        ax.plot([0, n], [0, speed])
        return ax

    widgets.explore(
        draw, 'A "line" & more', n=(1, 9, 2, 3), speed=(0.0, 1.0, 0.1, 0.5), method=["a", "b"]
    )
    return calls, bundles[0], boxes[0].children[:-1], boxes[0].children[-1]


def test_the_output_is_a_widget_where_python_runs_and_a_picture_elsewhere(shown):
    calls, bundle, handles, picture = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    still = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert still.width > 200 and np.asarray(still).std() > 0
    assert bundle["text/plain"] == "Interactive: n = 3, speed = 0.5, method = a"


def test_moving_a_handle_redraws(shown):
    calls, bundle, handles, picture = shown
    assert calls == [(3, 0.5, "a")]
    before = picture.value
    handles[0].value = 7
    handles[2].value = "b"
    assert calls[1:] == [(7, 0.5, "a"), (7, 0.5, "b")] and picture.value != before
    assert plt.get_fignums() == []


def test_controls_fit_their_values(shown):
    n, speed, method = shown[2]
    assert isinstance(n, ipywidgets.IntSlider) and (n.min, n.max, n.step) == (1, 9, 2)
    assert isinstance(speed, ipywidgets.FloatSlider) and isinstance(method, ipywidgets.Dropdown)


def test_the_picture_has_alt_text_that_may_hold_any_character(shown):
    assert 'alt="A &quot;line&quot; &amp; more"' in shown[3].value


def test_a_text_is_a_field_to_write_in():
    field = widgets._control("prompt", "two nines")
    assert isinstance(field, ipywidgets.Text) and field.value == "two nines"
    assert not field.continuous_update  # redrawn when the sentence is finished, not at each letter
