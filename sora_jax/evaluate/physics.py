"""How physical are videos? Every certified metric of SoraBench, on a model's samples or anybody's files."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import tqdm

from sora_jax import build, command, patches
from sora_jax.data import video_files
from sora_jax.evaluate import prompts, sampling
from sora_jax.evaluation import answers, benchmark
from sora_jax.evaluation.benchmark import Entry, Item
from sora_jax.evaluation.physics import certificates, page, protocol
from sora_jax.evaluation.physics.protocol import Job, Row
from sora_jax.evaluation.text_alignment import deal
from sora_jax.sampling.generate import Request

SHOWN = 6  # clips of each kind on the page


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
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that score")
    prompts.add_size_arguments(parser)
    sampling.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes `scores.json`, `report.html`, and with --checkpoint the samples and their manifest."""
    if options.videos is not None and options.manifest is None:
        raise command.UsageError("--videos needs --manifest, the list that `evaluate prompts` wrote")
    if options.videos is not None and not options.videos.is_dir():
        raise command.UsageError(f"--videos {options.videos} is no folder")
    if options.workers < 1:
        raise command.UsageError(f"--workers {options.workers}: give at least 1")
    if options.manifest is not None:
        with command.checking_usage():
            entries = benchmark.read(options.manifest)
    else:
        entries = [Entry(line=k + 1, item=item) for k, item in enumerate(prompts.items(options))]
    items = [entry.item for entry in entries if entry.item is not None]
    folder: Path = options.videos or options.out / "videos"
    more = {}
    if options.checkpoint is not None:
        more = {"reconstruction": _sample(options, items, folder)}
    rows = _score(entries, folder, more, given=options.given, workers=options.workers)
    stray = answers.unlisted(folder, items)
    _write(options, rows, folder, stray)
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
    requests = [
        Request(
            prompt=item.prompt,
            frames=item.frames,
            height=item.height,
            width=item.width,
            fps=item.fps,
            seed=number,
            given=latents[number].latents[:known] if options.given else None,
        )
        for number, item in enumerate(items)
    ]
    videos = sampling.sample(generator, requests, settings=settings, rows=options.rows, title="sample")
    for item, video in zip(items, videos, strict=True):
        video_files.write_video(folder / item.video, video, fps=item.fps)
    benchmark.write(options.out, items)
    back = frozen.reconstruct(truths)
    return {item.id: video for item, video in zip(items, back, strict=True)}


def _score(
    entries: Sequence[Entry],
    folder: Path,
    more: dict[str, dict[str, np.ndarray]],
    *,
    given: int,
    workers: int,
) -> list[Row]:
    """Every entry's row, in their order, scored by `workers` processes."""
    others = _others([entry.item for entry in entries])
    jobs = [
        Job(
            line=entry.line,
            item=entry.item,
            other=other,
            folder=folder,
            more={name: made[entry.item.id] for name, made in more.items() if entry.item is not None},
            given=given,
            fault=entry.fault,
        )
        for entry, other in zip(entries, others, strict=True)
    ]
    if workers == 1:
        return [protocol.work(job) for job in tqdm.tqdm(jobs, desc="score", unit="clip")]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        results: Iterable[Row] = pool.map(protocol.work, jobs, chunksize=4)
        return list(tqdm.tqdm(results, total=len(jobs), desc="score", unit="clip"))


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


def _write(options: argparse.Namespace, rows: Sequence[Row], folder: Path, stray: Sequence[str]) -> None:
    table = protocol.summarise(rows)
    failing = certificates.failing()
    certified = {name: scores for name, scores in table.items() if name not in failing}
    faults = [row.fault for row in rows if row.fault is not None]
    faults += [f"{name} is asked for by no line of the manifest" for name in stray]
    judged = options.checkpoint or str(options.videos)
    settings = {"judged": judged, "clips": len(rows), "given frames": options.given}
    worst, median = _shown(rows, folder)
    shown = page.Page(
        title=f"SoraBench: {judged}",
        settings=settings,
        table=certified,
        uncertified={name: why for name, why in failing.items() if name in table},
        worst=worst,
        median=median,
        faults=faults,
        matrix=certificates.picture(),
    )
    (options.out / "report.html").write_text(page.render(shown))
    numbers = {
        metric: {column: score._asdict() for column, score in columns.items()}
        for metric, columns in certified.items()
    }
    clips = [
        {"id": row.item.id if row.item else None, "fault": row.fault, "scores": row.scores.get("sample", {})}
        for row in rows
    ]
    result = {
        "settings": settings,
        "scores": numbers,
        "uncertified": failing,
        "faults": faults,
        "clips": clips,
    }
    (options.out / "scores.json").write_text(json.dumps(result, indent=1) + "\n")
    print(_summary(numbers))
    if faults:
        print(f"{len(faults)} answers could not be judged or were not asked for: see the report")
    print(f"wrote {options.out}/report.html and scores.json")


def _summary(numbers: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [f"{'metric':28}{'truth':>8}{'sample':>8}{'frozen':>8}{'linear':>8}"]
    for metric, columns in numbers.items():
        cells = (columns.get(c, {}).get("mean") for c in ("truth", "sample", "frozen", "linear"))
        lines.append(f"{metric:28}" + "".join(f"{'-' if v is None else f'{v:.3f}':>8}" for v in cells))
    return "\n".join(lines)


def _shown(rows: Sequence[Row], folder: Path) -> tuple[list[page.Shown], list[page.Shown]]:
    """The worst clips, and those about the median, by the mean of their metrics."""
    scored = [row for row in rows if row.item is not None and row.scores.get("sample")]
    order = sorted(scored, key=lambda row: np.mean(np.nan_to_num(list(row.scores["sample"].values()))))
    middle = max(0, len(order) // 2 - SHOWN // 2)
    return [_clip(r, folder) for r in order[:SHOWN]], [
        _clip(r, folder) for r in order[middle : middle + SHOWN]
    ]


def _clip(row: Row, folder: Path) -> page.Shown:
    assert row.item is not None
    low = sorted(row.scores["sample"].items(), key=lambda pair: np.nan_to_num(pair[1]))[:4]
    note = row.fault or ", ".join(f"{name} {np.nan_to_num(value):.2f}" for name, value in low)
    truth = benchmark.truth(row.item).video
    return page.Shown(
        title=row.item.prompt, note=note, truth=truth, video=answers.read(folder, row.item).video
    )
