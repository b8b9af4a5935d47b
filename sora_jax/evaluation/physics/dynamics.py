"""Motion against an exact state: velocity, place, steadiness, gravity, energy, momentum.

`metric(tracks, truth) -> score` in [0, 1], 1 best. Each is 1 - mean(min(error / E, 1)) with the constant E
named beside it; NaN is decided by the truth alone (`truth.py`), and what the truth shows and the tracks do
not is the worst error. World units: the frame's short side is 10.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.state_metrics import match_state
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState

WORST_VELOCITY = 4.0  # units/s: a typical object (speeds are 1.7 to 9.2) that stands still, or nearly so
FREE_VELOCITY = 0.03  # units/s that are free: what the grid of 64 pixels does to a small object at 8 frames/s
WORST_PLACE = 4.0  # units: two diameters of a middling object away, it is another place
WORST_SHAKE = 1.0  # units: a jump by a radius at every frame
GIVEN = 3  # frames that a model may be given, which say nothing of its gravity
LEAST_FALL = (6, 0.5)  # frames and seconds of free flight from which gravity can be read to 2 %
LEAST = 3  # frames between contacts that show a velocity


class Seen(NamedTuple):
    """Tracks in the truth's order and frames: place, where there is one, where it is cut of a group."""

    place: Float[np.ndarray, "f o 2"]
    present: Bool[np.ndarray, "f o"]
    touching: Bool[np.ndarray, "f o"]


def seen_places(tracks: Tracks, truth: SceneState) -> Seen:
    """The track of each of the truth's objects (`state_metrics.match_state`)."""
    frames, objects = truth.alive.shape
    position, present = np.zeros((frames, objects, 2)), np.zeros((frames, objects), bool)
    touching = present.copy()
    both = min(frames, tracks.frames)
    for i, o in enumerate(match_state(tracks, truth)):
        if o >= 0:
            present[:both, i] = tracks.present[:both, o]
            position[:both, i] = np.nan_to_num(tracks.position[:both, o])
            touching[:both, i] = tracks.touching[:both, o]
    return Seen(position, present, touching)


def true_places(truth: SceneState) -> Seen:
    """The truth itself, where it is wholly seen."""
    clear = truth_lib.clear(truth)
    return Seen(truth.position.astype(np.float64), clear, np.zeros_like(clear))


def usable(seen: Seen, i: int, frames: np.ndarray) -> np.ndarray:
    """The frames that show object `i`, those cut of a touching group (less exact) only if not two remain."""
    shown = frames[seen.present[frames, i]]
    free = shown[~seen.touching[shown, i]]
    return free if len(free) > 1 else shown


def shares(errors: np.ndarray | list[float]) -> float:
    """1 - the mean of errors that are already shares of the worst; NaN if there are none."""
    errors = np.asarray(errors, np.float64)
    return 1 - float(np.minimum(errors, 1).mean()) if errors.size else math.nan


def velocity(tracks: Tracks, truth: SceneState) -> float:
    """Mean over steps of |v - v_true| / `WORST_VELOCITY`, v from frame to frame.

    Steps: the object is wholly seen in both frames and touches nothing between. A frame that lacks the object
    is the worst error (a velocity error over what is left to see is blind to a ball that vanishes); an error
    of `FREE_VELOCITY` is free. Kang et al. 2024 (arXiv 2411.02385), Sec. 3; Differs: missing frames count,
    and each error is bounded.
    Blind to where the object is, to its look, and to objects that should not be there.
    """
    place, present, _ = seen_places(tracks, truth)
    clear = truth_lib.clear(truth)
    used = clear[1:] & clear[:-1] & ~truth_lib.struck(truth)[1:]
    found = present[1:] & present[:-1]
    wrong = np.linalg.norm(np.diff(place - truth.position, axis=0), axis=-1) * tracks.fps
    wrong = np.maximum(wrong - FREE_VELOCITY, 0) / WORST_VELOCITY
    return shares(np.where(found, wrong, 1.0)[used])


def position(tracks: Tracks, truth: SceneState) -> float:
    """Mean of |p - p_true| / `WORST_PLACE` over objects and the frames that show them wholly.

    A frame that lacks the object is the worst error. Blind to looks and to objects that should not be there.
    """
    place, present, _ = seen_places(tracks, truth)
    wrong = np.linalg.norm(place - truth.position, axis=-1) / WORST_PLACE
    return shares(np.where(present, wrong, 1.0)[truth_lib.clear(truth)])


def steadiness(tracks: Tracks, truth: SceneState) -> float:
    """Mean of |second difference over frames of p - p_true| / `WORST_SHAKE`, contacts left out.

    Of white jitter of deviation s per axis it is sqrt(3 pi) s on average. Blind to every smooth motion that
    is wrong at a constant velocity, and to absence: only triples of frames that show the object enter; an
    object without one where the truth has one is the worst error.
    """
    place, present, _ = seen_places(tracks, truth)
    clear, touched = truth_lib.clear(truth), truth_lib.struck(truth)
    used = clear[2:] & clear[1:-1] & clear[:-2] & ~touched[1:-1] & ~touched[2:]
    found = used & present[2:] & present[1:-1] & present[:-2]
    shake = np.linalg.norm(np.diff(place - truth.position, n=2, axis=0), axis=-1) / WORST_SHAKE
    lost = used.any(axis=0) & ~found.any(axis=0)
    return shares([*shake[found], *np.ones(int(lost.sum()))])


def gravity(tracks: Tracks, truth: SceneState) -> float:
    """Mean over falling objects of |g - g_true| / g_true, g from a least-squares parabola of the height.

    Frames: from the fourth on, wholly seen, `LEAST_FALL` at least. The worst error is g_true itself: no
    gravity, or twice as much. Blind to sideways motion, to the first velocity, and to a wrong direction of g
    that leaves its vertical part alone.
    """
    g = truth_lib.gravity(truth, fps=tracks.fps)
    place, present, _ = seen_places(tracks, truth)
    clear, errors = truth_lib.clear(truth), []
    for i in range(len(truth.bodies)):
        due = np.flatnonzero(clear[:, i])
        due = due[due >= GIVEN]
        if len(due) < LEAST_FALL[0] or (due[-1] - due[0]) / tracks.fps < LEAST_FALL[1] or g[1] > -0.5:
            continue
        rim = np.abs(place[:, i]) + truth.bodies[i].radius < np.array(tracks.half_extent)
        used = due[present[due, i] & rim[due].all(axis=-1)]
        if len(used) < LEAST_FALL[0] - 2:
            errors.append(1.0)
            continue
        curve = np.polynomial.polynomial.polyfit((used - used[0]) / tracks.fps, place[used, i, 1], 2)
        errors.append(abs(2 * float(curve[2]) - g[1]) / abs(g[1]))
    return shares(errors)


def _systems(truth: SceneState) -> list[list[np.ndarray]]:
    """Stretches without any contact: of each, every object's frames; those that show all objects."""
    touched = np.asarray(truth_lib.struck(truth).any(axis=1))
    clear = truth_lib.clear(truth)
    found = []
    for start, stop in truth_lib.flights(touched):
        frames = np.arange(start, stop)
        mine = [frames[clear[frames, i]] for i in range(len(truth.bodies))]
        if min(map(len, mine)) >= LEAST:
            found.append(mine)
    return found


def _totals(seen: Seen, truth: SceneState, *, fps: float) -> list[tuple[float, np.ndarray] | None]:
    """Energy and momentum of all objects in each of `_systems`; None where an object cannot be measured."""
    g = truth_lib.gravity(truth, fps=fps)
    totals: list[tuple[float, np.ndarray] | None] = []
    for mine in _systems(truth):
        energy, momentum = 0.0, np.zeros(2)
        for i, frames in enumerate(mine):
            used = usable(seen, i, frames)
            if len(used) < 2:
                break
            at, v = truth_lib.fit_motion(seen.place[used, i], (used - used[0]) / fps, gravity=g)
            mass = truth.bodies[i].mass
            energy += mass * float(v @ v / 2 - g @ at)
            momentum = momentum + mass * v
        else:
            totals.append((energy, momentum))
            continue
        totals.append(None)
    return totals


def _drift(tracks: Tracks, truth: SceneState, *, part: int, scale: float) -> float:
    true = _totals(true_places(truth), truth, fps=tracks.fps)
    seen = _totals(seen_places(tracks, truth), truth, fps=tracks.fps)
    if len(true) < 2 or scale <= 0:
        return math.nan
    errors = []
    for a, b in zip(true[1:], seen[1:], strict=True):
        if b is None or seen[0] is None or a is None or true[0] is None:
            errors.append(1.0)
        else:
            change = np.subtract(b[part], seen[0][part]) - np.subtract(a[part], true[0][part])
            errors.append(float(np.linalg.norm(change)) / scale)
    return shares(errors)


def energy(tracks: Tracks, truth: SceneState) -> float:
    """Mean over stretches between contacts of |(E_k - E_0) - true (E_k - E_0)| / (greatest true kinetic E).

    E = sum of m v^2 / 2 - m g . p, with the true masses and velocities fitted per stretch. Spin is not
    seen: a corner that takes up spin loses the same in the truth. The worst drift is all the kinetic
    energy. Blind to directions, and to gains and losses among objects that leave the sum alone.
    """
    mass = np.array([b.mass for b in truth.bodies])
    kinetic = (mass * (truth.velocity**2).sum(axis=-1)).sum(axis=-1) / 2
    return _drift(tracks, truth, part=0, scale=float(kinetic.max()))


def momentum(tracks: Tracks, truth: SceneState) -> float:
    """Mean over stretches between contacts of |P_k - P_0| / sum m |v| at the start, P = sum of m v.

    For objects that touch only each other, where the true P is constant. The worst drift is all the momentum
    there is. Blind to energy: an inelastic hit keeps P.
    """
    mass = np.array([b.mass for b in truth.bodies])
    scale = float((mass * np.linalg.norm(truth.velocity[0], axis=-1)).sum())
    return _drift(tracks, truth, part=1, scale=scale)
