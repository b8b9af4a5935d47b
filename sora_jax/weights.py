"""Weights as safetensors files: a nested dict of arrays, its paths joined by `/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors import flax as safetensors

from sora_jax.types import Params


def rounded(tree: Params, *, dtype: Literal["bfloat16", "float32"]) -> Params:
    """`tree` as it will be after a save in `dtype` and a load: float32 values representable in `dtype`."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype).astype(jnp.float32), tree)


def save(
    path: str | Path,
    tree: Params,
    *,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the arrays of `tree`, cast to `dtype`, with `metadata` in the file's header."""
    flat = traverse_util.flatten_dict(tree, sep="/")
    arrays = {name: jnp.asarray(x).astype(dtype) for name, x in flat.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    safetensors.save_file(arrays, str(path), metadata=dict(metadata or {}))


def load(path: str | Path) -> Params:
    """The nested dict of a file that `save` wrote, as float32.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the file is truncated or no safetensors file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        flat = safetensors.load_file(str(path))
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}): fetch or export it again"
        ) from error
    return traverse_util.unflatten_dict({k: np.asarray(x, np.float32) for k, x in flat.items()}, sep="/")


def fingerprint(tree: Params) -> str:
    """A hash of 32 hexadecimal digits of names, shapes and float32 values; the same in every process."""
    digest = hashlib.blake2b(digest_size=16)
    flat = traverse_util.flatten_dict(tree, sep="/")
    for name in sorted(flat):
        array = np.asarray(jax.device_get(flat[name]), np.float32)
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
