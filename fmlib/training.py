"""fit: the training loop of lesson 04, faster, and safe to interrupt.

What it adds to the dozen lines of the lesson: examples drawn many batches at a time, one flat
tensor of parameters for the optimizer, a cosine learning rate, an average of the weights (EMA), a
progress bar, and a checkpoint from which a killed run goes on bit for bit.
"""

import math
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim.adam import adam  # the function behind the class: a third of its overhead
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
    warmup=0,
    watch=None,
):
    """Minimise E[loss(model, batch)] with Adam and a cosine learning rate; change model in place.

    loss(model, batch) -> scalar, for example cfm_loss.  draw(n, generator) -> a tuple of tensors,
    each (n, ...), of independent examples, for example a PathSample; it is called for many batches
    at a time.  lr: the first learning rate, falling to 0 as (1 + cos(pi step / steps)) / 2.
    warmup: over how many steps the rate first rises to that curve, in proportion to the step.
    ema: None, or a rate such as 0.999 at which the weights are averaged; the model ends with the
    average.  checkpoint: None, or a file; a run finding it there goes on from it, and ends with
    the same weights, bit for bit, as a run that was never stopped. (It compares steps, lr,
    batch_size and ema with the file's; the same loss and draw are for the caller to give.)
    watch: None, or a function watch(step, model) that is called after every draw's batches, with
    the average of the weights in the model.
    Ctrl-C ends training early and leaves the model usable.  Returns a History.
    Raises ValueError for bad arguments, a checkpoint that does not fit, or examples that are not
    finite; FloatingPointError if the loss or the weights are no longer finite.
    Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2017, eq. 5.  Taught in: 04, section 3.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if not isinstance(warmup, int) or not 0 <= warmup <= steps:
        raise ValueError(f"warmup must be an integer from 0 to steps, got {warmup!r}")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be positive, got {lr!r}")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be None or in [0, 1), got {ema!r}")
    generator = torch.default_generator if generator is None else generator
    setting = {"steps": steps, "lr": lr, "warmup": warmup, "batch_size": batch_size, "ema": ema}
    run = _Run(model, setting, checkpoint)
    start, interrupted = time.perf_counter(), False
    bar = tqdm(total=steps, disable=not progress or "TQDM_DISABLE" in os.environ)
    try:
        run.load(generator)
        bar.update(run.step)
        while run.step < steps:
            n = min(_BATCHES_PER_DRAW, steps - run.step)
            batches = _split(draw(n * batch_size, generator), n, batch_size)
            last = run.advance(loss, batches)
            run.save(generator)
            if watch is not None:
                run.show(watch)
            bar.update(n)
            bar.set_postfix(loss=f"{last:.3f}", refresh=False)
    except KeyboardInterrupt:
        interrupted = True
        run.check_finite()
    finally:
        bar.close()
        run.release()
    return History(run.losses[: run.step].clone(), time.perf_counter() - start, interrupted)


def _split(examples, n, batch_size):
    """Cut a tuple of (n * batch_size, ...) tensors into n batches of the tuple's own type."""
    if not isinstance(examples, tuple) or not examples:
        raise ValueError(
            f"draw(n, generator) must return a tuple of tensors, got {type(examples).__name__}"
        )
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
        # Adam sees one long vector; the model's parameters are windows onto it.
        self.flat = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient = torch.zeros_like(self.flat)
        windows = self.flat.split([p.numel() for p in self.parameters])
        for p, window in zip(self.parameters, windows, strict=True):
            p.data = window.view_as(p)
        count = torch.zeros((), dtype=torch.float32, device=self.flat.device)  # as Adam wants it
        self.adam = torch.zeros_like(self.flat), torch.zeros_like(self.flat), count  # m, v, steps
        self.average = None if setting["ema"] is None else self.flat.clone()
        self.losses = torch.full((setting["steps"],), math.nan)
        self.step = 0
        self.file = None if checkpoint is None else Path(checkpoint)
        if self.file is not None and not self.file.parent.is_dir():
            raise ValueError(f"the folder of the checkpoint {self.file.name} does not exist")
        self.saved_at = time.monotonic()

    def advance(self, loss, batches):
        """One optimizer step for each batch.  Returns the last loss."""
        first, ema = self.step, self.setting["ema"]
        losses = []
        try:
            for step, batch in enumerate(batches, first):
                value = loss(self.model, batch)
                gradient = torch.autograd.grad(value, self.parameters, materialize_grads=True)
                torch.cat([g.flatten() for g in gradient], out=self.gradient)
                self.adam_step(self.rate(step))
                if self.average is not None:
                    self.average.lerp_(self.flat, 1 - ema)
                losses.append(value.detach())
        finally:  # also when interrupted
            self.step += len(losses)
            if losses:
                self.losses[first : self.step] = torch.stack(losses)
        self.check_finite()
        return float(self.losses[self.step - 1])

    def rate(self, step):
        """The learning rate at a step: a cosine, and the rise to it."""
        steps, lr, warmup = (self.setting[k] for k in ("steps", "lr", "warmup"))
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rise * 0.5 * lr * (1 + math.cos(math.pi * step / steps))

    def show(self, watch):
        """Call watch(step, model), with the average in the model if there is one."""
        if self.average is None:
            return watch(self.step, self.model)
        now = self.flat.clone()
        self.flat.copy_(self.average)
        try:
            watch(self.step, self.model)
        finally:  # release puts the average back if watch stopped the run
            self.flat.copy_(now)

    def check_finite(self):
        """Raise FloatingPointError if a loss or a weight is not finite."""
        if not (torch.isfinite(self.losses[: self.step]).all() and torch.isfinite(self.flat).all()):
            raise FloatingPointError(
                f"the loss or the weights are no longer finite by step {self.step}: lower lr, or "
                "look at the target"
            )

    @torch.no_grad()
    def adam_step(self, lr):
        """Kingma and Ba 2015, algorithm 1, on the flat parameters, by torch's fused kernel."""
        m, v, count = self.adam
        adam(
            [self.flat], [self.gradient], [m], [v], [], [count], fused=True, amsgrad=False,
            beta1=0.9, beta2=0.999, lr=lr, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip

    def release(self):
        """Give each parameter its own memory again, holding the average if there is one."""
        if self.average is not None:
            self.flat.copy_(self.average)
        for p in self.parameters:
            p.data = p.data.clone()

    def save(self, generator):
        """Write a checkpoint in one move, never half a file: at the end, and between two draws
        when the last one is older than a second."""
        done = self.step == self.setting["steps"]
        if self.file is None or not (done or time.monotonic() - self.saved_at > 1):
            return
        state = {
            "setting": self.setting,
            "step": self.step,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "average": self.average,
            "adam": self.adam,
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
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            self.restore(state)
        except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"the checkpoint {self.file.name} is damaged or of another model: delete it"
            ) from error
        torch.set_rng_state(state["default_generator"])
        generator.set_state(state["generator"])

    def restore(self, state):
        """Take over the weights and the optimizer's state of a checkpoint."""
        if state["setting"] != self.setting:
            raise ValueError(
                f"the checkpoint {self.file.name} is from another run ({state['setting']}, here "
                f"{self.setting}): give the same arguments, or delete it"
            )
        self.model.load_state_dict(state["model"])  # copies into the windows
        for mine, saved in zip(self.adam, state["adam"], strict=True):
            mine.copy_(saved)
        if self.average is not None:
            self.average.copy_(state["average"])
        self.losses.copy_(state["losses"])
        self.step = state["step"]
