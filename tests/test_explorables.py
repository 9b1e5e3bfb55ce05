"""What an explorable stores in a notebook, its colours, and how much of it moves. That it computes
what fmlib computes is in test_explorable_maths.py; how it behaves, for tests/web, in a browser."""

import base64
import colorsys
import json
import re
import shutil
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from stored import ROOT, engine, entries, explorables

import fmlib.explorables
from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.explorables import explorable, scripts
from fmlib.explorables.given import COLORS
from fmlib.explorables.plain import plain
from fmlib.explorables.scripts import FOLDER, bundle, render, stored
from fmlib.models import MLP
from fmlib.paths import VP
from fmlib.plotting import MARGINAL, PATHS, SOURCE, TARGET, panels, plt, time_color


@pytest.fixture
def shown(monkeypatch):
    """What was displayed."""
    things = []
    monkeypatch.setattr(fmlib.explorables, "display", things.append)
    yield things
    plt.close("all")


def data_of(output):
    return json.loads(stored(output.data).data)


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


# What the lessons store.


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.lesson[:2]}-{entry.name}")
def test_what_is_stored_is_made_by_the_scripts_as_they_are(entry):
    now = render(entry.name, entry.mark, stored(entry.html).data)
    assert entry.html == now, "run `make embed`"


def test_the_parts_of_a_script_do_not_take_each_other_s_names():
    """They share one scope in the end."""
    names = [
        name
        for file in FOLDER.rglob("*.js")
        for name in re.findall(
            r"^(?:export )?(?:const|function|class) (\w+)", file.read_text(encoding="utf-8"), re.M
        )
        if name not in ("setup", "makeModel")  # one of each in a script
    ]
    assert len(names) == len(set(names)) > 20


def test_a_bundle_has_each_part_once_and_before_its_use(tmp_path):
    (tmp_path / "maths").mkdir()
    texts = {
        "a": 'import { b } from "./maths/b.js";\nimport { c } from "./c.js";\nconst a = b + c;\n',
        "c": '// A comment.\nimport { b, b2 } from "./maths/b.js";\n\nexport const c = b * b2;\n',
        "maths/b": "export const b = 2;\nexport const b2 = 3;\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.js").write_text(text, encoding="utf-8")
    parts = "const b = 2;\nconst b2 = 3;\nconst c = b * b2;\nconst a = b + c;\n"
    assert bundle(tmp_path / "a.js") == parts
    with pytest.raises(FileNotFoundError):
        bundle(tmp_path / "d.js")


# Changed scripts.


@pytest.fixture
def changing(tmp_path, monkeypatch):
    """The scripts as a copy that may change."""
    shutil.copytree(FOLDER, tmp_path / "scripts")
    monkeypatch.setattr(scripts, "FOLDER", tmp_path / "scripts")
    return tmp_path / "scripts"


def test_a_changed_script_is_put_into_a_lesson_and_nothing_else_changes(changing, tmp_path):
    lesson = Path(shutil.copy(ROOT / "notebooks/00_start_here.ipynb", tmp_path))
    before = lesson.read_text(encoding="utf-8")
    assert not explorables.embed(lesson) and lesson.read_text(encoding="utf-8") == before
    file = changing / "cloud.js"
    text = file.read_text(encoding="utf-8").replace("Mean speed", "Speed in the mean")
    file.write_text(text, encoding="utf-8")
    assert explorables.embed(lesson) and not explorables.embed(lesson)
    assert lesson.read_text(encoding="utf-8") == before.replace(
        "Mean speed (rms)", "Speed in the mean (rms)"
    )


def test_the_page_of_one_explorable_notices_a_change(changing):
    def get(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{live.server_port}{path}").read().decode()

    with explorables.server("cloud") as live:
        threading.Thread(target=live.serve_forever, daemon=True).start()
        page, version = get("/"), get("/version")
        assert f'data-version="{version}"' in page and "Mean speed" in page
        assert page.count("makeNoise(1)") == sum(e.name == "cloud" for e in entries())
        assert get("/version") == version
        file = changing / "maths" / "noise.js"
        text = file.read_text(encoding="utf-8") + "// changed\nconst more = 1;\n"
        file.write_text(text, encoding="utf-8")
        assert get("/version") != version and "const more = 1;" in get("/")
        live.shutdown()


def test_an_explorable_that_no_lesson_has_is_refused():
    with pytest.raises(ValueError, match="no lesson has an explorable 'nothing'; there are cloud,"):
        explorables.find("nothing")


# Colours.


def rgb(text):
    """(red, green, blue), each up to 1, of "#rrggbb" or "rgb(r,g,b)"."""
    if text.startswith("#"):
        return np.array(to_rgb(text))
    return np.array([int(v) for v in text[4:-1].split(",")]) / 255


COLOR = re.compile(
    r"#[0-9a-fA-F]{3,8}\b(?!\()|\brgba?\(\s*\d|\bhsla?\(|[:\"'] *(?:black|white|gray|blue)\b"
)


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.js")), ids=lambda file: file.stem)
def test_no_script_has_a_colour_of_its_own(file):
    assert COLOR.findall(re.sub(r"//.*", "", file.read_text(encoding="utf-8"))) == []


def test_explorables_have_the_colours_of_fmlib():
    light = COLORS["light"]
    assert (light["source"], light["target"], light["paths"]) == (SOURCE, TARGET, PATHS)
    assert light["ink"] == MARGINAL
    for scheme in COLORS.values():
        assert scheme.keys() == light.keys() and scheme["paths"].keys() == PATHS.keys()


def test_time_has_the_colours_of_fmlib():
    racer = engine("ramp")
    for t in np.linspace(0, 1, 41):
        got = rgb(racer.call("timeColor", plain(COLORS["light"]), float(t)))
        assert np.abs(got - np.array(to_rgb(time_color(float(t))))).max() < 0.02


def luminance(color):
    c = rgb(color)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


def meanings(scheme):
    colors = COLORS[scheme]
    return {name: colors[name] for name in ("ink", "source", "target")} | colors["paths"]


@pytest.mark.parametrize("name", meanings("light"))
def test_a_colour_is_legible_on_a_dark_page_and_has_its_hue(name):
    light, dark = (meanings(scheme)[name] for scheme in ("light", "dark"))
    paper = luminance(COLORS["dark"]["paper"])
    assert (luminance(dark) + 0.05) / (paper + 0.05) > 3
    if name != "ink":
        turn = colorsys.rgb_to_hls(*rgb(light))[0] - colorsys.rgb_to_hls(*rgb(dark))[0]
        assert abs((turn + 0.5) % 1 - 0.5) < 0.03


# How many points a machine has time for.


def settled(fixed, each, hiccup=0.0, frames=200):
    """The share of points in the end, where a frame costs fixed + share * each milliseconds."""
    racer = engine("pace")
    racer.eval("const pace = makePace(); const frame = (ms) => (pace.spent(ms), pace.share());")
    share, shares = racer.eval("pace.share()"), []
    for i in range(frames):
        share = racer.call("frame", fixed + share * each + hiccup * (i == frames // 2))
        shares.append(share)
    return shares


def test_a_fast_machine_shows_all_points():
    assert set(settled(1, 4)) == {1}


@pytest.mark.parametrize("fixed, each", [(1, 20), (5, 30), (0, 80)])
def test_a_slow_machine_shows_fewer_points_and_keeps_its_frames(fixed, each):
    shares = settled(fixed, each)
    assert all(fixed + share * each < 11 for share in shares[20:])
    assert all(fixed + share * each > 6.5 for share in shares[20:])  # and no fewer than it must


def test_a_machine_that_is_far_too_slow_still_shows_some():
    assert settled(50, 100)[-1] == 0.1


def test_one_hiccup_is_forgotten():
    shares = settled(1, 4, hiccup=500)
    assert min(shares) == 0.5 and shares[-1] == 1
