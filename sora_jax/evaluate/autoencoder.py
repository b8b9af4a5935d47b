"""PSNR and SSIM of an autoencoder on held-out clips."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from sora_jax import build, command
from sora_jax.evaluate import held_out
from sora_jax.evaluation import fidelity, text_alignment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate autoencoder`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of autoencoder.json")
    held_out.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes `autoencoder.json`: stratum -> metric -> mean, interval, clips."""
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint)
    _, truths = held_out.load(options)
    rows = {}
    for stratum, clips in truths.items():
        pairs = list(zip([c.video for c in clips], frozen.reconstruct(clips), strict=True))
        ones = np.ones(len(pairs))
        rows[stratum] = {
            name: text_alignment.bootstrap(np.array([measure(a, b) for a, b in pairs]), ones)._asdict()
            for name, measure in (("psnr", fidelity.psnr), ("ssim", fidelity.ssim))
        }
        print(stratum, {k: round(v["mean"], 3) for k, v in rows[stratum].items()})
    (options.out / "autoencoder.json").write_text(json.dumps(rows, indent=1))
    return 0
