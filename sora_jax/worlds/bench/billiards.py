"""Discs in a box without friction, from one impact to the next in closed form.

Between impacts every disc moves in a straight line, so the next impact is the least root of a quadratic (two
discs) or a linear equation (disc and wall); an impact exchanges the normal parts of the velocities with
restitution 1. Energy sum(m v^2 / 2) is kept to rounding, and momentum between discs too.
"""

from __future__ import annotations

import math

import numpy as np

from sora_jax.types import Body, SceneState
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.case import PLAIN, Event, Variant, capital, cast, frame_after, listed, noun
from sora_jax.worlds.placing import Draw, Item, place
from sora_jax.worlds.simulate import WALLS


def billiards(draw: Draw) -> tuple[Variant, ...]:
    """2-5 discs that bounce off each other and off the frame's edges, for as long as the clip lasts."""
    items: list[Item] = []
    count = draw.pick((2, 3, 4, 5))
    for body in cast(draw, count, shapes=("circle",), sizes=("small", "small", "medium")):
        item = Item(body=body)
        if place(draw, item, items):
            pace, way = draw.between(1.5, 5.0), draw.between(-math.pi, math.pi)
            item.vx, item.vy = pace * math.cos(way), pace * math.sin(way)
            items.append(item)
    bodies = tuple(i.body for i in items)
    where, speed = np.array([(i.x, i.y) for i in items]), np.array([(i.vx, i.vy) for i in items])
    state = rolled(draw, bodies, where, speed, family="billiards")
    nouns = listed([noun(b, size=True) for b in bodies])
    captions = {
        "short": f"{listed([noun(b) for b in bodies])} bounce around in a box",
        "descriptive": f"{capital(nouns)} bounce off each other and off the walls of a box. {PLAIN}",
    }
    energy = sum(b.mass * float(v @ v) for b, v in zip(bodies, speed, strict=True)) / 2
    return (Variant(name="valid", state=state, captions=captions, measures={"energy": energy}),)


def rolled(
    draw: Draw, bodies: tuple[Body, ...], where: np.ndarray, speed: np.ndarray, *, family: str
) -> SceneState:
    """The state of discs that start at `where` with `speed` (`[o 2]`) in the box that the frame is."""
    radius, mass = np.array([b.radius for b in bodies]), np.array([b.mass for b in bodies])
    position, velocity, impacts = roll(
        where, speed, radius, mass, half=draw.half, frames=draw.frames, fps=draw.fps
    )
    contact = np.zeros((draw.frames, len(bodies), len(bodies)), bool)
    wall_contact = np.zeros((draw.frames, len(bodies)), bool)
    events: list[Event] = []
    for seconds, i, j in impacts:
        frame = min(frame_after(seconds, draw.fps), draw.frames - 1)
        if j >= 0:
            contact[frame, i, j] = contact[frame, j, i] = True
            events.append((seconds, "hits", i, j))
        else:
            wall_contact[frame, i] = True
            events.append((seconds, f"bounces off the {WALLS[-1 - j]}", i, -1))
    return state_lib.make(
        bodies,
        position,
        velocity,
        np.zeros(position.shape[:2]),
        family=family,
        events=tuple(events),
        contact=contact,
        wall_contact=wall_contact,
    )


def roll(
    where: np.ndarray,
    speed: np.ndarray,
    radius: np.ndarray,
    mass: np.ndarray,
    *,
    half: tuple[float, float],
    frames: int,
    fps: float,
) -> tuple[np.ndarray, np.ndarray, list[tuple[float, int, int]]]:
    """Position and velocity `[f o 2]` at every frame, and the impacts (seconds, disc, other disc or wall).

    Args:
      where, speed: `[o 2]` at frame 0, in world units (per second); radius, mass: `[o]`.
      half: half the box's width and height.
      frames: of the clip; fps: frames per second.

    A wall is -1 (left), -2 (right), -3 (floor) or -4 (ceiling).
    """
    where, speed = where.astype(np.float64).copy(), speed.astype(np.float64).copy()
    position, velocity = np.empty((2, frames, *where.shape))
    impacts, now = [], 0.0
    for frame in range(frames):
        goal = frame / fps
        while True:
            wait, i, j = _next(where, speed, radius, half)
            if now + wait > goal:
                break
            where += wait * speed
            now = float(now + wait)
            _bounce(where, speed, mass, i, j)
            impacts.append((now, i, j))
        where += (goal - now) * speed
        now = goal
        position[frame], velocity[frame] = where, speed
    return position, velocity, impacts


def _next(where, speed, radius, half) -> tuple[float, int, int]:
    """Seconds to the next impact, and between what; of a disc that leaves, none is due."""
    best = (math.inf, -1, -1)
    for axis in (0, 1):
        for side in (-1, 1):
            away = speed[:, axis] * side
            gap = np.maximum(half[axis] - radius - side * where[:, axis], 0)
            wait = np.where(away > 0, gap / np.where(away > 0, away, 1), np.inf)
            i = int(wait.argmin())
            best = min(best, (float(wait[i]), i, -1 - (2 * axis + (side > 0))))
    for i in range(len(where)):
        for j in range(i + 1, len(where)):
            d, v = where[j] - where[i], speed[j] - speed[i]
            closing, square = float(d @ v), float(v @ v)
            if closing >= 0:
                continue
            gap = max(float(d @ d) - (radius[i] + radius[j]) ** 2, 0.0)
            root = closing**2 - square * gap
            if root >= 0:
                best = min(best, (gap / (-closing + math.sqrt(root)), i, j))
    return best


def _bounce(where, speed, mass, i: int, j: int) -> None:
    """Change the velocities (in place) by an elastic impact of disc i with disc j, or with wall j < 0."""
    if j < 0:
        axis = (-1 - j) // 2
        speed[i, axis] *= -1
        return
    line = where[j] - where[i]
    line = line / np.linalg.norm(line)
    impulse = 2 * mass[i] * mass[j] / (mass[i] + mass[j]) * ((speed[i] - speed[j]) @ line)
    speed[i] -= impulse / mass[i] * line
    speed[j] += impulse / mass[j] * line
