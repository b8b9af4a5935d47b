"""Attention over packed rows: a query sees the keys of its own segment and nothing else.

`out = softmax(scale q k^T + bias) v` over the keys of the query's segment. A query of padding (segment
0), or one whose segment has no key, gets exactly 0, and so do all gradients through it. What other
segments hold changes neither a result nor a gradient by a single bit: their weights are exactly 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.nn.chunked import chunked_attention
from sora_jax.nn.cudnn import cudnn_attention
from sora_jax.nn.flash import flash_attention
from sora_jax.nn.layers import (
    FLOOR,
    MASKED,
    Dense,
    Initializer,
    RMSNorm,
    Rotation,
    held,
    inner_product,
    split_heads,
)
from sora_jax.nn.partition import HEADS
from sora_jax.nn.ring import ring_attention
from sora_jax.nn.ring_splash import ring_splash_attention
from sora_jax.nn.splash import splash_attention

Implementation = Literal["xla", "chunked", "splash", "flash", "cudnn", "ring", "ring_splash"]
# What attends to text beside each: most know one set of segments, and text has its own.
CROSS: Mapping[Implementation, Implementation] = MappingProxyType(
    {
        "xla": "xla",
        "chunked": "xla",
        "splash": "splash",
        "flash": "xla",
        "cudnn": "xla",
        "ring": "xla",
        "ring_splash": "splash",
    }
)
# Tokens of a device's row are a multiple of this; of text too, where the same kernel attends to it.
BLOCKS: Mapping[Implementation, int] = MappingProxyType(
    {"xla": 1, "chunked": 1, "splash": 128, "flash": 128, "cudnn": 1, "ring": 1, "ring_splash": 128}
)
# The platform that a kernel is for; the others run anywhere.
PLATFORMS: Mapping[Implementation, str] = MappingProxyType(
    {"splash": "tpu", "ring_splash": "tpu", "flash": "gpu", "cudnn": "gpu"}
)


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
    most_segments: int = 1,
) -> Float[Array, "b n k d"]:
    """Multi-head attention within segments; softmax in float32, products in the dtype of `value`.

    Args:
      query_segment, key_segment: the segment of every query and key; 0 = padding.
      scale: of the products of queries and keys.
      bias: added to the scaled products, the same for every row.
      implementation: "xla" = batched matrix products over (b, k, n, d) with a softmax between; "splash" = a
        TPU kernel (`nn.splash`), for TPUs alone and without a bias; the others are for a sequence and itself,
        without a bias: "chunked" = a head and some of its queries at a time (`nn.chunked`), for rows of 1,024
        tokens and more on CPUs; "flash" = a GPU kernel (`nn.flash`), for GPUs alone; "cudnn" = NVIDIA's
        (`nn.cudnn`), for Hopper GPUs and later, in half precision, of segments that lie one after the other;
        "ring" = plain products, a block of keys at a time, handed round the devices that share a row
        (`nn.ring`), anywhere; "ring_splash" = likewise, with the TPU kernel (`nn.ring_splash`), for TPUs
        alone. Nothing is chosen for the caller.
      most_segments: that a row may have; only "cudnn" asks.

    Raises:
      ValueError: an unknown implementation, or one that cannot do this.
    """
    match implementation:
        case "xla":
            query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query * scale, key, value))
            key_segment = jnp.where(key_segment == 0, -1, key_segment)
            out = _softmax_attention(query, key, value, bias, query_segment, key_segment)
            return jnp.swapaxes(out, 1, 2)
        case "splash":
            if bias is not None:
                raise ValueError("attention='splash' has no bias: use 'xla'")
            return splash_attention(
                query, key, value, query_segment=query_segment, key_segment=key_segment, scale=scale
            )
        case "chunked" | "flash" | "cudnn" | "ring" | "ring_splash":
            if bias is not None or query_segment is not key_segment:
                raise ValueError(
                    f"attention={implementation!r} has no bias and attends to its own sequence: use 'xla'"
                )
            own: Callable[..., Any] = {
                "chunked": chunked_attention,
                "flash": flash_attention,
                "cudnn": functools.partial(cudnn_attention, most_segments=most_segments),
                "ring": ring_attention,
                "ring_splash": ring_splash_attention,
            }[implementation]
            return own(query, key, value, segment=query_segment, scale=scale)
        case _:
            raise ValueError(f"attention implementation {implementation!r} is not one of {', '.join(CROSS)}")


@jax.custom_vjp
def _softmax_attention(
    query: Float[Array, "b k n d"],
    key: Float[Array, "b k m d"],
    value: Float[Array, "b k m d"],
    bias: Float[Array, "k n m"] | None,
    query_segment: Int[Array, "b n"],
    key_segment: Int[Array, "b m"],
) -> Float[Array, "b k n d"]:
    """`softmax(q k^T + bias) v` where segments are equal.

    With its own gradient, which keeps one array of n x m per head, reads it once, and never divides it: the
    weights stay unnormalised, `w = exp(logits - max)`, and the sum divides the output instead.
    """
    return _forward(query, key, value, bias, query_segment, key_segment)[0]


def _forward(query, key, value, bias, query_segment, key_segment):
    logits = jnp.einsum("bknd,bkmd->bknm", query, key, preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + bias[None].astype(jnp.float32)
    same = query_segment[:, None, :, None] == key_segment[:, None, None, :]
    # Added, and one array for all heads: XLA's softmax on a CPU takes in what is added, not a choice.
    logits = logits + held(jnp.where(same, 0.0, MASKED))
    top = jnp.maximum(jnp.max(logits, axis=-1, keepdims=True), FLOOR)
    weight = jnp.exp(logits - top)
    total = jnp.sum(weight, axis=-1, keepdims=True)
    inverse = jnp.where(total == 0, 0.0, 1 / total)
    weight = weight.astype(value.dtype)
    out = jnp.einsum("bknm,bkmd->bknd", weight, value, preferred_element_type=jnp.float32)
    out = (out * inverse).astype(value.dtype)
    return out, (query, key, value, bias, weight, inverse, out)


def _backward(residuals, gradient):
    query, key, value, bias, weight, inverse, out = residuals
    # With p = w / total: dp = g v^T, dlogits = p (dp - sum(g out)); the 1 / total goes to g at once.
    gradient = gradient.astype(jnp.float32) * inverse
    inner = inner_product(gradient, out)
    gradient = gradient.astype(value.dtype)
    d_value = _over_queries(weight, gradient)
    d_weight = jnp.einsum("bknd,bkmd->bknm", gradient, value, preferred_element_type=jnp.float32)
    d_logits = weight.astype(jnp.float32) * (d_weight - inner)
    d_bias = None if bias is None else jnp.sum(d_logits, axis=0).astype(bias.dtype)
    d_logits = d_logits.astype(query.dtype)
    d_query = jnp.einsum("bknm,bkmd->bknd", d_logits, key)
    d_key = _over_queries(d_logits, query)
    return d_query, d_key, d_value, d_bias, None, None


def _over_queries(x, y):
    """`x^T y` as `(y^T x)^T`: of the two the short matrix is turned, which on a CPU takes half the time."""
    return jnp.swapaxes(jnp.einsum("bknd,bknm->bkdm", y, x), 2, 3)


_softmax_attention.defvjp(_forward, _backward)


class Attention(nn.Module):
    """Self- or cross-attention with QK-norm (Dehghani et al. 2023, arXiv 2302.05442) and optional rotation.

    Attributes:
      heads: number of heads; the width must divide by it.
      out_init: initialiser of the output projection.
      implementation, most_segments: see `attend`.
    """

    heads: int
    dtype: Any = jnp.float32
    out_init: Initializer = nn.initializers.lecun_normal()
    implementation: Implementation = "xla"
    most_segments: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        memory: Float[Array, "b m e"] | None = None,
        *,
        segment: Int[Array, "b n"],
        memory_segment: Int[Array, "b m"] | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Array, "b n d"]:
        """Attends from `x` to `memory` (default: `x`); `rotation` is `rope.rotations`, of self-attention."""
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"width {width} is not a multiple of heads {self.heads}")
        memory = x if memory is None else memory
        memory_segment = segment if memory_segment is None else memory_segment
        into = functools.partial(Dense, width, dtype=self.dtype, cut=HEADS)
        query = split_heads(into(name="query")(x), self.heads)
        key = split_heads(into(name="key")(memory), self.heads)
        value = split_heads(into(name="value")(memory), self.heads)
        query = RMSNorm(dtype=self.dtype, name="query_norm")(query, rotation)
        key = RMSNorm(dtype=self.dtype, name="key_norm")(key, rotation)
        out = attend(
            query,
            key,
            value,
            query_segment=segment,
            key_segment=memory_segment,
            scale=(width // self.heads) ** -0.5,
            implementation=self.implementation,
            most_segments=self.most_segments,
        )
        return Dense(width, dtype=self.dtype, kernel_init=self.out_init, name="out")(
            jnp.reshape(out, (*x.shape[:-1], width))
        )
