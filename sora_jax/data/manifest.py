"""What every source of clips shares: how unreadable clips are counted, and the hash of a manifest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

from sora_jax import types

AnyClip = TypeVar("AnyClip", covariant=True)  # types.Clip, or a LatentClip

_log = logging.getLogger(__name__)


class BadClipError(RuntimeError):
    """One clip of a source cannot be read. Whoever meets it may leave that clip out; the source counts it."""


class TooManyBadError(RuntimeError):
    """More clips are unreadable than `max_bad_share` allows: the set itself is wrong."""


class BadClips:
    """The clips of a source that cannot be read, each logged once, and too many of them an error.

    Attributes:
      reasons: id -> what is wrong with it.
    """

    def __init__(self, listed: int, *, max_share: float) -> None:
        """Of `listed` clips, at most the share `max_share` may be bad, and never all."""
        self.reasons: dict[str, str] = {}
        self._listed, self._max_share = listed, max_share

    def add(self, name: str, reason: str) -> None:
        """Counts one, again or for the first time; whoever counts goes on with `check`."""
        if name not in self.reasons:
            self.reasons[name] = reason
            _log.warning("left out %s: %s", name, reason)

    def check(self) -> None:
        """Raises TooManyBadError, with how many and the first, where there are too many."""
        bad = len(self.reasons)
        if bad > self._max_share * self._listed or bad == self._listed:
            first = "; ".join(f"{name} ({reason})" for name, reason in list(self.reasons.items())[:5])
            raise TooManyBadError(
                f"{bad} of {self._listed} clips cannot be read, more than max_bad_share "
                f"{self._max_share:g} allows; the first: {first}"
            )


def manifest_hash(sizes: np.ndarray, ids: Iterable[str] = ()) -> str:
    """Names a manifest: 16 hex digits of the sizes (`[n]` of `types.SIZE_DTYPE`) and of the ids, in order.

    Two sources with the same hash give the same plan under the same seed.
    """
    if sizes.dtype != types.SIZE_DTYPE:
        raise TypeError(f"sizes have dtype {sizes.dtype}: use types.SIZE_DTYPE")
    digest = hashlib.blake2b(np.ascontiguousarray(sizes).tobytes(), digest_size=8)
    for name in ids:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


class _Indexed(Protocol[AnyClip]):
    def __getitem__(self, index: int, /) -> AnyClip: ...


def readable(source: _Indexed[AnyClip], numbers: Iterable[int]) -> Iterator[tuple[int, AnyClip]]:
    """(number, clip) of those of `numbers` that can be read; the source counts the others, left out here."""
    for number in numbers:
        try:
            clip = source[number]
        except BadClipError:
            continue
        yield number, clip
