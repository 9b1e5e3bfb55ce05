"""tools/run_notebooks.py: what is stored, what is left alone, and what a lesson costs."""

import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import run_notebooks  # noqa: E402


def tiny(folder, source, name="00_tiny.ipynb"):
    path = folder / name
    nbformat.write(new_notebook(cells=[new_code_cell(source, id="only")]), path)
    return path


def test_running_twice_gives_the_same_bytes(tmp_path):
    source = "import ipywidgets, matplotlib.pyplot as plt\nplt.plot([1, 2])\nipywidgets.IntSlider()"
    path = tiny(tmp_path, source)
    assert run_notebooks.run_in_place([path]) == 0
    first = path.read_bytes()
    assert b"image/png" in first and run_notebooks.run_in_place([path]) == 0
    assert path.read_bytes() == first


def test_a_cost_is_told_in_steps_of_the_yardstick(tmp_path, capsys, monkeypatch):
    path = tiny(tmp_path, "1")
    monkeypatch.setattr(run_notebooks, "yardstick", lambda: 1.0)
    assert run_notebooks.run_in_place([path]) == 0
    told = capsys.readouterr().out
    assert re.search(r"00_tiny +\d+\.\d s = +\d+ steps at +1 a second$", told, re.M)
    assert run_notebooks.cost(10.0, [700, 900]) == "    10.0 s =    8,000 steps at   800 a second"
    assert run_notebooks.cost(100.1, [700, 900]).endswith("more than 80,000")


def test_the_yardstick_is_steps_over_seconds(monkeypatch):
    """Of the steps that are timed only: the first ones warm up."""
    clock, done = iter([10.0, 14.0]), []
    monkeypatch.setattr(run_notebooks.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(run_notebooks, "plain_loop", lambda model, steps: done.append(steps))
    assert run_notebooks.yardstick(300) == 75 and done[1:] == [300]


def test_a_lesson_that_fails_is_left_as_it_was(tmp_path, capsys):
    path = tiny(tmp_path, "assert 1 == 2, 'no'")
    before = path.read_bytes()
    assert run_notebooks.run_in_place([path]) == 1
    assert path.read_bytes() == before
    assert "FAILED" in capsys.readouterr().out


def test_a_seed_reaches_the_lesson_and_a_failing_seed_is_counted(tmp_path, capsys):
    path = tiny(tmp_path, "import os; assert os.environ['FMLIB_SEED'] == '3'")
    before = path.read_bytes()
    assert run_notebooks.run_seeds([path], [3, 4]) == 1
    assert path.read_bytes() == before
    assert "1 of 2 runs failed" in capsys.readouterr().out


def test_a_killed_run_leaves_the_notebook_whole(tmp_path):
    started = tmp_path / "started"
    path = tiny(tmp_path, f"open({str(started)!r}, 'wb')\nimport time; time.sleep(3600)")
    before = path.read_bytes()
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import run_notebooks as r; "
    code += f"from pathlib import Path; r.run_in_place([Path({str(path)!r})])"
    run = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while not started.exists() and run.poll() is None:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert started.exists() and path.read_bytes() == before


def test_lessons_are_read_in_order_and_by_number():
    lessons = [p for p in run_notebooks.lessons() if p.parent.name == "notebooks"]
    assert [p.name[:2] for p in lessons] == sorted(p.name[:2] for p in lessons)
    assert all(a != b for a, b in pairwise(lessons))
    assert [p.name[:2] for p in run_notebooks.lessons("02")] == ["02"]
    assert run_notebooks.lessons("02")[0] in lessons
    assert [p.name[:2] for p in run_notebooks.lessons("solutions/02")] == ["02"]
    assert run_notebooks.lessons() == lessons + run_notebooks.lessons("solutions/")


def test_a_kernel_ends_with_its_run(tmp_path):
    """Ten seeds would else leave ten kernels, with all their memory, until the last one is done."""
    path = tiny(tmp_path, "import os; print(os.getpid())")
    kernel = int(run_notebooks.execute(path).cells[0].outputs[0].text)
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


def test_a_kernel_that_dies_does_not_stop_the_others(tmp_path, capsys):
    dying = tiny(tmp_path, "import os; os._exit(1)", "01_dying.ipynb")
    living = tiny(tmp_path, "import os; print(os.environ['FMLIB_SEED'])", "02_living.ipynb")
    assert run_notebooks.run_in_place([dying, living]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert (
        nbformat.read(living, as_version=4).cells[0].outputs[0].text == "0\n"
    )  # whatever a user has set
