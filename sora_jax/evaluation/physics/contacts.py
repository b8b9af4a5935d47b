"""What happens where things touch: bounces off walls, response to a contact, bodies within one another.

`metric(tracks, truth) -> score` in [0, 1], as in `dynamics`: NaN is decided by the truth alone.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.dynamics import LEAST, seen_places, shares, true_places, usable
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState

WINDOW = 5  # frames before and after a contact from which a velocity is fitted, at most
APPROACH = 0.5  # units/s; a slower contact says nothing of the response
LEAST_RESPONSE = 0.5  # of the approach; a more glancing contact says little
ALLOWED = 0.08  # hidden share of an area that the cut of a touching group may be off by


def _around(
    truth: SceneState, i: int, f: int, *, whole: Bool[np.ndarray, "f o"]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames before and after the contact of object `i` at frame `f` that show its velocities, or None."""
    touched = truth_lib.struck(truth)[:, i]
    runs = truth_lib.flights(touched)
    here = next((k for k, (start, _) in enumerate(runs) if start == f), 0)
    if here == 0:
        return None
    before = np.arange(*runs[here - 1])[-WINDOW:]
    after = np.arange(*runs[here])[:WINDOW]
    before, after = before[whole[before, i]], after[whole[after, i]]
    return (before, after) if min(len(before), len(after)) >= LEAST else None


def _velocity_at(
    place: np.ndarray, frames: np.ndarray, f: float, *, fps: float, g: np.ndarray
) -> Float[np.ndarray, " 2"]:
    return truth_lib.fit_motion(place[frames], (frames - f) / fps, gravity=g)[1]


def restitution(tracks: Tracks, truth: SceneState) -> float:
    """Mean over objects of |e - e_true| at their first bounce off a wall, e = -v_n after / v_n before.

    v_n is the centre's velocity along the wall's normal, fitted over up to `WINDOW` frames of free flight on
    either side under the truth's gravity; e_true is the same of the true positions, so that the spin a corner
    takes up is in both. The worst error is 1, the whole range of e. Blind to sideways velocity, to the later
    bounces, and to whether the bounce happens at the wall.
    """
    g = truth_lib.gravity(truth, fps=tracks.fps)
    both = (true_places(truth), seen_places(tracks, truth))
    half, errors = np.array(tracks.half_extent), []
    whole = truth_lib.clear(truth)
    for i, body in enumerate(truth.bodies):
        hits = np.flatnonzero(truth.wall_contact[1:, i]) + 1
        window = _around(truth, i, int(hits[0]), whole=whole) if len(hits) else None
        if window is None:
            continue
        f = int(hits[0])
        axis = int((np.abs(truth.position[f - 1 : f + 1, i]).max(axis=0) + body.radius - half).argmax())
        pair = []
        for found in both:
            sides = [usable(found, i, w) for w in window]
            if min(map(len, sides)) < 2:
                pair.append(None)
                continue
            a, b = (_velocity_at(found.place[:, i], s, f - 0.5, fps=tracks.fps, g=g)[axis] for s in sides)
            pair.append((a, b))
        (true_in, true_out), seen = pair
        if abs(true_in) < APPROACH:
            continue
        errors.append(1.0 if seen is None else abs(seen[1] / true_in - true_out / true_in))
    return shares(errors)


def response(tracks: Tracks, truth: SceneState) -> float:
    """Share of the velocity change that a contact should make, along the line of centres: no response is 0.

    With u = (v_b - v_a) . n before and after the first contact of each pair, the score is the mean of
    (u_after - u_before) / true (u_after - u_before), bounded to [0, 1]. Blind to too strong a response, to
    the part across n, and to contacts that should not happen.
    """
    both = (true_places(truth), seen_places(tracks, truth))
    whole = truth_lib.clear(truth)
    g = truth_lib.gravity(truth, fps=tracks.fps)
    answers = []
    for a, b in zip(*np.nonzero(np.triu(truth.contact.any(axis=0))), strict=True):
        f = int(np.flatnonzero(truth.contact[:, a, b])[0])
        first, second = (_around(truth, int(i), f, whole=whole) if f else None for i in (a, b))
        if first is None or second is None:
            continue
        line = (truth.position[f, b] + truth.position[f - 1, b]) - (
            truth.position[f, a] + truth.position[f - 1, a]
        )
        line = line / np.linalg.norm(line)
        speeds = []
        for found in both:
            frames = [
                [usable(found, int(i), w) for w in window]
                for i, window in zip((a, b), (first, second), strict=True)
            ]
            if min(len(w) for pair in frames for w in pair) < 2:
                speeds.append(None)
                continue
            v = [
                [_velocity_at(found.place[:, i], w, f - 0.5, fps=tracks.fps, g=g) for w in pair]
                for i, pair in zip((a, b), frames, strict=True)
            ]
            speeds.append([float((v[1][k] - v[0][k]) @ line) for k in (0, 1)])
        true, seen = speeds
        if -true[0] < APPROACH or true[1] - true[0] < LEAST_RESPONSE * -true[0]:
            continue
        if seen is None:
            answers.append(0.0)
        else:
            answers.append(float(np.clip((seen[1] - seen[0]) / (true[1] - true[0]), 0, 1)))
    return float(np.mean(answers)) if answers else math.nan


def penetration(tracks: Tracks, truth: SceneState) -> float:
    """1 - the greatest share of an object's area that is hidden by another that it should only touch.

    Of a track in a frame, hidden = 1 - visible area / own full area, where another track's centre is within
    both rims' reach and no edge cuts it off; a track lost between two sightings is wholly hidden where
    another stands at its interpolated place, if it is seen in at least half of the frames from its first to
    its last (what flickers is a false detection: the blended rim of a body in a compressed video). The first
    `ALLOWED` is free (the cut of a touching group), the rest is the score:
    error = (hidden - `ALLOWED`) / (1 - `ALLOWED`). Needs no state beyond the number of objects: NaN for a
    truth of one. Blind to bodies that shrink as they pass, and to walls.
    """
    if len(truth.bodies) < 2:
        return math.nan
    worst = 0.0
    for o in range(tracks.present.shape[1]):
        frames = np.flatnonzero(tracks.present[:, o])
        between = np.arange(frames[0], frames[-1] + 1)
        if 2 * len(frames) < len(between):
            continue
        place = np.stack([np.interp(between, frames, tracks.position[frames, o, k]) for k in (0, 1)], axis=-1)
        hidden = np.where(tracks.edge[between, o], 0.0, 1 - tracks.visible[between, o])
        for k in np.flatnonzero(np.arange(tracks.present.shape[1]) != o):
            apart = np.linalg.norm(tracks.position[between, k] - place, axis=-1)
            near = tracks.present[between, k] & (apart < tracks.radius[o] + tracks.radius[k])
            worst = max(worst, float(np.max(hidden[near], initial=0.0)))
    return 1 - max(worst - ALLOWED, 0.0) / (1 - ALLOWED)
