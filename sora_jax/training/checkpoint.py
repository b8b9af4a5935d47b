"""Checkpoints: written in the background by Orbax, whole or not at all, and never restored by half.

One directory per step; its items are `params`, `ema`, `rest` (step and optimiser state) and `meta` (the
resolved configuration, the code's commit, the hash of the data's manifest, versions). A directory gets its
final name only when all of it is written, so a process killed during a save leaves the checkpoint before it.
The optimiser state is stored as path -> array, so that a checkpoint can be read without the optimiser that
wrote it.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from sora_jax import tree
from sora_jax.training.stored import (
    CheckpointError,
    check_config,
    read_item,
    read_meta,
    read_params,
    set_aside,
    steps_in,
)
from sora_jax.types import TrainState

__all__ = [
    "MAY_CHANGE",
    "CheckpointError",
    "Checkpointer",
    "code_commit",
    "read_meta",
    "read_params",
    "set_aside",
    "steps_in",
]

# Keys of a configuration that may differ between a checkpoint and the run that resumes it: how long, how
# often to look, where to write, how a machine computes what is the same function. A key names itself and
# everything below it.
MAY_CHANGE = (
    "autoencoder",  # where they lie; what they are is in the manifest hash
    "data.latents",
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
    "data.workers",
    "data.prefetch",
    "data.cache",
    "total_steps",
    "evaluation",
    "ladder",  # which other runs there are
    "sharding",
    "mesh",
    "model.attention",
    "model.remat",
    "model.scan",
)


def code_commit(directory: Path | None = None) -> str:
    """The running code's commit, with "-dirty" where tracked files differ; "unknown" outside a clone."""
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
        directory: str | os.PathLike,
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
        self.directory = epath.Path(directory).resolve()
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
        scores = None if self.best_step is None else self._manager.metrics(self.best_step)
        self._best: float | None = None if scores is None else scores[best_metric]

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits for the save in flight; a CheckpointError says what went wrong in it."""
        with self._written():
            self._manager.close()

    def wait(self) -> None:
        """Waits for the save in flight; a CheckpointError says what went wrong in it."""
        with self._written():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """What Orbax reports of the save in flight, in one line that names the checkpoint and the mend."""
        try:
            yield
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            raise CheckpointError(
                f"a checkpoint could not be written to {self.directory}: {reason[-400:]}. Those of the steps "
                f"{steps_in(self.directory)} are whole: mend what it says (make room, if the disk is full), "
                "and the same command goes on from there"
            ) from error

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint, the one being written included; None if there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the best `best_metric`; None if no checkpoint has it."""
        return None if self.best_metric is None else self._manager.best_step()

    def path(self, step: int) -> epath.Path:
        """Directory of the checkpoint of a step."""
        return self.directory / str(step)

    def is_better(self, values: Mapping[str, float]) -> bool:
        """Whether these evaluators' values beat the best checkpoint's (true if there is none); {} does not.

        Raises:
          ValueError: `best_metric` is not among them.
        """
        if self.best_metric is None or not values:
            return False
        if self.best_metric not in values:
            raise ValueError(f"best_metric {self.best_metric!r} is none of the evaluators' {sorted(values)}")
        new, old = values[self.best_metric], self._best
        if not math.isfinite(new):
            return False
        return old is None or (new < old if self._best_mode == "min" else new > old)

    def save(self, state: TrainState, *, values: Mapping[str, float] | None = None) -> None:
        """Copies the state to the host and writes it in the background; an existing step is left alone.

        Args:
          state: finite throughout (the loop sees to it).
          values: the evaluators' values at this state, by which the best is found.

        Raises:
          CheckpointError: what went wrong in the save before this one.
        """
        step = int(state.step)
        with self._written():
            self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        values = values or {}
        if self.is_better(values):
            self._best = values[self.best_metric or ""]
        score = values.get(self.best_metric or "", math.nan)
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            ema=ocp.args.StandardSave(state.ema),
            rest=ocp.args.StandardSave({"step": state.step, "opt_state": tree.flatten(state.opt_state)}),
            meta=ocp.args.JsonSave({**self._meta, "saved": datetime.datetime.now().isoformat()}),
        )
        metrics = {self.best_metric: score} if math.isfinite(score) else None
        with self._written():
            self._manager.save(step, args=items, metrics=metrics, force=True)

    def restore(self, abstract: TrainState, *, step: int | None = None) -> TrainState:
        """The state of a checkpoint, in the shardings that `abstract` asks for, whatever mesh wrote it.

        Args:
          abstract: TrainState of `jax.ShapeDtypeStruct` (with `sharding` where there is a mesh) or of arrays.
          step: None = the latest.

        Raises:
          CheckpointError: there is none, it is damaged, it has other arrays, or a configuration that differs
            in a key that may not change.
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
        rest = read_item(path, "rest", rest)
        return TrainState(
            step=rest["step"],
            params=read_item(path, "params", abstract.params),
            ema=read_item(path, "ema", abstract.ema),
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
