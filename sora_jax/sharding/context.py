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
TOKEN_FIELDS = ("tokens", "position", "segment", "known", "index", "span")


@contextlib.contextmanager
def use(mesh: Mesh) -> Iterator[Mesh]:
    """Sets the mesh for everything within (`jax.set_mesh`), so that modules may constrain by axis name."""
    with jax.set_mesh(mesh):
        yield mesh


def batch_shardings(batch: Any, mesh: Mesh, *, rows: int | None = None) -> Any:
    """Tree of `NamedSharding` for a batch.

    Args:
      batch: pytree of arrays whose first axis is rows; of a `PackedBatch`, tokens are cut along context too.
      mesh: see `mesh.make_mesh`.
      rows: of the whole batch, over all processes; None = as many as `batch` has.

    Raises:
      ValueError: rows or tokens do not divide by their share of the mesh.
    """
    context = mesh.shape["context"]

    def one(path: str, leaf: Any) -> NamedSharding:
        if leaf.ndim == 0:
            return NamedSharding(mesh, PartitionSpec())
        check_rows(leaf.shape[0] if rows is None else rows, mesh)
        if not (isinstance(batch, PackedBatch) and path in TOKEN_FIELDS):
            return NamedSharding(mesh, PartitionSpec(ROWS))
        if leaf.shape[1] % context:
            raise ValueError(f"rows of {leaf.shape[1]} tokens do not divide over context = {context}")
        return NamedSharding(mesh, PartitionSpec(ROWS, "context"))

    return tree.map_with_path(one, batch)


def check_rows(rows: int, mesh: Mesh) -> None:
    """Raises ValueError where so many rows do not divide over data and fsdp."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % parts:
        raise ValueError(f"a batch of {rows} rows does not divide over data x fsdp = {parts}")


def rows_here(mesh: Mesh, rows: int) -> list[int]:
    """The rows of a batch that this process's devices hold: all that it has to read.

    Processes that tensor or context tie together hold the same ones.

    Raises:
      ValueError: as `batch_shardings`.
    """
    check_rows(rows, mesh)
    cut = NamedSharding(mesh, PartitionSpec(ROWS)).addressable_devices_indices_map((rows,))
    return sorted({row for index in cut.values() if index for row in range(*index[0].indices(rows))})


def placer(mesh: Mesh, *, rows: int | None = None) -> Callable[[Any], Any]:
    """`place(batch)`: a host batch onto the mesh.

    Args:
      mesh: see `mesh.make_mesh`.
      rows: of the whole batch; the host batch then has `rows_here(mesh, rows)` alone. None = it is whole, in
        every process.
    """

    def place(batch: Any) -> Any:
        def one(leaf: Any, sharding: NamedSharding) -> jax.Array:
            leaf = np.asarray(leaf)
            whole = leaf.shape if rows is None or leaf.ndim == 0 else (rows, *leaf.shape[1:])
            return jax.make_array_from_process_local_data(sharding, leaf, whole)

        return jax.tree.map(one, batch, batch_shardings(batch, mesh, rows=rows))

    return place
