"""Run every stage of `make test`, whatever each comes to, and say at the end how they went."""

import os
import subprocess
import sys
import time

if not __debug__:
    sys.exit("asserts are switched off: unset PYTHONOPTIMIZE, or leave out -O")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
# A file's tests stay together: they share what is costly to set up, and a lesson has one kernel.
TWO_AT_A_TIME = ["-n", "2", "--dist", "loadscope"] if CORES > 1 else []
# What never ends is stopped after half an hour; no cell takes a minute on a middling machine.
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "1800"]
NBVAL += ["--nbval-kernel-startup-timeout", "1800"]
COVERAGE = ["--cov", "--cov-report=term-missing:skip-covered", "--cov-fail-under=95"]
PYTEST = ["pytest", "-q", *TWO_AT_A_TIME]

STAGES = {  # name -> the modules to run, each with its arguments
    "lint": [["ruff", "check"], ["ruff", "format", "--check"]],
    "unit tests": [[*PYTEST, *COVERAGE, "--ignore=tests/web", "tests"]],
    "lessons": [[*PYTEST, *NBVAL, "notebooks"]],
}


def run(module, *arguments):
    """Run a module in this interpreter's environment; return its exit status."""
    variables = {"TQDM_DISABLE": "1", "FMLIB_SEED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env=os.environ | variables
    )
    try:
        return process.wait()
    except KeyboardInterrupt:  # it has got the same one: let it clean up
        process.wait()
        raise


def main(stages=STAGES):
    """Run all stages and print what each came to.  Returns 0 if each is ok, else 1."""
    lines, failed = [], 0
    for name, commands in stages.items():
        start = time.perf_counter()
        ok = all([run(*command) == 0 for command in commands])  # a list: all are run
        failed += not ok
        verdict = "ok" if ok else "FAILED"
        lines.append(f"{name:12s} {verdict:6s} {time.perf_counter() - start:7.0f} s")
    print("\n" + "\n".join(lines), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("make: interrupted")
