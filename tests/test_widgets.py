import base64
import io
import math

import ipywidgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
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

    def plot(n, speed, method):
        calls.append((n, speed, method))
        ax = plt.subplots()[1]
        ax.plot([0, n], [0, speed])
        return ax

    widgets.explore(
        plot, 'A "line" & more', n=(1, 9, 2, 3), speed=(0.0, 1.0, 0.1, 0.5), method=["a", "b"]
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


@pytest.mark.parametrize(
    "choices",
    [
        (1, 9, 2), (1, 9, 2, 0), (1, 9, 2, 10), (9, 1, 2, 5), (1, 9, 0, 3), (1, 9, -1, 3),
        (1, 9, 2, math.nan), (1, math.inf, 2, 3), (1, 9, 2, "3"), (1, 9, 2, None), (True, 9, 2, 3),
        (3, 3, 1, 3), [], None, 3, True, {"a": 1}, torch.ones(4),
    ],
    ids=repr,
)  # fmt: skip
def test_a_control_that_cannot_be_is_refused_by_its_name(choices):
    with pytest.raises(ValueError, match="^n_steps must"):
        widgets.explore(lambda n_steps: plt.subplots()[1], "a picture", n_steps=choices)


def test_a_slider_may_be_given_by_numpy_and_is_whole_if_its_numbers_are():
    for kind in (int, np.int64, np.uint8, torch.tensor):
        slider = widgets._control("n", tuple(map(kind, (1, 9, 2, 3))))
        assert isinstance(slider, ipywidgets.IntSlider) and type(slider.value) is int
    for numbers in ((0, 1, 0.5, 0), (0.0, 2, 1, 1), tuple(map(np.float32, (0, 1, 0.5, 0)))):
        slider = widgets._control("x", numbers)
        assert isinstance(slider, ipywidgets.FloatSlider) and type(slider.value) is float
        assert (slider.min, slider.max, slider.step, slider.value) == numbers
    for start in (0, 4):  # the ends belong to it
        assert widgets._control("n", (0, 4, 1, start)).value == start


@pytest.mark.parametrize("wrong", [None, 3, "axes", (1, 2), np.zeros(2)], ids=repr)
def test_a_function_that_returns_no_axes_is_told_so(wrong):
    with pytest.raises(ValueError, match="^plot must return the axes that it drew on, got"):
        widgets.explore(lambda n: wrong, "a picture", n=[1, 2])


def test_alt_text_is_text_and_a_control_may_have_any_name(monkeypatch):
    with pytest.raises(ValueError, match="alt must say in words"):
        widgets.explore(lambda: plt.subplots()[1], None)
    monkeypatch.setattr(widgets, "display", lambda bundle, raw: None)
    found = []

    def plot(**values):
        found.append(values)
        return plt.subplots()[1]

    widgets.explore(plot, "a picture", plot=["a", "b"], alt=["c"])
    assert found == [{"plot": "a", "alt": "c"}] and plt.get_fignums() == []


def test_a_text_is_a_field_to_write_in():
    field = widgets._control("prompt", "two nines")
    assert isinstance(field, ipywidgets.Text) and field.value == "two nines"
    assert not field.continuous_update  # redrawn when the sentence is finished, not at each letter
