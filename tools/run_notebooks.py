"""Run the lessons: in place (`make notebooks`), for their figures (`make figures`), for many seeds.

A file is replaced in one move, and only when its lesson's run succeeded: whenever this program is
killed, every notebook and every figure on disk is whole.

Machines differ, so what a lesson costs is told in steps of the training loop that lesson 04 writes
out, timed in the same run, beside the lesson's seconds.
"""

import argparse
import os
import sys
import time
from itertools import groupby
from pathlib import Path

import gallery
import nbformat
import torch
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from fmlib.models import MLP
from fmlib.stored import replace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from common import plain_loop  # noqa: E402

if not __debug__:
    raise SystemExit("asserts are switched off: unset PYTHONOPTIMIZE, or leave out -O")

DRAW_SVG = Path(__file__).with_name("draw_svg.py")
COST = 80_000  # steps of the yardstick that a lesson may take
HALF_AN_HOUR = 1800  # seconds: stops what never ends; no cell takes a minute on a middling machine
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)
WIDGET = "application/vnd.jupyter.widget-view+json"


def lessons(only=""):
    """The lessons, and the exercises' solutions, in reading order.

    only: how their paths in notebooks/ start: "02" is a lesson, "solutions/02" its solutions.
    """
    top = ROOT / "notebooks"
    paths = [p for f in (top, top / "solutions") for p in sorted(f.glob("[0-9][0-9]_*.ipynb"))]
    return [p for p in paths if p.relative_to(top).as_posix().startswith(only)]


def notebooks(only=""):
    """The lessons, the exercises' solutions, and the challenge.  only: as for lessons."""
    challenge = ROOT / "notebooks" / "challenge.ipynb"
    return lessons(only) + [challenge] * challenge.name.startswith(only)


def execute(path, seed=0, on_cell=lambda index: None, last=None):
    """Run a notebook, as far as cell `last`, and return it; raises one of FAILURES.

    The kernel is started by this interpreter's own command, whatever kernels a user has installed.
    Figures are shown as PNG and as SVG.
    """
    notebook = nbformat.read(path, as_version=4)
    if last is not None:
        notebook.cells = notebook.cells[: last + 1]
    manager = AsyncKernelManager(kernel_name="python3")
    launcher = [sys.executable, "-m", "ipykernel_launcher", "--IPKernelApp.log_level=ERROR"]
    launcher += [f"--IPKernelApp.exec_files={DRAW_SVG}"]
    manager.kernel_spec.argv = [*launcher, "-f", "{connection_file}"]
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=HALF_AN_HOUR,
        startup_timeout=HALF_AN_HOUR,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_executed=lambda cell, cell_index, execute_reply: on_cell(cell_index),
    )
    variables = {"TQDM_DISABLE": "1", "FMLIB_SEED": str(seed)}
    client.execute(cleanup_kc=True, env=os.environ | variables)  # else the kernel lives on
    return notebook


def tidy(notebook):
    """Make the bytes depend on the run's results only, and few: no widget ids, no SVG."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    views = 0
    for cell in notebook.cells:
        for key in ("execution", "lines_to_next_cell"):  # of JupyterLab, of jupytext
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if WIDGET in data:  # the model lives in the kernel and is gone with it
                data[WIDGET]["model_id"] = f"{views:032x}"
                views += 1
            data.pop("image/svg+xml", None)
            if "image/png" in data:
                data["image/png"] = gallery.smaller(data["image/png"])
    nbformat.validate(notebook)
    return notebook


def find_figures(only=""):
    """All figures, or the one whose id is `only`; exits if something is wrong with any of them."""
    paths = lessons()
    found = gallery.figures(paths)
    wrong = gallery.complaints(found, paths)
    wanted = [figure for figure in found if only in ("", figure.id)]
    if not wanted:
        ids = ", ".join(sorted(figure.id for figure in found))
        wrong.append(f"no figure has the id {only!r}, as in ID=s12-euler; there are {ids}")
    if wrong:
        raise SystemExit("\n".join(wrong))
    return wanted


def store_figure(figure, outputs):
    """Write the files of a figure from the outputs of its cell."""
    for name, data in gallery.files(figure, outputs).items():
        replace(gallery.FOLDER / name, data)


def store_gallery():
    """Write figures/README.md from the notebooks as they are on disk."""
    replace(gallery.FOLDER / "README.md", gallery.gallery(find_figures()).encode())


def yardstick(steps=300):
    """The machine's speed now: steps of lesson 04's training loop in a second, on one thread."""
    torch.set_num_threads(1)
    model = MLP()
    plain_loop(model, 20)  # warm up
    start = time.perf_counter()
    plain_loop(model, steps)
    return steps / (time.perf_counter() - start)


def cost(seconds, speeds):
    """What a lesson's seconds come to in steps of the yardstick, in words.

    speeds: of the yardstick, before and after the lesson.
    """
    speed = sum(speeds) / len(speeds)
    note = "" if seconds * speed <= COST else f", more than {COST:,}"
    return f"{seconds:8.1f} s = {seconds * speed:8,.0f} steps at {speed:5,.0f} a second{note}"


def run_in_place(paths):
    """Run and store each notebook and its figures.  Returns the number that failed."""
    seconds, failed = {}, 0
    for path in paths:
        path.with_name(path.name + ".part").unlink(missing_ok=True)  # of a run that was killed
        total = len(nbformat.read(path, as_version=4).cells)
        found, speed = gallery.figures([path]), yardstick()
        start = time.perf_counter()

        def show(index, name=path.stem, total=total, start=start):
            if sys.stdout.isatty():
                now = f"cell {index + 1:3d} of {total} {time.perf_counter() - start:6.1f} s"
                print(f"\r{name:32s} {now}", end="", flush=True)

        try:
            notebook = execute(path, on_cell=show)
            for figure in found:
                store_figure(figure, notebook.cells[figure.index].outputs)
            notebook = tidy(notebook)
        except FAILURES as error:
            failed += 1
            print(f"\r{path.stem:32s} FAILED, left as it was\n{str(error)[-1500:]}", flush=True)
            continue
        replace(path, nbformat.writes(notebook).encode() + b"\n")
        seconds[path.stem] = time.perf_counter() - start
        told = cost(seconds[path.stem], [speed, yardstick()])
        print(f"\r{path.stem:32s} {told}", flush=True)
    print(f"{'together':32s} {sum(seconds.values()):8.1f} s")
    return failed


def run_seeds(paths, seeds):
    """Run each notebook for each seed and store nothing.  Returns the number that failed."""
    failed = 0
    for path in paths:
        for seed in seeds:
            try:
                execute(path, seed=seed)
                verdict = "ok"
            except FAILURES as error:
                failed += 1
                verdict = f"FAILED\n{str(error)[-1200:]}"
            print(f"{path.stem:32s} seed {seed}  {verdict}", flush=True)
    print(f"{failed} of {len(paths) * len(seeds)} runs failed")
    return failed


def redraw(wanted):
    """Run the lessons as far as their figures need and write these.  Returns the number not drawn.

    The notebooks on disk stay as they are.
    """
    rows = []
    for path, those_of_path in groupby(wanted, key=lambda figure: figure.path):
        group, done, start = list(those_of_path), {}, time.perf_counter()

        def note(index, done=done, start=start):
            done[index] = time.perf_counter() - start

        print(f"{path.stem} ...", flush=True)
        try:
            notebook = execute(path, on_cell=note, last=group[-1].index)
        except FAILURES as error:
            print(f"{path.stem} FAILED, its figures are as they were\n{str(error)[-1500:]}")
            continue
        for figure in group:
            store_figure(figure, notebook.cells[figure.index].outputs)
            rows.append((figure.id, f"figures/{figure.id}.png, .svg", done[figure.index]))
    print(f"\n{'figure':38s} {'file':52s} seconds from its lesson's start")
    for name, file, seconds in sorted(rows):
        print(f"{name:38s} {file:52s} {seconds:6.1f}")
    print(f"{len(rows)} of {len(wanted)} drawn")
    return len(wanted) - len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="?", default="", help="04, solutions/04 or challenge")
    parser.add_argument("--seeds", metavar="0-9", help="run for these seeds, store nothing")
    parser.add_argument("--figures", metavar="ID", nargs="?", const="", help="store figures only")
    options = parser.parse_args()
    paths = notebooks(options.only)
    if not paths:
        raise SystemExit(f"no lesson starts with {options.only!r}")
    if options.seeds:
        low, _, high = options.seeds.partition("-")
        seeds = range(int(low), int(high or low) + 1)
        if not seeds:
            raise SystemExit(f"--seeds goes from low to high, got {options.seeds}")
        return run_seeds(paths, seeds) > 0
    figures_only = options.figures is not None
    failed = redraw(find_figures(options.figures)) if figures_only else run_in_place(paths)
    if not options.only.startswith("solutions"):  # no figure is drawn there
        store_gallery()
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
