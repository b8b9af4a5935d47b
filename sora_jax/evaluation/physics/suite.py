"""The suite: every state metric as one line of a table, with its failure and what it reads.

`Observed` is a video parsed once. `Metric.score(observed, truth)` is in [0, 1], 1 best; NaN = the truth
states nothing of the kind (decided by truth, rate and size alone); an unparsable clip scores 0.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from sora_jax.evaluation.physics import binding, contacts, counting, dynamics, relations
from sora_jax.evaluation.physics.tracks import Tracks, parse
from sora_jax.types import SceneState

# What a metric can read of a state, and a corruption change in it. A metric and a corruption that have one in
# common are related by nature: the certificate's matrix says nothing about that cell.
PROPERTIES: Mapping[str, str] = {
    "place": "where an object is",
    "speed": "how fast it moves",
    "heading": "which way it moves",
    "bend": "acceleration in free flight",
    "energy": "the sum of kinetic and potential energy",
    "momentum": "the sum of momenta",
    "steps": "continuity of a path from frame to frame",
    "impulse": "change of motion at a contact",
    "overlap": "bodies within one another",
    "framing": "how much of an object the frame cuts off",
    "number": "how many there are in a frame",
    "absence": "an object of the truth is not there",
    "existence": "objects begin or cease to exist",
    "twins": "more objects of one look than in the cast",
    "exchange": "one object becomes another of the cast",
    "sides": "who is left of whom",
    "levels": "who is above whom",
    "color": "colours",
    "shape": "shapes",
    "pairing": "which colour goes with which shape",
    "size": "radius, all clip long",
    "growth": "radius over time",
    "return": "whether what was hidden is seen again",
    "lateness": "when it is seen again",
    "mark": "whether there is a mark of contact",
    "spot": "where on a body or canvas a mark is",
    "breaking": "when a body is whole and when in pieces",
    "bulk": "the area of a body and all its pieces",
    "cuts": "when a shot ends",
    "cast": "who is in a later shot",
    "order": "which of two events is first",
    "period": "how long a swing takes",
    "friction": "how fast a slide is slowed down",
    "horizon": "how an error grows with time",
    "moves": "steps from cell to cell of a board",
    "policy": "which goal a player takes",
    "map": "what stands where on a board",
    "turn": "which way the camera looks",
    "way": "the form of the camera's way",
    "length": "how long the camera's way is",
    "lines": "the lines along which the room moves over the picture",
    "view": "what part of the room is seen at an instant",
    "again": "what is seen when the camera is back",
    "rigid": "whether the room keeps its form",
    "tint": "the colours of the room",
}


class Judged(Protocol):
    """What a certificate knows of a metric (`Metric`, `suite_camera.CameraMetric`)."""

    @property
    def name(self) -> str: ...
    @property
    def failure(self) -> str: ...
    @property
    def families(self) -> tuple[str, ...]: ...
    @property
    def reads(self) -> frozenset[str]: ...


class Violation(Protocol):
    """What a certificate knows of a corruption (`Corruption`, `suite_camera.CameraCorruption`)."""

    @property
    def name(self) -> str: ...
    @property
    def failures(self) -> frozenset[str]: ...
    @property
    def families(self) -> tuple[str, ...]: ...
    @property
    def doses(self) -> tuple[float, ...]: ...
    @property
    def unit(self) -> str: ...
    @property
    def changes(self) -> frozenset[str]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """What is looked at: a video `[f h w 3]` uint8, its frames per second, and its tracks."""

    video: UInt8[np.ndarray, "f h w 3"]
    fps: float
    tracks: Tracks


def observe(video: UInt8[np.ndarray, "f h w 3"], *, fps: float) -> Observed:
    """The video with its tracks, parsed once for all metrics."""
    return Observed(video=video, fps=fps, tracks=parse(video, fps=fps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One failure's score.

    Attributes:
      name: of the metric, unique.
      failure: what it detects; the corruptions of the same failure are its own.
      families: of worlds whose truth it can be measured against; others give NaN.
      reads: keys of `PROPERTIES`, all that may change its score by nature.
      score: (observed, truth) -> [0, 1] or NaN.
    """

    name: str
    failure: str
    families: tuple[str, ...]
    reads: frozenset[str]
    score: Callable[[Observed, SceneState], float]


def _score(
    observed: Observed,
    truth: SceneState,
    *,
    measure: Callable[[Tracks, SceneState], float],
    families: tuple[str, ...],
) -> float:
    if truth.family not in families:
        return math.nan
    value = measure(observed.tracks, truth)
    return value if math.isnan(value) else min(max(value, 0.0), 1.0) if observed.tracks.parsable else 0.0


def metric(
    name: str,
    measure: Callable[[Tracks, SceneState], float],
    *,
    families: Sequence[str],
    reads: str,
    failure: str | None = None,
) -> Metric:
    """A line of the table; `reads` are words of `PROPERTIES`, the failure is by default the name.

    Raises:
      ValueError: a word that is no property.
    """
    words = frozenset(reads.split())
    if unknown := words - PROPERTIES.keys():
        raise ValueError(f"{name} reads {sorted(unknown)}: not among {sorted(PROPERTIES)}")
    return Metric(
        name=name,
        failure=failure or name,
        families=tuple(families),
        reads=words,
        score=functools.partial(_score, measure=measure, families=tuple(families)),
    )


MOVING = ("uniform", "parabola", "bounce", "collision", "beside")
STRAIGHT = ("uniform", "beside")
PEOPLED, SIDED = (*MOVING, "clones"), (*MOVING, "mirrored")  # with the benchmark's own families

METRICS: tuple[Metric, ...] = (
    metric("velocity", dynamics.velocity, families=MOVING, reads="speed heading bend steps impulse absence"),
    metric("position", dynamics.position, families=MOVING, reads="place absence"),
    metric("steadiness", dynamics.steadiness, families=MOVING, reads="steps bend impulse absence"),
    metric("gravity", dynamics.gravity, families=("parabola",), reads="bend steps absence"),
    metric("restitution", contacts.restitution, families=("bounce",), reads="impulse steps absence"),
    metric("energy", dynamics.energy, families=("collision", "bounce"), reads="energy steps absence"),
    metric("momentum", dynamics.momentum, families=("collision",), reads="momentum steps absence"),
    metric("penetration", contacts.penetration, families=("collision", "bounce"), reads="overlap growth"),
    metric("response", contacts.response, families=("collision",), reads="impulse steps absence"),
    metric("framing", counting.framing, families=MOVING, reads="framing place"),
    metric("count", counting.count, families=PEOPLED, reads="number absence overlap"),
    metric("births and deaths", counting.births_and_deaths, families=PEOPLED, reads="existence steps"),
    metric("clones", counting.clones, families=PEOPLED, reads="twins"),
    metric("identity", counting.identity, families=MOVING, reads="exchange"),
    metric("left or right", relations.left_right, families=SIDED, reads="sides color twins"),
    metric("above or below", relations.above_below, families=SIDED, reads="levels color twins"),
    metric(
        "contrast", relations.contrast, families=SIDED, reads="sides color twins", failure="left or right"
    ),
    metric("direction", binding.direction, families=STRAIGHT, reads="heading steps pairing color"),
    metric("speed word", binding.speed, families=STRAIGHT, reads="speed steps pairing color"),
    metric("color", binding.color, families=MOVING, reads="color"),
    metric("shape", binding.shape, families=MOVING, reads="shape"),
    metric("pairing", binding.pairing, families=MOVING, reads="pairing color shape"),
    metric("size", binding.size, families=MOVING, reads="size growth pairing color"),
    metric("constancy", binding.constancy, families=MOVING, reads="growth"),
)


def scores(observed: Observed, truth: SceneState, *, metrics: Sequence[Metric] = METRICS) -> dict[str, float]:
    """Every metric's score of one clip, by name."""
    return {m.name: m.score(observed, truth) for m in metrics}
