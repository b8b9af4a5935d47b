"""The room's textures, made from noise, and the MuJoCo model of a scene.

Light is diffuse and fixed to the room (no highlight, no lamp on the camera): a point of a surface that does
not move looks the same from everywhere, up to its own shadow and the sampling of its texture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax import rng as rng_lib
from sora_jax.types import Body3D
from sora_jax.worlds import gl
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.scene import PALETTE
from sora_jax.worlds.scene3d import Ramp, Scene3D

TEXELS = {"floor": 512, "wall": 256}  # of a texture's side: 2 cm on the floor, 4 cm on the walls
EXTENT = 7.5  # metres, the unit of the clipping planes and of the shadow map
TIME_STEP = 1 / 2000  # seconds, at most
STIFFNESS = 600.0**2  # of contacts, 1/s^2: an impact lasts pi / 600 s, ten steps
RAMP_THICKNESS = 0.06  # metres


def noise(rng: np.random.Generator, size: int, *, cells: tuple[int, ...]) -> Float[np.ndarray, "size size"]:
    """Value noise in [0, 1]: grids of `cells` random numbers a side, each finer one 0.8 times as strong."""
    total = np.zeros((size, size), np.float32)
    for octave, count in enumerate(cells):
        grid = rng.random((count, count), dtype=np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) * 0.8**octave
    low, high = np.quantile(total, (0.01, 0.99))
    return np.clip((total - low) / (high - low), 0, 1)


def texture(rng: np.random.Generator, style: str, *, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A texture of muted colours, different everywhere, so that every place can be recognised.

    Args:
      style: "plaster", "tiles", "bricks" or "wood".
    """
    tone = rng.uniform(0.45, 0.75) + rng.uniform(-0.08, 0.08, 3)
    if style == "wood":
        grain = noise(rng, size, cells=(3, 9, 27))
        grain = cv2.resize(grain[: size // 16], (size, size), interpolation=cv2.INTER_LINEAR)
        tone = np.array([0.62, 0.47, 0.32])
    else:
        grain = noise(rng, size, cells=(7, 17, 41, 97, 211))
    image = tone * (0.4 + 1.2 * grain[..., None])
    other = noise(rng, size, cells=(5, 11, 23))[..., None]
    image = image + (other - 0.5) * rng.uniform(-0.25, 0.25, 3)
    rows, columns = np.mgrid[:size, :size]
    if style in ("tiles", "bricks"):
        high = size // 10
        wide = high if style == "tiles" else 2 * high
        shift = np.where(rows // high % 2, wide // 2, 0) if style == "bricks" else 0
        shade = rng.uniform(0.75, 1.2, (size // high + 1, size // wide + 2))
        image = image * shade[rows // high, (columns + shift) // wide][..., None]
        joint = ((rows % high) < max(1, size // 128)) | (((columns + shift) % wide) < max(1, size // 128))
        image = np.where(joint[..., None], tone * 0.45, image)
    return (np.clip(image, 0.04, 0.96) * 255).round().astype(np.uint8)


def model(scene: Scene3D) -> Any:
    """The compiled `mujoco.MjModel`; geom names: `scene_fixtures(scene)` and "object k"."""
    mujoco = gl.load()
    spec = mujoco.MjSpec()
    spec.option.gravity = [0, 0, -scene_lib.GRAVITY]
    spec.option.timestep = step_seconds(scene)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.visual.headlight.active = 0
    spec.stat.extent = EXTENT
    spec.stat.center = [0, 0, 0]
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 4.0
    spec.visual.map.shadowclip = 0.4  # half the side of the square that has shadows, in extents: 3 m
    spec.visual.quality.shadowsize = 512
    spec.visual.quality.offsamples = 4
    spec.visual.global_.offwidth, spec.visual.global_.offheight = scene.width, scene.height
    _add_room(mujoco, spec, scene)
    for k, body in enumerate(scene.bodies):
        _add_body(mujoco, spec, body, k, scene)
    focal_view = 2 * math.atan(scene.height / 2 / scene_lib.intrinsics(scene.height, scene.width)[1, 1])
    spec.worldbody.add_camera(name="camera", fovy=math.degrees(focal_view))
    return spec.compile()


def step_seconds(scene: Scene3D) -> float:
    """A step that a frame holds a whole number of."""
    return 1 / (scene.fps * math.ceil(1 / (scene.fps * TIME_STEP)))


def fixtures(scene: Scene3D) -> tuple[str, ...]:
    """Names of what never moves, as in `types.SceneState3D`."""
    return ("floor", *scene_lib.WALLS, *(("ramp",) if scene.ramp is not None else ()))


def _add_room(mujoco: Any, spec: Any, scene: Scene3D) -> None:
    rng = rng_lib.host(scene.texture, "worlds", "room")
    half, high = scene_lib.ROOM, scene_lib.CEILING / 2
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    places = {  # position, x axis and y axis of the plane's own frame; its normal looks into the room
        "floor": ((0, 0, 0), (1, 0, 0), (0, 1, 0), half),
        "left wall": ((-half, 0, high), (0, 1, 0), (0, 0, 1), high),
        "right wall": ((half, 0, high), (0, -1, 0), (0, 0, 1), high),
        "far wall": ((0, half, high), (1, 0, 0), (0, 0, 1), high),
        "near wall": ((0, -half, high), (-1, 0, 0), (0, 0, 1), high),
    }
    for name, (position, x, y, size_y) in places.items():
        styles = ("plaster", "tiles", "bricks") if name != "floor" else ("plaster", "tiles")
        style, size = styles[int(rng.integers(len(styles)))], TEXELS["floor" if name == "floor" else "wall"]
        _add_material(mujoco, spec, name, texture(rng, style, size=size))
        geom = spec.worldbody.add_geom(name=name, type=plane, material=name, pos=position)
        geom.size = [half, size_y, 0.1]
        geom.quat = _quaternion(mujoco, x, y)
        geom.castshadow = False
    if scene.ramp is not None:
        _add_ramp(mujoco, spec, scene.ramp, texture(rng, "wood", size=TEXELS["wall"]))
    _add_lights(mujoco, spec)


def _quaternion(mujoco: Any, x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """Orientation of a frame given by its x and y axes."""
    turned = np.stack([x, y, np.cross(x, y)], axis=1)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, turned.ravel())
    return quaternion


def _add_ramp(mujoco: Any, spec: Any, ramp: Ramp, image: np.ndarray) -> None:
    """The plank, and a post that carries its upper end."""
    box = mujoco.mjtGeom.mjGEOM_BOX
    _add_material(mujoco, spec, "ramp", image)
    center, x, y = _ramp_frame(ramp)
    geom = spec.worldbody.add_geom(name="ramp", type=box, material="ramp", pos=center)
    geom.quat = _quaternion(mujoco, x, y)
    geom.size = [ramp.length / 2, ramp.width / 2, RAMP_THICKNESS / 2]
    top = ramp.length * math.sin(ramp.slope) - 2 * RAMP_THICKNESS
    behind = ramp.foot - ramp.side * (ramp.length * math.cos(ramp.slope) - 2 * RAMP_THICKNESS)
    post = spec.worldbody.add_geom(name="ramp post", type=box, material="ramp", pos=[behind, 0, top / 2])
    post.size = [RAMP_THICKNESS, ramp.width / 2 - RAMP_THICKNESS, top / 2]


def _add_lights(mujoco: Any, spec: Any) -> None:
    """One from above that casts shadows, three weak ones that tell the sides of things apart."""
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[1.5, -2.0, 6.0],
        dir=scene_lib.LIGHT,
        diffuse=[0.42, 0.42, 0.42],
        ambient=[0.38, 0.38, 0.38],
        specular=[0, 0, 0],
        castshadow=True,
    )
    for direction in ((0.9, 0.5, -0.3), (-0.9, 0.4, -0.35), (0.1, -0.9, -0.3)):
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            dir=direction,
            pos=[0, 0, 3],
            diffuse=[0.22, 0.22, 0.22],
            ambient=[0, 0, 0],
            specular=[0, 0, 0],
            castshadow=False,
        )


def _ramp_frame(ramp: Ramp) -> tuple[list[float], list[float], list[float]]:
    """Centre of the plank, and its x axis (down the slope) and y axis."""
    c, s = math.cos(ramp.slope), math.sin(ramp.slope)
    down = np.array([ramp.side * c, 0.0, -s])
    normal = np.array([ramp.side * s, 0.0, c])
    middle = np.array([ramp.foot, 0.0, 0.0]) - down * ramp.length / 2 - normal * RAMP_THICKNESS / 2
    return middle.tolist(), down.tolist(), np.cross(normal, down).tolist()


def on_ramp(ramp: Ramp, body: Body3D, *, along: float, aside: float = 0.0) -> Float[np.ndarray, " 3"]:
    """Centre of a body that rests on the ramp, `along` metres up from its foot, `aside` metres along y."""
    c, s = math.cos(ramp.slope), math.sin(ramp.slope)
    normal = np.array([ramp.side * s, 0.0, c]) * scene_lib.half_height(body)
    return np.array([ramp.foot - ramp.side * c * along, aside, s * along]) + normal


def ramp_orientation(ramp: Ramp) -> Float[np.ndarray, " 4"]:
    """Unit quaternion (w, x, y, z) that turns a body at rest on the floor to stand on the ramp."""
    half = ramp.side * ramp.slope / 2
    return np.array([math.cos(half), 0.0, math.sin(half), 0.0])


def _add_material(mujoco: Any, spec: Any, name: str, image: np.ndarray) -> None:
    made = spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_CUBE if name == "ramp" else mujoco.mjtTexture.mjTEXTURE_2D,
        width=image.shape[1],
        height=image.shape[0] * (6 if name == "ramp" else 1),
        nchannel=3,
    )
    made.data = np.concatenate([image] * (6 if name == "ramp" else 1)).tobytes()
    material = spec.add_material(name=name, specular=0.0, shininess=0.0, reflectance=0.0)
    roles = list(material.textures)
    roles[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = name
    material.textures = roles


def _add_body(mujoco: Any, spec: Any, body: Body3D, k: int, scene: Scene3D) -> None:
    kinds = mujoco.mjtGeom
    r = body.radius
    kind, size = {
        "sphere": (kinds.mjGEOM_SPHERE, [r, 0, 0]),
        "cube": (kinds.mjGEOM_BOX, [r, r, r]),
        "cylinder": (kinds.mjGEOM_CYLINDER, [r, scene_lib.CYLINDER_HALF * r, 0]),
        "capsule": (kinds.mjGEOM_CAPSULE, [r, scene_lib.CAPSULE_HALF * r, 0]),
    }[body.shape]
    if body.friction < 1e-3:  # MuJoCo's solver diverges without any
        raise ValueError(f"friction {body.friction} of object {k}: use 0.001 or more")
    name = f"object {k}"
    spec.add_material(
        name=name, rgba=[*PALETTE[body.color], 1.0], specular=0.0, shininess=0.0, reflectance=0.0
    )
    made = spec.worldbody.add_body(
        name=name, pos=scene.position[k].tolist(), quat=scene.orientation[k].tolist()
    )
    made.add_freejoint()
    geom = made.add_geom(name=name, type=kind, size=size, mass=body.mass, material=name)
    geom.friction = [body.friction, 0.005, 0.0001]
    # a damped spring of ratio z keeps exp(-pi z / sqrt(1 - z^2)) of the speed of an impact
    loss = -math.log(max(body.restitution, 1e-3))
    damping = loss / math.hypot(math.pi, loss)
    geom.solref = [-STIFFNESS, -2 * damping * math.sqrt(STIFFNESS)]
    geom.solimp = [0.99, 0.99, 0.001, 0.5, 2]
    geom.priority = 1  # of a body on a fixture, the body's own restitution and friction count
