"""The regression losses of flow matching, on a batch that path.sample has drawn.

||.||^2 is summed over the dimensions of a point and averaged over the batch, as in the papers.
"""

from torch.nn.functional import mse_loss

from fmlib.shapes import check_points, check_returned

__all__ = ["cfm_loss", "fm_loss", "noise_loss"]


def _regress(model, batch, target):
    """E ||model(x_t, t) - target||^2, or model(x_t, t, y) where the batch has labels y."""
    check_points("the batch's x_t", batch.x_t)
    if len(batch.x_t) == 0:
        raise ValueError("the batch must hold at least one example, got none")
    labels = () if batch.y is None else (batch.y,)
    prediction = model(batch.x_t, batch.t, *labels)
    prediction = check_returned("model(x, t)", prediction, batch.x_t)
    return mse_loss(prediction, target, reduction="sum") / len(target)


def cfm_loss(model, batch):
    """Conditional flow matching: L_CFM = E ||model(x_t, t) - dx_t||^2.

    batch: a PathSample; where it has labels y, the model is called as model(x_t, t, y).
    Returns a scalar.  Raises ValueError if the model returns something unlike x_t.
    Lipman et al. 2023, eqs. 9 and 14.  Taught in: 04, sections 2 and 3.
    """
    return _regress(model, batch, batch.dx_t)


def fm_loss(model, batch, velocity):
    """Flow matching: L_FM = E ||model(x_t, t) - u_t(x_t)||^2 against the marginal velocity.

    batch: a PathSample, as in cfm_loss.  velocity(x, t): the exact u_t, known only for the targets
    of fmlib.exact.
    Returns a scalar.  Raises ValueError if the model or the velocity returns something unlike x_t.
    Lipman et al. 2023, eq. 5.  Taught in: 04, section 1.
    """
    u = check_returned("velocity(x, t)", velocity(batch.x_t, batch.t), batch.x_t)
    return _regress(model, batch, u)


def noise_loss(model, batch):
    """Noise prediction, which is what DDPM trains: L = E ||model(x_t, t) - x_0||^2.

    batch: a PathSample, as in cfm_loss.  Returns a scalar.
    Raises ValueError if the model returns something unlike x_t.
    Ho et al. 2020, eq. 14.  Taught in: 06, section 1.
    """
    return _regress(model, batch, batch.x_0)
