"""Reading checkpoints: wholly, or with an error that names what is wrong; never by half.

Layout: `<directory>/<step>/{params, ema, rest, meta}`, written by `checkpoint.Checkpointer`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from sora_jax import tree
from sora_jax.types import Params


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, or that belongs to another run. The message names it and the mend."""


def steps_in(directory: str | os.PathLike) -> list[int]:
    """The steps whose checkpoints are whole (at least in name), ascending."""
    directory = epath.Path(directory)
    return sorted(int(path.name) for path in directory.glob("*") if path.is_dir() and path.name.isdigit())


def set_aside(directory: str | os.PathLike, *, after: int, into: str | os.PathLike) -> list[int]:
    """Moves the checkpoints of later steps than `after` into another folder, so that `after` is the latest.

    Returns:
      The steps that were moved.

    Raises:
      CheckpointError: there is none of step `after`, or one of the moved steps lies in `into` already.
    """
    _step_path(directory, after)
    later = [step for step in steps_in(directory) if step > after]
    taken = [step for step in later if step in steps_in(into)]
    if taken:
        raise CheckpointError(
            f"{into} holds steps {taken} already: move them away before those of {directory} are set aside"
        )
    epath.Path(into).mkdir(parents=True, exist_ok=True)
    for step in later:
        (epath.Path(directory) / str(step)).rename(epath.Path(into) / str(step))
    return later


def read_meta(directory: str | os.PathLike, *, step: int | None = None) -> dict[str, Any]:
    """What stands beside a checkpoint: {"config", "commit", "manifest_hash", "versions", "saved"}.

    Raises:
      CheckpointError: no such checkpoint, or it is damaged.
    """
    path = _step_path(directory, step)
    file = path / "meta" / "metadata"
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_params(
    directory: str | os.PathLike,
    *,
    step: int | None = None,
    which: Literal["ema", "params"] = "ema",
    abstract: Params | None = None,
) -> Params:
    """The parameters alone, for sampling: neither the optimiser nor the run's configuration is needed.

    Args:
      directory: of the checkpoints, as given to `Checkpointer`.
      step: None = the latest.
      which: the moving average, or the parameters as trained.
      abstract: shapes (and shardings) to demand; None = as stored, NumPy arrays.

    Raises:
      CheckpointError: no such checkpoint, damaged, or other arrays than demanded.
    """
    path = _step_path(directory, step)
    if abstract is None:
        return jax.tree.map(np.asarray, read_item(path, which, _stored_shapes(path, which)))
    return read_item(path, which, abstract)


def check_config(
    stored: Mapping[str, Any], mine: Mapping[str, Any], *, may_change: Sequence[str], path: epath.Path
) -> None:
    """Compares configuration and manifest hash of a checkpoint with those of the run that wants to resume it.

    Raises:
      CheckpointError: a key differs that `may_change` does not list.
    """
    old, new = _dotted(stored["config"]), _dotted(mine["config"])
    old["manifest_hash"], new["manifest_hash"] = stored["manifest_hash"], mine["manifest_hash"]
    absent = "(absent)"
    differences = [
        f"{key}: {old.get(key, absent)!r} there, {new.get(key, absent)!r} here"
        for key in sorted({*old, *new})
        if old.get(key, absent) != new.get(key, absent)
        and not any(key == allowed or key.startswith(f"{allowed}.") for allowed in may_change)
    ]
    if differences:
        raise CheckpointError(
            f"the checkpoint {path} was trained with another configuration:\n  "
            + "\n  ".join(differences)
            + "\nGo back to those values, or train in another workdir."
        )


def _dotted(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as {"a.b": value}; lists are values."""
    if not isinstance(config, Mapping):
        return {prefix: config}
    result = {}
    for key, value in config.items():
        result.update(_dotted(value, f"{prefix}.{key}" if prefix else str(key)))
    return result


def _step_path(directory: str | os.PathLike, step: int | None) -> epath.Path:
    steps = steps_in(directory)
    if not steps or (step is not None and step not in steps):
        raise CheckpointError(f"no checkpoint of step {step or 'any'} in {directory} (there are: {steps})")
    return epath.Path(directory).resolve() / str(steps[-1] if step is None else step)


def _damaged(path: epath.Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return CheckpointError(
        f"the checkpoint {path} is damaged: {reason}. To train on from the one before it, add --from_step "
        f"with its step (there are: {steps_in(path.parent)})."
    )


def _stored_shapes(path: epath.Path, item: str) -> Any:
    """Tree of `jax.ShapeDtypeStruct` of what an item holds."""
    try:
        stored = ocp.StandardCheckpointHandler().metadata(path / item).tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), stored)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error


def read_item(path: epath.Path, item: str, wanted: Any) -> Any:
    """One item of a checkpoint, as arrays of the shapes, dtypes and shardings of `wanted`."""
    found, asked = tree.flatten(_stored_shapes(path, item)), tree.flatten(wanted)
    for name in sorted({*found, *asked}):
        there, here = (
            f"{leaf.dtype}{list(leaf.shape)}" if leaf is not None else "nothing"
            for leaf in (found.get(name), asked.get(name))
        )
        if there != here:
            raise CheckpointError(
                f"the checkpoint {path} does not fit: {item}/{name} is {there} there and {here} here; "
                "sample or resume with the configuration it was trained with"
            )

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    try:
        args = ocp.args.StandardRestore(jax.tree.map(place, wanted))
        return ocp.StandardCheckpointHandler().restore(path / item, args=args)
    except Exception as error:  # Orbax reports an unreadable array as a plain Exception
        raise _damaged(path, error) from error
