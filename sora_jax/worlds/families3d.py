"""Samplers of 3-D scenes, one per family: each turns a random stream and a clip's size into a Scene3D.

No two objects of a scene share a colour, and none overlap at the start. What matters lies near the room's
centre; where bodies travel they travel along x, and the camera's middle position is near -y of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from sora_jax.types import Body3D, CameraMove, CameraSide
from sora_jax.worlds import room3d
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.placing import TRIES, Draw
from sora_jax.worlds.scene import COLORS, SIZES
from sora_jax.worlds.scene3d import CameraPath, Family3D, Ramp, Scene3D

GAP_3D = 0.12  # metres between objects at rest, at least
SPREAD = 1.15  # metres from the centre within which objects are put
MOVES: dict[CameraMove, float] = {"orbit": 0.4, "pan": 0.3, "dolly": 0.3}  # shares among moving cameras
FIXED = 0.3  # share of fixed cameras where something moves
RETURNS = 0.25  # share of moving cameras that come back
MOST = {"orbit": math.radians(100), "pan": math.radians(40)}  # of a path
MOST_DOLLY = 1.6  # metres of a path: twice as far, and as far the wrong way, is still inside the room


@dataclasses.dataclass(kw_only=True)
class _Thing:
    body: Body3D
    place: np.ndarray
    orientation: np.ndarray
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    spin: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))


def sample(draw: Draw, family: Family3D) -> Scene3D:
    """A scene of the family; the same stream gives the same scene."""
    return FAMILIES_3D[family](draw)


def _scene(
    draw: Draw, family: Family3D, things: list[_Thing], camera: CameraPath, *, ramp: Ramp | None = None
) -> Scene3D:
    return Scene3D(
        family=family,
        bodies=tuple(t.body for t in things),
        position=np.stack([t.place for t in things]),
        velocity=np.stack([t.velocity for t in things]),
        orientation=np.stack([t.orientation for t in things]),
        angular_velocity=np.stack([t.spin for t in things]),
        ramp=ramp,
        camera=camera,
        texture=int(draw.rng.integers(2**31)),
        frames=draw.frames,
        height=draw.height,
        width=draw.width,
        fps=draw.fps,
    )


def still(draw: Draw) -> Scene3D:
    """1-4 objects that stand or lie on the floor, under a moving camera."""
    things = _standing(draw, draw.pick((1, 2, 3, 4), (0.25, 0.4, 0.25, 0.1)), [])
    return _scene(draw, "still", things, camera(draw, middle=draw.between(-math.pi, math.pi), fixed=0.0))


def fall(draw: Draw) -> Scene3D:
    """1-2 objects let go above the floor, perhaps one at rest beside them."""
    things = _standing(draw, draw.pick((1, 2, 3), (0.4, 0.4, 0.2)), [])
    for thing in things[: draw.pick((1, 2), (0.75, 0.25))]:
        bounce = draw.between(0.45, 0.8) if thing.body.shape == "sphere" else draw.between(0.2, 0.45)
        thing.body = dataclasses.replace(thing.body, restitution=bounce)
        thing.place[2] += draw.between(0.7, 1.5)
    return _scene(draw, "fall", things, camera(draw, middle=draw.between(-math.pi, math.pi), high=0.6))


def ramp(draw: Draw) -> Scene3D:
    """A ball that rolls, or a cube that slides, down a ramp, perhaps past an object at rest."""
    side = draw.pick((-1, 1))
    slope, length = math.radians(draw.between(15, 26)), draw.between(1.6, 2.1)
    made = Ramp(foot=-side * draw.between(-0.1, 0.3), side=side, slope=slope, length=length, width=0.9)
    shape = draw.pick(("sphere", "cube"), (0.7, 0.3))
    size = draw.pick(("small", "medium"))
    friction = 0.8 if shape == "sphere" else draw.between(0.04, 0.1)
    mover = scene_lib.solid(shape, draw.pick(COLORS), size, restitution=0.1, friction=friction)
    place = room3d.on_ramp(made, mover, along=length - mover.radius - 0.05, aside=draw.between(-0.1, 0.1))
    things = [_Thing(body=mover, place=place, orientation=room3d.ramp_orientation(made))]
    if draw.rng.random() < 0.5:
        (body,) = _looks(draw, 1, {mover.color})
        beside = np.array([made.foot + side * draw.between(0.2, 1.0), draw.between(0.9, 1.3), 0.0])
        things.append(_stood(draw, body, beside))
    return _scene(draw, "ramp", things, camera(draw, middle=draw.between(-0.35, 0.35)), ramp=made)


def collision(draw: Draw) -> Scene3D:
    """A ball that rolls over the floor into an object at rest, perhaps beside a third."""
    mover = scene_lib.solid("sphere", draw.pick(COLORS), draw.pick(SIZES), restitution=0.6)
    (target,) = _looks(draw, 1, {mover.color})
    target = dataclasses.replace(target, restitution=0.6)
    meets = draw.between(0.25, 0.5) * draw.seconds
    heading = draw.pick((0.0, math.pi)) + draw.between(-0.4, 0.4)
    ahead = np.array([math.cos(heading), math.sin(heading), 0.0])
    touching = mover.radius + target.radius
    run = min(max(draw.between(1.0, 2.2) * meets, 0.5), 1.7 - touching)  # it starts in view
    aside = np.array([-ahead[1], ahead[0], 0.0]) * draw.between(-0.3, 0.3) * touching
    hit = _stood(draw, target, ahead * 0.25 * draw.rng.random())
    start = hit.place - ahead * (touching + run) + aside
    start[2] = mover.radius
    pace = run / meets
    things = [
        _Thing(
            body=mover,
            place=start,
            orientation=np.array([1.0, 0, 0, 0]),
            velocity=ahead * pace,
            spin=np.array([-ahead[1], ahead[0], 0.0]) * pace / mover.radius,  # it rolls and does not slip
        ),
        hit,
    ]
    if draw.rng.random() < 0.3:
        (body,) = _looks(draw, 1, {mover.color, target.color})
        away = draw.pick((-1.0, 1.0)) * np.array([-ahead[1], ahead[0], 0.0])
        things.append(_stood(draw, body, away * draw.between(1.1, 1.5)))
    return _scene(draw, "collision", things, camera(draw, middle=draw.between(-0.35, 0.35)))


def _looks(draw: Draw, count: int, used: set[str]) -> list[Body3D]:
    colors = [c for c in COLORS if c not in used]
    chosen = draw.rng.permutation(len(colors))[:count]
    return [
        scene_lib.solid(draw.pick(scene_lib.SOLIDS), colors[k], draw.pick(SIZES, (1, 1, 0.7))) for k in chosen
    ]


def _stood(draw: Draw, body: Body3D, place: np.ndarray) -> _Thing:
    """A body on the floor at (x, y) of `place`, turned about the vertical."""
    turned = scene_lib.rest_orientation(body, draw.between(-math.pi, math.pi))
    return _Thing(body=body, place=np.array([*place[:2], scene_lib.half_height(body)]), orientation=turned)


def _standing(draw: Draw, count: int, things: list[_Thing]) -> list[_Thing]:
    """`count` objects on the floor near the centre; one that finds no room is made small, then left out."""
    for body in _looks(draw, count, set()):
        for attempt in range(TRIES):
            if attempt == TRIES // 2:
                body = scene_lib.solid(body.shape, body.color, "small")
            place = draw.rng.uniform(-SPREAD, SPREAD, 2)
            if np.hypot(*place) > SPREAD:
                continue
            near = [scene_lib.reach_3d(body) + scene_lib.reach_3d(t.body) + GAP_3D for t in things]
            if all(np.hypot(*(place - t.place[:2])) > n for t, n in zip(things, near, strict=True)):
                things.append(_stood(draw, body, place))
                break
    return things


def camera(draw: Draw, *, middle: float, fixed: float = FIXED, high: float = 0.35) -> CameraPath:
    """A path whose middle is at azimuth `middle` (radians) and that looks at `high` metres above the centre.

    `fixed` is the share of cameras that do not move; those of one frame never do.
    """
    target = (draw.between(-0.15, 0.15), draw.between(-0.15, 0.15), high)
    height = draw.between(1.1, 1.9)
    if draw.frames == 1 or draw.rng.random() < fixed:
        distance = draw.between(2.9, 3.5)
        return CameraPath(
            move="fixed", side="none", target=target, distance=distance, height=height, azimuth=middle
        )
    move: CameraMove = draw.pick(tuple(MOVES), tuple(MOVES.values()))
    returns = draw.rng.random() < RETURNS
    if move == "dolly":
        side: CameraSide = draw.pick(("forward", "backward"))
        distance = draw.between(3.3, 4.0)
        classes, most = scene_lib.DOLLY_SPEEDS, MOST_DOLLY
    else:
        side = draw.pick(("left", "right"))
        distance = draw.between(2.7, 3.5)
        classes, most = scene_lib.TURN_SPEEDS, MOST[move]
    low, high_speed = classes[draw.pick(tuple(classes), (0.25, 0.4, 0.35))]
    pace = draw.between(low, high_speed) * (1 if move == "dolly" else math.pi / 180)
    amount = min(pace * draw.seconds / (2 if returns else 1), most)
    start = middle
    if move == "orbit":
        start = middle - {"left": -1, "right": 1}[side] * amount / 2
    return CameraPath(
        move=move,
        side=side,
        target=target,
        distance=distance,
        height=height,
        azimuth=start,
        amount=amount,
        returns=returns,
    )


FAMILIES_3D: dict[Family3D, Callable[[Draw], Scene3D]] = {
    "still": still,
    "fall": fall,
    "ramp": ramp,
    "collision": collision,
}
