"""What `ladder` and `run` are told: the tier, the folder, the arms, and a prediction."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sora_jax import command
from sora_jax.scaling import ladder, study
from sora_jax.scaling.ladder import Line
from sora_jax.scaling.study import Study

CONFIG = "configs/scaling.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--tier, --config, --workdir, --arms and --prediction."""
    add_config(parser)
    parser.add_argument("--workdir", type=Path, required=True, help="of the study: runs.csv, losses/, runs/")
    parser.add_argument("--arms", default="main", help="names of the ladder's arms, comma-separated")
    parser.add_argument(
        "--prediction",
        type=Path,
        help="what `predict --held_out` wrote: the budgets held out are trained too",
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """--tier and --config."""
    parser.add_argument("--tier", default="cpu", help="of the table: smoke, cpu, cpu_tuning, gpu or tpu")
    parser.add_argument(
        "--config", default=CONFIG, help="the tables' file; --config.key=value overrides an entry"
    )


def config_of(options: argparse.Namespace) -> Any:
    """The tier's table, with the overrides of the command line."""
    return command.load_config(f"{options.config}:{options.tier}", options.overrides)


def opened(options: argparse.Namespace) -> tuple[Study, list[str], list[Line]]:
    """(the study, its arms that are asked for, the held-out lines).

    Raises:
      command.UsageError: an unknown tier or arm, or a prediction without the held-out budgets.
    """
    config = config_of(options)
    with command.checking_usage():
        found = study.open_study(config, options.workdir.resolve())
        arms = [name for name in options.arms.split(",") if name]
        for arm in arms:
            found.table_of(arm)
        return found, arms, _held_out(found, options.prediction)


def _held_out(found: Study, prediction: Path | None) -> list[Line]:
    if prediction is None:
        return []
    optimum = {float(row["C"]): float(row["N"]) for row in json.loads(prediction.read_text())["held_out"]}
    missing = [budget for budget in found.table.held_out if budget not in optimum]
    if missing:
        raise ValueError(f"{prediction} predicts {sorted(optimum)}, not {missing}: run `predict --held_out`")
    return ladder.held_out(found.table, found.sizes("main"), optimum)
