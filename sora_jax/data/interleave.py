"""Several sources as one: of one length, their clips in turn; of any, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sora_jax.types import Clip, Source


class InterleavedSource:
    """`types.Source` whose clip i is clip `i // n` of source `i % n`, of n sources.

    Raises:
      ValueError: no source, or sources of different lengths.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if len({len(source) for source in sources}) != 1:
            raise ValueError(
                f"sources of lengths {[len(s) for s in sources]}: give at least one, all of one length"
            )
        self._sources = tuple(sources)

    def __len__(self) -> int:
        return len(self._sources) * len(self._sources[0])

    @property
    def sizes(self) -> np.ndarray:
        return np.stack([source.sizes for source in self._sources], axis=1).reshape(-1)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of a set of {len(self)}")
        place, which = divmod(int(index), len(self._sources))
        return self._sources[which][place]


class JoinedSource:
    """`types.Source` of the clips of several sources, one source after the other.

    Raises:
      ValueError: no source.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise ValueError("no sources to join: give at least one")
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def sizes(self) -> np.ndarray:
        return np.concatenate([source.sizes for source in self._sources])

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of a set of {len(self)}")
        which = int(np.searchsorted(self._ends, index, side="right"))
        before = 0 if which == 0 else int(self._ends[which - 1])
        return self._sources[which][int(index) - before]
