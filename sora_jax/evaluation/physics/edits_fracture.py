"""Edits of breaking: too late, without cause, undone, with pieces that are lost or too small.

A body that is whole stays in view where its pieces would have left it: so its area in view differs too.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sora_jax.evaluation.physics.edits import Shot, added, hidden
from sora_jax.evaluation.physics.fracture import TARGET, pieces_of, struck_at, unmistaken
from sora_jax.types import SceneState
from sora_jax.worlds.bench.breaking import tiling

SPREAD = 1.5  # world units/s at which the pieces of an uncalled break fly apart
APART = 0.3  # world units by which they are apart at once, so that the break shows


def _after(state: SceneState) -> np.ndarray:
    return np.arange(struck_at(state), len(state.position))


def _whole(state: SceneState, frames: np.ndarray) -> SceneState:
    """The target instead of its pieces, in some frames, where it would be if it had stayed whole."""
    alive = state.alive.copy()
    for piece in pieces_of(state):
        alive[frames, piece] = False
    alive[frames, TARGET] = True
    return dataclasses.replace(state, alive=alive)


def late(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The body stays whole for the first share `dose` of the frames after a hard hit."""
    del rng, shot
    after = _after(state)
    return _whole(state, after[: max(1, round(dose * len(after)))]) if pieces_of(state) else None


def merged(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The body is whole again for the last share `dose` of the frames in which its pieces are in view."""
    del rng, shot
    if not (pieces := pieces_of(state)):
        return None
    shown = np.flatnonzero(((state.visible * state.alive)[:, pieces] > 0.5).sum(axis=1) >= 2)
    if len(shown) < 5:
        return None
    return _whole(state, np.arange(shown[-max(1, round(dose * len(shown)))], len(state.position)))


def uncalled(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """After a soft hit, which should not, the body breaks: in the last share `dose` of the frames."""
    del rng
    if pieces_of(state):
        return None
    frames, body = len(state.position), state.bodies[TARGET]
    broken = np.arange(frames) >= frames - max(1, round(dose * frames))
    radius, offsets, angles, shape = tiling(body.shape, body.radius)
    turn = float(state.angle[0, TARGET])
    offsets = offsets @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    ways = offsets / np.maximum(np.hypot(*offsets.T), 0.1)[:, None]
    since = np.maximum(np.arange(frames) - broken.argmax(), 0) / shot.fps
    piece = dataclasses.replace(body, shape=shape, radius=radius)
    edited = hidden(state, TARGET, np.flatnonzero(broken))
    for offset, way, angle in zip(offsets, ways, angles, strict=True):
        path = state.position[:, TARGET] + offset + (APART + SPREAD * since)[:, None] * way
        edited = added(edited, piece, path, angle=turn + angle, alive=broken)
    return edited


def lost(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The piece that is in view with others longest is not there for the last share `dose` of that time."""
    del rng, shot
    if not (pieces := pieces_of(state)):
        return None
    shown = (state.visible * state.alive)[:, pieces] > 0.5
    shown &= ((shown.sum(axis=1) >= 2) & unmistaken(state))[:, None]
    k = int(shown.sum(axis=0).argmax())
    frames = np.flatnonzero(shown[:, k])
    if len(frames) < 8:
        return None
    return hidden(state, pieces[k], np.arange(frames[-round(dose * len(frames))], len(state.position)))


def shrunk(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Every piece has its radius / (1 + dose)."""
    del rng, shot
    if not (pieces := pieces_of(state)):
        return None
    small = {
        k: dataclasses.replace(state.bodies[k], radius=state.bodies[k].radius / (1 + dose)) for k in pieces
    }
    return dataclasses.replace(state, bodies=tuple(small.get(k, b) for k, b in enumerate(state.bodies)))
