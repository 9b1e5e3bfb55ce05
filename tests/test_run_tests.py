"""tools/run_tests.py: all stages run, and the end says what each came to."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import run_tests  # noqa: E402


def module(folder, name, status):
    """A module that notes that it ran, and ends with this exit status."""
    code = f"import sys; open({str(folder / 'ran')!r}, 'ab').write(b'{name} '); sys.exit({status})"
    (folder / f"{name}.py").write_text(code, encoding="utf-8")


def test_a_red_stage_hides_no_other(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, status in [("one", 1), ("two", 0), ("three", 0), ("four", 5)]:
        module(tmp_path, name, status)
    stages = {"lint": [["one"], ["two"]], "unit tests": [["three"]], "lessons": [["four"]]}
    assert run_tests.main(stages) == 1
    assert (tmp_path / "ran").read_bytes() == b"one two three four "
    told = [line.split() for line in capfd.readouterr().out.splitlines() if line]
    assert [line[:-2] for line in told] == [
        ["lint", "FAILED"], ["unit", "tests", "ok"], ["lessons", "FAILED"]
    ]  # fmt: skip


def test_all_ok(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module(tmp_path, "fine", 0)
    assert run_tests.main({"lint": [["fine"]]}) == 0
    assert "FAILED" not in capfd.readouterr().out


def test_the_stages_are_lint_tests_and_lessons():
    what = {name: [" ".join(command) for command in s] for name, s in run_tests.STAGES.items()}
    assert what["lint"] == ["ruff check", "ruff format --check"]
    (tests,), (lessons,) = what["unit tests"], what["lessons"]
    assert "--cov-fail-under=95" in tests and tests.endswith(" tests")
    assert " --nbval " in lessons and lessons.endswith(" notebooks")
