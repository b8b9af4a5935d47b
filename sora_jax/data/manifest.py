"""What every source of clips shares: the error of an unreadable clip, and the hash of a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from sora_jax import types


class BadClipError(RuntimeError):
    """One clip of a source cannot be read. Whoever meets it may leave that clip out; the source counts it."""


class TooManyBadError(RuntimeError):
    """More clips are unreadable than `max_bad_share` allows: the set itself is wrong."""


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


def readable(source: types.Source, numbers: Iterable[int]) -> Iterator[tuple[int, types.Clip]]:
    """(number, clip) of those of `numbers` that can be read; the source counts the others, left out here."""
    for number in numbers:
        try:
            clip = source[number]
        except BadClipError:
            continue
        yield number, clip
