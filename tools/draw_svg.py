"""Runs in the kernel before a lesson's first cell: every figure is then shown as SVG, too.

The setting InlineBackend.figure_formats would do nearly the same. But it draws the SVG first, which
moves the PNG's parts by a fraction of a pixel; it gives the SVG a date; and the clouds of points
inside it are as coarse as those of the PNG.
"""

from io import StringIO

from IPython import get_ipython


def draw_svg(figure):
    """The text of the figure's SVG, the same at every run; clouds of points at 180 dots an inch."""
    file = StringIO()
    figure.savefig(file, format="svg", dpi=180, metadata={"Date": None})
    return file.getvalue()


shell = get_ipython()
shell.run_line_magic("matplotlib", "inline")  # first, as it takes away what draws figures already
formatters = shell.display_formatter.formatters
formatters["image/svg+xml"] = formatters.pop("image/svg+xml")  # to the end
formatters["image/svg+xml"].for_type_by_name("matplotlib.figure", "Figure", draw_svg)
