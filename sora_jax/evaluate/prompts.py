"""Writes SoraBench's prompts, given frames and manifest, for any model to answer with videos."""

from __future__ import annotations

import argparse
from pathlib import Path

from sora_jax import command
from sora_jax.evaluation import benchmark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate prompts`."""
    parser.add_argument("--out", type=Path, required=True, help="folder of manifest.jsonl and given/")
    add_size_arguments(parser)


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """--frames, --height, --width, --clips, --families: which items are made."""
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--height", type=int, default=128, help="pixels")
    parser.add_argument("--width", type=int, default=128, help="pixels")
    parser.add_argument("--clips", type=int, default=256, help="in all, shared out among the families")
    parser.add_argument(
        "--families", nargs="+", default=list(benchmark.COUNTS), metavar="FAMILY", help="not all of them"
    )


def items(options: argparse.Namespace) -> list[benchmark.Item]:
    """The benchmark's items at the asked size."""
    with command.checking_usage():
        counts = benchmark.shares(options.clips, families=options.families)
        return benchmark.make(counts, frames=options.frames, height=options.height, width=options.width)


def run(options: argparse.Namespace) -> int:
    """Writes them."""
    made = items(options)
    path = benchmark.write(options.out, made)
    print(f"wrote {path} ({len(made)} prompts) and {options.out}/given/<id>/0.png to 4.png")
    print('Answer each prompt with the file that its line names under "video", then:')
    print(f"python -m sora_jax.evaluate physics --videos DIR --manifest {path} --out out/physics")
    return 0
