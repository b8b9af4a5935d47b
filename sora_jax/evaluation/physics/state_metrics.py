"""Scores of a parsed clip against an exact state (`SceneState`), and of its motion by itself.

Errors are in world units; 0 is best, and what is not found gets a stated worst value, so that nothing is
dropped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from sora_jax.evaluation.physics.metrics import clear_frames, fit_velocity
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState

WORST_POSITION = 10.0  # world units: the frame's short side
AT_REST = 0.05  # world units/s


def unsteadiness(tracks: Tracks, o: int) -> float:
    """Mean distance, world units/s, of the frame-to-frame velocities of track `o` from their fit.

    A velocity error that needs no state, for a prompt that leaves the exact speed open. Blind to a motion
    that is steady and wrong; NaN without two adjacent clear frames.
    """
    clear = clear_frames(tracks, o)
    steps = np.flatnonzero(np.diff(clear) == 1)
    if not len(steps):
        return math.nan
    velocity = (tracks.position[clear[steps + 1], o] - tracks.position[clear[steps], o]) * tracks.fps
    return float(np.linalg.norm(velocity - fit_velocity(tracks, o), axis=-1).mean())


class Events(NamedTuple):
    """Counts of one clip; `clones` are the births that look like an object present beside them."""

    births: int
    deaths: int
    clones: int
    object_seconds: float


def births_deaths(tracks: Tracks) -> Events:
    """Objects that appear from or vanish into nothing, away from the frame's edges and from other objects.

    A gap counts as one death and one birth. Excused: within reach of an edge (one frame's motion included),
    and where another object stands at that place (occlusion, a merged group). Blind to what is born or dies
    there. The rate of a set of clips is the sum of events over the sum of object-seconds (frames / fps of
    each object's presence).
    """
    births = deaths = clones = 0
    for o in range(tracks.present.shape[1]):
        seen = tracks.present[:, o].astype(int)
        for f in np.flatnonzero(np.diff(seen) == -1):
            deaths += not _excused(tracks, o, int(f), step=1)
        for f in np.flatnonzero(np.diff(seen) == 1) + 1:
            born = not _excused(tracks, o, int(f), step=-1)
            births += born
            clones += born and _double(tracks, o, int(f))
    return Events(births, deaths, clones, float(tracks.present.sum() / tracks.fps))


def _double(tracks: Tracks, o: int, f: int) -> bool:
    """Whether an object that looks like track `o` stands beside its birth, and stood there before."""
    look = (tracks.color[o], tracks.shape[o])
    there = np.flatnonzero(tracks.present[f] & tracks.present[f - 1])
    return any((tracks.color[k], tracks.shape[k]) == look for k in there if k != o)


def _excused(tracks: Tracks, o: int, f: int, *, step: int) -> bool:
    """Whether track `o`, seen in frame `f` and not in `f + step`, may have left or been hidden."""
    here = tracks.position[f, o]
    inner = f - step
    known = 0 <= inner < tracks.frames and tracks.present[inner, o]
    motion = here - tracks.position[inner, o] if known else np.zeros(2)
    then, radius = here + motion, tracks.radius[o]
    half = np.array(tracks.half_extent)
    if tracks.edge[f, o] or (np.abs(then) + radius > half).any():
        return True
    for other in np.flatnonzero(tracks.present[f + step]):
        apart = float(np.linalg.norm(tracks.position[f + step, other] - then))
        if other != o and tracks.present[f, other] and apart < radius + tracks.radius[other]:
            return True
    return False


def match_state(tracks: Tracks, state: SceneState) -> Int[np.ndarray, " o"]:
    """Track of each simulated object, -1 for none: least mean distance over the frames that show both.

    A wrong colour costs 2 world units, an unmatched pair the frame's short side.
    """
    objects = len(state.bodies)
    cost = np.full((objects, tracks.present.shape[1]), WORST_POSITION)
    frames = min(tracks.frames, len(state.position))
    for i, body in enumerate(state.bodies):
        for o in range(cost.shape[1]):
            both = np.flatnonzero(tracks.present[:frames, o] & (state.visible[:frames, i] > 0))
            if len(both):
                apart = np.linalg.norm(tracks.position[both, o] - state.position[both, i], axis=-1).mean()
                cost[i, o] = min(apart + 2.0 * (tracks.color[o] != body.color), WORST_POSITION)
    track = np.full(objects, -1)
    for i, o in zip(*linear_sum_assignment(cost), strict=True):
        if cost[i, o] < WORST_POSITION:
            track[i] = o
    return track


def velocity_error(tracks: Tracks, state: SceneState) -> float:
    """Mean |v - v_true|, world units/s, over the objects of constant non-zero velocity, v by least squares.

    NaN if there is none; an object that is not found has twice its true speed (as if it moved the other way).
    """
    track, errors = match_state(tracks, state), []
    for i, o in enumerate(track):
        true = state.velocity[0, i]
        speed = float(np.hypot(*true))
        if len(state.velocity) < 2 or speed < AT_REST or np.abs(state.velocity[:, i] - true).max() > 1e-3:
            continue
        errors.append(2 * speed if o < 0 else float(np.linalg.norm(fit_velocity(tracks, int(o)) - true)))
    return float(np.mean(errors)) if errors else math.nan


def position_error(tracks: Tracks, state: SceneState) -> float:
    """Mean |position - truth|, world units, over objects and the frames in which they are wholly visible.

    A frame in which the object is not found counts `WORST_POSITION`; no error is larger.
    """
    track, errors = match_state(tracks, state), []
    for i, o in enumerate(track):
        for f in np.flatnonzero(state.visible[:, i] > 0.99):
            found = o >= 0 and f < tracks.frames and tracks.present[f, o]
            apart = np.linalg.norm(tracks.position[f, o] - state.position[f, i]) if found else WORST_POSITION
            errors.append(min(float(apart), WORST_POSITION))
    return float(np.mean(errors)) if errors else math.nan
