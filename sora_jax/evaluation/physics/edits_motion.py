"""Edits of motion: speed, heading, gravity, jumps, what contacts do, time played backwards."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.edits import Shot, free, inside, last, moved
from sora_jax.types import SceneState
from sora_jax.worlds.scene import Family, Scene
from sora_jax.worlds.simulate import simulate

GIVEN = 3  # frames that stay as they were where a violation begins later
SINK = ((-3, -1, 0, 2), (0.0, 0.7, 1.0, 0.0))  # frames from a hit; the share of its depth
MOVES = 0.3  # world units over the clip: less is rest


def _movers(state: SceneState) -> np.ndarray:
    return np.flatnonzero(np.linalg.norm(state.position[-1] - state.position[0], axis=-1) > MOVES)


def slower(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Every path at 1 / (1 + dose) of its speed; slower, so that nothing leaves the frame early."""
    del rng, shot
    if not len(_movers(state)):
        return None
    start = state.position[:1]
    return moved(state, start + (state.position - start) / (1 + dose))


def turned(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Every moving path turned by `dose` degrees about its middle; None where it would meet another."""
    del shot
    movers = _movers(state)
    angle = math.radians(dose) * rng.choice((-1, 1))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    position, every = state.position.astype(float), np.arange(len(state.position))
    for i in movers:
        middle = (position[0, i] + position[-1, i]) / 2
        position[:, i] = (position[:, i] - middle) @ turn.T + middle
    edited = moved(state, position)
    if not len(movers) or not all(free(edited, int(i), position[:, i], frames=every) for i in movers):
        return None
    return edited


def heavier(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Gravity x (1 + dose) after the given frames."""
    del rng
    g = truth_lib.gravity(state, fps=shot.fps)
    if not g.any():
        return None
    late = np.maximum(np.arange(len(state.position)) - (GIVEN - 1), 0) / shot.fps
    return moved(state, state.position + 0.5 * dose * late[:, None, None] ** 2 * g)


def jumped(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """One object's path from some frame on is shifted by `dose` world units; it stays in view and clear."""
    frames = len(state.position)
    clear = truth_lib.clear(state)
    f = int(rng.integers(GIVEN, max(frames - GIVEN, GIVEN + 1)))
    late = np.arange(f, frames)
    for i in rng.permutation(len(state.bodies)):
        if not clear[:, i].all():
            continue
        for angle in rng.uniform(-math.pi, math.pi, 24):
            path = state.position[:, i].astype(float)
            path[late] += dose * np.array([math.cos(angle), math.sin(angle)])
            if free(state, int(i), path, frames=late) and inside(state, int(i), path, frames=late, shot=shot):
                position = state.position.copy()
                position[:, i] = path
                return moved(state, position)
    return None


def shaken(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """White noise of deviation `dose` world units per axis on every position of every frame."""
    del shot
    return moved(state, state.position + rng.normal(0, dose, state.position.shape))


def backwards(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The last share `dose` of the frames in reverse order; None where what moves has left before them."""
    del rng, shot
    movers, frames = _movers(state), len(state.position)
    if not truth_lib.clear(state)[-3:, movers].all(axis=0).any():
        return None
    late, order = np.arange(frames - max(2, round(dose * frames)), frames), np.arange(frames)
    order[late] = late[::-1]
    return moved(state, state.position[order], state.angle[order])


def mirrored(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The last share `dose` of the frames with left and right exchanged."""
    del rng, shot
    late, position, angle = last(state, dose), state.position.copy(), state.angle.copy()
    position[late, :, 0] *= -1
    angle[late] *= -1
    return moved(state, position, angle)


def cut_off(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The last share `dose` of the frames shifted as a whole, so that one object's centre is at the border.

    So a clip looks that was cropped beside its subject. The shift is the same in all these frames; of the
    four borders it is the one at which what comes to lie there moves least, so that it is not lost.
    """
    del rng
    late, position = last(state, dose), state.position.astype(float)
    sides = [(axis, sign) for axis in (0, 1) for sign in (-1.0, 1.0)]
    outermost = [(sign * position[late, :, axis]).max(axis=1) for axis, sign in sides]
    k = int(np.argmin([np.ptp(places) for places in outermost]))
    axis, sign = sides[k]
    position[late, :, axis] += sign * (shot.half[axis] - outermost[k].min())
    return moved(state, position)


def flipped(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The last share `dose` of the frames upside down."""
    del rng, shot
    late, position, angle = last(state, dose), state.position.copy(), state.angle.copy()
    position[late, :, 1] *= -1
    angle[late] = math.pi - angle[late]
    return moved(state, position, angle)


def _again(state: SceneState, shot: Shot, *, bounce: float) -> SceneState | None:
    """The scene simulated anew with every restitution lower by `bounce`."""
    if not truth_lib.struck(state).any():
        return None
    bodies = tuple(dataclasses.replace(b, restitution=max(b.restitution - bounce, 0.0)) for b in state.bodies)
    family: Family = "bounce" if state.family == "bounce" else "collision"
    spin = (state.angle[1] - state.angle[0]).astype(float) * shot.fps
    scene = Scene(
        family=family,
        bodies=bodies,
        position=state.position[0].astype(float),
        velocity=state.velocity[0].astype(float),
        angle=state.angle[0].astype(float),
        spin=spin,
        gravity=tuple(truth_lib.gravity(state, fps=shot.fps).tolist()),
        contacts=True,
        box=family == "bounce",
        frames=len(state.position),
        height=shot.height,
        width=shot.width,
        fps=shot.fps,
    )
    _, anew = simulate(scene)
    return moved(state, anew.position, anew.angle)


def dulled(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """Restitution of every contact lower by `dose`, simulated anew."""
    del rng
    return _again(state, shot, bounce=dose)


def sunk(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """About their first hit two bodies come nearer than touching, by the share `dose` of their distance.

    Both are shifted along the line of centres, half each, rising and falling over `SINK` around the frame of
    the hit, in which the centres are (1 - dose) of the distance at which they touched, or of r_a + r_b if
    that is less.
    """
    del rng, shot
    hit = _first_hit(state)
    if hit is None:
        return None
    f, a, b = hit
    position = state.position.astype(float)
    line = position[:, b] - position[:, a]
    apart = np.linalg.norm(line, axis=-1)
    near = min(_touching(apart, f), state.bodies[a].radius + state.bodies[b].radius)
    shift = np.interp(np.arange(len(position)) - f, *SINK) * (apart[f] - (1 - dose) * near)
    step = line / apart[:, None] * np.minimum(shift, 0.95 * apart)[:, None] / 2
    position[:, a] += step
    position[:, b] -= step
    return moved(state, position)


def _touching(apart: np.ndarray, f: int) -> float:
    """Distance of two centres when they touched, between frames f - 1 and f: where its two lines meet."""
    into, out = apart[f - 1] - apart[f - 2], apart[f + 1] - apart[f]
    if out - into < 1e-6:
        return float(min(apart[f - 1], apart[f]))
    share = np.clip((apart[f - 1] - apart[f] + out) / (out - into), 0, 1)
    return float(apart[f - 1] + share * into)


def _first_hit(state: SceneState) -> tuple[int, int, int] | None:
    """Frame and objects of the first contact of two objects that leaves frames on either side."""
    if not state.contact.any():
        return None
    f, a, b = (int(k[0]) for k in np.nonzero(state.contact))
    return (f, a, b) if 2 < f < len(state.position) - 3 else None


def ghostly(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """After the first hit all goes on as the share `dose` of no contact and 1 - dose of the true path."""
    del rng
    hit = _first_hit(state)
    if hit is None:
        return None
    before = hit[0] - 1
    late = np.maximum(np.arange(len(state.position)) - before, 0)[:, None, None] / shot.fps
    on = state.position[before] + late * state.velocity[before]
    after = (late > 0) * dose
    return moved(state, (1 - after) * state.position + after * on)


def deflected(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """After the first hit the faster of the two goes on as fast, `dose` degrees off its true path."""
    del shot
    hit = _first_hit(state)
    if hit is None:
        return None
    f, a, b = hit
    pace = np.linalg.norm(state.velocity[f], axis=-1)
    i = a if pace[a] >= pace[b] else b
    late = np.arange(f, len(state.position))
    for sign in rng.permutation([-1.0, 1.0]):
        angle = math.radians(dose) * sign
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        position = state.position.astype(float)
        position[late, i] = (position[late, i] - position[f, i]) @ turn.T + position[f, i]
        rest = [k for k in range(len(state.bodies)) if k != i]
        near = np.linalg.norm(position[late][:, rest] - position[late, i][:, None], axis=-1)
        radii = np.array([state.bodies[k].radius + state.bodies[i].radius for k in rest])
        if (near > 0.9 * radii).all():
            return moved(state, position)
    return None
