"""What do the checks of the exercises cost? Counts, and seconds over those of lesson 04's loop.

For each check, with the stored solution: how often it calls the learner's functions, how many calls
of torch the whole takes, and how many steps of the plain training loop (64x3 MLP, batches of 256)
take as long, measured in turns. The counts are the same on every machine; a test bounds them.
"""

import functools
import importlib
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from torch.overrides import TorchFunctionMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import exercises

STEPS = 20  # of the loop, for one look at the clock


class _Calls(TorchFunctionMode):
    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def solved_checks(path):
    """The check and its right answers, for each check of a lesson: name -> (check, answers)."""
    names = exercises.solved(path)
    module = importlib.import_module(f"fmlib.exercises.lesson_{path.name[:2]}")
    calls = exercises.checked(path)
    return {name: (getattr(module, name), [names[a] for a in calls[name]]) for name in calls}


def counts(check, answers):
    """How often a check calls these answers, and how often the two of them call torch."""
    evaluations = 0

    def counted(answer):
        @functools.wraps(answer)
        def call(*arguments):
            nonlocal evaluations
            evaluations += 1
            return answer(*arguments)

        return call

    with _Calls() as calls:
        check(*map(counted, answers))
    return evaluations, calls.count


def main():
    import common

    from fmlib.models import MLP

    rounds = common.start(__doc__, rounds=5).rounds
    model = MLP(dims=2, width=64, depth=3)
    for path in exercises.solutions():
        for name, (check, answers) in solved_checks(path).items():
            with redirect_stdout(StringIO()):  # the ✓ lines
                evaluations, calls = counts(check, answers)
                times = common.taking_turns(
                    rounds,
                    check=functools.partial(check, *answers),
                    loop=functools.partial(common.plain_loop, model, STEPS),
                )
            label = f"{path.name[:2]} {name.removeprefix('check_')}: {evaluations}, {calls:,}"
            common.report(label, [STEPS * r for r in common.over(times["check"], times["loop"])])


if __name__ == "__main__":
    main()
