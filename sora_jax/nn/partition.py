"""How activations are cut over the mesh, said to the compiler by the mesh's axes (`sharding.mesh.AXES`).

Rows lie along data and fsdp, the tokens of a row along context, heads along tensor. Parameters are cut along
fsdp too (`sharding.rules`), along their width; left alone, the partitioner was seen to follow that and to
gather the activations of all rows instead of the weights. Without a mesh, or on one device, nothing here
does anything.
"""

from __future__ import annotations

import math

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


def whole(x: Shaped[Array, "*s"]) -> Shaped[Array, "*s"]:
    """`x`, all of it on every device: for what is handed to the host, which may be one of many processes."""
    return constrain(x, *[None] * x.ndim)
