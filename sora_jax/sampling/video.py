"""Videos as latents, jobs that make them, and what the modes of prompting share.

    job = extend(generator, video, prompt="a red circle moving left", latents=4)
    (longer,) = run(generator, [job], settings=settings)

A mode (`create`, `extend`, `connect`, `edit`) turns what is given into a `Job`: one request
(`request.Request`: latents to start from, and the level that each patch starts from) and what is made of
the latents that come back. None is a sampler of its own, and videos go from mode to mode as latents, never
through pixels. Levels: 0 = known, 1 = made from noise alone.

A video's first latent is its first frame alone; every other is of `ratio_t` frames. So a part that begins
inside a video begins with a latent of several frames (`Request.first` > 0), as a share of the training clips
does, and what follows a frame that was a video's first is kept from that video's second latent on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax import patches
from sora_jax.sampling.generate import Fault, Latents, sample_latents
from sora_jax.sampling.request import Generator, Request, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
    """A video as normalised latents.

    Attributes:
      fps: frames per second of its pixels.
      dropped: frames at the end that are not shown; a loop's last is its first.
    """

    latents: Latents
    fps: float
    dropped: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a mode asks the sampler for, and what it makes of the answer.

    Attributes:
      request: of the sampler.
      finish: the latents of the request -> the whole video.
      fault: what the best of several seeds (`Settings.tries`) has least of; None = it is the one that its
        text explains best (`choosing`).
    """

    request: Request
    finish: Callable[[Latents], Video]
    fault: Callable[[Video], float] | None = None


def run(
    generator: Generator,
    jobs: Sequence[Job],
    *,
    settings: Settings,
    rows: int = 4,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[Video]:
    """The video of every job, the best of `settings.tries` seeds; jobs of any modes and sizes share batches.

    Args:
      progress: as of `generate.sample_latents`.
    """
    requests, faults = [job.request for job in jobs], [_fault_of(job) for job in jobs]
    ask = {"settings": settings, "rows": rows, "progress": progress, "faults": faults}
    made = sample_latents(generator, requests, **ask)
    return [job.finish(latents) for job, latents in zip(jobs, made, strict=True)]


def _fault_of(job: Job) -> Fault | None:
    fault = job.fault
    return None if fault is None else lambda latents: fault(job.finish(latents))


def encode(generator: Generator, video: UInt8[np.ndarray, "f h w 3"], *, fps: float) -> Video:
    """A video of pixels as latents.

    Raises:
      ValueError: a size that does not divide, with the nearest that does.
    """
    patches.latent_grid(*video.shape[:3], ratio=generator.ratio, patch=generator.patch)
    return Video(latents=np.asarray(generator.autoencoder.encode(video[None]))[0], fps=fps)


def decode(generator: Generator, video: Video) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames of a video, all at once; a long one is streamed (`stream.frames_of`)."""
    frames = np.asarray(generator.autoencoder.decode(video.latents[None]))[0]
    return frames[: len(frames) - video.dropped]


def window(
    generator: Generator, video: Video, given: Latents, start: Float[np.ndarray, "gf gh gw"], first: int
) -> Request:
    """The request of latents `given` and levels `start`, `first` latents into the video; no prompt yet."""
    step, *sides = generator.ratio
    frames = len(given) * step if first else 1 + (len(given) - 1) * step
    height, width = (side * r for side, r in zip(given.shape[1:3], sides, strict=True))
    return Request(
        prompt="",
        frames=frames,
        height=height,
        width=width,
        fps=video.fps,
        seed=0,
        given=given,
        start=start,
        first=first,
    )


def spread(generator: Generator, latents: Latents, levels: Float[np.ndarray, " lf"]) -> np.ndarray:
    """A level per latent frame as a level per patch; a patch of several frames takes the largest."""
    frames, rows, columns = patches.grid_of(latents.shape, patch=generator.patch)
    by_patch = levels.reshape(frames, generator.patch[0]).max(1)
    return np.broadcast_to(by_patch[:, None, None], (frames, rows, columns)).astype(np.float32)


def known_levels(generator: Generator, latents: Latents, *, known: Iterable[int]) -> np.ndarray:
    """0 for the latent frames `known`, 1 for the others."""
    levels = np.ones(len(latents), np.float32)
    levels[list(known)] = 0
    return spread(generator, latents, levels)


def pixels(generator: Generator, video: Video) -> tuple[int, int, int]:
    f, h, w, _ = video.latents.shape
    step, rows, columns = generator.ratio
    return 1 + (f - 1) * step, h * rows, w * columns


def padded(latents: Latents, more: int) -> Latents:
    """With `more` latents of zeros behind."""
    if more < 1:
        raise ValueError(f"{more} latents to make: use 1 or more")
    return np.concatenate([latents, np.zeros((more, *latents.shape[1:]), np.float32)])


def last(generator: Generator, video: Video, context: int) -> Latents:
    """The last `context` latents.

    Raises:
      ValueError: a video with fewer, saying how many frames it needs.
    """
    _check_length(generator, video, context, least=context)
    return video.latents[len(video.latents) - context :]


def after_first(generator: Generator, video: Video, context: int) -> Latents:
    """The `context` latents after the first, which alone can follow others.

    Raises:
      ValueError: a video with fewer, saying how many frames it needs.
    """
    _check_length(generator, video, context, least=context + 1)
    return video.latents[1 : 1 + context]


def paces(video: Video) -> Float[np.ndarray, " k"]:
    """Root mean square steps from latent to latent; that from the first, which is one frame, is left out."""
    return np.sqrt(np.mean(np.diff(video.latents[1:], axis=0) ** 2, axis=(1, 2, 3)))


def _check_length(generator: Generator, video: Video, context: int, *, least: int) -> None:
    if context < 1:
        raise ValueError(f"context {context} is below 1 latent: use 1 or more")
    if len(video.latents) < least:
        step = generator.ratio[0]
        raise ValueError(
            f"the video has {1 + (len(video.latents) - 1) * step} frames, and a context of {context} latents "
            f"needs {1 + (least - 1) * step}: give a longer video, or less context"
        )
