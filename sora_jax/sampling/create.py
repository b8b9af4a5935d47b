"""Modes that begin a video: text, a storyboard, an image."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from sora_jax import patches, text_bytes
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

    Raises:
      ValueError: a size that does not divide, with the nearest that does.
    """
    request = Request(
        prompt=prompt, frames=frames, height=height, width=width, fps=fps, seed=seed, apart=cut_scale
    )
    cuts = _cuts(generator, request)
    return Job(
        request=request,
        finish=lambda latents: Video(latents=latents, fps=fps),
        fault=functools.partial(shots_fault, cuts=cuts) if cuts else None,
    )


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
    Not every seed cuts everywhere and keeps the cast: of `Settings.tries` the best by `shots_fault` is kept.

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


def shots_fault(video: Video, cuts: Sequence[int]) -> float:
    """How far the looks of the shots lie apart, less how firmly the weakest cut is made.

    Looks are a shot's mean latent over time and place, compared with the first shot's (the largest Euclidean
    distance counts); a cut's firmness is the root mean square step of the latents across it.

    Args:
      cuts: latents with which the shots but the first begin, ascending, one at least.
    """
    begins = np.asarray(cuts)
    first, *later = (shot.mean((0, 1, 2)) for shot in np.split(video.latents, begins))
    apart = max(np.linalg.norm(looks - first) for looks in later)
    steps = np.sqrt(np.mean((video.latents[begins] - video.latents[begins - 1]) ** 2, axis=(1, 2, 3)))
    return float(apart - steps.min())


def _cuts(generator: Generator, request: Request) -> list[int]:
    """The latents with which the captions but the first begin to be read."""
    frames, _, _ = generator.grid(request)
    depth = generator.patch[0]
    instants = patches.positions(
        (frames, 1, 1), ratio=generator.ratio, patch=generator.patch, fps=request.fps
    )
    starts = [seconds for seconds, _ in text_bytes.split_times(request.prompt)]
    return ((np.flatnonzero(np.diff(patches.spans_of(instants, starts))) + 1) * depth).tolist()
