"""The explorables' mathematics, run by V8 without a page, against fmlib's."""

import base64
import json

import numpy as np
import pytest
import torch
from scipy.stats import norm
from stored import engine, entries

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.explorables.given import given
from fmlib.explorables.plain import plain
from fmlib.explorables.scripts import FOLDER
from fmlib.metrics import straightness
from fmlib.models import MLP
from fmlib.paths import VP, CondOT, Cosine
from fmlib.solvers import Trajectory, solve

PATHS = {"CondOT": CondOT, "VP": VP, "Cosine": Cosine}
CLOSE = 1e-4
ALL = entries()


class Model:
    """The model of one explorable, with the data that a lesson stores."""

    def __init__(self, name, data):
        self.data, self.engine = data, engine(name)
        self.engine.eval(
            f"const model = makeModel({json.dumps(data)}, {json.dumps(plain(given(name)))});"
            "const answer = (choice) => model.numbers(choice);"
        )

    def numbers(self, **choice):
        """What the explorable computes when its controls stand so."""
        return self.engine.call("answer", choice)


def points(values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 2)


def path_of(spec):
    return PATHS[spec["name"]](**{name: v for name, v in spec.items() if name != "name"})


def mixture_of(spec, scale=1.0, shift=0.0):
    like = {"dtype": torch.float64}
    return GaussianMixture(
        scale * torch.tensor(spec["means"], **like) + shift,
        scale * torch.tensor(spec["stds"], **like),
        torch.tensor(spec["weights"], **like),
    )


def flow_to(target, path):
    """The exact marginal velocity."""
    return target.along(path).velocity


def network_of(spec):
    width, depth = spec["sizes"][1], len(spec["sizes"]) - 2
    model = MLP(dims=spec["sizes"][-1], width=width, depth=depth).double()
    numbers = np.frombuffer(base64.b64decode(spec["weights"]), "<f4").astype(float)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(numbers), model.parameters())
    return model


def check_cloud(it):
    for name, spec in it.data["paths"].items():
        path, target = path_of(spec), mixture_of(it.data["target"])
        for t in (0.0, 0.5, 0.9):
            got = it.numbers(path=name, t=t)
            x = points(got["x"])
            speed = target.along(path).velocity(x, t).square().sum(1).mean().sqrt()
            assert got["speed"] == pytest.approx(float(speed), abs=CLOSE)
            entropy = -target.along(path).log_prob(x, t).mean()
            assert got["entropy"] == pytest.approx(float(entropy), abs=CLOSE)
        some = it.numbers(path=name, t=t, n=20)
        assert some["x"] == got["x"][:40] and len(x) == it.data["n_particles"]
        start, t_end = points(got["x_0"]), it.data["t_end"]
        end = solve(flow_to(target, path), start, 50, "heun", t_end=t_end).end
        assert (points(it.numbers(path=name, t=t_end)["x"]) - end).abs().max() < CLOSE


def check_pull(it):
    target, path = EmpiricalTarget(points(it.data["points"])), path_of(it.data["path"])
    for t, place in ((0.0, [1.9, 1.0]), (0.6, [0.3, -0.4]), (0.9, [-0.5, 0.7])):
        got = it.numbers(x=place, t=t)
        x = points(place)
        np.testing.assert_allclose(
            got["velocity"], target.along(path).velocity(x, t)[0], atol=CLOSE
        )
        mean = target.along(path).posterior_mean(x, t)[0]
        np.testing.assert_allclose(got["mean"], mean, atol=CLOSE)
        weights = target.along(path).posterior_weights(x, t)[0]
        np.testing.assert_allclose(got["weights"], weights, atol=CLOSE)
        assert got["carriers"] == pytest.approx(float(1 / weights.square().sum()), rel=CLOSE)


def turned(x, rate):
    return rate * torch.stack([-x[:, 1], x[:, 0]], dim=1)


FIELDS = {  # equations (2.6) and after of lesson 02
    "swirl": lambda x, t: turned(x, 4 * torch.exp(-0.5 * x.square().sum(1, keepdim=True))),
    "rotation": lambda x, t: turned(x, 1.0),
    "saddle": lambda x, t: x * torch.tensor([1.0, -1.0]),
    "widening": flow_to(GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), 2.0), CondOT()),
}


def check_steps(it):
    x_0 = points(it.data["x_0"])
    assert set(it.data["fields"]) == FIELDS.keys()
    for name in it.data["fields"]:
        exact = solve(FIELDS[name], x_0, 400, "rk4").end
        for n, method in ((1, "euler"), (6, "midpoint"), (7, "heun"), (40, "rk4")):
            run = solve(FIELDS[name], x_0, n, method)
            error = float((run.end - exact).square().sum(1).mean().sqrt())
            got = it.numbers(field=name, steps=n, method=method)
            assert got["nfe"] == run.nfe and got["error"] == pytest.approx(error, abs=CLOSE)


def check_draw(it):
    drawn = [[-1.0 + 0.2 * i, 0.1 * i * i - 0.5] for i in range(8)]
    for chosen, std in ((it.data["points"], it.data["std"]), (drawn, 0.2)):
        got = it.numbers(points=chosen, std=std, seed=3)
        target = GaussianMixture(points(chosen), std)
        velocity, start = flow_to(target, path_of(it.data["path"])), points(got["x_0"])
        end = solve(velocity, start, it.data["n_steps"], "heun").end
        assert (points(got["end"]) - end).abs().max() < CLOSE and got["t"] == 1
        near = (torch.cdist(end, target.means).min(1).values < 2 * std).double().mean()
        assert got["share"] == pytest.approx(float(near), abs=1e-9) and near > 0.7


def transported(target, path, x_0):
    """The velocity of optimal transport pairs on a path, in one dimension, and their walks,
    by bisection."""
    m, s, w = (v.numpy() for v in (target.means[:, 0], target.stds, target.weights))

    def backwards(y):  # the x_0 of x_1 = y, from the nearer tail
        z = (y[:, None] - m) / s
        above, below = (w * norm.sf(z)).sum(1), (w * norm.cdf(z)).sum(1)
        return np.where(y > (w * m).sum(), norm.isf(above), norm.ppf(below))

    def pairs(x, t):  # the (x_0, x_1) whose walker is at x at time t
        alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
        low = np.full(len(x), m.min() - 37 * s.max())
        high = np.full(len(x), m.max() + 37 * s.max())
        for _ in range(60):
            y = (low + high) / 2
            right = alpha * y + sigma * backwards(y) > x
            low, high = np.where(right, low, y), np.where(right, y, high)
        return torch.from_numpy(backwards(y))[:, None], torch.from_numpy(y)[:, None]

    def velocity(x, t):
        x_0, x_1 = pairs(x[:, 0].numpy(), t)
        return path.d_sigma(t) * x_0 + path.d_alpha(t) * x_1

    start, end = pairs(x_0[:, 0].numpy(), 0.0)
    return velocity, lambda t: path.alpha(t) * end + path.sigma(t) * start


def check_race(it):
    costs = {"euler": 1, "midpoint": 2, "heun": 2}
    choices = (0.5, 0.0, 2, "heun"), (1.0, 0.75, 4, "euler"), (2.0, 3.0, 16, "midpoint")
    for scale, shift, nfe, method in choices:
        found = it.numbers(scale=scale, shift=shift, nfe=nfe, method=method)
        start = torch.tensor(found["x_0"], dtype=torch.float64)[:, None]
        quantiles = norm.ppf((np.arange(len(start)) + 0.5) / len(start))
        np.testing.assert_allclose(start[:, 0], quantiles, atol=1e-9)
        got = {row["name"]: row for row in found["rows"]}
        target, n = mixture_of(it.data["target"], scale, shift), max(1, nfe // costs[method])
        assert len(got) == 2 * len(it.data["paths"])
        for name, spec in it.data["paths"].items():
            path, t_end = path_of(spec), it.data["t_end"][name]
            check_entry(got, name, target, path, t_end, start, n, method)


def check_entry(got, name, target, path, t_end, start, n, method):
    """One path of the race, with both couplings."""

    def check(row, walks, velocity):
        few = solve(velocity, start, n, method, t_end=t_end, keep="end").end
        assert row["S"] == pytest.approx(straightness(walks).absolute, rel=CLOSE, abs=CLOSE)
        error = float((few - walks.x[-1]).square().mean().sqrt())
        assert row["error"] == pytest.approx(error, abs=CLOSE)

    independent = flow_to(target, path)
    fine = solve(independent, start, 200, "rk4", t_end=t_end)
    check(got[f"{name}, independent"], fine, independent)
    velocity, walk = transported(target, path, start)
    walks = Trajectory(fine.t, torch.stack([walk(t) for t in fine.t]), 0)
    check(got[f"{name}, OT"], walks, velocity)


def check_network(it):
    path = path_of(it.data["path"]) if "path" in it.data else None

    def field(spec):
        return network_of(spec) if "sizes" in spec else flow_to(mixture_of(spec), path)

    def guided(own, w):  # lesson 09: u + w (u of the label - u)
        return lambda x, t: every(x, t) + w * (own(x, t) - every(x, t))

    every = field(it.data["unconditional"]) if "unconditional" in it.data else None
    for label, spec in it.data["fields"].items():
        own = field(spec)
        for n, method, w in ((1, "euler", 0.0), (4, "heun", 1.0), (9, "midpoint", 3.0)):
            velocity = guided(own, w) if every else own
            got = it.numbers(label=label, guidance=w, steps=n, method=method, seed=1)
            x_0 = points(got["x_0"])
            run = solve(velocity, x_0, n, method)
            assert (points(got["end"]) - run.end).abs().max() < CLOSE
            fine = solve(velocity, x_0[:100], 50, "heun").end
            error = float((run.end[:100] - fine).square().sum(1).mean().sqrt())
            assert got["error"] == pytest.approx(error, abs=CLOSE) and got["nfe"] == run.nfe


CHECKS = {
    "cloud": check_cloud, "draw": check_draw, "network": check_network,
    "pull": check_pull, "race": check_race, "steps": check_steps,
}  # fmt: skip


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: f"{entry.lesson[:2]}-{entry.name}")
def test_numbers_are_those_of_fmlib(entry):
    CHECKS[entry.name](Model(entry.name, entry.data))


def test_every_explorable_is_in_a_lesson_and_checked():
    names = {entry.name for entry in ALL}
    setups = {
        f.stem for f in FOLDER.glob("*.js") if "function setup(" in f.read_text(encoding="utf-8")
    }
    assert setups == names == CHECKS.keys() and len(names) >= 6


@pytest.mark.parametrize("file", sorted((FOLDER / "maths").glob("*.js")), ids=lambda f: f.stem)
def test_a_module_of_the_mathematics_needs_no_page(file):
    """It runs where there is none: V8 knows the language, and no document, window or canvas."""
    engine(file.stem)


def test_fewer_particles_leave_a_run_that_has_begun():
    it = Model("draw", next(entry for entry in ALL if entry.name == "draw").data)
    it.engine.eval("""const few = (choice) => {
      const run = model.start(choice);
      model.advance(model.advance(run, 0.5), 1, 10);
      return { ...model.describe(run), sizes: run.states.map((x) => x.length) };
    };""")
    choice = {"points": it.data["points"], "std": 0.08, "seed": 1}
    few, all_ = it.engine.call("few", choice), it.numbers(**choice)
    assert set(few["sizes"]) == {20} and few["end"] == all_["end"][:20]


def test_noise_is_standard_normal_and_another_for_another_seed():
    racer = engine("noise")
    first, again, other = (
        np.array(racer.eval(f"Array.from(makeNoise({seed})(20000))")) for seed in (1, 1, 2)
    )
    assert (first == again).all() and abs(np.corrcoef(first, other)[0, 1]) < 0.03
    assert np.abs(np.sort(first) - norm.ppf((np.arange(20000) + 0.5) / 20000)).mean() < 0.02
