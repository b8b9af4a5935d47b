"""The 3-D room as a tier of `sweep`: how its scenes are chosen, filmed, worn, corrupted and judged.

Nothing is rendered until a sweep asks for it, except the true video with its depth, which is a scene's truth.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8

from sora_jax.evaluation.physics import camera_corruptions, suite_camera, wear
from sora_jax.evaluation.physics.camera_path import static_mask
from sora_jax.evaluation.physics.suite_camera import CameraCorruption, CameraMetric, Seen
from sora_jax.evaluation.physics.sweep import CANDIDATES, Streams, Tier, Video, choose
from sora_jax.types import Body3D, SceneState3D
from sora_jax.worlds import render3d, room3d, simulate3d, source3d
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.scene import COLORS
from sora_jax.worlds.scene3d import Scene3D
from sora_jax.worlds.simulate3d import Motion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Take:
    """One held-out rollout: scene, motion, compiled model and truth; the number keys its random streams."""

    number: int
    scene: Scene3D
    motion: Motion
    model: Any
    video: UInt8[np.ndarray, "f h w 3"]
    state: SceneState3D


def take(scene: Scene3D, *, number: int, motion: Motion | None = None) -> Take:
    """Simulated, if its motion is not known, and filmed."""
    model = room3d.model(scene)
    motion = simulate3d.simulate(scene, model) if motion is None else motion
    video, state = source3d.film(scene, motion, model=model)
    return Take(number=number, scene=scene, motion=motion, model=model, video=video, state=state)


def make_takes(
    family: str,
    *,
    clips: int,
    seed: int,
    frames: int,
    side: int,
    metrics: Sequence[CameraMetric] = suite_camera.CAMERA,
    corruptions: Sequence[CameraCorruption] = suite_camera.CAMERA_CORRUPTIONS,
    first: int = 0,
) -> tuple[Take, ...]:
    """`clips` scenes of a family, square, chosen of `CANDIDATES` times as many as `sweep.choose` does.

    By the scene alone: a line of the tables, of metrics and of corruptions, applies to it or does not.
    They are numbered from `first` on.
    """
    source = source3d.World3DSource(
        seed=seed,
        length=CANDIDATES * clips,
        families={family: 1.0},
        frames={frames: 1.0},
        sizes={(side, side): 1.0},
    )
    scenes = [source.scene(k) for k in range(len(source))]
    says = np.array([_applying(scene, metrics, corruptions) for scene in scenes])
    chosen = choose(says, clips=clips)
    return tuple(take(scenes[k], number=first + n) for n, k in enumerate(chosen))


def _applying(
    scene: Scene3D, metrics: Sequence[CameraMetric], corruptions: Sequence[CameraCorruption]
) -> list[bool]:
    """Which metrics, then which corruptions, apply to a scene: asked of its camera, with nothing rendered."""
    none, objects = np.zeros((scene.frames, 0, 0)), len(scene.bodies)
    blank = SceneState3D(
        bodies=scene.bodies,
        position=np.zeros((scene.frames, objects, 3)),
        orientation=np.zeros((scene.frames, objects, 4)),
        velocity=none,
        angular_velocity=none,
        contact=none,
        fixtures=(),
        fixture_contact=none,
        depth=none,
        segmentation=none,
        world_to_camera=scene_lib.poses(scene.camera, scene_lib.progress(scene.camera, scene.frames)),
        intrinsics=none,
        camera_move=scene.camera.move,
        camera_side=scene.camera.side,
        camera_returns=scene.camera.returns,
        camera_speed=0.0,
        family=scene.family,
    )
    nothing = Seen(video=np.zeros((0, 0, 0, 3), np.uint8), path=None)  # not usable: 0, or NaN by the truth
    path = scene.camera
    return [not np.isnan(m.score(nothing, blank)) for m in metrics] + [
        c.applies(scene.family, path.move, path.returns) for c in corruptions
    ]


def corrupt(item: Take, corruption: CameraCorruption, streams: Streams) -> list[Video] | None:
    """A video for each dose, or None where it does not apply."""
    if not corruption.applies(item.scene.family, item.scene.camera.move, item.scene.camera.returns):
        return None
    doses = zip(corruption.doses, streams, strict=True)
    if corruption.edit in camera_corruptions.PATHS:
        return camera_corruptions.refilms(
            item.scene, item.motion, corruption.edit, corruption.doses, model=item.model
        )
    if corruption.edit == "things":
        moving = ~static_mask(item.state)
        if not moving.any():
            return None
        return [camera_corruptions.things(item.video, d, stream, moving=moving) for d, stream in doses]
    return [camera_corruptions.PIXELS[corruption.edit](item.video, d, stream) for d, stream in doses]


# name -> (take, rng) -> (video, the take whose truth it has).
Nuisance = Callable[[Take, np.random.Generator], tuple[Video, Take]]


def _textured(item: Take, rng: np.random.Generator) -> tuple[Video, Take]:
    """Other textures in the room."""
    other = take(
        dataclasses.replace(item.scene, texture=int(rng.integers(2**31))),
        number=item.number,
        motion=item.motion,
    )
    return other.video, other


def _repainted(item: Take, rng: np.random.Generator) -> tuple[Video, Take]:
    """The palette's colours dealt out anew."""
    to = dict(zip(COLORS, rng.permutation(COLORS).tolist(), strict=True))
    bodies: list[Body3D] = [dataclasses.replace(b, color=to[b.color]) for b in item.scene.bodies]
    other = take(
        dataclasses.replace(item.scene, bodies=tuple(bodies)), number=item.number, motion=item.motion
    )
    return other.video, other


def _lit(item: Take, rng: np.random.Generator) -> tuple[Video, Take]:
    """Light of 0.7 to 1.15 times the strength and of another tint; the lamps without shadows stand elsewhere.

    The one with shadows stays: where they fall is truth (`camera_path.lit_mask`).
    """
    model, turn = copy.copy(item.model), rng.uniform(-math.pi, math.pi)
    c, s = math.cos(turn), math.sin(turn)
    weak = ~np.asarray(model.light_castshadow, bool)
    model.light_dir[weak] = model.light_dir[weak] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    strength = rng.uniform(0.7, 1.15) * rng.uniform(0.95, 1.05, 3)
    model.light_diffuse[:] *= strength
    model.light_ambient[:] *= strength
    pose = item.state.world_to_camera
    return render3d.render(item.scene, item.motion, pose, model=model, geometry=False).video, item


def _sized(side: int) -> Nuisance:
    def film(item: Take, rng: np.random.Generator) -> tuple[Video, Take]:
        del rng
        scale = side / min(item.scene.height, item.scene.width)
        size = {"height": round(item.scene.height * scale), "width": round(item.scene.width * scale)}
        other = take(
            dataclasses.replace(item.scene, **size),
            number=item.number,
            motion=item.motion,
        )
        return other.video, other

    return film


NUISANCES: Mapping[str, Nuisance] = {
    "texture": _textured,
    "palette": _repainted,
    "light": _lit,
    "64 px": _sized(64),
    "96 px": _sized(96),
    "256 px": _sized(256),
    "blur 0.5": lambda item, rng: (wear.softened(item.video, sigma=0.5), item),
    "blur 1": lambda item, rng: (wear.softened(item.video, sigma=1.0), item),
    "noise 5/255": lambda item, rng: (wear.noisy(item.video, rng), item),
}


def _extrapolated(item: Take) -> Video:
    """The given frames, then bodies and camera straight on at their last step: no camera comes back."""
    last, motion = wear.GIVEN - 1, item.motion
    share = scene_lib.progress(item.scene.camera, item.scene.frames)
    late = np.maximum(np.arange(len(share)) - last, 0)
    on = np.where(late > 0, share[last] + late * (share[last] - share[last - 1]), share)
    step = motion.position[last] - motion.position[last - 1]
    position = np.where(
        late[:, None, None] > 0, motion.position[last] + late[:, None, None] * step, motion.position
    )
    held = np.minimum(np.arange(len(share)), last)
    gone = dataclasses.replace(motion, position=position, orientation=motion.orientation[held])
    poses = scene_lib.poses(item.scene.camera, on)
    return render3d.render(item.scene, gone, poses, model=item.model, geometry=False).video


def _other(item: Take, every: Sequence[Take]) -> Take:
    """The next one of its family."""
    kin = [t for t in every if t.scene.family == item.scene.family]
    at = next(k for k, t in enumerate(kin) if t.number == item.number)
    return kin[(at + 1) % len(kin)]


def camera_tier(metrics: Sequence[CameraMetric]) -> Tier[Take, CameraCorruption]:
    """The tier of the 3-D room, judged by `metrics`."""
    lines = tuple(metrics)

    def noise(item: Take, every: Sequence[Take], rng: np.random.Generator) -> Video:
        del every
        return cast(Video, rng.integers(0, 256, item.video.shape, dtype=np.uint8))

    return Tier(
        film=lambda item: item.video,
        fps=lambda item: item.scene.fps,
        measure=lambda video, item: suite_camera.measure(video, item.state, metrics=lines),
        corrupt=corrupt,
        nuisances=NUISANCES,
        nulls={
            "frozen": lambda item, every, rng: np.repeat(item.video[:1], len(item.video), axis=0),
            "linear": lambda item, every, rng: _extrapolated(item),
            "noise": noise,
            "shuffled": lambda item, every, rng: _other(item, every).video,
        },
    )
