"""A class hands in lesson 02 to nbgrader: perfect, blank, with mistakes, with forged checks."""

import importlib.metadata
import re

import nbformat
import pytest
from packaging.requirements import Requirement
from solved import ROOT, SOLUTIONS, checked, exercises, read

PATH = next(path for path in SOLUTIONS if path.stem.startswith("02_"))
NAME = PATH.stem
MISTAKES = {  # the cell -> what to put in place of what, in its solution
    "midpoint-step": ("t + 0.5 * h", "t"),
    "order": ("return -", "return "),
    "largest-h": ("return math.e / 4", "while True: pass"),
    "scaling-error": (".mean()", ".sum()"),
}


def grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def by_id(notebook):
    return {grade_id(cell): cell for cell in notebook.cells if grade_id(cell)}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classroom")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            patch.setenv(f"JUPYTER_{name}", str(folder / "jupyter" / name))
        patch.setenv("FMLIB_LIMIT", "10")  # for the loop that never ends: all else takes far less
        exercises.lay_out([PATH], folder)
        for student, change in STUDENTS.items():
            own = change in (perfect, blank)  # the repository's copy is as good to hand in
            notebook = read(exercises.FOLDER / PATH.name) if own else released(folder)
            change(notebook)
            copy = folder / "submitted" / student / NAME / PATH.name
            copy.parent.mkdir(parents=True)
            nbformat.write(notebook, copy)
        exercises.nbgrader(folder, "autograde", NAME)
    return folder


def released(folder):
    return read(folder / "release" / NAME / PATH.name)


def perfect(notebook):
    solution = read(PATH)
    solved = by_id(solution)
    for name, cell in by_id(notebook).items():
        if cell.metadata.nbgrader.solution:
            cell.source = solved[name].source
    for before, mended in zip(solution.cells, solution.cells[1:], strict=False):
        if "mended" in mended.metadata.get("tags", []):
            (cell,) = [cell for cell in notebook.cells if cell.source == before.source]
            cell.source = mended.source


def blank(notebook):
    pass


def mistakes(notebook):
    perfect(notebook)
    for name, (old, new) in MISTAKES.items():
        cell = by_id(notebook)[name]
        assert old in cell.source
        cell.source = cell.source.replace(old, new)


def forged(notebook):
    """Every check is replaced by one that always passes, for more points."""
    for cell in filter(exercises.is_check, notebook.cells):
        cell.source = re.sub(r"^from .*\n", "", cell.source)
        cell.source = re.sub(r"^(check_\w+)\(.*", r"print('✓')", cell.source)
        cell.metadata.nbgrader.points = 100
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for name in checked(PATH):
        cells[0].source += f"\n{name} = print"


STUDENTS = {"perfect": perfect, "blank": blank, "mistakes": mistakes, "forged": forged}


@pytest.fixture(scope="module")
def scores(course):
    """student -> cell -> points from the checks; None where a person has to grade."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return {
            student: {
                grade.name: None if grade.needs_manual_grade else grade.auto_score
                for grade in book.find_submission_notebook(NAME, NAME, student).grades
            }
            for student in STUDENTS
        }


POINTS = {
    grade_id(cell): float(cell.metadata.nbgrader.points)
    for cell in read(PATH).cells
    if exercises.is_check(cell)
}
TEXTS = {
    grade_id(cell)
    for cell in read(PATH).cells
    if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("grade")
}


def test_the_release_is_the_learners_copy(course):
    sources = [
        [cell.source for cell in nb.cells]
        for nb in (released(course), read(exercises.FOLDER / PATH.name))
    ]
    assert sources[0] == sources[1]
    assert "SOLUTION" not in nbformat.writes(released(course))


def test_a_perfect_copy_gets_all_points_and_its_texts_wait_for_a_person(scores):
    assert scores["perfect"] == POINTS | dict.fromkeys(TEXTS)


def test_a_blank_copy_gets_none(scores):
    assert scores["blank"] == dict.fromkeys([*POINTS, *TEXTS], 0.0)


def test_each_mistake_costs_the_points_of_its_check_only(scores):
    lost = {f"check-{name}" for name in MISTAKES}
    wanted = {name: 0.0 if name in lost else points for name, points in POINTS.items()}
    assert scores["mistakes"] == wanted | dict.fromkeys(TEXTS)


def test_forged_checks_change_nothing(scores):
    assert scores["forged"] == scores["blank"]


def test_laying_it_out_again_keeps_what_was_handed_in_and_the_grades(course):
    exercises.lay_out([PATH], course)
    assert (course / "submitted" / "perfect" / NAME / PATH.name).exists()
    assert (course / "autograded" / "blank" / NAME / PATH.name).exists()


def test_a_command_that_fails_says_why(course):
    with pytest.raises(SystemExit, match="nbgrader autograde failed:(.|\n)*no-such-lesson"):
        exercises.nbgrader(course, "autograde", "no-such-lesson")


def test_nbgrader_is_pinned_with_all_it_needs_and_nothing_that_the_lock_pins():
    def pinned(file):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        return {Requirement(s).name: s for s in lines if s and not s.startswith("#")}

    extra = pinned("requirements-classroom.lock")
    assert "nbgrader" in extra
    for name in extra:
        for line in importlib.metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert importlib.metadata.version(need.name) in need.specifier, (name, line)
