"""The reference of fmlib, from its docstrings, which are plain text, not reStructuredText."""

import inspect
import pkgutil
import re
from pathlib import Path

from citations import find

import fmlib

ROOT = Path(__file__).resolve().parent.parent.parent
NAMED = r"\w+(?:\([^)]*\))?"  # x, or velocity(x, t)
ITEM = re.compile(rf"(Raises|Returns|Taught in:|Arguments|{NAMED}(, {NAMED})*( ->[^:]*)?:) ")


def modules():
    """The names of fmlib's modules, the package itself first."""
    return ["fmlib", *sorted(m.name for m in pkgutil.walk_packages(fmlib.__path__, "fmlib."))]


def directives(names):
    """A heading and a directive for each module, in MyST.

    What a package takes from its own modules is shown with them, and only there.
    """
    packages = {m.name for m in pkgutil.walk_packages(fmlib.__path__, "fmlib.") if m.ispkg}
    parts = []
    for name in names:
        own = "   :ignore-module-all:\n" if name in packages else ""
        directive = f".. automodule:: {name}\n   :members:\n{own}"
        parts.append(f"## {name}\n\n```{{eval-rst}}\n{directive}```\n")
    return "\n".join(parts)


def fill(app, docname, source):
    """Put the modules where the page says so."""
    exercises = [name for name in modules() if "exercises" in name]
    others = [name for name in modules() if name not in exercises]
    source[0] = source[0].replace("<!-- modules -->", directives(others))
    source[0] = source[0].replace("<!-- modules of exercises -->", directives(exercises))


def escape(line):
    """A line of plain text in reStructuredText; ``code`` stays, a lesson becomes a link."""
    parts = re.split(r"(``.+?``)", line)
    parts[::2] = (re.sub(r"([\\*`|_])", r"\\\1", part) for part in parts[::2])
    return re.sub(r"Taught in: (\d\d)", taught, "".join(parts))


def taught(match):
    found = sorted((ROOT / "notebooks").glob(f"{match[1]}_*.ipynb"))
    link = f":doc:`lesson {match[1]} </notebooks/{found[0].stem}>`" if found else match[1]
    return f"Taught in: {link}"


def begins(line):
    """Is this the first line of an item, or of the sources?"""
    return bool(ITEM.match(line)) or any(start == 0 for start, _, _ in find(line))


def process(app, what, name, obj, options, lines):
    """Escape a docstring, set apart its formulas, and begin a paragraph at each item and source."""
    result, code = [], False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not code:
            result += ["::", ""]
        elif not indented and line and code:
            result.append("")
        code = indented or (code and not line)
        if not indented and begins(line) and result and result[-1].endswith((".", ")")):
            result.append("")
        result.append(line if indented else escape(line))
    lines[:] = [*result, ""]


def skip(app, what, name, obj, skipped, options):
    """Leave out the fields of named tuples, which their signature shows already, and the methods of
    a Lesson, to which the exercises' modules give names of their own."""
    of_a_lesson = what == "module" and inspect.ismethod(obj)
    field = (obj.__doc__ or "").startswith("Alias for field number")
    return True if of_a_lesson or field else None


def flatten(app, page, template, context, doctree):
    """Make one list of the modules: viewcode nests them in a way that is no HTML."""
    if page == "_modules/index":
        heading, _, body = context["body"].partition("</h1>")
        items = "\n".join(re.findall(r"<li>.*?</li>", body))
        context["body"] = f"{heading}</h1>\n<ul>\n{items}\n</ul>\n"


def setup(app):
    app.connect("source-read", fill)
    app.connect("html-page-context", flatten)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
