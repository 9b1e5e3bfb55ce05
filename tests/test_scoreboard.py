"""tools/scoreboard.py: who comes first, who copies, and which files are left out."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fmlib.challenge import Entry, digits, load
from fmlib.challenge.entries import IMAGES, RUNS, store
from fmlib.solvers import solve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import scoreboard


def add(folder, name, two, four=None, track="sampler"):
    images = {2: two, 4: two if four is None else four}
    images = {n: x.expand(RUNS, IMAGES, 1, 8, 8) for n, x in images.items()}
    store(Entry(name, track, images), folder)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A folder with entries that are as good as their names say, after main."""
    folder = tmp_path_factory.mktemp("scores")
    generator = torch.Generator().manual_seed(0)
    network, normal = load(), lambda: torch.randn(IMAGES, 1, 8, 8, generator=generator)
    field = lambda x, t: network(x, t, torch.arange(len(x)) % 10)  # noqa: E731
    made = solve(field, normal(), 8, "midpoint", keep="end").end.clamp(-1, 1)
    noisy = lambda std: made + std * normal()  # noqa: E731
    add(folder, "worst", noisy(0.5))
    add(folder, "copies", digits().train.images[:IMAGES])
    add(folder, "some | 두 번째 $2", noisy(0.2), noisy(0.3), "training")
    add(folder, "best", noisy(0.2), noisy(0.0))
    (folder / "broken.npz").write_bytes(b"")
    (folder / "notes.txt").write_text("no entry", encoding="utf-8")
    scoreboard.main([str(folder)])
    return folder


def test_the_best_is_first_and_copies_are_last(board):
    text = (board / "scoreboard.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [line.replace("\\|", "").split("|") for line in lines]
    head, rule, *names = [row[2].strip() for row in cells]
    assert head == "name" and set(rule) == {"-"}
    assert names == ["best", "some  두 번째 $2", "worst", "copies"]
    assert [row[1].strip() for row in cells[2:]] == ["1", "2", "3", ""]
    assert [row[-2].strip() for row in cells[2:]] == ["", "", "", "copies"]
    assert [row[3].strip() for row in cells[2:]] == ["sampler", "training", "sampler", "sampler"]
    assert len({len(row) for row in cells}) == 1


def test_points_are_the_mean_of_both_gaps(board):
    row = scoreboard.rated([board / "best.sampler.npz"], scoreboard.Judge())[0][0]
    gaps = [100 * row.mean(n).gap for n in (2, 4)]
    assert gaps[0] > gaps[1] > 0 and row.points == pytest.approx(sum(gaps) / 2)


def test_the_picture_is_there(board):
    assert Image.open(board / "scoreboard.png").width > 600


def test_a_file_that_is_no_entry_is_named_and_left_out(board, capsys):
    scoreboard.main([str(board)])
    told = capsys.readouterr()
    assert "broken.npz is no entry" in told.err and "notes" not in told.err
    assert told.out == (board / "scoreboard.md").read_text(encoding="utf-8") + "\n"


def test_a_name_that_no_font_can_draw_is_told_once(board, capsys, monkeypatch):
    monkeypatch.setattr(scoreboard, "FONTS", ["DejaVu Sans"])
    scoreboard.main([str(board)])
    assert capsys.readouterr().err.count("no font") == 1


def test_without_an_entry_it_says_where_they_come_from(tmp_path):
    with pytest.raises(SystemExit, match="the challenge's notebook stores them"):
        scoreboard.main([str(tmp_path)])
