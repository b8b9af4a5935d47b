"""Self-attention within segments, one head of one row and a chunk of its queries at a time: for CPUs.

Few logits are ever held (Rabe & Staats 2021, arXiv 2112.05682), so that they stay in the processor's cache
between the products and the softmax, and take no new memory; the backward pass makes them again (Dao et al.
2022, arXiv 2205.14135, Sec. 3). Heads in turn are what a CPU wants and a TPU does not: it multiplies two
matrices well, and many pairs of matrices, of which one is to be transposed, badly.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.nn.layers import FLOOR, MASKED, held, inner_product
from sora_jax.nn.partition import HEADS, ROWS, TOKENS, attention_over_mesh, constrain

LOGITS, LEAST = 2**20, 256  # logits that are held at once, 4 MiB, and the least queries all the same


def chunked_attention(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b n k d"],
    value: Float[Array, "b n k d"],
    *,
    segment: Int[Array, "b n"],
    scale: float,
) -> Float[Array, "b n k d"]:
    """What `attention.attend` computes of one sequence, up to rounding, with the same zeros.

    Raises:
      ValueError: on a mesh, heads that do not divide over `tensor`.
    """
    query = constrain(query, ROWS, TOKENS, HEADS, None)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query * scale, key, value))
    cut = attention_over_mesh(_chunked, rows=query.shape[0], heads=query.shape[1], own=True)
    out = cut(query, key, value, segment, jnp.where(segment == 0, -1, segment))  # padding sees no padding
    return constrain(jnp.swapaxes(out, 1, 2), ROWS, TOKENS, HEADS, None)


@jax.custom_vjp
def _chunked(
    query: Float[Array, "b k n d"],
    key: Float[Array, "b k m d"],
    value: Float[Array, "b k m d"],
    query_segment: Int[Array, "b n"],
    key_segment: Int[Array, "b m"],
) -> Float[Array, "b k n d"]:
    return _forward(query, key, value, query_segment, key_segment)[0]


def _forward(query, key, value, query_segment, key_segment):
    def chunk(key, value, key_ids, query, ids):
        logits = _product(query, key.T) + _mask(ids, key_ids)
        top = jnp.maximum(jnp.max(logits, axis=-1, keepdims=True), FLOOR)
        weight = jnp.exp(logits - top)
        total = jnp.sum(weight, axis=-1, keepdims=True)
        out = _product(weight.astype(value.dtype), value) * jnp.where(total == 0, 0.0, 1 / total)
        return out.astype(value.dtype), top + jnp.log(jnp.where(total == 0, 1.0, total))

    def head(query_ids, key_ids, query, key, value):
        of_head = functools.partial(chunk, key, value, key_ids)
        return jax.lax.map(lambda x: of_head(*x), (query, query_ids))

    chunks = -(-query.shape[2] // max(LEAST, LOGITS // key.shape[2]))
    split = functools.partial(_split, count=chunks)
    out, log_total = _over_heads(head, (split(query_segment), key_segment), split(query), key, value)
    return _joined(out, query), (query, key, value, query_segment, key_segment, out, log_total)


def _backward(residuals: Any, gradient: Float[Array, "b k n d"]) -> Any:
    query, key, value, query_segment, key_segment, out, log_total = residuals
    split = functools.partial(_split, count=out.shape[2])
    gradient = split(gradient)
    inner = inner_product(gradient, out)

    def chunk(key, value, key_ids, sums, x):
        query, gradient, inner, log_total, ids = x
        weight = jnp.exp(_product(query, key.T) + _mask(ids, key_ids) - log_total)
        d_logits = (weight * (_product(gradient, value.T) - inner)).astype(query.dtype)
        # Transposed, [d m]: the long matrix is read as it lies, and only the short one is turned.
        d_key = sums[0] + _product(query.T, d_logits)
        d_value = sums[1] + _product(gradient.T, weight.astype(gradient.dtype))
        return (d_key, d_value), _product(d_logits, key).astype(query.dtype)

    def head(query_ids, key_ids, query, key, value, gradient, inner, log_total):
        zeros = jnp.zeros(key.shape[::-1], jnp.float32)
        of_head = functools.partial(chunk, key, value, key_ids)
        sums, d_query = jax.lax.scan(of_head, (zeros, zeros), (query, gradient, inner, log_total, query_ids))
        return d_query, *(x.astype(key.dtype) for x in sums)

    d_query, d_key, d_value = _over_heads(
        head,
        (split(query_segment), key_segment),
        *(split(query), key, value, gradient.astype(value.dtype), inner, log_total),
    )
    return _joined(d_query, query), jnp.swapaxes(d_key, 2, 3), jnp.swapaxes(d_value, 2, 3), None, None


_chunked.defvjp(_forward, _backward)


def _over_heads(head: Any, ids: tuple[Array, Array], *arrays: Array) -> Any:
    """`head(ids of queries, ids of keys, *arrays)` of every head of every row, one after the other."""

    def row(x):
        (query_ids, key_ids), arrays = x
        return jax.lax.map(lambda one: head(query_ids, key_ids, *one), arrays)

    return jax.lax.map(row, (ids, arrays))


def _split(x: Array, *, count: int) -> Array:
    """Queries `[b k n d]`, or their segments `[b n]`, with n in so many chunks, filled up with zeros."""
    axis = min(x.ndim - 1, 2)
    size = -(-x.shape[axis] // count)
    fill = [(0, size * count - side if place == axis else 0) for place, side in enumerate(x.shape)]
    return jnp.reshape(jnp.pad(x, fill), (*x.shape[:axis], count, size, *x.shape[axis + 1 :]))


def _joined(x: Float[Array, "b k c n d"], like: Float[Array, "b k n d"]) -> Float[Array, "b k n d"]:
    """The inverse of `_split`."""
    return jnp.reshape(x, (*x.shape[:2], -1, x.shape[-1]))[:, :, : like.shape[2]]


def _mask(queries: Int[Array, " n"], keys: Int[Array, " m"]) -> Float[Array, "n m"]:
    """What is added to the logits, as in `attention`."""
    return held(jnp.where(queries[:, None] == keys[None, :], 0.0, MASKED))


def _product(x: Float[Array, "i j"], y: Float[Array, "j k"]) -> Float[Array, "i k"]:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)
