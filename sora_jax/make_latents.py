"""Encodes a set of clips once, into a store of latents that the transformer trains on.

    python -m sora_jax.make_latents --config configs/latents.py:cpu --autoencoder run/frozen --out run/latents

Writes OUT/train and OUT/heldout (clips of another world seed, for the held-out loss), and the held-out
prompts; no training clip has a caption that is one of those prompts. The same command resumes. Clips are cut
over the devices of a process; many processes (the same command in each, with --distributed) write every n-th
shard each, into one folder that all of them see.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import tqdm

from sora_jax import build, command, rng, text_bytes
from sora_jax.data import latents as latents_lib
from sora_jax.data.pipeline import draw_phrasing
from sora_jax.data.workers import ClipReader
from sora_jax.evaluation import prompts as prompts_lib
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.sharding import processes
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
        "--workers", type=int, default=0, help="processes that render or read clips; 0 = this one"
    )
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after so long, between shards"
    )
    command.add_distributed(parser)
    arguments, overrides = command.split_overrides(arguments)
    options = parser.parse_args(arguments)
    with command.joined(options):
        return _run(options, overrides)


def _run(options: argparse.Namespace, overrides: Sequence[str]) -> int:
    config = command.load_config(options.config, overrides)
    with command.checking_usage():
        encoder = build.load_autoencoder(options.autoencoder)
        prompts = prompts_lib.held_out(config.prompts.to_dict())
    if processes.is_first():
        prompts_lib.save(options.prompts or options.out / "prompts.jsonl", prompts)
    banned = frozenset(p.prompt for p in prompts)
    deadline = time.monotonic() + 60 * options.minutes
    phrasings = config.phrasings.to_dict() if hasattr(config.phrasings, "to_dict") else list(config.phrasings)
    metas: dict[str, dict] = {}
    late = False
    for name, excluded in (("train", banned), ("heldout", frozenset())):
        metas[name] = {
            "fingerprint": encoder.fingerprint,
            "ratio": list(encoder.ratio),
            "config": json.loads(config[name].to_json_best_effort()),
            "phrasings": phrasings,
        }
        late = not _write(
            options.out / name,
            build.source(config[name]),
            encoder,
            metas[name],
            excluded,
            deadline,
            config.shard_clips,
            phrasings,
            options.workers,
        )
        if late:
            break
    processes.wait_for_all("the latents are written")
    if not processes.is_first():
        return INTERRUPTED if late else 0
    absent = [
        f"{name}: {len(shards)}" for name in metas if (shards := latents_lib.missing(options.out / name))
    ]
    if absent:
        print(f"stopped by the clock, shards to do: {', '.join(absent)}; the same command goes on")
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
    phrasings: Sequence[str] | Mapping[str, float],
    workers: int,
) -> bool:
    """Whether this process's shards are written; False if the clock stopped it between two."""

    class OutOfTime(Exception):
        pass

    place, count = jax.process_index(), jax.process_count()
    reader = ClipReader(source, run=shard_clips, workers=workers, every=count)
    compiled = not workers
    progress = tqdm.tqdm(total=len(source), desc=path.name, unit="clip", mininterval=5.0, disable=place > 0)
    with contextlib.closing(reader), progress as bar:

        def clips(start: int, stop: int) -> Iterator[LatentClip]:
            if time.monotonic() > deadline:
                raise OutOfTime
            bar.n = start
            nonlocal compiled
            if not compiled:  # while the workers begin
                reader.begin(start)
                shapes = np.unique(source.sizes[["frames", "height", "width"]])
                encoder.compile_sizes([(int(f), int(h), int(w)) for f, h, w in shapes])
                compiled = True
            kept = [c for c in reader.read(start, stop) if excluded.isdisjoint(_said(c.captions))]
            for clip in encoder.encode_clips(kept):
                bar.update(1)
                yield dataclasses.replace(clip, captions=kept_captions(clip, phrasings))

        try:
            latents_lib.write_latents(
                path,
                clips,
                total=len(source),
                meta=meta,
                shard_clips=shard_clips,
                max_missing_share=0.5,
                part=(place, count),
            )
        except OutOfTime:
            return False
    return True


def _said(captions: Mapping[str, str]) -> set[str]:
    """Every caption of every phrasing, of a storyboard those of its shots."""
    return {caption for text in captions.values() for _, caption in text_bytes.split_times(text)}


def kept_captions(clip: LatentClip, phrasings: Sequence[str] | Mapping[str, float]) -> Mapping[str, str]:
    """The phrasings of a list; of a table of weights one, drawn by the clip's id, of an image the first.

    One phrasing a clip lets rows be planned for what is read, not for the longest that might be.
    """
    if isinstance(phrasings, Mapping):
        weights = {name: phrasings[name] for name in phrasings if name in clip.captions}
        if not weights:
            return clip.captions
        chosen = next(iter(weights))
        if clip.frames > 1:
            chosen = draw_phrasing(clip.captions, weights, rng.host(0, "kept phrasing", clip.id))
        return {chosen: clip.captions[chosen]}
    return {name: text for name, text in clip.captions.items() if name in phrasings} or clip.captions


if __name__ == "__main__":
    command.run(main)
