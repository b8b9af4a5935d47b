"""Which clips a step reads: pure functions of (seed, step), made from sizes alone."""

from __future__ import annotations

import bisect
import functools
import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from sora_jax import rng
from sora_jax.data.packing import Plan, Shares, clip_tokens, make_plan, select
from sora_jax.patches import Grid

ClipShape = tuple[int, int, int]  # frames, height, width, in pixels
Stage = tuple[int | None, Shares | None]  # until which step (None = for ever), and which clips (None = all)


_log = logging.getLogger(__name__)


class RowClips(NamedTuple):
    """The clips of one row, and which epoch of which stage it belongs to."""

    stage: int
    epoch: int
    clips: np.ndarray


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


class RowSchedule:
    """Which clips make up the rows of batch k; pure in (seed, k), without a clip read.

    The rows of all epochs of a stage form one sequence, and batch k takes its own stretch of it. How many
    rows an epoch has is known only once it is planned, so the first call after a restart plans the epochs
    before it (about 2 s per million clips and epoch); afterwards a plan is made once per epoch.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        *,
        seed: int,
        rows: int,
        row_tokens: int,
        row_text: int,
        max_segments: int,
        ratio: Grid,
        patch: Grid,
        stages: Sequence[Stage] = ((None, None),),
        oversize: Literal["error", "drop"] = "error",
    ) -> None:
        """See `pipeline.make_batches`."""
        untils = [until for until, _ in stages]
        ends = [until for until in untils[:-1] if until is not None]
        if not stages or untils[-1] is not None or len(ends) < len(untils) - 1 or sorted(set(ends)) != ends:
            raise ValueError(f"stages must end at ascending steps, the last at None; they end at {untils}")
        self.sizes, self.seed, self.rows, self.stages = sizes, seed, rows, stages
        self.starts = [0, *ends]
        self.tokens = clip_tokens(sizes, ratio=ratio, patch=patch)
        self._make_plan = functools.partial(
            make_plan,
            self.tokens,
            sizes["text"],
            row_tokens=row_tokens,
            row_text=row_text,
            max_segments=max_segments,
            oversize=oversize,
        )
        self._row_text, self._max_segments = row_text, max_segments
        self._rows_of: dict[tuple[int, int], int] = {}

    @functools.lru_cache(maxsize=4)  # noqa: B019
    def plan(self, stage: int, epoch: int) -> Plan:
        """The rows of one epoch of one stage."""
        clips = select(
            self.sizes, self.stages[stage][1], seed=self.seed, names=("select", stage), epoch=epoch
        )
        plan = self._make_plan(clips=clips, generator=rng.host(self.seed, "plan", stage, epoch))
        if epoch == 0:
            self._report(plan, f"stage {stage}")
        return plan

    def _report(self, plan: Plan, name: str) -> None:
        text = float(self.sizes["text"][plan.clips].sum() / (len(plan) * self._row_text))
        segments = len(plan.clips) / (len(plan) * self._max_segments)
        wasteful = plan.waste > 0.05 and len(plan) > self.rows
        room = "row_text" if text > segments else "max_segments"
        _log.log(
            logging.WARNING if wasteful else logging.INFO,
            f"{name}: {len(plan.clips)} clips ({plan.dropped} dropped) in {len(plan)} rows an epoch; "
            f"{plan.waste:.1%} of the tokens are padding, text is {text:.0%} full, segments {segments:.0%}"
            + (f": raise {room} or lower row_tokens" if wasteful else ""),
        )

    def __call__(self, step: int) -> list[RowClips]:
        """The rows of batch `step`."""
        stage = bisect.bisect_right(self.starts, step) - 1
        first = (step - self.starts[stage]) * self.rows
        return [self._row(stage, first + i) for i in range(self.rows)]

    def _row(self, stage: int, row: int) -> RowClips:
        epoch = 0
        while True:
            if (stage, epoch) not in self._rows_of:
                self._rows_of[stage, epoch] = len(self.plan(stage, epoch))
            if row < self._rows_of[stage, epoch]:
                return RowClips(stage=stage, epoch=epoch, clips=self.plan(stage, epoch).row(row))
            row -= self._rows_of[stage, epoch]
            epoch += 1


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
