"""Exact coverage: the share of a pixel that a circle or convex polygon covers.

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
    """Coverage of the pixels of a window by a convex polygon; arguments as `circle_coverage`.

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
    center = position * (scale, -scale) + (width / 2, height / 2)
    across = math.ceil(2 * scene_lib.reach(body) * scale) + 2
    window = min(across, height), min(across, width)
    first = np.floor(center - across / 2).astype(np.int64)
    origin = first.clip(0, (width - window[1], height - window[0]))
    area = math.pi * (body.radius * scale) ** 2
    if body.shape == "circle":
        return circle_coverage(center, body.radius * scale, origin=origin, window=window), origin, area
    corners = scene_lib.outline(body.shape, body.radius) * scale
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    turned = np.stack(
        [cos * corners[:, 0] - sin * corners[:, 1], -sin * corners[:, 0] - cos * corners[:, 1]], -1
    )
    return polygon_coverage(turned + center[:, None], origin=origin, window=window), origin, area
