"""JupyterLab itself: each lesson opens in it, and pictures move in it, with a kernel and without.

That the lessons run is nbval's to say.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from places import LONGEST, ROOT

LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
TOKEN = secrets.token_hex(16)
OPEN = """async path => {
  const panel = await jupyterapp.commands.execute('docmanager:open', { path });
  await panel.context.ready;
  await panel.revealed;
  return [...panel.content.model.cells].map(cell => cell.type);
}"""
CLOSE = """async () => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.sessionContext.ready;
  await panel.sessionContext.shutdown();
  panel.dispose();
}"""
RUN = """async () => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  return jupyterapp.commands.execute('notebook:run-all-cells');
}"""
OUTPUTS = """() => [...jupyterapp.shell.currentWidget.content.model.cells]
  .flatMap(cell => cell.outputs.toJSON().map(output => output.output_type))"""
PICTURES = "root => [...root.closest('.jp-OutputArea').querySelectorAll('img')]"
SLIDER = """
from fmlib.plotting import panels
from fmlib.widgets import explore


def draw(n):
    ax = panels(1)[0]
    ax.plot([0, n], [0, 1])
    return ax


explore(draw, "A line to a chosen point", n=(0, 3, 1, 1))
"""


def notebook(*sources):
    """A notebook of code cells, not run yet, for this Python."""
    spec = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return new_notebook(cells=[new_code_cell(source) for source in sources], metadata=spec)


def cut(path, mark):
    """A lesson's code cells up to the first one with `mark`, not run yet."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    last = next(i for i, cell in enumerate(cells) if mark in cell.source)
    return notebook(*(cell.source for cell in cells[: last + 1]))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server on copies of the lessons, which JupyterLab would save; its address."""
    folder = tmp_path_factory.mktemp("lab")
    for path in LESSONS:
        shutil.copy(path, folder)
    nbformat.write(cut(ROOT / "notebooks/00_start_here.ipynb", "explorable("), folder / "cut.ipynb")
    nbformat.write(notebook(SLIDER), folder / "slider.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
            *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
            *(f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser"),
            *("--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={folder}"),
        ],
        env=os.environ | {"TQDM_DISABLE": "1"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + LONGEST / 1000
    while True:
        try:
            urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=60).close()
            break
        except OSError:
            assert server.poll() is None and time.monotonic() < end, "JupyterLab did not start"
            time.sleep(0.2)
    yield url
    server.terminate()
    server.wait(LONGEST / 1000)


@pytest.fixture(scope="module")
def page(lab, browser):
    """JupyterLab in a window, with nothing open."""
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    context.set_default_timeout(LONGEST)
    page = context.new_page()
    page.goto(f"{lab}/lab?token={TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("() => jupyterapp.restored")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    yield page
    context.close()


@pytest.fixture
def opened(page):
    """Open a notebook; its kernel ends with the test."""
    yield lambda path: page.evaluate(OPEN, path)
    page.evaluate(CLOSE)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_lesson_opens(path, page, opened):
    cells = nbformat.read(path, as_version=4).cells
    assert opened(path.name) == [cell.cell_type for cell in cells]
    title = cells[0].source.splitlines()[0].lstrip("# ")
    heading = page.locator(".jp-NotebookPanel:visible h1").first
    heading.wait_for()
    assert heading.text_content().startswith(title)
    assert page.locator(".jp-Dialog").count() == 0


def test_an_explorable_moves_by_key(page, opened):
    opened("cut.ipynb")
    assert page.evaluate(RUN)
    assert "error" not in page.evaluate(OUTPUTS)
    root = page.locator(".fm-explorable").last
    slider = root.locator("input[type=range]").first
    slider.scroll_into_view_if_needed()
    still = root.element_handle()
    page.wait_for_function(f"root => ({PICTURES})(root).every(one => !one.offsetWidth)", arg=still)
    assert root.evaluate(f"root => ({PICTURES})(root).length") == 1  # it has given way
    look = "root => (root.explorable.stage.paintNow(), root.querySelector('canvas').toDataURL())"
    before, value = root.evaluate(look), slider.input_value()
    slider.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # so the cell has not taken the focus
    assert float(slider.input_value()) == pytest.approx(
        float(value) + 2 * float(slider.get_attribute("step"))
    )
    assert root.evaluate(look) != before


def test_a_slider_of_ipywidgets_has_python_draw(page, opened):
    opened("slider.ipynb")
    assert page.evaluate(RUN)
    handle = page.locator(".widget-slider .noUi-handle").last
    image = page.locator(".widget-html img").last
    handle.scroll_into_view_if_needed()
    before = image.get_attribute("src")
    handle.press("ArrowRight")
    changed = "before => document.querySelector('.widget-html img').src !== before"
    page.wait_for_function(changed, arg=before)
    assert "error" not in page.evaluate(OUTPUTS)
