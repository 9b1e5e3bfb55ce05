"""What Python has and a browser does not, in words that JSON has."""

import base64
import dataclasses
import json

import torch

from fmlib.exact import GaussianMixture
from fmlib.models import MLP
from fmlib.paths import AffinePath


def plain(value):
    """What JSON can hold, for a tensor (to six digits), a path, a target, a network."""
    if isinstance(value, torch.Tensor):
        return plain(value.detach().tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, AffinePath):
        return {"name": type(value).__name__, **plain(dataclasses.asdict(value))}
    if isinstance(value, GaussianMixture):
        found = {name: plain(getattr(value, name)) for name in ("means", "stds", "weights")}
        same = {name: found[name][0] for name in ("stds", "weights") if len(set(found[name])) == 1}
        return found | same
    if isinstance(value, MLP):
        layers = [layer for layer in value.layers if isinstance(layer, torch.nn.Linear)]
        numbers = torch.nn.utils.parameters_to_vector(value.parameters()).detach().float()
        text = base64.b64encode(numbers.cpu().numpy().astype("<f4").tobytes()).decode()
        sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
        return {"sizes": sizes, "weights": text}
    return value


def as_json(value):
    """JSON in one line, which cannot end the script that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
