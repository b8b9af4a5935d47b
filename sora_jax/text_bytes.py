"""Captions as bytes: ByT5's tokenisation, which needs no vocabulary file.

Source: Xue et al. 2021, arXiv 2105.13626, Sec. 3.

A byte `b` is the token `b + 3`; 0 is padding, 1 ends the sequence, 2 is unknown.
The unconditional caption is the empty string, whose only token is `EOS`.

A storyboard is one text with times, "a red circle moving left [1.5s] a red circle at rest": the caption after
a time holds from then on. It is how stores, prompts and the command line write several captions of one clip.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PAD = 0
EOS = 1
UNKNOWN = 2
OFFSET = 3
VOCAB = 384  # ByT5 pads its 259 tokens to 384, so that its released weights fit

_TIME = re.compile(r"\s*\[(\d+(?:\.\d+)?)s\]\s*")


class TimedText(NamedTuple):
    """The captions of one clip, one after the other, each with its own `EOS`.

    Attributes:
      tokens: `[m]` int32.
      span: `[m]` int32, number of the caption that each token belongs to.
      starts: seconds at which each caption begins to hold; the first is 0.
    """

    tokens: np.ndarray
    span: np.ndarray
    starts: tuple[float, ...]


def encode(text: str) -> np.ndarray:
    """`[bytes + 1]` int32: the UTF-8 bytes of `text`, then `EOS`."""
    data = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) + OFFSET
    return np.append(data, np.int32(EOS))


def split_times(text: str) -> tuple[tuple[float, str], ...]:
    """(seconds, caption) of every caption of a storyboard; one of 0 seconds where the text has no times.

    Raises:
      ValueError: times that do not rise, or a time without a caption.
    """
    first, *rest = _TIME.split(text)
    timed = [(float(seconds), caption) for seconds, caption in zip(rest[::2], rest[1::2], strict=True)]
    if first or not timed:
        timed.insert(0, (0.0, first))
    starts = [seconds for seconds, _ in timed]
    if starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts)):
        raise ValueError(f"the times of {text!r} are {starts}: begin at 0 s and let them rise")
    if len(timed) > 1 and not all(caption.strip() for _, caption in timed):
        raise ValueError(f"a time of {text!r} has no caption after it: write one, or take the time out")
    return tuple(timed)


def join_times(timed: Sequence[tuple[float, str]]) -> str:
    """The storyboard of (seconds, caption) pairs: the inverse of `split_times` but for spaces."""
    (start, first), *rest = timed
    if start != 0:
        raise ValueError(f"the first caption starts at {start:g} s: let it start at 0")
    return " ".join([first, *(f"[{seconds:.7g}s] {caption}" for seconds, caption in rest)])


def encode_timed(text: str) -> TimedText:
    """The tokens of a caption or of a storyboard's captions.

    Raises:
      ValueError: see `split_times`.
    """
    timed = split_times(text)
    parts = [encode(caption) for _, caption in timed]
    span = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    return TimedText(np.concatenate(parts), span, tuple(seconds for seconds, _ in timed))


def decode(tokens: np.ndarray) -> str:
    """The text of `tokens` `[m]` up to the first `EOS`; padding is skipped, broken UTF-8 is marked."""
    values = np.asarray(tokens)
    ends = np.flatnonzero(values == EOS)
    values = values[: ends[0]] if len(ends) else values
    values = values[(values >= OFFSET) & (values < OFFSET + 256)] - OFFSET
    return values.astype(np.uint8).tobytes().decode("utf-8", errors="replace")
