import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlib.models import MLP, Classifier, UNet


@settings(deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple))
def test_output_has_the_shape_of_x_and_rows_do_not_mix(batch, dims):
    model = MLP(dims, width=8, depth=2).double()
    x, t = torch.randn(batch, *dims, dtype=torch.float64), torch.rand(batch, dtype=torch.float64)
    out = model(x, t)
    assert out.shape == x.shape
    for i in range(batch):
        torch.testing.assert_close(model(x[i : i + 1], float(t[i])), out[i : i + 1])
    torch.testing.assert_close(model(x, t.reshape(batch, *[1] * len(dims))), out)


def test_it_depends_on_time():
    model, x = MLP(), torch.randn(5, 2)
    assert (model(x, 0.1) - model(x, 0.9)).abs().min() > 0


def test_size_is_as_described():
    # 3 -> 64 -> 64 -> 64 -> 2, weights and biases
    assert sum(p.numel() for p in MLP(2, 64, 3).parameters()) == 256 + 2 * 4160 + 130


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 2\), got \(5, 3\)"):
        MLP(2)(torch.zeros(5, 3), 0.5)
    with pytest.raises(ValueError, match="t must be a scalar"):
        MLP(2)(torch.zeros(2, 2), torch.zeros(2, 2))


@pytest.mark.parametrize("setting", [{"width": 0}, {"depth": 0}])
def test_a_network_without_neurons_is_refused(setting):
    with pytest.raises(ValueError, match="at least 1"):
        MLP(**setting)


def test_a_point_may_be_a_number():
    assert MLP(dims=())(torch.zeros(5), 0.5).shape == (5,)


def awake(model):
    """A UNet whose blocks do not start as their shortcuts, so that a test sees all of it."""
    for name, parameter in model.named_parameters():
        if "second" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.double()


@pytest.mark.parametrize("n_classes", [0, 3])
@settings(deadline=None, max_examples=20)
@given(batch=st.integers(1, 3), channels=st.integers(1, 3), height=st.sampled_from([4, 8, 12]))
def test_unet_keeps_the_shape_and_rows_do_not_mix(n_classes, batch, channels, height):
    model = awake(UNet((channels, height, 8), width=4, n_classes=n_classes))
    x = torch.randn(batch, channels, height, 8, dtype=torch.float64)
    t, y = torch.rand(batch, dtype=torch.float64), torch.arange(batch) % 3 if n_classes else None
    out = model(x, t, y)
    assert out.shape == x.shape
    for i in range(batch):
        alone = model(x[i : i + 1], float(t[i]), None if y is None else y[i : i + 1])
        torch.testing.assert_close(alone, out[i : i + 1])


def test_unet_uses_every_weight_and_all_of_its_inputs():
    model = awake(UNet(width=4, n_classes=3))
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    t = torch.rand(4, dtype=torch.float64, requires_grad=True)
    model(x, t, torch.tensor([0, 1, 2, 3])).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert x.grad.abs().min() > 0 and t.grad.abs().min() > 0


def test_a_pixel_of_the_unet_sees_the_whole_image():
    model = awake(UNet(width=4))
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    model(x, 0.5)[0, 0, 0, 0].backward()
    assert (x.grad != 0).all()


def test_unet_with_no_label_is_its_last_label():
    model, x = awake(UNet(width=4, n_classes=3)), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    none = model(x, 0.3)
    torch.testing.assert_close(none, model(x, 0.3, torch.tensor([3, 3])), rtol=0, atol=0)
    for label in range(3):
        assert (model(x, 0.3, torch.tensor([label, label])) - none).abs().max() > 1e-6


def test_the_lessons_unet_has_between_100_and_300_thousand_weights():
    assert 100_000 < sum(p.numel() for p in UNet().parameters()) < 300_000


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dims": (1, 6, 8)}, "divisible by 4"),
        ({"dims": (8, 8)}, "channels, height, width"),
        ({"width": 0}, "at least 1"),
    ],
)
def test_a_unet_that_cannot_be_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        UNet(**setting)


def test_wrong_inputs_of_the_unet_are_refused():
    x, labels = torch.zeros(2, 1, 8, 8), UNet(width=2, n_classes=3)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, 8, 8\)"):
        UNet(width=2)(torch.zeros(2, 1, 8, 4), 0.5)
    with pytest.raises(ValueError, match="has no labels"):
        UNet(width=2)(x, 0.5, torch.tensor([0, 1]))
    for y in (torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match="one label for each image"):
            labels(x, 0.5, y)
    with pytest.raises(IndexError):
        labels(x, 0.5, torch.tensor([0, 4]))


def test_the_classifier_reads_features_of_any_size_of_image():
    model = Classifier((3, 7, 10), n_classes=4)
    x = torch.randn(5, 3, 7, 10)
    assert model(x).shape == (5, 4) and model.features(x).shape == (5, 40)
    assert model.features(x).min() >= 0
    torch.testing.assert_close(model.logits(model.features(x)), model(x))
