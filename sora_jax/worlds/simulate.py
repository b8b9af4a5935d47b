"""From a scene to its exact state at every frame: closed forms where nothing touches, else pymunk."""

from __future__ import annotations

import functools
import math

import numpy as np
import pymunk

from sora_jax.types import SceneState
from sora_jax.worlds import facts as facts_lib
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.scene import Scene

STEP_RATE = 240.0  # pymunk steps per second, at least
WALLS = ("left wall", "right wall", "floor", "ceiling")
SIDES = (("on the left", "on the right"), ("at the bottom", "at the top"))


def simulate(scene: Scene) -> tuple[np.ndarray, SceneState]:
    """The frames `[f h w 3]` uint8 of a scene and its state (see `types.SceneState`)."""
    return state_lib.film(evolve(scene), height=scene.height, width=scene.width)


def evolve(scene: Scene) -> SceneState:
    """The state of a scene at every frame, not yet drawn (nothing is known of what can be seen)."""
    if scene.turn is not None:
        return _turning(scene, scene.turn)
    shots = (scene, *scene.later)
    lengths = [shot.frames for shot in shots]
    starts = np.cumsum([0, *lengths[:-1]]) / scene.fps
    *arrays, events = zip(*map(_motion, shots), strict=True)
    position, velocity, angle, contact, wall_contact = map(np.concatenate, arrays)
    return state_lib.make(
        scene.bodies,
        position,
        velocity,
        angle,
        contact=contact,
        wall_contact=wall_contact,
        family=scene.family,
        events=tuple(
            (start + seconds, *event)
            for own, start in zip(events, starts.tolist(), strict=True)
            for seconds, *event in own
        ),
        background=scene.background,
        shot=np.repeat(np.arange(len(shots), dtype=np.int32), lengths) if scene.later else None,
    )


def _turning(scene: Scene, turn: scene_lib.Turn) -> SceneState:
    """The state of an object that comes to another way, and of what it becomes."""
    seconds = (np.arange(scene.frames) / scene.fps)[:, None]
    length, share = turn.end - turn.start, (seconds - turn.start) / (turn.end - turn.start)
    begun, later = scene.velocity[0], np.array(turn.velocity)
    ends = scene.position[0] + turn.start * begun, np.array(turn.position)
    s = share.clip(0, 1)
    # The cubic Hermite basis, and its slope by s.
    basis = 2 * s**3 - 3 * s**2 + 1, 3 * s**2 - 2 * s**3, s**3 - 2 * s**2 + s, s**3 - s**2
    slope = 6 * s**2 - 6 * s, 6 * s - 6 * s**2, 3 * s**2 - 4 * s + 1, 3 * s**2 - 2 * s
    knots = ends[0], ends[1], length * begun, length * later
    curve, tangent = (sum(b * k for b, k in zip(bs, knots, strict=True)) for bs in (basis, slope))
    before, after = share < 0, share > 1
    position = np.where(before, scene.position[0] + seconds * begun, curve)
    position = np.where(after, ends[1] + (seconds - turn.end) * later, position)
    velocity = np.where(before, begun, np.where(after, later, tangent / length))
    angle = (1 - s) * scene.angle[0] + s * turn.angle
    bodies = (*scene.bodies, turn.into) if turn.into else scene.bodies
    more = {}
    if turn.into:
        turned = s[:, 0].astype(np.float32)
        more["turned"] = turned
        more["alive"] = np.stack([turned < 0.5, turned >= 0.5], 1)
        more["events"] = ((turn.start, facts_lib.BECOMES, 0, 1),)
    for_each = functools.partial(np.repeat, repeats=len(bodies), axis=1)
    return state_lib.make(
        bodies,
        for_each(position[:, None]),
        for_each(velocity[:, None]),
        for_each(angle),
        family=scene.family,
        background=scene.background,
        **more,
    )


def _motion(shot: Scene):
    """(position, velocity, angle, contact, wall_contact, events) of one shot."""
    *arrays, events = _with_contacts(shot) if shot.contacts or shot.box else _in_closed_form(shot)
    if shot.family == "returns":
        events = sorted([*events, *absences(shot, arrays[0])])
    return *arrays, events


def absences(scene: Scene, position: np.ndarray) -> list[tuple[float, str, int, int]]:
    """Of a scene of things that return: the first instant without each that is gone for a while."""
    half = np.array(scene_lib.extent(scene.height, scene.width))
    found = []
    for k, body in enumerate(scene.bodies):
        over = np.abs(position[:, k]) - half - scene_lib.reach(body)
        change = np.diff((over > 0).any(1).astype(int))
        for first in 1 + np.flatnonzero(change == 1):
            if (change[first:] == -1).any():
                axis = int(over[first].argmax())
                side = SIDES[axis][int(position[first, k, axis] > 0)]
                found.append((first / scene.fps, f"leaves {side} and comes back", k, -1))
    return found


def _in_closed_form(scene: Scene):
    frames, objects = scene.frames, len(scene.bodies)
    seconds = (np.arange(frames) / scene.fps)[:, None, None]
    gravity = np.array(scene.gravity)
    velocity = scene.velocity + seconds * gravity
    position = scene.position + seconds * scene.velocity + seconds**2 / 2 * gravity
    angle = scene.angle + seconds[:, :, 0] * scene.spin
    contact = np.zeros((frames, objects, objects), bool)
    return position, velocity, angle, contact, np.zeros((frames, objects), bool), _throws(scene)


def _throws(scene: Scene) -> list[tuple[float, str, int, int]]:
    """Under gravity, what is let go or thrown at the first instant."""
    if scene.gravity == (0.0, 0.0):
        return []
    return [(0.0, throw_verb(x, y), k, -1) for k, (x, y) in enumerate(scene.velocity.tolist())]


def throw_verb(x: float, y: float) -> str:
    """What a person says of a body let go with velocity (x, y) in a field of gravity."""
    if x == 0 and y <= 0:
        return "falls"
    return f"is thrown {scene_lib.direction_word(x, y)}"


def _with_contacts(scene: Scene):
    space = pymunk.Space()
    space.gravity = scene.gravity
    space.collision_slop = 0.01
    made = [_add_body(space, scene, k) for k in range(len(scene.bodies))]
    if scene.box:
        _add_walls(space, scene)
    frames, objects = scene.frames, len(made)
    contact = np.zeros((frames, objects, objects), bool)
    wall_contact = np.zeros((frames, objects), bool)
    events = _throws(scene)
    clock = {"frame": 0, "seconds": 0.0}

    def touched(arbiter, _space, _data):
        first, second = sorted(shape.collision_type for shape in arbiter.shapes)
        frame, seconds = clock["frame"], clock["seconds"]
        if second > objects:  # walls are numbered after the objects
            wall_contact[frame, first - 1] = True
            if scene.margin == 0:  # else nobody sees the wall
                wall = WALLS[second - objects - 1]
                events.append((seconds, f"bounces off the {wall}", first - 1, -1))
        else:
            a, b = first - 1, second - 1
            contact[frame, a, b] = contact[frame, b, a] = True
            events.append((seconds, "hits", *_striker(made, arbiter, a, b)))

    space.on_collision(begin=touched)
    steps = math.ceil(STEP_RATE / scene.fps)
    step = 1 / (scene.fps * steps)
    moments = np.empty((frames, objects, 5))
    for frame in range(frames):
        clock["frame"] = frame
        for k in range(steps if frame else 0):
            clock["seconds"] = round((frame - 1) / scene.fps + k * step, 4)
            space.step(step)
        moments[frame] = [(*b.position, *b.velocity, b.angle) for b in made]
    return moments[..., :2], moments[..., 2:4], moments[..., 4], contact, wall_contact, events


def _striker(made: list[pymunk.Body], arbiter, a: int, b: int) -> tuple[int, int]:
    """The two objects in the order (hits, is hit): the one that approaches the other faster comes first."""
    line = made[b].position - made[a].position
    return (a, b) if made[a].velocity.dot(line) >= -made[b].velocity.dot(line) else (b, a)


def _add_body(space: pymunk.Space, scene: Scene, k: int) -> pymunk.Body:
    body = scene.bodies[k]
    if body.shape == "circle":
        made = pymunk.Body(body.mass, pymunk.moment_for_circle(body.mass, 0, body.radius))
        shape = pymunk.Circle(made, body.radius)
    else:
        corners = [tuple(c) for c in scene_lib.outline(body.shape, body.radius).tolist()]
        made = pymunk.Body(body.mass, pymunk.moment_for_poly(body.mass, corners))
        shape = pymunk.Poly(made, corners)
    made.position = tuple(scene.position[k].tolist())
    made.velocity = tuple(scene.velocity[k].tolist())
    made.angle, made.angular_velocity = float(scene.angle[k]), float(scene.spin[k])
    shape.elasticity, shape.friction, shape.collision_type = body.restitution, 0.0, k + 1
    space.add(made, shape)
    return made


def _add_walls(space: pymunk.Space, scene: Scene) -> None:
    x, y = (half + scene.margin for half in scene_lib.extent(scene.height, scene.width))
    thick, far = 5.0, 60.0  # thick enough that nothing passes through within a step
    ends = (
        ((-x - thick, -far), (-x - thick, far)),
        ((x + thick, -far), (x + thick, far)),
        ((-far, -y - thick), (far, -y - thick)),
        ((-far, y + thick), (far, y + thick)),
    )
    for number, (a, b) in enumerate(ends):
        wall = pymunk.Segment(space.static_body, a, b, thick)
        wall.elasticity, wall.friction = 1.0, 0.0
        wall.collision_type = len(scene.bodies) + number + 1
        space.add(wall)
