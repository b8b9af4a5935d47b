"""What a study would train: FLOPs, tokens and hours, before anything runs."""

from __future__ import annotations

import argparse

from sora_jax.scaling.commands import common
from sora_jax.scaling.ladder import Line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As `run`, and --flops_per_second."""
    common.add_arguments(parser)
    parser.add_argument(
        "--flops_per_second", type=float, help="of all processes together; else as the finished runs had it"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the table; returns the exit code."""
    study, arms, held_out = common.opened(options)
    rows = study.rows()
    done = {row["name"] for row in rows}
    lines = study.planned(arms, held_out)
    table = study.config.ladder
    pace = options.flops_per_second or common_pace(rows) or table.flops_per_second
    print(f"{'line':44} {'FLOPs':>9} {'N':>9} {'tokens':>9} {'steps':>7} {'hours':>7}")
    for one in lines:
        print(
            f"{one.name:44} {one.flops:9.3g} {one.size.parameters:9,} {one.tokens:9.3g} {one.steps:7,} "
            f"{one.flops / pace / 3600:7.3f}{'  finished' if one.name in done else ''}"
        )
    left = [one for one in lines if one.name not in done]
    longest = max((one.tokens for one in lines), default=0)
    print(
        f"{len(lines)} lines, {len(left)} to train: {trained_flops(left):.3g} FLOPs, "
        f"{trained_flops(left) / pace / 3600:.2f} hours at {pace:.3g} FLOP/s; the longest reads "
        f"{longest / study.config.data.row_tokens:,.0f} clips"
    )
    return 0


def trained_flops(lines: list[Line]) -> float:
    """Of all runs: what several lines share is trained once."""
    runs: dict[str, list[Line]] = {}
    for one in lines:
        runs.setdefault(one.run, []).append(one)
    total = 0.0
    for members in runs.values():
        size = members[0].size
        trunk = max(one.steps - one.cooldown_steps for one in members)
        total += size.step_flops * (trunk + sum(one.cooldown_steps for one in members))
    return total


def common_pace(rows: list[dict[str, str]]) -> float | None:
    """FLOP/s of a process in the finished runs; None if there are none."""
    seconds = sum(float(row["seconds"]) for row in rows)
    return sum(float(row["C"]) for row in rows) / seconds if seconds else None
