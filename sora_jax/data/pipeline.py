"""Batches as pure functions of (seed, step): the step is all that a resumed run restores.

`make_clip_batches` gives clips of pixels, one size per batch (autoencoder). Each goes through
`grain.MapDataset`, so the same batch comes out whatever the number of workers and wherever one starts.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from sora_jax import rng, types
from sora_jax.data.source import BadClipError

ClipShape = tuple[int, int, int]  # frames, height, width, in pixels

_LAST_STEP = 2**31 - 1


class ClipBatch(NamedTuple):
    """Clips of one size: `video` `[b f h w 3]` uint8, `fps` `[b]` float32, `clip` `[b]` uint32 numbers."""

    video: np.ndarray
    fps: np.ndarray
    clip: np.ndarray


class ClipSchedule:
    """Which clips make up batch k; pure in (seed, k), without a clip read.

    The steps are cut into blocks; each block holds every shape as often as its share says, in an order drawn
    anew, so that the number of batches a shape has had before step k has a closed form. Each shape goes
    through its own clips in permutations, one per epoch.
    """

    block = 256

    def __init__(
        self, sizes: np.ndarray, *, seed: int, batch: int, shapes: Sequence[tuple[ClipShape, float]]
    ) -> None:
        """See `make_clip_batches`."""
        if not shapes or any(share <= 0 for _, share in shapes):
            raise ValueError(
                f"shapes {shapes} must be ((frames, height, width), share > 0) pairs, at least one"
            )
        self.seed, self.batch = seed, batch
        self.shapes = [shape for shape, _ in shapes]
        self.members = [_clips_of_shape(sizes, shape) for shape in self.shapes]
        self.counts = _apportion(np.array([share for _, share in shapes]), self.block)

    @functools.lru_cache(maxsize=8)  # noqa: B019  (lives as long as the iterator)
    def _order(self, block: int) -> np.ndarray:
        shapes = np.repeat(np.arange(len(self.counts)), self.counts)
        return rng.host(self.seed, "clip shapes", block).permutation(shapes)

    @functools.lru_cache(maxsize=32)  # noqa: B019
    def _permutation(self, shape: int, epoch: int) -> np.ndarray:
        return rng.host(self.seed, "clips", shape, epoch).permutation(self.members[shape])

    def __call__(self, step: int) -> tuple[ClipShape, np.ndarray]:
        """The size of batch `step` and its `[batch]` clip numbers."""
        block, place = divmod(step, self.block)
        order = self._order(block)
        shape = int(order[place])
        earlier = block * int(self.counts[shape]) + int(np.sum(order[:place] == shape))
        numbers = range(earlier * self.batch, (earlier + 1) * self.batch)
        length = len(self.members[shape])
        clips = [self._permutation(shape, i // length)[i % length] for i in numbers]
        return self.shapes[shape], np.array(clips, np.uint32)

    def next_of_shape(self, clip: int, shape: ClipShape) -> int:
        """The clip that stands in for an unreadable one: the next of the same size, cyclically."""
        members = self.members[self.shapes.index(shape)]
        return int(members[(np.searchsorted(members, clip) + 1) % len(members)])


def make_clip_batches(
    source: types.Source,
    *,
    seed: int,
    batch: int,
    shapes: Sequence[tuple[ClipShape, float]],
    start_step: int = 0,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[ClipBatch]:
    """Endless batches of clips, all of one size within a batch; batch k is a pure function of (seed, k).

    Args:
      source: any source of clips.
      seed: of the order.
      batch: clips per batch.
      shapes: ((frames, height, width), share of the steps): the static set of sizes, hence of compilations.
        Only clips of exactly these sizes are used.
      start_step: the step to start at.
      workers: processes that make batches; 0 = a thread of this process. The batches do not depend on it.
      prefetch: batches made ahead, per worker.

    A clip that raises `BadClipError` is replaced by the next readable one of its size (so by the same one in
    every run over the same files); the source counts and bounds the bad ones.

    Raises:
      ValueError: a shape that the source has no clip of.
    """
    schedule = ClipSchedule(source.sizes, seed=seed, batch=batch, shapes=shapes)
    return iterate(
        functools.partial(clip_batch_at, source, schedule), start_step, workers=workers, prefetch=prefetch
    )


def clip_batch_at(source: types.Source, schedule: ClipSchedule, step: int) -> ClipBatch:
    """Batch `step` of `make_clip_batches`."""
    shape, numbers = schedule(step)
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


def iterate(batch_at: Callable[[int], Any], start_step: int, *, workers: int, prefetch: int) -> Iterator[Any]:
    """`batch_at(start_step)`, `batch_at(start_step + 1)`, ... made ahead by a thread or `workers` processes."""
    dataset = grain.MapDataset.range(_LAST_STEP).map(batch_at)
    if workers == 0:
        threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
        return iter(dataset[start_step:].to_iter_dataset(threads))
    return _from_processes(dataset, start_step, workers=workers, ahead=workers * prefetch)


def _from_processes(dataset: grain.MapDataset, start_step: int, *, workers: int, ahead: int) -> Iterator[Any]:
    """Differs: from grain's `mp_prefetch`, which leaves shared memory behind when a run ends (0.2.18)."""
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_dataset,
        initargs=(dataset,),
    )
    try:
        waiting = collections.deque(pool.submit(_element, start_step + i) for i in range(ahead))
        for step in itertools.count(start_step + ahead):
            waiting.append(pool.submit(_element, step))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_in_worker: dict[str, grain.MapDataset] = {}  # what a worker process makes its batches from


def _set_dataset(dataset: grain.MapDataset) -> None:
    _in_worker["dataset"] = dataset


def _element(index: int) -> Any:
    return _in_worker["dataset"][index]


def _clips_of_shape(sizes: np.ndarray, shape: ClipShape) -> np.ndarray:
    frames, height, width = shape
    match = (sizes["frames"] == frames) & (sizes["height"] == height) & (sizes["width"] == width)
    members = np.flatnonzero(match).astype(np.uint32)
    if len(members) == 0:
        found, count = np.unique(sizes[["frames", "height", "width"]], return_counts=True)
        common = ", ".join(str(tuple(map(int, found[i]))) for i in np.argsort(-count)[:8])
        raise ValueError(f"no clip of (frames, height, width) {shape}; the most common sizes are {common}")
    return members


def _apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, nearest to the shares (largest remainder), each at least 1."""
    exact = shares / shares.sum() * (total - len(shares))
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - len(shares) - counts.sum()]] += 1
    return counts + 1
