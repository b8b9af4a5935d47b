"""Encodes a set of clips once, into a store of latents that the transformer trains on.

    python -m sora_jax.make_latents --config configs/latents.py:cpu --autoencoder run/frozen --out run/latents

Writes OUT/train and OUT/heldout (clips of another world seed, for the held-out loss), and the held-out
prompts; no training clip has a caption that is one of those prompts. The same command resumes.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import tqdm

from sora_jax import build, command
from sora_jax.data import latents as latents_lib
from sora_jax.data import manifest
from sora_jax.evaluation import prompts as prompts_lib
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.types import LatentClip, Source

INTERRUPTED = 75


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = command.parser(
        "Encode a set of clips into a store of latents.",
        example="python -m sora_jax.make_latents --config configs/latents.py:cpu --autoencoder A --out B",
    )
    parser.add_argument("--config", required=True, help="file.py[:variant]; --config.key=value overrides")
    parser.add_argument("--autoencoder", required=True, help="folder that `export autoencoder` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    parser.add_argument("--prompts", type=Path, default=None, help="where the held-out prompts are written")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after so long, between shards"
    )
    arguments, overrides = command.split_overrides(arguments)
    options = parser.parse_args(arguments)
    config = command.load_config(options.config, overrides)
    with command.checking_usage():
        encoder = build.load_autoencoder(options.autoencoder)
        prompts = prompts_lib.held_out(config.prompts.to_dict())
    prompts_lib.save(options.prompts or options.out / "prompts.jsonl", prompts)
    banned = frozenset(p.prompt for p in prompts)
    deadline = time.monotonic() + 60 * options.minutes
    metas = {}
    for name, settings, excluded in (
        ("train", config.train, banned),
        ("heldout", config.heldout, frozenset()),
    ):
        source = build.source(settings)
        meta = {
            "fingerprint": encoder.fingerprint,
            "ratio": list(encoder.ratio),
            "config": json.loads(settings.to_json_best_effort()),
            "phrasings": list(config.phrasings),
        }
        metas[name] = meta
        written = _write(
            options.out / name,
            source,
            encoder,
            meta,
            excluded,
            deadline,
            config.shard_clips,
            config.phrasings,
        )
        if not written:
            print("stopped by the clock; the same command goes on")
            return INTERRUPTED
    (options.out / "manifest.json").write_text(json.dumps(metas, indent=1))
    return 0


def _write(
    path: Path,
    source: Source,
    encoder: FrozenAutoencoder,
    meta: dict,
    excluded: frozenset[str],
    deadline: float,
    shard_clips: int,
    phrasings: Sequence[str],
) -> bool:
    """Whether the whole store is written; False if the clock stopped it between two shards."""

    class OutOfTime(Exception):
        pass

    with tqdm.tqdm(total=len(source), desc=path.name, unit="clip", mininterval=5.0) as bar:

        def clips(start: int, stop: int) -> Iterator[LatentClip]:
            if time.monotonic() > deadline:
                raise OutOfTime
            bar.n = start
            read = (clip for _, clip in manifest.readable(source, range(start, stop)))
            kept = [c for c in read if excluded.isdisjoint(c.captions.values())]
            for clip in encoder.encode_clips(kept):
                bar.update(1)
                captions = {name: text for name, text in clip.captions.items() if name in phrasings}
                yield dataclasses.replace(clip, captions=captions or clip.captions)

        try:
            latents_lib.write_latents(
                path, clips, total=len(source), meta=meta, shard_clips=shard_clips, max_missing_share=0.5
            )
        except OutOfTime:
            return False
    return True


if __name__ == "__main__":
    command.run(main)
