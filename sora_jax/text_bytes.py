"""Captions as bytes: ByT5's tokenisation, which needs no vocabulary file.

Source: Xue et al. 2021, arXiv 2105.13626, Sec. 3.

A byte `b` is the token `b + 3`; 0 is padding, 1 ends the sequence, 2 is unknown.
The unconditional caption is the empty string, whose only token is `EOS`.
"""

from __future__ import annotations

import numpy as np

PAD = 0
EOS = 1
UNKNOWN = 2
OFFSET = 3
VOCAB = 384  # ByT5 pads its 259 tokens to 384, so that its released weights fit


def encode(text: str) -> np.ndarray:
    """`[bytes + 1]` int32: the UTF-8 bytes of `text`, then `EOS`."""
    data = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) + OFFSET
    return np.append(data, np.int32(EOS))


def decode(tokens: np.ndarray) -> str:
    """The text of `tokens` `[m]` up to the first `EOS`; padding is skipped, broken UTF-8 is marked."""
    values = np.asarray(tokens)
    ends = np.flatnonzero(values == EOS)
    values = values[: ends[0]] if len(ends) else values
    values = values[(values >= OFFSET) & (values < OFFSET + 256)] - OFFSET
    return values.astype(np.uint8).tobytes().decode("utf-8", errors="replace")
