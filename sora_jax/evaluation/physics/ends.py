"""End states: where a clip leaves its objects, as one vector that can be compared over clips of one cast.

Of each object of the cast three numbers: (x, y) where it was last wholly seen (to `WHOLE`), world units, and
0; or (0, 0, `FAR`) if no object was there for it, so that a missing one is farther away than any place in a
square frame and two missing ones are alike. The whole is divided by sqrt(objects): the Euclidean distance of
two end states is then the root mean square of the objects' distances.

Which object is which is told by looks alone (colour before shape, then how long it was there), since where
a clip is free to go, place says nothing; a wrong colour is the metric `color`'s, not counted here. Among
objects that look the same, which is which is told by the least distance to the clip's own truth. Blind to
objects beyond the cast (`count` sees them), to angles, and to what happened on the way.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds.scene import SHORT_SIDE

FAR = SHORT_SIDE  # world units, of what is missing
WHOLE = 0.9  # share of an object at the frame's edge that still shows where its centre is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cast:
    """What ended where: `place` in world units, NaN = never seen; `share` of the frames that show it."""

    color: tuple[str, ...]
    shape: tuple[str, ...]
    place: Float[np.ndarray, "o 2"]
    share: Float[np.ndarray, " o"]


def of_state(state: SceneState) -> Cast:
    """The simulated objects at their ends."""
    there = (state.visible > 0) & state.alive
    return Cast(
        color=tuple(body.color for body in state.bodies),
        shape=tuple(body.shape for body in state.bodies),
        place=_last(state.position.astype(float), there & (state.visible > WHOLE), there),
        share=there.mean(axis=0),
    )


def of_tracks(tracks: Tracks) -> Cast:
    """What a video shows, at its ends."""
    whole = tracks.present & (~tracks.edge | (tracks.visible > WHOLE))
    return Cast(
        color=tracks.color,
        shape=tracks.shape,
        place=_last(tracks.position, whole, tracks.present),
        share=tracks.present.mean(axis=0),
    )


def vector(seen: Cast | None, truth: Cast) -> Float[np.ndarray, " d"]:
    """The end state of `seen` in the order of the truth's objects (d = 3 o); None = nothing to see."""
    objects = len(truth.color)
    rows = np.tile([0.0, 0.0, FAR], (objects, 1))
    if seen is not None and len(seen.color):
        color = np.array(truth.color)[:, None] != np.array(seen.color)
        shape = np.array(truth.shape)[:, None] != np.array(seen.shape)
        apart = np.linalg.norm(np.nan_to_num(truth.place)[:, None] - np.nan_to_num(seen.place), axis=-1)
        cost = 2.0 * color + 1.0 * shape + (1 - seen.share) + 1e-3 * apart
        for i, o in zip(*linear_sum_assignment(cost), strict=True):
            if not np.isnan(seen.place[o]).any():
                rows[i] = (*seen.place[o], 0.0)
    return rows.ravel() / math.sqrt(objects)


def _last(
    position: Float[np.ndarray, "f o 2"], whole: Bool[np.ndarray, "f o"], there: Bool[np.ndarray, "f o"]
) -> Float[np.ndarray, "o 2"]:
    """Each object's place in its last whole frame, else in its last frame at all, else NaN."""
    place = np.full(position.shape[1:], np.nan)
    for o in range(len(place)):
        frames = np.flatnonzero(whole[:, o])
        frames = frames if len(frames) else np.flatnonzero(there[:, o])
        if len(frames):
            place[o] = position[frames[-1], o]
    return place
