"""Fits the law to a CSV of runs, anybody's, and says in words what the fit can tell and what it cannot."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import command
from sora_jax.scaling import points as points_lib
from sora_jax.scaling import predict, study, summary
from sora_jax.scaling.commands import common
from sora_jax.scaling.points import COLUMNS, Points


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, their columns, and what is written."""
    add_runs(parser)
    parser.add_argument(
        "--family",
        metavar="TIER",
        help="a token costs what it costs in this tier of configs/scaling.py; else C / (N D), the median",
    )
    parser.add_argument("--at", type=float, nargs="*", default=[], help="budgets, FLOPs, to predict for")
    parser.add_argument("--out", type=Path, help="the fits as JSON")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """RUNS.csv, --columns, --where, --resamples, --seed."""
    parser.add_argument("runs", type=Path, help="CSV with a header, a row for each run")
    usual = ", ".join(f"{what}={column}" for what, column in COLUMNS.items())
    parser.add_argument(
        "--columns", nargs="*", default=[], metavar="WHAT=COLUMN", help=f"where not called {usual}"
    )
    parser.add_argument(
        "--where", nargs="*", default=[], metavar="COLUMN=VALUE", help="only the rows that have this"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")


def read(options: argparse.Namespace) -> Points:
    """The runs that the options name.

    Raises:
      command.UsageError: a file that cannot be used; names line, column, value and mend.
    """
    with command.checking_usage():
        where = dict(_pair("--where", text) for text in options.where)
        given = dict(_pair("--columns", text) for text in options.columns)
        if options.resamples < 20:
            raise ValueError(f"--resamples {options.resamples}: give at least 20")
        return points_lib.read_points(options.runs, given, where=where)


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{flag} {text}: write {'COLUMN=VALUE' if flag == '--where' else 'WHAT=COLUMN'}")
    return name, value


def fits(
    options: argparse.Namespace,
    points: Points,
    *,
    at: list[float],
    flops_per_token: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, Any]:
    """`summary.fit_all` of the runs, with errors told in one line."""
    with command.checking_usage():
        return summary.fit_all(
            points, resamples=options.resamples, seed=options.seed, at=at, flops_per_token=flops_per_token
        )


def _family(options: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray] | None:
    if options.family is None:
        return None
    config = command.load_config(f"{common.CONFIG}:{options.family}", options.overrides)
    with tempfile.TemporaryDirectory() as nowhere, command.checking_usage():
        return predict.flops_per_token(study.open_study(config, Path(nowhere)))


def run(options: argparse.Namespace) -> int:
    """Prints the sentences; writes the JSON where asked."""
    found = fits(options, read(options), at=options.at, flops_per_token=_family(options))
    print("\n".join(summary.in_words(found)))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"wrote {options.out}")
    return 0
