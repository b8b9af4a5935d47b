"""How physical are videos? Every certified metric of SoraBench, on a model's samples or anybody's files."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import tqdm

from sora_jax import build, command, patches
from sora_jax.data import video_files
from sora_jax.evaluate import copying, physics_report, prompts, sampling
from sora_jax.evaluation import answers, benchmark
from sora_jax.evaluation.benchmark import Entry, Item
from sora_jax.evaluation.physics import protocol
from sora_jax.evaluation.physics.protocol import Job, Row
from sora_jax.evaluation.text_alignment import deal
from sora_jax.sampling.request import Request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate physics`."""
    parser.add_argument("--out", type=Path, required=True, help="folder of scores.json and report.html")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--videos", type=Path, help="folder of any model's videos, named by the manifest")
    what.add_argument("--checkpoint", help="a shipped model's name, or a model folder: sampled, then scored")
    parser.add_argument("--manifest", type=Path, help="that `evaluate prompts` wrote (needed with --videos)")
    parser.add_argument(
        "--given", type=int, choices=benchmark.GIVEN, default=0, help="true frames that the model was given"
    )
    parser.add_argument(
        "--untold",
        action="store_true",
        help="ask with the empty prompt: all that a sample knows it has from its given frames",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="K",
        help="of each item (the protocol's number is 16); with --videos, K above 1 reads x-0.mp4 to "
        "x-(K-1).mp4 where the manifest says x.mp4",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that score")
    prompts.add_size_arguments(parser)
    sampling.add_arguments(parser)
    copying.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes `scores.json`, `report.html`, and with --checkpoint the samples and their manifest."""
    if options.videos is not None and options.manifest is None:
        raise command.UsageError("--videos needs --manifest, the list that `evaluate prompts` wrote")
    if options.untold and (options.checkpoint is None or not options.given):
        raise command.UsageError("--untold asks a model that is given frames: add --checkpoint and --given")
    if options.videos is not None and not options.videos.is_dir():
        raise command.UsageError(f"--videos {options.videos} is no folder")
    if options.workers < 1:
        raise command.UsageError(f"--workers {options.workers}: give at least 1")
    if options.samples < 1:
        raise command.UsageError(f"--samples {options.samples}: give at least 1 (the protocol asks for 16)")
    if options.manifest is not None:
        with command.checking_usage():
            entries = benchmark.read(options.manifest)
    else:
        entries = [Entry(line=k + 1, item=item) for k, item in enumerate(prompts.items(options))]
    items = [entry.item for entry in entries if entry.item is not None]
    folder: Path = options.videos or options.out / "videos"
    more: dict[str, dict[str, np.ndarray]] = {}
    banks = copying.prepare(options, items)
    if options.checkpoint is not None:
        more["reconstruction"] = _sample(options, items, folder)
    found = copying.compare(banks, items, folder, samples=options.samples)
    if found:
        more["nearest"] = {name: one.video for name, one in found.items()}
    rows = _score(entries, folder, more, options)
    stray = answers.unlisted(folder, items, samples=options.samples)
    physics_report.write(options, rows, folder, stray, found)
    return 0


def _sample(options: argparse.Namespace, items: Sequence[Item], folder: Path) -> dict[str, np.ndarray]:
    """Samples every item into `folder`; returns item id -> reconstruction of its truth."""
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint)
        generator, settings = sampling.load(options)
        for item in items:
            size = (item.frames, item.height, item.width)
            patches.latent_grid(*size, ratio=generator.ratio, patch=generator.patch)
        truths = [benchmark.truth(item) for item in items]
    latents = list(frozen.encode_clips(truths)) if options.given else []
    # Latents hold one frame and then groups of frames: of what may be given, the whole groups are used.
    known = 1 + (options.given - 1) // frozen.ratio[0]
    for k in range(options.samples):
        requests = [
            Request(
                prompt="" if options.untold else item.prompt,
                frames=item.frames,
                height=item.height,
                width=item.width,
                fps=item.fps,
                seed=number + k * len(items),  # so that the first sample is that of --samples 1
                given=latents[number].latents[:known] if options.given else None,
            )
            for number, item in enumerate(items)
        ]
        title = "sample" if options.samples == 1 else f"sample {k + 1} of {options.samples}"
        videos = sampling.sample(generator, requests, settings=settings, rows=options.rows, title=title)
        for item, video in zip(items, videos, strict=True):
            file = answers.expand(item, options.samples)[k].video
            video_files.write_video(folder / file, video, fps=item.fps)
    benchmark.write(options.out, items)
    back = frozen.reconstruct(truths)
    return {item.id: video for item, video in zip(items, back, strict=True)}


def _score(
    entries: Sequence[Entry],
    folder: Path,
    more: dict[str, dict[str, np.ndarray]],
    options: argparse.Namespace,
) -> list[Row]:
    """Every entry's row, in their order, scored by `--workers` processes."""
    others = _others([entry.item for entry in entries])
    jobs = [
        Job(
            line=entry.line,
            item=entry.item,
            other=other,
            folder=folder,
            samples=options.samples,
            more=_of(entry.item, more),
            given=options.given,
            fault=entry.fault,
        )
        for entry, other in zip(entries, others, strict=True)
    ]
    if options.workers == 1:
        return [protocol.work(job) for job in tqdm.tqdm(jobs, desc="score", unit="clip")]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        results: Iterable[Row] = pool.map(protocol.work, jobs, chunksize=4)
        return list(tqdm.tqdm(results, total=len(jobs), desc="score", unit="clip"))


def _of(item: Item | None, more: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The further columns that an item has."""
    return {} if item is None else {name: made[item.id] for name, made in more.items() if item.id in made}


def _others(items: Sequence[Item | None]) -> list[Item | None]:
    """For each item another one of its family and size; None where there is none."""
    others: list[Item | None] = [None] * len(items)
    groups: dict[tuple, list[int]] = {}
    for k, item in enumerate(items):
        if item is not None:
            groups.setdefault((item.family, item.frames, item.height, item.width), []).append(k)
    for group in (g for g in groups.values() if len(g) > 1):
        for k, other in zip(group, deal(len(group)), strict=True):
            others[k] = items[group[other]]
    return others
