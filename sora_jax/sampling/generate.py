"""Requests become rows of noise of any size, rows become latents, latents become frames.

The noise of a token is a function of (seed, its place in its own grid), so a request gives the same video
alone and packed with others, whatever the batch. A request may give latents to start from, and a noise level
per patch: every mode is a choice of these two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sora_jax import patches, rng
from sora_jax.diffusion import conditioning, guidance, sampler
from sora_jax.nn import partition
from sora_jax.sampling import choosing
from sora_jax.sampling import rows as rows_lib
from sora_jax.sampling.request import Generator, Request, Settings
from sora_jax.sharding import context
from sora_jax.types import PackedBatch, Params, VelocityFn

Latents = Float[np.ndarray, "lf lh lw lc"]
Fault = Callable[[Latents], float]


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
    faults: Sequence[Fault | None] | None = None,
) -> list[Latents]:
    """The normalised latents of every request, in their order.

    Args:
      generator: the model.
      requests: of any sizes; each must fit a row.
      settings: of the sampler.
      rows: rows sampled at once, or as many more as the mesh's parts want.
      row_tokens: length of a row; None = that of the longest request.
      progress: called with (requests done, requests in all) after every batch of rows.
      faults: of each request, what the best of `settings.tries` seeds has least of, as a function of its
        latents; None = `choosing.surprise`. After the last seed, 2**32 - 1, comes 0.

    Raises:
      ValueError: a size that the autoencoder and the patch do not divide (`patches.latent_grid`), given
        latents or levels of another size, a caption that starts after the end.
    """
    if rows < 1 or not requests:
        raise ValueError(f"{len(requests)} requests in {rows} rows: give at least one of each")
    tries, faults = settings.tries, faults or [None] * len(requests)
    settings = dataclasses.replace(settings, tries=1)  # it is one program, however many seeds
    seeded = [_reseeded(request, k) for request in requests for k in range(tries)]
    grids = [generator.grid(request) for request in seeded]
    longest = max(int(np.prod(grid)) for grid in grids)
    plan = rows_lib.plan(grids, row_tokens=max(row_tokens or 0, longest))
    shares = rows_lib.shares(generator)
    rows = -(-rows // shares) * shares
    made: dict[int, tuple[Latents, float]] = {}
    for start in range(0, len(plan), rows):
        group = plan[start : start + rows]
        numbers = [number for row in group for number in row]
        judge = tries > 1 and any(faults[number // tries] is None for number in numbers)
        ask = {"settings": settings, "pad_rows": min(rows, len(plan)), "judge": judge}
        found = sample_rows(generator, seeded, grids, group, **ask)
        made.update(zip(numbers, zip(found.latents, found.surprise, strict=True), strict=True))
        progress(len(made) // tries, len(requests))
    kept = []
    for number, fault in enumerate(faults):
        seeds = [made[number * tries + k] for k in range(tries)]
        kept.append(min(seeds, key=lambda one: fault(one[0]) if fault else one[1])[0])
    return kept


def _reseeded(request: Request, number: int) -> Request:
    return dataclasses.replace(request, seed=(request.seed + number) % 2**32)


class Sampled(NamedTuple):
    """What `sample_rows` made, in the order of the rows.

    Attributes:
      latents: of every request, normalised.
      surprise: of every request (`choosing.surprise`); 0 where it was not to be judged.
      skipped: steps that a cache saved.
    """

    latents: list[Latents]
    surprise: list[float]
    skipped: int


def sample_rows(
    generator: Generator,
    requests: Sequence[Request],
    grids: Sequence[patches.Grid],
    plan: Sequence[Sequence[int]],
    *,
    settings: Settings,
    pad_rows: int = 1,
    judge: bool = False,
) -> Sampled:
    """The requests that `plan` names, row by row: one seed of each, whatever `settings.tries`."""
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
        surprise = np.zeros(rows.batch.clip.shape)
        if judge:
            ask = {"apply": generator.apply, "encode_text": generator.encode_text}
            batch = place(rows.batch)._replace(tokens=tokens)
            surprise = np.asarray(choosing.surprise(generator.params, batch, **ask))
    latents = patches.unpack_rows(
        np.asarray(tokens)[:made],
        rows.batch.segment[:made],
        grids=rows.batch.grid[:made],
        patch=generator.patch,
    )
    judged = [float(s) for row, own in zip(plan, surprise[:made], strict=False) for s in own[: len(row)]]
    return Sampled(latents, judged, int(skipped))


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
