"""Requests become rows of noise of any size, rows become latents, latents become frames.

The noise of a token is a function of (seed, its place in its own grid), so a request gives the same video
alone and packed with others, whatever the batch. A request may give latents to start from, and a noise level
per patch: every mode of `modes` is a choice of these two.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sora_jax import patches, rng
from sora_jax.diffusion import conditioning, guidance, sampler
from sora_jax.nn import partition
from sora_jax.sampling import rows as rows_lib
from sora_jax.sampling.request import Generator, Request, Settings
from sora_jax.sharding import context
from sora_jax.types import PackedBatch, Params, VelocityFn


def generate(
    generator: Generator,
    requests: Sequence[Request],
    *,
    settings: Settings,
    rows: int = 4,
    row_tokens: int | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[UInt8[np.ndarray, "f h w 3"]]:
    """The video of every request, in their order: `sample_latents`, decoded one at a time.

    Raises:
      ValueError: see `sample_latents`; a request that continues other latents, which is no video.
    """
    later = [request.first for request in requests if request.first]
    if later:
        raise ValueError(f"a request begins after {later[0]} latents: join its latents to those, then decode")
    latents = sample_latents(
        generator, requests, settings=settings, rows=rows, row_tokens=row_tokens, progress=progress
    )
    return [np.asarray(generator.autoencoder.decode(clip[None]))[0] for clip in latents]


def sample_latents(
    generator: Generator,
    requests: Sequence[Request],
    *,
    settings: Settings,
    rows: int = 4,
    row_tokens: int | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[Float[np.ndarray, "lf lh lw lc"]]:
    """The normalised latents of every request, in their order.

    Args:
      generator: the model.
      requests: of any sizes; each must fit a row.
      settings: of the sampler.
      rows: rows sampled at once, or as many more as the mesh's parts want.
      row_tokens: length of a row; None = that of the longest request.
      progress: called with (requests done, requests in all) after every batch of rows.

    Raises:
      ValueError: a size that the autoencoder and the patch do not divide (`patches.latent_grid`), given
        latents or levels of another size, a caption that starts after the end.
    """
    if rows < 1 or not requests:
        raise ValueError(f"{len(requests)} requests in {rows} rows: give at least one of each")
    grids = [generator.grid(request) for request in requests]
    longest = max(int(np.prod(grid)) for grid in grids)
    plan = rows_lib.plan(grids, row_tokens=max(row_tokens or 0, longest))
    shares = rows_lib.shares(generator)
    rows = -(-rows // shares) * shares
    made: dict[int, np.ndarray] = {}
    for start in range(0, len(plan), rows):
        group = plan[start : start + rows]
        latents, _ = sample_rows(
            generator, requests, grids, group, settings=settings, pad_rows=min(rows, len(plan))
        )
        made.update(zip([number for row in group for number in row], latents, strict=True))
        progress(len(made), len(requests))
    return [made[number] for number in range(len(requests))]


def sample_rows(
    generator: Generator,
    requests: Sequence[Request],
    grids: Sequence[patches.Grid],
    plan: Sequence[Sequence[int]],
    *,
    settings: Settings,
    pad_rows: int = 1,
) -> tuple[list[Float[np.ndarray, "lf lh lw lc"]], int]:
    """The normalised latents of the requests that `plan` names, row by row, and the steps a cache saved."""
    made, shares = len(plan), rows_lib.shares(generator)
    count = -(-max(pad_rows, made) // shares) * shares
    plan = [*plan, *[plan[-1]] * (count - made)]  # the last row again fills the batch up
    rows = rows_lib.batch(generator, requests, grids, plan)
    with contextlib.ExitStack() as within:
        place: Callable[[Any], Any] = lambda x: x  # noqa: E731
        if generator.mesh is not None:
            place = context.placer(within.enter_context(context.use(generator.mesh)))
        tokens, skipped = sample_batch(
            generator.params,
            place(rows.batch),
            place(rows.start),
            rows.parts and (place(rows.parts[0]), place(rows.parts[1])),
            place(rows.context_level),
            apply=generator.apply,
            encode_text=generator.encode_text,
            settings=settings,
        )
    latents = patches.unpack_rows(
        np.asarray(tokens)[:made],
        rows.batch.segment[:made],
        grids=rows.batch.grid[:made],
        patch=generator.patch,
    )
    return latents, int(skipped)


@functools.partial(jax.jit, static_argnames=("apply", "encode_text", "settings"))
def sample_batch(
    params: Params,
    batch: PackedBatch,
    start: Float[Array, "b n"],
    parts: tuple[PackedBatch, Float[Array, "b n"]] | None = None,
    context_level: Float[Array, "b n"] | None = None,
    *,
    apply: Callable[..., Array],
    encode_text: Callable[[Params, PackedBatch], PackedBatch],
    settings: Settings,
) -> tuple[Float[Array, "b n p"], Int[Array, ""]]:
    """The tokens of a batch, and the steps that the cache saved: all of a sampler that runs on the device.

    Args:
      batch: captions, and the tokens to start from; known ones come back.
      start: the noise level of every token at the first step.
      parts: the same tokens with every part as a segment of its own, and the scale of every token's guidance
        by them (`guidance.by_parts`); None = off.
      context_level: lowest level at which each token is guided by the context; None = 0.
    """
    key = rng.key(0, "sample")

    lowest = 0.0 if context_level is None else context_level

    def told(batch: PackedBatch) -> tuple[PackedBatch, VelocityFn]:
        """The batch with its text encoded, and the velocity that is guided by that."""
        empty = encode_text(params, conditioning.drop_all_captions(batch))
        fn = guidance.guided(
            functools.partial(apply, params),
            guidance_scale=settings.guidance_scale,
            interval=settings.guidance_interval,
            unconditional=lambda batch: batch._replace(text=empty.text, text_segment=empty.text_segment),
            context_scale=settings.context_scale,
            context_level=lowest,
            noise=noise,
        )
        return encode_text(params, batch), fn

    noise = conditioning.token_noise(jax.random.fold_in(key, 0), batch)
    batch, velocity_fn = told(batch)
    if parts is not None:
        pieces, apart = told(parts[0])
        velocity_fn = guidance.by_parts(velocity_fn, apart, parts=pieces, scale=parts[1])
    if settings.context_noise:
        velocity_fn = conditioning.noised_context(velocity_fn, noise=noise, level=settings.context_noise)
    tokens, skipped = sampler.sample_counted(
        jax.random.fold_in(key, 1),
        velocity_fn,
        noise,
        sampler.schedule(settings.steps, shift=settings.shift)[:, None, None] * start[None],
        batch,
        sampler=settings.sampler,
        eta=settings.eta,
        cache=settings.cache,
    )
    return partition.whole(tokens), skipped
