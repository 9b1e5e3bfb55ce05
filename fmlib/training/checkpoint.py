"""The file from which a killed training run goes on, bit for bit."""

import os
import random
import time
from pathlib import Path

import numpy as np
import torch


class Checkpoint:
    """A checkpoint of fit: read and compared before anything changes, written in one move.

    path: the file.  setting: the numbers of the run.  model: as it was given to fit.
    Raises ValueError if the file cannot be written where it should be.
    """

    def __init__(self, path, setting, model):
        self.file, self.setting = Path(path), setting
        self.beside = self.file.with_name(self.file.name + ".part")
        self.model = getattr(model, "_orig_mod", model)  # the model that torch.compile has wrapped
        try:
            if self.file.is_dir():
                raise IsADirectoryError(f"{self.file.name} is a folder")
            self.beside.touch()
            self.beside.unlink()
        except OSError as error:
            raise ValueError(
                f"the checkpoint {self.file.name} cannot be written: {error.strerror or error}"
            ) from error
        self.written = time.monotonic()

    def read(self):
        """What the file holds, or None if there is none.  Changes nothing.

        Raises ValueError if it is damaged, or of another model or run.
        """
        if not self.file.exists():
            return None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            setting = dict(state["setting"])
            self._try_on_copies(state)
        except Exception as error:  # a damaged or foreign file may make torch raise anything
            raise ValueError(
                f"the checkpoint {self.file.name} is damaged or of another model: delete it"
            ) from error
        if setting != self.setting:
            raise ValueError(
                f"the checkpoint {self.file.name} is from another run ({setting}, here "
                f"{self.setting}): give the same arguments, or delete it"
            )
        return state

    def _try_on_copies(self, state):
        """Raise if some part of the state would not fit where restore puts it."""
        mine, its = self.model.state_dict(), state["model"]
        flat = torch.Size([sum(p.numel() for p in self.model.parameters() if p.requires_grad)])
        buffers = [b.shape for b in self.model.buffers() if b.is_floating_point()]
        average = [] if state["setting"]["ema"] is None else [flat, *buffers]
        steps = state["setting"]["steps"]
        fits = (
            mine.keys() == its.keys(),
            all(mine[name].shape == its[name].shape for name in mine),
            [x.shape for x in state["adam"]] == [flat, flat, torch.Size([])],
            [x.shape for x in state["average"]] == average,
            len(state["losses"]) == steps and 0 <= state["step"] <= steps,
        )
        if not all(fits):
            raise ValueError("not of this model")
        for name in ("generator", "default_generator"):
            torch.Generator(device="cpu").set_state(state[name])
        np.random.RandomState().set_state(_numpy_state(state))
        random.Random().setstate(_python_state(state))

    def restore(self, state, run, generator):
        """Take over the weights, the optimizer's state and the random numbers of a checkpoint."""
        self.model.load_state_dict(state["model"])  # copies into the windows
        for mine, saved in (*zip(run.adam.state, state["adam"], strict=True),
                            *zip(run.average.mean, state["average"], strict=True)):  # fmt: skip
            mine.copy_(saved)
        run.losses.copy_(state["losses"])
        run.step = state["step"]
        np.random.set_state(_numpy_state(state))
        random.setstate(_python_state(state))
        torch.set_rng_state(state["default_generator"])
        generator.set_state(state["generator"])

    def write(self, run, generator):
        """Store the run, never half a file: at its end, and between two draws when the last time
        is more than a second ago."""
        done = run.step == run.steps
        if not done and time.monotonic() - self.written <= 1:
            return
        _, keys, *rest = np.random.get_state()
        version, words, gauss = random.getstate()
        state = {
            "setting": self.setting,
            "step": run.step,
            "losses": run.losses,
            "model": self.model.state_dict(),
            "average": run.average.mean,
            "adam": run.adam.state,
            "generator": generator.get_state(),
            "default_generator": torch.get_rng_state(),
            "numpy": (torch.from_numpy(keys.astype(np.int64)), *rest),
            "python": (version, torch.tensor(words, device="cpu"), gauss),
        }
        torch.save(state, self.beside)
        os.replace(self.beside, self.file)
        self.written = time.monotonic()


def _numpy_state(state):
    keys, *rest = state["numpy"]
    return "MT19937", keys.numpy().astype(np.uint32), *rest


def _python_state(state):
    version, words, gauss = state["python"]
    return version, tuple(words.tolist()), gauss
