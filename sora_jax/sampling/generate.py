"""Requests become rows of noise of any size, rows become latents, latents become frames.

The noise of a token is a function of (seed, its place in its own grid), so a request gives the same video
alone and packed with others, whatever the batch. A request may give latents to start from, and a noise level
per patch: every mode of `modes` is a choice of these two.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sora_jax import patches, rng, text_bytes
from sora_jax.diffusion import conditioning, guidance, sampler
from sora_jax.nn import partition
from sora_jax.sampling.request import Generator, Request, Settings
from sora_jax.types import PackedBatch, Params, VelocityFn

TEXT_STEP = 32  # rows of text are padded to a multiple of this, so that few lengths are compiled


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
      rows: rows sampled at once.
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
    plan = _plan(grids, row_tokens=max(row_tokens or 0, longest))
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
    made = len(plan)
    plan = [*plan, *[plan[-1]] * (pad_rows - made)]  # the last row again fills the batch up
    asked = [[requests[k] for k in row] for row in plan]
    begun = [[_segment(generator, requests[k], grids[k]) for k in row] for row in plan]
    batch = _packed([[segment for segment, _ in row] for row in begun])
    start = np.zeros(batch.segment.shape, np.float32)
    for r, row in enumerate(begun):
        levels = np.concatenate([level for _, level in row])
        start[r, : len(levels)] = levels
    tokens, skipped = sample_batch(
        generator.params,
        batch,
        start,
        _by_shots(batch, [[segment for segment, _ in row] for row in begun], asked),
        apply=generator.apply,
        encode_text=generator.encode_text,
        settings=settings,
    )
    latents = patches.unpack_rows(
        np.asarray(tokens)[:made], batch.segment[:made], grids=batch.grid[:made], patch=generator.patch
    )
    return latents, int(skipped)


@functools.partial(jax.jit, static_argnames=("apply", "encode_text", "settings"))
def sample_batch(
    params: Params,
    batch: PackedBatch,
    start: Float[Array, "b n"],
    parts: tuple[PackedBatch, Float[Array, "b n"]] | None = None,
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
    """
    key = rng.key(0, "sample")

    def told(batch: PackedBatch) -> tuple[PackedBatch, VelocityFn]:
        """The batch with its text encoded, and the velocity that is guided by that."""
        empty = encode_text(params, conditioning.drop_all_captions(batch))
        fn = guidance.guided(
            functools.partial(apply, params),
            guidance_scale=settings.guidance_scale,
            interval=settings.guidance_interval,
            unconditional=lambda batch: batch._replace(text=empty.text, text_segment=empty.text_segment),
            context_scale=settings.context_scale,
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


def _segment(
    generator: Generator, request: Request, grid: patches.Grid
) -> tuple[patches.Segment, Float[np.ndarray, " n"]]:
    """The request as it enters a row, and the noise level that each of its tokens starts from."""
    patch = generator.patch
    frames, height, width = (side * p for side, p in zip(grid, patch, strict=True))
    latents = np.zeros((frames, height, width, generator.channels), np.float32)
    known = 0
    if request.given is not None:
        known = len(request.given)
        if request.given.shape[1:] != latents.shape[1:] or known > frames or known % patch[0]:
            raise ValueError(
                f"given latents of shape {request.given.shape} do not begin a video of latents "
                f"{latents.shape}: encode its first frames at {request.height} x {request.width} pixels"
            )
        latents[:known] = request.given
    start = _start(request, grid, known=known // patch[0])
    text = text_bytes.encode_timed(request.prompt)
    last = (frames + request.first - 1) * generator.ratio[0] / request.fps
    if text.starts[-1] > last:
        raise ValueError(
            f"a caption starts at {text.starts[-1]:g} s, the video ends at {last:g} s: start it sooner, or "
            "ask for more frames"
        )
    segment = patches.segment(
        latents,
        ratio=generator.ratio,
        patch=patch,
        fps=request.fps,
        clip=request.seed,
        text=text.tokens,
        text_span=text.span,
        starts=text.starts,
        first=request.first // patch[0],
    )
    return dataclasses.replace(segment, known=start == 0), start


def _packed(rows: Sequence[Sequence[patches.Segment]]) -> PackedBatch:
    """Rows as short as they can be."""
    text = max(sum(len(s.text) for s in row) for row in rows)
    return patches.pack_rows(
        rows,
        row_tokens=max(sum(len(s.tokens) for s in row) for row in rows),
        row_text=-(-text // TEXT_STEP) * TEXT_STEP,
        max_segments=max(len(row) for row in rows),
    )


def _by_shots(
    batch: PackedBatch, rows: Sequence[Sequence[patches.Segment]], requests: Sequence[Sequence[Request]]
) -> tuple[PackedBatch, Float[np.ndarray, "b n"]] | None:
    """The batch with every shot as a segment of its own, and the scale of each token's guidance by them.

    None where no request has several captions, or none is guided by them.
    """
    shots, scale = [], np.zeros(batch.segment.shape, np.float32)
    for r, (row, asked) in enumerate(zip(rows, requests, strict=True)):
        shots.append([])
        for number, (segment, request) in enumerate(zip(row, asked, strict=True), 1):
            parts = _shots(segment) if request.apart else [segment]
            shots[-1] += parts
            if len(parts) > 1:
                scale[r, batch.segment[r] == number] = request.apart
    return (_packed(shots), scale) if scale.any() else None


def _shots(segment: patches.Segment) -> list[patches.Segment]:
    """A segment cut where another caption is read."""
    if segment.span is None:
        return [segment]
    _, rows, columns = segment.grid
    borders = np.flatnonzero(np.diff(segment.span[:: rows * columns])) + 1
    return patches.split(segment, borders.tolist())


def _start(request: Request, grid: patches.Grid, *, known: int) -> Float[np.ndarray, " n"]:
    """The level of every patch; `known` frames of patches are given."""
    if request.start is None:
        return np.where(patches.indices(grid)[:, 0] < known, 0.0, 1.0).astype(np.float32)
    start = np.asarray(request.start, np.float32)
    if start.shape != grid or not ((start >= 0) & (start <= 1)).all():
        raise ValueError(
            f"start has shape {start.shape} and values {start.min():g} to {start.max():g}: give a level in "
            f"[0, 1] for each of {grid} patches"
        )
    if (start[known:] < 1).any():
        raise ValueError(
            f"start is below 1 after the {known} frames of patches that are given: give those too"
        )
    return start.reshape(-1)


def _plan(grids: Sequence[patches.Grid], *, row_tokens: int) -> list[list[int]]:
    """Rows of request numbers, first fit in order of falling length."""
    tokens = [int(np.prod(grid)) for grid in grids]
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(grids)), key=lambda k: -tokens[k]):
        fits = next((r for r, left in enumerate(room) if left >= tokens[number]), None)
        if fits is None:
            rows.append([])
            room.append(row_tokens)
            fits = len(rows) - 1
        rows[fits].append(number)
        room[fits] -= tokens[number]
    return rows
