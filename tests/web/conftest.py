"""A real browser, for `make test-web`: Chromium by Playwright, on the book as it was built."""

import os
import shutil

import pytest
from places import LONGEST
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
THEME = "[PST]"  # what the theme tells the console


@pytest.fixture(scope="session")
def browser():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=LONGEST)
        yield browser
        browser.close()


class Tab:
    """A page that keeps what went wrong on it."""

    def __init__(self, browser, **settings):
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(LONGEST)
        self.page = self.context.new_page()
        self.wrong, self.asked = [], []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))

    def _console(self, message):
        told = message.type == "log" and message.text.startswith(THEME)
        if not told:
            self.wrong.append(f"console: {message.text}")

    def open(self, file):
        """Open a page from its file and wait until its formulas stand."""
        self.page.goto(file.as_uri())
        self.page.wait_for_function(
            "window.MathJax?.startup?.promise !== undefined || !document.querySelector('.math')"
        )
        self.page.evaluate("window.MathJax?.startup?.promise")
        return self.page


@pytest.fixture
def tab(browser):
    """tab(width=..., ...) opens a window; at the end nothing may have gone wrong in any."""
    tabs = []

    def new(width=1280, height=900, **settings):
        tabs.append(Tab(browser, viewport={"width": width, "height": height}, **settings))
        return tabs[-1]

    yield new
    for one in tabs:
        one.context.close()
    assert [wrong for one in tabs for wrong in one.wrong] == []
