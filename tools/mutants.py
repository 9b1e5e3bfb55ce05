"""Show that claims can fail: run the cells that a claim needs, as they are and changed.

    .venv/bin/python tools/mutants.py 07          every mutant of lesson 07, with its seconds
    .venv/bin/python tools/mutants.py 07 "a name" one of them

A mutant is a small change of a lesson under which one of its sentences is false; its claim, an
assert or an assert_close, then has to fail. They are stored in tests/mutants/NN.toml. The book
shows them to readers.
"""

import ast
import dis
import functools
import io
import multiprocessing
import os
import sys
import time
import tomllib
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

import nbformat

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "mutants"
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
HEAVY = ["torch", "matplotlib.pyplot", "sklearn.datasets", "fmlib.plotting", "fmlib.metrics"]


@dataclass(frozen=True)
class Mutant:
    """A change of a lesson, and the claim that it makes false."""

    name: str
    says: str  # the claim, as a sentence
    change: str  # the change, in words
    cell: str  # id of the cell that is changed
    find: str  # occurs there once
    put: str  # what stands in its place
    claim: str  # a piece of the assert that has to fail, or of the comment behind it
    claim_cell: str = ""  # id of the assert's cell; `cell` if nothing is said
    also: tuple = ()  # ids of cells that the claim needs and no name shows: they work in place

    def __post_init__(self):
        object.__setattr__(self, "claim_cell", self.claim_cell or self.cell)
        object.__setattr__(self, "also", tuple(self.also))


def mutants(path):
    """The mutants of a lesson, in the order of its file."""
    file = FOLDER / f"{path.stem[:2]}.toml"
    if not file.exists():
        return []
    return [Mutant(**row) for row in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]]


@functools.cache
def sources(path):
    """The code of a lesson's cells by their ids, in order."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id: cell.source for cell in cells if cell.cell_type == "code"}


def apply(cells, mutant):
    """The cells with the change made; raises ValueError unless it is possible in one way only."""
    found = cells[mutant.cell].count(mutant.find)
    if found != 1:
        raise ValueError(f"{mutant.name}: {mutant.find!r} is {found} times in cell {mutant.cell}")
    return cells | {mutant.cell: cells[mutant.cell].replace(mutant.find, mutant.put)}


# Which cells does a claim need?


def names_of(code):
    """The names that a cell looks up before it binds them, those that it binds, and those that its
    functions look up, whenever they are called; of its bytecode."""
    looked_up, bound, late = set(), set(), set()
    for step in dis.get_instructions(code):
        if isinstance(step.argval, CodeType):
            inner = names_of(step.argval)[0] - bound
            looked_up |= inner
            late |= set() if step.argval.co_name in COMPREHENSIONS else inner
        elif step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            bound.add(step.argval)
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL") and step.argval not in bound:
            looked_up.add(step.argval)
    return looked_up, bound, late


def changed_in_place(tree):
    """The names whose objects a cell changes: x[k] = …, x.a = …, x.append(…) as a statement."""
    places = [node for node in ast.walk(tree) if isinstance(getattr(node, "ctx", None), ast.Store)]
    places = [node for node in places if isinstance(node, ast.Subscript | ast.Attribute)]
    calls = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    places += [call.func for call in calls if isinstance(call, ast.Call)]
    found = set()
    for node in places:
        inner = isinstance(node, ast.Subscript | ast.Attribute)
        while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
            node = node.func if isinstance(node, ast.Call) else node.value
        if inner and isinstance(node, ast.Name):
            found.add(node.id)
    return found


def imported(tree):
    """The names that a cell binds by import; to call a module's function changes no object."""
    imports = (n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom))
    return {(a.asname or a.name).partition(".")[0] for node in imports for a in node.names}


def needed(cells, claim_cell, also=()):
    """The ids of the cells that a claim needs, in order: the lesson's first one and, from the
    claim's cell upward, each that binds or changes what a later one of them looks up."""
    ids = list(cells)
    trees = {key: ast.parse(source) for key, source in cells.items()}
    modules = set().union(*map(imported, trees.values()))
    names = {key: names_of(compile(cells[key], key, "exec")) for key in ids}
    chosen, before = {ids[0], claim_cell, *also}, None
    while chosen != before:  # a function may look up what is bound below it
        before, wanted = set(chosen), set().union(*(names[key][2] for key in chosen))
        for key in reversed(ids[: ids.index(claim_cell) + 1]):
            looked_up, bound, _ = names[key]
            if key in chosen or wanted & (bound | (changed_in_place(trees[key]) - modules)):
                chosen.add(key)
                wanted = (wanted - bound) | looked_up
    return [key for key in ids if key in chosen]


# Running them.


def is_assert(node):
    """Is this statement an assert, or a call of assert_close?"""
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return isinstance(node, ast.Assert) or (
        call and getattr(node.value.func, "attr", "") == "assert_close"
    )


def the_assert(source, claim):
    """The first and last line of the assert, in a cell's code, on whose lines the claim stands."""
    lines = source.splitlines()
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if is_assert(node) and claim in "\n".join(lines[node.lineno - 1 : node.end_lineno])
    ]
    if len(found) != 1:
        raise ValueError(f"{claim!r} is on the lines of {len(found)} asserts, not of one")
    return found[0].lineno, found[0].end_lineno


class Without(ast.NodeTransformer):
    """Leaves out all asserts but those that begin on the lines to keep; None keeps all."""

    def __init__(self, keep):
        self.keep = keep

    def generic_visit(self, node):
        if is_assert(node) and self.keep is not None and node.lineno not in self.keep:
            return ast.copy_location(ast.Pass(), node)
        return super().generic_visit(node)


def run(folder, cells, claim_cell, keep):
    """Run cells, id -> code, in this process, with the claim's cell's asserts on the lines `keep`.

    Returns the line of the assert that failed, or None.  Whatever else goes wrong is raised.
    """
    import matplotlib

    matplotlib.use("agg")
    os.chdir(folder)
    namespace = {"__name__": "__main__"}
    for key, source in cells.items():
        tree = Without(keep if key == claim_cell else ()).visit(ast.parse(source))
        code = compile(ast.fix_missing_locations(tree), key, "exec")
        try:
            with redirect_stdout(io.StringIO()):
                exec(code, namespace)
        except AssertionError as error:
            calls = [
                (f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)
            ]
            lines = [line for file, line in calls if file == claim_cell]
            if not lines:
                raise
            return lines[-1]
    return None


def in_a_process(*arguments):
    """run(), in a process of its own that has loaded the packages already."""
    os.environ["TQDM_DISABLE"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with context.Pool(1) as pool:
        return pool.apply(run, arguments)


@functools.cache
def as_it_is(path, claim_cell, also=()):
    """Run what a claim needs, unchanged: the line of the first assert of its cell that fails."""
    cells = sources(path)
    chosen = {key: cells[key] for key in needed(cells, claim_cell, also)}
    return in_a_process(path.parent, chosen, claim_cell, None)


def verdict(path, mutant):
    """What is wrong with a mutant, in words; "" if its claim holds, and once changed fails."""
    cells = sources(path)
    line = as_it_is(path, mutant.claim_cell, mutant.also)
    if line is not None:
        return f"unchanged, the assert on line {line} of cell {mutant.claim_cell} fails"
    cells = apply(cells, mutant)
    chosen = {key: cells[key] for key in needed(cells, mutant.claim_cell, mutant.also)}
    if mutant.cell not in chosen:
        return f"the claim does not need cell {mutant.cell}"
    start, end = the_assert(cells[mutant.claim_cell], mutant.claim)
    line = in_a_process(path.parent, chosen, mutant.claim_cell, range(start, start + 1))
    return "" if line is not None and start <= line <= end else "changed, the claim still holds"


def main(number, name=None):
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    wrong = 0
    for mutant in mutants(path):
        if name in (None, mutant.name):
            start = time.perf_counter()
            said = verdict(path, mutant)
            wrong += said != ""
            seconds = time.perf_counter() - start
            print(
                f"{mutant.name:40s} {seconds:6.1f} s  {said or 'fails, as it has to'}", flush=True
            )
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
