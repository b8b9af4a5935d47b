"""From a 3-D scene to the motion of its bodies, with MuJoCo's rigid-body dynamics."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sora_jax.worlds import gl, room3d
from sora_jax.worlds.scene3d import Scene3D

NEW_CONTACT = 0.25  # seconds without contact after which the next one is a new event
REST_GAP = 2e-3  # metres
FASTEST = 30.0  # m/s: more is no motion of these scenes
SLOW = 0.15  # m/s of approach: less is no impact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
    """The bodies' part of `types.SceneState3D`, in float64."""

    position: Float[np.ndarray, "f o 3"]
    orientation: Float[np.ndarray, "f o 4"]
    velocity: Float[np.ndarray, "f o 3"]
    angular_velocity: Float[np.ndarray, "f o 3"]
    contact: Bool[np.ndarray, "f o o"]
    fixture_contact: Bool[np.ndarray, "f o s"]
    events: tuple[tuple[float, str, int, int], ...]


def simulate(scene: Scene3D, model: Any) -> Motion:
    """The motion of a scene at the instants of its frames; `model` is `room3d.model(scene)`.

    Events: "hits" between two objects, "lands on the floor" of one that falls, at the first touch of each.

    Raises:
      FloatingPointError: the simulation has diverged.
    """
    mujoco = gl.load()
    data = mujoco.MjData(model)
    _set_velocity(scene, data)
    objects, fixtures = len(scene.bodies), room3d.fixtures(scene)
    owner = owners(model, objects, fixtures)
    contact = np.zeros((scene.frames, objects, objects), bool)
    fixture_contact = np.zeros((scene.frames, objects, len(fixtures)), bool)
    moments = np.empty((scene.frames, objects, 13))
    last: dict[tuple[int, int], float] = {}
    events: list[tuple[float, str, int, int]] = []
    steps = 0 if scene.family == "still" else round(1 / (scene.fps * model.opt.timestep))
    for frame in range(scene.frames):
        for _ in range(steps if frame else 0):
            speed = data.qvel.reshape(objects, 6)[:, :3].copy()
            mujoco.mj_step(model, data)
            for a, b in _touching(data, owner):
                if b < objects:
                    contact[frame, a, b] = contact[frame, b, a] = True
                else:
                    fixture_contact[frame, a, b - objects] = True
                # an object's touches of all fixtures count as one: off the ramp, onto the floor is no landing
                pair = (a, min(b, objects))
                if data.time - last.get(pair, -np.inf) > NEW_CONTACT:
                    events += _event(data, speed, a, b, objects)
                last[pair] = data.time
        if frame == 0 or not steps:
            _rest(mujoco, model, data, owner, contact[frame], fixture_contact[frame])
        moments[frame] = _moment(mujoco, model, data, objects)
    fastest = float(np.abs(moments[..., 7:10]).max(initial=0))
    if not fastest < FASTEST:
        raise FloatingPointError(f"{fastest} m/s in a {scene.family} scene: the contacts have diverged")
    return Motion(
        position=moments[..., :3],
        orientation=moments[..., 3:7],
        velocity=moments[..., 7:10],
        angular_velocity=moments[..., 10:],
        contact=contact,
        fixture_contact=fixture_contact,
        events=tuple(sorted(events)),
    )


def _set_velocity(scene: Scene3D, data: Any) -> None:
    """MuJoCo's free joint: linear velocity in world axes, angular velocity in the body's."""
    for k in range(len(scene.bodies)):
        data.qvel[6 * k : 6 * k + 3] = scene.velocity[k]
        turn = rotation(scene.orientation[k])
        data.qvel[6 * k + 3 : 6 * k + 6] = turn.T @ scene.angular_velocity[k]


def rotation(quaternion: Float[np.ndarray, " 4"]) -> Float[np.ndarray, "3 3"]:
    """Matrix of a unit quaternion (w, x, y, z), body to world."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _moment(mujoco: Any, model: Any, data: Any, objects: int) -> np.ndarray:
    place = data.qpos.reshape(objects, 7)
    speed = data.qvel.reshape(objects, 6)
    spin = [rotation(place[k, 3:]) @ speed[k, 3:] for k in range(objects)]
    return np.concatenate([place, speed[:, :3], np.stack(spin)], axis=1)


def owners(model: Any, objects: int, fixtures: tuple[str, ...]) -> np.ndarray:
    """Per geom: its object's number, or objects + its fixture's."""
    owner = np.empty(model.ngeom, int)
    for g in range(model.ngeom):
        name = model.geom(g).name.removesuffix(" post")
        kind, _, number = name.partition(" ")
        owner[g] = int(number) if kind == "object" else objects + fixtures.index(name)
    return owner


def _touching(data: Any, owner: np.ndarray) -> set[tuple[int, int]]:
    """Pairs (object, object or objects + fixture), the smaller first."""
    if not data.ncon:
        return set()
    pairs = np.sort(owner[data.contact.geom[data.contact.dist <= 0]], axis=1)
    return {(int(a), int(b)) for a, b in pairs}


def _rest(
    mujoco: Any, model: Any, data: Any, owner: np.ndarray, contact: np.ndarray, fixture: np.ndarray
) -> None:
    """Contacts of a frame before which nothing moved: what is within `REST_GAP` of something touches it."""
    model.geom_margin[:] = REST_GAP / 2
    mujoco.mj_forward(model, data)
    for a, b in np.sort(owner[data.contact.geom], axis=1).tolist():
        if b < len(contact):
            contact[a, b] = contact[b, a] = True
        else:
            fixture[a, b - len(contact)] = True
    model.geom_margin[:] = 0
    mujoco.mj_forward(model, data)


def _event(data: Any, speed: np.ndarray, a: int, b: int, objects: int) -> list[tuple[float, str, int, int]]:
    seconds = round(float(data.time), 3)
    place = data.qpos.reshape(objects, 7)[:, :3]
    if b == objects:  # the floor
        return [(seconds, "lands on the floor", a, -1)] if speed[a, 2] < -SLOW * 5 else []
    if b > objects:
        return []
    line = place[b] - place[a]
    line = line / np.linalg.norm(line)
    toward_a, toward_b = float(speed[a] @ line), float(-speed[b] @ line)
    if toward_a + toward_b < SLOW:
        return []
    return [(seconds, "hits", a, b) if toward_a >= toward_b else (seconds, "hits", b, a)]
