"""Patches to tokens and back, with positions.

A token is a linear embedding of its noisy patch plus a linear embedding of fixed Fourier features of its
position, so that it knows where in the frame and when it is; attention adds what is relative (`nn.rope`).
There is no table of positions, so any grid, frame rate and duration has a meaning.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.nn.layers import Dense, fourier_features, modulate, rms_normalize

# Radians per unit of position. The slowest of each axis does not repeat within 4 half-frames / 16 s.
SECONDS_FREQUENCIES = tuple(math.pi / 8 * 2**i for i in range(6))
SPACE_FREQUENCIES = tuple(math.pi / 4 * 2**i for i in range(6))


def position_features(position: Float[Array, "b n 3"]) -> Float[Array, "b n 36"]:
    """Cosines and sines of (seconds, row, column) at octaves, float32."""
    bands = (SECONDS_FREQUENCIES, SPACE_FREQUENCIES, SPACE_FREQUENCIES)
    features = [fourier_features(position[..., axis], band) for axis, band in enumerate(bands)]
    return jnp.concatenate(features, axis=-1)


class Tokenizer(nn.Module):
    """The first and last layer of the transformer.

    Attributes:
      patch_width: numbers per patch, `p`.
      width: numbers per token, `d`.
    """

    patch_width: int
    width: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.patch = Dense(self.width, use_bias=True, dtype=self.dtype)
        self.position = Dense(self.width, dtype=self.dtype)
        self.out = Dense(self.patch_width, use_bias=True, kernel_init=nn.initializers.zeros)

    def embed(self, patches: Float[Array, "b n p"], position: Float[Array, "b n 3"]) -> Float[Array, "b n d"]:
        """Patches and their positions (`patches.positions`) as tokens, in `dtype`."""
        if patches.shape[-1] != self.patch_width:
            raise ValueError(f"patches of {patches.shape[-1]} numbers, but patch_width is {self.patch_width}")
        return self.patch(patches) + self.position(position_features(position))

    def unembed(
        self,
        x: Float[Array, "b n d"],
        *,
        shift: Float[Array, "b n d"],
        scale: Float[Array, "b n d"],
    ) -> Float[Array, "b n p"]:
        """Tokens as patches, float32: norm, modulation by the noise level, a layer that begins at zero."""
        return self.out(modulate(rms_normalize(x), shift=shift, scale=scale))

    def __call__(
        self, patches: Float[Array, "b n p"], position: Float[Array, "b n 3"]
    ) -> Float[Array, "b n p"]:
        """There and back without modulation (touches every parameter, for `init`)."""
        x = self.embed(patches, position)
        return self.unembed(x, shift=jnp.zeros_like(x), scale=jnp.zeros_like(x))
