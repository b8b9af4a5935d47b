"""A training run made ready on this machine: one compiled step, and a state that is new or restored."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from sora_jax import rng
from sora_jax.build.models import Table
from sora_jax.build.training import Training
from sora_jax.sharding import context, processes, rules
from sora_jax.training import checkpoint, loop, state, step
from sora_jax.training.log import Log
from sora_jax.types import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """What `train` needs, made once; within `context.use(mesh)`, as `session` opens it.

    Attributes:
      config: the table; `settings` the same as JSON values, which checkpoints keep.
      training: what the config's kind trains.
      mesh: of all devices.
      abstract: the state's shapes in their shardings.
      step_fn: `(state, frozen, batch, key) -> (state, metrics)`, compiled at its first call.
    """

    config: Table
    settings: dict[str, Any]
    training: Training
    mesh: Mesh
    abstract: TrainState
    step_fn: step.StepFn

    def checkpointer(self, workdir: Path) -> checkpoint.Checkpointer:
        """Owner of `workdir`'s checkpoints, to be used as a context manager."""
        best_metric, best_mode = self.config.train.best or (None, "min")
        return checkpoint.Checkpointer(
            workdir / "checkpoints",
            config=self.settings,
            commit=checkpoint.code_commit(),
            manifest_hash=self.training.manifest_hash,
            keep=self.config.train.keep,
            best_metric=best_metric,
            best_mode=best_mode,
        )

    def restore(self, checkpointer: checkpoint.Checkpointer) -> TrainState | None:
        """The state of the latest checkpoint; None if there is none."""
        return None if checkpointer.latest_step is None else checkpointer.restore(self.abstract)

    def fresh(self) -> TrainState:
        """The state before the first step."""
        return state.init_state(
            self.training.init_params,
            self.training.optimizer,
            key=rng.key(self.config.seed, "init"),
            shardings=jax.tree.map(lambda leaf: leaf.sharding, self.abstract),
        )

    def train(
        self,
        start: TrainState,
        workdir: Path,
        checkpointer: checkpoint.Checkpointer,
        *,
        total_steps: int,
        minutes: float | None,
        terminal: bool = True,
    ) -> loop.Outcome:
        """`loop.train` from `start` (donated) to `total_steps`, with the run's own batches and evaluators."""
        train, training = self.config.train, self.training
        if processes.is_first():
            (workdir / "config.json").write_text(json.dumps(self.settings, indent=1))
        mine = context.rows_here(self.mesh, training.rows)
        with Log(
            workdir,
            start_step=int(start.step),
            total_steps=total_steps,
            tensorboard=terminal,
            terminal=terminal,
        ) as log:
            return loop.train(
                start,
                self.step_fn,
                batches=lambda first: training.batches(first, mine),
                seed=self.config.seed,
                total_steps=total_steps,
                checkpointer=checkpointer,
                log=log,
                frozen=training.frozen,
                place=context.placer(self.mesh, rows=training.rows),
                evaluators=training.evaluators,
                log_every=train.log_every,
                evaluate_every=train.evaluate_every,
                checkpoint_every=train.checkpoint_every,
                checkpoint_minutes=train.checkpoint_minutes,
                minutes=minutes,
                agree=processes.agreement(self.mesh),
            )


@contextlib.contextmanager
def session(config: Table, mesh: Mesh, make_training: Callable[[Table], Training]) -> Iterator[Session]:
    """A `Session` of `make_training(config)` on `mesh`, which is in force within."""
    training = make_training(config)
    with context.use(mesh):
        abstract = state.abstract_state(training.init_params, training.optimizer)
        shardings = rules.state_shardings(abstract, mesh, rules=training.sharding)
        yield Session(
            config=config,
            settings=json.loads(config.to_json_best_effort()),
            training=training,
            mesh=mesh,
            abstract=rules.with_shardings(abstract, shardings),
            step_fn=step.make_step(
                training.loss_fn,
                training.optimizer,
                ema_decay=config.train.ema_decay,
                accumulate=config.train.accumulate,
                shardings=shardings,
            ),
        )
