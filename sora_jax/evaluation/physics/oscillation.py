"""Laws over a long time: period, energy, friction, and errors that grow with the horizon.

`metric(tracks, truth) -> score` in [0, 1], 1 best. Every number is read of the video as it is of the truth's
own positions, so that an estimate's bias is in both. World units: the frame's short side is 10.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.dynamics import WORST_PLACE, seen_places, shares
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState

PARTS = 4  # of a clip, over each of which an energy is averaged
WORST_SLOPE = 0.5  # world units/s by which an error grows: another place (4 units) after 8 s
WORST_PERIOD = math.log(2)  # half or twice the period
LEAST_SLIDE = 5  # frames that show a deceleration
STILL = 0.1  # world units from where a slide ends: a pixel of 128
SPANS = (0.4, 2.5)  # of the true angular frequency, between which the video's is looked for


def _swing(place: Float[np.ndarray, "f o 2"], truth: SceneState) -> Float[np.ndarray, " f"]:
    """Coordinate of the first body along its true path's main axis; a pendulum's from below its pivot."""
    true = truth.position[:, 0].astype(float)
    home = (
        truth.position[:, 1].astype(float).mean(axis=0) if truth.family == "pendulum" else true.mean(axis=0)
    )
    axis = np.linalg.svd(true - true.mean(axis=0), full_matrices=False)[2][0]
    return (place[:, 0] - home) @ axis


def frequency(
    along: Float[np.ndarray, " k"], seconds: Float[np.ndarray, " k"], *, near: float, centered: bool
) -> float:
    """Angular frequency (radians/s) of the sinusoid that fits best, between `SPANS` times `near`.

    Least squares of a cos wt + b sin wt (+ c unless centered), w by a grid and then by Brent's method.
    """

    def misfit(w: float) -> float:
        columns = [np.cos(w * seconds), np.sin(w * seconds)] + ([] if centered else [np.ones_like(seconds)])
        basis = np.stack(columns, -1)
        return float(((along - basis @ np.linalg.lstsq(basis, along, rcond=None)[0]) ** 2).sum())

    grid = near * np.geomspace(*SPANS, 60)
    best = int(np.argmin([misfit(w) for w in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(minimize_scalar(misfit, bounds=(low, high), method="bounded").x)  # pyright: ignore


def _true_frequency(truth: SceneState, *, fps: float) -> float:
    """From the greatest speed over the greatest distance from rest, then fitted."""
    along = _swing(truth.position.astype(float), truth)
    centered = truth.family == "pendulum"
    speed = np.linalg.norm(truth.velocity[:, 0], axis=-1).max()
    near = float(speed / max(np.abs(along).max(), 1e-6))
    return frequency(along, np.arange(len(along)) / fps, near=near, centered=centered)


def period(tracks: Tracks, truth: SceneState) -> float:
    """1 - min(|ln(T / T_true)| / `WORST_PERIOD`, 1), T of the sinusoid that fits the first body's swing.

    0 of a body that is seen in fewer than half of the frames, or stands still. Blind to amplitude, phase and
    the swing's form.
    """
    place, present, _ = seen_places(tracks, truth)
    used = np.flatnonzero(present[:, 0])
    along = _swing(place, truth)
    scale = float(np.ptp(_swing(truth.position.astype(float), truth)))
    if len(used) < len(present) / 2 or np.ptp(along[used]) < 0.1 * scale:
        return 0.0
    true = _true_frequency(truth, fps=tracks.fps)
    seen = frequency(along[used], used / tracks.fps, near=true, centered=truth.family == "pendulum")
    return 1 - min(abs(math.log(seen / true)) / WORST_PERIOD, 1.0)


def _speeds(place: Float[np.ndarray, "f o 2"], *, fps: float) -> Float[np.ndarray, "f o"]:
    """Squared speed of central differences, NaN at the ends."""
    out = np.full(place.shape[:2], np.nan)
    out[1:-1] = (((place[2:] - place[:-2]) * fps / 2) ** 2).sum(axis=-1)
    return out


def _energies(place: Float[np.ndarray, "f o 2"], truth: SceneState, *, fps: float) -> Float[np.ndarray, " f"]:
    """Energy per frame of all that moves, of the law that the true motion obeys; kg units^2/s^2.

    A potential is fitted to the truth (v^2 / 2 + U = constant): of a pendulum U is linear in the height, of a
    spring quadratic along its axis, of discs in a box it is 0.
    """
    true = truth.position.astype(float)
    if truth.family == "billiards":
        return _speeds(place, fps=fps) @ [b.mass for b in truth.bodies] / 2

    def basis(where: np.ndarray) -> np.ndarray:
        along = _swing(where, truth)
        one = np.ones(len(along))
        return np.stack([one, where[:, 0, 1]] if truth.family == "pendulum" else [one, along, along**2], -1)

    kinetic = _speeds(true, fps=fps)[:, 0] / 2
    inner = slice(1, -1)
    law = np.linalg.lstsq(basis(true)[inner], kinetic[inner], rcond=None)[0]
    law[0] = 0  # the constant is the energy itself
    return truth.bodies[0].mass * (_speeds(place, fps=fps)[:, 0] / 2 - basis(place) @ law)


def energy(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean over `PARTS` parts of the clip of |E - E_true| / (greatest true kinetic energy), at most 1.

    A part in which the movers are not all seen for three frames in a row is the worst. Blind to where the
    motion goes as long as its energy is right.
    """
    place, present, _ = seen_places(tracks, truth)
    movers = np.ptp(truth.position, axis=0).max(axis=-1) > 0.1
    whole = np.asarray(present[:, movers].all(axis=1))
    whole[1:-1] &= whole[2:] & whole[:-2]
    seen = _energies(place, truth, fps=tracks.fps)
    true = _energies(truth.position.astype(float), truth, fps=tracks.fps)
    mass = np.array([b.mass for b in truth.bodies])
    most = float(((truth.velocity**2).sum(axis=-1) @ mass).max()) / 2
    wrong = []
    for part in np.array_split(np.arange(1, len(present) - 1), PARTS):
        used = part[whole[part]]
        wrong.append(abs(float((seen - true)[used].mean())) / most if len(used) else 1.0)
    return shares(wrong)


def horizon(tracks: Tracks, truth: SceneState) -> Float[np.ndarray, " f"]:
    """The curve of error against time: mean over objects of |p - p_true| in each frame, at most 4 units.

    Of the objects that the true frame shows wholly; `WORST_PLACE` for one not found, NaN where there is none.
    """
    place, present, _ = seen_places(tracks, truth)
    clear = truth_lib.clear(truth)
    apart = np.minimum(np.linalg.norm(place - truth.position, axis=-1), WORST_PLACE)
    total = (np.where(present, apart, WORST_PLACE) * clear).sum(axis=1)
    return np.where(clear.any(axis=1), total / np.maximum(clear.sum(axis=1), 1), np.nan)


def drift(tracks: Tracks, truth: SceneState) -> float:
    """1 - min(max(slope, 0) / `WORST_SLOPE`, 1), the slope of `horizon` over time by least squares.

    Of a video in which nothing is ever found the slope is 0: then the score is 0 by its mean error of
    `WORST_PLACE`. Blind to an error that is there from the start, and to one that comes and goes.
    """
    error = horizon(tracks, truth)
    used = np.flatnonzero(~np.isnan(error))
    if len(used) < 3:
        return math.nan
    if error[used].min() >= WORST_PLACE:
        return 0.0
    slope = float(np.polynomial.polynomial.polyfit(used / tracks.fps, error[used], 1)[1])
    return 1 - min(max(slope, 0.0) / WORST_SLOPE, 1.0)


def _slowing(along: Float[np.ndarray, " k"], seconds: Float[np.ndarray, " k"]) -> float | None:
    """Deceleration of a slide up to where it comes to rest; None if it is too short."""
    if len(along) < LEAST_SLIDE:
        return None
    rest = np.median(along[-3:])
    slides = np.abs(along - rest) > STILL
    count = int(np.flatnonzero(slides)[-1]) + 1 if slides.any() else 0
    if count < LEAST_SLIDE:
        return None
    return -2 * float(np.polynomial.polynomial.polyfit(seconds[:count], along[:count], 2)[2])


def friction(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean over sliding objects of min(|a - a_true| / a_true, 1), a the deceleration along the true path.

    From a parabola over the frames in which the object slides: in the video, while it is more than `STILL`
    from where it ends, however early. No friction, or twice as much, is the worst, and so is an object that
    slides for fewer than `LEAST_SLIDE` frames. Blind to the first speed, and to what comes after the rest.
    """
    place, present, _ = seen_places(tracks, truth)
    true, clear, wrong = truth.position.astype(float), truth_lib.clear(truth), []
    for i in range(len(truth.bodies)):
        pace = np.linalg.norm(truth.velocity[:, i], axis=-1)
        due = np.flatnonzero(clear[:, i])
        way = truth.velocity[0, i] / max(float(pace[0]), 1e-9)
        should = _slowing(true[due, i] @ way, due / tracks.fps)
        if should is None or not present[due, i].any():
            wrong += [] if should is None else [1.0]
            continue
        used = due[present[due, i]]
        found = _slowing(place[used, i] @ way, used / tracks.fps)
        wrong.append(1.0 if found is None else abs(found - should) / should)
    return shares(wrong)
