"""nbval, with the hook in conftest.py, fails at a wrong output and at a figure that has changed."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import gallery  # noqa: E402
import run_notebooks  # noqa: E402
from run_tests import NBVAL  # noqa: E402


def nbval(path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    command += [*NBVAL, str(path)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "FMLIB_SEED": "0", "TQDM_DISABLE": "1"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=path.parent, env=env)


def shortened(path, folder):
    """A copy of a lesson that stops after its first cell with printed text, and that cell."""
    notebook = nbformat.read(path, as_version=4)
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and any(o.output_type == "stream" for o in cell.outputs):
            notebook.cells = notebook.cells[: i + 1]
            copy = folder / path.name
            nbformat.write(notebook, copy)
            return copy, notebook, cell
    raise AssertionError(f"{path.name} prints nothing")


def test_a_spoiled_output_fails(tmp_path):
    (path,) = run_notebooks.lessons("02")
    copy, notebook, cell = shortened(path, tmp_path)
    assert nbval(copy).returncode == 0
    printed = next(o for o in cell.outputs if o.output_type == "stream")
    printed.text = printed.text.replace("True", "False")
    nbformat.write(notebook, copy)
    run = nbval(copy)
    assert run.returncode == 1
    assert "1 failed" in run.stdout and "False" in run.stdout


def test_nbval_fails_at_a_figure_that_has_changed(tmp_path):
    (figure,) = run_notebooks.find_figures("s10-flow-map")
    notebook = nbformat.read(figure.path, as_version=4)
    notebook.cells = notebook.cells[: figure.index + 1]
    copy = tmp_path / figure.path.name
    nbformat.write(notebook, copy)
    run = nbval(copy)
    assert run.returncode == 0, run.stdout
    cell = notebook.cells[figure.index]
    assert cell.source.count("swirl(x, 0.5)") == 1
    cell.source = cell.source.replace("swirl(x, 0.5)", "swirl(x, 0.4)")
    nbformat.write(notebook, copy)
    run = nbval(copy)
    assert run.returncode == 1 and "1 failed" in run.stdout
    assert "s10-flow-map: RMS" in run.stdout and "make notebooks ONLY=02" in run.stdout
    left = list(gallery.DIFFERENT.glob("s10-flow-map*.png"))
    assert len(left) == 3  # the committed one, the new one, the difference
    for file in left:
        file.unlink()
