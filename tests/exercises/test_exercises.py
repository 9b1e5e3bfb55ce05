"""Each lesson's exercises: the solutions pass, the learner's copies hold none of them."""

import re
import sys

import nbformat
import pytest
from solved import ROOT, SOLUTIONS, checked, checks_of, exercises, read, verdict

from fmlib.exercises import guard

sys.path.insert(0, str(ROOT / "benchmarks"))
import checks

each = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem[:2])


def marks(cell):
    return cell.metadata.get("nbgrader", {})


def learners(path):
    return exercises.FOLDER / path.name


@each
def test_no_check_asks_for_much(path, capsys):
    """Counted, since seconds belong to the machine; `make bench` has them as a ratio."""
    for name, (check, answers) in checks.solved_checks(path).items():
        evaluations, calls = checks.counts(check, answers)
        assert evaluations <= 250, name
        assert calls <= 80_000, name  # of torch; most are the solution's own
        assert capsys.readouterr().out.count("\n") == 1, name


@each
def test_every_check_tells_what_is_no_answer(path, monkeypatch):
    def stub(*arguments):
        raise NotImplementedError

    def broken(*arguments):
        raise KeyError("x")

    def forever(*arguments):
        while True:
            pass

    for name, (check, answers) in checks.solved_checks(path).items():

        def told(answer, check=check, answers=answers):
            return verdict(check, *[answer for _ in answers])

        assert told(stub) == "not-attempted", name
        assert told(lambda *arguments: None) == "returns-none", name
        assert told(broken) == "raises", name
        with monkeypatch.context() as patch:
            patch.setitem(vars(guard), "LIMIT", 0.01)
            assert told(forever) == "too-slow", name


@each
def test_the_module_has_the_checks_that_the_notebook_calls(path):
    module = checks_of(path.name[:2])
    assert {name for name in vars(module) if name.startswith("check_")} == set(checked(path))


@each
def test_every_cell_is_marked_as_nbgrader_needs_it(path):
    cells = read(path).cells
    ids = [marks(cell)["grade_id"] for cell in cells if marks(cell)]
    assert len(set(ids)) == len(ids) and len(checked(path)) == sum(map(exercises.is_check, cells))
    for before, cell in zip([None, *cells], cells, strict=False):
        tags, mark = cell.metadata.get("tags", []), marks(cell)
        regions = cell.source.count("BEGIN SOLUTION")
        assert not mark or mark["schema_version"] == 3 and mark["task"] is False
        assert mark.get("solution", False) == (regions == 1) and regions < 2, cell.source
        assert ("points" in mark) == mark.get("grade", False) and mark.get("points", 1) > 0
        assert mark.get("locked", False) != mark.get("solution", not mark)
        assert ("raises-exception" in tags) == exercises.is_check(cell)
        if exercises.is_check(cell):  # a learner's own function of this name is not called
            name = re.search(r"^(check_\w+)\(", cell.source, re.M)[1]
            assert cell.source.startswith(
                f"from fmlib.exercises.lesson_{path.name[:2]} import {name}\n"
            )
        if "mended" in tags:
            assert not mark and not marks(before) and before.cell_type == "code"


@each
def test_there_are_exercises_of_all_kinds(path):
    cells = read(path).cells
    titles = [line for cell in cells for line in cell.source.splitlines() if line.startswith("## ")]
    stars = [re.fullmatch(r"## \d\. .+ (★{1,3})", line)[1] for line in titles]
    assert len(stars) >= 4 and {len(s) for s in stars} == {1, 2, 3}
    assert any("mended" in cell.metadata.get("tags", []) for cell in cells), "spot the bug"
    total = sum(marks(cell).get("points", 0) for cell in cells)
    assert f"{total} points" in cells[0].source


@each
def test_the_lesson_links_to_its_exercises_and_back(path):
    lesson = ROOT / "notebooks" / path.name
    last = [cell.source for cell in read(lesson).cells if cell.cell_type == "markdown"][-1]
    assert f"(exercises/{path.name})" in last
    assert f"(../{path.name})" in read(path).cells[0].source
    for cell in read(path).cells:
        if cell.source.startswith("## "):
            link = rf"^\*Rests on \[sections? \d[^]]*\]\(\.\./{path.name}\)"
            assert re.search(link, cell.source, re.M), cell.source


# The learner's copies.


def test_there_is_one_for_each_solutions_notebook():
    assert sorted(file.name for file in exercises.FOLDER.iterdir()) == [p.name for p in SOLUTIONS]


@each
def test_it_is_what_make_exercises_writes(path, tmp_path):
    """It runs to its end, too: a cell that stops, and is no check, makes derive() raise."""
    again = exercises.derive(path, tmp_path / "exercises")
    assert again.read_bytes() == learners(path).read_bytes(), "make exercises writes it"


@each
def test_its_checks_say_not_attempted_yet_and_nothing_else_shows_an_output(path):
    solution, found = read(path), []
    for cell in read(learners(path)).cells:
        if exercises.is_check(cell):
            (output,) = cell.outputs
            assert output.output_type == "error" and len(output.traceback) <= 4
            found.append(output.ename)
            last = "not attempted yet" if output.ename == "NotAttempted" else "Look at this"
            assert last in output.traceback[-1] and "Error" not in output.traceback[0]
        else:
            assert not cell.get("outputs") and cell.get("execution_count") is None
    bugs = [cell for cell in solution.cells if "mended" in cell.metadata.get("tags", [])]
    assert found.count("CheckFailed") == len(bugs)
    assert found.count("NotAttempted") == len(checked(path)) - len(bugs)


@each
def test_it_holds_no_solution(path):
    text = learners(path).read_text(encoding="utf-8")
    assert "SOLUTION" not in text and "mended" not in text
    notebook = read(learners(path))
    shown = {line.strip() for cell in notebook.cells for line in cell.source.splitlines()}
    solution, secret = read(path), []
    for before, cell in zip([None, *solution.cells], solution.cells, strict=False):
        lines = [line.strip() for line in cell.source.splitlines()]
        if "mended" in cell.metadata.get("tags", []):
            secret += set(lines) - {line.strip() for line in before.source.splitlines()}
        elif marks(cell).get("solution"):
            begin, end = (
                next(i for i, s in enumerate(lines) if f"{w} SOLUTION" in s)
                for w in ("BEGIN", "END")
            )
            secret += filter(None, lines[begin + 1 : end])
    assert len(secret) > 10 and shown & set(secret) == set()
    whole = nbformat.writes(notebook).replace('\\"', '"')  # the metadata and the outputs as well
    assert [line for line in secret if len(line) > 12 and line in whole] == []
