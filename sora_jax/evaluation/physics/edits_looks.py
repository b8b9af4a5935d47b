"""Edits of who is there and how they look: visitors, gaps, twins, exchanges, colours, shapes, sizes."""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.edits import Shot, added, hidden, inside, moved, relooked, room
from sora_jax.types import Body, SceneState, Shape
from sora_jax.worlds import scene as scene_lib

ROUND: tuple[Shape, ...] = ("circle", "square", "triangle")  # of like extents: no bar
MARGIN = 0.2  # world units beyond a step, from where a vanishing might be excused

OTHER_SHAPE: dict[Shape, Shape] = {
    "circle": "square",
    "square": "triangle",
    "triangle": "circle",
    "bar": "circle",
}


def stranger(state: SceneState, rng: np.random.Generator) -> str:
    """A colour that none of the scene has."""
    used = {b.color for b in state.bodies}
    return str(rng.choice([c for c in scene_lib.COLORS if c not in used]))


def _stretch(share: float, frames: int, rng: np.random.Generator) -> np.ndarray:
    """A run of frames of about the share, at a random time."""
    length = min(max(1, round(share * frames)), frames)
    start = int(rng.integers(0, frames - length + 1))
    return np.arange(start, start + length)


def _mask(frames: np.ndarray, count: int) -> np.ndarray:
    alive = np.zeros(count, bool)
    alive[frames] = True
    return alive


def _away_from_edges(state: SceneState, shot: Shot) -> np.ndarray:
    """[f o] where an object is wholly seen, over a step from the edges and the others: no end is excused."""
    clear = truth_lib.clear(state)
    step = np.linalg.norm(np.gradient(state.position, axis=0), axis=-1) if len(clear) > 1 else 0.0 * clear
    for i, body in enumerate(state.bodies):
        reach, room = scene_lib.reach(body), step[:, i] + MARGIN
        clear[:, i] &= (np.abs(state.position[:, i]) + (reach + room)[:, None] < shot.half).all(axis=-1)
        for k, other in enumerate(state.bodies):
            if k != i:
                apart = np.linalg.norm(state.position[:, k] - state.position[:, i], axis=-1)
                clear[:, i] &= apart > reach + scene_lib.reach(other) + step[:, k] + room
    return clear


def visited(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """A small object of a colour that none has rests in free space for the share `dose` of the frames."""
    body = scene_lib.body(str(rng.choice(("circle", "square"))), stranger(state, rng), "small")  # pyright: ignore
    path = room(state, body, rng=rng, shot=shot)
    if path is None:
        return None
    frames = len(state.position)
    return added(state, body, path, alive=_mask(_stretch(dose, frames, rng), frames))


def doubled(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """A twin of one object rests in free space for the share `dose` of the frames that show it clear."""
    frames, clear = len(state.position), _away_from_edges(state, shot)
    for i in rng.permutation(len(state.bodies)):
        path, shown = room(state, state.bodies[i], rng=rng, shot=shot), np.flatnonzero(clear[:, i])
        if path is not None and len(shown) >= 6:
            mask = _mask(shown[_stretch(dose, len(shown), rng)], frames)
            return added(state, state.bodies[i], path, angle=float(state.angle[0, i]), alive=mask)
    return None


def vanished(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """One object is not there for the share `dose` of the frames, having been clear of everything."""
    clear, frames = _away_from_edges(state, shot), len(state.position)
    for i in rng.permutation(len(state.bodies)):
        for _ in range(8):
            gap = _stretch(dose, frames, rng)
            if (
                gap[0] > 0
                and clear[gap[0] - 1 : gap[0] + 1, i].all()
                and truth_lib.clear(state)[gap, i].all()
            ):
                return hidden(state, int(i), gap)
    return None


def blinked(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """`dose` gaps of one frame each, in objects clear of everything."""
    clear = _away_from_edges(state, shot)
    for _ in range(20):
        edited, left = state, round(dose)
        for f in rng.permutation(np.arange(1, len(state.position) - 1)):
            fit = np.flatnonzero(clear[f - 1 : f + 2].all(axis=0) & edited.alive[f - 1 : f + 2].all(axis=0))
            if left and len(fit):
                edited, left = hidden(edited, int(rng.choice(fit)), np.array([f])), left - 1
        if not left:
            return edited
    return None


def _two_colors(state: SceneState, rng: np.random.Generator, *, shapes: bool) -> tuple[int, int] | None:
    """Two objects of different colours (and shapes), seen together as long as any."""
    clear, best, pair = truth_lib.clear(state), 2, None
    count = len(state.bodies)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    for a, b in rng.permutation(pairs).tolist():
        one, two = state.bodies[a], state.bodies[b]
        if one.color == two.color or (shapes and one.shape == two.shape):
            continue
        if (both := int((clear[:, a] & clear[:, b]).sum())) > best:
            best, pair = both, (a, b)
    return pair


def exchanged(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Two objects of different colours change places `dose` times, each time between two frames."""
    pair = _two_colors(state, rng, shapes=False)
    if pair is None:
        return None
    a, b = pair
    clear = truth_lib.clear(state)
    both = np.flatnonzero(clear[1:, a] & clear[1:, b] & clear[:-1, a] & clear[:-1, b]) + 1
    both = both[::2]  # never twice in a row
    if len(both) < dose:
        return None
    position = state.position.copy()
    for f in np.sort(rng.choice(both, round(dose), replace=False)):
        position[f:, [a, b]] = position[f:, [b, a]]
    seen = np.flatnonzero(clear[:, a] & clear[:, b])
    if not all(inside(state, i, position[:, i], frames=seen, shot=shot, margin=-0.5) for i in pair):
        return None
    return moved(state, position)


def recolored(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """One object has a colour that none had for the last share `dose` of the frames that show it."""
    del shot
    seen = (state.visible > 0.5) & state.alive
    i = int(rng.choice(np.flatnonzero(seen.sum(axis=0) == seen.sum(axis=0).max())))
    frames = np.flatnonzero(seen[:, i])
    late = np.arange(frames[-max(1, round(dose * len(frames)))], len(state.position))
    return relooked(state, i, dataclasses.replace(state.bodies[i], color=stranger(state, rng)), late)


def swapped(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Two objects of different colours and shapes have each other's colour in the last share `dose`."""
    del shot
    pair = _two_colors(state, rng, shapes=True)
    if pair is None:
        return None
    a, b = (state.bodies[k] for k in pair)
    seen = np.flatnonzero(truth_lib.clear(state)[:, list(pair)].all(axis=1))
    late = np.arange(seen[-max(1, round(dose * len(seen)))], len(state.position))
    edited = relooked(state, pair[0], dataclasses.replace(a, color=b.color), late)
    return relooked(edited, pair[1], dataclasses.replace(b, color=a.color), late)


def _other_shape(state: SceneState, i: int) -> Shape:
    """A shape that none of the scene has, else the next one."""
    used: set[Shape] = {b.shape for b in state.bodies}
    strange: list[Shape] = [s for s in ROUND if s not in used]
    other: list[Shape] = [s for s in ROUND if s != state.bodies[i].shape]
    return (strange or other)[0]


def reshaped(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """One object has another shape, of the same area, for the last share `dose` of the frames that show it.

    Of the frames in which the other shape too is within the frame and clear of the rest; elsewhere it keeps
    its own, so that nothing new touches.
    """
    best: tuple[np.ndarray, int, Body] | None = None
    for i in rng.permutation(len(state.bodies)).tolist():
        look = dataclasses.replace(state.bodies[i], shape=_other_shape(state, i))
        path = state.position[:, i]
        fit = truth_lib.clear(state)[:, i] & (np.abs(path) + scene_lib.reach(look) + 0.3 < shot.half).all(
            axis=-1
        )
        for k, other in enumerate(state.bodies):
            near = scene_lib.reach(look) + scene_lib.reach(other) + 0.3
            fit &= (k == i) | (np.linalg.norm(state.position[:, k] - path, axis=-1) > near)
        if best is None or fit.sum() > len(best[0]):
            best = np.flatnonzero(fit), i, look
    if best is None or len(best[0]) < 6:
        return None
    frames, i, look = best
    return relooked(state, i, look, frames[-max(1, round(dose * len(frames))) :])


def resized(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Every radius / (1 + dose), all clip long; smaller, so that nothing touches that did not."""
    del rng, shot
    bodies = tuple(dataclasses.replace(b, radius=b.radius / (1 + dose)) for b in state.bodies)
    return dataclasses.replace(state, bodies=bodies)


def shrunk(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Every radius goes from its own to 1 / (1 + dose) of it over the clip, evenly in the logarithm."""
    del rng, shot
    edited, frames = state, len(state.position)
    for i, body in enumerate(state.bodies):
        for f in range(1, frames):
            now = dataclasses.replace(body, radius=body.radius * (1 + dose) ** (-f / (frames - 1)))
            edited = relooked(edited, i, now, np.array([f]))
    return edited
