"""Batches as pure functions of (seed, step): the step is all that a resumed run restores.

`make_batches` gives packed rows of latents and captions (transformer), `make_clip_batches` clips of pixels,
one size per batch (autoencoder). Each goes through `grain.MapDataset`, so the same batch comes out whatever
the number of workers and wherever one starts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import grain
import numpy as np

from sora_jax import patches, rng, text_bytes, types
from sora_jax.data import workers as workers_lib
from sora_jax.data.latents import LatentSource
from sora_jax.data.manifest import BadClipError, readable
from sora_jax.data.schedule import ClipSchedule, ClipShape, RowClips, RowSchedule, Stage
from sora_jax.patches import Grid

DEFAULT_MIX: Mapping[str, float] = MappingProxyType({"short": 0.5, "descriptive": 0.5})

_LAST_STEP = 2**31 - 1


class ClipBatch(NamedTuple):
    """Clips of one size: `video` `[b f h w 3]` uint8, `fps` `[b]` float32, `clip` `[b]` uint32 numbers."""

    video: np.ndarray
    fps: np.ndarray
    clip: np.ndarray


class Batches:
    """An endless iterator of `batch_at(start_step)`, `batch_at(start_step + 1)`, ..., made ahead.

    Attributes:
      batch_at: step -> batch; pure, so any batch can be had at any time.
    """

    def __init__(
        self, batch_at: Callable[[int], Any], *, start_step: int = 0, workers: int = 0, prefetch: int = 2
    ) -> None:
        """`workers` processes make the batches, or one thread of this process if 0; `prefetch` ahead each."""
        self.batch_at = batch_at
        dataset = grain.MapDataset.range(_LAST_STEP).map(batch_at)
        if workers == 0:
            threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
            self._iterator = iter(dataset[start_step:].to_iter_dataset(threads))
        else:
            self._iterator = workers_lib.elements(
                dataset, start_step, workers=workers, ahead=workers * prefetch
            )

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        return next(self._iterator)


def make_batches(
    source: LatentSource,
    *,
    seed: int,
    rows: int,
    row_tokens: int,
    row_text: int,
    max_segments: int,
    patch: Grid = (1, 2, 2),
    caption_mix: Mapping[str, float] = DEFAULT_MIX,
    headless: float = 0.0,
    stages: Sequence[Stage] = ((None, None),),
    oversize: Literal["error", "drop"] = "error",
    mine: Sequence[int] | None = None,
    start_step: int = 0,
    workers: int = 0,
    prefetch: int = 4,
) -> Batches:
    """Endless `types.PackedBatch`es (NumPy) of `rows` rows; batch k is a pure function of (seed, k).

    Args:
      source: the latents.
      seed: of the order and of the phrasings.
      rows: rows per batch, over all processes.
      row_tokens, row_text, max_segments: the room of a row: latent patches, text tokens, clips. Text is
        planned for the longest phrasing of every caption; where it runs out first, tokens are wasted
        (`Plan.waste`).
      patch: of latents (frames, rows, columns).
      caption_mix: phrasing -> weight; the phrasing of a clip is drawn anew every epoch, among those it has.
      headless: share of the clips of 3 latent frames or more that come without their first: so begins what
        goes on from the middle of a video, where a latent is of several frames, not of one.
      stages: ((until which step, which clips), ...), the last until None; which clips: None = all, or
        ((longest frames of a class, share of the clips), ...). So images first, then 30 % images:
        `((4000, ((1, 1.0),)), (None, ((1, 0.3), (33, 0.7))))`.
      oversize: a clip that fits no row is an error, or left out and counted (`Plan.dropped`).
      mine: numbers of the rows that this process holds (`sharding.context.rows_here`), the only ones that it
        reads; None = all.
      start_step: the step to start at.
      workers: processes that make batches; 0 = a thread of this process. The batches do not depend on it.
      prefetch: batches made ahead, per worker.

    Returns:
      The iterator; `.batch_at(k)` gives any batch, `.batch_at.schedule.plan(stage, epoch)` the plan behind
      it.

    A clip that raises `BadClipError` leaves its place in the row empty; the source counts and bounds them.

    Raises:
      ValueError: what does not fit; a class without clips.
    """
    schedule = RowSchedule(
        source.sizes,
        seed=seed,
        rows=rows,
        row_tokens=row_tokens,
        row_text=row_text,
        max_segments=max_segments,
        ratio=source.ratio,
        patch=patch,
        stages=stages,
        oversize=oversize,
    )
    pack = functools.partial(
        patches.pack_rows, row_tokens=row_tokens, row_text=row_text, max_segments=max_segments
    )
    packer = RowPacker(
        source, schedule, pack=pack, patch=patch, caption_mix=caption_mix, headless=headless, mine=mine
    )
    return Batches(packer, start_step=start_step, workers=workers, prefetch=prefetch)


class RowPacker:
    """Step -> `types.PackedBatch`: reads the clips that the schedule names and packs them."""

    def __init__(
        self,
        source: LatentSource,
        schedule: RowSchedule,
        *,
        pack: Callable[..., types.PackedBatch],
        patch: Grid,
        caption_mix: Mapping[str, float],
        headless: float,
        mine: Sequence[int] | None,
    ) -> None:
        """See `make_batches`."""
        if not caption_mix or min(caption_mix.values()) <= 0:
            raise ValueError(f"caption_mix {dict(caption_mix)} must give each phrasing a weight above 0")
        self.mine = range(schedule.rows) if mine is None else mine
        self.source, self.schedule, self.pack, self.patch = source, schedule, pack, patch
        self.caption_mix = dict(caption_mix)
        if not 0 <= headless <= 1:
            raise ValueError(f"headless is {headless}: use a share from 0 to 1")
        self.headless = headless

    def __call__(self, step: int) -> types.PackedBatch:
        rows = self.schedule(step)
        mine = [self._row(rows[number]) for number in self.mine]
        return self.pack(mine, width=None if any(mine) else self._width)

    @functools.cached_property
    def _width(self) -> int:
        """Numbers per patch, of the first clip that can be read: for a batch whose clips are all damaged."""
        _, clip = next(readable(self.source, range(len(self.source))))
        return clip.latents.shape[-1] * math.prod(self.patch)

    def _row(self, row: RowClips) -> list[patches.Segment]:
        segments = []
        for number, clip in readable(self.source, row.clips.tolist()):
            generator = rng.host(self.schedule.seed, "phrasing", row.stage, row.epoch, number)
            caption = clip.captions[draw_phrasing(clip.captions, self.caption_mix, generator)]
            grid = patches.grid_of(clip.latents.shape, patch=self.patch)
            position = _positions(grid, self.source.ratio, self.patch, clip.fps)
            latents = clip.latents
            if grid[0] >= 3 and self.headless and generator.random() < self.headless:
                frames, rows, columns = grid
                grid, position = (frames - 1, rows, columns), position[rows * columns :]
                latents = latents[self.patch[0] :]
            text = text_bytes.encode_timed(caption)
            segments.append(
                patches.Segment(
                    tokens=np.asarray(patches.patchify(latents, patch=self.patch)),  # pyright: ignore
                    grid=grid,
                    position=position,
                    clip=number,
                    text=text.tokens,
                    span=patches.spans_of(position, text.starts) if len(text.starts) > 1 else None,
                    text_span=text.span,
                )
            )
        return segments


@functools.lru_cache(maxsize=4096)
def _positions(grid: Grid, ratio: Grid, patch: Grid, fps: float) -> np.ndarray:
    return patches.positions(grid, ratio=ratio, patch=patch, fps=fps)


def draw_phrasing(
    captions: Mapping[str, str], mix: Mapping[str, float], generator: np.random.Generator
) -> str:
    """The name of one phrasing of `captions`, drawn by the weights of those that it has."""
    names = [name for name in sorted(mix) if name in captions]
    if not names:
        raise ValueError(f"caption_mix asks for {sorted(mix)}, the clip has the phrasings {sorted(captions)}")
    weights = np.cumsum([mix[name] for name in names])
    return names[int(np.searchsorted(weights, generator.random() * weights[-1], side="right"))]


def make_clip_batches(
    source: types.Source,
    *,
    seed: int,
    batch: int,
    shapes: Sequence[tuple[ClipShape, float]],
    mine: Sequence[int] | None = None,
    start_step: int = 0,
    workers: int = 0,
    prefetch: int = 2,
) -> Batches:
    """Endless batches of clips, all of one size within a batch; batch k is a pure function of (seed, k).

    Args:
      source: any source of clips.
      seed: of the order.
      batch: clips per batch.
      shapes: ((frames, height, width), share of the steps): the static set of sizes, hence of compilations.
        Only clips of exactly these sizes are used.
      mine: places in the batch that this process holds (`sharding.context.rows_here`), the only ones that it
        reads; None = all.
      start_step: the step to start at.
      workers: processes that make batches; 0 = a thread of this process. The batches do not depend on it.
      prefetch: batches made ahead, per worker.

    A clip that raises `BadClipError` is replaced by the next readable one of its size (so by the same one in
    every run over the same files); the source counts and bounds the bad ones.

    Raises:
      ValueError: a shape that the source has no clip of.
    """
    schedule = ClipSchedule(source.sizes, seed=seed, batch=batch, shapes=shapes)
    batch_at = functools.partial(clip_batch_at, source, schedule, mine=mine)
    return Batches(batch_at, start_step=start_step, workers=workers, prefetch=prefetch)


def clip_batch_at(
    source: types.Source, schedule: ClipSchedule, step: int, *, mine: Sequence[int] | None = None
) -> ClipBatch:
    """Batch `step` of `make_clip_batches`."""
    shape, numbers = schedule(step)
    if mine is not None:
        numbers = numbers[np.asarray(mine)]
    clips, used = [], []
    for number in numbers:
        clip, number = _read_or_next(source, schedule, int(number), shape)
        if clip.video.shape != (*shape, 3):
            raise ValueError(
                f"clip {number} ({clip.id}) has shape {clip.video.shape}, its size says {(*shape, 3)}"
            )
        clips.append(clip)
        used.append(number)
    return ClipBatch(
        video=np.stack([clip.video for clip in clips]),
        fps=np.array([clip.fps for clip in clips], np.float32),
        clip=np.array(used, np.uint32),
    )


def _read_or_next(
    source: types.Source, schedule: ClipSchedule, number: int, shape: ClipShape
) -> tuple[types.Clip, int]:
    first = number
    while True:
        try:
            return source[number], number
        except BadClipError as error:
            number = schedule.next_of_shape(number, shape)
            if number == first:
                raise BadClipError(f"no clip of size {shape} can be read") from error
