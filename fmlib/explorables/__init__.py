"""Pictures to touch that need no kernel: the same in a notebook and on a page of the web edition.

An explorable is one JavaScript file in this folder, NAME.js, with its mathematics in maths/NAME.js,
and the data that a lesson's Python gives it. What the lesson stores is a still picture and an HTML
output with the data, these files and all that they import: what they share of the mathematics is in
maths/, which knows no page, and the plot and its controls are in stage.js. Where scripts run, the
still picture gives way; where they do not, as on GitHub, it stays.
"""

import hashlib

import matplotlib.pyplot as plt
from IPython.display import HTML, display

from fmlib.explorables.plain import as_json, plain
from fmlib.explorables.scripts import render

__all__ = ["explorable"]


def explorable(name, still, alt, **data):
    """Show the explorable `name` with its data, and before it the still picture for its start.

    name: a file name.js of this folder, whose head says which data it takes.  still: the axes of
    the figure that stands where no script runs; it is closed.  alt: what the picture shows, in
    words.  data: numbers, texts, lists, tensors (rounded to six digits), paths, GaussianMixtures,
    MLPs, and dictionaries of these.
    Raises FileNotFoundError for an unknown name, TypeError for data that JSON cannot hold.
    """
    text = as_json(plain(data | {"alt": alt}))
    mark = f"fm-{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    output = HTML(render(name, mark, text))
    display(still.figure)
    plt.close(still.figure)
    display(output)
