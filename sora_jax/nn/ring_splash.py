"""The ring of `nn.ring` with the TPU kernel "splash" in the place of plain products.

Each device's queries meet the keys of one device after another; every meeting is one call of the kernel,
whose output and log-sum are folded into those so far. In the backward pass the kernel's own backward passes
are called with the log-sum over all keys and the whole output, so that what they give are the shares of one
meeting in the gradients, which travel with their keys (Liu et al. 2023, arXiv 2310.01889). The n x m logits
never leave the chip, and no device holds more keys than its own and its neighbour's; heads need not divide
over `context`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jaxtyping import Array, Float, Int

from sora_jax.nn.ring import NO_KEY, over_ring, pass_on
from sora_jax.nn.splash import splash_kernel

# What nobody has seen so far: below every log-sum of keys, and of the logits that the kernel masks.
_NOTHING = -3e38


def ring_splash_attention(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b n k d"],
    value: Float[Array, "b n k d"],
    *,
    segment: Int[Array, "b n"],
    scale: float,
    interpret: bool = False,
) -> Float[Array, "b n k d"]:
    """What `attention.attend` computes of one sequence, up to rounding, with the same zeros.

    Args:
      interpret: run the kernel's operations one by one, anywhere and slowly: for tests.

    Raises:
      ValueError: tokens per device that are no multiple of 128, or that do not divide over `context`, or
        heads that do not divide over `tensor`.
    """

    def local(size: int, query: Array, key: Array, value: Array, segment: Array) -> Array:
        return _ring(size, interpret, query, key, value, segment)

    out = over_ring(local, query, key, value, segment=segment, scale=scale)
    # The kernel gives a query without keys the mean of all values: drop it, and every gradient through it.
    return jnp.where((segment != 0)[:, :, None, None], out, 0).astype(value.dtype)


def _forward(
    size: int, interpret: bool, query: Array, key: Array, value: Array, segment: Array
) -> tuple[Array, Any]:
    kernel = splash_kernel(query.shape[2], key.shape[2], interpret=interpret, save_residuals=True)

    def turn(carry: Any, _: None) -> Any:
        (out, log_total), blocks = carry
        key, value, ids = blocks
        met: Any = jax.vmap(kernel)(query, key, value, segment_ids=kernels.SegmentIds(segment, ids))
        part, (log_part,) = met
        both = jnp.logaddexp(log_total, log_part)
        old, new = (jnp.exp(x - both)[..., None] for x in (log_total, log_part))
        return ((out * old + part.astype(jnp.float32) * new, both), pass_on(blocks, size)), None

    start = jnp.zeros(query.shape, jnp.float32), jnp.full(query.shape[:3], _NOTHING)
    blocks = key, value, jnp.where(segment == 0, NO_KEY, segment)
    ((out, log_total), _), _ = jax.lax.scan(turn, (start, blocks), length=size)
    out = out.astype(value.dtype)
    return out, (query, key, value, segment, out, log_total)


def _backward(size: int, interpret: bool, residuals: Any, gradient: Float[Array, "b k n d"]) -> Any:
    query, key, value, segment, out, log_total = residuals
    kernel = splash_kernel(query.shape[2], key.shape[2], interpret=interpret, save_residuals=False)
    gradient = gradient.astype(value.dtype)

    def meeting(query, key, value, ids, key_ids, out, log_total, gradient):
        """The shares in the gradients of one row's queries, keys and values."""
        seen = kernels.SegmentIds(ids, key_ids)
        masks = kernel.dq_mask_info, kernel.dkv_mask_info
        kept = (query, key, value, seen, None, out, log_total, *masks)
        pulled = kernels._splash_attention_bwd(
            save_residuals=False,
            mask_value=kernel.kwargs["mask_value"],
            is_mqa=False,
            block_sizes=kernel.kwargs["block_sizes"],
            residual_checkpoint_name=None,
            mask_function=None,
            attn_logits_soft_cap=None,
            interpret=interpret,
            res=kept,
            do=gradient,
        )
        return pulled[3:6]

    def turn(carry: Any, _: None) -> Any:
        d_query, blocks, gradients = carry
        key, value, ids = blocks
        shares = jax.vmap(meeting)(query, key, value, segment, ids, out, log_total, gradient)
        d_query, *gradients = (
            total + share.astype(jnp.float32)
            for total, share in zip((d_query, *gradients), shares, strict=True)
        )
        return (d_query, *pass_on((blocks, tuple(gradients)), size)), None

    zeros = tuple(jnp.zeros(x.shape, jnp.float32) for x in (query, key, value))
    blocks = key, value, jnp.where(segment == 0, NO_KEY, segment)
    (d_query, _, gradients), _ = jax.lax.scan(turn, (zeros[0], blocks, zeros[1:]), length=size)
    d_key, d_value = (d.astype(x.dtype) for d, x in zip(gradients, (key, value), strict=True))
    return d_query.astype(query.dtype), d_key, d_value, None


def _ring_forward(size, interpret, query, key, value, segment):
    return _forward(size, interpret, query, key, value, segment)[0]


_ring = jax.custom_vjp(_ring_forward, nondiff_argnums=(0, 1))
_ring.defvjp(_forward, _backward)
