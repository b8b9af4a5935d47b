"""A scaling-law study, and the same fits for anybody's own runs.

    python -m sora_jax.scaling ladder --tier cpu
    python -m sora_jax.scaling run --tier cpu --workdir run/scaling --minutes 60
    python -m sora_jax.scaling fit run/scaling/runs.csv --where arm=main --out fits.json
    python -m sora_jax.scaling predict run/scaling/runs.csv --where arm=main --flops 1e14
    python -m sora_jax.scaling report run/scaling/runs.csv --where arm=main --out report

Each subcommand is one file of this folder: `add_arguments(parser)` and `run(options) -> exit code`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sora_jax import command
from sora_jax.scaling.commands import fit, ladder, predict, report, run

COMMANDS = {"ladder": ladder, "run": run, "fit": fit, "predict": predict, "report": report}


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    arguments, overrides = command.split_overrides(arguments)
    parser = command.parser(
        "Train, fit and use a scaling law.",
        example="python -m sora_jax.scaling run --tier cpu --workdir run/scaling --minutes 60",
    )
    parser.prog = "python -m sora_jax.scaling"
    command.add_subcommands(parser, COMMANDS)
    options = parser.parse_args(arguments)
    options.overrides = overrides
    return COMMANDS[options.what].run(options)
