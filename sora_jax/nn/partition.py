"""How activations are cut over the mesh, said to the compiler by the mesh's axes (`sharding.mesh.AXES`).

Rows lie along data and fsdp, the tokens of a row along context, heads along tensor. Parameters are cut along
fsdp too (`sharding.rules`), along their width; left alone, the partitioner was seen to follow that and to
gather the activations of all rows instead of the weights. Without a mesh, or on one device, nothing here
does anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Shaped

ROWS, TOKENS, HEADS = ("data", "fsdp"), "context", "tensor"
FREE = PartitionSpec.UNCONSTRAINED  # as the compiler likes


def is_active() -> bool:
    """Whether a mesh of several devices is in force (`sharding.context.use`)."""
    return jax.sharding.get_abstract_mesh().size > 1


def constrain(x: Shaped[Array, "*s"], *axes: object) -> Shaped[Array, "*s"]:
    """`x` with its axes cut along the named mesh axes (None = whole, `FREE` = as the compiler likes).

    A side that does not divide, as that of the one row of an initialisation, stays whole.
    """
    if not is_active():
        return x
    sizes = jax.sharding.get_abstract_mesh().shape

    def one(side: int, axis: object) -> object:
        if axis is None or axis is FREE:
            return axis
        names = (axis,) if isinstance(axis, str) else axis
        return axis if side % math.prod(sizes[name] for name in names) == 0 else None  # type: ignore[attr-defined]

    spec = PartitionSpec(*(one(side, axis) for side, axis in zip(x.shape, axes, strict=True)))
    return jax.lax.with_sharding_constraint(x, spec)


def tokens(x: Shaped[Array, "b n d"]) -> Shaped[Array, "b n d"]:
    """`x`, its tokens held to the devices of their row and place."""
    return constrain(x, ROWS, TOKENS, None)


def whole(x: Shaped[Array, "*s"]) -> Shaped[Array, "*s"]:
    """`x`, all of it on every device: for what is handed to the host, which may be one of many processes."""
    return constrain(x, *[None] * x.ndim)


def attention_over_mesh(
    local: Callable[..., Any], *, rows: int, heads: int, own: bool, gather: bool = True
) -> Callable[..., Any]:
    """An attention kernel on every device's share of the mesh in force: the compiler cannot cut a kernel.

    `local` takes query, key, value `[b k n d]` and the segments of queries and keys `[b n]`. Rows lie over
    data and fsdp, heads over tensor; and the tokens of a row, which context cuts,

    - in self-attention, if the heads divide over tensor x context: are exchanged for heads (all-to-all;
      Jacobs et al. 2023, arXiv 2309.14509), and every device sees whole rows of its heads;
    - else stay cut for the queries, and every device gathers all keys and values of its rows.

    Args:
      own: it is self-attention.
      gather: whether `local` can have fewer queries than keys.

    Raises:
      ValueError: heads that do not divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return local
    tensor, context = mesh.shape[HEADS], mesh.shape[TOKENS]
    if heads % tensor:
        raise ValueError(f"{heads} heads do not divide over {HEADS} = {tensor}")
    exchange = own and heads % (tensor * context) == 0
    if not (exchange or gather):
        raise ValueError(
            f"{heads} heads do not divide over {HEADS} x {TOKENS} = {tensor} x {context}, which this kernel "
            f"wants: use a smaller {TOKENS}"
        )
    shares = math.prod(mesh.shape[axis] for axis in ROWS)
    by_rows = ROWS if rows % shares == 0 else None  # the one row of an initialisation stays whole
    by_heads, by_tokens = ((HEADS, TOKENS), None) if exchange else (HEADS, TOKENS)
    queries = PartitionSpec(by_rows, by_heads, by_tokens, None)
    keys = PartitionSpec(by_rows, by_heads, None, None)
    ids = PartitionSpec(by_rows, by_tokens), PartitionSpec(by_rows, None)
    return jax.shard_map(
        local, mesh=mesh, in_specs=(queries, keys, keys, *ids), out_specs=queries, check_vma=False
    )
