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
# Nothing that axe-core looks for is in the outlines of a formula's letters, and most of a page is.
HIDE = """() => { window.outlines = [...document.querySelectorAll('mjx-container > svg')]
  .map(svg => [svg, [...svg.childNodes]]); outlines.forEach(([svg]) => svg.replaceChildren()); }"""
SHOW = "() => outlines.forEach(([svg, parts]) => svg.replaceChildren(...parts))"
FAULTS = """async only => (await axe.run({ preload: false, resultTypes: ['violations'], ...only }))
  .violations.filter(found => ['serious', 'critical'].includes(found.impact))
  .flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary}`))"""
WRONG_MATH = """() => [...document.querySelectorAll('.math, mjx-container')]
  .filter(node => node.matches('.math') ? !node.querySelector('mjx-container')
    : node.querySelector('[data-mml-node="merror"]'))
  .map(node => node.textContent.slice(0, 80))"""
WIDE_ARE_REACHED = """() => {
  const wide = [...document.querySelectorAll('mjx-container')]
    .filter(node => node.scrollWidth > node.clientWidth + 1);
  return wide.length && wide.every(node => node.tabIndex === 0);
}"""
BROKEN_IMAGES = """() => [...document.images]
  .filter(image => image.complete && !image.naturalWidth).map(image => image.src)"""
BY_COLOR = {"runOnly": ["color-contrast", "link-in-text-block"]}  # axe-core's rules on colours
WIDTH = "document.documentElement.scrollWidth"
WIDTHS = (1280, 390, 360)
PICTURED = {"light": 1280, "dark": 390}


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


def weight(asked):
    """Megabytes that a page has loaded, without MathJax."""
    files = {url.partition("?")[0] for url in asked if "mathjax" not in url}
    return sum(Path(unquote(urlsplit(url).path)).stat().st_size for url in files) / 1e6


def fits(page, scheme, name):
    """The page is no wider than a screen and two phones; a picture of it is left at one width."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(WIDTH) <= width
        if width == PICTURED[scheme] and not name.startswith(LISTINGS):
            PICTURES.mkdir(parents=True, exist_ok=True)
            file = PICTURES / f"{name.replace('/', '-')}-{width}-{scheme}.jpg"
            page.screenshot(path=file, full_page=True, type="jpeg", quality=80)


def in_scheme(page, scheme):
    """Let the page take a scheme, until no colour is on its way."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "scheme => document.documentElement.dataset.theme === scheme"
        " && document.getAnimations().every(one => one.playState !== 'running')",
        arg=scheme,
    )


def test_page_is_whole_accessible_and_fits(file, tab):
    """Its formulas and weight; in both schemes axe-core, and its width on screen and phones."""
    name = NAMES[file]
    if name == "index":
        return  # it only leads on to the book
    one = tab(color_scheme="light", reduced_motion="reduce")
    page = one.open(file)
    assert [url for url in one.asked if not url.startswith("file:")] == []
    assert page.evaluate(WRONG_MATH) == page.evaluate(BROKEN_IMAGES) == []
    if file in LESSONS:
        assert weight(one.asked) < 1.5
    page.evaluate(HIDE)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme, only in (("dark", BY_COLOR), ("light", {})):  # the dark scheme changes colours only
        in_scheme(page, scheme)
        faults = page.evaluate(FAULTS, only)
        assert faults == [], f"{scheme}: " + "\n".join(faults[:8])
    page.evaluate(SHOW)
    for scheme in ("light", "dark"):
        in_scheme(page, scheme)
        fits(page, scheme, name)


def test_wide_formulas_are_reached_by_key_in_a_window_of_any_width(tab):
    """They are in the end: the theme moves its columns after the window has changed."""
    page = tab().open(next(file for file in LESSONS if file.stem == "04_conditional_flow_matching"))
    for width in (1280, 390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(WIDE_ARE_REACHED)


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
