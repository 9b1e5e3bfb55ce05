"""Put changed scripts into the lessons' stored explorables, or show one while it is worked on.

`make embed` runs no lesson, and keeps its data; `python tools/explorables.py --serve cloud` serves
a page that loads itself again after a change.
"""

import argparse
import hashlib
import http.server
import sys
from pathlib import Path

import nbformat

from fmlib.explorables.scripts import FOLDER, render, stored
from fmlib.stored import replace

sys.path.insert(0, str(Path(__file__).parent))
from run_notebooks import lessons

# Asks, again and again, whether the page has changed; an error on the page does not stop it.
RELOAD = """<script>
setInterval(async () => {
  const now = await (await fetch("/version")).text();
  if (document.documentElement.dataset.version !== now) location.reload();
}, 500);
</script>"""


def outputs(notebook):
    """The data of every output of a notebook that holds an explorable, and what it holds."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found = stored(output.get("data", {}).get("text/html", ""))
            if found:
                yield output["data"], found


def embed(path):
    """Put today's scripts into a notebook's outputs; True if that changed the file."""
    notebook, changed = nbformat.read(path, as_version=4), False
    for data, found in outputs(notebook):
        html = render(found.name, found.mark, found.data)
        changed |= html != data["text/html"]
        data["text/html"] = html
    if changed:
        replace(path, nbformat.writes(notebook).encode() + b"\n")
    return changed


def everything():
    """Every explorable that the lessons store."""
    return [f for path in lessons() for _, f in outputs(nbformat.read(path, as_version=4))]


def find(name):
    """Those of one name; ValueError if there is none."""
    found = everything()
    wanted = [f for f in found if f.name == name]
    if not wanted:
        names = ", ".join(sorted({f.name for f in found}))
        raise ValueError(f"no lesson has an explorable {name!r}; there are {names}")
    return wanted


def page(found):
    """A page that shows explorables, in a light or a dark scheme, and nothing else."""
    head = '<meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    body = "\n".join(render(f.name, f.mark, f.data) for f in found)
    head = f'<html lang="en"><head>{head}<title>{found[0].name}</title></head>'
    return f"<!DOCTYPE html>\n{head}\n<body>\n{body}\n</body></html>"


def server(name, port=0):
    """An HTTP server of the page of one explorable, by the scripts as they are at each request."""
    found = find(name)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = page(found)
            version = hashlib.sha256(text.encode()).hexdigest()
            if self.path == "/version":
                text = version
            else:
                text = text.replace("<html", f'<html data-version="{version}"', 1) + RELOAD
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", metavar="NAME", help=f"a file of {FOLDER.name}/, without .js")
    parser.add_argument("--port", type=int, default=8001)
    given = parser.parse_args()
    if given.serve:
        with server(given.serve, given.port) as live:
            print(f"http://127.0.0.1:{live.server_port}/ shows it, until Ctrl-C", flush=True)
            live.serve_forever()
    for path in lessons():
        if embed(path):
            print(path.name)


if __name__ == "__main__":
    main()
