"""Edits of long motion: time that runs slow or runs down, drift to the middle, more friction."""

from __future__ import annotations

import numpy as np

from sora_jax.evaluation.physics.edits import Shot, moved
from sora_jax.types import SceneState


def _at(state: SceneState, when: np.ndarray) -> SceneState:
    """The state with frame f showing the instant `when[f]`, in frames."""
    frames = np.arange(len(state.position))
    place, angle = np.empty_like(state.position), np.empty_like(state.angle)
    for i in range(place.shape[1]):
        angle[:, i] = np.interp(when, frames, state.angle[:, i])
        for axis in (0, 1):
            place[:, i, axis] = np.interp(when, frames, state.position[:, i, axis])
    return moved(state, place, angle)


def slowed(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Everything at 1 / (1 + dose) of its pace: every period is longer by the share `dose`."""
    del rng, shot
    return _at(state, np.arange(len(state.position)) / (1 + dose))


def run_down(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Time goes ever slower, evenly in the logarithm, to 1 / (1 + dose) of its pace at the end."""
    del rng, shot
    frames = len(state.position)
    pace = (1 + dose) ** (-np.arange(frames - 1) / (frames - 1))
    return _at(state, np.concatenate([[0], np.cumsum(pace)]))


def drifted(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """All places drift from the first frame on, evenly, to the share `dose` of the way to the middle."""
    del rng, shot
    share = np.linspace(0, dose, len(state.position))[:, None, None]
    return moved(state, state.position * (1 - share))


def rougher(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Deceleration x (1 + dose): every slide ends sooner and shorter."""
    del rng
    start, speed = state.position[0].astype(float), state.velocity[0].astype(float)
    pace = np.maximum(np.linalg.norm(speed, axis=-1), 1e-9)
    length = np.linalg.norm(state.position[-1] - state.position[0], axis=-1)
    slowing = (1 + dose) * pace**2 / (2 * np.maximum(length, 1e-9))
    seconds = np.minimum(np.arange(len(state.position))[:, None] / shot.fps, pace / slowing)
    along = pace * seconds - slowing * seconds**2 / 2
    return moved(state, start + along[..., None] * speed / pace[:, None])
