"""Requests as rows of a batch: which share a row, what their tokens start from, and room for the machine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sora_jax import patches, text_bytes
from sora_jax.nn.partition import ROWS, TOKENS
from sora_jax.sampling.request import Generator, Request
from sora_jax.types import PackedBatch

TEXT_STEP = 32  # rows of text are padded to a multiple of this, so that few lengths are compiled


Start = Float[np.ndarray, "b n"]


class Rows(NamedTuple):
    """What `generate.sample_batch` takes, in its order; the last two are None where nothing asks for them."""

    batch: PackedBatch
    start: Start
    parts: tuple[PackedBatch, Start] | None
    context_level: Start | None


def batch(
    generator: Generator,
    requests: Sequence[Request],
    grids: Sequence[patches.Grid],
    plan: Sequence[Sequence[int]],
) -> Rows:
    """The rows of a plan on the host, with as few tokens as the longest, the mesh and the kernel allow."""
    asked = [[requests[k] for k in row] for row in plan]
    begun = [[_segment(generator, requests[k], grids[k]) for k in row] for row in plan]
    segments = [[segment for segment, _ in row] for row in begun]
    packed = _packed(generator, segments)
    start = np.zeros(packed.segment.shape, np.float32)
    for r, row in enumerate(begun):
        levels = np.concatenate([level for _, level in row])
        start[r, : len(levels)] = levels
    context_level = np.zeros_like(start)
    for r, row in enumerate(asked):
        for number, request in enumerate(row, 1):
            context_level[r, packed.segment[r] == number] = request.context_level
    return Rows(
        batch=packed,
        start=start,
        parts=_by_shots(generator, packed, segments, asked),
        context_level=context_level if context_level.any() else None,
    )


def plan(grids: Sequence[patches.Grid], *, row_tokens: int) -> list[list[int]]:
    """Rows of request numbers, first fit in order of falling length."""
    tokens = [int(np.prod(grid)) for grid in grids]
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(grids)), key=lambda k: -tokens[k]):
        fits = next((r for r, left in enumerate(room) if left >= tokens[number]), None)
        if fits is None:
            rows.append([])
            room.append(row_tokens)
            fits = len(rows) - 1
        rows[fits].append(number)
        room[fits] -= tokens[number]
    return rows


def shares(generator: Generator) -> int:
    """Parts that the mesh cuts a batch's rows into: their number has to be a multiple of it."""
    mesh = generator.mesh
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in ROWS)


def _segment(
    generator: Generator, request: Request, grid: patches.Grid
) -> tuple[patches.Segment, Float[np.ndarray, " n"]]:
    """The request as it enters a row, and the noise level that each of its tokens starts from."""
    patch = generator.patch
    frames, height, width = (side * p for side, p in zip(grid, patch, strict=True))
    latents = np.zeros((frames, height, width, generator.channels), np.float32)
    known = 0
    if request.given is not None:
        known = len(request.given)
        if request.given.shape[1:] != latents.shape[1:] or known > frames or known % patch[0]:
            raise ValueError(
                f"given latents of shape {request.given.shape} do not begin a video of latents "
                f"{latents.shape}: encode its first frames at {request.height} x {request.width} pixels"
            )
        latents[:known] = request.given
    start = _start(request, grid, known=known // patch[0])
    text = text_bytes.encode_timed(request.prompt)
    last = (frames + request.first - 1) * generator.ratio[0] / request.fps
    if text.starts[-1] > last:
        raise ValueError(
            f"a caption starts at {text.starts[-1]:g} s, the video ends at {last:g} s: start it sooner, or "
            "ask for more frames"
        )
    segment = patches.segment(
        latents,
        ratio=generator.ratio,
        patch=patch,
        fps=request.fps,
        clip=request.seed,
        text=text.tokens,
        text_span=text.span,
        starts=text.starts,
        first=request.first // patch[0],
        anchored=request.anchored,
    )
    return dataclasses.replace(segment, known=start == 0), start


def _packed(generator: Generator, rows: Sequence[Sequence[patches.Segment]]) -> PackedBatch:
    """Rows as short as they can be."""
    devices = 1 if generator.mesh is None else generator.mesh.shape[TOKENS]
    return patches.pack_rows(
        rows,
        row_tokens=_up(max(sum(len(s.tokens) for s in row) for row in rows), generator.block * devices),
        row_text=_up(max(sum(len(s.text) for s in row) for row in rows), max(TEXT_STEP, generator.block)),
        max_segments=max(len(row) for row in rows),
    )


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _by_shots(
    generator: Generator,
    batch: PackedBatch,
    rows: Sequence[Sequence[patches.Segment]],
    requests: Sequence[Sequence[Request]],
) -> tuple[PackedBatch, Start] | None:
    """The batch with every shot as a segment of its own, and the scale of each token's guidance by them.

    None where no request has several captions, or none is guided by them.
    """
    shots, scale = [], np.zeros(batch.segment.shape, np.float32)
    for r, (row, asked) in enumerate(zip(rows, requests, strict=True)):
        shots.append([])
        for number, (segment, request) in enumerate(zip(row, asked, strict=True), 1):
            parts = _shots(segment) if request.apart else [segment]
            shots[-1] += parts
            if len(parts) > 1:
                scale[r, batch.segment[r] == number] = request.apart
    return (_packed(generator, shots), scale) if scale.any() else None


def _shots(segment: patches.Segment) -> list[patches.Segment]:
    """A segment cut where another caption is read."""
    if segment.span is None:
        return [segment]
    _, rows, columns = segment.grid
    borders = np.flatnonzero(np.diff(segment.span[:: rows * columns])) + 1
    return patches.split(segment, borders.tolist())


def _start(request: Request, grid: patches.Grid, *, known: int) -> Float[np.ndarray, " n"]:
    """The level of every patch; `known` frames of patches are given."""
    if request.start is None:
        return np.where(patches.indices(grid)[:, 0] < known, 0.0, 1.0).astype(np.float32)
    start = np.asarray(request.start, np.float32)
    if start.shape != grid or not ((start >= 0) & (start <= 1)).all():
        raise ValueError(
            f"start has shape {start.shape} and values {start.min():g} to {start.max():g}: give a level in "
            f"[0, 1] for each of {grid} patches"
        )
    if (start[known:] < 1).any():
        raise ValueError(
            f"start is below 1 after the {known} frames of patches that are given: give those too"
        )
    return start.reshape(-1)
