import base64
import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from conftest import randn

matplotlib.use("Agg")

from fmlib import plotting
from fmlib.solvers import solve


@pytest.fixture(autouse=True)
def no_figure_is_left():
    plotting.use_style()
    yield
    plt.close("all")


def log_gaussian(mean, std):
    return lambda x: -0.5 * ((x - torch.tensor(mean)) / std).square().sum(1)


FLOW = solve(lambda x, t: torch.stack([-x[:, 1], x[:, 0]], 1), randn(5, 2, dtype=torch.float32), 8)
DRAWN = {
    "scatter": lambda ax: plotting.scatter(randn(5, 2), ax),
    "quiver": lambda ax: plotting.quiver(lambda x, t: -x, 0.5, ax),
    "trajectories": lambda ax: plotting.trajectories(FLOW, ax),
    "density": lambda ax: plotting.density(log_gaussian([0.0, 0.0], 1.0), ax),
    "warped_grid": lambda ax: plotting.warped_grid(lambda x: x, ax),
    "image_grid": lambda ax: plotting.image_grid(randn(3, 1, 4, 4), ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_takes_an_axes_and_returns_it(name):
    fig, ax = plt.subplots()
    assert DRAWN[name](ax) is ax
    assert len(plt.get_fignums()) == 1  # and opens no other figure
    own = DRAWN[name](None)
    assert own.figure is not fig and len(plt.get_fignums()) == 2


def test_panels_are_equal_and_show_the_box():
    axes = plotting.panels(5, limit=(-1, 3, -2, 2), columns=3, titles=["a", "b"])
    assert len(axes) == 5 and [ax.get_title() for ax in axes] == ["a", "b", "", "", ""]
    assert {ax.get_xlim() for ax in axes} == {(-1.0, 3.0)}
    assert {ax.get_ylim() for ax in axes} == {(-2.0, 2.0)}
    assert all(ax.get_aspect() == 1 for ax in axes)
    fig = plt.figure()
    assert plotting.panels(1, fig=fig)[0].figure is fig


def test_scatter_shows_the_points():
    x = randn(7, 2)
    shown = plotting.scatter(x).collections[0].get_offsets()
    np.testing.assert_allclose(shown, x)
    with pytest.raises(ValueError, match="floating-point"):
        plotting.scatter([[1, 2]])


def test_quiver_shows_the_field_at_its_places():
    arrows = plotting.quiver(lambda x, t: t * torch.stack([x[:, 1], -x[:, 0]], 1), 0.5).collections[
        0
    ]
    x = arrows.get_offsets()
    np.testing.assert_allclose(
        np.stack([arrows.U, arrows.V], 1), 0.5 * np.stack([x[:, 1], -x[:, 0]], 1), rtol=1e-5
    )


def test_trajectories_are_lines_through_the_states_coloured_by_time():
    lines = plotting.trajectories(FLOW, n=3).collections[0]
    pieces = np.array(lines.get_segments()).reshape(8, 3, 2, 2)  # (steps, points, ends, xy)
    np.testing.assert_allclose(pieces[:, :, 0], FLOW.x[:-1, :3])
    np.testing.assert_allclose(pieces[:, :, 1], FLOW.x[1:, :3])
    colors = lines.get_colors().reshape(8, 3, 4)[:, 0, :3]
    np.testing.assert_allclose(colors, [plotting.TIME((i + 0.5) / 8)[:3] for i in range(8)])
    one = plotting.trajectories(FLOW, n=3, color="red")
    assert len(one.lines) == 3 and one.lines[0].get_color() == "red"


def test_density_is_the_right_way_round():
    image = plotting.density(log_gaussian([2.0, -1.0], 0.3), n=60).images[0]
    row, column = np.unravel_index(np.argmax(image.get_array()), (60, 60))
    x_0, x_1, y_0, y_1 = image.get_extent()
    assert abs(x_0 + (x_1 - x_0) * (column + 0.5) / 60 - 2.0) < 0.1
    assert abs(y_0 + (y_1 - y_0) * (row + 0.5) / 60 + 1.0) < 0.1
    assert image.origin == "lower" and image.get_array().max() > 0.9


def test_the_grid_under_the_identity_is_the_grid():
    lines = plotting.warped_grid(lambda x: x, limit=1.0, n=3).lines
    seen = {tuple(np.ptp(line.get_xydata(), axis=0).round(6)) for line in lines}
    assert len(lines) == 6 and seen == {(2.0, 0.0), (0.0, 2.0)}


def test_images_stand_in_reading_order():
    images = torch.stack([torch.full((1, 2, 2), i / 5) for i in range(5)])
    sheet = plotting.image_grid(images, columns=3).images[0].get_array()
    assert sheet.shape == (5, 8)
    assert (
        sheet[0, 0] == 0 and sheet[0, 3] == pytest.approx(0.2) and sheet[3, 0] == pytest.approx(0.6)
    )
    assert sheet[2, 0] == -1 and sheet[4, 7] == -1  # gaps and the empty place are paper


def test_colours_of_time():
    assert plotting.time_color(0) == plotting.SOURCE and plotting.time_color(1) == plotting.TARGET
    assert plotting.time_color(0.5) == plotting.TIME(0.5)
    bar = plotting.time_bar(plotting.panels(2))
    assert bar.vmin == 0 and bar.vmax == 1


def test_an_animation_has_its_frames_and_stops():
    def draw(fig, i):
        plotting.scatter(torch.tensor([[i / 5, 0.0]]), plotting.panels(1, fig=fig)[0], size=90)

    picture = plotting.animate(draw, 6, loops=2, alt="a point")
    image = Image.open(io.BytesIO(picture.data))
    assert image.n_frames == 6 and image.info["loop"] == 2 and picture.alt == "a point"
    frames = []
    for i in range(6):
        image.seek(i)
        frames.append(np.asarray(image.convert("L")))
    assert all((a != b).any() for a, b in zip(frames[:-1], frames[1:], strict=True))
    assert base64.b64encode(picture.data) and plt.get_fignums() == []


def test_what_is_not_in_the_plane_is_refused():
    for x in (torch.zeros(4, 3), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"x must have shape \(n, 2\)"):
            plotting.scatter(x)
    with pytest.raises(ValueError, match=r"trajectory.x must have shape \(steps \+ 1, n, 2\)"):
        plotting.trajectories(solve(lambda x, t: x, torch.zeros(4, 3)))
    with pytest.raises(ValueError, match=r"images must be \(n, 1, height, width\)"):
        plotting.image_grid(torch.zeros(2, 3, 8, 8))
