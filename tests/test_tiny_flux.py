import hashlib
import itertools
import json

import pytest
import torch

from fmlib.losses import cfm_loss
from fmlib.tiny_flux import (
    FOLDER,
    Recipe,
    load,
    paint,
    rating,
    shifted_times,
    train,
)
from fmlib.tiny_flux.__main__ import main
from fmlib.tiny_flux.scenes import (
    LAYOUTS,
    LENGTH,
    WORDS,
    Reader,
    Scenes,
    compose,
    encode,
    halves,
    is_unseen,
    layout_of,
    parse,
    prompts,
)

TRAINING, HELD_OUT = halves()


@pytest.fixture(scope="module")
def reader():
    return Reader(TRAINING)


@pytest.fixture(scope="module")
def stored():
    return json.loads((FOLDER / "tiny_flux.json").read_text(encoding="utf-8"))


# The grammar


def test_the_grammar_says_what_its_description_says():
    assert parse("a three left of a seven above a two") == ((3, 7), (2,))
    assert parse("a two below a seven right of a three") == ((3, 7), (2,))
    assert parse("Two nines") == ((9, 9),)
    assert parse("two twos below a two") == ((2,), (2, 2))
    assert prompts(((4, 4),)) == ["a four left of a four", "a four right of a four", "two fours"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_sentence_of_a_scene_describes_it(layout):
    for numbers in itertools.product((0, 2, 9), repeat=sum(layout)):
        rest = iter(numbers)
        scene = tuple(tuple(itertools.islice(rest, n)) for n in layout)
        texts = prompts(scene)
        assert len(set(texts)) == len(texts) and layout_of(scene) == layout
        words = encode(texts)
        assert words.shape == (len(texts), LENGTH) and words.max() < len(WORDS)
        for text, row in zip(texts, words, strict=True):
            assert parse(text) == parse(row) == scene


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "a three left",
        "two three",
        "a one above",
        "a one above a two below a six",
        "three",
        "a three left a seven",
        "an three left of a seven",
        "a eight",
        "of two twos",
    ],
)
def test_what_is_not_of_the_grammar_is_refused(text):
    for function in (parse, lambda text: encode([text])):
        with pytest.raises(ValueError, match="not of the grammar: try"):
            function(text)


def test_one_pair_in_five_is_never_trained():
    beside = {pair for pair in itertools.product(range(10), repeat=2) if is_unseen((pair,))}
    above = {
        pair
        for pair in itertools.product(range(10), repeat=2)
        if is_unseen(tuple((k,) for k in pair))
    }
    assert beside == above and len(beside) == 20
    for side in (0, 1):  # every digit stands in two of them, on either side
        assert sorted(pair[side] for pair in beside) == sorted([*range(10)] * 2)
    trained = Scenes(TRAINING)
    for layout, numbers, *_ in trained.tables:
        top, bottom = numbers[:, : layout[0]], numbers[:, layout[0] :]
        pairs = {(int(a), int(b)) for row in (top, bottom) if row.shape[1] == 2 for a, b in row}
        pairs |= {
            (int(a[i]), int(b[j]))
            for a, b in zip(top, bottom, strict=True)
            for i in range(len(a))
            for j in range(len(b))
        }
        assert not pairs & beside
        assert sum(layout) == 1 or len(pairs) == 80


# The pictures


def test_the_halves_share_nothing():
    assert len(TRAINING.labels) + len(HELD_OUT.labels) == 1797
    a, b = ({image.numpy().tobytes() for image in half.images} for half in (TRAINING, HELD_OUT))
    assert not a & b


def test_a_picture_holds_its_digits_and_nothing_else():
    ink = torch.rand(3, 4, 8, 8)
    for layout in LAYOUTS:
        picture = compose(ink[:, : sum(layout)], layout)
        assert picture.shape == (3, 1, 16, 16)
        total = ((picture + 1).sum((1, 2, 3)), (ink[:, : sum(layout)] + 1).sum((1, 2, 3)))
        torch.testing.assert_close(*total)
    assert torch.equal(compose(ink, (2, 2))[:, 0, 8:, :8], ink[:, 2])
    assert torch.equal(compose(ink[:, :1], (1,))[:, 0, 4:12, 4:12], ink[:, 0])


def test_drawn_pictures_are_of_the_given_digits_and_as_their_texts_say(reader, generator):
    scenes = Scenes(HELD_OUT, unseen=True)
    pictures, words = scenes.draw(1200, generator)
    asked = [parse(row) for row in words]
    assert all(map(is_unseen, asked))
    counts = [sum(layout_of(scene) == layout for scene in asked) for layout in LAYOUTS[1:]]
    assert min(counts) > 180  # of 240 expected, standard deviation 14
    found = reader.read(pictures)
    assert [layout_of(scene) for scene in found] == [layout_of(scene) for scene in asked]
    assert sum(a == b for a, b in zip(asked, found, strict=True)) > 0.94 * 1200
    known = {image.numpy().tobytes() for image in HELD_OUT.images[:, 0]}
    four = next(i for i, scene in enumerate(asked) if layout_of(scene) == (2, 2))
    assert pictures[four, 0, :8, 8:].numpy().tobytes() in known


def test_the_reader_reads_digits_it_has_not_seen_and_sees_the_layout_of_faint_noise(reader):
    right = reader.digits(HELD_OUT.images) == HELD_OUT.labels
    assert right.float().mean() > 0.98
    picture = compose(HELD_OUT.images[:2].transpose(0, 1), (2,))
    a, b = HELD_OUT.labels[:2].tolist()
    assert reader.read(picture + 0.02 * torch.randn_like(picture)) == [((a, b),)]


# Training and sampling


TINY = Recipe(width=16, depth=2, heads=2, steps=70, batch_size=8, warmup=5)


def test_training_is_the_same_each_time_and_follows_the_recipe():
    seen = []
    (a, history), (b, _) = (
        train(TINY, lambda step, model: seen.append(step), False) for _ in range(2)
    )
    assert seen == [64, 70] * 2 and history.loss.shape == (70,)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("logit_normal", [True, False])
def test_examples_are_drawn_as_the_recipe_says(logit_normal, generator):
    recipe = Recipe(logit_normal=logit_normal, drop=0.25)
    batch = recipe.draw_from(Scenes(TRAINING))(4000, generator)
    _, _, t, x_t, dx_t, y = batch
    x_1 = x_t + (1 - t[:, None, None, None]) * dx_t  # the straight path ends in the picture
    assert x_1.min() > -1.001 and x_1.max() < 1.001
    assert abs(float((y == 0).all(1).float().mean()) - 0.25) < 0.04
    middle = float(((t > 0.25) & (t < 0.75)).float().mean())  # for the sigmoid: |N(0, 1)| < log 3
    assert abs(middle - (0.728 if logit_normal else 0.5)) < 0.03
    model = lambda x, t, y: dx_t  # noqa: E731
    assert cfm_loss(model, batch) == 0
    assert cfm_loss(lambda x, t, y: dx_t + 1, batch) == pytest.approx(256, rel=1e-4)


def test_shifted_times_are_those_of_more_noise():
    assert torch.equal(shifted_times(4), torch.linspace(0, 1, 5))
    k, t = 3.0, shifted_times(50, 3.0)
    noise = 1 - torch.linspace(0, 1, 51)  # Esser et al.'s clock
    torch.testing.assert_close(1 - t, k * noise / (1 + (k - 1) * noise))
    assert t[0] == 0 and t[-1] == 1 and t.diff().min() > 0


def test_guidance_is_linear_in_w_for_a_velocity_that_does_not_depend_on_x(generator):
    def model(x, t, y):
        return torch.ones_like(x) * (1.0 + y.any(1)[:, None, None, None])

    y = encode(["a one", "two twos"])
    start = [paint(model, y, w=0.0, generator=torch.Generator().manual_seed(1)) - 1]
    for w, n_steps, shift in ((1.0, 3, 1.0), (2.0, 5, 1.0), (4.0, 7, 3.0)):
        x = paint(model, y, w, n_steps, shift, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(x - start[0], torch.full_like(x, 1 + w))


# The stored weights


def test_the_stored_model_draws_what_it_was_never_shown(reader, stored):
    model = load()
    assert sum(p.numel() for p in model.parameters()) == stored["parameters"]
    unseen = Scenes(TRAINING, unseen=True)
    result = rating(model, unseen, reader, n=300, steps=8)
    assert result.scenes > 0.97 and result.digits > 0.98
    assert stored["scores"]["unseen, w = 2"]["scenes"] >= 0.98  # of 2,000 texts, by make weights


def test_the_stored_weights_are_small_and_of_the_recipe_in_the_code(stored):
    data = (FOLDER / "tiny_flux.safetensors").read_bytes()
    assert len(data) < 2_000_000
    assert hashlib.sha256(data).hexdigest() == stored["sha256"]
    assert Recipe(**stored["recipe"]) == Recipe(), "the recipe has changed: run `make weights`"


def test_training_today_starts_as_that_of_the_stored_weights_did(stored):
    def stop(step, model):
        raise KeyboardInterrupt

    _, history = train(Recipe(), stop, progress=False)
    assert history.interrupted
    # 64 steps; other instructions change the last digits only
    torch.testing.assert_close(
        history.loss[:64], torch.tensor(stored["first_losses"]), rtol=5e-3, atol=0
    )


def test_make_weights_stores_a_model_and_all_about_it(tmp_path, capsys):
    main(["--folder", str(tmp_path), "--steps", "70", "--texts", "12"])
    about = json.loads((tmp_path / "tiny_flux.json").read_text(encoding="utf-8"))
    (point,) = about["curve"]
    assert point.keys() == {"step", "unseen", "no_guidance", "seen", "loss"} and point["step"] == 70
    assert point["loss"] < about["first_losses"][0] and len(about["first_losses"]) == 64
    assert list(about["scores"]) == [f"{a}, w = {w}" for a in ("seen", "unseen") for w in (1, 2)]
    model = load(tmp_path)
    trained, _ = train(Recipe(**about["recipe"]), progress=False)
    for p, q in zip(model.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)  # 16-bit numbers
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tiny_flux.json",
        "tiny_flux.safetensors",
    ]


def test_an_interrupted_make_weights_stores_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr("fmlib.tiny_flux.__main__.rating", interrupted)
    with pytest.raises(SystemExit, match="nothing was stored"):
        main(["--folder", str(tmp_path), "--steps", "128"])
    assert list(tmp_path.iterdir()) == []


def test_missing_or_damaged_weights_are_named_with_the_command_that_rebuilds_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="tiny_flux.json is missing: .*make weights"):
        load(tmp_path)
    about, weights = (tmp_path / f"tiny_flux.{end}" for end in ("json", "safetensors"))
    about.write_bytes((FOLDER / about.name).read_bytes())
    with pytest.raises(FileNotFoundError, match="safetensors is missing: .*make weights"):
        load(tmp_path)
    data = bytearray((FOLDER / weights.name).read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="damaged, .*make weights"):
        load(tmp_path)
