"""The regression losses of flow matching, on a batch that path.sample has drawn.

||.||^2 is summed over the dimensions of a point and averaged over the batch, as in the papers.
"""

from torch.nn.functional import mse_loss

from fmlib.shapes import check_same_shape

__all__ = ["cfm_loss", "fm_loss", "noise_loss"]


def _mean_square(prediction, target):
    """E ||prediction - target||^2.  Raises ValueError unless both are (batch, *dims)."""
    check_same_shape("the model's output", prediction, "its target", target)
    if target.shape[0] == 0:
        raise ValueError("the batch must hold at least one example, got none")
    return mse_loss(prediction, target, reduction="sum") / target.shape[0]


def cfm_loss(model, batch):
    """Conditional flow matching: L_CFM = E ||model(x_t, t) - dx_t||^2.

    batch: a PathSample.  Returns a scalar.  Raises ValueError if the model changes the shape.
    Lipman et al. 2023, eqs. 9 and 14.  Taught in: 04, sections 2 and 3.
    """
    return _mean_square(model(batch.x_t, batch.t), batch.dx_t)


def fm_loss(model, batch, velocity):
    """Flow matching: L_FM = E ||model(x_t, t) - u_t(x_t)||^2 against the marginal velocity.

    batch: a PathSample.  velocity(x, t): the exact u_t, known only for the targets of fmlib.exact.
    Returns a scalar.  Raises ValueError if the model or the velocity changes the shape.
    Lipman et al. 2023, eq. 5.  Taught in: 04, section 1.
    """
    return _mean_square(model(batch.x_t, batch.t), velocity(batch.x_t, batch.t))


def noise_loss(model, batch):
    """Noise prediction, which is what DDPM trains: L = E ||model(x_t, t) - x_0||^2.

    batch: a PathSample.  Returns a scalar.  Raises ValueError if the model changes the shape.
    Ho et al. 2020, eq. 14.  Taught in: 06, section 1.
    """
    return _mean_square(model(batch.x_t, batch.t), batch.x_0)
