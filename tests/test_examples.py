"""fmlib.training.examples: what fit draws."""

import pytest
import torch

from conftest import randn
from fmlib.couplings import masked, minibatch_ot
from fmlib.data import checkerboard, two_moons
from fmlib.exact import GaussianMixture
from fmlib.losses import cfm_loss
from fmlib.models import UNet
from fmlib.paths import VP, CondOT
from fmlib.training import examples, fit

POINTS, LABELS = torch.arange(20.0).reshape(10, 2), torch.arange(10)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_lesson_04s_draw():
    """Data, noise, times, in this order, from one generator: the same bits."""
    g = generator(3)
    x_1 = two_moons(50, generator=g)
    x_0 = torch.randn(50, 2, generator=g)
    expected = CondOT().sample(x_0, x_1, torch.rand(50, generator=g))
    drawn = examples(CondOT(), two_moons)(50, generator(3))
    for a, b in zip(drawn[:5], expected[:5], strict=True):
        assert torch.equal(a, b)
    assert drawn.y is None


def test_rows_of_points_keep_their_labels(path):
    drawn = examples(path, POINTS.double(), labels=LABELS)(400, generator())
    assert torch.equal(drawn.x_1, POINTS.double()[drawn.y])
    counts = drawn.y.bincount(minlength=10)
    assert counts.min() > 15 and counts.max() < 75  # 40 each, six standard deviations of 6
    assert drawn.x_t.dtype == drawn.t.dtype == torch.float64


def test_a_function_may_return_labels_with_its_points():
    def labelled(n, generator):
        y = torch.randint(10, (n,), generator=generator)
        return POINTS[y], y

    drawn = examples(CondOT(), labelled, minibatch_ot)(100, generator())
    assert torch.equal(drawn.x_1, POINTS[drawn.y])


def test_the_coupling_pairs_each_batch_by_itself_and_leaves_the_data_in_place():
    plain = examples(CondOT(), checkerboard)(96, generator())
    paired = examples(CondOT(), checkerboard, minibatch_ot, batch_size=32)(96, generator())
    assert torch.equal(paired.x_1, plain.x_1) and torch.equal(paired.t, plain.t)
    for rows in (slice(0, 32), slice(32, 64), slice(64, 96)):
        assert torch.equal(paired.x_0[rows], minibatch_ot(plain.x_0[rows], plain.x_1[rows])[0])
    assert not torch.equal(paired.x_0, minibatch_ot(plain.x_0, plain.x_1)[0])


def test_a_coupling_may_make_the_source_from_the_data():
    known = torch.tensor([True, False])
    drawn = examples(CondOT(), POINTS, lambda x_0, x_1: masked(x_1, known))(30, generator())
    assert torch.equal(drawn.x_0[:, 0], drawn.x_1[:, 0]) and (drawn.dx_t[:, 0] == 0).all()


def test_pairs_made_before_stay_pairs():
    drawn = examples(VP(), (POINTS + 100, POINTS))(50, generator())
    assert torch.equal(drawn.x_0, drawn.x_1 + 100) and len(drawn.x_1.unique(dim=0)) == 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_times_are_uniform_up_to_the_paths_end(path, dtype):
    t = examples(path, POINTS.to(dtype))(20_000, generator()).t
    assert t.dtype == dtype and 0 <= t.min() and t.max() < path.t_end
    ranks = t.sort().values / path.t_end - torch.arange(20_000) / 20_000
    assert ranks.abs().max() < 2 / 20_000**0.5  # Kolmogorov and Smirnov's 99.9 % is at 1.95


def test_times_may_be_drawn_otherwise():
    draw = examples(CondOT(), POINTS, times=lambda n, g: torch.randn(n, generator=g).sigmoid())
    t = draw(10_000, generator()).t
    assert abs(float(((t > 0.25) & (t < 0.75)).double().mean()) - 0.728) < 0.02  # |z| < log 3


def test_a_target_is_data():
    target = GaussianMixture(randn(3, 2), 0.1)
    drawn = examples(CondOT(), target.sample)(7, generator())
    assert torch.equal(drawn.x_1, target.sample(7, generator())) and drawn.t.dtype == torch.float64


def test_fit_hands_the_labels_to_the_model():
    torch.manual_seed(0)
    images = torch.full((2, 1, 4, 4), -1.0)
    images[1] = 1.0
    model = UNet((1, 4, 4), width=2, n_classes=2)
    draw = examples(CondOT(), images, labels=torch.tensor([0, 1]))
    fit(cfm_loss, model, draw, steps=150, batch_size=32, generator=generator(), progress=False)
    x, t = torch.zeros(2, 1, 4, 4), torch.tensor(0.0)
    with torch.no_grad():
        u = model(x, t, torch.tensor([0, 1])).mean((1, 2, 3))
    assert u[0] < -0.5 and u[1] > 0.5  # at t = 0 the velocity is the mean of what the label allows


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"data": POINTS[:0]}, "no rows"),
        ({"data": POINTS.long()}, "data must be a tensor of float32 or float64"),
        ({"data": "moons"}, "data must be a tensor of float32 or float64, got str"),
        ({"data": POINTS / 0}, "data must be finite"),
        ({"data": (POINTS, POINTS[:3])}, "x_0 and x_1 must have the same shape"),
        ({"data": POINTS, "labels": LABELS[:3]}, "10 rows and 3 labels"),
        ({"data": two_moons, "labels": LABELS}, "labels go with points"),
        ({"data": POINTS, "batch_size": 0}, "batch_size must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused_at_once(arguments, says):
    with pytest.raises(ValueError, match=says):
        examples(CondOT(), **arguments)


WRONG = {
    "data": [
        (lambda n, generator: None, "what data returns must be a tensor"),
        (lambda n, generator: torch.zeros(n + 1, 2), "must return n = 8 rows, got 9"),
        (lambda n, generator: (torch.zeros(n, 2), torch.zeros(3)), "y must have a row for each"),
    ],
    "coupling": [
        (lambda x_0, x_1: None, "must return the pair"),
        (lambda x_0, x_1: (x_0[:1], x_1), "must have the same shape"),
        (lambda x_0, x_1: (x_0, x_1.flip(0)), "moved the rows of x_1"),
    ],
    "times": [
        (lambda n, g: None, r"must return a tensor .*\(8,\), got NoneType"),
        (lambda n, g: torch.rand(n, 1), r"got \(8, 1\)"),
        (lambda n, g: torch.rand(n) + 2, r"t must lie in \[0, 1\]"),
    ],
}


@pytest.mark.parametrize("name, function, says", [(n, *pair) for n in WRONG for pair in WRONG[n]])
def test_what_its_functions_return_is_checked(name, function, says):
    draw = examples(CondOT(), **{"data": two_moons} | {name: function})
    with pytest.raises(ValueError, match=says):
        draw(8, generator())
