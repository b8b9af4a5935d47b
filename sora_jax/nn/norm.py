"""Root-mean-square normalisation of each position by itself."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class PositionNorm(nn.Module):
    """Divides each position's channels by their root mean square and scales each channel.

    No statistic crosses a position, so a position's output does not depend on which other frames or
    pixels are in the array (Zhang & Sennrich 2019, arXiv 1910.07467, Eq. 4).

    Attributes:
      dtype: of the result; the statistic is always float32.
    """

    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],), jnp.float32)
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
        return (x * jnp.broadcast_to(scale, x.shape)).astype(self.dtype)
