"""From a budget, or from a slice and hours, to a model: size, tokens, batch, rate, loss, and the command."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from sora_jax import command
from sora_jax.scaling import predict as predict_lib
from sora_jax.scaling import slices, study
from sora_jax.scaling.commands import common
from sora_jax.scaling.commands import fit as fit_command
from sora_jax.scaling.study import Study
from sora_jax.training import checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, and --flops, --topology with --hours, or --held_out."""
    fit_command.add_runs(parser)
    common.add_config(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--flops", type=float, nargs="+", help="budgets")
    what.add_argument("--held_out", action="store_true", help="the budgets that the ladder holds out")
    what.add_argument("--topology", help="a slice, as `sora_jax.plan` names it: v5p:4x4x4; with --hours")
    parser.add_argument("--hours", type=float, help="on that slice")
    parser.add_argument("--mesh", default="", help="of that slice: axis=devices,...; see `sora_jax.plan`")
    parser.add_argument("--out", type=Path, help="the predictions as JSON")


def run(options: argparse.Namespace) -> int:
    """Prints the predictions; writes them where asked."""
    if (options.topology is None) != (options.hours is None):
        raise command.UsageError("--topology and --hours belong together: give both, or --flops")
    points = fit_command.read(options)
    with tempfile.TemporaryDirectory() as nowhere, command.checking_usage():
        found = study.open_study(common.config_of(options), Path(nowhere))
        if options.topology is not None:
            plan = slices.budget(
                found, fit_command.fits(options, points, at=[]), options.topology, options.hours, options.mesh
            )
            print(plan.told)
            budgets = [plan.flops]
        else:
            budgets = list(found.table.held_out) if options.held_out else options.flops
        record = predicted(options, found, points, budgets)
    for row in record["held_out"]:
        print(_page(row))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
        print(f"wrote {options.out}: commit it before those budgets are run")
    return 0


def predicted(options: argparse.Namespace, found: Study, points: Any, budgets: list[float]) -> dict[str, Any]:
    """What `--out` holds: the predictions, and what they were made of."""
    cost = predict_lib.flops_per_token(found)
    fits = fit_command.fits(options, points, at=budgets, flops_per_token=cost)
    return {
        "runs": str(options.runs),
        "points": len(points),
        "largest_C": float(points.flops.max()),
        "resamples": options.resamples,
        "seed": options.seed,
        "commit": checkpoint.code_commit(),
        "law": fits["fits"][predict_lib.ESTIMATOR].get("law"),
        "held_out": predict_lib.predictions(found, fits, budgets, tier=options.tier),
    }


def _page(row: dict[str, Any]) -> str:
    lines = [
        f"{row['C']:.3g} FLOPs: N {row['N']:.3g}, D {row['D']:.3g} tokens; nearest of the family: width "
        f"{row['width']} (N {row['width_N']:,}), {row['rows']} rows a step, {row['steps']:,} steps, rate "
        f"{row['learning_rate']:g}"
    ]
    for name, loss in row["loss"].items():
        low, high = loss["80%"]
        if loss["value"] is not None and low is not None:
            lines.append(f"  loss by {name}: {loss['value']:.4f}, 80 % interval {low:.4f} to {high:.4f}")
    return "\n".join([*lines, f"  {row['command']}"])
