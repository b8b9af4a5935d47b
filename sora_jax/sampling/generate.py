"""Text to video: prompts become rows of noise of any size, rows become latents, latents become frames.

The noise of a token is a function of (seed, its place in its own grid), so a request gives the same video
alone and packed with others, whatever the batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from sora_jax import patches, rng, text_bytes
from sora_jax.diffusion import conditioning, guidance, sampler
from sora_jax.nn import partition
from sora_jax.types import PackedBatch, Params

TEXT_STEP = 32  # rows of text are padded to a multiple of this, so that few lengths are compiled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One video to make: `frames x height x width` pixels at `fps` frames per second.

    Attributes:
      seed: of the noise.
      given: normalised latents of the video's first frames, which come back as they are; None = text alone.
    """

    prompt: str
    frames: int
    height: int
    width: int
    fps: float
    seed: int
    given: Float[np.ndarray, "lf lh lw lc"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to sample; see `diffusion.sampler` and `diffusion.guidance`.

    Attributes:
      steps: of the sampler.
      guidance_scale: 1 = off.
      guidance_interval: noise levels that are guided.
      sampler: one of `sampler.SAMPLERS`.
      shift: of the times; above 1 spends more steps near noise.
      eta: of the stochastic sampler.
    """

    steps: int = 30
    guidance_scale: float = 4.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    sampler: sampler.SamplerName = "euler"
    shift: float = 1.0
    eta: float = 1.0

    def __post_init__(self) -> None:
        if self.sampler not in sampler.SAMPLERS:
            raise ValueError(f"unknown sampler {self.sampler!r}: use one of {', '.join(sampler.SAMPLERS)}")
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} is below 1: use 30, or fewer for a draft")
        object.__setattr__(self, "guidance_interval", tuple(self.guidance_interval))  # JSON has lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """A model that is ready to sample.

    Attributes:
      apply: (params, xt, t, batch) -> velocity.
      encode_text: (params, batch) -> the batch with its text as embeddings, made once per sample.
      params: of the transformer.
      decode: latents `[b lf lh lw lc]`, normalised -> videos `[b f h w 3]` uint8.
      ratio, patch, channels: of the latents.
    """

    apply: Callable[[Params, Array, Array, PackedBatch], Array]
    encode_text: Callable[[Params, PackedBatch], PackedBatch]
    params: Params
    decode: Callable[[Float[Any, "b lf lh lw lc"]], UInt8[Any, "b f h w 3"]]
    ratio: patches.Grid
    patch: patches.Grid
    channels: int


def generate(
    generator: Generator,
    requests: Sequence[Request],
    *,
    settings: Settings,
    rows: int = 4,
    row_tokens: int | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[UInt8[np.ndarray, "f h w 3"]]:
    """The video of every request, in their order.

    Args:
      generator: the model.
      requests: of any sizes; each must fit a row.
      settings: of the sampler.
      rows: rows sampled at once.
      row_tokens: length of a row; None = that of the longest request.
      progress: called with (requests done, requests in all) after every batch of rows.

    Raises:
      ValueError: a size that the autoencoder and the patch do not divide (`patches.latent_grid`), or given
        latents of another size.
    """
    if rows < 1 or not requests:
        raise ValueError(f"{len(requests)} requests in {rows} rows: give at least one of each")
    grids = [
        patches.latent_grid(r.frames, r.height, r.width, ratio=generator.ratio, patch=generator.patch)
        for r in requests
    ]
    longest = max(int(np.prod(grid)) for grid in grids)
    plan = _plan(grids, row_tokens=max(row_tokens or 0, longest))
    videos: dict[int, np.ndarray] = {}
    for start in range(0, len(plan), rows):
        group = plan[start : start + rows]
        latents = sample_rows(
            generator, requests, grids, group, settings=settings, pad_rows=min(rows, len(plan))
        )
        numbers = [number for row in group for number in row]
        for number, video in _decoded(generator, numbers, latents):
            videos[number] = video
        progress(len(videos), len(requests))
    return [videos[number] for number in range(len(requests))]


def sample_rows(
    generator: Generator,
    requests: Sequence[Request],
    grids: Sequence[patches.Grid],
    plan: Sequence[Sequence[int]],
    *,
    settings: Settings,
    pad_rows: int = 1,
) -> list[Float[np.ndarray, "lf lh lw lc"]]:
    """The normalised latents of the requests that `plan` names, row by row."""
    rows = [[_segment(generator, requests[k], grids[k]) for k in row] for row in plan]
    longest = max(sum(len(s.tokens) for s in row) for row in rows)
    text = max(sum(len(s.text) for s in row) for row in rows)
    batch = patches.pack_rows(
        [*rows, *[rows[-1]] * (pad_rows - len(rows))],
        row_tokens=longest,
        row_text=-(-text // TEXT_STEP) * TEXT_STEP,
        max_segments=max(len(row) for row in rows),
    )
    tokens = sample_batch(
        generator.params,
        batch,
        apply=generator.apply,
        encode_text=generator.encode_text,
        settings=settings,
    )
    made = len(rows)  # without those that fill the batch up
    return patches.unpack_rows(
        np.asarray(tokens)[:made], batch.segment[:made], grids=batch.grid[:made], patch=generator.patch
    )


@functools.partial(jax.jit, static_argnames=("apply", "encode_text", "settings"))
def sample_batch(
    params: Params,
    batch: PackedBatch,
    *,
    apply: Callable[..., Array],
    encode_text: Callable[[Params, PackedBatch], PackedBatch],
    settings: Settings,
) -> Float[Array, "b n p"]:
    """The tokens of a batch of noise, captions and given tokens: all of a sampler that runs on the device."""
    key = rng.key(0, "sample")
    empty = encode_text(params, conditioning.drop_all_captions(batch))
    batch = encode_text(params, batch)
    velocity_fn = guidance.guided(
        functools.partial(apply, params),
        guidance_scale=settings.guidance_scale,
        interval=settings.guidance_interval,
        unconditional=lambda batch: batch._replace(text=empty.text, text_segment=empty.text_segment),
    )
    tokens = sampler.sample(
        jax.random.fold_in(key, 1),
        velocity_fn,
        conditioning.token_noise(jax.random.fold_in(key, 0), batch),
        sampler.schedule(settings.steps, shift=settings.shift),
        batch,
        sampler=settings.sampler,
        eta=settings.eta,
    )
    return partition.whole(tokens)


def _segment(generator: Generator, request: Request, grid: patches.Grid) -> patches.Segment:
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
    text = text_bytes.encode_timed(request.prompt)
    if text.starts[-1] > (request.frames - 1) / request.fps:
        raise ValueError(
            f"a caption starts at {text.starts[-1]:g} s, the video of {request.frames} frames at "
            f"{request.fps:g} frames/s ends at {(request.frames - 1) / request.fps:g} s: start it sooner, or "
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
    )
    is_known = patches.indices(grid)[:, 0] < known // patch[0]
    return dataclasses.replace(segment, known=is_known)


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


def _decoded(
    generator: Generator, numbers: Sequence[int], latents: Sequence[np.ndarray]
) -> Iterator[tuple[int, np.ndarray]]:
    """(number, video) of every clip, one at a time."""
    for number, clip in zip(numbers, latents, strict=True):
        yield number, np.asarray(generator.decode(clip[None]))[0]
