"""Compare the figures of each lesson that nbval runs, and print the lessons' times at the end."""

import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).with_name("tools")))
import gallery

if not __debug__:
    raise pytest.UsageError("asserts are switched off: unset PYTHONOPTIMIZE, or leave out -O")

collect_ignore_glob = ["notebooks/exercises/*"]  # not solved yet; tests/exercises runs them
seconds = defaultdict(float)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """nbval compares what a cell prints; compare what it draws, too."""
    result = yield
    if hasattr(item, "test_outputs"):  # nbval's, of one cell, which has passed
        changed = gallery.changed(f"{item.path.stem}-{item.cell_num}", item.cell, item.test_outputs)
        if changed:
            item.raise_cell_error("Figure differs", changed)
    return result


def pytest_runtest_logreport(report):
    file = report.nodeid.partition("::")[0]
    if file.endswith(".ipynb"):
        seconds[file] += report.duration


def pytest_terminal_summary(terminalreporter):
    if seconds:
        terminalreporter.section("lessons")
        for file, time in seconds.items():
            terminalreporter.line(f"{file:56s} {time:6.1f} s")
        terminalreporter.line(f"{'together':56s} {sum(seconds.values()):6.1f} s")
