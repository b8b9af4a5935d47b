"""Which parameter is cut along which mesh axis: ordered rules over parameter paths, outside the modules.

A rule is (regular expression, placement). A placement is a `PartitionSpec`, taken literally and checked, or
an `Fsdp`, which looks at the shape. As everywhere (`tree.match`): the first match wins, a parameter that no
rule matches and a rule that matches nothing are errors, and so is an axis that does not divide.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sora_jax import tree
from sora_jax.types import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fsdp:
    """Cuts one axis of the parameter along `axis`: the last one that divides, else none (the parameter is
    small).

    Attributes:
      axis: of the mesh.
      least: a parameter of fewer elements is copied to every device: cutting it costs more than it saves.
      tensor: the axis of the parameter that is cut along the mesh's "tensor" first, where that has more than
        one device, however few its elements are; it has to divide. None = no axis.
    """

    axis: str = "fsdp"
    least: int = 4096
    tensor: int | None = None

    def spec(self, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        """The spec for a parameter of this shape."""
        axes: list[str | None] = [None] * len(shape)
        if self.tensor is not None and mesh.shape["tensor"] > 1:
            axes[self.tensor] = "tensor"
        size = mesh.shape[self.axis]
        if math.prod(shape) >= self.least:
            for place in reversed(range(len(shape))):
                if axes[place] is None and shape[place] % size == 0:
                    axes[place] = self.axis
                    break
        while axes and axes[-1] is None:
            axes.pop()
        return PartitionSpec(*axes)


Placement = PartitionSpec | Fsdp
Rules = Sequence[tuple[str, Placement]]

# Mesh axes along which parameters are whole, and what only the update reads is cut.
SPREAD = ("data", "context")

# Fit every model: matrices cut along fsdp where they divide, the rest copied.
DEFAULT_RULES: tuple[tuple[str, Placement], ...] = (
    (r"(kernel|embedding)$", Fsdp()),
    (r".*", PartitionSpec()),
)
# Of a transformer: the heads of attention and the hidden units of the MLP along tensor (Shoeybi et al. 2019,
# arXiv 1909.08053, Sec. 3), so that a layer's products are added up over devices twice, and cross-attention's
# once.
TRANSFORMER_RULES: tuple[tuple[str, Placement], ...] = (
    (r"^blocks/(attention|cross)/(query|key|value)/kernel$", Fsdp(tensor=-1)),
    (r"^blocks/(attention|cross)/out/kernel$", Fsdp(tensor=-2)),
    (r"^blocks/mlp/(up|gate)/kernel$", Fsdp(tensor=-1)),
    (r"^blocks/mlp/down/kernel$", Fsdp(tensor=-2)),
    *DEFAULT_RULES,
)


def param_shardings(params: Any, mesh: Mesh, *, rules: Rules = DEFAULT_RULES) -> Any:
    """Tree of `NamedSharding` for a tree of parameters (or of their shapes).

    Raises:
      ValueError: rules that are not total or not alive, a spec that names an unknown mesh axis, has more axes
        than the parameter, or cuts an axis into parts that are not equal.
    """
    values = tree.match(rules, list(tree.flatten(params)), what="sharding rules")

    def one(path: str, leaf: Any) -> NamedSharding:
        placement = values[path]
        spec = placement.spec(leaf.shape, mesh) if isinstance(placement, Fsdp) else placement
        _check(path, leaf.shape, spec, mesh)
        return NamedSharding(mesh, spec)

    return tree.map_with_path(one, params)


def state_shardings(state: TrainState, mesh: Mesh, *, rules: Rules = DEFAULT_RULES) -> TrainState:
    """TrainState of `NamedSharding`: EMA and optimiser state follow the parameters, cut further.

    An array of the optimiser state follows the parameter whose path its own path ends with, where the shapes
    are equal; anything else of it (counters, coefficients) is copied. Of a step only the update
    reads these arrays, so they need not lie on every device that computes with the parameter: they are cut
    along data and context too (Rajbhandari et al. 2020, arXiv 1910.02054, "ZeRO", stage 1).

    Args:
      state: arrays or shapes, e.g. of `training.state.abstract_state`.
      mesh: see `mesh.make_mesh`.
      rules: over the parameters' paths.

    Raises:
      ValueError: as `param_shardings`; or an array of the optimiser state of more than 4096 elements follows
        no parameter and would be copied to every device.
    """
    params = param_shardings(state.params, mesh, rules=rules)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(state.params).items()}
    shardings = {
        path: NamedSharding(mesh, _spread(sharding.spec, shapes[path], mesh))
        for path, sharding in tree.flatten(params).items()
    }

    def follow(path: str, leaf: Any) -> NamedSharding:
        keys = path.split("/")
        for start in range(len(keys)):  # the longest suffix first
            suffix = "/".join(keys[start:])
            if suffix in shapes and shapes[suffix] == leaf.shape:
                return shardings[suffix]
        if leaf.size > 4096:
            raise ValueError(f"{path!r} of shape {leaf.shape} follows no parameter: it would be copied")
        return NamedSharding(mesh, PartitionSpec())

    return tree.map_with_path(follow, state)._replace(params=params)


def _spread(spec: PartitionSpec, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """`spec` with one axis more, the last that is free and divides, cut along the mesh axes of `SPREAD`.

    A parameter that is not cut at all is small, and stays so.
    """
    names = tuple(name for name in SPREAD if mesh.shape[name] > 1)
    parts = math.prod(mesh.shape[name] for name in names)
    if not names or all(axes is None for axes in spec):
        return spec
    axes = [*spec, *[None] * (len(shape) - len(spec))]
    for place in reversed(range(len(shape))):
        if axes[place] is None and shape[place] % parts == 0:
            axes[place] = names
            return PartitionSpec(*axes)
    return spec


def with_shardings(state: TrainState, shardings: TrainState) -> TrainState:
    """Shapes of a state with shardings attached: what a checkpoint is restored into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        shardings,
    )


def _check(path: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> None:
    if len(spec) > len(shape):
        raise ValueError(f"sharding rules: {spec} has more axes than {path!r} of shape {shape}")
    for place, axes in enumerate(spec):
        names = () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
        unknown = [name for name in names if name not in mesh.shape]
        if unknown:
            raise ValueError(
                f"sharding rules: {path!r}: the mesh has axes {tuple(mesh.shape)}, not {unknown}"
            )
        parts = math.prod(mesh.shape[name] for name in names)
        if shape[place] % parts:
            raise ValueError(
                f"sharding rules: axis {place} of {path!r}, {shape[place]} long, does not divide into "
                f"{parts} ({axes}): change the rule, the mesh or the width"
            )
