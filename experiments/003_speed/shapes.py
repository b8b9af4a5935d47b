"""What all contestants of run.py share: sizes, and how they are timed. Imports neither JAX nor torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

PATCH, CHANNELS = (1, 2, 2), 16
TEXT_TOKENS = 64
GUIDANCE = 4.0
LEVELS = 4  # distinct noise levels of a row: one clip, and what is known
BATCH_SEED = 0


class Shape(NamedTuple):
    """Width x depth of a transformer, tokens (frames, height, width) of a clip, clips in a batch.

    `steps` is how many a sampler makes: what 30 cost follows from fewer, and 30 of the largest on two cores
    would take three minutes a call.
    """

    width: int
    depth: int
    grid: tuple[int, int, int]
    batch: int
    steps: int = 30

    @property
    def heads(self) -> int:
        """Of 64 numbers each."""
        return self.width // 64

    @property
    def hidden(self) -> int:
        """Of a gated MLP with as many parameters as a plain one of 4 widths."""
        return {192: 512, 384: 1024, 768: 2048, 1024: 2816, 2048: 5504}[self.width]

    @property
    def tokens(self) -> int:
        frames, height, width = self.grid
        return frames * height * width


SHAPES = {
    "192x6": Shape(192, 6, (4, 8, 8), 8),
    "384x12": Shape(384, 12, (8, 8, 8), 4, steps=10),
    "768x12": Shape(768, 12, (16, 8, 8), 1, steps=3),
    # For a GPU: 130 M and 1 B parameters.
    "768x12-gpu": Shape(768, 12, (16, 16, 16), 8),
    "2048x16-gpu": Shape(2048, 16, (16, 32, 32), 1),
}


def times(run: Callable[[int], float], *, budget: float, least: int = 3, turn: bool = False) -> list[float]:
    """Seconds of one call after another, after one that is thrown away; `run` waits for its result.

    Args:
      turn: say that all is compiled, and wait for a line before the first call (`run.py --together`).
    """
    if turn:
        print("ready", flush=True)
        sys.stdin.readline()
    run(1)
    seconds: list[float] = []
    begun = time.perf_counter()
    while len(seconds) < least or time.perf_counter() - begun < budget:
        before = time.perf_counter()
        run(2 + len(seconds))
        seconds.append(time.perf_counter() - before)
    return seconds
