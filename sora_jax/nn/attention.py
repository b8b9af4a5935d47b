"""Attention over packed rows: a query sees the keys of its own segment and nothing else.

`out = softmax(scale q k^T + bias) v` over the keys of the query's segment. A query of padding (segment
0), or one whose segment has no key, gets exactly 0, and so do all gradients through it. What other
segments hold changes neither a result nor a gradient by a single bit: their weights are exactly 0.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sora_jax.nn import rope
from sora_jax.nn.layers import Dense, Initializer, RMSNorm, split_heads

Implementation = Literal["xla"]

_FAR = -1e30  # a masked logit: finite, so that differences of two of them are not NaN


def attend(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b m k d"],
    value: Float[Array, "b m k d"],
    *,
    query_segment: Int[Array, "b n"],
    key_segment: Int[Array, "b m"],
    scale: float,
    bias: Float[Array, "k n m"] | None = None,
    implementation: Implementation = "xla",
) -> Float[Array, "b n k d"]:
    """Multi-head attention within segments; softmax in float32, products in the dtype of `value`.

    Args:
      query_segment, key_segment: the segment of every query and key; 0 = padding.
      scale: of the products of queries and keys.
      bias: added to the scaled products, the same for every row.
      implementation: "xla" = two batched matrix products over (b, k, n, d) and a softmax between.
    """
    same = (query_segment[:, :, None] == key_segment[:, None, :]) & (query_segment != 0)[:, :, None]
    match implementation:
        case "xla":
            return _attend_xla(query, key, value, same=same, scale=scale, bias=bias)
        case _:
            raise ValueError(f"attention implementation {implementation!r} is not one of xla")


def _attend_xla(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b m k d"],
    value: Float[Array, "b m k d"],
    *,
    same: Bool[Array, "b n m"],
    scale: float,
    bias: Float[Array, "k n m"] | None,
) -> Float[Array, "b n k d"]:
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    logits = jnp.einsum("bknd,bkmd->bknm", query, key, preferred_element_type=jnp.float32) * scale
    if bias is not None:
        logits = logits + bias[None].astype(jnp.float32)
    same = same[:, None]
    logits = jnp.where(same, logits, _FAR)
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weight = jnp.where(same, jnp.exp(logits - top), 0.0)
    total = jnp.sum(weight, axis=-1, keepdims=True)
    weight = weight / jnp.where(total == 0, 1.0, total)
    out = jnp.einsum("bknm,bkmd->bknd", weight.astype(value.dtype), value)
    return jnp.swapaxes(out, 1, 2)


class Attention(nn.Module):
    """Self- or cross-attention with QK-norm (Dehghani et al. 2023, arXiv 2302.05442) and optional rotation.

    Attributes:
      heads: number of heads; the width must divide by it.
      out_init: initialiser of the output projection.
    """

    heads: int
    dtype: Any = jnp.float32
    out_init: Initializer = nn.initializers.lecun_normal()
    implementation: Implementation = "xla"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        memory: Float[Array, "b m e"] | None = None,
        *,
        segment: Int[Array, "b n"],
        memory_segment: Int[Array, "b m"] | None = None,
        rotation: tuple[Float[Array, "b n h"], Float[Array, "b n h"]] | None = None,
    ) -> Float[Array, "b n d"]:
        """Attends from `x` to `memory` (default: to `x`); `rotation` is `rope.rotations` of self-attention."""
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"width {width} is not a multiple of heads {self.heads}")
        memory = x if memory is None else memory
        memory_segment = segment if memory_segment is None else memory_segment
        query = split_heads(Dense(width, dtype=self.dtype, name="query")(x), self.heads)
        key = split_heads(Dense(width, dtype=self.dtype, name="key")(memory), self.heads)
        value = split_heads(Dense(width, dtype=self.dtype, name="value")(memory), self.heads)
        query = RMSNorm(dtype=self.dtype, name="query_norm")(query)
        key = RMSNorm(dtype=self.dtype, name="key_norm")(key)
        if rotation is not None:
            query, key = (rope.rotate(y, *rotation).astype(self.dtype) for y in (query, key))
        out = attend(
            query,
            key,
            value,
            query_segment=segment,
            key_segment=memory_segment,
            scale=(width // self.heads) ** -0.5,
            implementation=self.implementation,
        )
        return Dense(width, dtype=self.dtype, kernel_init=self.out_init, name="out")(
            jnp.reshape(out, (*x.shape[:-1], width))
        )
