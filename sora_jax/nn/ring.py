"""Self-attention within segments, a block of keys at a time, the blocks handed round a ring of devices.

Each device keeps the queries of its share of a row's tokens. Keys and values of all shares come by in turn,
one step of the ring (`ppermute`) after another, and are folded into a running softmax; in the backward pass
their gradients travel with them and are home after one round (Liu et al. 2023, arXiv 2310.01889). No device
ever holds a whole row, nor more logits than `BLOCK` per query and head; heads need not divide over `context`,
as they have to for an exchange (`partition.attention_over_mesh`). Without a mesh the ring has one device,
and memory grows with the tokens instead of with their square.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from sora_jax.nn.layers import FLOOR, MASKED, inner_product
from sora_jax.nn.partition import HEADS, ROWS, TOKENS, constrain

BLOCK = 256  # keys that are looked at at once
NO_KEY = -1  # segment of a key that nobody sees


def ring_attention(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b n k d"],
    value: Float[Array, "b n k d"],
    *,
    segment: Int[Array, "b n"],
    scale: float,
) -> Float[Array, "b n k d"]:
    """What `attention.attend` computes of one sequence, up to rounding, with the same zeros.

    Raises:
      ValueError: tokens that do not divide over `context`, or heads over `tensor`.
    """
    return over_ring(_ring, query, key, value, segment=segment, scale=scale)


def over_ring(
    attention: Callable[..., Any],
    query: Float[Array, "b n k d"],
    key: Float[Array, "b n k d"],
    value: Float[Array, "b n k d"],
    *,
    segment: Int[Array, "b n"],
    scale: float,
) -> Float[Array, "b n k d"]:
    """`attention` of every device's share of a row, in the ring of the devices that share it.

    Args:
      attention: `(devices of the ring, query, key, value, segment) -> output`, of arrays `[b k n d]` and
        `[b n]` that are one device's; queries are scaled. It hands on keys by `pass_on`.

    Raises:
      ValueError: tokens that do not divide over `context`, or heads over `tensor`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    size = 1 if mesh.empty else mesh.shape[TOKENS]
    local = functools.partial(attention, size)
    if not mesh.empty:
        _check(query.shape[1], query.shape[2], tokens=size, heads=mesh.shape[HEADS])
        shares = math.prod(mesh.shape[axis] for axis in ROWS)
        rows = ROWS if query.shape[0] % shares == 0 else None  # the one row of an initialisation is whole
        heads, ids = PartitionSpec(rows, HEADS, TOKENS, None), PartitionSpec(rows, TOKENS)
        local = jax.shard_map(
            local, mesh=mesh, in_specs=(heads, heads, heads, ids), out_specs=heads, check_vma=False
        )
    query = constrain(query, ROWS, TOKENS, HEADS, None)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query * scale, key, value))
    return constrain(jnp.swapaxes(local(query, key, value, segment), 1, 2), ROWS, TOKENS, HEADS, None)


def _check(n: int, k: int, *, tokens: int, heads: int) -> None:
    for count, name, axis, share in ((n, "tokens", TOKENS, tokens), (k, "heads", HEADS, heads)):
        if count % share:
            raise ValueError(f"{count} {name} do not divide over {axis} = {share}: use a divisor of {count}")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring(
    size: int,
    query: Float[Array, "b k n d"],
    key: Float[Array, "b k n d"],
    value: Float[Array, "b k n d"],
    segment: Int[Array, "b n"],
) -> Float[Array, "b k n d"]:
    """The attention of one device's queries to the keys of all `size` devices of the ring."""
    return _forward(size, query, key, value, segment)[0]


def _forward(size: int, query: Array, key: Array, value: Array, segment: Array) -> tuple[Array, Any]:
    def fold(running: Any, block: Any) -> Any:
        key, value, ids = block
        out, top, total = running
        logits = jnp.where(_same(segment, ids), _logits(query, key), MASKED)
        higher = jnp.maximum(top, jnp.max(logits, axis=-1, keepdims=True))
        weight, shrink = jnp.exp(logits - higher), jnp.exp(top - higher)
        total = total * shrink + jnp.sum(weight, axis=-1, keepdims=True)
        part = jnp.einsum(
            "bknm,bkmd->bknd", weight.astype(value.dtype), value, preferred_element_type=jnp.float32
        )
        return out * shrink + part, higher, total

    def turn(carry: Any, _: None) -> Any:
        running, blocks = carry
        running = jax.lax.scan(lambda r, block: (fold(r, block), None), running, blocks)[0]
        return (running, pass_on(blocks, size)), None

    zeros = jnp.zeros((*query.shape[:3], 1), jnp.float32)
    running = jnp.zeros(query.shape, jnp.float32), zeros + FLOOR, zeros
    (running, _), _ = jax.lax.scan(turn, (running, _blocks(key, value, segment)), length=size)
    out, top, total = running
    out = (out * jnp.where(total == 0, 0.0, 1 / total)).astype(value.dtype)
    return out, (query, key, value, segment, out, top + jnp.log(jnp.where(total == 0, 1.0, total)))


def _backward(size: int, residuals: Any, gradient: Float[Array, "b k n d"]) -> Any:
    query, key, value, segment, out, log_total = residuals
    inner = inner_product(gradient, out)
    gradient = gradient.astype(value.dtype)

    def fold(d_query: Array, block: Any) -> Any:
        (key, value, ids), (d_key, d_value) = block
        weight = jnp.where(_same(segment, ids), jnp.exp(_logits(query, key) - log_total), 0.0)
        d_value = d_value + _over_queries(weight.astype(value.dtype), gradient)
        d_weight = jnp.einsum("bknd,bkmd->bknm", gradient, value, preferred_element_type=jnp.float32)
        d_logits = (weight * (d_weight - inner)).astype(query.dtype)
        d_key = d_key + _over_queries(d_logits, query)
        part = jnp.einsum("bknm,bkmd->bknd", d_logits, key, preferred_element_type=jnp.float32)
        return d_query + part, (d_key, d_value)

    def turn(carry: Any, _: None) -> Any:
        d_query, blocks, gradients = carry
        d_query, gradients = jax.lax.scan(fold, d_query, (blocks, gradients))
        return (d_query, *pass_on((blocks, gradients), size)), None

    blocks = _blocks(key, value, segment)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), blocks[:2])
    start = jnp.zeros(query.shape, jnp.float32), blocks, zeros
    (d_query, _, gradients), _ = jax.lax.scan(turn, start, length=size)
    d_key, d_value = (_joined(x, key.shape[2]).astype(key.dtype) for x in gradients)
    return d_query.astype(query.dtype), d_key, d_value, None


_ring.defvjp(_forward, _backward)


def _same(queries: Int[Array, "b n"], keys: Int[Array, "b m"]) -> Array:
    return queries[:, None, :, None] == keys[:, None, None, :]


def _logits(query: Float[Array, "b k n d"], key: Float[Array, "b k m d"]) -> Float[Array, "b k n m"]:
    return jnp.einsum("bknd,bkmd->bknm", query, key, preferred_element_type=jnp.float32)


def _over_queries(x: Float[Array, "b k n m"], y: Float[Array, "b k n d"]) -> Float[Array, "b k m d"]:
    """`x^T y` as `(y^T x)^T`: of the two the short matrix is turned, which on a CPU takes half the time."""
    turned = jnp.einsum("bknd,bknm->bkdm", y, x, preferred_element_type=jnp.float32)
    return jnp.swapaxes(turned, 2, 3)


def _blocks(key: Array, value: Array, segment: Int[Array, "b n"]) -> tuple[Array, Array, Array]:
    """Keys, values and their segments as a leading axis of blocks, filled up with keys that nobody sees."""
    tokens = segment.shape[1]
    block = min(BLOCK, tokens)
    fill = -tokens % block
    ids = jnp.pad(jnp.where(segment == 0, NO_KEY, segment), ((0, 0), (0, fill)), constant_values=NO_KEY)

    def cut(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, fill), (0, 0)))
        return jnp.moveaxis(jnp.reshape(x, (*x.shape[:2], -1, block, x.shape[-1])), 2, 0)

    return cut(key), cut(value), jnp.moveaxis(jnp.reshape(ids, (ids.shape[0], -1, block)), 1, 0)


def _joined(blocks: Float[Array, "j b k m d"], tokens: int) -> Float[Array, "b k n d"]:
    """The inverse of the cut of `_blocks`."""
    x = jnp.moveaxis(blocks, 0, 2)
    return jnp.reshape(x, (*x.shape[:2], -1, x.shape[-1]))[:, :, :tokens]


def pass_on(values: Any, size: int) -> Any:
    """Every device's values to the next of the ring, which has `size`."""
    if size == 1:
        return values
    return jax.lax.ppermute(values, TOKENS, [(i, (i + 1) % size) for i in range(size)])
