"""fmlib.challenge: what is given, that the budget holds, what a file may be, what a judge sees."""

import hashlib
import json

import numpy as np
import pytest
import torch

from fmlib.challenge import Entry, Judge, OverBudget, digits, enter, load, read
from fmlib.challenge.__main__ import main
from fmlib.challenge.entries import IMAGES, RUNS, TRAINING, Budget, Metered, store
from fmlib.challenge.given import Recipe, train, unseen
from fmlib.challenge.judge import _classifier
from fmlib.losses import cfm_loss
from fmlib.paths import CondOT
from fmlib.predictions import guide
from fmlib.solvers import solve
from fmlib.stored import FOLDER
from fmlib.training import examples, fit

TRAIN, TRIAL = digits()


@pytest.fixture(scope="module")
def stored():
    return json.loads((FOLDER / "challenge.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def judge():
    return Judge(TRIAL.images)


def midpoint(network, x, evaluations, generator):
    return solve(network, x, evaluations // 2, "midpoint", keep="end").end


def rows(n, data=TRAIN.images, seed=0):
    return data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:n]]


# What is given


def test_no_digit_is_in_two_parts():
    parts = [{x.numpy().tobytes() for x in part} for part in (TRAIN.images, TRIAL.images, unseen())]
    assert [len(part) for part in parts] == [899, 449, 449]
    assert len(set().union(*parts)) == 1797


def test_the_stored_network_is_small_and_of_the_recipe_in_the_code(stored):
    data = (FOLDER / "challenge.safetensors").read_bytes()
    assert len(data) < 500_000 and hashlib.sha256(data).hexdigest() == stored["sha256"]
    assert Recipe(**stored["recipe"]) == Recipe(), "the recipe has changed: run `make weights`"
    assert sum(p.numel() for p in load().parameters()) == stored["parameters"]


def test_training_today_starts_as_that_of_the_stored_network_did(stored):
    _, history = train(Recipe(), lambda step, model: step >= 64, progress=False)
    first = torch.tensor(stored["first_losses"])
    torch.testing.assert_close(history.loss[:64], first, rtol=5e-3, atol=0)


def test_make_weights_stores_what_training_gives(tmp_path):
    main(["--folder", str(tmp_path), "--steps", "70"])
    trained, _ = train(Recipe(steps=70), progress=False)
    for p, q in zip(load(tmp_path).parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)  # 16-bit numbers


def test_an_interrupted_training_stores_nothing(tmp_path, monkeypatch):
    def interrupted(recipe):
        return train(recipe, lambda step, model: (_ for _ in ()).throw(KeyboardInterrupt), False)

    monkeypatch.setattr("fmlib.challenge.__main__.train", interrupted)
    with pytest.raises(SystemExit, match="nothing was stored"):
        main(["--folder", str(tmp_path), "--steps", "70"])
    assert list(tmp_path.iterdir()) == []


def test_labels_are_left_out_as_often_as_the_recipe_says(generator):
    y = Recipe(drop=0.25).draw_from(TRAIN)(4000, generator).y
    assert abs(float((y == 10).float().mean()) - 0.25) < 0.04
    assert set(y.tolist()) == set(range(11))


def test_the_network_draws_the_digit_that_it_is_told(judge):
    y = torch.arange(200) % 10
    x_0 = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    network = load()
    with torch.no_grad():
        told = solve(lambda x, t: network(x, t, y), x_0, 8, "midpoint", keep="end").end
    assert not any(p.requires_grad for p in network.parameters())
    classes = torch.stack([TRAIN.images[TRAIN.labels == c].mean(0) for c in range(10)])
    nearest = torch.cdist(told.flatten(1), classes.flatten(1)).argmin(1)
    assert float((nearest == y).float().mean()) > 0.85


# The budget


def test_a_network_is_asked_as_often_as_the_budget_says():
    budget = Budget(10)
    metered, x = Metered(load(), budget), torch.zeros(4, 1, 8, 8)
    metered(x, 0.5)
    metered(x, 0.5, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(OverBudget, match="10 evaluations of an image; 4 were asked for when 2"):
        metered(x, 0.5)
    assert metered(x[:2], 0.5).shape == (2, 1, 8, 8) and budget.left == 0


@pytest.mark.parametrize("per_step, fits", [(2, True), (1, False)])
def test_guidance_costs_two(per_step, fits, tmp_path):
    def guided(network, x, evaluations, generator):
        y = torch.arange(len(x)) % 10
        field = guide(lambda x, t: network(x, t, y), network, 1.5)
        return solve(field, x, evaluations // per_step, "euler", keep="end").end

    if fits:
        enter("guided", guided, folder=tmp_path)
        return
    with pytest.raises(OverBudget):
        enter("guided", guided, folder=tmp_path)


def test_gradients_pass_through_what_learns_and_both_draw_on_one_budget():
    budget = Budget(20)
    own, given = Metered(Recipe().model(), budget, learns=True), Metered(load(), budget)
    x = torch.zeros(5, 1, 8, 8, requires_grad=True)
    assert own(x, 0.5).requires_grad and not given(x, 0.5).requires_grad
    assert budget.left == 10


# Entries and their files


def test_an_entry_comes_back_from_its_file(tmp_path):
    noise = []

    def first(network, x, evaluations, generator):
        noise.append(x.clone())
        x += 1  # its own copy
        return midpoint(network, x, evaluations, generator)

    made = enter("  Two words ", first, folder=tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["two-words.sampler.npz"]
    back = read(tmp_path / "two-words.sampler.npz")
    assert back[:2] == ("Two words", "sampler") == made[:2]
    for n in (2, 4):
        assert back.images[n].shape == (RUNS, IMAGES, 1, 8, 8)
        torch.testing.assert_close(back.images[n], made.images[n], rtol=1e-3, atol=1e-3)
    again = enter("other", midpoint, folder=tmp_path)
    assert not torch.equal(again.images[2], made.images[2])
    assert all(torch.equal(noise[k], noise[k + RUNS]) for k in range(RUNS))  # for 2 and for 4
    assert not torch.equal(noise[0], noise[1])


def test_a_training_of_ones_own_is_run_within_its_budget(tmp_path):
    seen = {}

    def few_steps(network, given, data, generator):
        start = [p.clone() for p in network.parameters()]
        network.load_state_dict(given.state_dict())
        seen["moved"] = any(
            not torch.equal(p, q) for p, q in zip(start, network.parameters(), strict=True)
        )
        draw = examples(CondOT(), data.images, labels=data.labels)
        fit(cfm_loss, network, draw, 3, batch_size=8, generator=generator, progress=False)
        seen["left"] = given.budget.left

    entry = enter("한국어", midpoint, few_steps, tmp_path)
    assert entry.track == "training" and read(tmp_path / "한국어.training.npz").name == "한국어"
    assert seen["moved"] and seen["left"] == TRAINING - 24
    same = enter("한국어", midpoint, folder=tmp_path)
    assert not torch.allclose(entry.images[2], same.images[2])

    def too_long(network, given, data, generator):
        for _ in range(TRAINING // 899 + 1):
            given(data.images, 0.5)

    with pytest.raises(OverBudget, match="64,000"):
        enter("long", midpoint, too_long, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_who_draws_without_the_generator_gets_the_same_and_disturbs_nobody(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b = (enter("chance", lambda net, x, n, g: torch.randn_like(x), None, tmp_path) for _ in "ab")
    assert torch.equal(a.images[4], b.images[4]) and torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda network, x, n, g: x[:5], r"\(5, 1, 8, 8\)"),
        (lambda network, x, n, g: x.double(), "float64"),
        (lambda network, x, n, g: None, "NoneType"),
        (lambda network, x, n, g: x / 0, "finite"),
    ],
)
def test_what_is_no_sample_is_refused(wrong, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        enter("wrong", wrong, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "  ", "...", "x" * 41, "a\x00b"])
def test_a_name_has_a_letter_and_is_short(name, tmp_path):
    with pytest.raises(ValueError, match="at most 40"):
        enter(name, midpoint, folder=tmp_path)


def test_a_name_of_forty_letters_is_short_enough(tmp_path):
    images = {n: torch.zeros(RUNS, IMAGES, 1, 8, 8) for n in (2, 4)}
    store(Entry("가" * 40, "sampler", images), tmp_path)
    assert read(next(tmp_path.iterdir())).name == "가" * 40


def test_a_name_leads_nowhere_else(tmp_path):
    folder = tmp_path / "in"
    store(Entry("../../out of/it", "sampler", {}), folder)
    assert [f.name for f in folder.iterdir()] == ["out-of-it.sampler.npz"]


def entry(tmp_path, **changed):
    images = {n: torch.zeros(RUNS, IMAGES, 1, 8, 8) for n in (2, 4)}
    store(Entry(**{"name": "a", "track": "sampler", "images": images} | changed), tmp_path)
    return next(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    "changed",
    [
        {"track": "both"},
        {"images": {2: torch.zeros(RUNS, IMAGES, 1, 8, 8)}},
        {"images": {n: torch.zeros(RUNS, 5, 1, 8, 8) for n in (2, 4)}},
        {"images": {n: torch.full((RUNS, IMAGES, 1, 8, 8), torch.nan) for n in (2, 4)}},
        {"name": "x" * 50},
    ],
)
def test_a_file_that_is_no_entry_is_refused_by_its_name(changed, tmp_path):
    assert read(entry(tmp_path / "right")).name == "a"
    file = entry(tmp_path / "wrong", **changed)
    with pytest.raises(ValueError, match=f"{file.name} is no entry"):
        read(file)


def test_a_damaged_file_or_one_that_could_run_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no numbers", encoding="utf-8")
    np.savez(tmp_path / "pickle.npz", about=np.array({"name": "a"}, dtype=object))
    right = entry(tmp_path / "right").read_bytes()
    (tmp_path / "half.npz").write_bytes(right[: len(right) // 2])
    for name in ("text", "pickle", "half", "missing"):
        with pytest.raises(ValueError, match=f"{name}.npz is no entry"):
            read(tmp_path / f"{name}.npz")


# The judge


def test_real_digits_are_no_copies_and_lie_close():
    for seed in range(8):
        both = torch.cat([TRIAL.images, unseen()])
        order = torch.randperm(898, generator=torch.Generator().manual_seed(seed))
        rating = Judge(both[order[:449]]).rate(both[order[449:]])
        assert not rating.copies and rating.gap < 0.1 and 0.4 < rating.newness < 0.6


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_copies_are_seen_also_if_they_are_few_and_a_little_noisy(judge, share, noise, generator):
    x = unseen().clone()
    n = round(share * len(x))
    x[:n] = rows(n) + noise * torch.randn(n, 1, 8, 8, generator=generator)
    assert judge.rate(x).copies


def test_what_is_blurred_or_shrunken_is_bad_and_no_copy(judge):
    mean = TRAIN.images.mean(0)
    shrunken = judge.rate(mean + 0.8 * (unseen() - mean))
    assert shrunken.gap > 0.2 and not shrunken.copies and shrunken.recall < 0.8


def test_the_scoreboards_judge_sees_copies_of_the_trial_digits_and_compares_with_the_unseen(judge):
    final = Judge()
    assert torch.equal(final.real, unseen()) and len(final.shown) == 899 + 449
    assert final.rate(TRIAL.images).copies and not Judge(TRIAL.images).rate(unseen()).copies


def test_a_judge_is_the_same_each_time_and_leaves_random_numbers_alone(judge):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _classifier.cache_clear()
    other = Judge(TRIAL.images)
    assert torch.equal(torch.rand(3), expected)
    assert other.rate(unseen()) == judge.rate(unseen())


def test_images_that_do_not_fit_are_refused(judge):
    for x in (unseen()[:10], unseen() * torch.nan):
        with pytest.raises(ValueError):
            judge.rate(x)
