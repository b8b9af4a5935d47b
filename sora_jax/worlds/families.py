"""Samplers of scenes, one per family: each turns a random stream and a clip's size into a Scene."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.types import Body
from sora_jax.worlds import returning, turning
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.placing import (
    TRIES,
    Draw,
    Item,
    add_mover,
    add_resting,
    apart,
    compose,
    looks,
    place,
    span,
    tilt,
    velocity,
)
from sora_jax.worlds.placing import Heldout as Heldout
from sora_jax.worlds.scene import Family, Scene

GRAVITY = (5.0, 8.0)  # world units/s^2
FRAMES_PER_LATENT, LEAST_LATENTS = 4, 2  # of a shot: the autoencoder's step in time, see `patches`
COUNTS = {  # shares of 1, 2, 3, 4, 5 objects
    "uniform": (0.64, 0.21, 0.09, 0.04, 0.02),
    "parabola": (0.66, 0.22, 0.08, 0.04, 0.0),
    "bounce": (0.66, 0.24, 0.10, 0.0, 0.0),
    "collision": (0.0, 0.74, 0.17, 0.09, 0.0),
    "beside": (0.0, 0.66, 0.22, 0.08, 0.04),
    "arrangement": (0.45, 0.30, 0.14, 0.07, 0.04),
}


def sample(draw: Draw, family: Family) -> Scene:
    """A scene of the family that obeys `draw.heldout`; the same stream gives the same scene."""
    while True:
        scene = FAMILIES[family](draw)
        if draw.heldout == "any" or shows_held_out(scene) == (draw.heldout == "only"):
            return scene


def shows_held_out(scene: Scene) -> bool:
    """Whether an object is of a held-out (colour, shape) or sets out in a held-out (colour, direction)."""
    if any(map(shows_held_out, scene.later)):
        return True
    ways = list(zip(scene.bodies, scene.velocity.tolist(), strict=True))
    if scene.turn is not None:
        ways.append((scene.turn.into or scene.bodies[0], list(scene.turn.velocity)))
    for body, (x, y) in ways:
        word = scene_lib.direction_word(x, y) if x or y else None
        if scene_lib.held_out(body.color, body.shape, direction=word):
            return True
    return False


def _count(draw: Draw, family: Family) -> int:
    return draw.pick((1, 2, 3, 4, 5), COUNTS[family])


def uniform(draw: Draw) -> Scene:
    """1-5 objects on straight lines at constant speed."""
    items: list[Item] = []
    for group in looks(draw, _count(draw, "uniform"), grouped=True):
        add_mover(draw, items, group)
    return compose(draw, "uniform", items) if items else uniform(draw)


def arrangement(draw: Draw) -> Scene:
    """1-5 objects at rest, side by side."""
    items: list[Item] = []
    for group in looks(draw, _count(draw, "arrangement"), grouped=True):
        add_resting(draw, items, group)
    draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
    return compose(draw, "arrangement", items) if items else arrangement(draw)


def beside(draw: Draw) -> Scene:
    """Objects at rest beside one moving group."""
    items: list[Item] = []
    groups = looks(draw, _count(draw, "beside"), grouped=True)
    if len(groups) == 1:
        groups = looks(draw, 2, grouped=False)
    add_mover(draw, items, groups[0])
    for group in groups[1:]:
        add_resting(draw, items, group)
    draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
    return compose(draw, "beside", items) if items else beside(draw)


def parabola(draw: Draw) -> Scene:
    """Objects let go or thrown in one field of gravity; they share it and a group shares its throw."""
    gravity = draw.between(*GRAVITY)
    items: list[Item] = []
    for group in looks(draw, _count(draw, "parabola"), grouped=True):
        for _ in range(TRIES):
            angle, (vx, vy) = tilt(draw, group[0]), _throw(draw, gravity)
            placed = [Item(body=b, vx=vx, vy=vy, angle=angle) for b in group]
            so_far = list(items)
            if all(_launch(draw, i, so_far, gravity) and so_far.append(i) is None for i in placed):
                items.extend(placed)
                break
    if not items:
        return uniform(draw)
    return compose(draw, "parabola", items, gravity=(0.0, -gravity))


def _throw(draw: Draw, gravity: float) -> tuple[float, float]:
    """Velocity of a fall (0, 0), or of a throw straight up, sideways or aslant."""
    seconds, (half_x, half_y) = draw.seconds, draw.half
    kind = draw.pick(("fall", "up", "aslant", "level"), (0.35, 0.25, 0.25, 0.15))
    if kind == "fall":
        return 0.0, 0.0
    side = draw.pick((-1.0, 1.0))
    across = side * draw.between(0.25, 0.8) * 2 * half_x / max(seconds, 1.0)
    rise = draw.between(0.9, 1.3) * min(gravity * seconds / 2 + 1, math.sqrt(2 * gravity * half_y))
    if kind == "up":
        return 0.0, rise
    return across, abs(across) * draw.between(0.8, 1.25) if kind == "aslant" else 0.0


def _launch(draw: Draw, item: Item, others: list[Item], gravity: float) -> bool:
    """Place an item whose path bends: in view for 85 % of the clip, then it may sink below the frame."""
    reach, seconds = scene_lib.reach(item.body), draw.seconds
    half_x, half_y = draw.half
    late = 0.85 * seconds
    drop = item.vy * late - gravity * late**2 / 2
    top = max(item.vy, 0.0)
    apex = top * min(top / gravity, seconds) - gravity * min(top / gravity, seconds) ** 2 / 2
    low = max(-half_y + reach + 0.1, -half_y - reach - drop)
    high = half_y - reach - 0.1 - apex
    left, right = span(half_x - reach - 0.1, item.vx * seconds, reach)
    if low > high or left > right:
        return False
    for x, y in draw.rng.uniform((left, low), (right, high), (TRIES // 4, 2)).tolist():
        item.x, item.y = x, y
        if all(apart(item, other, seconds=seconds) for other in others):
            return True
    return False


def bounce(draw: Draw) -> Scene:
    """1-3 objects in a closed box, the frame; sometimes with gravity, then dropped."""
    gravity = draw.between(*GRAVITY) if draw.rng.random() < 0.3 else 0.0
    groups = looks(draw, _count(draw, "bounce"), grouped=False)
    items: list[Item] = []
    restitution = 0.85 if gravity else 1.0
    for (look,) in groups:
        body = dataclasses.replace(look, restitution=restitution)
        item = Item(body=body, angle=tilt(draw, body))
        if not place(draw, item, items):
            continue
        for _ in range(8):  # rather a velocity that meets a wall before the clip ends
            item.vx, item.vy = velocity(draw, body)
            if not _stays(draw, item):
                break
        if gravity:
            item.vx, item.vy = (0.0 if draw.rng.random() < 0.5 else item.vx / 2), 0.0
        items.append(item)
    return compose(draw, "bounce", items, gravity=(0.0, -gravity), contacts=True, box=True)


def _stays(draw: Draw, item: Item) -> bool:
    """Whether an item in free motion is still within the frame after 80 % of the clip."""
    seconds, room = 0.8 * draw.seconds, item.body.radius
    half_x, half_y = draw.half
    x, y = abs(item.x + item.vx * seconds), abs(item.y + item.vy * seconds)
    return x < half_x - room and y < half_y - room


def collision(draw: Draw) -> Scene:
    """2-4 bodies, of which the first is aimed at the second, which rests or comes to meet it."""
    groups = looks(draw, _count(draw, "collision"), grouped=False)
    for _ in range(TRIES):
        items = _head_on(draw, groups[0][0], groups[1][0])
        if items is None:
            continue
        for (body,) in groups[2:]:
            item = Item(body=body, angle=tilt(draw, body))
            if place(draw, item, items):
                items.append(item)
        draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
        return compose(draw, "collision", items, contacts=True)
    return beside(draw)


def _head_on(draw: Draw, first: Body, second: Body) -> list[Item] | None:
    """Two bodies, in view at the start, that meet at 30 to 70 % of the clip; None if they do not fit."""
    vx, vy = velocity(draw, first)
    meets = draw.between(0.3, 0.7) * draw.seconds
    if math.hypot(vx, vy) * (draw.seconds - meets) > 7.0:  # most of the aftermath would be out of view
        return None
    share = draw.between(0.6, 1.0) if draw.rng.random() < 0.4 else 0.0  # of the speed, the other way
    a = Item(body=first, vx=vx, vy=vy, angle=tilt(draw, first))
    b = Item(body=second, vx=-share * vx, vy=-share * vy, angle=tilt(draw, second))
    speed = math.hypot(vx, vy)
    touching = (first.radius + second.radius) * 0.95
    away = touching + speed * (1 + share) * meets
    if away < scene_lib.reach(first) + scene_lib.reach(second) + 0.2:
        return None
    aside = draw.between(-0.25, 0.25) * touching
    dx, dy = vx / speed * away - vy / speed * aside, vy / speed * away + vx / speed * aside
    half_x, half_y = draw.half
    spans = []
    for half, d in ((half_x, dx), (half_y, dy)):
        ra, rb = half - scene_lib.reach(first), half - scene_lib.reach(second)
        spans.append((max(-ra, -rb - d), min(ra, rb - d)))
    if any(low > high for low, high in spans):
        return None
    a.x, a.y = (draw.between(low, high) for low, high in spans)
    b.x, b.y = a.x + dx, a.y + dy
    return [a, b]


def cuts(draw: Draw) -> Scene:
    """One or two objects in two or three shots; at a cut all are elsewhere. A short clip has one shot.

    A shot begins with a latent frame (of 4 frames; the first is of one), and has two of them at least.
    """
    lengths = _shot_lengths(draw)
    cast = [body for (body,) in looks(draw, draw.pick((1, 2), (0.6, 0.4)), grouped=False)]
    made: list[Scene] = []
    for length in lengths:
        shot = _shot(dataclasses.replace(draw, frames=length), cast, made[-1] if made else None)
        if shot is None:
            return uniform(draw)
        made.append(shot)
    return dataclasses.replace(made[0], later=tuple(made[1:]))


def _shot_lengths(draw: Draw) -> list[int]:
    """Frames of every shot, summing to the clip's."""
    latents = (draw.frames - 1) // FRAMES_PER_LATENT + 1
    count = 1 if latents < 2 * LEAST_LATENTS else 2
    if latents >= 3 * LEAST_LATENTS and draw.rng.random() < 0.4:
        count = 3
    spare = latents - LEAST_LATENTS * count
    extra = np.diff([0, *np.sort(draw.rng.integers(0, spare + 1, count - 1)), spare])
    lengths = (FRAMES_PER_LATENT * (extra + LEAST_LATENTS)).tolist()
    lengths[0] += draw.frames - sum(lengths)
    return lengths


def _shot(draw: Draw, cast: Sequence[Body], before: Scene | None) -> Scene | None:
    """The cast, moving or at rest, each member far from where the shot before left it; None if none fits."""
    for _ in range(TRIES):
        items: list[Item] = []
        for body in cast:
            add = add_mover if draw.rng.random() < 0.75 else add_resting
            add(draw, items, [body])
        if [item.body for item in items] != list(cast):
            continue
        scene = compose(draw, "cuts", items)
        if before is None:
            return scene
        last = before.position + before.velocity * (before.frames / before.fps)
        if np.hypot(*(scene.position - last).T).min() > 2.0:
            return scene
    return None


def returns(draw: Draw) -> Scene:
    """Something leaves the frame and comes back (`returning`); too short a clip shows plain motion."""
    return returning.find(draw) or uniform(draw)


def turns(draw: Draw) -> Scene:
    """Something comes to another way, and perhaps to other looks; too short a clip shows plain motion."""
    return turning.find(draw) or uniform(draw)


FAMILIES: dict[Family, Callable[[Draw], Scene]] = {
    "uniform": uniform,
    "parabola": parabola,
    "bounce": bounce,
    "collision": collision,
    "beside": beside,
    "arrangement": arrangement,
    "cuts": cuts,
    "returns": returns,
    "turns": turns,
}
