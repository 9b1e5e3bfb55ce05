"""Pictures to touch that need no kernel: the same in a notebook and on a page of the web edition.

An explorable is one JavaScript file in this folder, and the data that a lesson's Python gives it.
What the lesson stores is a still picture and an HTML output with the file, the data, and what all
explorables share: the mathematics in field.js, the plot and its controls in stage.js. Where scripts
run, the still picture gives way; where they do not, as on GitHub, it stays.
"""

import base64
import dataclasses
import hashlib
import html
import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML, display

from fmlib.exact import GaussianMixture
from fmlib.models import MLP
from fmlib.paths import AffinePath

__all__ = ["explorable"]

_FOLDER = Path(__file__).parent
_NOTE = "This picture moves once its cell was run, and in the web edition (make book)."


def _plain(value):
    """What JSON can hold, for a tensor (to six digits), a path, a target, a network."""
    if isinstance(value, torch.Tensor):
        return _plain(value.detach().tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, AffinePath):
        return {"name": type(value).__name__, **_plain(dataclasses.asdict(value))}
    if isinstance(value, GaussianMixture):
        found = {name: _plain(getattr(value, name)) for name in ("means", "stds", "weights")}
        same = {name: found[name][0] for name in ("stds", "weights") if len(set(found[name])) == 1}
        return found | same
    if isinstance(value, MLP):
        layers = [layer for layer in value.layers if isinstance(layer, torch.nn.Linear)]
        numbers = torch.nn.utils.parameters_to_vector(value.parameters()).detach().float()
        text = base64.b64encode(numbers.cpu().numpy().astype("<f4").tobytes()).decode()
        sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
        return {"sizes": sizes, "weights": text}
    return value


def _code(name):
    """The lines of a JavaScript file, without indentation and the comments that have their line."""
    lines = [
        line.strip() for line in (_FOLDER / f"{name}.js").read_text(encoding="utf-8").splitlines()
    ]
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def explorable(name, still, alt, **data):
    """Show the explorable `name` with its data, and before it the still picture for its start.

    name: a file name.js of this folder, whose head says which data it takes.  still: the axes of
    the figure that stands where no script runs; it is closed.  alt: what the picture shows, in
    words.  data: numbers, texts, lists, tensors (rounded to six digits), paths, GaussianMixtures,
    MLPs, and dictionaries of these.
    Raises FileNotFoundError for an unknown name, TypeError for data that JSON cannot hold.
    """
    code = "".join(_code(file) for file in ("field", "stage", name))
    text = json.dumps(_plain(data | {"alt": alt}), separators=(",", ":")).replace("<", "\\u003c")
    mark = f"fm-{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    display(still.figure)
    plt.close(still.figure)
    display(
        HTML(
            f'<div class="fm-explorable" id="{mark}"><p>{html.escape(_NOTE)}</p></div>\n'
            f'<script>\n(() => {{\n"use strict";\n{code}'
            f'const root = document.getElementById("{mark}");\n'
            f"root.explorable = setup(root, {text});\n}})();\n</script>"
        )
    )
