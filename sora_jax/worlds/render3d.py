"""From a scene, its motion and camera poses to frames, depth and object ids, with MuJoCo's renderer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.worlds import gl, room3d, simulate3d
from sora_jax.worlds.scene3d import Scene3D
from sora_jax.worlds.simulate3d import Motion

_TO_OPENGL = np.diag([1.0, -1.0, -1.0])  # OpenGL's camera: y up, looking along -z


class Views(NamedTuple):
    """What the camera sees: see `types.SceneState3D`. Depth and segmentation are None where not asked for."""

    video: UInt8[np.ndarray, "f h w 3"]
    depth: Float[np.ndarray, "f h w"] | None
    segmentation: UInt8[np.ndarray, "f h w"] | None


def render(
    scene: Scene3D,
    motion: Motion,
    world_to_camera: Float[np.ndarray, "f 4 4"],
    *,
    model: Any = None,
    geometry: bool = True,
) -> Views:
    """Frame k shows the bodies at frame k of `motion` from pose k: another path gives the same events anew.

    Args:
      model: `room3d.model(scene)`, if it is there already.
      geometry: depth and segmentation too.

    Raises:
      ValueError: as many poses as frames are needed.
      gl.No3DError: no MuJoCo or no OpenGL.
    """
    frames = len(motion.position)
    if len(world_to_camera) != frames:
        raise ValueError(f"{len(world_to_camera)} camera poses for {frames} frames: give one each")
    mujoco = gl.load()
    model = room3d.model(scene) if model is None else model
    data = mujoco.MjData(model)
    owner = simulate3d.owners(model, len(scene.bodies), room3d.fixtures(scene))
    video = np.empty((frames, scene.height, scene.width, 3), np.uint8)
    depth = np.empty(video.shape[:3], np.float32) if geometry else None
    ids = np.empty(video.shape[:3], np.uint8) if geometry else None
    with gl.renderer(model, height=scene.height, width=scene.width) as renderer:
        flags = mujoco.mjtRndFlag
        for flag in (flags.mjRND_REFLECTION, flags.mjRND_SKYBOX, flags.mjRND_FOG, flags.mjRND_HAZE):
            renderer.scene.flags[flag] = False
        for frame in range(frames):
            _place(mujoco, model, data, motion, frame, world_to_camera[frame])
            renderer.update_scene(data, camera="camera")
            renderer.render(out=video[frame])
            if depth is not None and ids is not None:
                renderer.enable_depth_rendering()
                renderer.render(out=depth[frame])
                renderer.enable_segmentation_rendering()
                ids[frame] = _ids(mujoco, renderer.render(), owner, len(scene.bodies))
                renderer.disable_segmentation_rendering()
    return Views(video, depth, ids)


def _place(mujoco: Any, model: Any, data: Any, motion: Motion, frame: int, pose: np.ndarray) -> None:
    place = data.qpos.reshape(-1, 7)
    place[:, :3], place[:, 3:] = motion.position[frame], motion.orientation[frame]
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    rotation, shift = pose[:3, :3], pose[:3, 3]
    data.cam_xpos[0] = -rotation.T @ shift
    data.cam_xmat[0] = (rotation.T @ _TO_OPENGL).ravel()


def _ids(mujoco: Any, seen: np.ndarray, owner: np.ndarray, objects: int) -> np.ndarray:
    """Object numbers + 1 from MuJoCo's (geom, type) pairs; 0 for fixtures and for nothing at all."""
    geom, kind = seen[..., 0], seen[..., 1]
    number = np.append(np.where(owner < objects, owner + 1, 0), 0).astype(np.uint8)
    return number[np.where(kind == int(mujoco.mjtObj.mjOBJ_GEOM), geom, -1)]
