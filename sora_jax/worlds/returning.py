"""Scenes of things that leave the frame and come back: thrown over its top, or off a wall beyond its edge."""

from __future__ import annotations

import math

import numpy as np

from sora_jax.types import SceneState
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import simulate
from sora_jax.worlds.placing import TRIES, Draw, Item, add_resting, compose, looks, tilt
from sora_jax.worlds.scene import Scene

GRAVITY = (5.0, 8.0)  # world units/s^2
BEYOND = (0.2, 2.0)  # world units between an object at an unseen wall and the frame
LEAST_SECONDS = 1.2  # of a clip in which that has room
SEEN, GONE = 2, 2  # frames at least that it is wholly seen, first and last, and wholly gone between


def find(draw: Draw) -> Scene | None:
    """An object that leaves and returns, alone or beside one at rest; None where no draw comes to that."""
    if draw.seconds < LEAST_SECONDS:
        return None
    groups = looks(draw, draw.pick((1, 2), (0.65, 0.35)), grouped=False)
    for _ in range(4 * TRIES):
        mover = Item(body=groups[0][0], angle=tilt(draw, groups[0][0]))
        if len(groups) == 1 and draw.rng.random() < 0.4:
            more = _throw(draw, mover)
        else:
            more = _send_to_a_wall(draw, mover)
        items = [mover]
        for group in groups[1:]:
            add_resting(draw, items, group)
        draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
        scene = compose(draw, "returns", items, **more)
        if len(items) == len(groups) and returns(simulate.evolve(scene), scene, items.index(mover)):
            return scene
    return None


def _send_to_a_wall(draw: Draw, item: Item) -> dict:
    """Straight on over an edge, and back from a wall behind it."""
    word = draw.pick(scene_lib.CARDINAL)
    low, high = scene_lib.SPEEDS[draw.pick(tuple(scene_lib.SPEEDS), (0.25, 0.45, 0.3))]
    speed, angle = draw.between(low, high), scene_lib.DIRECTIONS[word] + draw.between(-0.06, 0.06)
    item.vx, item.vy = speed * math.cos(angle), speed * math.sin(angle)
    (half_x, half_y), reach = draw.half, scene_lib.reach(item.body)
    item.x = draw.between(reach - half_x, half_x - reach)
    item.y = draw.between(reach - half_y, half_y - reach)
    return {"contacts": True, "box": True, "margin": 2 * reach + draw.between(*BEYOND)}


def _throw(draw: Draw, item: Item) -> dict:
    """Up, over the top edge, and down again."""
    gravity, seconds = draw.between(*GRAVITY), draw.seconds
    (half_x, half_y), reach = draw.half, scene_lib.reach(item.body)
    item.x = draw.between(reach - half_x, half_x - reach)
    item.y = draw.between(reach - half_y, 0.0)
    item.vx = draw.pick((0.0, draw.between(-1, 1) * half_x / max(seconds, 1.0)))
    item.vy = draw.between(0.35, 0.6) * gravity * seconds
    return {"gravity": (0.0, -gravity)}


def returns(state: SceneState, scene: Scene, k: int) -> bool:
    """Whether object `k` is in view at both ends and gone once between, each wholly, and touches no other."""
    over = np.abs(state.position[:, k]) - np.array(scene_lib.extent(scene.height, scene.width))
    reach = scene_lib.reach(scene.bodies[k])
    whole, gone = np.all(over < -reach, axis=1), np.any(over > reach, axis=1)
    once = np.sum(np.diff(gone.astype(int)) == 1) == 1 and gone.sum() >= GONE
    return bool(once and whole[:SEEN].all() and whole[-SEEN:].all() and not state.contact.any())
