"""From noise levels to modulations of tokens: adaLN-single (Chen et al. 2023, arXiv 2310.00426, Sec. 2.3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.nn import partition
from sora_jax.nn.layers import Dense, fourier_features, geometric

LEVEL_FEATURES = 256  # of a noise level
MODULATIONS = 8  # six of a block, then two of the last layer


class Levels(NamedTuple):
    """What the noise levels of a row's tokens come to.

    Attributes:
      table: the modulations of every distinct noise level, float32; of every token if `spread` is None.
      spread: the matrix that hands them to the tokens, with one 1 per token; NaN for a token whose noise
        level is none, or is missing from the table.
    """

    table: Float[Array, "b l s d"]
    spread: Float[Array, "b n l"] | None

    def tokens(self, part: Float[Array, "b l d"], *, dtype: Any) -> Float[Array, "b n d"]:
        """One of the table's modulations at every token, in `dtype`.

        It is asked for where it is used, in each layer: to keep all of them, and in a backward pass the sums
        of their gradients, took 12 float32 arrays as large as the tokens. The gradient of a product with this
        matrix is a product too; that of a gather would be a scatter.
        """
        if self.spread is None:
            return part.astype(dtype)
        return partition.tokens(_spread(self.spread.astype(dtype), part.astype(dtype)))


@jax.custom_vjp
def _spread(spread: Float[Array, "b n l"], part: Float[Array, "b l d"]) -> Float[Array, "b n d"]:
    """`spread part`; its gradient is that of `part` alone, the product that a CPU has a fast way for."""
    return jnp.einsum("bnl,bld->bnd", spread, part, precision=_exact(part))


def _spread_gradient(spread, gradient):
    return jnp.zeros_like(spread), jnp.einsum("bnl,bnd->bld", spread, gradient, precision=_exact(gradient))


def _exact(x: Array) -> jax.lax.Precision:
    return jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else jax.lax.Precision.DEFAULT


_spread.defvjp(lambda spread, part: (_spread(spread, part), spread), _spread_gradient)


class NoiseLevel(nn.Module):
    """Modulations of the noise levels, float32.

    Few noise levels are distinct within a row (one per clip, or per frame of a clip, and 0 for what is
    known), so the MLP runs on the distinct ones.
    """

    width: int
    levels: int | None

    @nn.compact
    def __call__(self, t: Float[Array, "b n"], segment: Int[Array, "b n"]) -> Levels:
        """A token's modulations are NaN if `t` is outside [0, 1] or its row has more than `levels` levels."""
        t = jnp.where(segment == 0, 0.0, t.astype(jnp.float32))
        valid = ((t >= 0) & (t <= 1))[:, :, None]
        distinct, spread = (t, None) if self.levels is None else distinct_levels(t, self.levels)
        frequencies = geometric(1e-1, 1e3, LEVEL_FEATURES // 2)
        embedding = Dense(self.width, use_bias=True, name="in")(fourier_features(distinct, frequencies))
        embedding = Dense(self.width, use_bias=True, name="hidden")(jax.nn.silu(embedding))
        out = Dense(MODULATIONS * self.width, use_bias=True, kernel_init=nn.initializers.zeros, name="out")(
            jax.nn.silu(embedding)
        )
        if spread is None:
            out = partition.tokens(jnp.where(valid, out, jnp.nan))
        else:
            spread = jnp.where(valid, spread, jnp.nan)
        return Levels(jnp.reshape(out, (*distinct.shape, MODULATIONS, self.width)), spread)


def distinct_levels(t: Float[Array, "b n"], levels: int) -> tuple[Float[Array, "b l"], Float[Array, "b n l"]]:
    """The distinct values of every row, and the matrix that spreads them over its tokens.

    The matrix has one 1 per token; a token whose value found no place among `levels` has NaN.
    """
    unused = 2.0  # no noise level
    values = jax.vmap(lambda row: jnp.unique(row, size=levels, fill_value=unused))(t)
    match = t[:, :, None] == values[:, None, :]
    found = jnp.any(match, axis=-1, keepdims=True)
    return values, jnp.where(found, match.astype(jnp.float32), jnp.nan)
