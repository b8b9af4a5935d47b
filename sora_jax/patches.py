"""Latents as rows of spacetime patches: the arithmetic, without weights.

A clip of `f` pixel frames has `lf = 1 + (f - 1) / ratio_t` latent frames: the first latent is the first frame
alone, latent `k` covers pixel frames `ratio_t (k - 1) + 1 .. ratio_t k`. An image is a clip of one frame.

Positions are geometry, never array indices: (seconds, row, column), where seconds is the instant of the last
pixel frame a patch covers, and row and column are of the patch's centre, measured from the frame's centre in
units in which the frame's short side spans [-1, 1]; rows grow downwards. The same scene at another resolution
has the same positions at another density, and at another frame rate the same seconds.

Source of the idea: Brooks et al. 2024, "Video generation models as world simulators" (spacetime patches of
latents); packing several of them into one row: Dehghani et al. 2023, arXiv 2307.06304 (NaViT).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import einops
import numpy as np
from jaxtyping import Float, Int

from sora_jax.types import PackedBatch

Grid = tuple[int, int, int]  # patches along (frames, rows, columns)


def patchify(latents: Float[Any, "lf lh lw lc"], *, patch: Grid = (1, 2, 2)) -> Float[Any, "n p"]:
    """Latents as `n = gf gh gw` patches of `p = pf ph pw lc` numbers, frame by frame, row by row."""
    pf, ph, pw = patch
    grid_of(latents.shape, patch=patch)
    pattern = "(gf pf) (gh ph) (gw pw) lc -> (gf gh gw) (pf ph pw lc)"
    return einops.rearrange(latents, pattern, pf=pf, ph=ph, pw=pw)


def unpatchify(
    tokens: Float[Any, "n p"], *, grid: Grid, patch: Grid = (1, 2, 2)
) -> Float[Any, "lf lh lw lc"]:
    """The inverse of `patchify`, exactly."""
    (gf, gh, gw), (pf, ph, pw) = grid, patch
    pattern = "(gf gh gw) (pf ph pw lc) -> (gf pf) (gh ph) (gw pw) lc"
    return einops.rearrange(tokens, pattern, gf=gf, gh=gh, gw=gw, pf=pf, ph=ph, pw=pw)


def grid_of(latent_shape: Sequence[int], *, patch: Grid = (1, 2, 2)) -> Grid:
    """The grid of patches of latents `[lf lh lw lc]`; an error if a side does not divide."""
    for name, side, step in zip(("frames", "height", "width"), latent_shape[:3], patch, strict=True):
        if side % step:
            raise ValueError(f"latent {name} {side} is not a multiple of the patch's {step}")
    f, h, w = (int(side // step) for side, step in zip(latent_shape[:3], patch, strict=True))
    return f, h, w


def latent_grid(frames: int, height: int, width: int, *, ratio: Grid, patch: Grid = (1, 2, 2)) -> Grid:
    """The grid of patches of a video of `frames x height x width` pixels.

    Args:
      ratio: the autoencoder's compression (frames, height, width), e.g. (4, 8, 8).

    Raises:
      ValueError: a side that does not divide, with the nearest two that do.
    """
    step = ratio[0] * patch[0]
    if frames < 1 or (frames - 1) % ratio[0] or (1 + (frames - 1) // ratio[0]) % patch[0]:
        low = max(1, 1 + (frames - 1) // step * step)
        raise ValueError(f"frames {frames} is not 1 + a multiple of {step}: use {low} or {low + step}")
    for name, side, r, p in (("height", height, ratio[1], patch[1]), ("width", width, ratio[2], patch[2])):
        if side < 1 or side % (r * p):
            low = max(r * p, side // (r * p) * (r * p))
            raise ValueError(
                f"{name} {side} is not a multiple of {r * p} (autoencoder {r} x patch {p}): "
                f"use {low} or {low + r * p}"
            )
    latents = (1 + (frames - 1) // ratio[0], height // ratio[1], width // ratio[2])
    return grid_of(latents, patch=patch)


def positions(grid: Grid, *, ratio: Grid, patch: Grid, fps: float) -> np.ndarray:
    """(seconds, row, column) `[n 3]` float32 of every patch of a clip; see the module's docstring.

    Args:
      ratio: the autoencoder's compression; with `patch` it gives the pixels of a patch.
      fps: pixel frames per second, above 0.
    """
    if not fps > 0:
        raise ValueError(f"frames/s must be above 0, not {fps}")
    gf, gh, gw = grid
    last_latent = (np.arange(gf) + 1) * patch[0] - 1
    seconds = last_latent * ratio[0] / fps
    heights, widths = ratio[1] * patch[1], ratio[2] * patch[2]
    half_short = min(gh * heights, gw * widths) / 2
    row = (np.arange(gh) + 0.5 - gh / 2) * heights / half_short
    column = (np.arange(gw) + 0.5 - gw / 2) * widths / half_short
    return np.stack(np.meshgrid(seconds, row, column, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def indices(grid: Grid) -> np.ndarray:
    """(frame, row, column) `[n 3]` int32 of every patch of a clip."""
    return np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3).astype(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """One clip as it enters a row: `tokens` are noise, zeros or clean patches, `known` marks given ones."""

    tokens: np.ndarray  # [n p] float32
    grid: Grid
    position: np.ndarray  # [n 3]
    clip: int  # the clip's number in its source, or the sample's number: keys all its draws
    text: np.ndarray  # [m] int32
    known: np.ndarray | None = None  # [n] bool
    span: np.ndarray | None = None  # [n] int32, which caption each token reads; None = the only one
    text_span: np.ndarray | None = None  # [m] int32, which caption each text token belongs to
    first: int = 0  # number of its first frame of patches within a longer video


def segment(
    latents: np.ndarray,
    *,
    ratio: Grid,
    patch: Grid,
    fps: float,
    clip: int,
    text: np.ndarray,
    known: np.ndarray | None = None,
    text_span: np.ndarray | None = None,
    starts: Sequence[float] = (0.0,),
    first: int = 0,
    anchored: bool = False,
) -> Segment:
    """The segment of one clip's latents `[lf lh lw lc]`.

    Args:
      text: its caption's tokens, or those of several captions (`text_span`) that hold from `starts` on; see
        `text_bytes.TimedText`.
      first: frames of patches before these, where the clip is the middle of a longer video. `starts` and the
        places that draws are keyed by are counted from the video's beginning; the positions begin with the
        second frame of patches, as those of a clip that has lost its first, so that no model sees seconds
        that it was never trained on.
      anchored: the first frame of patches is not what lies before the second but the longer video's very
        first, which takes the place of the one that was lost.
    """
    grid = grid_of(latents.shape, patch=patch)
    frames, rows, columns = grid
    begin = 0 if anchored else min(first, 1)
    position = positions((begin + frames, rows, columns), ratio=ratio, patch=patch, fps=fps)
    position = position[begin * rows * columns :]
    before = (first - begin) * patch[0] * ratio[0] / fps  # seconds
    return Segment(
        tokens=patchify(np.asarray(latents, np.float32), patch=patch),
        grid=grid,
        position=position,
        clip=clip,
        text=text,
        known=known,
        span=spans_of(position, starts, before=before),
        text_span=text_span,
        first=first,
    )


def split(clip: Segment, borders: Sequence[int]) -> list[Segment]:
    """A clip's parts as clips of their own: the same tokens, captions and draws, in the same order.

    Positions of a later part begin with the second frame of patches, as `segment` has it of a clip that has
    lost its first. A part has the captions that it reads.

    Args:
      borders: frames of patches, ascending, with which the parts but the first begin.

    Raises:
      ValueError: a border that leaves a part empty.
    """
    frames, rows, columns = clip.grid
    edges = [0, *borders, frames]
    if any(last >= first for last, first in itertools.pairwise(edges)):
        raise ValueError(f"borders {list(borders)} of {frames} frames of patches: each part has one at least")
    places = rows * columns
    step = clip.position[places, 0] - clip.position[0, 0] if frames > 1 else 0.0
    span = np.zeros(len(clip.tokens), np.int32) if clip.span is None else clip.span
    text_span = np.zeros(len(clip.text), np.int32) if clip.text_span is None else clip.text_span
    parts = []
    for first, stop in itertools.pairwise(edges):
        at = slice(first * places, stop * places)
        position = clip.position[at].copy()
        if first:
            position[:, 0] += step - position[0, 0]
        parts.append(
            Segment(
                tokens=clip.tokens[at],
                grid=(stop - first, rows, columns),
                position=position,
                clip=clip.clip,
                text=clip.text[np.isin(text_span, span[at])],
                known=None if clip.known is None else clip.known[at],
                span=span[at],
                text_span=text_span[np.isin(text_span, span[at])],
                first=clip.first + first,
            )
        )
    return parts


def spans_of(position: np.ndarray, starts: Sequence[float], *, before: float = 0.0) -> np.ndarray:
    """Which caption every token `[n 3]` reads, `[n]` int32: the last that starts by the token's instant.

    A patch that a start falls into goes with the new caption. `before`: seconds that positions leave out.
    """
    slack = 1e-3  # seconds: `position` is float32, times are written with few digits
    found = np.searchsorted(np.asarray(starts), position[:, 0] + before + slack, side="right") - 1
    return found.astype(np.int32)


def pack_rows(
    rows: Sequence[Sequence[Segment]],
    *,
    row_tokens: int,
    row_text: int,
    max_segments: int,
    width: int | None = None,
) -> PackedBatch:
    """Writes rows of segments, one after the other, into the arrays of one batch (NumPy).

    Args:
      rows: a row without segments is padding.
      row_tokens, row_text, max_segments: the room of a row.
      width: numbers per patch; None = as the segments have it, of which there is one at least.

    Raises:
      ValueError: a row that needs more tokens, text tokens or segments than it has.
    """
    b = len(rows)
    if width is None:
        width = next(segment.tokens.shape[-1] for row in rows for segment in row)
    shapes = {
        "tokens": ((row_tokens, width), np.float32),
        "position": ((row_tokens, 3), np.float32),
        "segment": ((row_tokens,), np.int32),
        "known": ((row_tokens,), np.bool_),
        "index": ((row_tokens, 3), np.int32),
        "clip": ((max_segments,), np.uint32),
        "grid": ((max_segments, 3), np.int32),
        "text": ((row_text,), np.int32),
        "text_segment": ((row_text,), np.int32),
        "span": ((row_tokens,), np.int32),
        "text_span": ((row_text,), np.int32),
    }
    arrays: dict[str, Any] = {name: np.zeros((b, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    batch = PackedBatch(**arrays)
    for r, row in enumerate(rows):
        needed = (sum(len(s.tokens) for s in row), sum(len(s.text) for s in row), len(row))
        for name, need, have in zip(
            ("tokens", "text tokens", "segments"), needed, (row_tokens, row_text, max_segments), strict=True
        ):
            if need > have:
                raise ValueError(f"row {r} needs {need} {name}, and has room for {have}")
        _write_row(batch, r, row)
    return batch


def _write_row(batch: Any, r: int, row: Sequence[Segment]) -> None:
    start = text_start = 0
    for number, s in enumerate(row, 1):
        at, text_at = slice(start, start + len(s.tokens)), slice(text_start, text_start + len(s.text))
        batch.tokens[r, at] = s.tokens
        batch.position[r, at] = s.position
        batch.segment[r, at] = number
        batch.known[r, at] = False if s.known is None else s.known
        batch.index[r, at] = indices(s.grid) + np.array([s.first, 0, 0], np.int32)
        batch.clip[r, number - 1] = s.clip
        batch.grid[r, number - 1] = s.grid
        batch.text[r, text_at] = s.text
        batch.text_segment[r, text_at] = number
        batch.span[r, at] = 0 if s.span is None else s.span
        batch.text_span[r, text_at] = 0 if s.text_span is None else s.text_span
        start, text_start = at.stop, text_at.stop


def unpack_rows(
    tokens: Float[Any, "b n p"], segment: Int[Any, "b n"], *, grids: Int[Any, "b s 3"], patch: Grid
) -> list[np.ndarray]:
    """The latents `[lf lh lw lc]` of every segment, row by row: the inverse of `pack_rows`."""
    clips = []
    for row, numbers, table in zip(np.asarray(tokens), np.asarray(segment), np.asarray(grids), strict=True):
        for number in range(1, int(numbers.max(initial=0)) + 1):
            grid = tuple(int(side) for side in table[number - 1])
            clips.append(unpatchify(row[numbers == number], grid=grid, patch=patch))  # type: ignore[arg-type]
    return clips
