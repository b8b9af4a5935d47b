"""Which clips share a row of tokens: planned on the host, from sizes alone.

A row has room for `row_tokens` latent patches, `row_text` text tokens and `max_segments` clips. Clips come in
the order drawn for the epoch, and each goes into the open row that it fills best (online best fit). Room left
is a whole number of tokens, so the open rows are kept in stacks by room, and the bits of one integer say
which stacks hold any: the best row is found by its lowest set bit, and a million clips are placed in about a
second.

Source: best fit, Johnson 1974, "Fast algorithms for bin packing"; rows of several images: Dehghani et al.
2023, arXiv 2307.06304 (NaViT), Sec. 2.3 (there greedy, here best fit).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from sora_jax import rng
from sora_jax.patches import Grid, latent_grid

# ((longest frames of a class, share of the clips), ...): a clip belongs to the first class that holds it.
Shares = Sequence[tuple[int, float]]

_MISFITS = 16  # a row that so many clips fitted by their tokens but not by their text is closed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows of one epoch: `row(i)` are the numbers of the clips of row i, each clip in one row at most.

    Attributes:
      clips: `[clips]` uint32, row after row.
      starts: `[rows + 1]` where each row begins in `clips`.
      used: tokens in all rows; `row_tokens` times rows is what they cost.
      dropped: clips that fit no row, left out by `oversize="drop"`.
    """

    clips: np.ndarray
    starts: np.ndarray
    used: int
    row_tokens: int
    dropped: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, index: int) -> np.ndarray:
        return self.clips[self.starts[index] : self.starts[index + 1]]

    @property
    def waste(self) -> float:
        """The share of all tokens that is padding."""
        return 1 - self.used / max(1, len(self) * self.row_tokens)


def clip_tokens(sizes: np.ndarray, *, ratio: Grid, patch: Grid) -> np.ndarray:
    """The tokens `[n]` int64 of clips of `sizes` (`[n]`, `types.SIZE_DTYPE`); errors as in `latent_grid`."""
    if len(sizes) == 0:
        return np.zeros(0, np.int64)
    video = np.stack([sizes["frames"], sizes["height"], sizes["width"]], axis=-1).astype(np.int64)
    _, first, inverse = np.unique(
        video @ np.array([1 << 40, 1 << 20, 1]), return_index=True, return_inverse=True
    )
    grids = [latent_grid(int(f), int(h), int(w), ratio=ratio, patch=patch) for f, h, w in video[first]]
    return np.prod(np.array(grids, np.int64), axis=-1)[inverse]


def select(
    sizes: np.ndarray, shares: Shares | None, *, seed: int, names: Sequence[str | int], epoch: int
) -> np.ndarray:
    """The numbers of the clips of an epoch: all of them, or as many of each class as its share says.

    With shares, an epoch is as long as it can be without a clip twice; a class that has more clips than the
    epoch takes gives others the next time, in turn.

    Args:
      shares: ((longest frames, share), ...): `((1, 0.3), (33, 0.7))` takes 30 % images and 70 % clips of 2 to
        33 frames, and none longer. None = every clip.
      names: of the random stream.

    Raises:
      ValueError: a class without a clip.
    """
    if shares is None:
        return np.arange(len(sizes), dtype=np.uint32)
    limits = [limit for limit, _ in shares]
    share = np.array([value for _, value in shares], np.float64)
    if sorted(set(limits)) != limits or not np.all(share > 0):
        raise ValueError(f"shares {shares} must be (longest frames, share > 0) pairs, frames ascending")
    share /= share.sum()
    kind = np.searchsorted(limits, sizes["frames"])
    members = [np.flatnonzero(kind == i).astype(np.uint32) for i in range(len(limits))]
    for (limit, _), clips in zip(shares, members, strict=True):
        if len(clips) == 0:
            found = sorted(set(sizes["frames"].tolist()))
            raise ValueError(
                f"shares {shares}: no clip is in the class up to {limit} frames; frames found: {found}"
            )
    length = min(len(clips) / part for clips, part in zip(members, share, strict=True))
    chosen = []
    for i, (clips, part) in enumerate(zip(members, share, strict=True)):
        count = min(len(clips), max(1, round(length * part)))
        order = rng.host(seed, *names, "turns", i).permutation(clips)
        chosen.append(order[(epoch * count + np.arange(count)) % len(clips)])
    return np.concatenate(chosen)


def make_plan(
    tokens: np.ndarray,
    text: np.ndarray,
    *,
    clips: np.ndarray | None = None,
    generator: np.random.Generator,
    row_tokens: int,
    row_text: int,
    max_segments: int,
    oversize: Literal["error", "drop"] = "error",
) -> Plan:
    """Packs clips into rows, in an order drawn by `generator`; pure.

    Args:
      tokens: `[n]` latent patches of every clip of the set.
      text: `[n]` text tokens of every clip of the set, at most.
      clips: the numbers to pack; None = all.
      generator: of the order; equal generators give equal plans.
      row_tokens, row_text, max_segments: the room of a row.
      oversize: what to do with a clip that fits no row.

    Raises:
      ValueError: a clip that fits no row, unless they are dropped; nothing left to pack.
    """
    clips = np.arange(len(tokens), dtype=np.uint32) if clips is None else clips
    fits = (tokens[clips] <= row_tokens) & (text[clips] <= row_text)
    if not fits.all():
        if oversize == "error":
            worst = clips[~fits][0]
            raise ValueError(
                f"{int((~fits).sum())} clips fit no row, first clip {worst} of {tokens[worst]} tokens and "
                f"{text[worst]} text tokens: a row has {row_tokens} and {row_text}; the set needs "
                f'row_tokens >= {tokens[clips].max()} and row_text >= {text[clips].max()}, or oversize="drop"'
            )
        clips = clips[fits]
    if len(clips) == 0:
        raise ValueError(f"no clip to pack: {int((~fits).sum())} were dropped as too large for a row")
    clips = generator.permutation(clips)
    row_of, count = _best_fit(
        tokens[clips], text[clips], row_tokens=row_tokens, row_text=row_text, max_segments=max_segments
    )
    row_of = generator.permutation(count)[row_of]
    order = np.argsort(row_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=count))])
    return Plan(
        clips=clips[order],
        starts=starts,
        used=int(tokens[clips].sum()),
        row_tokens=row_tokens,
        dropped=int((~fits).sum()),
    )


def _best_fit(
    tokens: np.ndarray, text: np.ndarray, *, row_tokens: int, row_text: int, max_segments: int
) -> tuple[np.ndarray, int]:
    """The row of each clip `[n]`, and the number of rows; clips are placed in the order given."""
    open_rows: list[list[int]] = [[] for _ in range(row_tokens + 1)]  # by tokens left
    occupied = 0  # bit i: some open row has i tokens left
    text_left: list[int] = []
    segments: list[int] = []
    misfits: list[int] = []
    least_text, least_tokens = int(text.min()), int(tokens.min())
    row_of = np.empty(len(tokens), np.int64)
    for i, (need, words) in enumerate(zip(tokens.tolist(), text.tolist(), strict=True)):
        row, left = -1, need - 1
        candidates = occupied >> need
        while candidates and row < 0:
            lowest = (candidates & -candidates).bit_length()
            left += lowest
            candidates >>= lowest
            stack = open_rows[left]
            for place in range(len(stack) - 1, -1, -1):
                candidate = stack[place]
                if text_left[candidate] >= words:
                    row = stack.pop(place)
                    break
                misfits[candidate] += 1
                if misfits[candidate] >= _MISFITS:
                    stack.pop(place)
            if not stack:
                occupied &= ~(1 << left)
        if row < 0:
            row, left = len(text_left), row_tokens
            text_left.append(row_text)
            segments.append(0)
            misfits.append(0)
        row_of[i] = row
        left -= need
        text_left[row] -= words
        segments[row] += 1
        if left >= least_tokens and segments[row] < max_segments and text_left[row] >= least_text:
            open_rows[left].append(row)
            occupied |= 1 << left
    return row_of, len(text_left)


def bucket_waste(tokens: np.ndarray, *, row_tokens: int, buckets: int | None = None) -> float:
    """The share of padding of the usual alternative to packing, on the same clips: rows of one size each.

    Args:
      tokens: `[n]` of every clip.
      row_tokens: the room of a row, as many clips of one bucket as fit.
      buckets: lengths to pad to, at equal shares of the clips; None = one bucket per length that occurs (one
        compiled shape each, and no clip padded: only the room left in each row).
    """
    if buckets is None:
        edges = np.unique(tokens)
    else:
        edges = np.unique(np.quantile(tokens, np.arange(1, buckets + 1) / buckets, method="higher"))
    count = np.bincount(np.searchsorted(edges, tokens), minlength=len(edges))
    rows = -(-count // (row_tokens // edges))
    return float(1 - tokens.sum() / (rows.sum() * row_tokens))
