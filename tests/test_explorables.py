"""What an explorable stores in a notebook. That it moves, and computes what fmlib computes, is for
tests/web, in a browser."""

import base64
import json
import re

import numpy as np
import pytest
import torch

import fmlib.explorables
from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.explorables import explorable
from fmlib.models import MLP
from fmlib.paths import VP
from fmlib.plotting import panels, plt


@pytest.fixture
def shown(monkeypatch):
    """What was displayed."""
    things = []
    monkeypatch.setattr(fmlib.explorables, "display", things.append)
    yield things
    plt.close("all")


def data_of(output):
    return json.loads(re.search(r"setup\(root, (\{.*\})\);", output.data)[1])


def test_still_picture_first_then_the_live_one(shown):
    ax = panels(1)[0]
    explorable("pull", ax, "a <b> & c", x=[1.0, 2.0])
    still, live = shown
    assert still is ax.figure and not plt.fignum_exists(still.number)
    mark = re.search(r'<div class="fm-explorable" id="([\w-]+)"><p>[^<]+</p></div>', live.data)[1]
    assert live.data.count(mark) == 2  # the place, and the script that fills it
    assert live.data.count("</script>") == 1 and live.data.endswith("</script>")
    assert data_of(live) == {"x": [1.0, 2.0], "alt": "a <b> & c"}


def test_the_same_data_give_the_same_bytes_and_other_data_another_place(shown):
    for x in (1.0, 1.0, 2.0):
        explorable("pull", panels(1)[0], "alt", x=x)
    first, again, other = (live.data for live in shown[1::2])
    assert first == again
    assert re.search('id="([^"]+)"', first)[1] != re.search('id="([^"]+)"', other)[1]


def test_data_that_python_has_and_json_has_not(shown):
    mixture = GaussianMixture(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([0.1, 0.2]))
    points = EmpiricalTarget(torch.tensor([[1 / 3, 0.0]], dtype=torch.float64))
    data = {"path": VP(0.2, 10.0), "target": mixture, "points": points, "nested": {"t": (0.5, 1)}}
    explorable("pull", panels(1)[0], "alt", **data)
    found = data_of(shown[1])
    assert found["path"] == {"name": "VP", "beta_min": 0.2, "beta_max": 10.0}
    assert found["target"] == {"means": [[0, 1], [2, 3]], "stds": [0.1, 0.2], "weights": 0.5}
    assert found["points"] == {"means": [[0.333333, 0.0]], "stds": 0.0, "weights": 1.0}
    assert found["nested"] == {"t": [0.5, 1]}


def test_a_network_is_stored_whole(shown):
    model = MLP(dims=2, width=5, depth=2)
    explorable("network", panels(1)[0], "alt", model=model)
    found = data_of(shown[1])["model"]
    assert found["sizes"] == [3, 5, 5, 2]
    numbers = np.frombuffer(base64.b64decode(found["weights"]), "<f4")
    stored = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    assert (numbers == stored).all()


@pytest.mark.parametrize("text", ["</script>", "<!--"])
def test_data_cannot_end_the_script(shown, text):
    explorable("pull", panels(1)[0], "alt", text=text)
    assert text not in shown[1].data.removesuffix("</script>") and data_of(shown[1])["text"] == text


def test_what_is_unknown_is_refused(shown):
    with pytest.raises(FileNotFoundError):
        explorable("nothing", panels(1)[0], "alt")
    with pytest.raises(TypeError):
        explorable("pull", panels(1)[0], "alt", x=object())
    assert shown == []
