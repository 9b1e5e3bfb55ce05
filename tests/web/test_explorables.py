"""The pictures to touch, in a browser: by mouse, finger and key, light and dark, in motion.

That they compute what fmlib computes is tested without a page, in tests/test_explorable_maths.py.
"""

import pytest
from places import BOOK
from stored import entries, explorables

ALL = entries()
LESSONS = sorted({entry.lesson for entry in ALL})
CHOICES = {  # for each explorable, by the names of its controls
    "cloud": [{"t": 0.25}, {"t": 0.9}],
    "pull": [{"t": 0.0}, {"t": 0.6}],
    "steps": [{"n_steps": n, "method": m} for n, m in ((1, "euler"), (7, "heun"), (40, "rk4"))],
    "draw": [{"std": 0.2}],
    "network": [{"n_steps": n, "method": m} for n, m in ((1, "euler"), (9, "midpoint"))],
    "race": [{"scale": 0.5, "nfe": 2, "method": "heun"}, {"scale": 2, "shift": 1.5, "nfe": 16}],
}
SHOWN = {  # what the text beside the picture says of the numbers
    "cloud": lambda got: [f"{got['speed']:.2f}", f"{abs(got['entropy']):.2f}"],
    "pull": lambda got: [f"about {round(got['carriers'])} of", f"{abs(got['velocity'][0]):.2f}"],
    "steps": lambda got: [f"{got['nfe']} velocity evaluations"],
    "draw": lambda got: [f"{len(got['points'])} points drawn", f"{round(100 * got['share'])} %"],
    "network": lambda got: [f"{got['nfe']} velocity evaluations"],
    "race": lambda got: [min(got["rows"], key=lambda row: row["error"])["name"]],
}


class Explorable:
    """One explorable on a page."""

    def __init__(self, page, entry):
        self.page, self.mark, self.data, self.name = page, entry.mark, entry.data, entry.name
        self.root = page.locator(f"#{entry.mark}")
        self.canvas = self.root.locator("canvas")

    def js(self, expression, argument=None):
        """Evaluate a function of (root, argument) in the page."""
        script = f"([mark, value]) => ({expression})(document.getElementById(mark), value)"
        return self.page.evaluate(script, [self.mark, argument])

    def wait(self, condition, argument=None):
        """Wait until a function of (root, argument) is true."""
        script = f"([mark, value]) => ({condition})(document.getElementById(mark), value)"
        self.page.wait_for_function(script, arg=[self.mark, argument])

    def rest(self):
        """Wait until nothing moves."""
        self.wait("root => !root.explorable.stage.moving && !root.explorable.stage.waiting")

    def put(self, name, value):
        """Set a slider or a menu, as its user would by mouse."""
        control = self.root.locator(f"[name={name}]")
        if control.evaluate("node => node.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.evaluate(
                "(node, value) => { node.value = value;"
                " for (const type of ['input', 'change']) node.dispatchEvent(new Event(type)); }",
                value,
            )
        self.rest()

    def picture(self):
        """What the canvas shows and the text says, once painted."""
        return self.js("root => (root.explorable.stage.paintNow(), " + LOOK + ")")


LOOK = "root.querySelector('canvas').toDataURL() + root.querySelector('output').textContent"


@pytest.fixture(params=ALL, ids=lambda entry: f"{entry.lesson[:2]}-{entry.name}")
def entry(request):
    return request.param


@pytest.fixture
def opened(tab, tmp_path):
    """opened(entry, ...) shows one explorable alone on a page."""

    def new(entry, **settings):
        file = tmp_path / "page.html"
        file.write_text(explorables.page([explorables.stored(entry.html)]), encoding="utf-8")
        return Explorable(tab(**settings).open(file), entry)

    return new


def by_name(name):
    return next(entry for entry in ALL if entry.name == name)


# In the book.


@pytest.mark.parametrize("lesson", LESSONS)
def test_in_the_book_it_takes_the_still_picture_s_place_and_the_page_s_colours(lesson, tab):
    page = tab().open(BOOK / "notebooks" / f"{lesson}.html")
    found = [Explorable(page, entry) for entry in ALL if entry.lesson == lesson]
    for it in found:
        still = "root => [...root.closest('.cell_output').querySelectorAll('img')]"
        assert it.js(f"{still}.map(image => image.offsetWidth)") == [0]
        assert it.canvas.is_visible()
    light = [it.picture() for it in found]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    for it, before in zip(found, light, strict=True):
        assert it.picture() != before
        assert it.js("({ explorable: { stage } }) => stage.colors === stage.schemes.dark")
        slider = it.root.locator("input[type=range]").first
        before = it.picture()
        slider.press("ArrowRight")
        assert it.picture() != before


@pytest.mark.parametrize("lesson", LESSONS)
def test_without_scripts_the_still_picture_stands(lesson, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((BOOK / "notebooks" / f"{lesson}.html").as_uri())
    for entry in (entry for entry in ALL if entry.lesson == lesson):
        place = page.locator(f"#{entry.mark}")
        assert "once its cell was run" in place.text_content()
        assert page.locator(".cell_output", has=place).locator("img").is_visible()
    context.close()


# By mouse, finger and key.


def test_it_computes_and_says_what_its_controls_ask_for(entry, opened):
    it = opened(entry, reduced_motion="reduce")  # in motion, a slow machine would leave points out
    for choice in CHOICES[entry.name]:
        for name, value in choice.items():
            it.put(name, value)
        it.picture()
        got, text = it.js("root => root.explorable.numbers()"), it.root.text_content()
        assert all(part in text for part in SHOWN[entry.name](got)), text
        names = {"n_steps": "steps"}
        asked = {names.get(name, name): value for name, value in choice.items()}
        assert it.js("(root, asked) => { const { model, choice } = root.explorable;"
                     " return JSON.stringify(model.numbers({ ...choice(), ...asked }))"
                     " === JSON.stringify(root.explorable.numbers()); }", asked)  # fmt: skip


def test_every_slider_moves_the_picture_by_key(entry, opened):
    it = opened(entry)
    sliders = it.root.locator("input[type=range]")
    assert sliders.count() >= 1
    for slider in sliders.all():
        before, value = it.picture(), slider.input_value()
        slider.press("ArrowRight")
        assert slider.input_value() != value
        assert it.picture() != before
        assert slider.get_attribute("aria-valuetext")


def test_a_slider_moves_the_picture_by_mouse(entry, opened):
    it = opened(entry)
    slider, before = it.root.locator("input[type=range]").first, it.picture()
    box = slider.bounding_box()
    slider.click(position={"x": 0.8 * box["width"], "y": box["height"] / 2})
    assert it.picture() != before


def test_menus_and_buttons_do_something(entry, opened):
    it = opened(entry, reduced_motion="reduce")
    for menu in it.root.locator("select").all():
        before = it.picture()
        at_the_end = menu.evaluate("menu => menu.selectedIndex === menu.options.length - 1")
        menu.press("ArrowUp" if at_the_end else "ArrowDown")
        assert it.picture() != before
    for button in it.root.locator(".fm-buttons button").all():
        before = it.picture()
        button.click()
        it.rest()
        assert it.picture() != before or button.text_content() == "Play"


def test_a_target_is_drawn_by_mouse_and_by_key(opened):
    it = opened(by_name("draw"))
    box = it.canvas.bounding_box()
    it.root.get_by_role("button", name="Clear").click()
    it.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    it.page.mouse.down()
    it.page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"], steps=8)
    it.page.mouse.up()
    it.wait("root => root.explorable.numbers().t === 1")
    got = it.js("root => root.explorable.numbers()")
    assert len(got["points"]) > 3 and got["share"] > 0.7
    ring = it.root.locator(".fm-handle")
    ring.press("ArrowUp")
    ring.press("Enter")
    assert len(it.js("root => root.explorable.numbers().points")) == len(got["points"]) + 1


def test_a_point_is_moved_by_key(opened):
    it = opened(by_name("pull"))
    x, y = it.js("root => root.explorable.numbers().x")
    ring = it.root.locator(".fm-handle")
    ring.press("ArrowLeft")
    ring.press("Shift+ArrowDown")
    now = it.js("root => root.explorable.numbers().x")
    width = it.data["box"][1] - it.data["box"][0]
    assert now == pytest.approx([x - 0.02 * width, y - 0.1 * width])


@pytest.mark.parametrize("name", ["pull", "draw"])
def test_a_finger_moves_the_ring(name, opened):
    it = opened(by_name(name), width=390, has_touch=True, is_mobile=True)
    ring = it.root.locator(".fm-handle")
    before, style = it.picture(), ring.get_attribute("style")
    it.canvas.tap(position={"x": 100, "y": 200})
    it.wait("(root, style) => root.querySelector('.fm-handle').style.cssText !== style", style)
    assert it.picture() != before


# In motion.

WATCH = """root => {
  const { stage } = root.explorable, paint = stage.paint, dots = stage.dots.bind(stage);
  root.seen = [];
  stage.dots = (x, ...look) => { root.seen.at(-1).dots.push(x.length / 2); dots(x, ...look); };
  stage.paint = () => {
    root.seen.push({ t: root.querySelector('[name=t]')?.valueAsNumber, dots: [] });
    paint();
  };
}"""


def test_the_cloud_plays_to_its_end(opened):
    it = opened(by_name("cloud"))
    it.put("t", 0.8 * it.data["t_end"])
    it.js(WATCH)
    it.root.get_by_role("button", name="Play").click()
    it.wait("(root, t_end) => root.seen.at(-1)?.t === t_end", it.data["t_end"])
    it.rest()
    times = [frame["t"] for frame in it.js("root => root.seen")]
    assert times == sorted(times) and times[0] >= 0.8 * it.data["t_end"] - 0.01


def test_motion_that_is_unwanted_is_left_out(opened):
    it = opened(by_name("cloud"), reduced_motion="reduce")
    it.js(WATCH)
    it.root.get_by_role("button", name="Play").click()
    it.wait("(root, t_end) => root.seen.at(-1)?.t === t_end", it.data["t_end"])
    it.rest()
    assert {frame["t"] for frame in it.js("root => root.seen")} <= {it.data["t"], it.data["t_end"]}


# A clock that says that a part of a frame took so many milliseconds.
PRETEND = "(root, ms) => { let now = 0; root.explorable.stage.clock = () => (now += ms); }"
DRAG = """async (root, n) => {
  const slider = root.querySelector('input[type=range]'), ends = [slider.min, slider.max];
  for (let i = 0; i < n; i++) {
    slider.value = ends[i % 2];
    slider.dispatchEvent(new Event('input'));
    while (root.explorable.stage.waiting) await new Promise(requestAnimationFrame);
  }
}"""
LET_GO = "root => root.querySelector('input[type=range]').dispatchEvent(new Event('change'))"
DOTS = "root => Math.max(...root.seen.at(-1).dots)"


@pytest.mark.parametrize("name", ["cloud", "network"])
def test_a_slow_machine_moves_fewer_points_and_shows_all_at_rest(name, opened):
    it = opened(by_name(name))
    it.js(WATCH)
    n = it.data["n_particles"]
    it.js(PRETEND, 1)
    it.js(DRAG, 2)
    assert it.js(DOTS) == n
    it.js(PRETEND, 60)
    it.js(DRAG, 6)
    assert it.js(DOTS) == n // 10
    it.js(LET_GO)
    it.rest()
    assert it.js(DOTS) == n
    slider = it.root.locator("input[type=range]").first
    slider.press("Home")
    slider.press("ArrowRight")  # a key holds nothing
    it.rest()
    assert it.js(DOTS) == n
