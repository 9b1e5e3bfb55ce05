"""Other right answers to the exercises on lesson 03, and typical wrong ones with their hints."""

import math

import torch
from solved import answers

from fmlib.exact import EmpiricalTarget, GaussianMixture
from fmlib.paths import CondOT, Cosine
from fmlib.shapes import expand_time
from fmlib.solvers import solve

PATH, HALF_PI = CondOT(), 0.5 * math.pi


def on_the_bend(velocity):
    """A cosine_velocity from velocity(x, x_1, sin, cos), one time for each row."""

    def cosine_velocity(x, x_1, t):
        angle = HALF_PI * expand_time(t, x)
        return velocity(x, x_1, angle.sin(), angle.cos())

    return cosine_velocity


def by_columns(x, x_1, t):
    s, c = torch.sin(HALF_PI * t), torch.cos(HALF_PI * t)
    return HALF_PI * (x_1 - s * x) / c


def by_rows_of_the_transpose(x, x_1, t):
    return by_columns(x.T, x_1.T, t).T


def bend_by_differences(x, x_1, t, h=1e-4):
    def walk(angle):
        return angle.sin() * x_1 + angle.cos() * start

    angle = HALF_PI * expand_time(t, x)
    start = (x - angle.sin() * x_1) / angle.cos()
    return (walk(angle + HALF_PI * h) - walk(angle - HALF_PI * h)) / (2 * h)


def bend_by_mean_time(x, x_1, t):
    return by_columns(x, x_1, t.mean())


def tip_by_steps(velocity, x, t):
    """Where the flow takes the particle, not where its arrow points."""
    return solve(velocity, x, 20, t_start=t, t_end=1 - 1e-9).end


def tip_in_numpy(velocity, x, t):
    u = velocity(x, t).numpy()
    return torch.from_numpy(x.numpy() + u - t * u).to(x)


def gaussian_by_quadrature(x, t, m, a):
    """The integral (3.8) itself, by the midpoint rule over the posterior's own width."""
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    width = a * (1 - t) / math.hypot(t * a, 1 - t)
    start = x.double()[:, None]
    middle = m + t * a**2 / math.hypot(t * a, 1 - t) ** 2 * (start - t * m)
    x_1 = middle + width * z
    log_weight = -0.5 * ((start - t * x_1) / (1 - t)) ** 2 - 0.5 * ((x_1 - m) / a) ** 2
    return (log_weight.softmax(1) * (x_1 - start) / (1 - t)).sum(1).to(x)


def gaussian_by_scale(x, t, m, a):
    """The flow is t m + sqrt(v) x_0: differentiate it."""
    s = math.hypot(t * a, 1 - t)
    return m + (t * a * a - 1 + t) / s * ((x - t * m) / s)


def gaussian_with_a_float32_constant(x, t, m, a):
    v = torch.tensor((1 - t) ** 2 + a * a * t * t)
    return m + (t * a**2 - (1 - t)) / v * (x - t * m)


def gaussian_by_mean(mean):
    """(E[X_1 | x] - x) / (1 - t), with mean(x, t, m, a, v)."""

    def velocity(x, t, m, a):
        return (mean(x, t, m, a, (t * a) ** 2 + (1 - t) ** 2) - x) / (1 - t)

    return velocity


def weighing(log_factor=None, axis=1, variance=None, sharp=0.5):
    log_factor = log_factor or (lambda v, stds: -torch.log(v))
    variance = variance or (lambda t, stds: (t * stds) ** 2 + (1 - t) ** 2)

    def component_weights(x, t, means, stds):
        v = variance(t, stds)
        square = (x[:, None] - t * means).square().sum(2)
        return (log_factor(v, stds) - sharp * square / v).softmax(axis)

    return component_weights


def weights_by_density(x, t, means, stds):
    """Without the trick of the largest exponent: 0 / 0 far from all components."""
    v = (t * stds) ** 2 + (1 - t) ** 2
    p = torch.exp(-0.5 * (x[:, None] - t * means).square().sum(2) / v) / (2 * math.pi * v)
    return p / p.sum(1, keepdim=True)


def weights_by_logsumexp(x, t, means, stds):
    std = torch.hypot(t * stds, torch.full_like(stds, 1 - t))
    log_p = -0.5 * torch.cdist(x, t * means).square() / std**2 - 2 * std.log()
    return torch.exp(log_p - torch.logsumexp(log_p, dim=1, keepdim=True))


def weights_by_distributions(x, t, means, stds):
    std = ((t * stds) ** 2 + (1 - t) ** 2).sqrt()
    log_p = torch.distributions.Normal(t * means, std[:, None]).log_prob(x[:, None]).sum(2)
    return torch.softmax(log_p, 1)


def posterior(x, t, x_1, power=1.0):
    square = (x[:, None] - t * x_1).square().sum(2)
    return (-0.5 * power * square / (1 - t) ** 2).softmax(1)


def pulled(weights):
    """A tempered_velocity from weights(x, t, x_1, power)."""
    return lambda x, t, x_1, power: (
        weights(x, t, x_1, power)[:, :, None] * (x_1 - x[:, None]) / (1 - t)
    ).sum(1)


def powers_of_weights(x, t, x_1, power):
    w = posterior(x, t, x_1) ** power
    return w / w.sum(1, keepdim=True)


def powers_of_densities(x, t, x_1, power):
    p = torch.exp(-0.5 * (x[:, None] - t * x_1).square().sum(2) / (1 - t) ** 2) ** power
    return p / p.sum(1, keepdim=True)


def tempered_by_the_wider_noise(x, t, x_1, power):
    """Scale x, t so that fmlib's noise of width 1 stands for another one."""
    if power == 0:
        return (x_1.mean(0) - x) / (1 - t)
    s = power**-0.5
    total = t + (1 - t) * s
    mean = EmpiricalTarget(x_1).along(PATH).posterior_mean(x / total, t / total)
    return (mean - x) / (1 - t)


def turning(speed):
    """The marginal field, and a turn with speed(x, t, v)."""

    def turned_velocity(x, t, a):
        v = (1 - t) ** 2 + (a * t) ** 2
        turned = torch.stack([-x[:, 1], x[:, 0]], dim=1)
        return ((a**2 + 1) * t - 1) / v * x + speed(x, t, v) * turned

    return turned_velocity


def turned_by_matrix(x, t, a):
    matrix = torch.tensor([[0.0, -math.pi], [math.pi, 0.0]], dtype=x.dtype)
    plain = GaussianMixture(torch.zeros(1, 2, dtype=x.dtype), stds=a).along(PATH).velocity(x, t)
    return plain + x @ matrix


def turned_by_radius(x, t, v):
    """Half a turn to the left in all, but at a pace that depends on the orbit."""
    orbit = x.square().sum(1, keepdim=True) / v
    return math.pi * (1 + torch.cos(2 * math.pi * t) * torch.exp(-orbit))


def to_the_other_side(x, t, a):
    """Straight through the middle: X_t = (1 - t) x_0 - t a x_0."""
    return -(1 + a) * x / (1 - t - a * t)


def growing(method="euler", norm=None, ends=None, swirl=None, t_end=1.0):
    norm = norm or (lambda x: x.square().sum(1).mean().sqrt())
    ends = ends or (lambda x, a: norm(a * x))
    swirl = swirl or (lambda x, v: x / v)

    def growth(x, n, c, a):
        def velocity(x, t):
            v = (1 - t) ** 2 + (a * t) ** 2
            s = swirl(x, v)
            return ((a**2 + 1) * t - 1) / v * x + c * torch.stack([s[:, 1], -s[:, 0]], dim=1)

        return norm(solve(velocity, x, n, method=method, t_end=t_end).end) / ends(x, a)

    return growth


def growing_size(x, n, a):
    """The size of the cloud that Euler carries without a swirl, in place of the exact one."""
    return growing(ends=lambda x, a: 1.0)(x, n, 0.0, a)


def growth_by_complex_numbers(x, n, c, a):
    z = torch.view_as_complex(x.clone())
    for k in range(n):
        t = k / n
        v = (1 - t) ** 2 + (a * t) ** 2
        z = z + z * complex((a * a + 1) * t - 1, c) / v / n
    return math.sqrt(float((z.abs() ** 2).sum() / (x**2).sum())) / a


RIGHT = {
    "check_cosine_velocity": [
        by_rows_of_the_transpose,
        lambda x, x_1, t: bend_by_differences(x.double(), x_1.double(), t.double()).to(x),
        lambda x, x_1, t: Cosine().conditional_velocity(x, x_1, t),
        on_the_bend(lambda x, x_1, s, c: HALF_PI * (x_1 - s * x) / c),
        on_the_bend(lambda x, x_1, s, c: HALF_PI * (c * x_1 - s / c * (x - s * x_1))),
    ],
    "check_arrow_tip": [
        tip_in_numpy,
        lambda velocity, x, t: torch.lerp(x + velocity(x, t), x, t),
        lambda velocity, x, t: solve(velocity, x, 1, t_start=t).end,  # one Euler step
    ],
    "check_gaussian_velocity": [
        gaussian_by_quadrature,
        gaussian_by_scale,
        gaussian_with_a_float32_constant,
        gaussian_by_mean(lambda x, t, m, a, v: m + t * a**2 / v * (x - t * m)),
        gaussian_by_mean(lambda x, t, m, a, v: (t * a**2 * x + (1 - t) ** 2 * m) / v),
    ],
    "check_component_weights": [
        weighing(),
        weights_by_logsumexp,
        weights_by_distributions,
        lambda x, t, means, stds: GaussianMixture(means, stds).along(PATH).posterior_weights(x, t),
    ],
    "check_prediction": [lambda: 0.5, lambda: torch.tensor(1.4), lambda: 1],
    "check_tempered_velocity": [
        pulled(lambda x, t, x_1, power: posterior(x, t, x_1, power)),
        pulled(powers_of_weights),
        tempered_by_the_wider_noise,
    ],
    "check_right_std": [
        lambda power: power**-0.5,
        lambda power: torch.tensor(power, dtype=torch.float32).rsqrt(),
        lambda power: math.exp(-0.5 * math.log(power)),
    ],
    "check_turned_velocity": [
        turned_by_matrix,
        turning(lambda x, t, v: -math.pi),  # to the right
        turning(lambda x, t, v: 3 * math.pi),  # once more around
        turning(lambda x, t, v: 21 * math.pi),
        turning(lambda x, t, v: 2 * math.pi * t),
        turning(lambda x, t, v: 2 * math.pi * (t < 0.5)),  # not smooth, but right
        turning(turned_by_radius),
    ],
    "check_growth": [
        growing(),
        growing(swirl=lambda x, v: -x / v),  # round the other way
        growing(norm=lambda x: float(x.norm())),
        growth_by_complex_numbers,
    ],
}

WRONG = {
    "check_cosine_velocity": [
        (on_the_bend(lambda x, x_1, s, c: -HALF_PI * (x_1 - s * x) / c), "walk-sign"),
        (
            on_the_bend(lambda x, x_1, s, c: HALF_PI * (-c * x_1 - s * (x - s * x_1) / c)),
            "walk-sign",
        ),
        (lambda x, x_1, t: (x_1 - x) / (1 - expand_time(t, x)), "walk-start"),  # of (3.5)
        (on_the_bend(lambda x, x_1, s, c: (x_1 - s * x) / c), "walk-factor"),
        (on_the_bend(lambda x, x_1, s, c: math.pi * (x_1 - s * x) / c), "walk-factor"),
        (on_the_bend(lambda x, x_1, s, c: HALF_PI * (c * x_1 - s * x)), "walk-place"),
        (on_the_bend(lambda x, x_1, s, c: HALF_PI * (c * x_1 - s * x / c)), "walk-place"),
        (
            on_the_bend(lambda x, x_1, s, c: HALF_PI * (c * x_1 + s * (x - s * x_1) / c)),
            "walk-place",
        ),
        (by_columns, "walk-rows"),
        (bend_by_mean_time, "walk-rows"),
        (lambda x, x_1, t: by_columns(x, x_1, t[:, None]), "raises"),  # one time for all
    ],
    "check_arrow_tip": [
        (lambda velocity, x, t: (1 - t) * velocity(x, t), "tip-start"),  # the arrow alone
        (lambda velocity, x, t: x - (1 - t) * velocity(x, t), "tip-start"),
        (lambda velocity, x, t: x + t * velocity(x, t), "tip-start"),
        (lambda velocity, x, t: x + velocity(x, t), "tip-time"),
        (lambda velocity, x, t: x + velocity(x, t) * (1 - t) ** 2, "tip-time"),
        (tip_by_steps, "tip-flow"),
        (lambda velocity, x, t: solve(velocity, x, 2, t_start=t).end, "tip-flow"),
        (lambda velocity, x, t: (x + (1 - t) * velocity(x, t)).mean(0), "wrong-shape"),
        (lambda velocity, x, t: x.add_((1 - t) * velocity(x, t)), "mutates-input"),
    ],
    "check_gaussian_velocity": [
        (lambda x, t, m, a: gaussian_by_scale(x, t, 0, a), "gauss-start"),  # m forgotten
        (lambda x, t, m, a: -gaussian_by_scale(x, t, m, a), "gauss-start"),
        (lambda x, t, m, a: m + x - t * m, "gauss-start"),
        (lambda x, t, m, a: gaussian_by_scale(x + t * m, t, m, a), "gauss-centre"),
        (
            gaussian_by_mean(lambda x, t, m, a, v: m + t * a**2 / v * x),
            "gauss-centre",
        ),
        (gaussian_by_mean(lambda x, t, m, a, v: m + t / v * (x - t * m)), "gauss-point"),
        (lambda x, t, m, a: (m - x) / (1 - t), "gauss-between"),  # to the mean
        (
            gaussian_by_mean(lambda x, t, m, a, v: m + t * a / v * (x - t * m)),
            "gauss-between",
        ),
        (
            lambda x, t, m, a: m + (a - 1) / (t * a + 1 - t) * (x - t * m),  # the stds added
            "gauss-start",
        ),
        (
            gaussian_by_mean(
                lambda x, t, m, a, v: m + t * a**2 / (t * a + 1 - t) ** 2 * (x - t * m)
            ),
            "gauss-between",
        ),
    ],
    "check_component_weights": [
        (weighing(axis=0), "which-axis"),
        (
            lambda x, t, means, stds: torch.exp(weighing()(x, t, means, stds)),
            "which-sum",
        ),
        (
            lambda x, t, means, stds: weighing()(x, t, means, stds) * len(means),
            "which-sum",
        ),
        (weighing(sharp=-0.5), "which-equal"),
        (weighing(sharp=1.0), "which-equal"),
        (weighing(variance=lambda t, stds: t * stds**2 + (1 - t) ** 2), "which-equal"),
        (weighing(variance=lambda t, stds: 0 * stds + (1 - t) ** 2), "which-equal"),  # data points
        (weighing(lambda v, stds: -2 * torch.log(stds)), "which-start"),
        (weighing(lambda v, stds: 0 * v), "which-norm"),  # the bug
        (weighing(lambda v, stds: -0.5 * torch.log(v)), "which-power"),  # of one dimension
        (weighing(lambda v, stds: torch.log(v)), "which-power"),
        (weights_by_density, "underflow"),
    ],
    "check_prediction": [
        (lambda: -1, "prediction-range"),
        (lambda: 50, "prediction-range"),
        (lambda: "too narrow", "wrong-type"),
        (lambda: math.nan, "not-finite"),
    ],
    "check_tempered_velocity": [
        (
            pulled(lambda x, t, x_1, power: -posterior(x, t, x_1, power)),
            "power-one",
        ),
        (
            pulled(lambda x, t, x_1, power: 0 * posterior(x, t, x_1) + 1 / len(x_1)),
            "power-one",
        ),
        (pulled(lambda x, t, x_1, power: posterior(x, t, x_1) * power), "power-zero"),
        (pulled(lambda x, t, x_1, power: posterior(x, t, x_1) ** power), "power-zero"),
        (pulled(lambda x, t, x_1, power: posterior(x, t, x_1)), "power-zero"),
        (
            pulled(lambda x, t, x_1, power: (posterior(x, t, x_1) * power).softmax(1)),
            "power-one",
        ),
        (
            pulled(
                lambda x, t, x_1, power: torch.lerp(
                    posterior(x, t, x_1, 0.0), posterior(x, t, x_1), power
                )
            ),
            "power-half",
        ),
        (pulled(lambda x, t, x_1, power: posterior(x, t, x_1, power**2)), "power-half"),
        (pulled(powers_of_densities), "underflow"),
    ],
    "check_right_std": [
        (lambda power: 0.5, "std-one"),
        (lambda power: 2 - power / 2, "std-one"),
        (lambda power: 1.0, "std-wide"),
        (math.sqrt, "std-wide"),
        (lambda power: power, "std-wide"),
        (lambda power: 1 / power, "std-square"),
        (lambda power: power**-0.25, "std-square"),
    ],
    "check_turned_velocity": [
        (turning(lambda x, t, v: 0.0), "turned-none"),
        (turning(lambda x, t, v: 2 * math.pi), "turned-none"),  # all the way round
        (lambda x, t, a: -turning(lambda x, t, v: 0.0)(x, t, a), "turned-path"),
        (to_the_other_side, "turned-path"),
        (lambda x, t, a: math.pi * torch.stack([-x[:, 1], x[:, 0]], dim=1), "turned-path"),
        (turning(lambda x, t, v: math.pi * x[:, :1]), "turned-path"),
        (turning(lambda x, t, v: math.pi / v), "turned-angle"),  # a constant c
        (turning(lambda x, t, v: math.pi * v), "turned-angle"),
        (turning(lambda x, t, v: 0.5 * math.pi), "turned-angle"),
    ],
    "check_growth": [
        (growing(ends=lambda x, a: x.square().sum(1).mean().sqrt()), "growth-plain"),
        (growing(ends=lambda x, a: a * math.sqrt(2)), "growth-plain"),  # of the theory
        (growing(norm=lambda x: x.square().sum(1).mean()), "growth-plain"),
        (growing(ends=lambda x, a: growing_size(x, 20, a)), "growth-plain"),  # Euler's own
        (growing(t_end=0.999), "growth-end"),
        (lambda x, n, c, a: growing()(x, n + 1, c, a), "growth-end"),
        (growing(norm=lambda x: x.std()), "growth-centre"),
        (growing(norm=lambda x: (x - x.mean()).norm()), "growth-centre"),
        (growing("heun"), "growth-method"),
        (growing("rk4"), "growth-plain"),
        (growing(swirl=lambda x, v: x), "growth-swirl"),
        (growing(swirl=lambda x, v: x / v**0.5), "growth-swirl"),
        (growing(swirl=lambda x, v: x.flip(1) / v), "growth-swirl"),
        (growing(norm=lambda x: x.norm(dim=1)), "wrong-type"),
    ],
}

test_right, test_wrong, test_there_are_enough_of_both = answers("03", RIGHT, WRONG)
