"""fit: the training loop of lesson 04, faster, and safe to interrupt.

What it adds to the dozen lines of the lesson: examples drawn many batches at a time, one flat
vector of parameters for the optimizer, a cosine learning rate, an average of the weights (EMA), a
progress bar, and a checkpoint from which a killed run goes on bit for bit. `examples` makes what it
draws.
"""

import math
import os
import time
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from fmlib.shapes import real, whole
from fmlib.training.checkpoint import Checkpoint
from fmlib.training.draws import examples
from fmlib.training.weights import Average, FlatAdam

__all__ = ["History", "examples", "fit"]

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
    each (n, ...), of independent examples, for example a PathSample from `examples`; it is called
    for many batches at a time.  lr: the first learning rate, falling to 0 as
    (1 + cos(pi step / steps)) / 2.  warmup: over how many steps the rate first rises to that curve,
    in proportion to the step.
    ema: None, or a rate such as 0.999 at which the weights (and what batch normalisation keeps) are
    averaged; the model ends with the average.
    checkpoint: None, or a file; a run finding it there goes on from it, and ends with the same
    weights, bit for bit, as a run that was never stopped, also where draw and loss use the global
    random numbers of torch, NumPy and Python. (It compares steps, lr, warmup, batch_size and ema
    with the file's; the same loss and draw are for the caller to give.)
    watch: None, or a function watch(step, model) that is called after every draw's batches, with
    the average of the weights in the model; training ends when it returns True.
    Ctrl-C ends training early and leaves the model usable, in the mode, training or not, that it
    had.  Returns a History.
    Raises ValueError, before anything has changed, for bad arguments, a model in 16 bits or with
    parameters that share memory, a checkpoint that does not fit or cannot be written; and for a
    loss, examples or a watch that return something else; FloatingPointError if the loss or the
    weights are no longer finite.
    Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2017, eq. 5.  Taught in: 04, section 3.
    """
    setting = _checked_setting(steps, lr, warmup, batch_size, ema)
    generator = generator or torch.default_generator
    file = None if checkpoint is None else Checkpoint(checkpoint, setting, model)
    saved = file and file.read()
    run = _Run(model, setting)
    start, interrupted, ended = time.perf_counter(), False, False
    bar = tqdm(total=run.steps, disable=not progress or "TQDM_DISABLE" in os.environ)
    try:
        if saved:
            file.restore(saved, run, generator)
        bar.update(run.step)
        while run.step < run.steps and not ended:
            batches = run.batches(draw, generator)
            bar.set_postfix(loss=f"{run.advance(loss, batches):.3f}", refresh=False)
            if file is not None:
                file.write(run, generator)
            ended = watch is not None and _wants_to_end(watch, run)
            bar.update(len(batches))
    except KeyboardInterrupt:
        interrupted = True
        run.check_finite()
    finally:
        bar.close()
        run.release()
    return History(run.losses[: run.step].clone(), time.perf_counter() - start, interrupted)


def _checked_setting(steps, lr, warmup, batch_size, ema):
    """The numbers that decide a run, as Python's own; a checkpoint holds and compares them."""
    steps, lr = whole("steps", steps, 1), real("lr", lr, above=0)
    ema = None if ema is None else real("ema", ema)
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be None or in [0, 1), got {ema}")
    return {
        "steps": steps,
        "lr": lr,
        "warmup": whole("warmup", warmup, 0, steps),
        "batch_size": whole("batch_size", batch_size, 1),
        "ema": ema,
    }


def _split(drawn, n, batch_size):
    """Cut a tuple of (n * batch_size, ...) tensors into n batches of the tuple's own type."""
    if not isinstance(drawn, tuple) or not any(isinstance(x, torch.Tensor) for x in drawn):
        raise ValueError(
            f"draw(n, generator) must return a tuple of tensors, got {type(drawn).__name__}"
        )
    columns = []
    for x in drawn:
        if x is None:  # such as the labels of a PathSample that has none
            columns.append([None] * n)
            continue
        if not isinstance(x, torch.Tensor) or x.ndim == 0 or len(x) != n * batch_size:
            got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(
                f"draw(n, generator) must return tensors of n = {n * batch_size} rows, got {got}"
            )
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError("draw returned examples that are not finite: look at the data")
        columns.append(x.split(batch_size))
    make = getattr(type(drawn), "_make", tuple)  # a named tuple stays one
    return [make(batch) for batch in zip(*columns, strict=True)]


def _wants_to_end(watch, run):
    """Call watch(step, model), with the average in the model if there is one."""
    with run.average.shown():
        answer = watch(run.step, run.model)
    if answer is not None and not isinstance(answer, bool):
        raise ValueError(f"watch must return None, or True to end training, got {answer!r}")
    return bool(answer)


class _Run:
    """The state of one training run: weights, optimizer, average, losses, step."""

    def __init__(self, model, setting):
        self.model, self.setting = model, setting
        self.adam = FlatAdam(model)
        self.average = Average(self.adam.flat, model, setting["ema"])
        self.step, self.steps = 0, setting["steps"]
        self.losses = torch.full((self.steps,), math.nan, device="cpu")

    def batches(self, draw, generator):
        """As many batches as are drawn at once, or are left to do."""
        n, size = min(_BATCHES_PER_DRAW, self.steps - self.step), self.setting["batch_size"]
        return _split(draw(n * size, generator), n, size)

    def advance(self, loss, batches):
        """One optimizer step for each batch.  Returns the last loss."""
        first, losses = self.step, []
        try:
            for step, batch in enumerate(batches, first):
                value = loss(self.model, batch)
                if not isinstance(value, torch.Tensor) or value.ndim or not value.requires_grad:
                    raise ValueError(
                        "loss(model, batch) must return a scalar tensor, of shape (), that depends "
                        f"on the model's weights, got {value!r}"
                    )
                self.adam.descend(value, self.rate(step))
                self.average.update()
                losses.append(value.detach())
        finally:  # also when interrupted
            self.step += len(losses)
            if losses:
                self.losses[first : self.step] = torch.stack(losses)
        self.check_finite()
        return float(self.losses[self.step - 1])

    def rate(self, step):
        """The learning rate at a step: a cosine, and the rise to it."""
        lr, warmup = self.setting["lr"], self.setting["warmup"]
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rise * 0.5 * lr * (1 + math.cos(math.pi * step / self.steps))

    def check_finite(self):
        """Raise FloatingPointError if a loss or a weight is not finite."""
        finite = torch.isfinite(self.losses[: self.step]).all()
        if not (finite and torch.isfinite(self.adam.flat).all()):
            raise FloatingPointError(
                f"the loss or the weights are no longer finite by step {self.step}: lower lr, or "
                "look at the target"
            )

    def release(self):
        """Give each parameter its own memory again, holding the average if there is one."""
        self.average.put()
        self.adam.release()
