"""Self-attention within segments by cuDNN: no n x n logits in memory, and no work between segments.

The kernel is cuDNN's flash attention with ragged offsets: every segment of every row is a sequence of its
own, with a start and a length, so that a row of four equal clips costs a quarter of a row of one. The public
`jax.nn.dot_product_attention` does not pass the offsets on (jax-ml/jax pull request 29731); the function
below it, which this calls, does; it is imported only when asked for, since it is JAX's own. It wants a GPU
of compute capability 9.0 (Hopper) or later, and bfloat16 or float16. How it is cut over a mesh:
`partition.attention_over_mesh`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.nn.partition import HEADS, ROWS, TOKENS, attention_over_mesh, constrain

HALVES = (jnp.bfloat16, jnp.float16)


def cudnn_attention(
    query: Float[Array, "b n k d"],
    key: Float[Array, "b n k d"],
    value: Float[Array, "b n k d"],
    *,
    segment: Int[Array, "b n"],
    most_segments: int,
    scale: float,
) -> Float[Array, "b n k d"]:
    """What `attention.attend` computes of one sequence, up to rounding, with the same zeros.

    Args:
      segment: of a row, ascending from 1 without gaps, each in one piece, then padding (0), as
        `patches.pack_rows` lays them.
      most_segments: that a row may have. The tokens of further ones get 0.

    Raises:
      ValueError: a dtype that the kernel has not, heads that do not divide over tensor x context, or a
        machine without cuDNN or with too old a GPU.
    """
    if value.dtype not in HALVES:
        raise ValueError(
            f"attention='cudnn' computes in bfloat16 or float16, not {value.dtype}: set dtype to bfloat16, "
            "or use attention='xla'"
        )
    from jax._src.cudnn.fused_attention_stablehlo import MaskType, dot_product_attention

    own = (segment > 0) & (segment <= most_segments)
    # The kernel writes nothing at padding, neither outputs nor gradients: what lies there is dropped.
    query, key, value = (
        jnp.where(own[..., None, None], x, 0).astype(value.dtype) for x in (query, key, value)
    )

    def local(query: Array, key: Array, value: Array, ids: Array, _: Array) -> Array:
        query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
        starts, lengths = pieces(ids, most_segments)
        try:
            out: Any = dot_product_attention(
                query,
                key,
                value,
                q_seqlen=lengths,
                kv_seqlen=lengths,
                q_offsets=starts,
                kv_offsets=starts,
                scale=scale,
                mask_type=MaskType.PADDING,
            )
        except (RuntimeError, NotImplementedError) as error:  # before anything runs: of the machine
            raise ValueError(
                f"attention='cudnn' is not for this machine ({error}): it wants cuDNN and a GPU of compute "
                "capability 9.0 or later; use attention='flash' on other GPUs, or 'xla'"
            ) from error
        return jnp.swapaxes(out, 1, 2)

    query = constrain(query, ROWS, TOKENS, HEADS, None)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    cut = attention_over_mesh(local, rows=query.shape[0], heads=query.shape[1], own=True, gather=False)
    out = constrain(jnp.swapaxes(cut(query, key, value, segment, segment), 1, 2), ROWS, TOKENS, HEADS, None)
    return jnp.where(own[:, :, None, None], out, 0)


def pieces(segment: Int[Array, "b n"], most: int) -> tuple[Int[Array, "b s+1"], Int[Array, "b s"]]:
    """Where the segments of every row start, and how many tokens they have; -1 for those that a row lacks.

    There are two at least, since the kernel takes one for no packing at all; of the starts there is one more
    than of segments, always -1.
    """
    ids = jnp.arange(1, max(most, 2) + 1)
    ids = jnp.where(ids <= most, ids, -1)
    lengths = jnp.sum(segment[:, :, None] == ids[None, None, :], axis=1, dtype=jnp.int32)
    starts = jnp.cumsum(lengths, axis=1, dtype=jnp.int32) - lengths
    starts, lengths = (jnp.where(lengths > 0, x, -1) for x in (starts, lengths))
    return jnp.pad(starts, ((0, 0), (0, 1)), constant_values=-1), lengths
