"""JupyterLab itself: each lesson opens, runs from top to bottom, and its pictures move."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from places import ROOT

LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
TOKEN = secrets.token_hex(16)
READY = """async () => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
}"""
RUN = "() => jupyterapp.commands.execute('notebook:run-all-cells')"
CELLS = """() => [...jupyterapp.shell.currentWidget.content.model.cells]
  .filter(cell => cell.type === 'code')
  .map(cell => [cell.executionCount, cell.outputs.toJSON().map(output => output.output_type)])"""
IDLE = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server on copies of the lessons, which JupyterLab would save; its address."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for path in LESSONS:
        shutil.copy(path, folder / "notebooks")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")  # lesson 01 reads a result of one
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
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, "JupyterLab did not start"
            time.sleep(0.5)
    yield url
    server.terminate()
    server.wait(20)


def move_explorable(page):
    """Press a key on its first slider, twice; what it shows before and after."""
    root = page.locator(".fm-explorable").last
    slider, canvas = root.locator("input[type=range]").first, root.locator("canvas")
    slider.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # JupyterLab lays out the cells around it
    cell = "root => [...root.closest('.jp-OutputArea').querySelectorAll('img')]"
    assert root.evaluate(f"{cell}.map(image => image.offsetWidth)") == [0]  # it has given way
    before, value = canvas.evaluate("canvas => canvas.toDataURL()"), slider.input_value()
    slider.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # so the cell has not taken the focus
    page.wait_for_timeout(500)
    assert float(slider.input_value()) == pytest.approx(
        float(value) + 2 * float(slider.get_attribute("step"))
    )
    return before, canvas.evaluate("canvas => canvas.toDataURL()")


def move_widget(page):
    """The same with a slider behind which Python draws."""
    handle, image = (
        page.locator(".widget-slider .noUi-handle").last,
        page.locator(".widget-html img").last,
    )
    handle.scroll_into_view_if_needed()
    before = image.get_attribute("src")
    handle.press("ArrowRight")
    page.wait_for_function(
        "before => [...document.querySelectorAll('.widget-html img')].at(-1).src !== before",
        arg=before,
        timeout=60_000,
    )
    return before, image.get_attribute("src")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_and_its_slider_moves_the_picture(path, lab, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1200})
    page.set_default_timeout(60_000)
    page.goto(f"{lab}/doc/tree/notebooks/{path.name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.evaluate(READY)
    page.evaluate(RUN)
    page.wait_for_function(IDLE, timeout=300_000)
    page.wait_for_timeout(2000)  # the last outputs are on their way
    cells = page.evaluate(CELLS)
    assert [count for count, _ in cells] == list(range(1, len(cells) + 1))
    assert not any("error" in kinds for _, kinds in cells)
    kinds = {".fm-explorable": move_explorable, ".widget-slider": move_widget}
    moved = [move for mark, move in kinds.items() if page.locator(mark).count()]
    assert moved
    for move in moved:
        before, after = move(page)
        assert before != after
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
