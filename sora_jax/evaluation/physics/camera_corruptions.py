"""Graded violations of a camera's path and of a rigid world, for the certificates of `camera`'s metrics.

Those of the path are filmed anew: the same events from a camera that goes elsewhere, so that every frame by
itself is faultless. Each starts at the true first frame. Those of the pixels bend or tint a finished video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.worlds import render3d
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.scene3d import Scene3D
from sora_jax.worlds.simulate3d import Motion

Share = Float[np.ndarray, " f"]
CELLS = 4  # of a non-rigid warp's field, a side
PERIOD = 4  # frames after which that field is another


def scale(share: Share, dose: float) -> Share:
    """The path goes (1 + dose) times as far."""
    return share * (1 + dose)


def wrong_sign(share: Share, dose: float) -> Share:
    """For the last `dose` (0 to 1) of the time the path runs the other way; at 1 it is the mirrored path."""
    moment = np.linspace(0, 1, len(share))
    turn = float(np.interp(1 - dose, moment, share))
    return np.where(moment <= 1 - dose, share, 2 * turn - share)


def time_warp(share: Share, dose: float) -> Share:
    """The same path at other times: the instant t of the clip, 0 to 1, shows t^(1 + dose)."""
    moment = np.linspace(0, 1, len(share))
    return np.interp(moment ** (1 + dose), moment, share)


def no_return(share: Share, dose: float) -> Share:
    """The camera drifts on by `dose` of its path over the clip: one that returns misses its start by it."""
    return share + dose * np.linspace(0, 1, len(share))


def nonrigid(
    video: UInt8[np.ndarray, "f h w 3"], dose: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "f h w 3"]:
    """Smooth waves of the picture, others every `PERIOD` frames, none in frame 0.

    `dose` is the root mean square displacement over the frame's width, x and y each.
    """
    frames, height, width = video.shape[:3]
    knots = rng.standard_normal((frames // PERIOD + 2, CELLS, CELLS, 2)).astype(np.float32)
    fields = np.stack([cv2.resize(k, (width, height), interpolation=cv2.INTER_CUBIC) for k in knots])
    fields /= np.sqrt((fields**2).mean(axis=(1, 2), keepdims=True))
    fields[0] = 0
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    bent = np.empty_like(video)
    for frame in range(frames):
        knot, part = divmod(frame, PERIOD)
        part /= PERIOD
        x, y = np.moveaxis(((1 - part) * fields[knot] + part * fields[knot + 1]) * dose * width, -1, 0)
        bent[frame] = cv2.remap(
            video[frame], columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
    return bent


def palette(
    video: UInt8[np.ndarray, "f h w 3"], dose: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "f h w 3"]:
    """The colours drift: by the last frame each channel has moved by `dose` of the range, up or down."""
    drift = rng.choice((-1.0, 1.0), 3) * dose * 255
    moved = video + np.linspace(0, 1, len(video))[:, None, None, None] * drift
    return np.clip(moved, 0, 255).round().astype(np.uint8)


def things(
    video: UInt8[np.ndarray, "f h w 3"], dose: float, rng: np.random.Generator, *, moving: np.ndarray
) -> UInt8[np.ndarray, "f h w 3"]:
    """`palette` of the pixels `moving` `[f h w]` alone."""
    return np.where(moving[..., None], palette(video, dose, rng), video)


PATHS: Mapping[str, Callable[[Share, float], Share]] = {
    "scale": scale,
    "wrong sign": wrong_sign,
    "time warp": time_warp,
    "no return": no_return,
}
PIXELS: Mapping[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "non-rigid": nonrigid,
    "palette": palette,
}
DOSES: Mapping[str, tuple[float, ...]] = {  # the first is the smallest that a person sees
    "scale": (0.15, 0.25, 0.4, 0.6, 0.9),
    "wrong sign": (0.3, 0.45, 0.6, 0.8, 1.0),
    "time warp": (0.3, 0.5, 0.8, 1.2, 2.0),
    "no return": (0.1, 0.2, 0.35, 0.6, 1.0),
    "non-rigid": (0.01, 0.02, 0.035, 0.06, 0.1),
    "palette": (0.04, 0.08, 0.14, 0.22, 0.35),
    "things": (0.04, 0.08, 0.14, 0.22, 0.35),
}


def refilm(scene: Scene3D, motion: Motion, name: str, dose: float) -> UInt8[np.ndarray, "f h w 3"]:
    """The video of a scene from a path corrupted by a dose of `PATHS[name]`.

    Raises:
      KeyError: a name that is not one of `PATHS`.
    """
    return refilms(scene, motion, name, (dose,))[0]


def refilms(
    scene: Scene3D, motion: Motion, name: str, doses: Sequence[float], *, model: Any = None
) -> list[UInt8[np.ndarray, "f h w 3"]]:
    """`refilm` of each dose, in one OpenGL context: to make one costs as much as some twenty frames.

    Args:
      model: `room3d.model(scene)`, if it is there already.

    Raises:
      KeyError: a name that is not one of `PATHS`.
    """
    share = scene_lib.progress(scene.camera, scene.frames)
    poses = [scene_lib.poses(scene.camera, PATHS[name](share, dose)) for dose in doses]
    again = np.tile(np.arange(scene.frames), len(doses))
    longer = dataclasses.replace(
        motion, position=motion.position[again], orientation=motion.orientation[again]
    )
    video = render3d.render(scene, longer, np.concatenate(poses), model=model, geometry=False).video
    return np.split(video, len(doses))
