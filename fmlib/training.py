"""fit: the training loop of lesson 04, faster, and safe to interrupt.

What it adds to the dozen lines of the lesson: examples drawn many batches at a time, one flat
tensor of parameters for the optimizer, a cosine learning rate, an average of the weights (EMA), a
progress bar, and a checkpoint from which a killed run goes on bit for bit.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

__all__ = ["History", "fit"]

_BATCHES_PER_DRAW = 64  # measured: drawing 64 batches at once costs little more than drawing one


@dataclass(frozen=True)
class History:
    """What happened during fit."""

    loss: torch.Tensor  # (steps done,), the loss at each step
    seconds: float  # wall-clock time of this call
    interrupted: bool  # stopped by Ctrl-C or the notebook's stop button


def fit(
    loss,
    model,
    draw,
    steps=4000,
    lr=1e-2,
    batch_size=256,
    ema=None,
    checkpoint=None,
    generator=None,
    progress=True,
):
    """Minimise E[loss(model, batch)] with Adam and a cosine learning rate; change model in place.

    loss(model, batch) -> scalar, for example cfm_loss.  draw(n, generator) -> a tuple of tensors,
    each (n, ...), of independent examples, for example a PathSample; it is called for many batches
    at a time.  lr: the first learning rate, falling to 0 as (1 + cos(pi step / steps)) / 2.
    ema: None, or a rate such as 0.999 at which the weights are averaged; the model ends with the
    average.  checkpoint: None, or a file; a run finding it there goes on from it, and ends with
    the same weights, bit for bit, as a run that was never stopped.
    Ctrl-C ends training early and leaves the model usable.  Returns a History.
    Raises ValueError for bad arguments or examples that are not finite, FloatingPointError if the
    loss is no longer finite.
    Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2017, eq. 5.  Taught in: 04, section 3.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be positive, got {lr!r}")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be None or in [0, 1), got {ema!r}")
    generator = torch.default_generator if generator is None else generator
    setting = {"steps": steps, "lr": lr, "batch_size": batch_size, "ema": ema}
    run = _Run(model, setting, checkpoint)
    run.load(generator)
    start, interrupted = time.perf_counter(), False
    bar = tqdm(total=steps, initial=run.step, disable=not progress or "TQDM_DISABLE" in os.environ)
    try:
        while run.step < steps:
            n = min(_BATCHES_PER_DRAW, steps - run.step)
            batches = _split(draw(n * batch_size, generator), n, batch_size)
            last = run.advance(loss, batches)
            run.save(generator)
            bar.update(n)
            bar.set_postfix(loss=f"{last:.3f}", refresh=False)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        bar.close()
        run.release()
    return History(run.losses[: run.step].clone(), time.perf_counter() - start, interrupted)


def _split(examples, n, batch_size):
    """Cut a tuple of (n * batch_size, ...) tensors into n batches of the tuple's own type."""
    for x in examples:
        if len(x) != n * batch_size:
            raise ValueError(
                f"draw(n, generator) must return tensors of n = {n * batch_size} rows, got {len(x)}"
            )
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError("draw returned examples that are not finite: look at the data")
    make = getattr(type(examples), "_make", tuple)  # a named tuple stays one
    return [make(batch) for batch in zip(*(x.split(batch_size) for x in examples), strict=True)]


class _Run:
    """The state of one training run: flat parameters, optimizer, average, losses, step."""

    def __init__(self, model, setting, checkpoint):
        self.model, self.setting = model, setting
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if len({(p.dtype, p.device) for p in self.parameters}) != 1:
            raise ValueError("the model needs trainable parameters, all of one dtype and device")
        # The optimizer sees one long vector; the model's parameters are windows onto it.
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in self.parameters]))
        self.flat.grad = torch.zeros_like(self.flat)
        start = 0
        for p in self.parameters:
            window = slice(start, start + p.numel())
            p.data, p.grad = self.flat.data[window].view_as(p), self.flat.grad[window].view_as(p)
            start += p.numel()
        self.optimizer = torch.optim.Adam([self.flat], lr=setting["lr"], fused=True)
        self.average = None if setting["ema"] is None else self.flat.detach().clone()
        self.losses = torch.full((setting["steps"],), math.nan)
        self.step = 0
        self.file = None if checkpoint is None else Path(checkpoint)
        self.saved_at = time.monotonic()

    def advance(self, loss, batches):
        """One optimizer step for each batch.  Returns the last loss."""
        first, steps, lr, ema = self.step, *(self.setting[k] for k in ("steps", "lr", "ema"))
        for batch in batches:
            cosine = math.cos(math.pi * self.step / steps)
            self.optimizer.param_groups[0]["lr"] = 0.5 * lr * (1 + cosine)
            self.flat.grad.zero_()
            value = loss(self.model, batch)
            value.backward()
            self.optimizer.step()
            if self.average is not None:
                self.average.lerp_(self.flat.detach(), 1 - ema)
            self.losses[self.step] = value.detach()
            self.step += 1
        if not torch.isfinite(self.losses[first : self.step]).all():
            raise FloatingPointError(
                f"the loss is no longer finite by step {self.step}: lower lr, or look at the target"
            )
        return float(self.losses[self.step - 1])

    def release(self):
        """Give each parameter its own memory again, holding the average if there is one."""
        if self.average is not None:
            self.flat.data.copy_(self.average)
        for p in self.parameters:
            p.data, p.grad = p.data.clone(), None

    def save(self, generator):
        """Write a checkpoint, once a second and at the end, in one move: never half a file."""
        done = self.step == self.setting["steps"]
        if self.file is None or not (done or time.monotonic() - self.saved_at > 1):
            return
        state = {
            "setting": self.setting,
            "step": self.step,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "generator": generator.get_state(),
            "default_generator": torch.get_rng_state(),
        }
        beside = self.file.with_name(self.file.name + ".part")
        torch.save(state, beside)
        os.replace(beside, self.file)
        self.saved_at = time.monotonic()

    def load(self, generator):
        """Go on from the checkpoint, if there is one."""
        if self.file is None or not self.file.exists():
            return
        state = torch.load(self.file, weights_only=True)
        if state["setting"] != self.setting:
            raise ValueError(
                f"the checkpoint {self.file.name} is from another run ({state['setting']}, here "
                f"{self.setting}): give the same arguments, or delete it"
            )
        self.model.load_state_dict(state["model"])  # copies into the windows
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.average = state["step"], state["average"]
        self.losses.copy_(state["losses"])
        torch.set_rng_state(state["default_generator"])
        generator.set_state(state["generator"])
