"""From items and answers to scores: every clip beside its truth and its nulls, on every metric that applies.

A metric applies to an item where it gives its truth a number. There an answer without one, unreadable or
unparsable, scores 0: what cannot be judged is counted as the worst, and nothing is dropped.

Columns: "truth" (the parser's floor), "sample", the caller's own (such as "reconstruction"), and the nulls
"frozen" (the last given frame held), "linear" (every object goes on as it began), "noise" (random pixels) and
"shuffled" (the answer judged against another clip of its family).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sora_jax import rng
from sora_jax.evaluation import answers, benchmark
from sora_jax.evaluation.benchmark import Item
from sora_jax.evaluation.physics.suite import Metric, observe
from sora_jax.evaluation.physics.suite_bench import EVERY_METRIC
from sora_jax.evaluation.text_alignment import Score, bootstrap
from sora_jax.types import Mark, SceneState
from sora_jax.worlds import state as state_lib

NULLS = ("frozen", "linear", "noise", "shuffled")
# What a prompt alone determines; the first frame settles the rest but for motion.
FROM_TEXT = (
    *("births and deaths", "clones", "identity", "color", "shape", "pairing", "constancy", "penetration"),
    "direction",
)
FROM_IMAGE = ("count", "left or right", "above or below", "contrast", "size", "speed word")
Values = dict[str, float]  # metric -> score in [0, 1], NaN where it does not apply


def least_given(metric: str) -> int:
    """How many true frames a model must be given before a metric's truth is determined: 0, 1 or 3."""
    return 0 if metric in FROM_TEXT else 1 if metric in FROM_IMAGE else 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One item's work, sent whole to a worker process.

    Attributes:
      line: of the manifest.
      item: None where the line is no item.
      other: the item whose truth the null "shuffled" judges against; None = no such null.
      folder: of the videos; None = `video` is the sample.
      video: the sample; more: further columns, ready made.
      given: frames the model was given.
      fault: of the line.
    """

    line: int
    item: Item | None
    other: Item | None = None
    folder: Path | None = None
    video: UInt8[np.ndarray, "f h w 3"] | None = None
    more: Mapping[str, UInt8[np.ndarray, "f h w 3"]] = dataclasses.field(default_factory=dict)
    given: int = 0
    fault: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One item's result: column -> metric -> score, and what was wrong with its answer."""

    item: Item | None
    scores: Mapping[str, Values]
    fault: str | None = None


def work(job: Job) -> Row:
    """Scores one item."""
    if job.item is None:
        return Row(item=None, scores={}, fault=job.fault)
    try:
        clip = benchmark.truth(job.item)
    except (ValueError, IndexError) as error:
        return Row(item=None, scores={}, fault=f"line {job.line} is no item of the benchmark: {error}")
    state = clip.state
    assert state is not None  # a simulated world always says it
    metrics = [m for m in EVERY_METRIC if least_given(m.name) <= job.given and job.item.family in m.families]
    floor = _judge(clip.video, job.item, state, metrics)
    applies = [m for m in metrics if not math.isnan(floor[m.name])]
    answer = _answer(job)
    columns: dict[str, Values] = {"truth": floor, "sample": _worst(applies)}
    if answer.video is not None:
        columns["sample"] = _judge(answer.video, job.item, state, applies)
        columns["shuffled"] = _shuffled(answer.video, job, metrics)
    ready = {**_nulls(clip.video, job.item, state, given=job.given), **job.more}
    columns |= {name: _judge(video, job.item, state, applies) for name, video in ready.items()}
    return Row(item=job.item, scores=columns, fault=answer.fault)


def _answer(job: Job) -> answers.Answer:
    assert job.item is not None
    if job.folder is not None:
        return answers.read(job.folder, job.item)
    if job.video is None:
        return answers.Answer(video=None, fault=f"{job.item.id} has no video")
    return answers.check(job.video, job.item)


def _judge(video: np.ndarray, item: Item, state: SceneState, metrics: Sequence[Metric]) -> Values:
    seen = observe(video, fps=item.fps)
    return {m.name: float(m.score(seen, state)) for m in metrics}


def _worst(metrics: Sequence[Metric]) -> Values:
    return {m.name: 0.0 for m in metrics}


def _shuffled(video: np.ndarray, job: Job, metrics: Sequence[Metric]) -> Values:
    """The answer against another clip's truth, on what applies to that one."""
    if job.other is None:
        return {}
    clip = benchmark.truth(job.other)
    assert clip.state is not None
    floor = _judge(clip.video, job.other, clip.state, metrics)
    applies = [m for m in metrics if not math.isnan(floor[m.name])]
    return _judge(video, job.other, clip.state, applies)


def _nulls(
    video: np.ndarray, item: Item, state: SceneState, *, given: int
) -> dict[str, UInt8[np.ndarray, "f h w 3"]]:
    """Answers that know nothing of motion: the last given frame held, its motion gone on, random pixels."""
    start = max(given, 1) - 1
    held = np.concatenate([video[:start], np.repeat(video[start : start + 1], len(video) - start, axis=0)])
    draw = rng.host(item.seed, "physics null", item.index)
    noise = draw.integers(0, 256, video.shape, dtype=np.uint8)
    return {"frozen": held, "linear": _linear(video, item, state, start=start), "noise": noise}


def _linear(video: np.ndarray, item: Item, state: SceneState, *, start: int) -> np.ndarray:
    """Every object goes on in a straight line from frame `start`; nothing begins, ends or leaves a mark."""
    frames = np.arange(len(video))
    seconds = ((frames - start) / item.fps)[:, None, None]
    after = np.where(frames < start, frames, start)
    gone_on = dataclasses.replace(
        state,
        position=(state.position[after] + np.maximum(seconds, 0) * state.velocity[start]).astype(np.float32),
        angle=state.angle[after],
        alive=state.alive[after],
        marks=tuple(_kept(mark, start, len(video)) for mark in state.marks),
        rounding=None,
    )
    on = state_lib.render_state(gone_on, height=item.height, width=item.width)
    return np.concatenate([video[:start], on[start:]])


def _kept(mark: Mark, start: int, frames: int) -> Mark:
    """The discs of a mark that are there at frame `start`, from then on."""
    if mark.kind == "string":
        return mark
    there = (mark.start <= start) & (start < mark.end)
    ends = np.full(there.sum(), frames, np.int32)
    return dataclasses.replace(mark, points=mark.points[there], start=mark.start[there], end=ends)


def summarise(rows: Sequence[Row], *, seed: int = 0, draws: int = 1000) -> dict[str, dict[str, Score]]:
    """Metric -> column -> mean over the items it applies to, with a bootstrap interval over items.

    A line that is no item counts 0 in every metric of the sample, since what it should have been is unknown.
    """
    lost = sum(row.item is None for row in rows)
    table: dict[str, dict[str, Score]] = {}
    columns = dict.fromkeys(name for row in rows for name in row.scores)
    for metric in (m.name for m in EVERY_METRIC):
        for column in columns:
            values = np.array([row.scores.get(column, {}).get(metric, math.nan) for row in rows])
            applies = np.array(
                [not math.isnan(row.scores.get("truth", {}).get(metric, math.nan)) for row in rows]
            )
            if column == "shuffled":  # judged against others' truths, it applies where it was judged
                applies = np.array([metric in row.scores.get(column, {}) for row in rows])
            chosen = np.nan_to_num(values[applies])
            if column == "sample":
                chosen = np.concatenate([chosen, np.zeros(lost)])
            if len(chosen):
                score = bootstrap(chosen, np.ones(len(chosen)), seed=seed, draws=draws)
                table.setdefault(metric, {})[column] = score
    return table
