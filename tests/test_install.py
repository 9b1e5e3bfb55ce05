"""tools/install.sh: each way to fail ends in one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path):
    """A folder, with a space in its name, that holds what an installation reads."""
    folder = tmp_path / "my checkout"
    (folder / "tools").mkdir(parents=True)
    for name in ("pyproject.toml", "requirements.lock", "tools/install.sh"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def program(folder, name, *lines):
    """An executable shell script, its folder first in the search path of what runs after it."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    file.chmod(0o755)
    return {"PATH": f"{file.parent}{os.pathsep}{os.environ['PATH']}"}


def install(folder, python=sys.executable, **variables):
    run = subprocess.run(
        ["sh", str(folder / "tools" / "install.sh")],
        env={**os.environ, "PYTHON": str(python), **variables},
        capture_output=True,
        text=True,
    )
    return run.returncode, run.stderr.strip().split("\n")[-1]


def test_python_too_old(checkout):
    program(checkout, "old", 'case "$2" in *print*) echo 3.10.13 ;; *) exit 1 ;; esac')
    code, line = install(checkout, checkout / "bin" / "old")
    assert code == 1 and "needs Python >=3.11,<3.14, found: 3.10.13. Install one" in line


def test_no_python(checkout):
    code, line = install(checkout, "no-such-python")
    assert code == 1 and "found: none. Install one" in line


def test_no_venv_module(checkout):
    (checkout / "ensurepip.py").write_text("raise ImportError")
    code, line = install(checkout, PYTHONPATH=str(checkout))
    assert code == 1 and "has no venv module" in line and "apt install python3-venv" in line


def test_no_room(checkout):
    table = program(checkout, "df", "echo Filesystem", "echo disk 9 9 409600 9% /")
    code, line = install(checkout, **table)
    assert code == 1 and "400 MB are free. Make room" in line


def test_another_build_is_running(checkout):
    (checkout / ".venv.lock").mkdir()
    (checkout / ".venv.lock" / "pid").write_text(str(os.getpid()))
    code, line = install(checkout)
    assert code == 1 and f"process {os.getpid()}" in line
    assert (checkout / ".venv.lock").exists()


def test_no_network_after_a_build_that_was_killed(checkout):
    (checkout / ".venv.lock").mkdir()  # what a killed build leaves behind
    (checkout / ".venv.lock" / "pid").write_text("999999999")
    (checkout / ".venv").mkdir()
    code, line = install(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert code == 1 and "the installation failed, see build/install.log" in line
    assert "No matching distribution" in (checkout / "build" / "install.log").read_text()
    assert not (checkout / ".venv.lock").exists()
    assert not (checkout / ".venv" / "complete").exists()


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment of make")
def test_a_second_call_does_nothing(tmp_path):
    full = program(tmp_path, "df", "echo Filesystem", "echo disk 9 9 0 9% /")  # should it build...
    stamp = ROOT / ".venv" / "complete"
    before = stamp.stat().st_mtime_ns
    command = [sys.executable, "-c", "import sys; print(sys._base_executable)"]
    python = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    assert install(ROOT, python, **full) == (0, "")
    assert stamp.stat().st_mtime_ns == before
