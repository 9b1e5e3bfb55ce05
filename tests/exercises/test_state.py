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
        warnings.simplefilter("error")
        logging.disable(logging.NOTSET)
        torch.set_grad_enabled(False)
        with torch.enable_grad():
            return answer(*arguments)

    return louder


def told(path, capsys, change=lambda answer: answer):
    """What all checks of a lesson print for its solutions; they must leave the state alone."""
    module, names = checks_of(path.name[:2]), solved(path)
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


each = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem[:2])


@each
def test_every_solution_passes_in_every_state_and_leaves_it_alone(path, capsys, restored):
    plain = told(path, capsys)
    assert len(plain) == len(checked(path)) and all(line.startswith("✓ ") for line in plain)
    handler = logging.StreamHandler(sys.stderr)  # holds the stream, whatever sys.stderr becomes
    logging.root.addHandler(handler)
    try:
        assert told(path, capsys, loud) == plain
    finally:
        logging.root.removeHandler(handler)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    np.random.seed(3)
    np.seterr(all="raise")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert told(path, capsys) == plain


@each
def test_every_solution_passes_in_inference_mode_and_on_another_device(path, capsys, restored):
    plain, names = told(path, capsys), solved(path)
    module = checks_of(path.name[:2])
    with torch.inference_mode():
        assert told(path, capsys) == plain
    torch.set_default_device("meta")
    for name, wanted in checked(path).items():
        getattr(module, name)(*[names[answer] for answer in wanted])
        assert torch.get_default_device().type == "meta"
    assert capsys.readouterr().out.splitlines() == plain


def test_an_answer_that_sets_the_dtype_and_the_device_sets_them_for_itself_only(restored):
    from fmlib.exercises.lesson_02 import check_prediction

    def prediction():
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        return 2

    before = state()
    check_prediction(prediction)
    assert state() == before
