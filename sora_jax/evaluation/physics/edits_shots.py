"""Edits of shots and of the order of events: cuts uncalled for, another cast, time squeezed and turned."""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.evaluation.physics import order
from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.edits import Shot, moved, relooked
from sora_jax.evaluation.physics.edits_looks import OTHER_SHAPE, stranger
from sora_jax.evaluation.physics.shots import LINK, true_cuts
from sora_jax.types import SceneState

SPACE = 3  # frames between cuts, at least


def cut_more(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """`dose` more cuts: from each on, every object is mirrored left to right, upside down, or both."""
    del shot
    position, used, left = state.position.copy(), true_cuts(state), round(dose)
    frames = len(position)
    for f in rng.permutation(np.arange(SPACE, frames - SPACE)).tolist():
        if not left:
            break
        if min(abs(f - k) for k in used) < SPACE:
            continue
        for flip in rng.permutation([[-1, 1], [1, -1], [-1, -1]]):
            step = np.linalg.norm(position[f] * flip - position[f - 1], axis=-1)
            if (step > LINK + 0.5).all():
                position[f:] = position[f:] * flip
                used, left = [*used, f], left - 1
                break
    return None if left else moved(state, position)


def _replaced(state: SceneState, dose: float, rng: np.random.Generator, *, shape: bool) -> SceneState | None:
    """One member of the cast has another colour (and shape) in the last share of the frames after a cut."""
    cuts = true_cuts(state)
    if not cuts:
        return None
    clear = truth_lib.clear(state)
    clear[: cuts[0]] = False
    i = int(clear.sum(axis=0).argmax())
    frames = np.flatnonzero(clear[:, i])
    if len(frames) < 6:
        return None
    body = dataclasses.replace(state.bodies[i], color=stranger(state, rng))
    if shape:
        body = dataclasses.replace(body, shape=OTHER_SHAPE[body.shape])
    first = cuts[0] if dose >= 1 else frames[-max(1, round(dose * len(frames)))]
    return relooked(state, i, body, np.arange(first, len(state.position)))


def impostor(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Somebody else, of another colour and shape, in the place of one of the cast."""
    del shot
    return _replaced(state, dose, rng, shape=True)


def recolored(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """One of the cast has another colour."""
    del shot
    return _replaced(state, dose, rng, shape=False)


def reordered(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The time from the first event to the second is 1 - dose times as long; below 0 the clip runs backwards.

    What comes after goes on at its own pace and then stands still.
    """
    del rng
    if (told := order.told(state)) is None:
        return None
    first, second = (event[0] * shot.fps for event in told)
    frames, scale = np.arange(len(state.position), dtype=float), abs(1 - dose)
    squeezed = first + (second - first) * scale
    when = np.where(
        frames < first,
        frames,
        np.where(
            frames < squeezed,
            first + (frames - first) / max(scale, 1e-6),
            second + frames - squeezed,
        ),
    )
    when = np.minimum(when, len(frames) - 1)
    when = when[::-1] if dose > 1 else when
    place = np.empty_like(state.position)
    for i in range(place.shape[1]):
        for axis in (0, 1):
            place[:, i, axis] = np.interp(when, frames, state.position[:, i, axis])
    return moved(state, place)
