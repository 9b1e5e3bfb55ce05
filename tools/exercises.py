"""Make the learner's notebooks from the solutions (`make exercises`), and nbgrader's course.

A cell tagged `mended` is left out: the cell before it holds the code with a bug, for the learner to
mend. What stands between nbgrader's marks becomes a stub. Then the notebook is run, and of its
outputs those of the checks are kept: they say that nothing was attempted yet.
"""

import argparse
import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import run_notebooks

from fmlib.stored import replace

ROOT = run_notebooks.ROOT
FOLDER = ROOT / "notebooks" / "exercises"
COURSE = ROOT / "build" / "classroom"
CODE_STUB, TEXT_STUB = "raise NotImplementedError", "*Your answer.*"
REGION = re.compile(r"^([ \t]*)(?:###|<!--) BEGIN SOLUTION.*?END SOLUTION[^\n]*$", re.M | re.S)
CONFIG = f"""\
c = get_config()
c.CourseDirectory.course_id = "flow_matching"
c.ClearSolutions.code_stub = {{"python": {CODE_STUB!r}}}
c.ClearSolutions.text_stub = {TEXT_STUB!r}
c.Execute.timeout = c.Execute.startup_timeout = {run_notebooks.HALF_AN_HOUR}
"""


def is_check(cell):
    """Whether a cell is one that nbgrader scores by its outcome."""
    marks = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and marks.get("grade", False)


def checked(path):
    """The calls in a notebook's check cells: the check's name -> the names of the answers."""
    cells = nbformat.read(path, as_version=4).cells
    last = [cell.source.splitlines()[-1] for cell in cells if is_check(cell)]
    calls = [re.fullmatch(r"(check_\w+)\((.+)\)", line) for line in last]
    return {call[1]: call[2].split(", ") for call in calls}


def solved(path):
    """What the code cells of a solutions notebook define, its checks left out."""
    names = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and not is_check(cell):
            exec(compile(cell.source, f"<{path.stem}>", "exec"), names)
    return names


def with_bugs(notebook):
    """A copy without the cells that mend a bug."""
    notebook = copy.deepcopy(notebook)
    mended = [cell for cell in notebook.cells if "mended" in cell.metadata.get("tags", [])]
    notebook.cells = [cell for cell in notebook.cells if cell not in mended]
    return notebook


def stubbed(notebook):
    """The learner's copy: no solutions, no outputs."""
    notebook = with_bugs(notebook)
    for cell in notebook.cells:
        stub = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
        cell.source = REGION.sub(lambda found, stub=stub: found[1] + stub, cell.source)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def derive(path, folder):
    """Write the learner's copy of the solutions at path into folder; return where it is."""
    target = folder / path.name
    folder.mkdir(parents=True, exist_ok=True)
    text = nbformat.writes(stubbed(nbformat.read(path, as_version=4))).encode()
    with tempfile.TemporaryDirectory() as place:  # it runs elsewhere: a copy on disk is whole
        blank = Path(place) / path.name
        blank.write_bytes(text)
        notebook = run_notebooks.tidy(run_notebooks.execute(blank))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = cell.outputs if is_check(cell) else []
    replace(target, nbformat.writes(notebook).encode() + b"\n")
    return target


def solutions(only=""):
    return run_notebooks.lessons(f"solutions/{only}")


def lay_out(paths, course=COURSE):
    """Make nbgrader's course: the source of each lesson's exercises, and the release for a class.

    What students handed in, and their grades, are left alone.
    """
    course.mkdir(parents=True, exist_ok=True)
    (course / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    for path in paths:
        name = path.stem
        source = course / "source" / name
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        nbformat.write(with_bugs(nbformat.read(path, as_version=4)), source / path.name)
        nbgrader(course, "generate_assignment", name, "--force")


def nbgrader(course, *arguments):
    """Run one of nbgrader's commands in a course; exits with its last lines if it fails."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    # The kernel's own interpreter comes first in the search path, whatever else is installed.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = os.environ | {"PATH": path, "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(command, cwd=course, capture_output=True, encoding="utf-8", env=env)
    if run.returncode:
        raise SystemExit(f"nbgrader {arguments[0]} failed:\n{(run.stdout + run.stderr)[-2000:]}")
    return run.stdout + run.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="?", default="", help="a lesson's number, such as 04")
    parser.add_argument("--classroom", action="store_true", help="lay out nbgrader's course")
    options = parser.parse_args()
    paths = solutions(options.only)
    if not paths:
        raise SystemExit(f"no solutions start with {options.only!r}")
    if options.classroom:
        lay_out(paths)
        print(f"{COURSE.relative_to(ROOT)}: source/ and release/ of {len(paths)} lesson(s)")
        return
    for path in paths:
        try:
            print(derive(path, FOLDER).relative_to(ROOT))
        except run_notebooks.FAILURES as error:
            raise SystemExit(f"{path.name}: a cell stops that no check is in\n{error}") from None


if __name__ == "__main__":
    main()
