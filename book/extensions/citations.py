"""Turn a citation in words, such as "Lipman et al. (2023)", into a link to its entry.

Notebooks cite in words, so that they read well without the book.
"""

import re
import unicodedata
from pathlib import Path

from docutils import nodes
from pybtex.database import parse_file
from sphinx.transforms.post_transforms import SphinxPostTransform

PAGE = "book/references"
ENTRIES = parse_file(Path(__file__).resolve().parent.parent / "references.bib").entries
SKIP = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw, nodes.title)


def plain(text):
    """The text without accents, letter for letter: "Nørsett" becomes "Norsett"."""
    bare = (unicodedata.normalize("NFKD", c)[0] if c.isalpha() else c for c in text)
    return "".join(bare).translate({ord("ø"): "o", ord("Ø"): "O"})


def spellings(entry):
    """How the authors of an entry may be named."""
    people = entry.persons["author"]
    names = [plain(" ".join(p.prelast_names + p.last_names)) for p in people]
    if len(names) <= 3:
        *first, last = names
        yield ", ".join(first) + " and " + last if first else last
    if len(names) > 2:
        yield names[0] + " et al."


def index():
    """(authors, year) -> keys, short title -> key."""
    dated, titled = {}, {}
    for key, entry in ENTRIES.items():
        for name in spellings(entry):
            dated.setdefault((name, entry.fields["year"]), []).append(key)
        for title in filter(None, entry.fields.get("short", "").split("; ")):
            titled[title] = key
    return dated, titled


DATED, TITLED = index()
NAMES = "|".join(sorted({re.escape(name) for name, _ in DATED}, key=len, reverse=True))
CITED = re.compile(rf"\b({NAMES})(?:,? (?:\((\d{{4}})\)|(\d{{4}})\b))?")


def works(names, year):
    """The keys of the works by these authors; without a year, if there is but one."""
    if year:
        return DATED.get((names, year), [])
    keys = {key for (name, _), found in DATED.items() if name == names for key in found}
    return list(keys) if len(keys) == 1 and " " in names else []


def find(text):
    """The citations in a text: (start, end, key) each. Of two works, the words near it choose."""
    text, found = plain(text), []
    for match in CITED.finditer(text):
        keys = works(match[1], match[2] or match[3])
        near = text[max(0, match.start() - 12) : match.end() + 12]
        told = [key for key in keys if ENTRIES[key].fields.get("about", "\0") in near]
        told = told or [key for key in keys if "about" not in ENTRIES[key].fields]
        found += [(*match.span(), key) for key in told[:1]]
    return found


class Citations(SphinxPostTransform):
    """Link the citations of a page, once its text is complete."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs):
        if self.env.docname == PAGE:
            return
        uri = self.app.builder.get_relative_uri(self.env.docname, PAGE)
        for text in list(self.document.findall(nodes.Text)):
            above, node = [], text
            while node.parent is not None:
                node = node.parent
                above.append(node)
            if any(isinstance(node, (*SKIP, nodes.reference)) for node in above):
                continue
            content, whole = text.astext(), text.parent.astext()
            if isinstance(text.parent, nodes.emphasis) and content in TITLED:
                places = [(0, len(content), TITLED[content])]
            else:  # found in the whole paragraph, since DDIM in bold print is another node
                before = whole.find(content)
                places = [(a - before, b - before, key) for a, b, key in find(whole)]
                places = [p for p in places if 0 <= p[0] and p[1] <= len(content)]
            parts, end = [], 0
            for a, b, key in places:
                link = nodes.reference("", content[a:b], internal=True, refuri=f"{uri}#{key}")
                parts += [nodes.Text(content[end:a]), link]
                end = b
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(content[end:])])


def setup(app):
    app.add_post_transform(Citations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
