"""What a network may predict, velocity, noise, data or score, and how one becomes another.

On x_t = alpha_t x_1 + sigma_t x_0 all four are the same knowledge: each is a combination of the
conditional means E[x_1 | x_t] and E[x_0 | x_t], and x_t itself is a second one.
"""

import torch

from fmlib.shapes import (
    check_points,
    check_returned,
    check_same_shape,
    check_unit_interval,
    expand_time,
    real,
)

__all__ = ["KINDS", "convert", "guide", "transform_schedule"]

KINDS = ("velocity", "noise", "data", "score")


def _coefficients(kind, path, t):
    """(a, b) with kind = a E[x_1 | x_t] + b E[x_0 | x_t], for all kinds but the score."""
    one = torch.ones_like(path.alpha(t))
    if kind == "velocity":
        return path.d_alpha(t), path.d_sigma(t)
    return (one, 0 * one) if kind == "data" else (0 * one, one)


def convert(value, x_t, t, path, given="noise", wanted="velocity", normal_source=True):
    """Turn one prediction at (x_t, t) into another.

    velocity u = d_alpha_t E[x_1|x_t] + d_sigma_t E[x_0|x_t], noise = E[x_0|x_t],
    data = E[x_1|x_t], score = grad log p_t(x_t) = -E[x_0|x_t] / sigma_t.
    The first three are tied by x_t = alpha_t E[x_1|x_t] + sigma_t E[x_0|x_t] for any coupling.
    The score is so only if x_0 ~ N(0, I) independently of x_1: say normal_source=False where that
    is not the case, and the score is refused.
    value, x_t: (batch, *dims).  t: a number, () or (batch,), in [0, 1].  given, wanted: of KINDS,
    what value is and what is returned.
    Returns (batch, *dims).
    Raises ValueError for an unknown kind, t outside [0, 1], a score without a normal source,
    mismatched shapes, and at an end where what is given does not determine what is wanted: noise at
    alpha_t = 0, data at sigma_t = 0, a score that would be infinite.
    Lipman et al. 2024 (Guide and Code), eqs. 4.55 to 4.57, and 4.77 for
    the score.  Taught in: 05, section 3.
    """
    for name, kind in (("given", given), ("wanted", wanted)):
        if kind not in KINDS:
            raise ValueError(f"{name} must be one of {list(KINDS)}, got {kind!r}")
    if not normal_source and given != wanted and "score" in (given, wanted):
        raise ValueError(
            "the score follows from the others only if x_0 ~ N(0, I), independent of x_1: convert "
            "between velocity, noise and data instead"
        )
    check_same_shape("value", value, "x_t", x_t)
    if given == wanted:
        return value
    t = expand_time(t, x_t)
    check_unit_interval("t", t)
    alpha_t, sigma_t = path.alpha(t), path.sigma(t)
    if wanted == "score" and (sigma_t <= 0).any():
        raise ValueError("sigma_t = 0, where the score is infinite: stop at t = 1 - 1e-3")
    if given == "score":
        value, given = -sigma_t * value, "noise"
    onto = "noise" if wanted == "score" else wanted
    if given != onto:
        # Two equations, x_t = alpha_t x_1 + sigma_t x_0 and value = a x_1 + b x_0, solved for
        # c x_1 + d x_0 by Cramer's rule.
        (a, b), (c, d) = (_coefficients(kind, path, t) for kind in (given, onto))
        determinant = alpha_t * b - sigma_t * a
        if (determinant == 0).any():
            raise ValueError(
                f"at this t x_t and {given} are the same knowledge, so {onto} does not follow: "
                "stay 1e-3 away from the end"
            )
        value = ((c * b - d * a) * x_t + (d * alpha_t - c * sigma_t) * value) / determinant
    return -value / sigma_t if wanted == "score" else value


def _angle(path, t):
    """theta_t = arctan(alpha_t / sigma_t), which grows from noise to data, and |(alpha, sigma)|."""
    alpha_t, sigma_t = path.alpha(t), path.sigma(t)
    return torch.atan2(alpha_t, sigma_t), torch.hypot(alpha_t, sigma_t)


def _time_of(theta, path):
    """The t in [0, 1] with theta_t = theta, by bisection; the nearest end for a theta beyond."""
    start, end = torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu")
    lowest, highest = _angle(path, start)[0], _angle(path, end)[0]
    low, high = torch.zeros_like(theta), torch.ones_like(theta)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = _angle(path, middle)[0] < theta
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(theta <= lowest, start, torch.where(theta >= highest, end, high))


def transform_schedule(velocity, path, new_path):
    """The velocity along new_path of a model that was trained on path.

    What E[x_1 | x_t] and E[x_0 | x_t] are depends on a path only through alpha_t / sigma_t. So, at
    time r of new_path, take the t at which path has the same ratio, ask the model there,

        u_t(x / s),  s = alpha'_r / alpha_t = sigma'_r / sigma_t,

    convert to the two means, and combine them to new_path's velocity. Written out, that is
    u'_r(x) = (ds/dr / s) x + s (dt/dr) u_t(x / s); both flows end at the same points.
    Ratios outside path's range (VP starts a little above 0, VE ends below infinity) are asked for
    at its nearest end. Where d_sigma is infinite at path's end (VP and LinearVP at t = 1), the mean
    of the noise is taken to be 0 there, which is so for noise independent of the data.
    velocity(x, t): on path.  Returns velocity(x, r), for r a number, () or (batch,) in [0, 1].
    Raises ValueError where the slope of new_path's sigma is infinite (VP and LinearVP at r = 1; the
    velocity itself is not, but cannot be had from the two means), where
    path's says nothing about the data (Polynomial at t = 0), and whenever velocity does.
    Lipman et al. 2024 (Guide and Code), eqs. 4.65 to 4.69.  Taught in: 06, section 7.
    """
    try:
        path.d_sigma(1.0)
        sharp = False
    except ValueError:  # d_sigma is infinite at t = 1; there the mean of the noise is 0
        sharp = True

    def transformed(x, r):
        check_points("x", x)
        kind, r = x.dtype, expand_time(r, x).double()
        check_unit_interval("r", r)
        theta, length = _angle(new_path, r)
        t = _time_of(theta, path)
        s = length / _angle(path, t)[1]
        y = (x / s).to(x)
        u = velocity(y, (t.reshape(-1) if t.ndim else t).to(x))
        u = check_returned("velocity(x, t)", u, y).double()
        x, y = x.double(), y.double()  # t and r may be closer to an end than float32 can tell
        at_rest = (t == 1) & sharp
        t = torch.where(at_rest, 0.5, t)  # any time will do: what comes of it is not used
        noise = torch.where(at_rest, 0.0, convert(u, y, t, path, "velocity", "noise"))
        data = convert(u, y, t, path, "velocity", "data")
        alpha_r, sigma_r = new_path.alpha(r), new_path.sigma(r)
        # One mean from the model, the other from x = alpha x_1 + sigma x_0, dividing by the larger.
        noisy = alpha_r <= sigma_r
        x_1 = torch.where(noisy, data, (x - sigma_r * noise) / alpha_r)
        x_0 = torch.where(noisy, (x - alpha_r * data) / sigma_r, noise)
        return (new_path.d_alpha(r) * x_1 + new_path.d_sigma(r) * x_0).to(kind)

    return transformed


def guide(conditional, unconditional, w):
    """Classifier-free guidance: velocity(x, t) = u_t(x) + w (u_t(x | y) - u_t(x)).

    conditional(x, t), unconditional(x, t): the velocities u_t(x | y) and u_t(x), (batch, *dims).
    w: the guidance scale; 0 leaves the unconditional velocity and 1 the conditional one, and the
    other is not asked for then.  Returns velocity(x, t), to be given to solve.
    Raises ValueError for a w that is no finite number; velocity does for results unlike x.
    Ho and Salimans 2022, eq. 6, where w counts from 0.  Taught in: 09, section 2.
    """
    w = real("w", w)

    def asked(name, function, x, t):
        return check_returned(f"{name}(x, t)", function(x, t), x)

    def velocity(x, t):
        check_points("x", x)
        if w == 0:
            return asked("unconditional", unconditional, x, t)
        given_y = asked("conditional", conditional, x, t)
        if w == 1:
            return given_y
        u = asked("unconditional", unconditional, x, t)
        return u + w * (given_y - u)

    return velocity
