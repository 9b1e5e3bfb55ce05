"""The doors of fmlib: whatever a user may hand to a public function, by kind.

One table says how to call each function on points x; each test below tries one kind of input on all
of them: the right value comes out, or a ValueError. A name that is public and in no table fails
test_every_public_name_is_tried. (The tests of metrics, data, models, plotting and widgets hold
tables of their own.)
"""

import importlib
import inspect

import numpy as np
import pytest
import torch

from conftest import on_a_graphics_card, other_defaults, randn
from fmlib.couplings import independent, masked, minibatch_ot
from fmlib.diffusion import DDPM
from fmlib.exact import EmpiricalTarget, GaussianMixture, two_moons_target
from fmlib.losses import cfm_loss, fm_loss, noise_loss
from fmlib.paths import VE, VP, CondOT, Cosine, LinearVP, PathSample, Polynomial
from fmlib.predictions import convert, guide, transform_schedule
from fmlib.solvers import euler_step, heun_step, midpoint_step, rk4_step, sde_solve, solve
from fmlib.tiny_flux import paint, shifted_times
from fmlib.training import examples, fit

X = randn(6, 2)
MEANS = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]])
MIXTURE = GaussianMixture(MEANS.double(), 0.3)
CHAIN = DDPM(30)
HALF, KNOWN = torch.tensor(0.5), torch.tensor([True, False])


def g():
    return torch.Generator(device="cpu").manual_seed(1)


def still(x, t):
    return -x * (1 + t)


def field(x):
    """The mixture, at the precision of x, seen along a path."""
    return GaussianMixture(MEANS, 0.3).along(CondOT())


def batch(x):
    return CondOT().sample(x, x.flip(1), 0.4)


ROWS = {  # name -> a function of points, each row of whose result depends on that row alone
    "paths.AffinePath.sample": lambda x: VP().sample(x, x.flip(1), 0.4).dx_t,
    "paths.AffinePath.conditional_velocity": lambda x: VP().conditional_velocity(x, x + 1, 0.4),
    "couplings.independent": lambda x: independent(x, x.flip(1))[1],
    "exact.Field.velocity": lambda x: field(x).velocity(x, 0.4),
    "exact.Field.score": lambda x: field(x).score(x, 0.4),
    "exact.Field.log_prob": lambda x: field(x).log_prob(x, 0.4),
    "exact.Field.posterior_mean": lambda x: field(x).posterior_mean(x, 0.4),
    "exact.Field.posterior_weights": lambda x: field(x).posterior_weights(x, 0.4),
    "predictions.convert": lambda x: convert(x, x.flip(1), 0.4, VP()),
    "predictions.guide": lambda x: guide(still, lambda x, t: x, 2.0)(x, 0.4),
    "predictions.transform_schedule": lambda x: transform_schedule(still, VP(), CondOT())(x, 0.4),
    "solvers.euler_step": lambda x: euler_step(still, x, HALF, 0.1),
    "solvers.midpoint_step": lambda x: midpoint_step(still, x, HALF, 0.1),
    "solvers.heun_step": lambda x: heun_step(still, x, HALF, 0.1),
    "solvers.rk4_step": lambda x: rk4_step(still, x, HALF, 0.1),
    "solvers.solve": lambda x: solve(still, x, 4, "midpoint").end,
    "solvers.solve (times)": lambda x: solve(still, x, [0.0, 0.3, 1.0], "heun").end,
    "solvers.solve (dopri5)": lambda x: solve(still, x, 1, "dopri5", rtol=1e-9, atol=1e-9).end,
}
CLOUDS = {  # the same for results that depend on all rows together, or on the order of draws
    "couplings.masked": lambda x: masked(x, KNOWN, g())[0],
    "couplings.minibatch_ot": lambda x: minibatch_ot(x, x.flip(1) + 1)[0],
    "exact.GaussianMixture": lambda x: GaussianMixture(x, 0.3).along(VP()).velocity(x + 1, 0.4),
    "exact.EmpiricalTarget": lambda x: EmpiricalTarget(x).along(VP()).velocity(x + 1, 0.4),
    "exact.GaussianMixture.sample": lambda x: GaussianMixture(x, 0.3).sample(5, g()),
    "solvers.sde_solve": lambda x: sde_solve(still, still, x, 0.3, 4, generator=g()).end,
    "losses.cfm_loss": lambda x: cfm_loss(still_rows, batch(x)),
    "losses.fm_loss": lambda x: fm_loss(still_rows, batch(x), lambda x, t: x),
    "losses.noise_loss": lambda x: noise_loss(still_rows, batch(x)),
    "diffusion.DDPM.ancestral_sample": lambda x: (
        CHAIN.ancestral_sample(still, x, generator=g()).end
    ),
    "diffusion.DDPM.ddim_sample": lambda x: CHAIN.ddim_sample(still, x, 5).end,
    "training.examples": lambda x: examples(VP(), x)(8, g()).dx_t,
    "training.fit": lambda x: fitted(x),
}
WITHOUT_POINTS = {  # public, but no door for points: what it is, or which test tries it
    "paths": {"AffinePath", "CondOT", "VP", "Cosine", "LinearVP", "Polynomial", "VE", "PathSample"},
    "exact": {"Field", "two_moons_target"},
    "predictions": {"KINDS"},
    "solvers": {"Trajectory"},
    "training": {"History"},
}
TABLE = ROWS | CLOUDS
each = pytest.mark.parametrize("name", TABLE)


def still_rows(x, t, y=None):
    return -x * (1 + t[:, None])


def fitted(x):
    """The weights of a linear map after a few steps on x."""
    draw = examples(CondOT(), x)
    model = torch.nn.Linear(2, 2, bias=False, dtype=x.dtype, device="cpu")
    model.weight.data = x.new_tensor([[1.0, 0.5], [0.0, 1.0]])
    loss = lambda m, b: (m(b.x_1) - b.x_0).square().mean()  # noqa: E731
    fit(loss, model, draw, 5, batch_size=4, generator=g(), progress=False, ema=0.5)
    return model.weight.detach()


def agree(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_every_public_name_is_tried():
    tried = {tuple(name.split(" ")[0].split(".")[:2]) for name in TABLE}
    for module in ("paths", "couplings", "exact", "predictions", "solvers", "losses", "training"):
        public = set(importlib.import_module(f"fmlib.{module}").__all__)
        named = {name for owner, name in tried if owner == module}
        assert public - named == WITHOUT_POINTS.get(module, set()) - named, module


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_points_of_another_kind_are_refused_or_left_to_the_callback(name, dtype):
    if name.endswith("_step"):
        return  # the teaching code of a lesson, bare: solve checks for all of them
    with pytest.raises(ValueError, match="float32 or float64"):
        TABLE[name]((4 * X).to(dtype))


@each
def test_a_history_of_gradients_changes_no_value(name):
    agree(TABLE[name](X.clone().requires_grad_()).detach(), TABLE[name](X))


@each
def test_the_layout_in_memory_changes_no_value(name):
    scattered = torch.zeros(6, 4, dtype=X.dtype)[:, ::2].copy_(X)
    assert not scattered.is_contiguous()
    agree(TABLE[name](scattered), TABLE[name](X))


@each
def test_single_precision_gives_nearly_the_same_and_stays_single(name):
    result = TABLE[name](X.float())
    assert result.dtype == torch.float32
    torch.testing.assert_close(
        result.double(), TABLE[name](X.float().double()), rtol=2e-3, atol=2e-3
    ) if name in ROWS else None  # draws in another precision are other draws


@each
def test_no_points_give_none_or_a_reason(name):
    try:
        result = TABLE[name](X[:0])
    except ValueError as error:
        assert len(str(error)) > 20
    else:
        assert result.shape[0] == 0


@pytest.mark.parametrize("name", ROWS)
def test_a_row_alone_gets_what_it_gets_among_others(name):
    whole = ROWS[name](X)
    for i in range(len(X)):
        agree(ROWS[name](X[i : i + 1]), whole[i : i + 1])


@each
def test_the_default_device_is_nobodys_business(name):
    expected = TABLE[name](X)
    with torch.device("meta"):  # where nothing has a value
        result = TABLE[name](X)
    assert result.device.type == "cpu"
    agree(result, expected)


@on_a_graphics_card
@each
def test_a_graphics_card_gives_the_same_numbers(name):
    result = TABLE[name](X.cuda())
    assert result.device.type == "cuda"
    agree(result.cpu(), TABLE[name](X))


@each
def test_the_default_dtype_is_nobodys_business(name):
    single = TABLE[name](X.float())
    with other_defaults(torch.float64, "cpu"):
        result = TABLE[name](X.float())
    assert result.dtype == torch.float32
    agree(result, single)


@pytest.mark.parametrize("shift", [1e4, 1e7])
def test_far_from_the_origin_everything_moves_along(shift):
    """With data moved by c, p_t moves by alpha_t c, and its velocity by d_alpha_t c."""
    c, t = torch.tensor([shift, -shift], dtype=torch.float64), HALF.double()
    near, far = (GaussianMixture(MEANS.double() + d, 0.3) for d in (0 * c, c))
    for path in (CondOT(), VP(), Cosine(), LinearVP(), Polynomial(2.0)):
        here, there = near.along(path), far.along(path)
        x = X + path.alpha(t) * c
        expected = here.velocity(X, t) + path.d_alpha(t) * c
        close = {"rtol": 1e-9, "atol": 1e-7 * shift}
        torch.testing.assert_close(there.velocity(x, t), expected, **close)
        torch.testing.assert_close(
            there.posterior_mean(x, t), here.posterior_mean(X, t) + c, **close
        )
        torch.testing.assert_close(
            there.score(x, t), here.score(X, t), rtol=1e-6, atol=1e-8 * shift
        )
    x_0 = randn(20, 2, seed=4)
    x_1 = randn(20, 2, seed=5)
    assert torch.equal(
        minibatch_ot(x_0 + c, x_1 + c)[0] - c, minibatch_ot(x_0 + c - c, x_1)[0] + c - c
    )


# Numbers.

WHOLE, REAL = (np.int64, np.uint8, torch.tensor), (np.float64, np.float32, torch.tensor)
NUMBERS = {  # name -> (call of one number, its value, which kinds it has)
    "solve steps": (lambda n: solve(still, X, n).end, 3, WHOLE),
    "solve t_start": (lambda s: solve(still, X, 3, t_start=s).end, 0.25, REAL),
    "solve t_end": (lambda s: solve(still, X, 3, t_end=s).end, 0.75, REAL),
    "solve rtol": (lambda s: solve(still, X, 1, "dopri5", rtol=s).end, 0.0078125, REAL),
    "solve atol": (lambda s: solve(still, X, 1, "dopri5", atol=s).end, 0.0078125, REAL),
    "sde_solve steps": (lambda n: sde_solve(still, still, X, 0.5, n, generator=g()).end, 3, WHOLE),
    "sde_solve g": (lambda s: sde_solve(still, still, X, s, 3, generator=g()).end, 0.5, REAL),
    "sample t": (lambda t: VP().sample(X, X + 1, t).dx_t, 0.5, REAL),
    "conditional_velocity t": (lambda t: VP().conditional_velocity(X, X + 1, t), 0.5, REAL),
    "velocity t": (lambda t: MIXTURE.along(VP()).velocity(X, t), 0.5, REAL),
    "convert t": (lambda t: convert(X, X + 1, t, VP()), 0.5, REAL),
    "transform_schedule r": (lambda t: transform_schedule(still, VP(), CondOT())(X, t), 0.5, REAL),
    "guide w": (lambda w: guide(still, lambda x, t: x, w)(X, 0.5), 1.5, REAL),
    "VP beta": (lambda b: VP(b, 20.0).alpha(0.3), 0.5, REAL),
    "VE sigma": (lambda s: VE(s, 50.0).sigma(0.3), 0.5, REAL),
    "Cosine offset": (lambda s: Cosine(s).d_alpha(0.3), 0.5, REAL),
    "Polynomial n": (lambda n: Polynomial(n).sigma(0.7), 2.5, REAL),
    "mixture stds": (lambda s: GaussianMixture(MEANS, s).along(VP()).score(MEANS, 0.5), 0.5, REAL),
    "mixture n": (lambda n: MIXTURE.sample(n, g()), 4, WHOLE),
    "two_moons noise": (lambda s: two_moons_target(s).along(VP()).score(MEANS, 0.5), 0.5, REAL),
    "two_moons n": (lambda n: two_moons_target(0.1, n).means, 6, WHOLE),
    "DDPM n_steps": (lambda n: DDPM(n).alpha_bar, 40, WHOLE),
    "DDPM beta": (lambda b: DDPM(40, b, 0.5).alpha_bar, 0.25, REAL),
    "ddim steps": (lambda n: CHAIN.ddim_sample(still, X, n).end, 4, WHOLE),
    "ddim eta": (lambda s: CHAIN.ddim_sample(still, X, 4, s, g()).end, 0.5, REAL),
    "examples batch_size": (
        lambda n: examples(VP(), X, minibatch_ot, batch_size=n)(8, g()).x_t,
        4,
        WHOLE,
    ),
    "shifted_times n": (lambda n: shifted_times(n, 2.0), 4, WHOLE),
    "shifted_times shift": (lambda s: shifted_times(4, s), 2.5, REAL),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_numpy_or_torch_is_a_number(name):
    call, value, kinds = NUMBERS[name]
    for kind in kinds:
        result = call(kind(value))
        assert torch.equal(result, call(value)) and result.dtype == call(value).dtype, kind


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), None, "1", True, [0.5, 0.5], 1j], ids=repr)
def test_what_is_no_number_is_refused(name, value):
    if value is None and name in ("DDPM beta", "ddim steps"):
        return  # the documented way to say "the usual"
    if isinstance(value, list) and name == "ddim steps":
        return  # a grid of its own, of which another test knows
    with pytest.raises(ValueError):
        NUMBERS[name][0](value)


@pytest.mark.parametrize("shift", [0, -1.0, float("inf")])
def test_times_cannot_be_shifted_by_what_is_not_positive(shift):
    with pytest.raises(ValueError, match="shift must be"):
        shifted_times(4, shift)


# Callbacks.

WRONG = {
    "None": lambda x: None,
    "a tuple": lambda x: (x,),
    "an array": lambda x: x.numpy(),
    "a model's output object": lambda x: type("Output", (), {"sample": x})(),
    "whole numbers": lambda x: x.long(),
    "complex": lambda x: x + 0j,
    "one row": lambda x: x[:1],
    "one column": lambda x: x[..., :1],
    "transposed": lambda x: x.permute(*reversed(range(x.ndim))),
    "another device": lambda x: x.to("meta"),
}
PICTURE = torch.zeros(2, 7, dtype=torch.int64)
CALLBACKS = {  # name -> a call with the function to be tried
    "solve": lambda f: solve(f, X, 3),
    "solve, dopri5": lambda f: solve(f, X, 3, "dopri5"),
    "sde_solve, velocity": lambda f: sde_solve(f, still, X, 0.1, 3),
    "sde_solve, score": lambda f: sde_solve(still, f, X, 0.1, 3),
    "guide, conditional": lambda f: guide(f, still, 2.0)(X, 0.5),
    "guide, unconditional": lambda f: guide(still, f, 2.0)(X, 0.5),
    "transform_schedule": lambda f: transform_schedule(f, VP(), CondOT())(X, 0.5),
    "cfm_loss": lambda f: cfm_loss(f, batch(X)),
    "noise_loss": lambda f: noise_loss(f, batch(X)),
    "fm_loss, model": lambda f: fm_loss(f, batch(X), still_rows),
    "fm_loss, velocity": lambda f: fm_loss(still_rows, batch(X), f),
    "ancestral_sample": lambda f: CHAIN.ancestral_sample(f, X),
    "ddim_sample": lambda f: CHAIN.ddim_sample(f, X, 3),
    "paint": lambda f: paint(lambda x, t, y: f(x, t), PICTURE, steps=2),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLBACKS)
def test_what_a_callback_returns_must_be_like_x(name, wrong):
    with pytest.raises(ValueError, match="must return"):
        CALLBACKS[name](lambda x, t: WRONG[wrong](x))


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_in_another_precision_is_taken_at_that_of_x(name):
    """What autocast or a network in float32 returns: rounded, and no reason to stop."""
    result = CALLBACKS[name](lambda x, t: (-0.5 * x).to(torch.bfloat16))
    result = getattr(result, "end", result)
    assert result.dtype == (torch.float32 if name == "paint" else torch.float64)


def test_arguments_after_the_first_have_names():
    """A typo must be an error: no public function hands unknown keywords on."""
    modules = ("paths", "couplings", "exact", "predictions", "solvers", "losses", "training")
    for module in modules:
        owner = importlib.import_module(f"fmlib.{module}")
        for name in owner.__all__:
            thing = getattr(owner, name)
            if not callable(thing) or thing is PathSample:
                continue
            kinds = {p.kind for p in inspect.signature(thing).parameters.values()}
            assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, (
                name
            )


def test_no_argument_is_changed():
    """Whatever goes in is, bit for bit, what it was when it comes out."""
    for name, call in TABLE.items():
        x = X.clone()
        call(x)
        assert torch.equal(x, X), name
