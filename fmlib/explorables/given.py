"""What Python tells an explorable beside a lesson's data: the colours, and lesson 02's fields."""

import torch
from matplotlib.colors import to_hex

from fmlib.exact import GaussianMixture
from fmlib.paths import CondOT
from fmlib.plotting import MARGINAL, PATHS, SOURCE, TARGET, TIME

_FOCUS = "#E69F00"  # Okabe and Ito's orange, which means nothing in the series' pictures
_TIMES = [i / 32 for i in range(33)]
COLORS = {
    "light": {
        "paper": "#FFFFFF", "ink": MARGINAL, "faint": "#B5B5B5", "focus": _FOCUS,
        "source": SOURCE, "target": TARGET, "paths": PATHS,
        "time": [to_hex(TIME(t)) for t in _TIMES],
    },
    "dark": {  # lighter ones of the same hue
        "paper": "#14181E", "ink": "#FFFFFF", "faint": "#5D6570", "focus": _FOCUS,
        "source": "#56B4F0", "target": "#FF8A3C",
        "paths": {"CondOT": "#2FC79C", "VP": "#DD7ECB", "Cosine": "#8FD0F5"},
        "time": ["#6F8FD8", "#8A93B0", "#A3A3A0", "#C0B583", "#F0DA60"],
    },
}  # fmt: skip

# u(x) = exp(-|x|^2 / (2 width^2)) A x, of a matrix A; or the marginal velocity of a mixture.
FIELDS = {
    "swirl": {"matrix": [[0, -4], [4, 0]], "width": 1},
    "rotation": {"matrix": [[0, -1], [1, 0]]},
    "saddle": {"matrix": [[1, 0], [0, -1]]},
    "widening": {"mixture": GaussianMixture(torch.zeros(1, 2), 2.0), "path": CondOT()},
}


def given(name):
    """What the explorable `name` is told."""
    return {"colors": COLORS} | ({"fields": FIELDS} if name == "steps" else {})
