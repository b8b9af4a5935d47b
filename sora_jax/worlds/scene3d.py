"""A 3-D scene as data: a textured room, coloured solids, perhaps a ramp, and the camera's path.

World and camera axes are those of `types.SceneState3D`: metres, z up, the floor is z = 0; the camera looks
along its z with y down. Everything here is a table or a pure function of one; nothing needs MuJoCo.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from sora_jax.types import Body3D, CameraMove, CameraSide, SizeWord, Solid

ROOM = 6.5  # metres from the room's centre to each wall
CEILING = 4.5  # metres; the walls end there, nothing is above
FIELD_OF_VIEW = math.radians(55)  # of the frame's short side
GRAVITY = 9.81  # m/s^2, downwards
DENSITY = 300.0  # kg/m^3
LIGHT = (-0.25, 0.35, -1.0)  # direction of the light that casts shadows, not normalised
WALLS = ("left wall", "right wall", "far wall", "near wall")  # at -x, +x, +y, -y

SOLIDS: tuple[Solid, ...] = ("sphere", "cube", "cylinder", "capsule")
RADIUS_3D: dict[SizeWord, float] = {"small": 0.2, "medium": 0.3, "large": 0.42}  # metres
CYLINDER_HALF = 1.2  # half the height of a cylinder, in radii
CAPSULE_HALF = 1.0  # half the length of a capsule's straight part, in radii

# Speed classes of the camera: degrees/s of an orbit or a pan, m/s of a dolly. They do not touch.
TURN_SPEEDS: dict[str, tuple[float, float]] = {
    "slow": (7.0, 13.0),
    "medium": (17.0, 25.0),
    "fast": (31.0, 42.0),
}
DOLLY_SPEEDS: dict[str, tuple[float, float]] = {
    "slow": (0.2, 0.35),
    "medium": (0.5, 0.75),
    "fast": (1.0, 1.4),
}

Family3D = Literal["still", "fall", "ramp", "collision"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraPath:
    """Where the camera is at every share of its path: `poses`.

    Attributes:
      move, side: see `types.SceneState3D`; the side is the camera's own ("left" = towards its left).
      target: point the camera looks at where its path begins (a pan: at its middle), metres.
      distance: horizontal, from target to camera where the path begins (a dolly: at its far end), metres.
      height: of the camera above the floor, metres; constant.
      azimuth: radians about z; at 0 the camera stands at -y of its target and looks along +y.
      amount: what the whole path covers, > 0: radians of an orbit or a pan, metres of a dolly.
      returns: the camera goes to the path's end by half time and comes back.
    """

    move: CameraMove
    side: CameraSide
    target: tuple[float, float, float]
    distance: float
    height: float
    azimuth: float
    amount: float = 0.0
    returns: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ramp:
    """A plank that leans: its surface falls along +x ("right") or -x from the height of its upper end.

    Attributes:
      foot: x of the lower edge of its surface, on the floor, metres.
      side: +1 or -1, the direction along x in which it falls.
      slope: radians.
      length: of its surface along the slope, metres; width: along y.
    """

    foot: float
    side: int
    slope: float
    length: float
    width: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene3D:
    """All that determines a clip's pixels.

    Attributes:
      family: the sampler it came from.
      bodies: one per object.
      position, velocity: `[o 3]` float64 at frame 0, metres and m/s.
      orientation: `[o 4]` float64 at frame 0, unit quaternion (w, x, y, z).
      angular_velocity: `[o 3]` float64 at frame 0, world axes, rad/s.
      ramp: or None.
      camera: its path.
      texture: seed of the room's textures.
      frames, height, width: of the clip; fps: frames per second, frame k is the instant k / fps.
    """

    family: Family3D
    bodies: tuple[Body3D, ...]
    position: Float[np.ndarray, "o 3"]
    velocity: Float[np.ndarray, "o 3"]
    orientation: Float[np.ndarray, "o 4"]
    angular_velocity: Float[np.ndarray, "o 3"]
    ramp: Ramp | None = None
    camera: CameraPath
    texture: int
    frames: int
    height: int
    width: int
    fps: float


def solid(
    shape: Solid, color: str, size: SizeWord, *, restitution: float = 0.3, friction: float = 0.6
) -> Body3D:
    """A body of the tables' radius and of `DENSITY`."""
    radius = RADIUS_3D[size]
    mass = DENSITY * volume(shape, radius)
    return Body3D(
        shape=shape,
        color=color,
        size=size,
        radius=radius,
        mass=mass,
        restitution=restitution,
        friction=friction,
    )


def volume(shape: Solid, radius: float) -> float:
    """m^3, of a solid of the given radius."""
    match shape:
        case "sphere":
            return 4 / 3 * math.pi * radius**3
        case "cube":
            return 8 * radius**3
        case "cylinder":
            return 2 * CYLINDER_HALF * math.pi * radius**3
        case "capsule":
            return (4 / 3 + 2 * CAPSULE_HALF) * math.pi * radius**3
        case _:
            raise ValueError(f"{shape!r} is not one of {SOLIDS}")


def half_height(body: Body3D) -> float:
    """Metres from the floor to the centre of a body at rest (a cylinder upright, a capsule lying)."""
    return body.radius * (CYLINDER_HALF if body.shape == "cylinder" else 1.0)


def reach_3d(body: Body3D) -> float:
    """Metres from a body's centre to its farthest point."""
    r = body.radius
    return {
        "sphere": r,
        "cube": r * math.sqrt(3),
        "cylinder": r * math.hypot(1, CYLINDER_HALF),
        "capsule": r * (1 + CAPSULE_HALF),
    }[body.shape]


def rest_orientation(body: Body3D, yaw: float) -> Float[np.ndarray, " 4"]:
    """Unit quaternion (w, x, y, z) of a body at rest, turned by `yaw` radians about z; a capsule lies."""
    c, s = math.cos(yaw / 2), math.sin(yaw / 2)
    if body.shape != "capsule":  # MuJoCo's cylinder and capsule have their axis along z
        return np.array([c, 0.0, 0.0, s])
    a = math.sqrt(0.5)  # a quarter turn about y lays the axis along x
    return np.array([c * a, -s * a, c * a, s * a])


def intrinsics(height: int, width: int) -> Float[np.ndarray, "3 3"]:
    """Pixels; square, principal point at the frame's centre, `FIELD_OF_VIEW` over the short side."""
    focal = min(height, width) / 2 / math.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def look_at(eye: np.ndarray, target: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """World-to-camera of a level camera at `eye` `[3]` that looks at `target` `[3]`, not straight down."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    return pose


def progress(path: CameraPath, frames: int) -> Float[np.ndarray, " f"]:
    """Share of the path covered at each frame: 0 to 1, or to 1 by half time and back to 0 if it returns."""
    share = np.linspace(0.0, 1.0, frames) if frames > 1 else np.zeros(1)
    return 1 - np.abs(2 * share - 1) if path.returns else share


def poses(path: CameraPath, share: Float[np.ndarray, " f"]) -> Float[np.ndarray, "f 4 4"]:
    """World-to-camera at each share of the path; beyond [0, 1] the path goes on both ways.

    An orbit moves on a circle about the vertical through the target and looks at it. A pan turns in place
    about the vertical, its middle looking at the target. A dolly moves along the horizontal part of its
    line of sight without turning.
    """
    target = np.array(path.target)
    return np.stack([_pose(path, target, float(s)) for s in share])


def _pose(path: CameraPath, target: np.ndarray, share: float) -> np.ndarray:
    eye = _stand(path, target, path.azimuth)
    match path.move:
        case "fixed":
            return look_at(eye, target)
        case "orbit":
            # at azimuth 0 the camera's left is -x; as the azimuth decreases (seen from above: clockwise)
            # the camera at -y moves to -x
            sign = {"left": -1, "right": 1}[path.side]
            return look_at(_stand(path, target, path.azimuth + sign * path.amount * share), target)
        case "pan":
            sign = {"left": 1, "right": -1}[path.side]
            turn = sign * path.amount * (share - 0.5)
            c, s = math.cos(turn), math.sin(turn)
            gaze = target - eye
            turned = np.array([c * gaze[0] - s * gaze[1], s * gaze[0] + c * gaze[1], gaze[2]])
            return look_at(eye, eye + turned)
        case "dolly":
            ahead = share if path.side == "forward" else 1 - share
            along = target - eye
            along[2] = 0
            step = along / np.linalg.norm(along) * path.amount * ahead
            return look_at(eye + step, target + step)
        case _:
            raise ValueError(f"camera move {path.move!r}: use fixed, orbit, pan or dolly")


def _stand(path: CameraPath, target: np.ndarray, azimuth: float) -> np.ndarray:
    away = np.array([math.sin(azimuth), -math.cos(azimuth)]) * path.distance
    return np.array([target[0] + away[0], target[1] + away[1], path.height])


def mean_speed(path: CameraPath, *, seconds: float) -> float:
    """Degrees/s of an orbit or a pan, m/s of a dolly, over a clip of `seconds`; 0 if it does not move."""
    if path.move == "fixed" or seconds <= 0:
        return 0.0
    covered = path.amount * (2 if path.returns else 1)
    return (covered if path.move == "dolly" else math.degrees(covered)) / seconds
