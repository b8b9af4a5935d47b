"""Self-attention within segments by a GPU kernel: the n x n logits never leave the chip.

The kernel is `jax.experimental.pallas.ops.gpu.attention.mha` (Triton), forward and backward, which takes one
set of segment ids for queries and keys alike: attention to text is not for it. cuDNN's kernel, which
`jax.nn.dot_product_attention` calls, has no segment ids, only a bias of n x n. How it is cut over a mesh:
`partition.attention_over_mesh`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu.attention import mha
from jaxtyping import Array, Float, Int

from sora_jax.nn.partition import HEADS, ROWS, TOKENS, attention_over_mesh, constrain

BLOCK = 128  # tokens that the kernel holds at once


def flash_attention(
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
      ValueError: rows that are no multiple of 128 tokens, or heads that do not divide over tensor x context.
    """
    tokens = query.shape[1]
    if tokens % BLOCK:
        raise ValueError(
            f"rows of {tokens} tokens are no multiple of {BLOCK}, which attention='flash' wants: pad them to "
            f"{-(-tokens // BLOCK) * BLOCK}, or use attention='xla'"
        )

    def local(query: Array, key: Array, value: Array, ids: Array, _: Array) -> Array:
        query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
        return jnp.swapaxes(mha(query, key, value, ids, sm_scale=scale, interpret=interpret), 1, 2)

    query = constrain(query, ROWS, TOKENS, HEADS, None)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    cut = attention_over_mesh(local, rows=query.shape[0], heads=query.shape[1], own=True, gather=False)
    out = constrain(jnp.swapaxes(cut(query, key, value, segment, segment), 1, 2), ROWS, TOKENS, HEADS, None)
    # The kernel lets padding see padding: drop that, and with it every gradient through it.
    return jnp.where((segment != 0)[:, :, None, None], out, 0).astype(value.dtype)
