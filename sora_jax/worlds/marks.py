"""How marks are drawn: discs bitten out of a body, paint on the canvas, a dotted string.

A mark is the union of its discs, each with exact coverage. Of discs that overlap, a pixel's coverage is the
largest one's: with discs at most half a radius apart the union's edge is then true to 3 % of the radius.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sora_jax.types import Body, Mark
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.coverage import circle_coverage, object_coverage

BEAD_GAP = 0.5  # world units between the beads of a string
SHARE_PIXELS = 256  # side of the picture on which the bitten share of a body is measured


def present(mark: Mark, frames: int) -> np.ndarray:
    """`[f n]` bool: which discs are there in which frame."""
    frame = np.arange(frames)[:, None]
    return (mark.start <= frame) & (frame < mark.end)


def bite_coverage(
    mark: Mark,
    position: Float[np.ndarray, "f 2"],
    angle: Float[np.ndarray, " f"],
    *,
    height: int,
    width: int,
    origin: np.ndarray,
    window: tuple[int, int],
) -> Float[np.ndarray, "f i j"]:
    """Coverage of a window by a bite that goes with its body; arguments as `coverage.circle_coverage`.

    position (world units) and angle (radians) are the body's.
    """
    scale = min(height, width) / scene_lib.SHORT_SIDE
    cos, sin = np.cos(angle), np.sin(angle)
    gone = np.zeros((len(position), *window), np.float32)
    for point, there in zip(mark.points.astype(np.float64), present(mark, len(position)).T, strict=True):
        if not there.any():
            continue
        turned = np.stack([cos * point[0] - sin * point[1], sin * point[0] + cos * point[1]], -1)
        center = _pixels(position + turned, height=height, width=width)[there]
        disc = circle_coverage(center, mark.radius * scale, origin=origin[there], window=window)
        gone[there] = np.maximum(gone[there], disc)
    return gone


def kept_share(body: Body, bites: Sequence[Mark], frames: int) -> Float[np.ndarray, " f"]:
    """The share of a body's area that its bites have left, per frame."""
    share = np.ones(frames, np.float32)
    if not bites:
        return share
    side = SHARE_PIXELS
    stretch = 0.45 * scene_lib.SHORT_SIDE / scene_lib.reach(body)  # to fill the picture, whatever its size
    place, level = np.zeros((1, 2)), np.zeros(1)
    large = Body(**{**vars(body), "radius": body.radius * stretch})
    whole, origin, _ = object_coverage(large, place, level, height=side, width=side)
    states = np.concatenate([present(b, frames) for b in bites], 1)
    cuts = np.cumsum([len(b.points) for b in bites])[:-1]
    for row in np.unique(states, axis=0):
        left = whole.copy()
        for bite, on in zip(bites, np.split(row, cuts), strict=True):
            still = Mark(
                kind="bite",
                body=bite.body,
                color=bite.color,
                radius=bite.radius * stretch,
                points=bite.points[on] * stretch,
                start=np.zeros(on.sum(), np.int32),
                end=np.ones(on.sum(), np.int32),
            )
            left *= 1 - bite_coverage(
                still, place, level, height=side, width=side, origin=origin, window=whole.shape[1:]
            )
        share[(states == row).all(1)] = left.sum() / whole.sum()
    return share


def canvas_coverage(
    mark: Mark, position: Float[np.ndarray, "f 2"], *, height: int, width: int
) -> Float[np.ndarray, "f h w"]:
    """Coverage of the whole frame by a stroke, or by a string to a body at `position` (world units)."""
    frames, scale = len(position), min(height, width) / scene_lib.SHORT_SIDE
    there = present(mark, frames)
    out = np.zeros((frames, height, width), np.float32)
    if mark.kind == "string":
        for frame in np.flatnonzero(there[:, 0]):
            beads = _beads(mark.points[0].astype(np.float64), position[frame])
            out[frame] = _discs(beads, mark.radius * scale, height=height, width=width).max(0)
        return out
    discs = _discs(mark.points.astype(np.float64), mark.radius * scale, height=height, width=width)
    for frame in range(frames):
        if frame and (there[frame] == there[frame - 1]).all():
            out[frame] = out[frame - 1]
        elif there[frame].any():
            out[frame] = discs[there[frame]].max(0)
    return out


def _discs(points: np.ndarray, radius: float, *, height: int, width: int) -> np.ndarray:
    center = _pixels(points, height=height, width=width)
    origin = np.zeros((len(points), 2), np.int64)
    return circle_coverage(center, radius, origin=origin, window=(height, width))


def _beads(fixed: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Points along a string, as many as its length asks for, its ends included."""
    pieces = max(1, math.ceil(float(np.linalg.norm(end - fixed)) / BEAD_GAP))
    return fixed + (end - fixed) * np.linspace(0, 1, pieces + 1)[:, None]


def _pixels(points: np.ndarray, *, height: int, width: int) -> np.ndarray:
    scale = min(height, width) / scene_lib.SHORT_SIDE
    return points * (scale, -scale) + (width / 2, height / 2)
