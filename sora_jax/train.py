"""Trains what a config describes; the same command resumes.

    python -m sora_jax.train --config configs/autoencoder.py:cpu --workdir ~/run/autoencoder

Exit codes: 0 finished, or stopped by --minutes; 75 stopped by SIGTERM or SIGINT with everything saved.
Many processes: the same command in each, with --distributed (`sharding.processes`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sora_jax import build, command
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.sharding import processes
from sora_jax.training import checkpoint, loop


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
    with contextlib.ExitStack() as within:
        with command.checking_usage():
            session = within.enter_context(build.session(config, mesh, build.training))
        checkpointer = within.enter_context(session.checkpointer(workdir))
        start = session.restore(checkpointer) or session.fresh()
        outcome = session.train(
            start, workdir, checkpointer, total_steps=config.train.total_steps, minutes=minutes
        )
    if outcome.reason == "done" and processes.is_first():
        (workdir / "finished").touch()
    return outcome


if __name__ == "__main__":
    command.run(main)
