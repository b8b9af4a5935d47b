"""Writes the certificate of every physics metric: what it sees, and which gates it passes."""

from __future__ import annotations

import argparse
from pathlib import Path

from sora_jax import build, command
from sora_jax.evaluation.physics import certificate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate certify`."""
    parser.add_argument("--out", type=Path, required=True, help="folder of a JSON per metric and matrix.png")
    parser.add_argument(
        "--clips", type=int, default=500, help="of each family; 3 s of one core each and more"
    )
    parser.add_argument("--frames", type=int, default=17, help="the benchmark's own families have theirs")
    parser.add_argument("--side", type=int, default=128, help="height and width, pixels")
    parser.add_argument("--seed", type=int, default=2028, help="of the worlds")
    parser.add_argument(
        "--families",
        nargs="+",
        choices=certificate.FAMILIES,
        default=certificate.FAMILIES,
        metavar="FAMILY",
        help=f"whose metrics are certified: {', '.join(certificate.FAMILIES)}",
    )
    parser.add_argument("--checkpoint", help="publish the ceiling through this model's autoencoder as well")


def run(options: argparse.Namespace) -> int:
    """Writes them; 0 if every metric is certified, else 1."""
    if options.clips < certificate.LEAST_CLIPS:
        raise command.UsageError(f"--clips {options.clips}: give at least {certificate.LEAST_CLIPS}")
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint) if options.checkpoint else None
    found = certificate.run(
        options.out,
        options.clips,
        seed=options.seed,
        frames=options.frames,
        side=options.side,
        families=options.families,
        autoencoder=frozen,
    )
    passed = sum(one["certified"] for one in found.values())
    print(f"{passed} of {len(found)} metrics are certified; wrote {options.out}")
    return 0 if passed == len(found) else 1
