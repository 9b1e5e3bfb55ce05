"""A check neither minds the state of the notebook nor changes it: every solution, in each state."""

import logging
import random
import signal
import sys
import warnings

import numpy as np
import pytest
import torch
from solved import SOLUTIONS, checked, checks_of, solved
from tqdm import tqdm


def state():
    """All that a check must leave as it was, in a form that can be compared."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "errors": np.geterr(),
        "filters": list(warnings.filters),
        "stderr": id(sys.stderr),
        "logging": logging.root.manager.disable,
        "handler": signal.getsignal(signal.SIGPROF),
        "timer": signal.getitimer(signal.ITIMER_PROF),
    }


def loud(answer):
    """The same answer, which speaks and disturbs all it can."""

    def louder(*arguments):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.error("to the log")
        warnings.warn("a warning", stacklevel=1)
        list(tqdm([1]))
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        np.seterr(all="ignore")
        torch.set_grad_enabled(False)
        with torch.enable_grad():
            return answer(*arguments)

    return louder


def told(path, names, capsys, change=lambda answer: answer):
    """What a lesson's checks print for its solutions, in names; the state must stay as it is."""
    module = checks_of(path.name[:2])
    capsys.readouterr()
    for name, wanted in checked(path).items():
        before = state()
        getattr(module, name)(*[change(names[answer]) for answer in wanted])
        after = state()
        assert {key for key in before if before[key] != after[key]} == set(), name
    out, err = capsys.readouterr()
    assert err == ""
    return [line for line in out.splitlines() if line != "to stdout"]


@pytest.fixture
def restored():
    before = torch.get_default_dtype(), np.geterr()
    yield
    torch.set_default_dtype(before[0])
    np.seterr(**before[1])
    torch.set_default_device(None)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem[:2])
def test_every_solution_passes_in_every_state_and_leaves_it_alone(path, capsys, restored):
    names = solved(path)
    plain = told(path, names, capsys)
    assert len(plain) == len(checked(path)) and all(line.startswith("✓ ") for line in plain)
    torch.set_default_device("meta")
    np.seterr(all="raise")
    with torch.inference_mode():
        assert told(path, names, capsys) == plain
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    np.random.seed(3)
    handler = logging.StreamHandler(sys.stderr)  # holds the stream, whatever sys.stderr becomes
    logging.root.addHandler(handler)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert told(path, solved(path), capsys, loud) == plain
    logging.root.removeHandler(handler)


def test_an_answer_that_sets_the_dtype_and_the_device_sets_them_for_itself_only(restored):
    from fmlib.exercises.lesson_02 import check_prediction

    def prediction():
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        return 2

    before = state()
    check_prediction(prediction)
    assert state() == before
