"""Do the checks of the exercises tell wrong answers from right ones? Change each solution, and see.

    .venv/bin/python tools/wrong_answers.py            all exercises, in a quarter of an hour
    .venv/bin/python tools/wrong_answers.py 04 median  those of lesson 04 with this in their name

A wrong answer is a solution with one small change: a sign, an operator, a term or a factor left
out, a constant, an argument swapped, dropped or ignored, a mean for a sum, the first row for all.
Each is checked in a process of its own, with a limit of processor time, as a learner's would be.
One that raises an error is no answer, and does not count. For each check it prints how many there
are, how many the check refuses, and those that pass, as differences. Some are right answers after
all: tests/exercises/passing.toml lists what may pass, with the reason.
"""

import argparse
import ast
import copy
import difflib
import importlib
import io
import multiprocessing
import resource
import sys
import tomllib
from contextlib import redirect_stdout
from functools import singledispatch

import nbformat
from exercises import ROOT, checked, solutions, solved

from fmlib.exercises import CheckFailed, guard

LIMIT = 30  # seconds of processor time; the slowest right answer takes three
PASSING = ROOT / "tests" / "exercises" / "passing.toml"
OTHER = {ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult]}
OTHER |= {ast.Lt: [ast.Gt], ast.Gt: [ast.Lt], ast.LtE: [ast.Gt], ast.GtE: [ast.Lt]}
NAMES = ["mean sum", "var std", "sin cos", "sinh cosh", "max min", "amax amin", "asin acos"]
NAMES += ["d_alpha d_sigma", "alpha sigma", "argmax argmin", "diff cumsum", "x_0 x_1", "zeros ones"]
NAMES = {a: b for pair in map(str.split, NAMES) for a, b in (pair, pair[::-1])}
ALONE = {"sqrt", "square", "exp", "log", "abs", "cosh", "sinh", "tan", "diff", "sort"}
ALONE |= {"deepcopy", "softmax", "flip", "clone"}  # a call of these may be left out
SOLVERS = ["euler", "midpoint", "heun", "rk4"]
# What an answer may make of an argument before it looks at it.
IGNORED = ["{0} = first_seen('{0}', {0})", "{0} = abs({0})", "{0} = -{0}", "{0} = 0 * {0}"]
IGNORED += [
    "{0} = 0 * {0} + 1",
    "{0} = {0}[:1].expand_as({0})",
    "{0} = {0}[:].mean(0).expand_as({0})",
]
IGNORED += ["{0} = {0}.clamp(-1, 1)", "{0} = {0}[:].sort(0).values", "{0} = min({0}, 2)"]
IGNORED += ["{0} = {0} * {0}"]  # seen by no check that knows 0 and 1 only
COUNTS = {"n", "nfe", "n_steps", "repeats"}  # of these alone the last one is a mistake
POSITIVE = COUNTS | {"t", "steps", "errors", "stds", "power", "s", "w", "b", "alpha", "sigma"}
POSITIVE |= {"ratio", "bend", "times", "a_k", "a_j", "share", "between", "within", "t_end", "e"}
SHIFTED = ["t = t + 0.5 * h", "t = t - 0.5 * h", "t = 0.9 * t + 0.05"]
RETURNED = ["-({})", "({})[:1].expand_as({})", "({}).abs()", "2 * ({})", "({}).round(decimals=2)"]


def first_seen_of():
    """A function that gives what it got first under a name, for the same shape."""
    seen = {}

    def first_seen(name, value):
        return seen.setdefault((name, getattr(value, "shape", ())), value)

    return first_seen


@singledispatch
def _expressions(node):
    """What may stand in place of an expression, nodes."""
    return ()


@_expressions.register
def _(node: ast.BinOp):
    others = [ast.BinOp(node.left, new(), node.right) for new in OTHER.get(type(node.op), ())]
    return [*others, node.left, *([] if isinstance(node.op, ast.Pow) else [node.right])]


@_expressions.register
def _(node: ast.UnaryOp):
    return [node.operand] if isinstance(node.op, ast.USub | ast.Not) else []


@_expressions.register
def _(node: ast.Compare):
    others = OTHER.get(type(node.ops[0]), ())
    return [ast.Compare(node.left, [new(), *node.ops[1:]], node.comparators) for new in others]


@_expressions.register
def _(node: ast.IfExp):
    return [node.body, node.orelse]


@_expressions.register
def _(node: ast.Attribute):
    return [ast.Attribute(node.value, NAMES[node.attr], node.ctx)] if node.attr in NAMES else []


@_expressions.register
def _(node: ast.Name):
    return [ast.Name(NAMES[node.id], node.ctx)] if node.id in NAMES else []


@_expressions.register
def _(node: ast.Slice):
    first = [ast.Slice(None, node.upper, node.step)] if node.lower else []
    return [*first, *([ast.Slice(node.lower, None, node.step)] if node.upper else [])]


@_expressions.register
def _(node: ast.Constant):
    return map(ast.Constant, _constants(node.value))


def _constants(value):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [name for name in SOLVERS if name != value] if value in SOLVERS else []
    if isinstance(value, int) and abs(value) < 100:  # a larger one is a grid's size
        return [value + 1, value - 1, *([2 * value] if value > 2 else [])]
    return [2 * value, 0.5 * value] if isinstance(value, float) else []


@_expressions.register
def _(node: ast.Call):
    function, args, keywords = node.func, node.args, node.keywords
    for i in range(len(args) - 1):  # two neighbours swapped
        yield ast.Call(function, [*args[:i], args[i + 1], args[i], *args[i + 2 :]], keywords)
    for i in range(len(args)):
        yield ast.Call(function, args[:i] + args[i + 1 :], keywords)
    for i in range(len(keywords)):
        if keywords[i].arg not in ("dtype", "keep", "strict"):  # these change no number
            yield ast.Call(function, args, keywords[:i] + keywords[i + 1 :])
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in ALONE:
        yield args[0] if args else function.value
    if name in ("range", "arange") and len(args) == 1:
        yield ast.Call(function, [ast.Constant(1), *args], keywords)
        yield ast.Call(function, [ast.BinOp(args[0], ast.Sub(), ast.Constant(1))], keywords)


def _of(name):
    """The lines that change something, for an argument of this name."""
    same = ["{0} = abs({0})", "{0} = -{0}", "{0} = {0}.clamp(-1, 1)"] if name in POSITIVE else []
    same += ["{0} = {0} * {0}"] if name in COUNTS else ["{0} = min({0}, 2)"]
    yield from (line for line in IGNORED if line not in same)


def _statements(function):
    """Changes of a whole function: of its arguments before it begins, of its loops, its result."""
    places = [a.arg for a in function.args.args]
    told = isinstance(function.body[0], ast.Expr)  # a docstring
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    before = [line.format(name) for name in places if name in used for line in _of(name)]
    for line in before + (SHIFTED if "t" in places else []):
        changed = copy.deepcopy(function)
        changed.body[told:told] = ast.parse(line).body
        yield changed
    for i, node in enumerate(ast.walk(function)):
        if isinstance(node, ast.For):
            yield _put(function, i, "body", slice(len(node.body), None), [ast.Break()])
    value = ast.unparse(function.body[-1].value)
    for form in RETURNED:
        changed = copy.deepcopy(function)
        changed.body[-1].value = ast.parse(form.replace("{}", value), mode="eval").body
        yield changed


def mutants(function):
    """All wrong answers made of a function, nodes, each another text."""
    texts = {ast.unparse(function)}
    for changed in [*_replaced(function), *_statements(function)]:
        text = ast.unparse(ast.fix_missing_locations(changed))
        if text not in texts:
            texts.add(text)
            yield text


def _replaced(function):
    for i, parent in enumerate(ast.walk(function)):
        for field, value in ast.iter_fields(parent):
            if isinstance(parent, ast.arguments):
                continue
            for k, node in enumerate(value if isinstance(value, list) else [value]):
                for new in _expressions(node) if isinstance(node, ast.AST) else ():
                    yield _put(function, i, field, k, new)


def _put(function, i, field, k, new):
    """A copy of a function, something new in a field, or a list's place k, of its i-th node."""
    function = copy.deepcopy(function)
    parent = list(ast.walk(function))[i]
    value = getattr(parent, field)
    if isinstance(value, list):
        value[k] = new
    else:
        setattr(parent, field, new)
    return function


def tried(names, text, check, answers):
    """In a process of its own: the hint that an answer gets, "" if it passes, None if it stops."""

    def look(pipe):
        resource.setrlimit(resource.RLIMIT_CPU, (3 * LIMIT, 3 * LIMIT))
        vars(guard)["LIMIT"] = LIMIT
        names["first_seen"] = first_seen_of()
        try:
            with redirect_stdout(io.StringIO()):
                exec(compile(text, "<answer>", "exec"), names)
                check(*(names[answer] for answer in answers))
            pipe.send("")
        except CheckFailed as error:
            pipe.send(None if error.name == "raises" else error.name)
        except Exception as error:  # of the check: it refuses, but has no words for it
            pipe.send(f"! {error!r}")

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=look, args=(there,))
    child.start()
    there.close()
    try:
        return here.recv()
    except EOFError:  # killed
        return "too-slow"
    finally:
        child.join()


def functions(path):
    """The functions of a lesson's solutions, by name: the last of each, so a bug is mended."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return {f.name: f for c in cells for f in ast.parse(c.source).body if hasattr(f, "args")}


def is_guess(function):
    """Whether an answer is a prediction, which may be any number."""
    last = function.body[-1]
    return not function.args.args and isinstance(getattr(last, "value", None), ast.Constant)


def difference(function, text):
    lines = difflib.unified_diff(ast.unparse(function).splitlines(), text.splitlines(), n=0)
    return [line[0] + " " + line[1:].strip() for line in list(lines)[2:] if line[0] in "+-"]


def judged(path, only=""):
    """For each check of a lesson and each answer: name, function, and pairs (text, verdict)."""
    names, found = solved(path), functions(path)
    module = importlib.import_module(f"fmlib.exercises.lesson_{path.name[:2]}")
    calls = checked(path)
    for check, answers in calls.items():
        for answer in answers:
            if f"check_{answer}" in calls and check != f"check_{answer}":
                continue  # it has a check of its own
            function = found[answer]
            if is_guess(function) or only not in check:
                continue
            looks = [getattr(module, check), answers]
            yield check, function, [(m, tried(names, m, *looks)) for m in mutants(function)]


def report(number, check, function, verdicts, allowed):
    """Print what passes, and return (wrong answers, refused)."""
    counted = [(text, hint) for text, hint in verdicts if hint is not None]
    passed = [difference(function, text) for text, hint in counted if hint == ""]
    reasons = {row["change"]: row["reason"] for row in allowed}
    right = [lines for lines in passed if reasons.get(lines[-1][2:], "").startswith("right")]
    wrong = [lines for lines in passed if lines not in right]
    total = len(counted) - len(right)
    share = f"{total - len(wrong)} of {total} refused, {len(right)} right after all"
    print(f"{number} {check.removeprefix('check_')} {function.name}: {share}")
    for lines in wrong:
        print("    " + "\n    ".join([*lines, f"  {reasons.get(lines[-1][2:], '?')}"]))
    for text, hint in counted:
        if hint.startswith("!"):
            print("    " + "\n    ".join([*difference(function, text), hint]))
    sys.stdout.flush()
    return total, total - len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lesson", nargs="?", default="", help="a lesson's number, such as 04")
    parser.add_argument("only", nargs="?", default="", help="a part of a check's name")
    options = parser.parse_args()
    allowed = tomllib.loads(PASSING.read_text(encoding="utf-8")) if PASSING.exists() else {}
    for path in solutions(options.lesson):
        for check, function, verdicts in judged(path, options.only):
            rows = allowed.get(f"lesson_{path.name[:2]}", {}).get(check, [])
            report(path.name[:2], check, function, verdicts, rows)


if __name__ == "__main__":
    main()
