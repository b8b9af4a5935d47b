"""Edits of what happens behind a screen: who comes back from it, when, where and as what.

Where all of the return is changed, the change is made in the middle of the time in which nothing is seen.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.edits import Shot, hidden, moved, relooked
from sora_jax.evaluation.physics.edits_looks import OTHER_SHAPE, stranger
from sora_jax.evaluation.physics.permanence import Passage, passages
from sora_jax.types import Body, SceneState

LEAST_DUE = 6  # frames after the return, for doses that are shares of them


def _passage(state: SceneState) -> Passage | None:
    """The first that leaves enough frames."""
    return next((p for p in passages(state) if len(p.due) >= LEAST_DUE), None)


def _some(passage: Passage, dose: float) -> int:
    return max(1, round(dose * len(passage.due)))


def _late(state: SceneState, passage: Passage, dose: float) -> np.ndarray:
    """Frames from the last share `dose` of the due ones on; of all of them, from within the occlusion."""
    count = _some(passage, dose)
    first = passage.due[-count] if count < len(passage.due) else (passage.start + passage.stop) // 2
    return np.arange(first, len(state.position))


def gone(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """It is not there in the last share `dose` of the frames after the occlusion."""
    del rng, shot
    passage = _passage(state)
    return passage and hidden(state, passage.body, _late(state, passage, dose))


def delayed(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """It is not there in the first share `dose` of the frames after the occlusion.

    It is back in the last one that shows it wholly, so that its place and its shape can still be read.
    """
    del rng, shot
    passage = _passage(state)
    if passage is None:
        return None
    whole = np.flatnonzero(truth_lib.clear(state)[passage.due, passage.body])
    last = whole[-1] if len(whole) else len(passage.due) - 1
    back = passage.due[min(_some(passage, dose), last)]
    return hidden(state, passage.body, np.arange((passage.start + passage.stop) // 2, back))


def shifted(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """It comes back `dose` radii above or below its path, within the frame and the screen's height."""
    passage = _passage(state)
    if passage is None:
        return None
    late = np.arange((passage.start + passage.stop) // 2, len(state.position))
    body, place = state.bodies[passage.body], state.position.copy()
    side = -1.0 if place[late, passage.body, 1].mean() > 0 else 1.0
    place[late, passage.body, 1] += side * dose * body.radius
    del rng
    if (np.abs(place[late, passage.body, 1]) + body.radius > shot.half[1]).any():
        return None
    return moved(state, place)


def _as(state: SceneState, dose: float, look) -> SceneState | None:
    passage = _passage(state)
    if passage is None:
        return None
    body: Body = look(state.bodies[passage.body])
    return relooked(state, passage.body, body, _late(state, passage, dose))


def recolored(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """It has a colour that none had in the last share `dose` of the frames after the occlusion."""
    del shot
    color = stranger(state, rng)
    return _as(state, dose, lambda body: dataclasses.replace(body, color=color))


def reshaped(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """It has another shape, of the same area, in the last share `dose` of those that show it whole."""
    del rng, shot
    passage = _passage(state)
    if passage is None:
        return None
    passage = passage._replace(due=passage.due[truth_lib.clear(state)[passage.due, passage.body]])
    if len(passage.due) < LEAST_DUE - 2:
        return None
    body = state.bodies[passage.body]
    other = dataclasses.replace(body, shape=OTHER_SHAPE[body.shape])
    return relooked(state, passage.body, other, _late(state, passage, dose))


def swapped(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Another object altogether, of another colour and shape, in the last share `dose` of these frames."""
    del shot
    color = stranger(state, rng)
    return _as(
        state, dose, lambda body: dataclasses.replace(body, color=color, shape=OTHER_SHAPE[body.shape])
    )
