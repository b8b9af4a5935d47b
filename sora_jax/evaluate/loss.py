"""The rectified-flow loss of a model on held-out latents: fixed noise, levels spread evenly over [0, 1].

Every clip is met at K levels, with its caption, in float32; what is drawn for it is a function of its number
alone, so that the difference of two models' `per_clip.npz` is far more certain than either loss
(`evaluation.denoising.paired_difference`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from sora_jax import build, command, patches, rng, weights
from sora_jax.data import packing, pipeline
from sora_jax.data.latents import LatentSource
from sora_jax.diffusion import objective
from sora_jax.evaluation import denoising
from sora_jax.evaluation.denoising import ClipLosses, HeldOutLoss
from sora_jax.training import checkpoint
from sora_jax.types import PackedBatch

MOST_SEGMENTS = 8  # clips of one row, where they are of several sizes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate loss`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument("--latents", type=Path, required=True, help="a store that make_latents wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of scores.json and per_clip.npz")
    parser.add_argument("--rounds", type=int, default=8, help="levels that each clip is met at")
    parser.add_argument("--clips", type=int, help="the first so many of the store; default: all")
    parser.add_argument("--rows", type=int, default=32, help="evaluated at once")


def run(options: argparse.Namespace) -> int:
    """Writes `scores.json` and `per_clip.npz` (clip, tokens, t, loss as in `ClipLosses`)."""
    with command.checking_usage():
        generator, _ = build.load_generator(options.checkpoint)
        source = LatentSource(options.latents)
        _check(options, source, fingerprint=generator.autoencoder.fingerprint)
        batches = _batches(source, patch=generator.patch, rows=options.rows, clips=options.clips)
    key = rng.key(0, "held-out loss")
    with jax.default_matmul_precision("highest"):  # a GPU's own float32 products are of 10 bits
        found = denoising.clip_losses(key, generator.apply, generator.params, batches, rounds=options.rounds)
    losses = denoising.once(found)
    with command.checking_usage():
        held_out = denoising.held_out_loss(losses)
    scores = _scores(losses, held_out)
    scores |= {
        "checkpoint": str(options.checkpoint),
        "fingerprint": weights.fingerprint(generator.params),
        "latents": source.manifest_hash,
        "commit": checkpoint.code_commit(),
    }
    np.savez(options.out / "per_clip.npz", **losses._asdict())
    (options.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    print(f"loss {held_out.mean:.5f} +- {held_out.standard_error:.5f} over {len(losses.clip)} clips")
    print(f"wrote {options.out}/scores.json")
    return 0


def _check(options: argparse.Namespace, source: LatentSource, *, fingerprint: str) -> None:
    if source.fingerprint != fingerprint:
        raise ValueError(
            f"the latents in {options.latents} were made by autoencoder {source.fingerprint}, and that of "
            f"{options.checkpoint} is {fingerprint}: make latents with --autoencoder {options.checkpoint}"
        )
    for name, least in (("rounds", 1), ("clips", 2), ("rows", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} {value}: give at least {least}")
    if options.clips is not None and options.clips > len(source):
        raise ValueError(f"--clips {options.clips}: {options.latents} has {len(source)}")


class _First:
    """The first clips of a store."""

    def __init__(self, source: LatentSource, clips: int | None) -> None:
        self._source, self.ratio = source, source.ratio
        self.sizes = source.sizes[:clips]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Any:
        return self._source[index]


def _batches(
    source: LatentSource, *, patch: patches.Grid, rows: int, clips: int | None
) -> Iterator[PackedBatch]:
    """Every clip, in rows as long as the longest; the last batch is filled up with clips from the start."""
    first = _First(source, clips)
    tokens = packing.clip_tokens(first.sizes, ratio=source.ratio, patch=patch)
    segments = min(MOST_SEGMENTS, int(tokens.max()) // int(tokens.min()))
    found = pipeline.make_batches(
        first,  # type: ignore[arg-type]
        seed=0,
        rows=rows,
        row_tokens=int(tokens.max()),
        row_text=int(first.sizes["text"].max()) * segments,
        max_segments=segments,
        patch=patch,
    )
    epoch = len(found.batch_at.schedule.plan(0, 0))  # type: ignore[attr-defined]
    return map(found.batch_at, tqdm.trange(-(-epoch // rows), desc="loss", unit="batch"))


def _scores(losses: ClipLosses, held_out: HeldOutLoss) -> dict[str, Any]:
    fifths = range(objective.BINS)
    return {
        "loss": held_out.mean,
        "standard error": held_out.standard_error,
        "per fifth of t": [denoising.token_mean(losses, fifth=k) for k in fifths],
        "clips": len(losses.clip),
        "rounds": losses.loss.shape[1],
        "draws": losses.loss.size,
    }
