"""Modes that begin a video: text, a storyboard, an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from sora_jax import text_bytes
from sora_jax.sampling.request import CUT_SCALE, Generator, Request
from sora_jax.sampling.video import Job, Video, encode


def text_to_video(
    generator: Generator,
    *,
    prompt: str,
    frames: int,
    height: int,
    width: int,
    fps: float,
    seed: int = 1,
    cut_scale: float = CUT_SCALE,
) -> Job:
    """Nothing is known. An image is a video of one frame (Sora's row P8), and any size goes (M6).

    Args:
      prompt: a caption, or several with their times, each of which is a shot (`storyboard`).
      cut_scale: how firmly a shot begins anew; see `storyboard`.
    """
    del generator
    request = Request(
        prompt=prompt, frames=frames, height=height, width=width, fps=fps, seed=seed, apart=cut_scale
    )
    return Job(request=request, finish=lambda latents: Video(latents=latents, fps=fps))


def storyboard(
    generator: Generator,
    *,
    shots: Sequence[tuple[float, str]],
    frames: int,
    height: int,
    width: int,
    fps: float,
    seed: int = 1,
    cut_scale: float = CUT_SCALE,
) -> Job:
    """Nothing is known; a patch reads the caption of its time, (seconds, caption) in order (P10).

    A cut falls where a latent begins: the last latent to start before a caption's time is still the old shot.

    Args:
      cut_scale: while noise is high, where things find their places, a shot is led away from going on and
        towards what it would be as a video of its own (`guidance.by_parts`): 0 = off, 1 = it is made for
        itself. Looks are settled below, by all shots together.
    """
    prompt = text_bytes.join_times(shots)
    return text_to_video(
        generator,
        prompt=prompt,
        frames=frames,
        height=height,
        width=width,
        fps=fps,
        seed=seed,
        cut_scale=cut_scale,
    )


def animate(
    generator: Generator,
    image: UInt8[np.ndarray, "h w 3"],
    *,
    prompt: str,
    frames: int,
    fps: float,
    seed: int = 1,
) -> Job:
    """The first latent is the image's and known, the rest starts from noise (P2)."""
    first = encode(generator, image[None], fps=fps)
    height, width = image.shape[:2]
    request = Request(
        prompt=prompt, frames=frames, height=height, width=width, fps=fps, seed=seed, given=first.latents
    )
    return Job(request=request, finish=lambda latents: Video(latents=latents, fps=fps))
