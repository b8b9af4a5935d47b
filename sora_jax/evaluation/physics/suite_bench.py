"""The suite's lines for the benchmark's own families, and the whole suite."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from sora_jax.evaluation.physics import board, fracture, marks, order, oscillation, permanence, shots
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
SHOTS, ORDERED, BOARD = ("shots",), ("ordered",), ("gridworld",)
SWINGS, LAWS = ("pendulum", "spring"), ("billiards", "pendulum", "spring", "friction")
BENCH = (*BEHIND, *MARKED, *BROKEN, *SHOTS, *ORDERED, *LAWS, *BOARD)

BENCH_METRICS: tuple[Metric, ...] = (
    metric("reappearance", permanence.reappearance, families=BEHIND, reads="return lateness"),
    metric("punctuality", permanence.punctuality, families=BEHIND, reads="return lateness"),
    metric("place on return", permanence.place, families=BEHIND, reads="place return"),
    metric("color on return", permanence.color, families=BEHIND, reads="color return"),
    metric("shape on return", permanence.shape, families=BEHIND, reads="shape return"),
    pixel_metric("mark", marks.kept, families=MARKED, reads="mark spot"),
    pixel_metric("mark after a screen", marks.kept_behind, families=MARKED, reads="mark spot"),
    pixel_metric("mark by contact", marks.cause, families=MARKED, reads="mark spot"),
    metric("breaking", fracture.breaking, families=BROKEN, reads="breaking number"),
    metric("area kept", fracture.area, families=BROKEN, reads="bulk"),
    metric("pieces", fracture.pieces, families=BROKEN, reads="number breaking"),
    metric("staying broken", fracture.staying_broken, families=BROKEN, reads="breaking number"),
    metric("cuts", shots.cutting, families=SHOTS, reads="cuts"),
    metric("cast", shots.identity, families=SHOTS, reads="cast color shape size"),
    metric("order", order.order, families=ORDERED, reads="order"),
    metric("order contrast", order.contrast, families=ORDERED, reads="order", failure="order"),
    metric("period", oscillation.period, families=SWINGS, reads="period speed"),
    metric(
        "energy over time",
        oscillation.energy,
        families=("billiards", *SWINGS),
        reads="energy speed period",
    ),
    metric("drift", oscillation.drift, families=LAWS, reads="horizon speed period place friction"),
    metric("friction", oscillation.friction, families=("friction",), reads="friction speed"),
    pixel_metric("legal moves", board.legal, families=BOARD, reads="moves"),
    pixel_metric("policy", board.policy, families=BOARD, reads="policy"),
    pixel_metric("map", board.world_map, families=BOARD, reads="map"),
)

EVERY_METRIC: tuple[Metric, ...] = (*METRICS, *BENCH_METRICS)
