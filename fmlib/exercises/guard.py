"""What surrounds an answer while it runs: a fresh state, an end to endless loops, sealed checks."""

import io
import logging
import os
import random
import signal
import sys
import threading
import types
import warnings
from contextlib import ExitStack, contextmanager, redirect_stderr

import numpy as np
import torch

LIMIT = float(os.environ.get("FMLIB_LIMIT") or 180)  # seconds of processor time for one check


class OutOfTime(BaseException):  # so that an `except Exception` of the learner's lets it through
    """A check has used up its processor time."""


@contextmanager
def time_limit(seconds):
    """Raise OutOfTime after so much processor time; without effect outside the main thread.

    It is there for loops that never end. A slow machine, or a busy one, does not run into it.
    """

    def stop(number, frame):
        raise OutOfTime

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    timer = signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # and every second from then on
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, *timer)
        signal.signal(signal.SIGPROF, before)


def _states():
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _restore(states):
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


@contextmanager
def pinned():
    """Inside, torch, NumPy and Python are as if just started; afterwards as they were before.

    Pinned are the default dtype and device, gradients, the random states, NumPy's error state,
    warnings, logging and standard error. The last three are silent, since nbgrader takes what
    stands on stderr for a failure; what goes to stdout is left alone.
    """
    dtype, device, states = torch.get_default_dtype(), torch.get_default_device(), _states()
    logged = logging.root.manager.disable
    with ExitStack() as stack:
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        try:
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            torch.set_default_dtype(torch.float32)
            torch.default_generator.manual_seed(0)  # torch.manual_seed would seed every card, too
            np.random.seed(0)
            random.seed(0)
            yield
        finally:
            logging.disable(logged)
            torch.set_default_dtype(dtype)
            _restore(states)
    if torch.get_default_device() != device:
        torch.set_default_device(device)


class _Sealed(types.ModuleType):
    """A module whose names keep their values: what an answer assigns to one is refused."""

    def __setattr__(self, name, value):
        if name in vars(self):
            raise AttributeError(f"{name} of {self.__name__} belongs to the checks: leave it as is")
        super().__setattr__(name, value)

    def __delattr__(self, name):
        raise AttributeError(f"{name} of {self.__name__} belongs to the checks: leave it as is")


def seal(module):
    """Refuse every later assignment to a name of this module."""
    sys.modules[module].__class__ = _Sealed
