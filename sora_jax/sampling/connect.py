"""From one video to another, or back to its own beginning.

Seeds differ much in how evenly a connection goes: of `Settings.tries` the best by `unevenness` is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sora_jax.sampling.request import Generator
from sora_jax.sampling.video import (
    Job,
    Latents,
    Video,
    after_first,
    known_levels,
    last,
    paces,
    padded,
    spread,
    window,
)


def connect(
    generator: Generator,
    first: Video,
    second: Video,
    *,
    prompt: str,
    latents: int,
    context: int = 3,
    ramp: Sequence[float] = (0.5,),
    seed: int = 1,
) -> Job:
    """From one video to another (P7): both ends are known, `latents` between them start from noise.

    The latents next to the gap may give way: the innermost of the kept ones start at the levels `ramp`
    (rising towards the gap), so that the way from one to the other need not break at a frame. The second
    video's first frame is made again (see the module's docstring).

    Args:
      prompt: of the way between, such as "a red circle turns into a blue square".
      context: latents of each side that the window holds, those of the ramp included.

    Raises:
      ValueError: videos of different sizes or rates, or too short; a ramp as long as the context.
    """
    _check_alike(first, second)
    if len(ramp) >= context:
        raise ValueError(f"a ramp of {len(ramp)} latents in a context of {context}: use fewer than {context}")
    head, tail = last(generator, first, context), after_first(generator, second, context)
    given = np.concatenate([padded(head, latents), tail])
    by_latent = [0.0] * (context - len(ramp)) + list(ramp)
    levels = np.array([*by_latent, *[1.0] * latents, *by_latent[::-1]], np.float32)
    before = len(first.latents) - context
    request = window(generator, first, given, spread(generator, given, levels), before)

    def finish(made: Latents) -> Video:
        parts = [first.latents[:before], made, second.latents[1 + context :]]
        return dataclasses.replace(first, latents=np.concatenate(parts), dropped=second.dropped)

    request = dataclasses.replace(request, prompt=prompt, seed=seed)
    return Job(request=request, finish=finish, fault=unevenness)


def loop(
    generator: Generator, video: Video, *, prompt: str, latents: int, context: int = 3, seed: int = 1
) -> Job:
    """A seamless loop (P5): `connect` of the video with itself, both ends wholly known.

    The last frame made is the video's first again and is dropped, so that the loop has no frame twice.
    """
    tail, head = after_first(generator, video, context), last(generator, video, context)
    given = np.concatenate([padded(head, latents), tail])
    known = [*range(context), *range(context + latents, 2 * context + latents)]
    levels = known_levels(generator, given, known=known)
    request = window(generator, video, given, levels, len(video.latents) - context)
    return Job(
        request=dataclasses.replace(request, prompt=prompt, seed=seed),
        finish=lambda made: dataclasses.replace(
            video, latents=np.concatenate([video.latents, made[context : context + latents]]), dropped=1
        ),
    )


def unevenness(video: Video) -> float:
    """The largest step from latent to latent over the mean one: what a break on the way is seen by."""
    steps = paces(video)
    return float(steps.max() / max(steps.mean(), 1e-6))


def _check_alike(first: Video, second: Video) -> None:
    a, b = first.latents.shape[1:3], second.latents.shape[1:3]
    if a != b or first.fps != second.fps:
        raise ValueError(
            f"videos of {a} latents at {first.fps:g} frames/s and of {b} at {second.fps:g}: bring them to "
            "one size and rate"
        )
