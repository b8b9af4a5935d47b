"""Trains what a config describes; the same command resumes.

    python -m sora_jax.train --config configs/autoencoder.py:cpu --workdir ~/run/autoencoder

Exit codes: 0 finished, or stopped by --minutes; 75 stopped by SIGTERM or SIGINT with everything saved.
Many processes: the same command in each, with --distributed (`sharding.processes`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sora_jax import build, command, rng
from sora_jax.sharding import context, processes, rules
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.training import checkpoint, loop, state, step
from sora_jax.training.log import Log


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = command.parser(
        "Train an autoencoder or a diffusion transformer. The same command resumes.",
        example="python -m sora_jax.train --config configs/dit.py:cpu --workdir run/dit --minutes 30",
    )
    parser.add_argument(
        "--config", required=True, help="file.py[:variant]; --config.key=value overrides an entry"
    )
    parser.add_argument(
        "--workdir", type=Path, required=True, help="checkpoints, metrics.jsonl, tensorboard/"
    )
    parser.add_argument("--minutes", type=float, default=None, help="save and stop after so long")
    command.add_distributed(parser)
    parser.add_argument(
        "--from_step",
        type=int,
        default=None,
        help="go on from this checkpoint; later ones are moved to WORKDIR/set_aside",
    )
    arguments, overrides = command.split_overrides(arguments)
    options = parser.parse_args(arguments)
    config = command.load_config(options.config, overrides)
    with command.joined(options):
        workdir = options.workdir.resolve()
        if options.from_step is not None:
            if processes.is_first():
                checkpoint.set_aside(
                    workdir / "checkpoints", after=options.from_step, into=workdir / "set_aside"
                )
            processes.wait_for_all("set aside")
        outcome = run(config, workdir, minutes=options.minutes)
    return outcome.exit_code


def run(config: Any, workdir: Path, *, minutes: float | None) -> loop.Outcome:
    """Trains `config` in `workdir` from its latest checkpoint, or from the start if it has none."""
    with command.checking_usage():
        mesh = mesh_lib.make_mesh(**config.mesh.to_dict())
    processes.meet(mesh)
    with command.checking_usage():
        training = build.training(config)
    settings = json.loads(config.to_json_best_effort())
    train = config.train
    best_metric, best_mode = train.best
    with (
        context.use(mesh),
        checkpoint.Checkpointer(
            workdir / "checkpoints",
            config=settings,
            commit=checkpoint.code_commit(),
            manifest_hash=training.manifest_hash,
            keep=train.keep,
            best_metric=best_metric,
            best_mode=best_mode,
        ) as checkpointer,
    ):
        abstract = state.abstract_state(training.init_params, training.optimizer)
        shardings = rules.state_shardings(abstract, mesh, rules=training.sharding)
        if checkpointer.latest_step is None:
            start = state.init_state(
                training.init_params,
                training.optimizer,
                key=rng.key(config.seed, "init"),
                shardings=shardings,
            )
        else:
            start = checkpointer.restore(rules.with_shardings(abstract, shardings))
        if processes.is_first():
            (workdir / "config.json").write_text(json.dumps(settings, indent=1))
        step_fn = step.make_step(
            training.loss_fn,
            training.optimizer,
            ema_decay=train.ema_decay,
            accumulate=train.accumulate,
            shardings=shardings,
        )
        mine = context.rows_here(mesh, training.rows)
        with Log(workdir, start_step=int(start.step), total_steps=train.total_steps) as log:
            outcome = loop.train(
                start,
                step_fn,
                batches=lambda first: training.batches(first, mine),
                seed=config.seed,
                total_steps=train.total_steps,
                checkpointer=checkpointer,
                log=log,
                frozen=training.frozen,
                place=context.placer(mesh, rows=training.rows),
                evaluators=training.evaluators,
                log_every=train.log_every,
                evaluate_every=train.evaluate_every,
                checkpoint_every=train.checkpoint_every,
                checkpoint_minutes=train.checkpoint_minutes,
                minutes=minutes,
                agree=processes.agreement(mesh),
            )
    if outcome.reason == "done" and processes.is_first():
        (workdir / "finished").touch()
    return outcome


if __name__ == "__main__":
    command.run(main)
