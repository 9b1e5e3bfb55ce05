"""Work of an explorable's frames, as a multiple of a yardstick run in the same page (`make bench`).

The yardstick is 200,000 exponentials. It and the frames take turns, and the median of the ratios
counts, so that a busy machine changes both alike. A frame shows all points: an explorable in motion
leaves some out where the machine has no time for them.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import explorables

ROUNDS = 60
MEASURE = """([mark, rounds]) => {
  const root = document.getElementById(mark), { stage } = root.explorable;
  const slider = root.querySelector("input[type=range]"), span = slider.max - slider.min;
  const timed = (work) => {
    const start = performance.now();
    work();
    return performance.now() - start;
  };
  let sum = 0;
  const yardstick = () => { for (let i = 0; i < 200000; i++) sum += Math.exp(-i / 200000); };
  const rows = [];
  for (let i = 0; i < rounds; i++) {
    slider.value = +slider.min + (span * i) / rounds;
    const work = timed(() => stage.paintNow()), unit = timed(yardstick);
    if (i >= 10) rows.push({ work, unit, ratio: work / unit }); // the engine has warmed up
  }
  const median = (name) => rows.map((row) => row[name]).sort((a, b) => a - b)[rows.length >> 1];
  return { work: median("work"), unit: median("unit"), ratio: median("ratio"), sum };
}"""


def main():
    """Print a row for every explorable that the lessons store."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    flags = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        print(f"{'':22s}{'yardsticks':>12s}{'ms':>12s}{'in 1/60 s':>14s}")
        for found in explorables.everything():
            file = Path(folder, f"{found.mark}.html")
            file.write_text(explorables.page([found]), encoding="utf-8")
            page = browser.new_page()
            page.goto(file.as_uri())
            row = page.evaluate(MEASURE, [found.mark, ROUNDS])
            page.close()
            possible = 1000 / 60 / row["unit"]
            print(f"{found.mark:22s}{row['ratio']:12.1f}{row['work']:12.1f}{possible:14.1f}")
        browser.close()


if __name__ == "__main__":
    main()
