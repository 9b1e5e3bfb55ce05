"""Each page of the book: complete, offline, legible, accessible, as a file with no server."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from places import BOOK, PICTURES, ROOT

PAGES = sorted(file for file in BOOK.rglob("*.html") if "_static" not in file.parts)
NAMES = {file: file.relative_to(BOOK).with_suffix("").as_posix() for file in PAGES}
LESSONS = [file for file in PAGES if re.fullmatch(r"notebooks/\d\d_\w+", NAMES[file])]
LISTINGS = ("_modules/", "search", "index")  # made by Sphinx, no page of ours
AXE = ROOT / "build/npm/node_modules/axe-core/axe.min.js"
FAULTS = """async () => (await axe.run({ preload: false })).violations
  .filter(found => ['serious', 'critical'].includes(found.impact))
  .flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary}`))"""
WRONG_MATH = """() => [...document.querySelectorAll('.math, mjx-container')]
  .filter(node => node.matches('.math') ? !node.querySelector('mjx-container')
    : node.querySelector('[data-mml-node="merror"]'))
  .map(node => node.textContent.slice(0, 80))"""
BROKEN_IMAGES = """() => [...document.images]
  .filter(image => image.complete && !image.naturalWidth).map(image => image.src)"""
WIDTH = "document.documentElement.scrollWidth"


@pytest.fixture(params=PAGES, ids=NAMES.values())
def file(request):
    return request.param


class Found(HTMLParser):
    """The ids of a page, and what it refers to."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


found = {file: Found(file) for file in PAGES}


def test_the_book_has_every_notebook():
    for folder in ("notebooks", "notebooks/exercises"):
        stems = {f"{folder}/{path.stem}" for path in (ROOT / folder).glob("[0-9]*.ipynb")}
        assert stems and stems <= set(NAMES.values())


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_whole_accessible_and_fits(file, scheme, tab):
    """In both schemes: its formulas, axe-core, and its width on a screen and on two phones."""
    if file.parent == BOOK and file.stem == "index":
        return  # it only leads on to the book
    one = tab(color_scheme=scheme)
    page = one.open(file)
    assert [url for url in one.asked if not url.startswith("file:")] == []
    assert page.evaluate(WRONG_MATH) == page.evaluate(BROKEN_IMAGES) == []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    faults = page.evaluate(FAULTS)
    assert faults == [], "\n".join(faults[:8])
    for width in (1280, 390, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(WIDTH) <= width
        if width != 360 and not NAMES[file].startswith(LISTINGS):
            PICTURES.mkdir(parents=True, exist_ok=True)
            name = NAMES[file].replace("/", "-")
            page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_lesson_weighs_little(file, tab, note):
    one = tab()
    one.open(file)
    sizes = {"page": 0, "MathJax": 0}
    for url in {url.partition("?")[0] for url in one.asked}:
        size = Path(unquote(urlsplit(url).path)).stat().st_size
        sizes["MathJax" if "mathjax" in url else "page"] += size
    page, mathjax = (size / 1e6 for size in sizes.values())
    note(f"{file.stem}: {page:.2f} MB, and {mathjax:.2f} MB of MathJax")
    assert page < 1.5


def test_search_finds_a_word(tab):
    page = tab().open(BOOK / "search.html")
    page.goto((BOOK / "search.html").as_uri() + "?q=straightness")
    page.wait_for_selector("#search-results li a")
    titles = page.locator("#search-results li a").all_text_contents()
    assert any("07" in title for title in titles), titles


def test_answers_are_folded_and_open(tab):
    page = tab().open(LESSONS[1])
    answer = page.locator("details", has_text="Answer").first
    text = answer.locator("p").first
    assert not text.is_visible()
    answer.locator("summary").click()
    assert text.is_visible()


def test_dark_mode_can_be_chosen(tab):
    page = tab(color_scheme="light").open(LESSONS[0])
    page.locator(".theme-switch-button:visible").click()
    page.get_by_role("button", name="Dark", exact=True).click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
