"""Attention within segments by the TPU kernel "splash": the n x m logits never leave the chip.

The kernel is `jax.experimental.pallas.ops.tpu.splash_attention`, forward and backward, with segment ids.
How it is cut over a mesh: `partition.attention_over_mesh`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo
from jaxtyping import Array, Float, Int

from sora_jax.nn.partition import HEADS, ROWS, TOKENS, attention_over_mesh, constrain

BLOCKS = (512, 256, 128)  # tokens that a kernel holds at once: the largest that divides


def splash_attention(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b m k d"],
    value: Float[Array, "b m k d"],
    *,
    query_segment: Int[Array, "b n"],
    key_segment: Int[Array, "b m"],
    scale: float,
    interpret: bool = False,
) -> Float[Array, "b n k d"]:
    """What `attention.attend` computes, up to rounding, with the same zeros.

    Args:
      interpret: run the kernel's operations one by one, anywhere and slowly: for tests.

    Raises:
      ValueError: queries or keys, per device, that are no multiple of 128, or a mesh that does not divide.
    """
    own = key_segment is query_segment
    # Padding sees no key: no key has segment -1. A query without keys gets the mean of all values; drop it.
    key_ids = jnp.where(key_segment == 0, -1, key_segment)
    has_key = query_segment != 0 if own else jnp.any(query_segment[:, :, None] == key_ids[:, None, :], -1)

    def local(query: Array, key: Array, value: Array, query_ids: Array, key_ids: Array) -> Any:
        kernel = splash_kernel(query.shape[2], key.shape[2], interpret=interpret)
        return jax.vmap(kernel)(query, key, value, segment_ids=kernels.SegmentIds(query_ids, key_ids))

    query = constrain(query, ROWS, TOKENS, HEADS, None)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query * scale, key, value))
    cut = attention_over_mesh(local, rows=query.shape[0], heads=query.shape[1], own=own)
    out = jnp.swapaxes(cut(query, key, value, query_segment, key_ids), 1, 2)
    out = constrain(out, ROWS, TOKENS, HEADS, None)
    return jnp.where(has_key[:, :, None, None], out, 0).astype(value.dtype)


def splash_kernel(
    queries: int, keys: int, *, interpret: bool, save_residuals: bool = False
) -> kernels.SplashAttentionKernel:
    """The kernel for so many queries and keys of one device.

    It has no mask but the segments, and so walks all blocks. `make_splash_mha` of a full mask comes to the
    same after looking at every block of it on the host: seconds for 100,000 tokens.

    Args:
      save_residuals: it returns the log-sum of every query too, and has no gradient.
    """
    block_q, block_kv = _block(queries, "queries"), _block(keys, "keys")
    blocks = kernels.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    none = MaskInfo(
        data_next=None, mask_next=None, block_mask=None, partial_mask_blocks=None, q_sequence=None
    )
    return kernels.SplashAttentionKernel(
        *(none, none, none),
        block_sizes=blocks,
        is_mqa=False,
        save_residuals=save_residuals,
        mask_value=kernels.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=None,
        mask_function=None,
        interpret=interpret,
    )


def _block(count: int, what: str) -> int:
    for block in BLOCKS:
        if count % block == 0:
            return block
    raise ValueError(
        f"{count} {what} per device are no multiple of {BLOCKS[-1]}, which attention='splash' wants: pad the "
        f"rows to {-(-count // BLOCKS[-1]) * BLOCKS[-1]}, or use attention='xla'"
    )
