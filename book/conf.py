"""How Sphinx builds the book, by `make book`, from the notebooks as they are stored: none is run.

The source folder is the root of the repository, so that links between pages, notebooks and figures
are the same on the site, on GitHub and in JupyterLab.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform

BOOK = Path(__file__).resolve().parent
NPM = BOOK.parent / "build" / "npm"  # where `make book` puts MathJax
sys.path[:0] = [str(BOOK.parent), str(BOOK / "extensions")]

project = "Flow Matching and Diffusion Models"
language = "en"
highlight_language = "text"  # where nothing else is said
smartquotes = False  # a quotation mark may be Python's
root_doc = "book/index"
include_patterns = [
    "book/*.md",
    "figures/README.md",
    "notebooks/*.ipynb",
    "notebooks/exercises/*.ipynb",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "citations",
    "claims",
    "icons",
    "reference",
]

# Notebooks and Markdown. A slider cannot move without Python, so its picture stands in its place.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_error_lexer = "text"  # of a check that fails, not a traceback
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = [
    "amsmath",
    "dollarmath",
]  # amsmath is what lets Formulas, below, do its work
myst_heading_anchors = 3

# References, and what comes from docstrings.
bibtex_bibfiles = ["references.bib"]
bibtex_cite_id = "{key}"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # torch writes its own for forward
add_module_names = False
python_use_unqualified_type_names = True

# Pages. Search shows no excerpts: it would have to fetch the pages, which file:// forbids.
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static", str(NPM / "static")]
html_extra_path = ["top"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_sourcelink_suffix = ""
html_show_search_summary = False
html_show_copyright = False
html_use_index = html_domain_indices = False  # the search finds it all
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "footer_content_items": ["extra-footer.html"],
    "extra_footer": "Code under the MIT licence, text and figures under CC BY 4.0.",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_toc_level": 2,
    "use_download_button": True,
}
copybutton_selector = "div.cell_input pre"

# MathJax draws glyphs as paths, since a font may be refused from file://. It comes without its
# explorer, which needs a worker; screen readers get MathML instead.
mathjax_path = "mathjax/startup.js"
mathjax4_config = {
    "loader": {
        "load": ["input/tex", "output/svg", "a11y/assistive-mml"],
        "paths": {"fonts": "[mathjax]"},
    },
    "output": {"font": "mathjax-newcm"},
}
mathjax_config_path = "mathjax.js"


class Formulas(SphinxTransform):
    """Hand equations to MathJax as they stand, and keep a short formula on one line.

    Sphinx would wrap an equation of several lines in what refuses a \\tag.
    """

    default_priority = 900

    def apply(self, **kwargs):
        for node in self.document.findall(nodes.math_block):
            node["classes"].append("amsmath")
        for node in self.document.findall(nodes.math):
            if len(node.astext()) <= 25:
                node["classes"].append("short")


def setup(app):
    app.add_transform(Formulas)
