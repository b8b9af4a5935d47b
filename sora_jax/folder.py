"""A trained model as a folder: `model.json` and safetensors files, small enough to ship.

    model.json                the tables that `build` reads, the autoencoder's fingerprint, how to sample
    autoencoder.safetensors   parameters and latent statistics
    transformer.safetensors   parameters (the moving average), text encoder included

A folder with the autoencoder alone is what latents are made with. Its weights are rounded to bfloat16 before
latents are made, so that what is shipped is exactly what the transformer was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import weights
from sora_jax.types import Params

PRETRAINED = Path(__file__).parent / "pretrained"
MODEL = "model.json"


def find(name: str | Path) -> Path:
    """The folder of a shipped model's name, or of a path.

    Raises:
      FileNotFoundError: neither; names the models that are shipped.
    """
    for path in (Path(name), PRETRAINED / name):
        if (path / MODEL).is_file():
            return path
    shipped = sorted(p.parent.name for p in PRETRAINED.glob(f"*/{MODEL}"))
    raise FileNotFoundError(
        f"no model in {name} (no {MODEL} there): give a folder that sora_jax.export wrote, or one of "
        f"the shipped models: {', '.join(shipped) or 'none'}"
    )


def rounded(params: Params) -> Params:
    """Parameters as they will be after `write` and `read`."""
    return weights.rounded(params, dtype="bfloat16")


def write(
    path: str | Path, model: Mapping[str, Any], *, autoencoder: Params, transformer: Params | None = None
) -> None:
    """Writes a folder; `model` is the content of model.json."""
    path = Path(path)
    (path / MODEL).unlink(missing_ok=True)
    if transformer is None:
        (path / "transformer.safetensors").unlink(missing_ok=True)
    weights.save(path / "autoencoder.safetensors", autoencoder)
    if transformer is not None:
        weights.save(path / "transformer.safetensors", transformer)
    (path / MODEL).write_text(json.dumps(model, indent=1) + "\n")  # last: its presence says that all is there


def read(path: str | Path) -> tuple[dict[str, Any], Params, Params | None]:
    """(model.json, the autoencoder's weights, the transformer's or None) of a folder or a shipped name."""
    path = find(path)
    transformer = path / "transformer.safetensors"
    return (
        json.loads((path / MODEL).read_text()),
        weights.load(path / "autoencoder.safetensors"),
        weights.load(transformer) if transformer.is_file() else None,
    )
