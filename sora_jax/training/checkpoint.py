"""Checkpoints: written in the background by Orbax, whole or not at all, and never restored by half.

One directory per step; its items are `params`, `ema`, `rest` (step and optimiser state) and `meta` (the resolved
configuration, the code's commit, the hash of the data's manifest, versions). A directory gets its final name only
when all of it is written, so a process killed during a save leaves the checkpoint before it. The optimiser state is
stored as path -> array, so that a checkpoint can be read without the optimiser that wrote it.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sora_jax import tree
from sora_jax.types import Params, TrainState

# Keys of a configuration that may differ between a checkpoint and the run that resumes it: how long, how often to
# look, where to write. A key names itself and everything below it.
MAY_CHANGE = (
    "workdir",
    "minutes",
    "optimizer.total_steps",
    "optimizer.cooldown_steps",
    "train.total_steps",
    "train.minutes",
    "train.log_every",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.evaluate_every",
    "train.keep",
    "total_steps",
    "evaluation",
    "sharding",
    "mesh",
)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, or that belongs to another run. The message names it and the mend."""


def code_commit(directory: Path | None = None) -> str:
    """The commit of the code that runs, "-dirty" appended where tracked files differ; "unknown" outside a clone."""
    directory = directory or Path(__file__).parent
    command = [
        "git",
        "-C",
        str(directory),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--match=NOTHING",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Checkpointer:
    """Owner of a run's checkpoints.

    Args:
      directory: `<directory>/<step>/` are the checkpoints; made if missing.
      config: the resolved configuration, nested mappings of JSON values.
      commit: of the code; see `code_commit`.
      manifest_hash: of the data; "" where there is no manifest.
      keep: how many of the latest are kept.
      best_metric: name of the evaluators' value by which one more is kept, whenever it was.
      best_mode: whether that value is best when least ("min") or most ("max").
      may_change: keys of config (dotted) in which a resumed run may differ; see `MAY_CHANGE`.

    Use it as a context manager: leaving it waits for the save in flight.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        config: Mapping[str, Any],
        commit: str = "unknown",
        manifest_hash: str = "",
        keep: int = 2,
        best_metric: str | None = None,
        best_mode: Literal["min", "max"] = "min",
        may_change: Sequence[str] = MAY_CHANGE,
    ):
        if keep < 1:
            raise ValueError(f"keep {keep}: at least the latest checkpoint has to be kept, use 1 or more")
        self.directory = Path(directory).absolute()
        self.best_metric = best_metric
        self._config = json.loads(json.dumps(config))  # tuples become lists, as they will be when read back
        self._meta = {
            "config": self._config,
            "commit": commit,
            "manifest_hash": manifest_hash,
            "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax")},
        }
        self._may_change = tuple(may_change)
        policies: list[checkpoint_managers.PreservationPolicy] = [checkpoint_managers.LatestN(keep)]
        if best_metric is not None:
            policies.append(
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[best_metric],
                    reverse=best_mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self._best_mode = best_mode
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                best_fn=None if best_metric is None else (lambda metrics: metrics[best_metric]),
                best_mode=best_mode,
                cleanup_tmp_directories=True,
            ),
            item_names=("params", "ema", "rest", "meta"),
        )

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits for the save in flight; raises what went wrong in it."""
        self._manager.close()

    def wait(self) -> None:
        """Waits for the save in flight; raises what went wrong in it."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint, the one being written included; None if there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the best `best_metric`; None if no checkpoint has it."""
        return None if self.best_metric is None else self._manager.best_step()

    def path(self, step: int) -> Path:
        """Directory of the checkpoint of a step."""
        return self.directory / str(step)

    def is_better(self, values: Mapping[str, float]) -> bool:
        """Whether these evaluators' values beat the best checkpoint's (true if there is none)."""
        if self.best_metric is None or self.best_metric not in values:
            return False
        if (step := self.best_step) is None or (metrics := self._manager.metrics(step)) is None:
            return True
        new, old = values[self.best_metric], metrics[self.best_metric]
        return new < old if self._best_mode == "min" else new > old

    def save(self, state: TrainState, *, values: Mapping[str, float] | None = None) -> None:
        """Copies the state to the host and writes it in the background; does nothing if its step is there already.

        Args:
          state: finite throughout (the loop sees to it).
          values: the evaluators' values at this state, by which the best is found.

        Raises:
          Exception: whatever went wrong in the save before this one.
        """
        step = int(state.step)
        self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        scored = self.best_metric is not None and values is not None and self.best_metric in values
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                ema=ocp.args.StandardSave(state.ema),
                rest=ocp.args.StandardSave({"step": state.step, "opt_state": tree.flatten(state.opt_state)}),
                meta=ocp.args.JsonSave({**self._meta, "saved": datetime.datetime.now().isoformat()}),
            ),
            metrics=dict(values) if scored and values is not None else None,
            force=True,
        )

    def restore(self, abstract: TrainState, *, step: int | None = None) -> TrainState:
        """The state of a checkpoint, in the shardings that `abstract` asks for, whatever mesh wrote it.

        Args:
          abstract: TrainState of `jax.ShapeDtypeStruct` (with `sharding` where there is a mesh) or of arrays.
          step: None = the latest.

        Raises:
          CheckpointError: there is none, it is damaged, it has other arrays, or a configuration that differs in
            a key that may not change.
        """
        step = self._existing(step)
        check_config(
            read_meta(self.directory, step=step),
            self._meta,
            may_change=self._may_change,
            path=self.path(step),
        )
        path = self.path(step)
        rest = {"step": abstract.step, "opt_state": tree.flatten(abstract.opt_state)}
        rest = _read_item(path, "rest", rest)
        return TrainState(
            step=rest["step"],
            params=_read_item(path, "params", abstract.params),
            ema=_read_item(path, "ema", abstract.ema),
            opt_state=tree.unflatten(abstract.opt_state, rest["opt_state"]),
        )

    def _existing(self, step: int | None) -> int:
        steps = self._manager.all_steps()
        if step is None:
            step = self.latest_step
        if step is None or step not in steps:
            raise CheckpointError(
                f"no checkpoint of step {step} in {self.directory} (there are: {sorted(steps)})"
            )
        return step


def steps_in(directory: str | Path) -> list[int]:
    """The steps whose checkpoints are whole (at least in name), ascending."""
    directory = Path(directory)
    return sorted(int(path.name) for path in directory.glob("*") if path.is_dir() and path.name.isdigit())


def read_meta(directory: str | Path, *, step: int | None = None) -> dict[str, Any]:
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
    directory: str | Path,
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
        return jax.tree.map(np.asarray, _read_item(path, which, _stored_shapes(path, which)))
    return _read_item(path, which, abstract)


def check_config(
    stored: Mapping[str, Any], mine: Mapping[str, Any], *, may_change: Sequence[str], path: Path
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


def _step_path(directory: str | Path, step: int | None) -> Path:
    steps = steps_in(directory)
    if not steps or (step is not None and step not in steps):
        raise CheckpointError(f"no checkpoint of step {step or 'any'} in {directory} (there are: {steps})")
    return Path(directory).absolute() / str(steps[-1] if step is None else step)


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return CheckpointError(
        f"the checkpoint {path} is damaged: {reason}. Delete it to go on from the one before it "
        f"(there are: {steps_in(path.parent)})."
    )


def _stored_shapes(path: Path, item: str) -> Any:
    """Tree of `jax.ShapeDtypeStruct` of what an item holds."""
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        try:
            stored = checkpointer.metadata(path / item).item_metadata.tree
            return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), stored)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise _damaged(path, error) from error


def _read_item(path: Path, item: str, wanted: Any) -> Any:
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

    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        try:
            return checkpointer.restore(
                path / item, args=ocp.args.StandardRestore(jax.tree.map(place, wanted))
            )
        except Exception as error:  # Orbax reports an unreadable array as a plain Exception
            raise _damaged(path, error) from error
