"""Modes that change a video: by text, within a mask, around it, between frames, at a larger size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import cv2
import einops
import numpy as np
from jaxtyping import Bool, UInt8

from sora_jax.sampling.request import Generator
from sora_jax.sampling.video import Job, Video, encode, pixels, spread, window


def edit(generator: Generator, video: Video, *, prompt: str, strength: float, seed: int = 1) -> Job:
    """SDEdit (P6; Meng et al. 2021, arXiv 2108.01073): all starts at level `strength` and follows the prompt.

    At 0 the latents come back as they are; at 1 the video counts for nothing and the prompt's own is made.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength} is outside [0, 1]: 0 keeps all, 1 keeps nothing")
    levels = spread(generator, video.latents, np.full(len(video.latents), strength, np.float32))
    request = window(generator, video, video.latents, levels, 0)
    return Job(
        request=dataclasses.replace(request, prompt=prompt, seed=seed),
        finish=lambda made: dataclasses.replace(video, latents=made),
    )


def inpaint(
    generator: Generator,
    video: Video,
    mask: Bool[np.ndarray, "f h w"],
    *,
    prompt: str,
    seed: int = 1,
) -> Job:
    """What the mask marks is made anew: a patch with a marked pixel starts from noise, the others are known.

    Raises:
      ValueError: a mask of another shape than the video, naming both.
    """
    frames, height, width = pixels(generator, video)
    if mask.shape != (frames, height, width):
        raise ValueError(
            f"the mask has shape {mask.shape}, the video {(frames, height, width)}: make them one"
        )
    request = window(generator, video, video.latents, _covered(generator, mask).astype(np.float32), 0)
    return Job(
        request=dataclasses.replace(request, prompt=prompt, seed=seed),
        finish=lambda made: dataclasses.replace(video, latents=made),
    )


def outpaint(
    generator: Generator,
    video: UInt8[np.ndarray, "f h w 3"],
    *,
    fps: float,
    height: int,
    width: int,
    prompt: str,
    top: int = 0,
    left: int = 0,
    seed: int = 1,
) -> Job:
    """The video becomes a part of a larger frame, at (`top`, `left`); all around starts from noise.

    The new room is filled with the nearest pixels before the whole is encoded, and the patches that lie
    wholly in the old frame are known.

    Raises:
      ValueError: a frame that does not hold the video, or a size that does not divide.
    """
    f, h, w, _ = video.shape
    bottom, right = height - h - top, width - w - left
    if min(top, left, bottom, right) < 0:
        raise ValueError(f"a video of {h} x {w} at ({top}, {left}) is not within {height} x {width} pixels")
    sides = ((0, 0), (top, bottom), (left, right))
    canvas = np.pad(video, (*sides, (0, 0)), mode="edge")
    mask = np.pad(np.zeros((f, h, w), bool), sides, constant_values=True)
    return inpaint(generator, encode(generator, canvas, fps=fps), mask, prompt=prompt, seed=seed)


def keyframes(
    generator: Generator,
    frames_at: Mapping[int, UInt8[np.ndarray, "h w 3"]],
    *,
    prompt: str,
    frames: int,
    fps: float,
    loose: float = 0.4,
    seed: int = 1,
) -> Job:
    """Frames at given places, the rest is filled in (P12).

    A latent all of whose frames are given is known. One with some of them starts at the level `loose` from
    the nearest given frames held, so that what moves through it may move. The others start from noise.

    Args:
      frames_at: number of a frame, from 0 -> its pixels, all of one size.

    Raises:
      ValueError: no frame, frames of different sizes, or a number that the video does not have.
    """
    if not frames_at:
        raise ValueError("no keyframes: give at least one, or use text alone")
    shapes = {image.shape for image in frames_at.values()}
    if len(shapes) > 1:
        raise ValueError(f"keyframes of different sizes {sorted(shapes)}: resize them to one")
    if not 0 < loose <= 1:
        raise ValueError(f"loose {loose} is outside (0, 1]")
    numbers = np.array(sorted(frames_at))
    if numbers[0] < 0 or numbers[-1] >= frames:
        raise ValueError(f"keyframes {numbers.tolist()} of a video of frames 0 to {frames - 1}")
    nearest = numbers[np.abs(numbers[None, :] - np.arange(frames)[:, None]).argmin(1)]
    held = encode(generator, np.stack([frames_at[n] for n in nearest.tolist()]), fps=fps)
    given = np.isin(np.arange(frames), numbers)
    groups = [given[:1], *given[1:].reshape(-1, generator.ratio[0])]
    levels = np.array([0.0 if g.all() else loose if g.any() else 1.0 for g in groups], np.float32)
    request = window(generator, held, held.latents, spread(generator, held.latents, levels), 0)
    return Job(
        request=dataclasses.replace(request, prompt=prompt, seed=seed),
        finish=lambda made: dataclasses.replace(held, latents=made),
    )


def upscale(
    generator: Generator,
    draft: UInt8[np.ndarray, "f h w 3"],
    *,
    fps: float,
    height: int,
    width: int,
    prompt: str,
    level: float = 0.6,
    seed: int = 1,
) -> Job:
    """A draft at a larger size (M9): its frames, resized and encoded, start at `level`; the layout stays."""
    if not 0 < level <= 1:
        raise ValueError(f"level {level} is outside (0, 1]: 0.6 keeps the layout and redraws edges")
    large = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in draft])
    return edit(generator, encode(generator, large, fps=fps), prompt=prompt, strength=level, seed=seed)


def _covered(generator: Generator, mask: Bool[np.ndarray, "f h w"]) -> Bool[np.ndarray, "gf gh gw"]:
    """Which patches have a marked pixel."""
    (rt, rh, rw), (pt, ph, pw) = generator.ratio, generator.patch
    groups = [mask[:1], *mask[1:].reshape(-1, rt, *mask.shape[1:])]
    latents = np.stack([group.any(0) for group in groups])
    return einops.reduce(
        latents,
        "(gf pf) (gh ph) (gw pw) -> gf gh gw",
        np.any,  # type: ignore[arg-type]
        pf=pt,
        ph=rh * ph,
        pw=rw * pw,
    )
