"""The mesh in force, and batches cut over it: rows along data and fsdp, tokens along context."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sora_jax import tree
from sora_jax.types import PackedBatch

ROWS = ("data", "fsdp")
# Fields of PackedBatch whose second axis is the row's tokens; its tables of segments and text stay whole.
TOKEN_FIELDS = ("tokens", "position", "segment", "known", "index")


@contextlib.contextmanager
def use(mesh: Mesh) -> Iterator[Mesh]:
    """Sets the mesh for everything within (`jax.set_mesh`), so that modules may constrain by axis name."""
    with jax.set_mesh(mesh):
        yield mesh


def batch_shardings(batch: Any, mesh: Mesh) -> Any:
    """Tree of `NamedSharding` for a batch.

    Args:
      batch: pytree of arrays whose first axis is rows; of a `PackedBatch`, tokens are cut along context too.
      mesh: see `mesh.make_mesh`.

    Raises:
      ValueError: rows or tokens do not divide by their share of the mesh.
    """
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    context = mesh.shape["context"]

    def one(path: str, leaf: Any) -> NamedSharding:
        if leaf.ndim == 0:
            return NamedSharding(mesh, PartitionSpec())
        if leaf.shape[0] % rows:
            raise ValueError(f"a batch of {leaf.shape[0]} rows does not divide over data x fsdp = {rows}")
        if not (isinstance(batch, PackedBatch) and path in TOKEN_FIELDS):
            return NamedSharding(mesh, PartitionSpec(ROWS))
        if leaf.shape[1] % context:
            raise ValueError(f"rows of {leaf.shape[1]} tokens do not divide over context = {context}")
        return NamedSharding(mesh, PartitionSpec(ROWS, "context"))

    return tree.map_with_path(one, batch)


def placer(mesh: Mesh) -> Callable[[Any], Any]:
    """`place(batch)`: a host batch, whole in every process, onto the mesh."""

    def place(batch: Any) -> Any:
        def one(leaf: Any, sharding: NamedSharding) -> jax.Array:
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

        return jax.tree.map(one, batch, batch_shardings(batch, mesh))

    return place
