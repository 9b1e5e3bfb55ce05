"""What has to agree across files: packages, versions, the Python range, the order of imports."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ["requirements.lock", "requirements-classroom.lock", "requirements-book.lock"]
PEERS, WEB = "tests/peers/requirements.lock", "tests/web/requirements.lock"
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
FLOORS = {
    **dict.fromkeys(("shapes", "stored"), 0),
    **dict.fromkeys(("paths", "couplings", "solvers", "models", "data", "metrics"), 1),
    **dict.fromkeys(("exact", "losses", "diffusion", "predictions"), 2),
    **dict.fromkeys(("plotting", "training"), 3),
    **dict.fromkeys(("widgets", "explorables", "exercises", "tiny_flux"), 4),
    "challenge": 5,
}


def direct():
    """name -> specifier for every package that pyproject.toml asks for."""
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r.specifier for r in found}


def locked(file="requirements.lock"):
    """name -> version for every line of a lock file."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(r.name): [s.version for s in r.specifier] for r in found}
    assert all(len(v) == 1 for v in versions.values()), "every line of the lock pins one version"
    return {name: v[0] for name, v in versions.items()}


def conda():
    """name -> specifier for environment.yml, under pip's names, python and pip left out."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    found = [Requirement(line) for line in lines if isinstance(line, str) and line != "pip"]
    named = {canonicalize_name(CONDA_NAMES.get(r.name, r.name)): r.specifier for r in found}
    assert named.pop("python") == SpecifierSet(PROJECT["requires-python"])
    return named


def test_the_lock_holds_what_the_project_asks_for():
    versions = locked()
    for name, specifier in direct().items():
        assert versions[name] in specifier, name


def test_conda_and_pip_ask_for_the_same_packages():
    assert conda() == direct()


def test_conda_installs_fmlib_itself_by_pip():
    *_, last = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
        "dependencies"
    ]
    assert last == {"pip": ["-e ."]}  # pip takes few options in such a list, --no-deps not


def test_torch_is_pinned_to_one_version_everywhere():
    assert str(direct()["torch"]) == str(conda()["torch"]) == "==2.13.0"
    assert locked()["torch"] == "2.13.0"


@pytest.mark.parametrize("file", [*LOCKS, PEERS, WEB])
def test_a_lock_names_no_place_of_its_making(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = "\n".join(line for line in lines if not line.startswith("#"))
    assert not re.search(r"https?://|file://|--|/", pins)


def test_no_package_stands_in_two_locks():
    """So that none of them changes what another one has installed."""
    count = Counter(name for file in [*LOCKS, PEERS, WEB] for name in locked(file))
    assert [name for name, n in count.items() if n > 1] == []


def test_what_is_installed_is_what_is_locked():
    for file in [*LOCKS, PEERS]:
        for name, version in locked(file).items():
            installed = importlib.metadata.version(name)
            assert installed.split("+")[0] == version, name


def test_ci_runs_both_kinds_of_tests():
    ours = (ROOT / ".ci/run").read_text(encoding="utf-8")
    theirs = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    for command in ("make test", "make test-web"):
        assert re.search(rf"^{command} \|\| status=1$", ours, re.M)
        assert re.search(rf"- run: {command}\b", theirs)


def test_the_locks_hold_what_the_book_needs():
    """They are installed without dependencies, so nothing else would notice that one is missing."""
    versions = {name: version for file in LOCKS for name, version in locked(file).items()}
    for name in locked("requirements-book.lock"):
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert versions[canonicalize_name(needed.name)] in needed.specifier, (name, line)


def supported_pythons():
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    return [f"3.{minor}" for minor in range(int(low), int(high))]


@pytest.mark.parametrize("python", supported_pythons())
def test_every_locked_package_runs_on(python):
    for name in [name for file in LOCKS for name in locked(file)]:
        requires = importlib.metadata.metadata(name).get("Requires-Python")
        assert requires is None or f"{python}.9" in SpecifierSet(requires), name


def test_readme_and_ci_name_the_same_pythons():
    first, *_, last = supported_pythons()
    assert f"Python {first} to {last}" in (ROOT / "README.md").read_text(encoding="utf-8")
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert ci["jobs"]["test"]["strategy"]["matrix"]["python"] == supported_pythons()


def test_contributing_says_why_for_each_package():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in direct():
        assert re.search(rf"^\| {re.escape(name)} \| .{{20,}} \|$", text, re.M | re.I), name


def test_imports_inside_fmlib_run_downward_only():
    for file in (ROOT / "fmlib").rglob("*.py"):
        module = file.relative_to(ROOT / "fmlib").with_suffix("").parts[0]
        if module == "__init__":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                other = name.split(".")[1] if name and name.startswith("fmlib.") else module
                if other != module:
                    assert FLOORS[other] < FLOORS[module], f"{module} imports {name}"


def test_the_peers_serve_tests_only():
    peers = re.compile(r"\b(import|from) (flow_matching|torchcfm|diffusers)\b")
    files = [*(ROOT / "fmlib").rglob("*.py"), *(ROOT / "notebooks").rglob("*.ipynb")]
    assert len(files) > 15
    assert [f.name for f in files if peers.search(f.read_text(encoding="utf-8"))] == []


def test_import_fmlib_loads_torch_and_nothing_else_heavy():
    code = (
        "import sys, torch; before = set(sys.modules); import fmlib; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split()) <= {"fmlib"}


SOURCES = sorted((ROOT / "fmlib").rglob("*.py"))
each_source = pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())


@each_source
def test_a_file_has_less_than_300_lines(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) < 300


def length(function):
    """The lines of a function, those of its docstring left out."""
    first, lines = function.body[0], function.end_lineno - function.lineno + 1
    return lines - (first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0)


@each_source
def test_a_function_has_less_than_40_lines(file):
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert {f.name: length(f) for f in functions if length(f) >= 40} == {}


def imported(code):
    """The modules of fmlib that a piece of Python imports."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("fmlib.")} & FLOORS.keys()


def test_every_module_serves_a_lesson_or_an_exercise():
    used = set()
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        used = used.union(*(imported(c.source) for c in cells if c.cell_type == "code"))
    for file in SOURCES:  # what such a module is made of serves it, too
        if file.relative_to(ROOT / "fmlib").with_suffix("").parts[0] in used:
            used |= imported(file.read_text(encoding="utf-8"))
    assert used == FLOORS.keys()


def test_every_module_has_its_floor():
    names = {file.relative_to(ROOT / "fmlib").with_suffix("").parts[0] for file in SOURCES}
    assert names - {"__init__"} == FLOORS.keys()


# Files are UTF-8 whatever the locale, for a reader who does not come through make, too.

OURS = [
    ROOT / "conftest.py",
    *(
        f
        for d in ("fmlib", "tools", "tests", "benchmarks", "book")
        for f in (ROOT / d).rglob("*.py")
    ),
]


def by_locale(code):
    """The lines that read or write text in whatever encoding the locale has."""
    found = []
    for node in (n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call)):
        words = {word.arg: word.value for word in node.keywords}
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        mode = words.get("mode", node.args[1] if len(node.args) > 1 else ast.Constant("r"))
        opens = isinstance(node.func, ast.Name) and name == "open" and "b" not in ast.unparse(mode)
        text = ast.unparse(words.get("text", node)) == "True"
        if (opens or text or name in ("read_text", "write_text")) and "encoding" not in words:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_file_is_read_by_the_locale(file):
    assert by_locale(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ["p.read_text()", "p.write_text(x)", "open(p)", "open(p, 'w')", "run([], text=True)"],
)
def test_what_is_read_by_the_locale_is_found(line):
    assert by_locale(f"x = 1\n{line}") == [2]


def test_what_is_no_text_or_names_its_encoding_is_not():
    assert by_locale("open(p, 'rb'); page.open(p); p.read_text(encoding='utf-8'); run([])") == []


def make(*arguments, **variables):
    """Run make in the checkout; return its output."""
    command = ["make", "-s", "-C", str(ROOT), *arguments]
    env = os.environ | variables
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env=env, check=True
    ).stdout


def test_make_keeps_asserts_and_reads_utf_8(tmp_path):
    """Whatever stands in the environment that it is called from."""
    rules = tmp_path / "rules"
    code = "import sys; print(__debug__, open(sys.argv[1]).encoding)"
    rules.write_text(f"probe:\n\t@'{sys.executable}' -c '{code}' Makefile\n", encoding="utf-8")
    out = make("-f", "Makefile", "-f", str(rules), "probe", PYTHONOPTIMIZE="1", LC_ALL="C")
    assert out.split() == ["True", "utf-8"]


@pytest.mark.parametrize("command", [["tools/run_tests.py"], ["tools/run_notebooks.py", "99"]])
def test_a_tool_refuses_to_run_without_asserts(command):
    run = subprocess.run([sys.executable, "-O", *command], capture_output=True, cwd=ROOT)
    assert run.returncode == 1 and b"asserts are switched off" in run.stderr.splitlines()[-1]


def test_pytest_refuses_to_run_without_asserts():
    command = [sys.executable, "-O", "-m", "pytest", "tests/test_init.py"]
    run = subprocess.run(command, capture_output=True, cwd=ROOT)
    assert run.returncode != 0 and b"asserts are switched off" in run.stdout + run.stderr
