"""The 3-D worlds as a source of clips: clip = f(seed, index), nothing stored.

Frames per second of one core's time, 128 x 128 with shadows and four samples a pixel, Mesa's llvmpipe through
EGL without a GPU, median of 4 clips of 33 frames: 47 RGB, 35 with depth and object ids, 24 for whole clips
(textures, dynamics and a new OpenGL context each).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from sora_jax import rng as rng_lib
from sora_jax.types import SIZE_DTYPE, Clip, SceneState3D
from sora_jax.worlds import captions3d, families3d, render3d, room3d, simulate3d
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.placing import Draw
from sora_jax.worlds.scene3d import Family3D, Scene3D
from sora_jax.worlds.simulate3d import Motion

TEXT_BOUND_3D = 256  # text tokens no caption exceeds
FRAMES_3D: Mapping[int, float] = {17: 0.6, 33: 0.4}
FPS_3D = (8.0, 12.0)
SIZES_3D: Mapping[tuple[int, int], float] = {(128, 128): 0.5, (96, 128): 0.25, (128, 96): 0.25}
WEIGHTS_3D: Mapping[str, float] = {"still": 0.4, "fall": 0.2, "ramp": 0.2, "collision": 0.2}


class World3DSource:
    """`types.Source` of simulated 3-D clips, with their exact state in `Clip.state_3d`.

    Args:
      seed: of the whole set; sets with different seeds share no clip.
      length: number of clips; a longer set begins with the same clips.
      families: family -> share; keys of `families3d.FAMILIES_3D`.
      frames: number of frames -> share.
      sizes: (height, width) -> share.

    Raises:
      gl.No3DError: when a clip is made and no MuJoCo or no OpenGL is there.
    """

    def __init__(
        self,
        *,
        seed: int,
        length: int,
        families: Mapping[str, float] | None = None,
        frames: Mapping[int, float] | None = None,
        sizes: Mapping[tuple[int, int], float] | None = None,
    ):
        families = dict(WEIGHTS_3D if families is None else families)
        unknown = set(families) - set(families3d.FAMILIES_3D)
        if unknown:
            raise ValueError(f"families {sorted(unknown)} are not among {sorted(families3d.FAMILIES_3D)}")
        self._seed, self._length = seed, length
        self._families = {cast(Family3D, name): share for name, share in families.items() if share > 0}
        frames, sizes = (
            dict(FRAMES_3D if frames is None else frames),
            dict(SIZES_3D if sizes is None else sizes),
        )
        marks = rng_lib.host(seed, "worlds 3d", "sizes").random((length, 2))
        self._table = np.empty(length, SIZE_DTYPE)
        self._table["frames"] = np.array(list(frames))[_which(marks[:, 0], frames)]
        self._table["height"], self._table["width"] = np.array(list(sizes))[_which(marks[:, 1], sizes)].T
        self._table["text"] = TEXT_BOUND_3D

    @property
    def sizes(self) -> np.ndarray:
        return self._table

    def __len__(self) -> int:
        return self._length

    def scene(self, index: int) -> Scene3D:
        """The scene of clip `index`, before it is simulated."""
        if not 0 <= index < self._length:
            raise IndexError(f"clip {index} of a world of {self._length}")
        stream = rng_lib.host(self._seed, "worlds 3d", "scene", int(index))
        frames, height, width = (int(self._table[index][name]) for name in ("frames", "height", "width"))
        fps = FPS_3D[int(stream.random() * len(FPS_3D))]
        draw = Draw(rng=stream, frames=frames, height=height, width=width, fps=fps, heldout="any")
        family = draw.pick(tuple(self._families), tuple(self._families.values()))
        return families3d.sample(draw, cast(Family3D, family))

    def __getitem__(self, index: int) -> Clip:
        scene = self.scene(index)
        model = room3d.model(scene)
        motion = simulate3d.simulate(scene, model)
        video, state = film(scene, motion, model=model)
        words = rng_lib.host(self._seed, "worlds 3d", "captions", int(index))
        return Clip(
            video=video,
            fps=scene.fps,
            captions=captions3d.captions_3d(state, words),
            id=f"world3d-{self._seed}-{index}",
            state_3d=state,
        )


def film(
    scene: Scene3D, motion: Motion, *, share: Float[np.ndarray, " f"] | None = None, model: Any = None
) -> tuple[np.ndarray, SceneState3D]:
    """The frames `[f h w 3]` uint8 and the exact state of a scene whose motion is known.

    Args:
      share: of the camera's path at each frame; None = `scene3d.progress`.
      model: `room3d.model(scene)`, if it is there already.
    """
    share = scene_lib.progress(scene.camera, scene.frames) if share is None else share
    pose = scene_lib.poses(scene.camera, share)
    views = render3d.render(scene, motion, pose, model=model)
    assert views.depth is not None and views.segmentation is not None
    camera = scene.camera
    state = SceneState3D(
        bodies=scene.bodies,
        position=motion.position.astype(np.float32),
        orientation=motion.orientation.astype(np.float32),
        velocity=motion.velocity.astype(np.float32),
        angular_velocity=motion.angular_velocity.astype(np.float32),
        contact=motion.contact,
        fixtures=room3d.fixtures(scene),
        fixture_contact=motion.fixture_contact,
        depth=views.depth,
        segmentation=views.segmentation,
        world_to_camera=pose,
        intrinsics=np.repeat(scene_lib.intrinsics(scene.height, scene.width)[None], scene.frames, axis=0),
        camera_move=camera.move,
        camera_side=camera.side,
        camera_returns=camera.returns,
        camera_speed=scene_lib.mean_speed(camera, seconds=(scene.frames - 1) / scene.fps),
        family=scene.family,
        events=motion.events,
    )
    return views.video, state


def _which(marks: np.ndarray, shares: Mapping) -> np.ndarray:
    edges = np.cumsum(np.array(list(shares.values()), np.float64))
    return np.minimum(np.searchsorted(edges, marks * edges[-1], side="right"), len(edges) - 1)
