"""Objects that touch: groups of several colours, or of one colour but not convex, taken apart.

Every figure of the 2-D world is convex, so a deep dent in a group's outline means two objects, and the cut
runs between dents. Colours are found greedily: each pixel lies on a segment between two of the chosen
colours (or a colour and the background), pixels of flat surroundings on a colour itself, and a colour is
added while it explains enough pixels. So the rim between a blue and a red object is a mixture of the two,
not a thin purple object.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

MAX_COLORS = 5  # of one group
LEAST_GAIN = 0.03  # squared RGB distance that a further colour must save, on a speck's worth of pixels
OUTLIER = 0.3  # squared RGB distance that a pixel of no colour at all costs
FLAT = 0.15  # largest change over a 3x3 neighbourhood, per channel, that is no edge
NEIGHBOURS = np.ones((3, 3), np.uint8)


def dent_limit(area: float) -> float:
    """Deepest dent, in pixels, that the outline of one convex figure of `area` pixels may show."""
    return max(2.0, 0.3 * math.sqrt(area / math.pi))


def _dents(mask: UInt8[np.ndarray, "h w"]) -> list[tuple[float, tuple[int, int], np.ndarray]]:
    """Of each outline: depth and (x, y) of its deepest dent, and the outline."""
    found = []
    for outline in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        depth, point = 0.0, (int(outline[0, 0, 0]), int(outline[0, 0, 1]))
        if len(outline) > 8:
            defects = _defects(outline)
            if len(defects):
                deepest = defects[defects[:, 3].argmax()]
                depth, point = deepest[3] / 256.0, tuple(outline[deepest[2], 0].tolist())
        found.append((depth, point, outline))
    return found


def _defects(outline: np.ndarray) -> np.ndarray:
    """cv2.convexityDefects as `[k 4]`: start, end, farthest point (indices into the outline), depth * 256."""
    hull = cv2.convexHull(outline, returnPoints=False)
    hull = np.sort(hull, axis=0)[::-1]  # OpenCV wants hull indices monotone
    if len(hull) < 4:
        return np.zeros((0, 4), np.int32)
    defects = cv2.convexityDefects(outline, hull)
    return np.zeros((0, 4), np.int32) if defects is None else defects.reshape(-1, 4)


def dented(mask: UInt8[np.ndarray, "h w"], label: np.ndarray, *, count: int) -> Bool[np.ndarray, " count"]:
    """Which of the groups 1 .. count of `label` (connected parts of `mask`) are not convex."""
    found = np.zeros(count, bool)
    for depth, (x, y), outline in _dents(mask):
        group = int(label[y, x])
        if group:
            found[group - 1] |= depth > dent_limit(cv2.contourArea(outline) + len(outline) / 2)
    return found


def _along(pixels: np.ndarray, start: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of pixels `[n 3]`, segments from `start` to each of `ends [k 3]`: share, squared distance `[n k]`."""
    direction = ends - start
    norm = np.maximum((direction**2).sum(axis=1), 1e-9)
    away = pixels - start
    share = np.clip(away @ direction.T / norm, 0, 1)
    squared = (away**2).sum(axis=1)[:, None] - 2 * share * (away @ direction.T) + share**2 * norm
    return share, np.maximum(squared, 0)


def choose_colors(
    pixels: Float[np.ndarray, "n 3"],
    flat: Bool[np.ndarray, " n"],
    *,
    colors: Float[np.ndarray, "c 3"],
    min_area: float,
) -> list[int]:
    """Indices of the palette colours that a group is made of; all colours relative to the background."""
    cost = np.minimum((pixels**2).sum(axis=1), OUTLIER)
    at_color = ((pixels[:, None] - colors) ** 2).sum(axis=-1)
    chosen: list[int] = []
    mixed = _along(pixels, np.zeros(3), colors)[1]
    while len(chosen) < MAX_COLORS:
        trial = np.minimum(cost[:, None], np.where(flat[:, None], at_color, mixed))
        gain = (cost[:, None] - trial).sum(axis=0)
        best = int(gain.argmax())
        if gain[best] <= (LEAST_GAIN * min_area if chosen else 0):
            break
        chosen.append(best)
        cost = trial[:, best]
        mixed = np.minimum(mixed, _along(pixels, colors[best], colors)[1])
    return chosen


def coverage_of(
    pixels: Float[np.ndarray, "n 3"], flat: Bool[np.ndarray, " n"], *, colors: Float[np.ndarray, "k 3"]
) -> Float[np.ndarray, "n k"]:
    """Share of each pixel that each of the chosen colours covers; what is missing to 1 is background."""
    vertices = np.concatenate([np.zeros((1, 3)), colors])
    best = np.full(len(pixels), np.inf)
    share = np.zeros((len(pixels), len(vertices)))
    for j in range(len(vertices) - 1):
        along, squared = _along(pixels, vertices[j], vertices[j + 1 :])
        for k in range(j + 1, len(vertices)):
            better = squared[:, k - j - 1] < best - 1e-9
            best = np.where(better, squared[:, k - j - 1], best)
            share[better] = 0
            share[better, j], share[better, k] = 1 - along[better, k - j - 1], along[better, k - j - 1]
    nearest = ((pixels[flat][:, None] - vertices) ** 2).sum(axis=-1).argmin(axis=1)
    share[flat] = np.eye(len(vertices))[nearest]
    return share[:, 1:]


def cut(solid: UInt8[np.ndarray, "h w"], *, min_area: float, tries: int = 4) -> list[np.ndarray]:
    """A connected group cut at its dents into convex masks of at least half of `min_area` pixels."""
    depth, start, outline = max(_dents(solid), key=lambda d: len(d[2]))
    if tries == 0 or depth <= dent_limit(float(solid.sum())):
        return [solid]
    points = outline[:, 0].astype(np.float64)
    reach = np.linalg.norm(points - start, axis=1)
    defects = _defects(outline)
    other = defects[(defects[:, 3] / 256.0 > 0.4 * depth) & (reach[defects[:, 2]] > 0)]
    if len(other):
        end = outline[other[reach[other[:, 2]].argmin(), 2], 0]
    else:
        steps = np.abs(np.arange(len(points)) - reach.argmin())
        steps = np.minimum(steps, len(points) - steps)
        end = outline[np.where(steps >= len(points) // 5, reach, np.inf).argmin(), 0]
    lined = solid.copy()
    cv2.line(lined, start, (int(end[0]), int(end[1])), 0, 1)
    count, label = cv2.connectedComponents(lined, connectivity=4, ltype=cv2.CV_16U)
    sizes = np.bincount(label.ravel(), minlength=count)[1:]
    if (sizes >= 0.5 * min_area).sum() < 2:
        return [solid]
    label = np.where(np.isin(label, np.flatnonzero(sizes >= 0.5 * min_area) + 1), label, 0).astype(np.uint16)
    for _ in range(3):  # give the cut line and crumbs to their neighbours
        label = np.where((label == 0) & (solid > 0), cv2.dilate(label, NEIGHBOURS), label)
    pieces = [(label == k).astype(np.uint8) for k in np.unique(label) if k]
    return [part for piece in pieces for part in cut(piece, min_area=min_area, tries=tries - 1)]


def split(
    offset: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"],
    *,
    colors: Float[np.ndarray, "c 3"],
    min_area: float,
) -> list[tuple[Float[np.ndarray, "h w"], int]]:
    """The objects of one group: coverage image and palette index of each.

    Args:
      offset: RGB minus background of the group's window; inside: its pixels, soft rim included.
      colors: the palette minus the background; min_area: in pixels; smaller pieces are dropped.
    """
    smooth = offset.astype(np.float32)
    change = (cv2.dilate(smooth, NEIGHBOURS) - cv2.erode(smooth, NEIGHBOURS)).max(axis=-1)
    flat, pixels = change[inside] < FLAT, offset[inside].astype(np.float64)
    chosen = choose_colors(pixels, flat, colors=colors, min_area=min_area)
    shares = coverage_of(pixels, flat, colors=colors[chosen])
    pieces = []
    for share, color in zip(shares.T, chosen, strict=True):
        coverage = np.zeros(inside.shape)
        coverage[inside] = share
        count, label = cv2.connectedComponents((coverage > 0.5).astype(np.uint8), connectivity=4)
        parts = [(label == k).astype(np.uint8) for k in range(1, count)]
        parts = [p for part in parts if part.sum() >= 0.5 * min_area for p in cut(part, min_area=min_area)]
        number = np.zeros(inside.shape, np.uint16)
        for k, part in enumerate(parts):
            number[part > 0] = k + 1
        for _ in range(2):  # the soft rim belongs to the nearest part
            number = np.where(number == 0, cv2.dilate(number, NEIGHBOURS), number)
        images = [np.where(number == k + 1, coverage, 0) for k in range(len(parts))]
        pieces += [(image, color) for image in images if image.sum() >= min_area]
    return pieces
