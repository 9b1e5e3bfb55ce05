"""Print the time of each lesson at the end of a test run."""

from collections import defaultdict

seconds = defaultdict(float)


def pytest_runtest_logreport(report):
    file = report.nodeid.partition("::")[0]
    if file.endswith(".ipynb"):
        seconds[file] += report.duration


def pytest_terminal_summary(terminalreporter):
    if seconds:
        terminalreporter.section("lessons")
        for file, time in seconds.items():
            terminalreporter.line(f"{file:56s} {time:6.1f} s")
        terminalreporter.line(f"{'together':56s} {sum(seconds.values()):6.1f} s")
