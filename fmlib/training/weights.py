"""The weights of a model in training: Adam on them as one vector, and their running average."""

from contextlib import contextmanager

import torch
from torch.optim.adam import adam  # the function behind the class: a third of its overhead


class FlatAdam:
    """Adam on one long vector; the model's trainable parameters are windows onto it.

    Raises ValueError, before anything has changed, for a model without trainable parameters, with
    some of 16 bits (where most of Adam's steps are lost to rounding) or of different dtypes or
    devices, or with some that share memory (which would be pulled apart).
    Kingma and Ba 2015, algorithm 1, by torch's fused kernel.
    """

    def __init__(self, model):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        _check_parameters(self.parameters)
        self.flat = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient = torch.zeros_like(self.flat)
        windows = self.flat.split([p.numel() for p in self.parameters])
        for p, window in zip(self.parameters, windows, strict=True):
            p.data = window.view_as(p)
        count = torch.zeros((), dtype=torch.float32, device=self.flat.device)  # as Adam wants it
        self.state = torch.zeros_like(self.flat), torch.zeros_like(self.flat), count  # m, v, steps

    def descend(self, loss, lr):
        """One step down the gradient of a scalar loss."""
        gradient = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        torch.cat([g.flatten() for g in gradient], out=self.gradient)
        m, v, count = self.state
        with torch.no_grad():
            adam(
                [self.flat], [self.gradient], [m], [v], [], [count], fused=True, amsgrad=False,
                beta1=0.9, beta2=0.999, lr=lr, weight_decay=0.0, eps=1e-8, maximize=False,
            )  # fmt: skip

    def release(self):
        """Give each parameter its own memory again."""
        for p in self.parameters:
            p.data = p.data.clone()


def _check_parameters(parameters):
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) != 1:
        raise ValueError("the model needs trainable parameters, all of one dtype and device")
    ((dtype, _),) = kinds
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the model's parameters must be float32 or float64, got {dtype}: train in float32, "
            "with torch.autocast around the model for speed"
        )
    spans = sorted((p.data_ptr(), p.data_ptr() + p.numel() * p.itemsize) for p in parameters)
    if any(start < end for (_, end), (start, _) in zip(spans[:-1], spans[1:], strict=True)):
        raise ValueError(
            "two parameters share memory: use one torch.nn.Parameter in both places instead"
        )


class Average:
    """The running average of the weights, (1 - rate) new + rate old; with rate None there is none.

    Averaged are the flat vector of parameters and the model's buffers of real numbers, such as the
    statistics of batch normalisation, which belong to the weights.
    """

    def __init__(self, flat, model, rate):
        self.rate = rate
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        self.live = [] if rate is None else [flat, *buffers]
        self.mean = [x.detach().clone() for x in self.live]

    @torch.no_grad()
    def update(self):
        for mean, live in zip(self.mean, self.live, strict=True):
            mean.lerp_(live, 1 - self.rate)

    @torch.no_grad()
    def put(self):
        """Leave the average in the model."""
        for mean, live in zip(self.mean, self.live, strict=True):
            live.copy_(mean)

    @contextmanager
    def shown(self):
        """The average is in the model while this lasts."""
        before = [x.detach().clone() for x in self.live]
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for live, now in zip(self.live, before, strict=True):
                    live.copy_(now)
