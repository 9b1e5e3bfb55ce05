import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlib.models import MLP, Classifier, DiT, UNet


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
@settings(max_examples=20)
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


def random_dit(*arguments, **options):
    """A DiT whose gates are open: at the start they are closed, and the output is zero."""
    model = DiT(*arguments, **options).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


KINDS = {  # of y -> options, the shape of one y
    "none": ({}, None),
    "label": ({"words": 5}, ()),
    "text, joint": ({"words": 5, "length": 3}, (3,)),
    "text, one vector": ({"words": 5, "length": 3, "joint": False}, (3,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_dit_keeps_the_shape_and_rows_do_not_mix(kind):
    options, shape = KINDS[kind]
    model = random_dit((2, 4, 6), patch=2, width=8, depth=2, heads=2, **options)
    x, t = torch.randn(3, 2, 4, 6, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    y = None if shape is None else torch.randint(5, (3, *shape))
    out = model(x, t, y)
    assert out.shape == x.shape
    for i in range(3):
        row = None if y is None else y[i : i + 1]
        torch.testing.assert_close(model(x[i : i + 1], float(t[i]), row), out[i : i + 1])
    assert (model(x, 0.5 * t, y) - out).abs().min() > 0
    if y is not None:
        assert (model(x, t, (y + 1) % 5) - out).abs().min() > 0


def test_dit_starts_as_zero_and_its_blocks_as_the_identity():
    model = DiT((1, 4, 4), width=8, depth=2, heads=2, words=5, length=3)
    x, y = torch.randn(2, 1, 4, 4), torch.randint(5, (2, 3))
    assert torch.equal(model(x, 0.3, y), torch.zeros_like(x))
    tokens, c = model.tokens(x, 0.3, y)
    for before, after in zip(tokens, model.blocks[0](tokens, c), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("joint", [True, False])
def test_dit_reads_the_order_of_words(joint):
    model = random_dit((1, 4, 4), width=8, depth=1, heads=2, words=5, length=2, joint=joint)
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    a, b = (model(x, 0.5, torch.tensor([words])) for words in ([1, 2], [2, 1]))
    assert (a - b).abs().min() > 0


def test_tokens_of_dit_are_patches_and_only_their_place_tells_them_apart():
    model = random_dit((1, 4, 4), width=8, depth=2, heads=2)
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    swapped = x.roll(2, dims=3)  # left and right patches change places
    assert (model(swapped, 0.5) - model(x, 0.5).roll(2, dims=3)).abs().min() > 0
    model.place.data.zero_()
    torch.testing.assert_close(model(swapped, 0.5), model(x, 0.5).roll(2, dims=3))


def test_words_reach_the_image_through_attention_only():
    model = random_dit((1, 4, 4), width=8, depth=1, heads=2, words=5, length=3)
    image, words = model.blocks[0].streams
    x, y = torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.tensor([[1, 2, 3]])
    out = model(x, 0.5, y)
    words.qkv.weight.data[16:] = 0  # their values, the last third
    words.qkv.bias.data[16:] = 0
    words.qkv.bias.data[8:16] = 0  # and their keys: a score of 0
    words.qkv.weight.data[8:16] = 0
    silent = model(x, 0.5, y)
    assert (silent - out).abs().min() > 0
    torch.testing.assert_close(model(x, 0.5, torch.tensor([[4, 0, 0]])), silent)


def test_every_weight_of_dit_has_a_part_in_its_output():
    model = random_dit((1, 4, 4), width=8, depth=2, heads=2, words=2, length=2)
    out = model(torch.randn(4, 1, 4, 4, dtype=torch.float64), 0.5, torch.tensor([[0, 1]] * 4))
    for name, gradient in zip(
        dict(model.named_parameters()),
        torch.autograd.grad(out.square().sum(), list(model.parameters())),
        strict=True,
    ):
        assert gradient.abs().max() > 1e-12, name


def test_dit_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="patch must divide height and width"):
        DiT((1, 5, 4))
    with pytest.raises(ValueError, match="multiple of heads"):
        DiT((1, 4, 4), width=6)
    model, x = DiT((1, 4, 4), width=8), torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, 4, 4\), got \(2, 16\)"):
        model(x.flatten(1), 0.5)
    with pytest.raises(ValueError, match=r"y must be None, got \(2,\)"):
        model(x, 0.5, torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"y must be of shape \(2,\), got None"):
        DiT((1, 4, 4), width=8, words=3)(x, 0.5)
