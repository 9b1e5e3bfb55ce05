import base64
import inspect
import io
import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from conftest import other_defaults, randn

matplotlib.use("Agg")

from fmlib import plotting
from fmlib.solvers import Trajectory, solve


@pytest.fixture(autouse=True)
def no_figure_is_left():
    plotting.use_style()
    yield
    plt.close("all")


def log_gaussian(mean, std):
    return lambda x: -0.5 * ((x - torch.tensor(mean)) / std).square().sum(1)


FLOW = solve(lambda x, t: torch.stack([-x[:, 1], x[:, 0]], 1), randn(5, 2, dtype=torch.float32), 8)


def point(fig, i):
    plotting.scatter(
        torch.tensor([[i / 5, 0.0]], dtype=torch.float32, device="cpu"),
        plotting.panels(1, fig=fig)[0],
    )


# Every function: the arguments of a right call.
CALLS = {
    "animate": {"frame": point, "n_frames": 2},
    "density": {"log_prob": lambda x: -x.square().sum(1), "n": 4},
    "image_grid": {"images": randn(3, 1, 4, 4).clamp(-1, 1), "columns": 2},
    "panels": {"n": 2},
    "quiver": {"velocity": lambda x, t: t - x, "t": 0.5, "n": 3, "scale": 10.0},
    "scatter": {"x": randn(5, 2)},
    "time_bar": {},
    "time_color": {"t": 0.5},
    "trajectories": {"trajectory": FLOW},
    "use_style": {},
    "warped_grid": {"flow_map": lambda x: 0.5 * x, "n": 3},
}
every_function = pytest.mark.parametrize(
    "name", [name for name in plotting.__all__ if inspect.isfunction(getattr(plotting, name))]
)


def call(name, **how):
    if name == "time_bar":
        how |= {"axes": plotting.panels(2)}
    return getattr(plotting, name)(**CALLS[name] | how)


def picture(found):
    """What one sees of what a function returned."""
    if found is None or isinstance(found, (str, tuple)):
        return found
    if hasattr(found, "data") and not isinstance(found, np.ndarray):
        return found.data
    figure = getattr(np.atleast_1d(found)[0], "ax", np.atleast_1d(found)[0]).figure
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).tobytes()


@every_function
def test_a_picture_does_not_depend_on_torchs_defaults(name):
    expected = picture(call(name))
    for default in (torch.float64, torch.bfloat16):
        with other_defaults(default):
            found = call(name)
        assert picture(found) == expected


WHOLE = {"n", "columns", "n_frames", "loops"}
NUMBERS = {  # besides those that have a number as their default
    "animate": {"n_frames": 2}, "panels": {"n": 2, "columns": 1}, "time_color": {"t": 0.5},
    "quiver": {"t": 0.5, "scale": 10.0},
}  # fmt: skip


def numbers(name):
    """Every number that a function takes, with a right value."""
    parameters = inspect.signature(getattr(plotting, name)).parameters.values()
    default = {p.name: p.default for p in parameters if isinstance(p.default, (int, float))}
    return default | NUMBERS.get(name, {})


@every_function
def test_a_number_may_come_from_numpy_or_torch(name):
    for key, value in numbers(name).items():
        expected = picture(call(name, **{key: value}))
        kind = np.int64 if key in WHOLE else np.float64
        for twin in (kind(value), np.array(kind(value)), torch.tensor(value, dtype=torch.float64)):
            twin = torch.tensor(value) if key in WHOLE and isinstance(twin, torch.Tensor) else twin
            assert picture(call(name, **{key: twin})) == expected


@every_function
def test_what_is_no_number_is_refused_by_its_name(name):
    for key in numbers(name):
        wrong = [math.nan, math.inf, "2", 1j, True, [1, 2], torch.ones(2), -1]
        wrong += [2.5] if key in WHOLE else []
        wrong += [0] if key in WHOLE - {"loops"} | {"seconds", "limit", "scale"} else []
        for value in wrong:
            with pytest.raises(ValueError, match=rf"\b{key}\b"):
                call(name, **{key: value})
    assert plt.get_fignums() == []  # what is wrong is found before a figure is made


TENSORS = {"scatter": "x", "image_grid": "images"}


@pytest.mark.parametrize("name", TENSORS)
def test_a_picture_takes_a_tensor_in_any_layout(name):
    key = TENSORS[name]
    x = CALLS[name][key]
    expected = picture(call(name))
    apart = torch.stack([x, 0 * x], 1)[:, 0]
    assert not apart.is_contiguous()
    for right in (apart, x.clone().requires_grad_(), x.mT.contiguous().mT):
        assert picture(call(name, **{key: right})) == expected
    call(name, **{key: x[:1]})


@pytest.mark.parametrize("name", TENSORS)
def test_a_picture_refuses_a_wrong_tensor(name):
    key = TENSORS[name]
    x = CALLS[name][key]
    bad = [x.half(), x.bfloat16(), x.long(), x + 0j, x / 0, x[0], x[..., None], x.numpy(), None]
    for wrong in bad:
        with pytest.raises(ValueError, match=f"^{key} must"):
            call(name, **{key: wrong})


def test_an_empty_cloud_is_an_empty_picture_and_no_images_are_none():
    assert len(plotting.scatter(torch.zeros(0, 2)).collections[0].get_offsets()) == 0
    with pytest.raises(ValueError, match="images must be .* not empty"):
        plotting.image_grid(torch.zeros(0, 1, 4, 4))


def test_a_trajectory_has_a_time_for_each_of_its_states():
    x, t = FLOW.x, FLOW.t
    for wrong in (
        Trajectory(t[:1], x[:1], 0), Trajectory(t[:-1], x, 0), Trajectory(t[None], x, 0),
        Trajectory(t / 0, x, 0), Trajectory(t, x / 0, 0), Trajectory(t.half(), x, 0),
        Trajectory(t, x.bfloat16(), 0), Trajectory(t, x[:, 0], 0), Trajectory(t.tolist(), x, 0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="trajectory"):
            plotting.trajectories(wrong)
    right = Trajectory(t, x.clone().requires_grad_(), 0)
    assert picture(plotting.trajectories(right)) == picture(plotting.trajectories(FLOW))


FUNCTIONS = {"quiver": "velocity", "density": "log_prob", "warped_grid": "flow_map"}
WRONG = {
    "None": lambda x: None, "a tuple": lambda x: (x,), "NumPy's": lambda x: x.numpy(),
    "a list": lambda x: x.tolist(), "a number": lambda x: 0.0, "whole": lambda x: x.long(),
    "complex": lambda x: x + 0j, "too few": lambda x: x[:-1], "turned": lambda x: x[None],
    "elsewhere": lambda x: x.to("meta"), "NaN": lambda x: x + math.nan,
    "infinite": lambda x: x + math.inf,
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_returned_is_named_if_it_is_wrong(name, kind):
    def function(x, *t):
        return WRONG[kind](x[:, 0] if name == "density" else x)

    with pytest.raises(ValueError, match=FUNCTIONS[name]):
        call(name, **{FUNCTIONS[name]: function})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_return_another_precision_and_gradients(name):
    function = CALLS[name][FUNCTIONS[name]]
    expected = picture(call(name))
    for other in (lambda *a: function(*a).double(), lambda *a: function(*a).requires_grad_()):
        assert picture(call(name, **{FUNCTIONS[name]: other})) == expected


def test_a_density_may_be_zero_somewhere():
    image = plotting.density(lambda x: torch.where(x[:, 0] > 0, 0.0, -math.inf), n=4).images[0]
    assert image.get_array().tolist() == [[0, 0, 1, 1]] * 4


def test_a_figure_that_stays_empty_is_no_frame():
    for wrong in (lambda fig, i: None, lambda fig, i: plotting.panels(1)):
        with pytest.raises(ValueError, match=r"frame\(fig, 0\) left fig empty"):
            plotting.animate(wrong, 2)
        plt.close("all")
    with pytest.raises(ZeroDivisionError):
        plotting.animate(lambda fig, i: 1 / 0, 2)
    assert plt.get_fignums() == []
    assert Image.open(io.BytesIO(plotting.animate(point, 1).data)).n_frames == 1


@pytest.mark.parametrize("limit", [(-1, 1, 1, -1), (1, 1, 0, 1), (0, 1, 0), ("0", 1, 0, 1), "1234"])
def test_a_box_has_four_sides_that_rise(limit):
    with pytest.raises(ValueError, match="limit must be"):
        plotting.panels(1, limit=limit)


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
    with pytest.raises(ValueError, match="float32 or float64, got list"):
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
    def frame(fig, i):
        plotting.scatter(torch.tensor([[i / 5, 0.0]]), plotting.panels(1, fig=fig)[0], size=90)

    picture = plotting.animate(frame, 6, seconds=3.0, loops=2, alt="a point")
    image = Image.open(io.BytesIO(picture.data))
    assert image.n_frames == 6 and image.info["loop"] == 2 and picture.alt == "a point"
    frames, shown = [], []
    for i in range(6):
        image.seek(i)
        frames.append(np.asarray(image.convert("L")))
        shown.append(image.info["duration"])
    assert shown == [500] * 5 + [1500]  # milliseconds; it rests on the last
    assert all((a != b).any() for a, b in zip(frames[:-1], frames[1:], strict=True))
    assert base64.b64encode(picture.data) and plt.get_fignums() == []


def test_what_is_not_in_the_plane_is_refused():
    for x in (torch.zeros(4, 3), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"x must have shape \(n, 2\)"):
            plotting.scatter(x)
    with pytest.raises(ValueError, match=r"trajectory.x must have shape \(steps \+ 1, n, 2\)"):
        plotting.trajectories(solve(lambda x, t: x, torch.zeros(4, 3)))
    with pytest.raises(ValueError, match=r"images must be \(n, 1, height, width\), not empty"):
        plotting.image_grid(torch.zeros(2, 3, 8, 8))
