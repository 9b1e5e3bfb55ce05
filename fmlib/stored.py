"""Networks stored with the repository: weights/NAME.safetensors, and NAME.json about it."""

import hashlib
import json
import os
from pathlib import Path

__all__ = ["FOLDER", "read", "replace", "store", "store_about"]

FOLDER = Path(__file__).resolve().parent.parent / "weights"


def replace(path, data):
    """Write a file in one move, never half of it, also if the machine stops."""
    beside = path.with_name(path.name + ".part")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def store(name, model, about, folder=FOLDER):
    """Store a model's weights, in 16-bit numbers, and what there is to tell about them.

    about: a dict, which gets the weights' SHA-256 and their number.
    """
    from safetensors.torch import save

    data = save({key: value.half() for key, value in model.state_dict().items()})
    about["sha256"] = hashlib.sha256(data).hexdigest()
    about["parameters"] = sum(p.numel() for p in model.parameters())
    folder.mkdir(exist_ok=True)
    replace(folder / f"{name}.safetensors", data)
    store_about(name, about, folder)


def store_about(name, about, folder=FOLDER):
    """Write NAME.json alone."""
    replace(folder / f"{name}.json", json.dumps(about, indent=1).encode() + b"\n")


def read(name, folder=FOLDER):
    """What the .json tells, and the weights in 32-bit numbers, for load_state_dict.

    Raises FileNotFoundError if a file is missing, ValueError if the weights are not those of which
    the .json has the SHA-256; both say how to get them back.
    """
    weights, about = Path(folder) / f"{name}.safetensors", Path(folder) / f"{name}.json"
    again = "`git checkout -- weights` brings it back, `make weights` trains it anew"
    for file in (about, weights):
        if not file.exists():
            raise FileNotFoundError(f"weights/{file.name} is missing: {again}")
    from safetensors.torch import load

    data, about = weights.read_bytes(), json.loads(about.read_text(encoding="utf-8"))
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError(f"weights/{weights.name} is damaged, its SHA-256 is wrong: {again}")
    return about, {key: value.float() for key, value in load(data).items()}
