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
    """A folder with what an installation reads, its name with a space and letters of two kinds."""
    folder = tmp_path / "my é한 checkout"
    (folder / "tools").mkdir(parents=True)
    for name in ("pyproject.toml", "requirements.lock", "tools/install.sh"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def program(folder, name, *lines):
    """An executable shell script, its folder first in the search path of what runs after it."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
    file.chmod(0o755)
    return {"PATH": f"{file.parent}{os.pathsep}{os.environ['PATH']}"}


def install(folder, python=sys.executable, **variables):
    run = subprocess.run(
        ["sh", str(folder / "tools" / "install.sh")],
        env={**os.environ, "PYTHON": str(python), **variables},
        capture_output=True,
        encoding="utf-8",
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
    (checkout / "ensurepip.py").write_text("raise ImportError", encoding="utf-8")
    code, line = install(checkout, PYTHONPATH=str(checkout))
    assert code == 1 and "has no venv module" in line and "apt install python3-venv" in line


def test_no_room(checkout):
    table = program(checkout, "df", "echo Filesystem", "echo disk 9 9 409600 9% /")
    code, line = install(checkout, **table)
    assert code == 1 and "400 MB are free. Make room" in line


def fake_python(folder, versions, uname="Linux", free=409600):
    """A Python 3.13 whose pip knows these versions of torch, on a disk with this room, in kB.

    What it is asked to install it notes in the file `asked`.
    """
    program(folder, "df", "echo Filesystem", f"echo disk 9 9 {free} 9% /")
    program(folder, "uname", f"echo {uname}")
    return program(
        folder,
        "python3",
        'case "$*" in',
        "*print*version_info*) echo 3.13.0 ;;",
        f"*_base_executable*) echo '{folder}/bin/python3' ;;",
        "*venv\\ .venv) mkdir -p .venv/bin .venv/lib/python3.13/site-packages",
        '    echo "$PWD" >.venv/lib/python3.13/site-packages/fmlib.pth',
        '    cp "$0" .venv/bin/python ;;',
        f"*index\\ versions*) echo 'Available versions: {versions}' ;;",
        '*pip\\ install*) echo "$*" >>asked ;;',
        "esac",
    )


NVIDIA = "torch comes in its build for NVIDIA cards: 3 GB to download, 5.4 GB on disk"


def install_with(folder, **variables):
    """Like install, but returns all lines, with what pip was asked for."""
    run = subprocess.run(
        ["sh", str(folder / "tools" / "install.sh")],
        env={**os.environ, "PYTHON": "python3", **variables},
        capture_output=True,
        encoding="utf-8",
    )
    asked = folder / "asked"
    return run.returncode, run.stderr, asked.read_text(encoding="utf-8") if asked.exists() else ""


def test_gigabytes_are_told_before_they_are_downloaded(checkout):
    """The line comes first: where there is no room for them, nothing has been asked for."""
    paths = fake_python(checkout, "2.15.0, 2.13.0, 2.12.1", free=5_000_000)
    code, told, asked = install_with(checkout, **paths)
    assert code == 1 and asked == "" and told.count(NVIDIA) == 1
    assert "PIP_EXTRA_INDEX_URL=<the address" in told and "about 8500 MB" in told.splitlines()[-1]
    paths = fake_python(checkout, "2.15.0, 2.13.0, 2.12.1", free=20_000_000)
    code, told, asked = install_with(checkout, **paths)
    assert code == 0 and told.count("\n") == 1 and NVIDIA in told
    assert "-r requirements.lock" in asked
    assert next(checkout.glob(".venv/lib/*/*/fmlib.pth")).read_bytes() == b"../../../..\n"


@pytest.mark.parametrize(
    "versions, uname",
    [("2.14.0, 2.13.0+cpu, 2.13.0", "Linux"), ("2.14.0, 2.13.0", "Darwin")],
)
def test_the_small_build_is_no_news(checkout, versions, uname):
    paths = fake_python(checkout, versions, uname, free=3_000_000)
    code, told, asked = install_with(checkout, **paths)
    assert (code, told) == (0, "") and "-r requirements.lock" in asked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_checkout_that_cannot_be_written_to(checkout):
    checkout.chmod(0o555)
    code, line = install(checkout)
    checkout.chmod(0o755)
    assert code == 1 and line.startswith("make: cannot write in")


def test_another_build_is_running(checkout):
    (checkout / ".venv.lock").mkdir()
    (checkout / ".venv.lock" / "pid").write_text(str(os.getpid()), encoding="utf-8")
    code, line = install(checkout)
    assert code == 1 and f"process {os.getpid()}" in line
    assert (checkout / ".venv.lock").exists()


def test_no_network_after_a_build_that_was_killed(checkout):
    (checkout / ".venv.lock").mkdir()  # what a killed build leaves behind
    (checkout / ".venv.lock" / "pid").write_text("999999999", encoding="utf-8")
    (checkout / ".venv").mkdir()
    code, line = install(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert code == 1 and "the installation failed, see build/install.log" in line
    assert "No matching distribution" in (checkout / "build" / "install.log").read_text(
        encoding="utf-8"
    )
    assert not (checkout / ".venv.lock").exists()
    assert not (checkout / ".venv" / "complete").exists()


in_our_environment = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="not the environment of make"
)


@in_our_environment
def test_python_starts_in_a_folder_of_any_name_and_a_locale_of_no_letters():
    """It reads *.pth by the locale, whatever PYTHONUTF8 says."""
    files = list((ROOT / ".venv").glob("lib/*/site-packages/*.pth"))
    assert "fmlib.pth" in [file.name for file in files]
    assert [file.name for file in files if not file.read_bytes().isascii()] == []
    command = [sys.executable, "-c", "import fmlib; print(fmlib.__file__.encode())"]
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "1"}
    run = subprocess.run(command, capture_output=True, encoding="utf-8", env=env, cwd="/")
    assert run.stdout.strip() == repr(os.fsencode(ROOT / "fmlib" / "__init__.py")), run.stderr


@in_our_environment
def test_a_second_call_does_nothing(tmp_path):
    full = program(tmp_path, "df", "echo Filesystem", "echo disk 9 9 0 9% /")  # should it build...
    stamp = ROOT / ".venv" / "complete"
    before = stamp.stat().st_mtime_ns
    command = [sys.executable, "-c", "import sys; print(sys._base_executable)"]
    python = subprocess.run(command, capture_output=True, encoding="utf-8").stdout.strip()
    assert install(ROOT, python, **full) == (0, "")
    assert stamp.stat().st_mtime_ns == before
