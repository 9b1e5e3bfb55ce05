import copy
import itertools
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import fmlib
from conftest import on_a_graphics_card
from fmlib.exact import GaussianMixture
from fmlib.losses import cfm_loss
from fmlib.models import MLP
from fmlib.paths import CondOT, PathSample
from fmlib.solvers import solve
from fmlib.training import examples, fit


def draw(n, generator):
    x_1 = 0.5 * torch.randn(n, 2, generator=generator)
    x_0 = torch.randn(n, 2, generator=generator)
    return CondOT().sample(x_0, x_1, torch.rand(n, generator=generator))


def model_and_generator():
    torch.manual_seed(0)
    return MLP(2, 16, 2), torch.Generator().manual_seed(1)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def train(model, generator, loss=cfm_loss, draw=draw, **options):
    options = {"steps": 200, "lr": 1e-2, "batch_size": 32, "progress": False} | options
    return fit(loss, model, draw, generator=generator, **options)


def test_it_learns_the_velocity():
    model, g = model_and_generator()
    history = train(model, g, steps=2000, batch_size=128)
    target = GaussianMixture(torch.zeros(1, 2), 0.5)
    batch = draw(4000, g)
    u = target.along(CondOT()).velocity(batch.x_t, batch.t)
    with torch.no_grad():
        relative = (model(batch.x_t, batch.t) - u).square().mean() / u.square().mean()
    assert relative < 0.03  # of the variance; an untrained network is near 1
    assert history.loss.shape == (2000,) and history.seconds > 0 and not history.interrupted


@pytest.mark.parametrize("warmup", [0, 10])
def test_it_is_plain_adam_with_a_cosine_learning_rate(warmup):
    """In float64, against torch's own optimizer and scheduler on separate parameters."""
    torch.manual_seed(0)
    ours, plain = MLP(2, 8, 2).double(), MLP(2, 8, 2).double()
    plain.load_state_dict(ours.state_dict())
    average = [p.detach().clone() for p in plain.parameters()]

    def draw_double(n, generator):
        drawn = draw(n, generator)
        return drawn._make(None if x is None else x.double() for x in drawn)

    fit(cfm_loss, ours, draw_double, steps=100, lr=1e-2, batch_size=16, ema=0.9,
        generator=torch.Generator().manual_seed(2), progress=False, warmup=warmup)  # fmt: skip

    g = torch.Generator().manual_seed(2)
    examples = [draw_double(64 * 16, g), draw_double(36 * 16, g)]  # as fit draws them
    rows = [torch.cat(parts).split(16) for parts in zip(*(e[:5] for e in examples), strict=True)]
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    parts = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)]
    if warmup:
        linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1)
        parts.append(linear)
    schedule = torch.optim.lr_scheduler.ChainedScheduler(parts, optimizer)
    for parts in zip(*rows, strict=True):
        optimizer.zero_grad()
        cfm_loss(plain, PathSample(*parts)).backward()
        optimizer.step()
        schedule.step()
        for a, p in zip(average, plain.parameters(), strict=True):
            a.lerp_(p.detach(), 0.1)
    for p, a in zip(ours.parameters(), average, strict=True):
        # the same arithmetic in another order, over a hundred steps
        torch.testing.assert_close(p.detach(), a, rtol=1e-8, atol=1e-10)


def test_the_same_seed_gives_the_same_bits():
    runs = []
    for _ in range(2):
        model, g = model_and_generator()
        train(model, g)
        runs.append(weights(model))
    assert torch.equal(*runs)


CHILD = """
import os, signal, sys; sys.path.insert(0, {folder!r})
from test_training import *
import fmlib.training as training
torch.set_num_threads(1)
class Clock:  # each look at the clock is two seconds later, so that each draw is followed by a save
    now = 0.0
    def monotonic(self): self.now += 2.0; return self.now
training.checkpoint.time = Clock()
fmlib.seed(3)
model, g = model_and_generator()
steps = 0
def dying(model, batch):
    global steps
    steps += 1
    if steps == 150: os.kill(os.getpid(), signal.SIGKILL)
    return noisy_loss(model, batch)
fit(dying, model, noisy_draw, steps=300, lr=1e-2, batch_size=32, ema=0.99, checkpoint={file!r},
    generator=g, progress=False)
"""


def noisy_draw(n, generator):
    """It uses the random numbers of torch, NumPy and Python beside the generator's."""
    drawn = draw(n, generator)
    extra = torch.from_numpy(np.random.randn(n, 2)).float() + random.gauss(0, 1)
    return drawn._replace(dx_t=drawn.dx_t + 0.1 * extra + 0.1 * torch.randn(n, 2))


def noisy_loss(model, batch):
    """As dropout does, it draws while the weights are trained."""
    return cfm_loss(model, batch) * (1 + 0.1 * torch.rand(()) + 0.1 * random.random())


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    file = tmp_path / "run.pt"
    code = CHILD.format(folder=str(Path(__file__).parent), file=str(file))
    child = subprocess.run([sys.executable, "-c", code])
    assert child.returncode == -signal.SIGKILL
    assert torch.load(file, weights_only=True)["step"] == 128  # it was killed on the way

    options = {"steps": 300, "ema": 0.99, "loss": noisy_loss, "draw": noisy_draw}
    resumed, _ = model_and_generator()
    fmlib.seed(99)  # whatever the state at the start, the checkpoint's counts
    history = train(resumed, torch.Generator().manual_seed(98), checkpoint=file, **options)
    fmlib.seed(3)
    straight, g = model_and_generator()
    whole = train(straight, g, **options)
    assert torch.equal(weights(resumed), weights(straight))
    assert torch.equal(history.loss, whole.loss)


@on_a_graphics_card
def test_a_graphics_card_trains_the_same_network_and_resumes(tmp_path, monkeypatch):
    """Whatever draws on the card's points, from a generator on the CPU, is the same run."""
    points, file = 0.5 * torch.randn(500, 2), tmp_path / "run.pt"
    clock = SimpleNamespace(monotonic=itertools.count(0, 2).__next__)  # each draw is saved
    monkeypatch.setattr("fmlib.training.checkpoint.time", clock)

    def end(device, **how):
        model, g = model_and_generator()
        draw = examples(CondOT(), points.to(device))
        train(model.to(device), g, draw=draw, ema=0.9, **how)
        return weights(model).cpu()

    on_card = end("cuda")
    torch.testing.assert_close(on_card, end("cpu"), rtol=1e-3, atol=1e-3)
    end("cuda", checkpoint=file, watch=lambda step, model: step == 64)
    assert torch.load(file, weights_only=True)["step"] == 64
    assert torch.equal(end("cuda", checkpoint=file), on_card)


def test_a_finished_run_is_not_repeated(tmp_path):
    model, g = model_and_generator()
    train(model, g, checkpoint=tmp_path / "run.pt")
    again, g = model_and_generator()
    history = fit(None, again, None, steps=200, batch_size=32, checkpoint=tmp_path / "run.pt",
                  generator=g, progress=False)  # fmt: skip
    assert torch.equal(weights(again), weights(model)) and history.loss.isfinite().all()


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    real_save, saved = torch.save, []

    def torn(state, to):
        if saved:
            Path(to).write_bytes(b"half a")
            raise OSError("No space left on device")
        real_save(state, to)
        saved.append(Path(to).read_bytes())

    monkeypatch.setattr(torch, "save", torn)
    monkeypatch.setattr(time, "monotonic", iter(range(0, 10_000, 2)).__next__)  # each save is due
    model, g = model_and_generator()
    with pytest.raises(OSError):
        train(model, g, checkpoint=file, steps=3 * 64)
    assert file.read_bytes() == saved[0]  # the first checkpoint, whole


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    model, g = model_and_generator()
    train(model, g, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="is from another run"):
        train(model, g, checkpoint=tmp_path / "run.pt", lr=1e-3)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_an_interrupt_leaves_a_usable_model(ema):
    model, g = model_and_generator()
    before = weights(model)
    calls = 0

    def interrupted(model, batch):
        nonlocal calls
        calls += 1
        if calls == 71:
            raise KeyboardInterrupt
        return cfm_loss(model, batch)

    history = fit(interrupted, model, draw, steps=200, batch_size=32, ema=ema, generator=g,
                  progress=False)  # fmt: skip
    assert history.interrupted and history.loss.shape == (70,) and history.loss.isfinite().all()
    after = weights(model)
    assert after.isfinite().all() and not torch.equal(after, before)
    storages = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert len(storages) == len(list(model.parameters()))  # each parameter has its own memory
    assert all(p.grad is None for p in model.parameters())
    train(model, g, steps=5)  # and can be trained again


@pytest.mark.parametrize("ema", [None, 0.9])
def test_one_may_watch_the_averaged_model_without_changing_the_run(ema):
    seen, result = {}, []
    for watch in (None, lambda step, model: seen.update({step: weights(model)})):
        model, g = model_and_generator()
        train(model, g, ema=ema, watch=watch)
        result.append(weights(model))
    assert torch.equal(*result)
    assert list(seen) == [64, 128, 192, 200] and torch.equal(seen[200], result[0])
    assert not torch.equal(seen[64], seen[128])


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_watcher_may_stop_the_run(ema):
    def stop(step, model):
        seen.append(weights(model))
        return step == 128

    seen, (model, g) = [], model_and_generator()
    history = train(model, g, ema=ema, watch=stop)
    assert not history.interrupted and history.loss.shape == (128,)
    assert torch.equal(weights(model), seen[1])


class Odd(nn.Module):
    """Frozen, tied and scalar parameters, and a buffer that changes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, t):
        self.calls += 1
        h = torch.cat([x, t.reshape(-1, 1)], dim=1)
        return (self.scale * self.b(torch.tanh(self.a(h))) * self.frozen)[:, :2]


def test_odd_parameters_are_handled(tmp_path):
    torch.manual_seed(0)
    model = Odd()
    scale = float(model.scale.detach())
    train(model, torch.Generator().manual_seed(1), checkpoint=tmp_path / "run.pt")
    assert model.a.weight is model.b.weight and torch.equal(model.frozen, torch.ones(3))
    assert float(model.scale.detach()) != scale and model.calls == 200
    again = Odd()
    train(again, torch.Generator().manual_seed(1), checkpoint=tmp_path / "run.pt")
    assert again.calls == 200


def test_a_plain_tuple_is_a_batch_too():
    model = nn.Linear(1, 1)
    history = fit(
        lambda m, batch: (m(batch[0]) - batch[1]).square().mean(),
        model,
        lambda n, g: (x := torch.rand(n, 1, generator=g), 2 * x + 1),
        steps=1500, lr=5e-2, generator=torch.Generator().manual_seed(0), progress=False,
    )  # fmt: skip
    assert history.loss[-1] < 1e-4
    assert float(model.weight.detach()) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("seen", [True, False])
def test_the_progress_bar_can_be_switched_off(seen, capfd, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if not seen:
        monkeypatch.setenv("TQDM_DISABLE", "1")
    model, g = model_and_generator()
    train(model, g, progress=True)
    assert ("200/200" in capfd.readouterr().err) == seen


@pytest.mark.parametrize(
    "change, says",
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"lr": math.nan}, "lr must be one finite number"),
        ({"ema": 1.0}, r"ema must be None or in \[0, 1\)"),
        ({"warmup": 201}, "warmup must be an integer from 0 to 200, got 201"),
    ],
)
def test_bad_arguments_are_refused(change, says):
    model, g = model_and_generator()
    with pytest.raises(ValueError, match=says):
        train(model, g, **change)


@pytest.mark.parametrize(
    "examples, says",
    [
        (lambda n, g: (torch.full((n, 2), math.nan),), "not finite"),
        (lambda n, g: (torch.zeros(3, 2),), "must return tensors of n = "),
        (lambda n, g: (torch.zeros(n), torch.zeros(())), r"of n = 768 rows, got \(\)"),
        (lambda n, g: (torch.zeros(n), [0.0] * n), "of n = 768 rows, got list"),
        (lambda n, g: [torch.zeros(n)], "must return a tuple of tensors, got list"),
        (lambda n, g: (None, None), "must return a tuple of tensors, got tuple"),
        (lambda n, g: None, "must return a tuple of tensors, got NoneType"),
    ],
)
def test_bad_examples_are_refused(examples, says):
    with pytest.raises(ValueError, match=says):
        fit(None, nn.Linear(2, 2), examples, steps=3, progress=False)


def test_a_loss_that_is_no_number_stops_the_run():
    model, g = model_and_generator()
    with pytest.raises(FloatingPointError, match="no longer finite"):
        fit(
            lambda m, b: cfm_loss(m, b) * math.nan,
            model,
            draw,
            steps=3,
            generator=g,
            progress=False,
        )


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="needs trainable parameters"):
        fit(cfm_loss, nn.Identity(), draw, steps=3, progress=False)


@pytest.mark.parametrize("made", [lambda n: torch.rand(n, 2), lambda n: (), lambda n: iter(())])
def test_examples_that_are_no_tuple_are_refused(made):
    with pytest.raises(ValueError, match="must return a tuple of tensors, got"):
        fit(lambda model, batch: None, nn.Linear(2, 2), lambda n, g: made(n), steps=2)


def test_weights_that_are_not_finite_are_refused_though_the_loss_is():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)  # the square root has an infinite gradient there
    with pytest.raises(FloatingPointError, match="the weights are no longer finite by step 1"):
        fit(lambda m, batch: m.weight.abs().sqrt().sum(), model, lambda n, g: (torch.rand(n),), 1)


def test_a_damaged_checkpoint_and_a_missing_folder_are_refused(tmp_path):
    (tmp_path / "run.pt").write_bytes(b"not a checkpoint")
    model, g = model_and_generator()
    with pytest.raises(ValueError, match="run.pt is damaged or of another model: delete it"):
        train(model, g, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="the checkpoint run.pt cannot be written: No such file"):
        train(model, g, checkpoint=tmp_path / "nowhere" / "run.pt")


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    model, g = model_and_generator()
    train(model, g, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="damaged or of another model"):
        train(MLP(2, 8, 1), g, checkpoint=tmp_path / "run.pt")


def test_nothing_has_changed_when_a_checkpoint_is_refused(tmp_path):
    """Neither the weights nor any state of random numbers."""
    model, g = model_and_generator()
    train(model, g, checkpoint=tmp_path / "run.pt")
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    last = list(state["model"])[-1]
    spoiled = {
        "model": {**state["model"], last: torch.zeros(5)},
        "adam": (state["adam"][0], state["adam"][1][:-1], state["adam"][2]),
        "average": [state["adam"][0]],
        "losses": state["losses"][:-1],
        "step": 201,
        "generator": torch.zeros(3, dtype=torch.uint8),
        "default_generator": None,
        "numpy": (torch.zeros(3, dtype=torch.int64), 1, 0, 0.0),
        "python": (3, torch.zeros(3), None),
        "setting": [1],
    }
    assert spoiled.keys() == state.keys()
    for name, value in spoiled.items():
        torch.save(state | {name: value}, tmp_path / "bad.pt")
        other, g = model_and_generator()
        before = weights(other), torch.get_rng_state(), np.random.get_state()[1].copy()
        pointers, random_state = [p.data_ptr() for p in other.parameters()], random.getstate()
        with pytest.raises(ValueError, match="bad.pt is damaged or of another model"):
            train(other, g, checkpoint=tmp_path / "bad.pt")
        after = weights(other), torch.get_rng_state(), np.random.get_state()[1]
        assert all((a == b).all() for a, b in zip(before, after, strict=True)), name
        assert random.getstate() == random_state
        assert [p.data_ptr() for p in other.parameters()] == pointers, name


@pytest.mark.parametrize("content", [b"", b"PK", [1, 2], {"weights": torch.zeros(3)}, None])
def test_a_foreign_file_is_refused_before_the_work(content, tmp_path):
    file = tmp_path / "run.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    model, g = model_and_generator()
    with pytest.raises(ValueError, match="run.pt is damaged or of another model"):
        train(model, g, checkpoint=file, loss=None, draw=None)  # neither is asked for anything


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    model, g = model_and_generator()
    for place in (tmp_path, tmp_path / "nowhere" / "run.pt", tmp_path / "file" / "run.pt"):
        with pytest.raises(ValueError, match="cannot be written"):
            train(model, g, checkpoint=place, loss=None, draw=None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("number", [np.float64, np.float32, torch.tensor], ids=lambda f: f.__name__)
def test_a_run_with_numbers_of_numpy_can_be_resumed(number, tmp_path):
    count = torch.tensor if number is torch.tensor else np.int64
    options = {"steps": count(70), "lr": number(0.0078125), "warmup": count(3), "ema": number(0.5)}
    ends = []
    for _ in range(2):
        model, g = model_and_generator()
        train(model, g, batch_size=count(32), checkpoint=tmp_path / "run.pt", **options)
        ends.append(weights(model))
    plain, g = model_and_generator()
    train(plain, g, steps=70, lr=0.0078125, warmup=3, ema=0.5)
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], weights(plain))


@pytest.mark.parametrize("first, second", [(False, True), (True, False), (True, True)])
def test_a_compiled_model_can_be_resumed(first, second, tmp_path):
    def made(compiled):
        model, g = model_and_generator()
        return (torch.compile(model, backend="eager") if compiled else model), g

    ends = []
    for compiled in (first, second):
        model, g = made(compiled)
        train(model, g, steps=40, checkpoint=tmp_path / "run.pt")
        ends.append(weights(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    "value", [0.5, torch.ones(1), torch.ones(()), torch.ones(3, requires_grad=True), None]
)
def test_a_loss_that_is_no_scalar_of_the_weights_is_refused(value):
    model, g = model_and_generator()
    before = weights(model)
    with pytest.raises(ValueError, match="must return a scalar tensor"):
        train(model, g, loss=lambda m, batch: value)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("answer", [1, 0.0, "stop", torch.tensor(True)])
def test_a_watch_that_returns_something_else_is_refused(answer):
    model, g = model_and_generator()
    with pytest.raises(ValueError, match="watch must return None, or True"):
        train(model, g, watch=lambda step, model: answer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_16_bits_is_refused(dtype):
    model = MLP(2, 8, 1).to(dtype)
    with pytest.raises(ValueError, match=f"must be float32 or float64, got {dtype}"):
        train(model, torch.Generator(), loss=None, draw=None)


def test_neighbours_in_one_piece_of_memory_are_trained():
    """As in a model that somebody has flattened: each parameter is its own part of it."""
    model, g = model_and_generator()
    straight = copy.deepcopy(model)
    flat, start = weights(model), 0
    for p in model.parameters():
        p.data = flat[start : start + p.numel()].view_as(p)
        start += p.numel()
    train(model, g, steps=5)
    train(straight, torch.Generator().manual_seed(1), steps=5)
    assert torch.equal(weights(model), weights(straight))


def test_what_is_missing_in_a_draw_may_stand_before_what_is_there():
    seen = []

    def loss(model, batch):
        seen.append(batch)
        return model(batch[1], torch.zeros(len(batch[1]))).square().mean()

    model, g = model_and_generator()
    train(model, g, loss=loss, draw=lambda n, g: (None, torch.ones(n, 2), torch.zeros(n)), steps=3)
    assert all(b[0] is None and b[1].shape == (32, 2) and b[2].shape == (32,) for b in seen)


def test_parameters_that_share_memory_are_refused():
    model = nn.Linear(3, 3, bias=False)
    model.other = nn.Parameter(model.weight.detach()[1:])
    pointers = [p.data_ptr() for p in model.parameters()]
    with pytest.raises(ValueError, match="two parameters share memory"):
        train(model, torch.Generator(), loss=None, draw=None)
    assert [p.data_ptr() for p in model.parameters()] == pointers


class Normed(nn.Module):
    """Batch normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.2), nn.Linear(8, 2)
        )

    def forward(self, x, t):
        return self.layers(torch.cat([x, t.expand(len(x))[:, None]], 1))


def test_what_batch_normalisation_keeps_is_averaged_with_the_weights():
    torch.manual_seed(0)
    model, seen = Normed(), []

    def loss(model, batch):
        value = cfm_loss(model, batch)
        seen.append(model.layers[1].running_mean.clone())
        return value

    mean = model.layers[1].running_mean.clone()
    train(model, torch.Generator().manual_seed(1), loss=loss, steps=30, ema=0.9)
    for now in seen:
        mean = 0.9 * mean + 0.1 * now
    torch.testing.assert_close(model.layers[1].running_mean, mean)
    assert not torch.allclose(model.layers[1].running_mean, seen[-1])
    assert model.training and model.layers[1].num_batches_tracked == 30


def test_solving_never_changes_a_model_nor_asks_one_that_changes_by_itself():
    model = Normed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"BatchNorm1d in training mode: call .eval\(\)"):
        solve(model, torch.zeros(4, 2), 3)
    ends = [solve(model.eval(), torch.ones(4, 2), 3).end for _ in range(2)]
    assert torch.equal(*ends)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
