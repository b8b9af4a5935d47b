"""Attention within segments by the TPU kernel "splash": the n x m logits never leave the chip.

The kernel is `jax.experimental.pallas.ops.tpu.splash_attention`, forward and backward, with segment ids.
What the compiler cannot do with a kernel is cut it over a mesh, so that is said here, by the names of the
mesh's axes (`sharding.mesh.AXES`): rows over data and fsdp, heads over tensor, and the tokens of a row,
which context cuts,

- in self-attention, if the heads divide over tensor x context: are exchanged for heads (all-to-all; Jacobs
  et al. 2023, arXiv 2309.14509), and every device sees whole rows of its heads;
- else stay cut for the queries, and every device gathers all keys and values of its rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from sora_jax.nn.partition import HEADS, ROWS, TOKENS, constrain

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
    mesh = jax.sharding.get_abstract_mesh()
    sizes = {axis: mesh.shape.get(axis, 1) for axis in (*ROWS, HEADS, TOKENS)}
    # The one row of an initialisation stays whole.
    rows = ROWS if query.shape[0] % (sizes["data"] * sizes["fsdp"]) == 0 else None
    own = key_segment is query_segment
    if mesh.empty:
        heads, tokens, parts = None, None, 1
    elif own and query.shape[2] % (sizes[HEADS] * sizes[TOKENS]) == 0:
        heads, tokens, parts = (HEADS, TOKENS), None, 1
    else:
        heads, tokens, parts = HEADS, TOKENS, sizes[TOKENS]
    kernel = _kernel(query, key, parts=parts, share=_share(query.shape[2], heads, sizes), interpret=interpret)

    # Padding sees no key: no key has segment -1. A query without keys gets the mean of all values; drop it.
    key_ids = jnp.where(key_segment == 0, -1, key_segment)
    has_key = query_segment != 0 if own else jnp.any(query_segment[:, :, None] == key_ids[:, None, :], -1)

    def local(query, key, value, query_ids, key_ids):
        return jax.vmap(kernel)(query, key, value, segment_ids=kernels.SegmentIds(query_ids, key_ids))

    if not mesh.empty:
        outer = PartitionSpec(rows, heads, tokens, None)
        inner = PartitionSpec(rows, heads, None, None)
        ids = PartitionSpec(rows, tokens), PartitionSpec(rows, None)
        local = jax.shard_map(
            local, mesh=mesh, in_specs=(outer, inner, inner, *ids), out_specs=outer, check_vma=False
        )
        query = constrain(query, ROWS, TOKENS, HEADS, None)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query * scale, key, value))
    out = jnp.swapaxes(local(query, key, value, query_segment, key_ids), 1, 2)
    if not mesh.empty:
        out = constrain(out, ROWS, TOKENS, HEADS, None)
    return jnp.where(has_key[:, :, None, None], out, 0).astype(value.dtype)


def _share(count: int, axes: str | tuple[str, ...] | None, sizes: dict[str, int]) -> int:
    """Heads of one device.

    Raises:
      ValueError: they do not divide.
    """
    for axis in (axes,) if isinstance(axes, str) else axes or ():
        if count % sizes[axis]:
            raise ValueError(f"{count} heads do not divide over {axis} = {sizes[axis]}")
        count //= sizes[axis]
    return count


def _kernel(query: Array, key: Array, *, parts: int, share: int, interpret: bool):
    """The kernel of one device: `share` heads, the queries in `parts` parts, all keys."""
    n, m = query.shape[1] // parts, key.shape[1]
    block_q, block_kv = _block(n, "queries"), _block(m, "keys")
    blocks = kernels.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    mask = masks.MultiHeadMask([masks.FullMask((n, m))] * share)
    return kernels.make_splash_mha(
        mask, block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret
    )


def _block(count: int, what: str) -> int:
    for block in BLOCKS:
        if count % block == 0:
            return block
    raise ValueError(
        f"{count} {what} per device are no multiple of {BLOCKS[-1]}, which attention='splash' wants: pad the "
        f"rows to {-(-count // BLOCKS[-1]) * BLOCKS[-1]}, or use attention='xla'"
    )
