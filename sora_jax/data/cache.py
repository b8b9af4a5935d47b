"""A source that keeps in memory what it has read, for sets small enough to be seen many times."""

from __future__ import annotations

import numpy as np

from sora_jax.types import Clip, Source


class CachedSource:
    """`source` with every clip read (or simulated, or decoded) once per process.

    Memory grows to the whole set: 110 KB for a clip of 9 x 64 x 64.
    """

    def __init__(self, source: Source):
        self._source = source
        self._clips: dict[int, Clip] = {}

    @property
    def sizes(self) -> np.ndarray:
        """Those of the source."""
        return self._source.sizes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Clip:
        if index not in self._clips:
            self._clips[index] = self._source[index]
        return self._clips[index]
