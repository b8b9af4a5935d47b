"""What a transformer must know of its autoencoder: the scale of the latents, and which weights made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from sora_jax.types import Params


class LatentStatistics(NamedTuple):
    """Mean and standard deviation of each latent channel over a set of clips, `[lc]` float32 each."""

    mean: Float[np.ndarray, " lc"]
    std: Float[np.ndarray, " lc"]


def latent_statistics(clips: Iterable[Float[Array, "*shape lc"]]) -> LatentStatistics:
    """Per-channel mean and standard deviation over all positions of all clips, summed in float64.

    Args:
      clips: latents, channels last, of any sizes.

    Raises:
      ValueError: no clips, a value that is not finite, or a channel that does not vary (it carries nothing,
        and dividing by its deviation would make noise of it).
    """
    count, total, square = 0, 0.0, 0.0
    for latents in clips:
        flat = np.asarray(latents, np.float64).reshape(-1, latents.shape[-1])
        count += flat.shape[0]
        total += flat.sum(axis=0)
        square += np.square(flat).sum(axis=0)
    if not count:
        raise ValueError("latent statistics of no clips: give at least one")
    mean = np.asarray(total) / count
    std = np.sqrt(np.maximum(square / count - np.square(mean), 0.0))
    if not (np.isfinite(std).all() and np.isfinite(mean).all()):
        raise ValueError("latents are not finite: the autoencoder's weights or its input are broken")
    if (std < 1e-6).any():
        raise ValueError(
            f"latent channels {np.flatnonzero(std < 1e-6).tolist()} are constant: train it longer, "
            "with a lower kl_weight, or with fewer channels"
        )
    return LatentStatistics(mean.astype(np.float32), std.astype(np.float32))


def _along(values: Array | np.ndarray, like: Array | np.ndarray) -> Array | np.ndarray:
    return values.reshape((1,) * (like.ndim - 1) + (-1,))


def normalise(latents: Float[Array, "*shape lc"], statistics: LatentStatistics) -> Float[Array, "*shape lc"]:
    """Latents of the encoder -> mean 0 and deviation 1 per channel, as the transformer sees them."""
    return (latents - _along(statistics.mean, latents)) / _along(statistics.std, latents)


def denormalise(
    latents: Float[Array, "*shape lc"], statistics: LatentStatistics
) -> Float[Array, "*shape lc"]:
    """The inverse of `normalise`: what the decoder takes."""
    return latents * _along(statistics.std, latents) + _along(statistics.mean, latents)


def fingerprint(params: Params, statistics: LatentStatistics, hyperparameters: Mapping[str, Any]) -> str:
    """A hash of 32 hexadecimal digits of all that decides what a latent means; the same in every process.

    Weights are hashed as rounded to bfloat16, so that the trained float32 weights and the copy of them
    shipped in bfloat16 are one autoencoder; a change of a weight below about 1 part in 500 may not be seen.
    Statistics are hashed as float32.

    Args:
      params: nested dict of arrays, of the encoder and decoder.
      statistics: of the latents.
      hyperparameters: fields of the module other than the compute dtype; anything JSON can write (a tuple
        and a list of the same values are the same).
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(hyperparameters, sort_keys=True).encode())
    flat = traverse_util.flatten_dict(params, sep="/")
    for name in sorted(flat):
        array = np.asarray(jax.device_get(flat[name]), np.float32).astype(ml_dtypes.bfloat16)
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    for values in statistics:
        digest.update(np.asarray(values, np.float32).tobytes())
    return digest.hexdigest()
