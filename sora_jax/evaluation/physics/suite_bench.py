"""The suite's lines for the benchmark's own families, and the whole suite."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from sora_jax.evaluation.physics import fracture, marks, permanence
from sora_jax.evaluation.physics.suite import METRICS, Metric, Observed, metric
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState


def _unmeasured(tracks: Tracks, truth: SceneState) -> float:
    raise AssertionError("a metric of pixels is not asked for tracks")


def _score(
    observed: Observed,
    truth: SceneState,
    *,
    measure: Callable[[Observed, SceneState], float],
    families: tuple[str, ...],
) -> float:
    if truth.family not in families:
        return math.nan
    value = measure(observed, truth)
    return value if math.isnan(value) else min(max(value, 0.0), 1.0) if observed.tracks.parsable else 0.0


def pixel_metric(
    name: str,
    measure: Callable[[Observed, SceneState], float],
    *,
    families: tuple[str, ...],
    reads: str,
    failure: str | None = None,
) -> Metric:
    """As `suite.metric`, of a measure that reads the video beside its tracks."""
    line = metric(name, _unmeasured, families=families, reads=reads, failure=failure)
    score = functools.partial(_score, measure=measure, families=families)
    return Metric(name=name, failure=line.failure, families=families, reads=line.reads, score=score)


BEHIND, MARKED, BROKEN = ("occlusion", "permanence"), ("bite", "brush"), ("fracture",)
BENCH = (*BEHIND, *MARKED, *BROKEN)

BENCH_METRICS: tuple[Metric, ...] = (
    metric("reappearance", permanence.reappearance, families=BEHIND, reads="return lateness"),
    metric("punctuality", permanence.punctuality, families=BEHIND, reads="return lateness"),
    metric("place on return", permanence.place, families=BEHIND, reads="place return"),
    metric("color on return", permanence.color, families=BEHIND, reads="color return"),
    metric("shape on return", permanence.shape, families=BEHIND, reads="shape return"),
    pixel_metric("mark", marks.kept, families=MARKED, reads="mark spot"),
    pixel_metric("mark after a screen", marks.kept_behind, families=MARKED, reads="mark spot"),
    pixel_metric("mark by contact", marks.cause, families=MARKED, reads="mark"),
    metric("breaking", fracture.breaking, families=BROKEN, reads="breaking number"),
    metric("area kept", fracture.area, families=BROKEN, reads="bulk"),
    metric("pieces", fracture.pieces, families=BROKEN, reads="number breaking"),
    metric("staying broken", fracture.staying_broken, families=BROKEN, reads="breaking number"),
)

EVERY_METRIC: tuple[Metric, ...] = (*METRICS, *BENCH_METRICS)
