"""Each page of the book: complete, offline, legible, accessible; read from its file, with no server."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from places import BOOK, PICTURES, ROOT

PAGES = sorted(file for file in BOOK.rglob("*.html") if "_static" not in file.parts)
NAMES = [file.relative_to(BOOK).with_suffix("").as_posix() for file in PAGES]
LESSONS = [
    file for file in PAGES if re.match(r"\d\d_", file.name) and file.parent.name == "notebooks"
]
AXE = (ROOT / "build/npm/node_modules/axe-core/axe.min.js").read_text() if PAGES else ""
SERIOUS = "results => results.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
WRONG_MATH = """() => [...document.querySelectorAll('.math, mjx-container')]
  .filter(node => !node.closest('mjx-assistive-mml'))
  .filter(node => node.matches('.math') ? !node.querySelector('mjx-container')
    : node.querySelector('[data-mml-node="merror"]'))
  .map(node => node.textContent.slice(0, 80))"""


@pytest.fixture(params=PAGES, ids=NAMES)
def file(request):
    return request.param


class Found(HTMLParser):
    """The ids of a page, and what it refers to."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


found = {file: Found(file) for file in PAGES}


def test_the_book_has_every_page():
    stems = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert stems and {file.stem for file in LESSONS} == stems
    exercises = {path.stem for path in (ROOT / "notebooks/exercises").glob("*.ipynb")}
    assert exercises == {file.stem for file in PAGES if file.parent.name == "exercises"}


def test_links_inside_the_book_lead_somewhere(file):
    for link in found[file].links:
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("http", "https", "mailto", "data"), link
            continue
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        assert target.exists(), link
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in found[target].ids, link


def test_page_opens_offline_with_all_its_formulas(file, tab):
    one = tab()
    page = one.open(file)
    assert [url for url in one.asked if not url.startswith("file:")] == []
    assert page.evaluate(WRONG_MATH) == []
    assert (
        page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_has_no_serious_fault_of_accessibility(file, scheme, tab):
    page = tab(color_scheme=scheme).open(file)
    page.evaluate(AXE)
    faults = page.evaluate(f"axe.run().then({SERIOUS})")
    lines = [f"{v['id']}: {n['target']} {n['failureSummary']}" for v in faults for n in v["nodes"]]
    assert lines == [], "\n".join(lines[:8])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 360])
def test_page_fits_and_is_kept_as_a_picture(file, width, scheme, tab):
    page = tab(width, color_scheme=scheme).open(file)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width != 360:
        name = "-".join(file.relative_to(BOOK).with_suffix("").parts)
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_lesson_weighs_little(file, tab, note):
    one = tab()
    one.open(file).wait_for_load_state("load")
    sizes = {}
    for url in set(one.asked):
        path = unquote(urlsplit(url).path)
        kind = "MathJax" if "/mathjax" in path else "page"
        size = len(open(path, "rb").read())
        sizes[kind] = sizes.get(kind, 0) + size
    note(f"{file.stem}: {sizes['page'] / 1e6:.2f} MB, and MathJax {sizes['MathJax'] / 1e6:.2f} MB")
    assert sizes["page"] < 1.5e6


def test_search_finds_a_word(tab):
    page = tab().open(BOOK / "search.html")
    page.goto((BOOK / "search.html").as_uri() + "?q=straightness")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").all_text_contents()
    assert any("07" in text for text in found), found


def test_answers_are_folded_and_open(tab):
    page = tab().open(LESSONS[1])
    answer = page.locator("details", has_text="Answer").first
    text = answer.locator("p").first
    assert not text.is_visible()
    answer.locator("summary").click()
    assert text.is_visible()
