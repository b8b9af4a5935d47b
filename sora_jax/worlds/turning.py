"""Scenes of a thing that comes to another way, smoothly, and often to other looks.

What a connection of two videos has to show, and a way back to a loop's beginning.
"""

from __future__ import annotations

import numpy as np

from sora_jax.types import Body
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import simulate
from sora_jax.worlds.placing import TRIES, Draw, Item, compose, looks, tilt, velocity
from sora_jax.worlds.scene import Scene, Turn

LEAST_SECONDS = 1.0  # of a clip in which that has room
BECOMES = 0.6  # share of the clips in which its looks change
RESTS = 0.2  # share of the ways that are none
START, LENGTH = (0.15, 0.4), (0.3, 0.5)  # of the turn, shares of the clip
FASTEST = 10.0  # world units/s, anywhere


def find(draw: Draw) -> Scene | None:
    """One object that turns, in view throughout; None where no draw comes to that."""
    if draw.seconds < LEAST_SECONDS:
        return None
    groups = looks(draw, 2 if draw.rng.random() < BECOMES else 1, grouped=False)
    bodies = [group[0] for group in groups]
    for _ in range(4 * TRIES):
        start = draw.between(*START) * draw.seconds
        first = _somewhere(draw, bodies[0])
        last = _somewhere(draw, bodies[-1])
        turn = Turn(
            start=start,
            end=start + draw.between(*LENGTH) * draw.seconds,
            position=(last.x, last.y),
            velocity=(last.vx, last.vy),
            angle=last.angle,
            into=bodies[1] if len(bodies) > 1 else None,
        )
        scene = compose(draw, "turns", [first], turn=turn)
        state = simulate.evolve(scene)
        reach = max(map(scene_lib.reach, bodies))
        pace = np.linalg.norm(state.velocity[:, 0], axis=1).max()
        if (np.abs(state.position[:, 0]) + reach < draw.half).all() and pace < FASTEST:
            return scene
    return None


def _somewhere(draw: Draw, body: Body) -> Item:
    """The body anywhere in view, on a way of its own or at rest."""
    (half_x, half_y), reach = draw.half, scene_lib.reach(body)
    vx, vy = (0.0, 0.0) if draw.rng.random() < RESTS else velocity(draw, body)
    return Item(
        body=body,
        x=draw.between(reach - half_x, half_x - reach),
        y=draw.between(reach - half_y, half_y - reach),
        vx=vx,
        vy=vy,
        angle=tilt(draw, body),
    )
