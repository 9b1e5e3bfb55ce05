"""Run the lessons: in place (`make notebooks`) or for many seeds (`make seeds`).

A notebook is replaced in one move, and only when its run succeeded: whenever this program is
killed, every notebook on disk is whole.
"""

import argparse
import base64
import io
import os
import sys
import time
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "figures" / "readme.png"
LONGEST = 60  # seconds a lesson may take
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)
WIDGET = "application/vnd.jupyter.widget-view+json"


def lessons(only=""):
    """The lessons, and the exercises' solutions, in reading order."""
    folders = (ROOT / "notebooks", ROOT / "notebooks" / "solutions")
    paths = [p for folder in folders for p in sorted(folder.glob("[0-9][0-9]_*.ipynb"))]
    return [p for p in paths if p.name.startswith(only)]


def execute(path, seed=0, on_cell=lambda count: None):
    """Run a notebook on this interpreter and return it; raises one of FAILURES.

    The kernel is started by this interpreter's own command, whatever kernels a user has installed.
    """
    notebook = nbformat.read(path, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    launcher = [sys.executable, "-m", "ipykernel_launcher", "--IPKernelApp.log_level=ERROR"]
    manager.kernel_spec.argv = [*launcher, "-f", "{connection_file}"]
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=600,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_executed=lambda cell, cell_index, execute_reply: on_cell(cell_index),
    )
    client.execute(env=os.environ | {"TQDM_DISABLE": "1", "FMLIB_SEED": str(seed)})
    return notebook


def smaller(png):
    """The same picture in 256 colours, about a third of the size; animations stay."""
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if getattr(image, "is_animated", False) or image.mode == "P":
        return png
    buffer = io.BytesIO()
    dpi = image.info.get("dpi")
    image.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True, **({"dpi": dpi} if dpi else {})
    )
    return base64.b64encode(buffer.getvalue()).decode()


def tidy(notebook):
    """Make the bytes depend on the run's results only: no widget ids, no machine's metadata."""
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
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    nbformat.validate(notebook)
    return notebook


def replace(path, data):
    """Write data (bytes) to path in one move."""
    beside = path.with_name(path.name + ".part")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def run_in_place(paths):
    """Run and store each notebook.  Returns the number that failed."""
    seconds, failed = {}, 0
    for path in paths:
        path.with_name(path.name + ".part").unlink(missing_ok=True)  # of a run that was killed
        total = len(nbformat.read(path, as_version=4).cells)
        start = time.perf_counter()

        def show(index, name=path.stem, total=total, start=start):
            if sys.stdout.isatty():
                now = f"cell {index + 1:3d} of {total} {time.perf_counter() - start:6.1f} s"
                print(f"\r{name:32s} {now}", end="", flush=True)

        try:
            notebook = tidy(execute(path, on_cell=show))
        except FAILURES as error:
            failed += 1
            print(f"\r{path.stem:32s} FAILED, left as it was\n{str(error)[-1500:]}", flush=True)
            continue
        replace(path, nbformat.writes(notebook).encode() + b"\n")
        seconds[path.stem] = time.perf_counter() - start
        note = "" if seconds[path.stem] <= LONGEST else f"  more than {LONGEST} s"
        print(f"\r{path.stem:32s} {seconds[path.stem]:18.1f} s{note}", flush=True)
    print(f"{'together':32s} {sum(seconds.values()):18.1f} s")
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


def readme_picture():
    """The PNG of the one cell that is marked {"fmlib": {"readme": true}}, as bytes."""
    pictures = [
        base64.b64decode(output["data"]["image/png"])
        for path in lessons()
        for cell in nbformat.read(path, as_version=4).cells
        if cell.metadata.get("fmlib", {}).get("readme")
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    if len(pictures) != 1:
        raise SystemExit(f"one cell must be marked as README's picture, found {len(pictures)}")
    return pictures[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="?", default="", help="a lesson's number, such as 04")
    parser.add_argument("--seeds", metavar="0-9", help="run for these seeds, store nothing")
    parser.add_argument("--picture", action="store_true", help="only write README's picture")
    options = parser.parse_args()
    paths = lessons(options.only)
    if not paths:
        raise SystemExit(f"no lesson starts with {options.only!r}")
    failed = 0
    if options.seeds:
        low, _, high = options.seeds.partition("-")
        seeds = range(int(low), int(high or low) + 1)
        if not seeds:
            raise SystemExit(f"--seeds goes from low to high, got {options.seeds}")
        return run_seeds(paths, seeds) > 0
    if not options.picture:
        failed = run_in_place(paths)
    PICTURE.parent.mkdir(exist_ok=True)
    replace(PICTURE, readme_picture())
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
