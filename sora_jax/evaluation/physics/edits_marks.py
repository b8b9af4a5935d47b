"""Edits of marks: they heal, move, heal while nobody sees them, are not made, or are made without contact."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sora_jax.evaluation.physics.edits import Shot, draw
from sora_jax.evaluation.physics.marks import LEAST, TARGET, TOOL, marked_from
from sora_jax.types import Mark, SceneState
from sora_jax.worlds.bench.marking import BRUSH_SHARE
from sora_jax.worlds.scene import SHORT_SIDE

SEEN = 64  # of 255, by which a mark changes a pixel
STEP = 0.3  # of a disc's radius, between the discs of a stroke


def _mark(state: SceneState) -> Mark | None:
    return next((m for m in state.marks if m.kind in ("bite", "stroke")), None)


def _with(state: SceneState, mark: Mark, **changes) -> SceneState:
    return dataclasses.replace(state, marks=(dataclasses.replace(mark, **changes),))


def _shown(state: SceneState, shot: Shot) -> np.ndarray:
    """Frames in which the mark's pixels amount to twice the least area that is measured, or more."""
    apart = draw(state, shot).astype(int) - draw(dataclasses.replace(state, marks=()), shot)
    area = (np.abs(apart).max(axis=-1) > SEEN).sum(axis=(1, 2)) * (
        SHORT_SIDE / min(shot.height, shot.width)
    ) ** 2
    return np.flatnonzero(area >= 2 * LEAST)


def healed(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The mark is gone from the last share `dose` on of the frames after the contact that show it."""
    del rng
    if (mark := _mark(state)) is None:
        return None
    shown = _shown(state, shot)
    shown = shown[shown >= marked_from(state, fps=shot.fps)]
    if len(shown) < 5:
        return None
    end = shown[-max(1, round(dose * len(shown)))]
    return _with(state, mark, end=np.minimum(mark.end, end))


def displaced(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The mark is `dose` world units from its place: along the rim of the body, or anywhere on the canvas."""
    if (mark := _mark(state)) is None:
        return None
    points = mark.points.astype(np.float64)
    if mark.kind == "bite":
        angle = dose / state.bodies[mark.body].radius * rng.choice((-1, 1))
        cos, sin = math.cos(angle), math.sin(angle)
        points = points @ np.array([[cos, sin], [-sin, cos]])
    else:
        way = -points.mean(axis=0)  # to the middle, so that it stays in view
        points = points + dose * way / max(float(np.hypot(*way)), 1e-6)
    del shot
    return _with(state, mark, points=points.astype(np.float32))


def _fewer(mark: Mark, dose: float, end: np.ndarray) -> dict[str, np.ndarray]:
    """The last share `dose` of the discs (of a bite the deepest) with other ends."""
    lost = np.zeros(len(mark.points), bool)
    lost[len(lost) - max(1, round(dose * len(lost))) :] = True
    if mark.kind == "bite":
        lost = lost[np.argsort(np.argsort(-np.hypot(*mark.points.T), kind="stable"))]
    return {"end": np.where(lost, np.minimum(mark.end, end), mark.end).astype(np.int32)}


def healed_behind(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The share `dose` of the mark's discs are gone once the screen has passed over them."""
    del rng, shot
    mark, screens = _mark(state), np.flatnonzero(state.occluder)
    if mark is None or not len(screens):
        return None
    board = state.position[:, screens[0]]
    home = state.position[:, mark.body, 0] if mark.kind == "bite" else np.zeros(len(board))
    points = mark.points[:, 0] if mark.kind == "stroke" else np.zeros(len(mark.points))
    apart = np.abs(home[:, None] + points - board[:, :1])
    return _with(state, mark, **_fewer(mark, dose, apart.argmin(axis=0)))


def unmarked(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The share `dose` of the mark's discs are never made, though there is contact."""
    del rng, shot
    if (mark := _mark(state)) is None:
        return None
    return _with(state, mark, **_fewer(mark, dose, np.zeros(len(mark.points))))


def uncaused(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """A near miss leaves a mark: `dose` times the radius of a bite, or the length of a stroke."""
    del rng
    if _mark(state) is not None:
        return None
    first, frames = marked_from(state, fps=shot.fps), len(state.position)
    tool, target = state.bodies[TOOL], state.bodies[TARGET]
    if state.family == "bite":
        way = state.position[first, TOOL] - state.position[first, TARGET]
        angle = math.atan2(way[1], way[0]) - float(state.angle[first, TARGET])
        points = target.radius * np.array([[math.cos(angle), math.sin(angle)]])
        kind, body, radius, start = "bite", TARGET, dose * tool.radius, np.array([first])
    else:
        radius = BRUSH_SHARE * tool.radius
        path = state.position[first:, TOOL].astype(np.float64)
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
        at = np.arange(0, dose * along[-1], STEP * radius)
        points = np.stack([np.interp(at, along, path[:, k]) for k in (0, 1)], -1)
        kind, body, start = "stroke", TOOL, first + np.searchsorted(along, at)
    mark = Mark(
        kind=kind,
        body=body,
        color=target.color,
        radius=radius,
        points=points.astype(np.float32),
        start=start.astype(np.int32),
        end=np.full(len(points), frames, np.int32),
    )
    return dataclasses.replace(state, marks=(mark,))
