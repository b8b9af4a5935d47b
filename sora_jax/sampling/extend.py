"""Longer, at either end: any number of times, in latents, at the same cost each.

Seeds differ in how fast a thing goes on: of `Settings.tries` the best by `change_of_pace` is kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from sora_jax import text_bytes
from sora_jax.sampling.request import CUT_SCALE, MEMORY, REMEMBERED_LEVEL, Generator
from sora_jax.sampling.video import Job, Video, after_first, known_levels, last, paces, padded, window


def extend(
    generator: Generator,
    video: Video,
    *,
    prompt: str,
    latents: int,
    context: int = 3,
    seed: int = 1,
    before: int | None = None,
    memory: bool = MEMORY,
    cut_scale: float = CUT_SCALE,
) -> Job:
    """Forward (P3): the last `context` latents are known, `latents` more start from noise.

    The window has `context + latents` latents however long the video is, so any number of extensions costs
    the same each.

    Args:
      before: latents before the context, of which the window knows no more than how many they are; None = as
        many as the video has. More where `video` is the end of a longer one.
      memory: of a video that is longer than the window, the first latent is known too, so that what is made
        from what was made is still held against how it began; `video` begins with it, whatever `before` is.
        Its context then guides (`Settings.context_scale`) at noise levels from `REMEMBERED_LEVEL` on alone:
        below, guidance makes the faults of what was made larger.
      cut_scale: see `create.storyboard`, for a prompt of several captions.

    Raises:
      ValueError: a video with fewer latents than the context, or, with a memory, without its first.
    """
    kept = last(generator, video, context)
    older = video.latents[: len(video.latents) - context]
    before = len(older) if before is None else before
    anchor = generator.patch[0] if memory and before > latents else 0
    if len(older) < anchor:
        raise ValueError(
            f"a memory wants the video's first latent, and what is given has {len(older)} before the context "
            f"of {context}: give it with its first latent in front, or memory=False"
        )
    given = padded(np.concatenate([older[:anchor], kept]), latents)
    known = anchor + context
    request = window(
        generator, video, given, known_levels(generator, given, known=range(known)), before - anchor
    )
    return Job(
        request=dataclasses.replace(
            request,
            prompt=prompt,
            seed=seed,
            anchored=anchor > 0,
            context_level=REMEMBERED_LEVEL if anchor else 0.0,
            apart=cut_scale,
        ),
        finish=lambda made: dataclasses.replace(
            video, latents=np.concatenate([older, kept, made[known:]]), dropped=0
        ),
        fault=_fault(len(video.latents), prompt),
    )


def extend_backward(
    generator: Generator, video: Video, *, prompt: str, latents: int, context: int = 3, seed: int = 1
) -> Job:
    """Backward (P4): the second to `1 + context`-th latents are known, what comes before starts from noise.

    `latents` of several frames are added. The frame that was the first is made again with them, as part of a
    latent of several frames, and all later latents stay as they are. Every beginning is at frame 0, so the
    second of several wants another seed.

    Raises:
      ValueError: a video with fewer than `1 + context` latents.
    """
    kept = after_first(generator, video, context)
    free = latents + 1
    given = np.concatenate([np.zeros((free, *kept.shape[1:]), np.float32), kept])
    levels = known_levels(generator, given, known=range(free, free + context))
    request = window(generator, video, given, levels, 0)
    return Job(
        request=dataclasses.replace(request, prompt=prompt, seed=seed),
        finish=lambda made: dataclasses.replace(
            video, latents=np.concatenate([made[:free], video.latents[1:]])
        ),
        fault=_fault(1 - len(video.latents), prompt),
    )


def change_of_pace(video: Video, *, given: int) -> float:
    """How much faster or slower the first two steps that were made are than the last three that were given.

    A step is `video.paces`; the sum of the |log| of either over the mean of those.

    Args:
      given: so many latents at the beginning were given, three or more; below 0: at the end, two or more.
    """
    steps = paces(video)
    steps, join = (steps, given - 2) if given > 0 else (steps[::-1], -given - 1)
    before, after = steps[max(0, join - 3) : join], steps[join : join + 2]
    return float(np.abs(np.log(np.maximum(after, 1e-6) / max(before.mean(), 1e-6))).sum())


def _fault(given: int, prompt: str) -> Callable[[Video], float] | None:
    """None where too little was given to have a pace, and where a new shot may have another."""
    if -2 < given < 3 or len(text_bytes.split_times(prompt)) > 1:
        return None
    return functools.partial(change_of_pace, given=given)
