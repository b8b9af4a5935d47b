"""One page of a study: curves, fits, exponents beside published ones, what was held out."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from sora_jax import command
from sora_jax.scaling import predict as predict_lib
from sora_jax.scaling import report as report_lib
from sora_jax.scaling import study
from sora_jax.scaling.commands import common
from sora_jax.scaling.commands import fit as fit_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the tier, --prediction and --out."""
    fit_command.add_runs(parser)
    common.add_config(parser)
    parser.add_argument("--prediction", type=Path, help="what `predict --held_out` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of report.html and pictures")


def run(options: argparse.Namespace) -> int:
    """Writes the page, its pictures and fits.json."""
    points = fit_command.read(options)
    held_out, fitted = [], points
    if options.prediction is not None:
        prediction = json.loads(options.prediction.read_text())
        held_out = report_lib.judged(prediction, points)
        fitted = points.take(points.flops <= 1.1 * prediction["largest_C"])  # what the prediction knew
    with tempfile.TemporaryDirectory() as nowhere, command.checking_usage():
        cost = predict_lib.flops_per_token(study.open_study(common.config_of(options), Path(nowhere)))
        found = fit_command.fits(options, fitted, at=[row["C"] for row in held_out], flops_per_token=cost)
        path = report_lib.write(options.out, fitted, found, cost=cost, held_out=held_out)
    (options.out / "fits.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(np.unique(fitted.parameters))} sizes, {len(fitted)} runs: wrote {path}")
    return 0
