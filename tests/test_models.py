import copy
import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conftest import close, on_a_graphics_card, other_defaults, randn
from fmlib import models
from fmlib.models import MLP, Classifier, DiT, UNet

# Every network, small: how it is built, and what it takes besides x, for three rows.
BUILT = {
    "MLP": {"dims": (1, 4, 4), "width": 6, "depth": 2},
    "UNet": {"dims": (1, 4, 4), "width": 4, "n_classes": 3},
    "DiT": {"dims": (1, 4, 4), "patch": 2, "width": 8, "depth": 2, "heads": 2, "words": 3,
            "length": 2},
    "Classifier": {"dims": (1, 4, 4), "n_classes": 3},
}  # fmt: skip
TIMES, LABELS = torch.tensor([0.1, 0.5, 0.8]).double(), torch.tensor([2, 0, 3])
WORDS = torch.tensor([[0, 1], [2, 2], [1, 0]])
REST = {"MLP": (TIMES,), "UNet": (TIMES, LABELS), "DiT": (TIMES, WORDS), "Classifier": ()}
IMAGES = randn(3, 1, 4, 4)
# What each of them says of IMAGES in the pixel (0, 0), if its weights are sines: see filled.
SAYS = {
    "MLP": [0.1818977, 0.1838951, 0.1833208],
    "UNet": [0.1739240, 2.8899306, 0.0120290],
    "DiT": [1.5318203, 1.6168639, 1.7201340],
    "Classifier": [0.8308213, 1.0309119, 0.8642110],
}
# The sum of the sizes of all weights with which each begins after torch.manual_seed(0).
BORN = {"MLP": 43.55339, "UNet": 674.99884, "DiT": 456.67129, "Classifier": 455.22479}
every_model = pytest.mark.parametrize("name", models.__all__)


def network(name):
    """In float64, and none of its layers zero, so that a test sees all of it."""
    torch.manual_seed(1)
    model = getattr(models, name)(**BUILT[name]).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def filled(name):
    """With weights that are no random numbers: 0.3 sin(k) for the k-th number of a tensor."""
    model = getattr(models, name)(**BUILT[name]).double()
    for p in model.parameters():
        p.data = 0.3 * torch.arange(p.numel(), dtype=torch.float64).sin().reshape(p.shape)
    return model


@every_model
def test_stored_weights_keep_their_meaning(name):
    """A number that was once computed: to change it makes every stored network another one."""
    found = filled(name)(IMAGES, *REST[name]).flatten(1)[:, 0]
    assert found.tolist() == pytest.approx(SAYS[name], rel=1e-5)


@every_model
def test_a_seed_makes_the_same_network_as_ever(name):
    torch.manual_seed(0)
    model = getattr(models, name)(**BUILT[name])
    total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
    assert total == pytest.approx(BORN[name], rel=1e-5)


@every_model
def test_a_network_takes_x_in_any_layout_and_any_number_of_rows(name):
    model = network(name)
    expected = model(IMAGES, *REST[name])
    spread = torch.stack([IMAGES, 0 * IMAGES], 1).flatten(0, 1)[::2]
    assert not spread.is_contiguous()
    for x in (spread, IMAGES.clone().requires_grad_(), IMAGES.mT.contiguous().mT):
        close(model(x, *REST[name]), expected)
    for n in (1, 0):
        close(model(IMAGES[:n], *(z[:n] for z in REST[name])), expected[:n])


@every_model
def test_a_network_does_not_look_at_torchs_defaults(name):
    model = network(name)
    expected = model(IMAGES, *REST[name])
    for default in (torch.float64, torch.bfloat16):
        with other_defaults(default):
            close(model(IMAGES, *REST[name]), expected)
    assert model(IMAGES, *REST[name]).dtype == torch.float64


@on_a_graphics_card
@every_model
def test_a_graphics_card_gives_the_same_numbers(name):
    model = network(name)
    expected = model(IMAGES, *REST[name])
    close(model.cuda()(IMAGES.cuda(), *(z.cuda() for z in REST[name])).cpu(), expected)


def refused(x):
    return [
        x.half(),
        x.bfloat16(),
        x.long(),
        x + 0j,
        x.float(),
        x[0],
        x[:, :, :2],
        x.to("meta"),
        None,
    ]


@every_model
def test_a_network_refuses_an_x_that_is_not_its_own(name):
    model = network(name)
    for x in refused(IMAGES):
        with pytest.raises(ValueError, match="^x "):
            model(x, *REST[name])
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(ValueError, match="float32 or float64"):
            model.to(dtype)(IMAGES.to(dtype), *REST[name])


@every_model
def test_a_network_runs_in_16_bits_inside_of_autocast(name):
    model = network(name)
    expected = model(IMAGES, *REST[name])
    with torch.autocast("cpu", torch.bfloat16):
        found = model.float()(IMAGES.float(), *REST[name])
        other = model.bfloat16()(IMAGES.float(), *REST[name])  # its weights in 16 bits, too
    for out in (found, other):
        assert (out - expected).abs().max() < 0.1 * expected.abs().max()


@every_model
def test_a_networks_sizes_may_come_from_numpy_and_are_whole(name):
    build, right = getattr(models, name), BUILT[name]
    assert set(inspect.signature(build).parameters) - {"joint"} == set(right)
    twin = build(**{key: np.array(value) if key == "dims" else np.int64(value)
                    for key, value in right.items()})  # fmt: skip
    shapes = {key: value.shape for key, value in build(**right).state_dict().items()}
    assert shapes == {key: value.shape for key, value in twin.state_dict().items()}
    assert type(twin.dims if name != "Classifier" else twin.features.dims) is tuple
    for key in right:
        for wrong in (True, "4", 4.0, -4, math.nan, 1j, [[4]]):
            with pytest.raises(ValueError, match=f"^{key} must be"):
                build(**right | {key: wrong})
    for wrong in ((1, 4, 0), (1, 4.0, 4), (True, 4, 4)):
        with pytest.raises(ValueError, match="^dims must be an integer of at least 1"):
            build(**right | {"dims": wrong})


@pytest.mark.parametrize("name", ["UNet", "DiT"])
def test_labels_and_words_are_whole_numbers_of_their_range(name):
    model, (t, y) = network(name), REST[name]
    expected = model(IMAGES, t, y)
    close(model(IMAGES, t, y.int()), expected)
    close(model(IMAGES, t, torch.stack([y, y], -1)[..., 0]), expected)
    for wrong in (
        y.double(),
        y.bool(),
        y + 0j,
        y.tolist(),
        y.numpy(),
        y[:2],
        y[None],
        y.to("meta"),
        1,
    ):
        with pytest.raises(ValueError, match=r"^y must be a tensor of whole numbers .* to fit x"):
            model(IMAGES, t, wrong)
    last = 3 if name == "UNet" else 2
    for wrong in (y - 1, y + 5):
        with pytest.raises(ValueError, match=rf"y must lie in 0 \.\.\. {last}, got {wrong.min()}"):
            model(IMAGES, t, wrong)


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


def test_detail_reaches_the_output_across_each_bridge_and_the_rest_around_it():
    model = awake(UNet(width=4))
    x, other = randn(2, 1, 1, 8, 8)
    for layer in ("refine.0", "refine.1"):
        silent = copy.deepcopy(model)
        nn.init.zeros_(silent.get_submodule(layer).weight)
        assert (silent(x, 0.5) - silent(other, 0.5)).abs().min() > 0  # across the bridge
        assert (silent(x, 0.5) - model(x, 0.5)).abs().min() > 0  # and around it, until now


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
        ({"dims": (1, 8, 6)}, "divisible by 4"),
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
    with pytest.raises(ValueError, match="y must be None"):
        UNet(width=2)(x, 0.5, torch.tensor([0, 1]))
    for y in (torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"whole numbers \(int64\) of shape \(2,\)"):
            labels(x, 0.5, y)


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
    for dims in ((1, 5, 4), (1, 4, 5)):
        with pytest.raises(ValueError, match="patch must divide height and width"):
            DiT(dims)
    for setting in ({"width": 6}, {"width": 5, "heads": 5}):
        with pytest.raises(ValueError, match="even and a multiple of heads"):
            DiT((1, 4, 4), **setting)
    with pytest.raises(ValueError, match="needs words"):
        DiT((1, 4, 4), length=3)
    with pytest.raises(ValueError, match="joint must be True or False, got 0"):
        DiT((1, 4, 4), joint=0)
    model, x = DiT((1, 4, 4), width=8), torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, 4, 4\), got \(2, 16\)"):
        model(x.flatten(1), 0.5)
    with pytest.raises(ValueError, match="y must be None"):
        model(x, 0.5, torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"of shape \(2,\) .*, got None"):
        DiT((1, 4, 4), width=8, words=3)(x, 0.5)


def set_modulation(layer, **bias):
    """Make what a block takes from its condition the given numbers, whatever the condition."""
    nn.init.zeros_(layer.weight)
    layer.bias.data = torch.cat(
        [torch.full((n,), v, dtype=torch.float64) for n, v in bias["parts"]]
    )


@pytest.mark.parametrize("channels", [3, 4])  # out of three: with and without a shortcut that acts
def test_a_block_of_the_unet_is_two_convolutions_beside_a_shortcut(channels):
    block = models.unet._ResBlock(3, channels, 5).double()
    nn.init.normal_(block.second.weight)
    x, e = randn(2, 3, 4, 4), randn(2, 5, seed=1)
    plain = nn.Sequential(nn.SiLU(), block.first, nn.SiLU(), block.second)
    set_modulation(block.modulation, parts=[(2 * channels, 0.0)])
    close(block(x, e), block.shortcut(x) + plain(x))
    # scale and shift act on the first convolution's result
    set_modulation(block.modulation, parts=[(channels, 0.5), (channels, -2.0)])
    found = block(x, e)
    block.first.weight.data *= 1.5
    block.first.bias.data = 1.5 * block.first.bias.data - 2
    close(found, block.shortcut(x) + plain(x))


def test_a_block_of_the_unet_starts_as_its_shortcut():
    block = models.unet._ResBlock(3, 4, 5).double()
    x, e = randn(2, 3, 4, 4), randn(2, 5, seed=1)
    close(block(x, e), block.shortcut(x))


def as_torchs(stream, heads):
    """torch's own transformer layer with the weights of a stream of DiT."""
    width = stream.qkv.in_features
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, nn.GELU("tanh"), batch_first=True, norm_first=True,
        layer_norm_eps=1e-5,
    ).double()  # fmt: skip
    layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias = (
        stream.qkv.weight,
        stream.qkv.bias,
    )
    layer.self_attn.out_proj, layer.linear1, layer.linear2 = (
        stream.out,
        stream.mlp[0],
        stream.mlp[2],
    )
    return layer


def test_a_block_of_dit_with_open_gates_is_torchs_transformer_layer():
    block = models.dit._Block(8, 2, [False]).double()
    x, c = randn(3, 5, 8), randn(3, 8, seed=1)
    (stream,) = block.streams
    set_modulation(stream.modulation, parts=[(16, 0.0), (8, 1.0), (16, 0.0), (8, 1.0)])
    close(block([x], c)[0], as_torchs(stream, 2)(x))
    # shift, scale, gate, of the attention and of the MLP: each as if it were part of the next layer
    numbers = [0.3, -0.4, 0.5, -0.2, 0.6, -0.7]
    set_modulation(stream.modulation, parts=[(8, v) for v in numbers])
    found = block([x], c)[0]
    other = copy.deepcopy(stream)
    for layer, shift, scale in ((other.qkv, *numbers[:2]), (other.mlp[0], *numbers[3:5])):
        layer.bias.data += shift * layer.weight.data.sum(1)
        layer.weight.data *= 1 + scale
    for layer, gate in ((other.out, numbers[2]), (other.mlp[2], numbers[5])):
        layer.weight.data *= gate
        layer.bias.data *= gate
    close(found, as_torchs(other, 2)(x))


def test_two_streams_with_one_set_of_weights_are_one_sequence():
    block = models.dit._Block(8, 2, [False, False]).double()
    block.streams[1] = block.streams[0]
    set_modulation(block.streams[0].modulation, parts=[(16, 0.0), (8, 1.0), (16, 0.0), (8, 1.0)])
    x, y, c = randn(3, 5, 8), randn(3, 2, 8, seed=1), randn(3, 8, seed=2)
    together = as_torchs(block.streams[0], 2)(torch.cat([x, y], 1))
    close(torch.cat(block([x, y], c), 1), together)


@pytest.mark.parametrize("model", [UNet(), DiT((1, 8, 8))], ids=["UNet", "DiT"])
def test_waves_tell_all_times_apart_and_close_ones_too(model):
    t = torch.linspace(0, 1, 1001)[:, None]
    waves = torch.cat([(t * model.frequency).cos(), (t * model.frequency).sin()], 1)
    apart = torch.cdist(waves, waves) / waves.norm(dim=1).mean()
    near = apart.diagonal(1)
    assert near.min() > 0.01  # a thousandth of the time
    assert apart[*torch.triu_indices(1001, 1001, 50)].min() > near.max()


def test_a_hidden_layer_is_followed_by_silu():
    model = MLP(dims=(), width=1, depth=2).double()
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)

    def silu(x):
        return x / (1 + math.exp(-x))

    found = model(torch.tensor([0.7]).double(), 0.4).item()
    assert found == pytest.approx(silu(silu(0.7 + 0.4)))
