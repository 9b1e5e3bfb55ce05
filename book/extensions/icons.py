"""Draw the icons of the pages where they stand, as SVG.

The theme loads every icon that there is, 1.5 MB of JavaScript, to draw some fifteen of them.
"""

import functools
import re
from pathlib import Path

from sphinx.errors import ExtensionError

SCRIPT = "_static/scripts/fontawesome.js"
LOADED = re.compile(rf"\s*<(script|link)[^>]*{re.escape(SCRIPT)}[^>]*>(</script>)?")
ICON = re.compile(r'<(i|span) class="([^"]*\bfa(?:s|-solid) fa-([a-z-]+)[^"]*)"([^>]*)></\1>')


def drawn(script):
    """From the theme's script, "bars":[448,512,[...],"f0c9","M0 ..."], a function that draws."""

    @functools.cache
    def glyph(name):
        found = re.search(rf'[,{{]"?{name}"?:\[(\d+),(\d+),\[[^]]*\],"\w+","([^"]+)"\]', script)
        if not found:
            raise ExtensionError(f"the theme has no icon {name}")
        width, height, path = found.groups()
        return f'viewBox="0 0 {width} {height}"><path fill="currentColor" d="{path}"/></svg>'

    def draw(match):
        _, classes, name, rest = match.groups()
        rest = re.sub(r' title="[^"]*"', "", rest)  # what is hidden from readers has no name
        return f'<svg class="{classes} svg-inline--fa" aria-hidden="true"{rest} {glyph(name)}'

    return draw


def finish(app, exception):
    if exception or app.builder.format != "html":
        return
    script = Path(app.outdir) / SCRIPT
    draw = drawn(script.read_text(encoding="utf-8"))
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(ICON.sub(draw, LOADED.sub("", text)), encoding="utf-8")
    script.unlink()


def setup(app):
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
