"""The camera's metrics and the violations that prove them, as two tables like `suite` and `corruptions`.

A corruption of the path is a line for each move of the camera, since a move decides who must see it: a dolly
too far leaves every angle as it was, and moves every point along the line on which it should move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.evaluation.physics import camera, camera_corruptions, epipolar
from sora_jax.evaluation.physics.camera_path import Path, estimate_path, usable
from sora_jax.types import CameraMove, SceneState3D
from sora_jax.worlds.families3d import FAMILIES_3D

FAMILIES = tuple(FAMILIES_3D)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """A video `[f h w 3]` uint8 and the camera's path in it, None where the video is not usable."""

    video: UInt8[np.ndarray, "f h w 3"]
    path: Path | None


def see(video: UInt8[np.ndarray, "f h w 3"], state: SceneState3D) -> Seen:
    """The path is estimated once for all metrics."""
    return Seen(video=video, path=estimate_path(video, state) if usable(video, state) else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraMetric:
    """As `suite.Metric`, of (what is seen, the truth of the 3-D room) -> [0, 1] or NaN."""

    name: str
    failure: str
    families: tuple[str, ...]
    reads: frozenset[str]
    score: Callable[[Seen, SceneState3D], float]


def _rotation(seen: Seen, truth: SceneState3D) -> float:
    return camera.rotation_score(seen.video, truth, path=seen.path)


def _translation(seen: Seen, truth: SceneState3D) -> float:
    return camera.translation_score(seen.video, truth, path=seen.path)


def _travel(seen: Seen, truth: SceneState3D) -> float:
    return camera.travel_score(seen.video, truth, path=seen.path)


def _sampson(seen: Seen, truth: SceneState3D) -> float:
    return epipolar.known_pose_score(seen.video, truth)


def _warp(seen: Seen, truth: SceneState3D) -> float:
    return camera.warp_score(seen.video, truth)


def _coherence(seen: Seen, truth: SceneState3D) -> float:
    return camera.coherence_score(seen.video, truth)


def _metric(name: str, score: Callable[[Seen, SceneState3D], float], reads: str) -> CameraMetric:
    return CameraMetric(
        name=name, failure=name, families=FAMILIES, reads=frozenset(reads.split()), score=score
    )


# In the order of `camera.CAMERA_METRICS`; `reads` are words of `suite.PROPERTIES`.
CAMERA: tuple[CameraMetric, ...] = (
    _metric("rotation", _rotation, "turn rigid"),
    _metric("translation", _translation, "way rigid"),
    _metric("travel", _travel, "length way rigid"),
    _metric("sampson", _sampson, "lines rigid"),
    _metric("warp", _warp, "view rigid tint"),
    _metric("coherence", _coherence, "again rigid tint"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraCorruption:
    """As `corruptions.Corruption`, with as many failures as there are metrics that have to see it.

    Attributes:
      edit: a key of `camera_corruptions.PATHS` or `PIXELS`, or "things".
      moves: of the camera, to which it is applied; returning: only to cameras that come back.
    """

    name: str
    failures: frozenset[str]
    doses: tuple[float, ...]
    unit: str
    changes: frozenset[str]
    edit: str
    moves: tuple[CameraMove, ...]
    families: tuple[str, ...] = FAMILIES
    returning: bool = False

    def applies(self, family: str, move: CameraMove, returns: bool) -> bool:
        """Whether a scene has something to corrupt."""
        return family in self.families and move in self.moves and (returns or not self.returning)


EVERY_MOVE: tuple[CameraMove, ...] = ("orbit", "pan", "dolly")
TIMES = "times as far, beyond once"
_PATHS = {  # name -> edit, unit
    "too far": ("scale", TIMES),
    "the wrong way": ("wrong sign", "share of the time"),
    "at other times": ("time warp", "exponent of time, beyond 1"),
}
_OWN = {  # (move, edit) -> the metrics that have to see it; a dolly does not turn, a pan does not travel
    ("orbit", "scale"): "rotation travel warp",
    ("orbit", "wrong sign"): "rotation translation warp",
    ("orbit", "time warp"): "rotation translation warp",
    ("pan", "scale"): "rotation warp",
    ("pan", "wrong sign"): "rotation warp",
    ("pan", "time warp"): "rotation warp",
    ("dolly", "scale"): "travel warp",
    ("dolly", "wrong sign"): "translation warp",
    ("dolly", "time warp"): "translation warp",
}
_CHANGED = {  # a longer arc is of another form, a longer straight way is not
    "orbit": "turn way length lines view",
    "pan": "turn view",
    "dolly": "length view",
}


def _path_row(move: CameraMove, name: str) -> CameraCorruption:
    edit, unit = _PATHS[name]
    changes = set(_CHANGED[move].split())
    if edit != "scale":
        changes |= {"again"} | ({"way"} if move == "dolly" else set())
    return CameraCorruption(
        name=f"{move} {name}",
        failures=frozenset(_OWN[move, edit].split()),
        doses=camera_corruptions.DOSES[edit],
        unit=unit,
        changes=frozenset(changes),
        edit=edit,
        moves=(move,),
    )


def _row(
    name: str,
    edit: str,
    failures: str,
    changes: str,
    unit: str,
    *,
    families: tuple[str, ...] = FAMILIES,
    returning: bool = False,
) -> CameraCorruption:
    return CameraCorruption(
        name=name,
        failures=frozenset(failures.split()),
        doses=camera_corruptions.DOSES[edit],
        unit=unit,
        changes=frozenset(changes.split()),
        edit=edit,
        moves=EVERY_MOVE,
        families=families,
        returning=returning,
    )


CAMERA_CORRUPTIONS: tuple[CameraCorruption, ...] = (
    *(_path_row(move, name) for move in EVERY_MOVE for name in _PATHS),
    _row(
        "no return",
        "no return",
        "coherence",
        "turn way length lines view again",
        "share of the path",
        returning=True,
    ),
    _row("bent picture", "non-rigid", "sampson warp", "rigid view again", "share of the width"),
    _row("tint", "palette", "coherence", "tint", "share of the range"),
    # No metric's own: what moves by itself is not the room, and no metric of the camera may see it.
    _row(
        "things tinted", "things", "", "color", "share of the range", families=("fall", "ramp", "collision")
    ),
)


def measure(
    video: UInt8[np.ndarray, "f h w 3"], state: SceneState3D, *, metrics: tuple[CameraMetric, ...] = CAMERA
) -> Float[np.ndarray, " m"]:
    """Every metric of one video."""
    seen = see(video, state)
    return np.array([metric.score(seen, state) for metric in metrics])
