"""From items and answers to scores: every clip beside its truth and its nulls, on every metric that applies.

A metric applies to an item where it gives its truth a number. There an answer without one, unreadable or
unparsable, scores 0: what cannot be judged is counted as the worst, and nothing is dropped.

Columns: "truth" (the parser's floor), "sample", the caller's own (such as "reconstruction"), and the nulls
"frozen" (the last given frame held), "linear" (every object goes on as it began), "noise" (random pixels) and
"shuffled" (the answer judged against another clip of its family).

Of several samples of an item, "sample" and "shuffled" are their mean, and "best-of-k" and "shuffled
best-of-k" the best of them, metric by metric. Samples of one item are not independent: a column has one
number per item, and its interval is over items.

Where there are several samples, how they spread is compared too: see `outcomes`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from sora_jax import rng
from sora_jax.evaluation import answers, benchmark
from sora_jax.evaluation.benchmark import Item
from sora_jax.evaluation.physics import outcomes
from sora_jax.evaluation.physics.suite import Metric, Observed, observe
from sora_jax.evaluation.physics.suite_bench import EVERY_METRIC
from sora_jax.evaluation.spread import Spread
from sora_jax.evaluation.text_alignment import Score, bootstrap
from sora_jax.types import Mark, SceneState
from sora_jax.worlds import state as state_lib

NULLS = ("frozen", "linear", "noise", "shuffled")
# What a prompt alone determines; the first frame settles the rest but for motion.
FROM_TEXT = (
    *("births and deaths", "clones", "identity", "color", "shape", "pairing", "constancy", "penetration"),
    *("direction", "framing"),
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
      samples: of the item.
      folder: of the videos; None = `videos` are the samples, the rest of them missing.
      videos: at most `samples`; more: further columns, ready made.
      given: frames the model was given.
      fault: of the line.
    """

    line: int
    item: Item | None
    other: Item | None = None
    samples: int = 1
    folder: Path | None = None
    videos: Sequence[UInt8[np.ndarray, "f h w 3"]] = ()
    more: Mapping[str, UInt8[np.ndarray, "f h w 3"]] = dataclasses.field(default_factory=dict)
    given: int = 0
    fault: str | None = None


class Sample(NamedTuple):
    """One sample's scores, and what was wrong with it."""

    scores: Values
    fault: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One item's result.

    Attributes:
      scores: column -> metric -> score.
      fault: of the line where `item` is None, else of the samples.
      samples: each by itself.
      spread: column -> energy distance of its end states, world units; empty = not compared.
    """

    item: Item | None
    scores: Mapping[str, Values]
    fault: str | None = None
    samples: tuple[Sample, ...] = ()
    spread: Mapping[str, Spread] = dataclasses.field(default_factory=dict)


def work(job: Job) -> Row:
    """Scores one item."""
    if job.item is None:
        return Row(item=None, scores={}, fault=job.fault)
    try:
        clip = benchmark.truth(job.item)
    except (ValueError, IndexError) as error:
        return Row(item=None, scores={}, fault=f"line {job.line} is no item of the benchmark: {error}")
    item, state = job.item, clip.state
    assert state is not None  # a simulated world always says it
    metrics = [m for m in EVERY_METRIC if least_given(m.name) <= job.given and item.family in m.families]
    answered = _answers(job)
    seen = [None if a.video is None else observe(a.video, fps=item.fps) for a in answered]
    made = {"truth": clip.video, **_nulls(clip.video, item, state, given=job.given), **job.more}
    beside = {name: observe(video, fps=item.fps) for name, video in made.items()}
    floor = _judge(beside["truth"], state, metrics)
    applies = [m for m in metrics if not math.isnan(floor[m.name])]
    judged = [_worst(applies) if one is None else _judge(one, state, applies) for one in seen]
    columns = {"truth": floor, **_columns("sample", "best-of-k", judged, several=job.samples > 1)}
    columns |= _shuffled(seen, job, metrics)
    columns |= {name: _judge(one, state, applies) for name, one in beside.items() if name != "truth"}
    return Row(
        item=item,
        scores=columns,
        fault="; ".join(a.fault for a in answered if a.fault) or None,
        samples=tuple(Sample(scores, a.fault) for scores, a in zip(judged, answered, strict=True)),
        spread=outcomes.compare(item, state, seen, beside, given=job.given) if job.samples > 1 else {},
    )


def _answers(job: Job) -> list[answers.Answer]:
    assert job.item is not None
    asked = answers.expand(job.item, job.samples)
    if job.folder is not None:
        return [answers.read(job.folder, one) for one in asked]
    videos = [*job.videos, *[None] * (job.samples - len(job.videos))]
    return [
        answers.Answer(video=None, fault=f"{one.id} has no video")
        if video is None
        else answers.check(video, one)
        for one, video in zip(asked, videos, strict=True)
    ]


def _judge(seen: Observed, state: SceneState, metrics: Sequence[Metric]) -> Values:
    return {m.name: float(m.score(seen, state)) for m in metrics}


def _worst(metrics: Sequence[Metric]) -> Values:
    return {m.name: 0.0 for m in metrics}


def _columns(mean: str, best: str, judged: Sequence[Values], *, several: bool) -> dict[str, Values]:
    """One item's samples as columns: the one, or of several their mean and their best, where NaN counts 0."""
    if not several:
        return {mean: judged[0]}
    table = {name: np.nan_to_num([values[name] for values in judged]) for name in judged[0]}
    return {
        mean: {name: float(values.mean()) for name, values in table.items()},
        best: {name: float(values.max()) for name, values in table.items()},
    }


def _shuffled(seen: Sequence[Observed | None], job: Job, metrics: Sequence[Metric]) -> dict[str, Values]:
    """The answers that can be read against another clip's truth, on what applies to that one."""
    readable = [one for one in seen if one is not None]
    if not readable:
        return {}
    if job.other is None:
        return {"shuffled": {}}
    clip = benchmark.truth(job.other)
    assert clip.state is not None
    floor = _judge(observe(clip.video, fps=job.other.fps), clip.state, metrics)
    applies = [m for m in metrics if not math.isnan(floor[m.name])]
    judged = [_judge(_at(one, job.other.fps), clip.state, applies) for one in readable]
    return _columns("shuffled", "shuffled best-of-k", judged, several=job.samples > 1)


def _at(seen: Observed, fps: float) -> Observed:
    """The same frames at another rate; a parse knows it as a number alone."""
    return dataclasses.replace(seen, fps=fps, tracks=dataclasses.replace(seen.tracks, fps=fps))


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
            if column.startswith("shuffled"):  # judged against others' truths, it applies where it was judged
                applies = np.array([metric in row.scores.get(column, {}) for row in rows])
            chosen = np.nan_to_num(values[applies])
            if column in ("sample", "best-of-k"):
                chosen = np.concatenate([chosen, np.zeros(lost)])
            if len(chosen):
                score = bootstrap(chosen, np.ones(len(chosen)), seed=seed, draws=draws)
                table.setdefault(metric, {})[column] = score
    return table
