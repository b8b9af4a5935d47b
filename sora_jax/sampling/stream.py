"""Videos of any length: window after window of latents, decoded as they come.

    chunks = windows(generator, settings, prompt=..., latents=241, height=64, width=64, fps=16.0)
    video_files.write_mp4(path, frames_of(generator, chunks), fps=16.0)

Each window knows the last `context` latents of what was made, with `memory` the very first too, and nothing
between: what it knows has a fixed size, and so have its time and the decoder's memory, however long the
video. `Settings.context_noise` above 0 shows those latents a little noised, which curbs the drift of a model
that goes on from its own mistakes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from sora_jax import text_bytes
from sora_jax.models import autoencoder_latents, autoencoder_stream, frozen_autoencoder
from sora_jax.models.autoencoder import Autoencoder
from sora_jax.models.autoencoder_latents import LatentStatistics
from sora_jax.models.autoencoder_stream import StreamCache
from sora_jax.sampling.create import text_to_video
from sora_jax.sampling.extend import extend
from sora_jax.sampling.request import MEMORY, Generator, Settings
from sora_jax.sampling.video import Latents, Video, run
from sora_jax.types import Params


def windows(
    generator: Generator,
    settings: Settings,
    *,
    prompt: str,
    latents: int,
    height: int,
    width: int,
    fps: float,
    seed: int = 1,
    window: int = 9,
    context: int = 3,
    memory: bool = MEMORY,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Iterator[Latents]:
    """The latents of a video in the order of time, in pieces: a window, then what is free in each.

    Of `settings.tries` seeds the best first window is kept, since what goes on keeps what that shows.
    The noise of a place is the same whatever the windows, so a window as long as the video gives what
    `text_to_video` gives.

    Args:
      prompt: a caption, or a storyboard whose times are of the whole video.
      latents: of the whole video, which then has `1 + (latents - 1) ratio_t` frames.
      window: latents sampled at once; as many as the model was trained on, or fewer.
      context: of them, known from the window before.
      memory: the first latent stays known, as one more of them; see `extend`.
      progress: called with (latents made, latents).

    Raises:
      ValueError: a context that leaves nothing to make.
    """
    step, kept = generator.ratio[0], generator.patch[0] if memory else 0
    free = window - context - kept
    if context < 1 or free < 1:
        also = f" and a memory of {kept}" if kept else ""
        raise ValueError(
            f"a context of {context} latents{also} in a window of {window}: "
            f"use a context of 1 to {window - kept - 1}, or a longer window"
        )
    made = min(window, latents)
    first = text_to_video(
        generator,
        prompt=_within(prompt, 0, made, step / fps),
        frames=1 + (made - 1) * step,
        height=height,
        width=width,
        fps=fps,
        seed=seed,
    )
    (video,) = run(generator, [first], settings=settings)
    anchor = video.latents[: generator.patch[0]]
    progress(made, latents)
    yield video.latents
    while made < latents:
        more = min(free, latents - made)
        job = extend(
            generator,
            Video(latents=np.concatenate([anchor, video.latents[-context:]]), fps=fps),
            prompt=_within(prompt, made - context, made + more, step / fps),
            latents=more,
            context=context,
            seed=seed,
            before=made - context,
            memory=memory,
        )
        (video,) = run(generator, [job], settings=dataclasses.replace(settings, tries=1))
        made += more
        progress(made, latents)
        yield video.latents[-more:]


def _within(prompt: str, first: int, stop: int, seconds: float) -> str:
    """The captions of a storyboard that hold somewhere in latents [first, stop)."""
    timed = text_bytes.split_times(prompt)
    begin, end = first * seconds, (stop - 1) * seconds
    now = max((start, text) for start, text in timed if start <= begin)
    later = [(start, text) for start, text in timed if begin < start <= end]
    return text_bytes.join_times([(0.0, now[1]), *later])


def frames_of(
    generator: Generator, chunks: Iterable[Latents], *, dropped: int = 0
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of a video whose latents come in chunks, each decoded once, in memory of one chunk.

    Args:
      dropped: frames at the end that are left out; see `video.Video`.
    """
    frozen = generator.autoencoder
    cache: StreamCache | None = None
    waiting: list[np.ndarray] = []
    for chunk in chunks:
        if cache is None:
            _, rows, columns, _ = chunk.shape
            _, high, wide = generator.ratio
            cache = autoencoder_stream.decoder_cache(frozen.model, 1, rows * high, columns * wide)
        frames, cache = _decode(frozen.params, frozen.statistics, cache, chunk[None], model=frozen.model)
        waiting += list(np.asarray(frames)[0])
        yield from waiting[: len(waiting) - dropped]
        waiting = waiting[len(waiting) - dropped :]


@functools.partial(jax.jit, static_argnames="model")
def _decode(
    params: Params,
    statistics: LatentStatistics,
    cache: StreamCache,
    latents: jax.Array,
    *,
    model: Autoencoder,
) -> tuple[jax.Array, StreamCache]:
    latents = autoencoder_latents.denormalise(latents, statistics)
    frames, cache = autoencoder_stream.decode_stream(params, cache, latents, model=model)
    return frozen_autoencoder.to_pixels(frames), cache
