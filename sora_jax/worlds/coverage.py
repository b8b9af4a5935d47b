"""Exact coverage: the share of a pixel that a circle or polygon covers.

Coverage of pixel (i, j) is a second difference of the area of the shape that lies above and left of a
corner. For a circle that area has a closed form; for a polygon Green's theorem turns it into a sum over
edges, each linear within a row of pixels. There is no sampling: a move of 1/100 pixel changes the frame.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from sora_jax.types import Body
from sora_jax.worlds import scene as scene_lib

DIRECTIONS = 64  # in which an outline between two shapes has a corner, beside the corners of both


def circle_coverage(
    center: Float[np.ndarray, "f 2"], radius: float, *, origin: np.ndarray, window: tuple[int, int]
) -> Float[np.ndarray, "f i j"]:
    """Coverage of the pixels of a window by a circle.

    Args:
      center: (x, y) in pixels, x right and y DOWN, pixel (i, j) being [j, j+1] x [i, i+1].
      radius: in pixels.
      origin: `[f 2]` int, the window's first column and row.
      window: its rows and columns.
    """
    rows, cols = window
    x = ((origin[:, :1] + np.arange(cols + 1) - center[:, :1]) / radius).astype(np.float32)
    y = ((origin[:, 1:] + np.arange(rows + 1) - center[:, 1:]) / radius).astype(np.float32)
    x, y = x.clip(-1, 1), y.clip(-1, 1)
    half = np.float32(math.pi / 4)
    reach = np.sqrt(1 - y * y)  # half the chord at height y

    def segment(u: np.ndarray) -> np.ndarray:  # integral of sqrt(1 - u^2) from 0
        return (u * np.sqrt(1 - u * u) + np.arcsin(u)) / 2

    at_x, at_reach = segment(x)[:, None, :], segment(reach)[:, :, None]
    reach, x, level = reach[:, :, None], x[:, None, :], y[:, :, None]
    inside = level * (np.clip(x, -reach, reach) + reach)
    outside = np.minimum(at_x, -at_reach) + half + np.maximum(at_x, at_reach) - at_reach
    area = at_x + half + inside + np.sign(level) * outside
    return _second_difference(area, scale=radius * radius)


def _second_difference(area: np.ndarray, *, scale: float) -> np.ndarray:
    strip = area[:, :, 1:] - area[:, :, :-1]
    return np.clip((strip[:, 1:] - strip[:, :-1]) * np.float32(scale), 0, 1)


def polygon_coverage(
    corners: Float[np.ndarray, "f v 2"], *, origin: np.ndarray, window: tuple[int, int]
) -> Float[np.ndarray, "f i j"]:
    """Coverage of the pixels of a window by a polygon that does not cross itself; else as `circle_coverage`.

    The area of row i left of X is the sum over edges of +-integral of max(0, X - x_edge(y)) dy, and the
    integrand's mean over a linear stretch is elementary.
    """
    rows, cols = window
    corners = corners - origin[:, None, :]
    following = np.roll(corners, -1, axis=1)
    lines = np.arange(rows + 1, dtype=np.float64)
    columns = np.arange(cols + 1, dtype=np.float32)
    area = np.zeros((len(corners), rows, cols + 1), np.float32)
    for k in range(corners.shape[1]):
        (xa, ya), (xb, yb) = corners[:, k].T, following[:, k].T
        rise = yb - ya
        level = np.clip(lines, np.minimum(ya, yb)[:, None], np.maximum(ya, yb)[:, None])
        slope = (xb - xa) / np.where(np.abs(rise) < 1e-9, 1.0, rise)
        edge = xa[:, None] + slope[:, None] * (level - ya[:, None])
        height = np.diff(level, axis=1) * np.sign(rise)[:, None]
        first, last = edge[:, :-1], edge[:, 1:]
        low, high = np.minimum(first, last).astype(np.float32), np.maximum(first, last).astype(np.float32)
        width = np.maximum(high - low, np.float32(1e-6))
        # mean of max(0, u) for u linear from X - high to X - low: max(u_max, 0)^2 / 2 width, minus the
        # same of u_min, which together are u_max - width / 2 once both are positive.
        most = np.maximum(columns - low[:, :, None], 0)
        partial = np.minimum(most, width[:, :, None])
        mean = most - partial + partial * partial / (2 * width)[:, :, None]
        area += mean * height.astype(np.float32)[:, :, None]
    coverage = area[:, :, 1:] - area[:, :, :-1]
    return np.clip(np.abs(coverage), 0, 1)


def object_coverage(
    body: Body, position: np.ndarray, angle: np.ndarray, *, height: int, width: int
) -> tuple[Float[np.ndarray, "f i j"], np.ndarray, float]:
    """One object's coverage of a window that follows it, the window's origin `[f 2]`, its area in pixels.

    Args:
      position: `[f 2]` world units. angle: `[f]` radians.
      height, width: of the frame, pixels; the window always lies within it.
    """
    scale = min(height, width) / scene_lib.SHORT_SIDE
    center, origin, window = _window(scene_lib.reach(body), position, height=height, width=width)
    area = math.pi * (body.radius * scale) ** 2
    if body.shape == "circle":
        return circle_coverage(center, body.radius * scale, origin=origin, window=window), origin, area
    corners = scene_lib.outline(body.shape, body.radius)[None] * scale
    return (
        polygon_coverage(_turned(corners, angle) + center[:, None], origin=origin, window=window),
        origin,
        area,
    )


def between(
    first: Body,
    second: Body,
    share: Float[np.ndarray, " f"],
    position: np.ndarray,
    angle: np.ndarray,
    *,
    height: int,
    width: int,
) -> tuple[Float[np.ndarray, "f i j"], np.ndarray, Float[np.ndarray, " f"]]:
    """As `object_coverage`, of an object that is `share` of the way from one body to another.

    The distance from its centre to its edge, along every direction, is that share of the way between theirs.

    Returns:
      the coverage, the window's origin `[f 2]`, and the areas in pixels.
    """
    scale = min(height, width) / scene_lib.SHORT_SIDE
    reach = max(scene_lib.reach(first), scene_lib.reach(second))
    center, origin, window = _window(reach, position, height=height, width=width)
    outlines = [scene_lib.outline(b.shape, b.radius) for b in (first, second) if b.shape != "circle"]
    directions = [np.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)]
    directions += [np.arctan2(corners[:, 1], corners[:, 0]) for corners in outlines]
    angles = np.unique(np.concatenate(directions) % (2 * math.pi))
    ends = [scene_lib.radii(b.shape, b.radius * scale, angles) for b in (first, second)]
    away = (1 - share)[:, None] * ends[0] + share[:, None] * ends[1]
    corners = away[..., None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    coverage = polygon_coverage(_turned(corners, angle) + center[:, None], origin=origin, window=window)
    following = np.roll(corners, -1, axis=1)
    area = (corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]).sum(1) / 2
    for body, there in ((first, share == 0), (second, share == 1)):
        if body.shape == "circle":  # exact, where it is one
            coverage[there] = circle_coverage(
                center[there], body.radius * scale, origin=origin[there], window=window
            )
            area[there] = math.pi * (body.radius * scale) ** 2
    return coverage, origin, area


def _window(
    reach: float, position: np.ndarray, *, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Centres in pixels, and the first column and row and the size of a window that follows them."""
    scale = min(height, width) / scene_lib.SHORT_SIDE
    center = position * (scale, -scale) + (width / 2, height / 2)
    across = math.ceil(2 * reach * scale) + 2
    window = min(across, height), min(across, width)
    first = np.floor(center - across / 2).astype(np.int64)
    return center, first.clip(0, (width - window[1], height - window[0])), window


def _turned(corners: Float[np.ndarray, "f v 2"], angle: np.ndarray) -> Float[np.ndarray, "f v 2"]:
    """Corners about the origin, turned by `[f]` radians; y points up before and down after."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = corners[..., 0], corners[..., 1]
    return np.stack([cos * x - sin * y, -sin * x - cos * y], -1)
