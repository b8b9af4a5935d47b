"""How far generated videos lie from real ones as sets: Frechet and kernel distances on stated features."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sora_jax import build, command
from sora_jax.evaluation import distances, video_features


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate fidelity`."""
    parser.add_argument("--real", type=Path, required=True, help="folder of videos")
    parser.add_argument("--generated", type=Path, required=True, help="folder of videos")
    parser.add_argument("--out", type=Path, required=True, help="folder of fidelity.json")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--checkpoint", help="features: the latents of this model's autoencoder, pooled")
    how.add_argument("--features", type=Path, help="features: of the network in this folder (features.json)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        metavar=("FRAMES", "HEIGHT", "WIDTH"),
        help="to which the videos are brought (with --checkpoint); as they are if not given",
    )


def run(options: argparse.Namespace) -> int:
    """Writes `fidelity.json`: each distance with its interval, its real-against-real floor and its curve."""
    with command.checking_usage():
        if options.checkpoint is not None:
            size = None if options.size is None else tuple(options.size)
            frozen = build.load_autoencoder(options.checkpoint)
            features = video_features.autoencoder_features(frozen, size=size)
        else:
            features = video_features.load_features(options.features)
        table = distances.compare_videos(options.real, options.generated, features=features)
    (options.out / "fidelity.json").write_text(json.dumps(table, indent=1) + "\n")
    print(f"on {table['features']}: {table['real']} real and {table['generated']} generated videos")
    print(
        f"{'distance':14}{'value':>10}  {'95 % interval':>22}"
        f"{'real vs real':>14}{'same size':>11}{'limit':>10}"
    )
    for name, d in table["distances"].items():
        interval = f"{d['low']:.4g} to {d['high']:.4g}"
        print(
            f"{name:14}{d['value']:10.4g}  {interval:>22}{d['floor']:14.4g}{d['at_floor_size']:11.4g}"
            f"{d['limit']:10.4g}"
        )
    for path in table["unreadable"]:
        print(f"left out, unreadable: {path}")
    print(f"wrote {options.out}/fidelity.json")
    return 0
