"""The mesh of devices. Its axes are the four ways to cut the work:

data     rows of the batch, parameters copied
fsdp     rows of the batch, parameters and optimiser state cut
tensor   the width of a layer
context  the tokens of a row
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "tensor", "context")


def make_mesh(
    *,
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    context: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh with axes `AXES`, all of type Auto (linen fails on jax 0.10's default, Explicit).

    Args:
      data, fsdp, tensor, context: devices along each axis; one of them may be -1, "all that are left". On a
        TPU slice an axis may be cut out of a side of the torus (16 x 4 on 8 x 8); its collectives then share
        that side's links.
      devices: None = all of `jax.devices()`.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor, "context": context}
    free = [axis for axis, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"mesh {sizes}: sizes are positive, and at most one is -1 (all that are left)")
    given = math.prod(size for size in sizes.values() if size != -1)
    if free and len(devices) % given == 0:
        sizes[free[0]] = len(devices) // given
    if math.prod(sizes.values()) != len(devices):
        raise ValueError(
            f"mesh {sizes} does not fit {len(devices)} devices: its sizes have to multiply to that"
        )
    placed = mesh_utils.create_device_mesh(
        tuple(sizes.values()), tuple(devices), allow_split_physical_axes=True
    )
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def parse(text: str) -> dict[str, int]:
    """`fsdp=16,context=4` as a dict; "" is {}.

    Raises:
      ValueError: an unknown axis, or no whole number.
    """
    sizes = {}
    for part in filter(None, text.split(",")):
        axis, _, size = part.partition("=")
        if axis not in AXES or not size.isdigit():
            raise ValueError(f"mesh {text!r}: write axis=devices with axes {', '.join(AXES)}, as fsdp=16")
        sizes[axis] = int(size)
    return sizes
