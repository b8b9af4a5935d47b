"""Pixels to detections: soft colour segmentation of each frame, sub-pixel centroids, area, shape moments.

A pixel p over a background b is p = b + alpha (c - b) where an object of colour c covers the share alpha of
it. Foreground pixels are grouped by connectivity; the core of a group (its deepest pixels) gives its colour,
the projection on (c - b) gives alpha, and coverage-weighted moments give area, centroid and shape. Groups
that one colour cannot explain, and groups that are not convex, are objects that touch: `touching.split`
takes them apart.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from sora_jax.evaluation.physics import shapes, touching

FOREGROUND = 0.12  # distance from the background in RGB [0, 1]; 3 sigma of noise 5/255 in each channel
MISFIT, SPREAD = 0.1, 0.15  # of a group's pixels from one colour line, and of its core: more is two colours
MAX_GROUPS = 64  # per frame; the largest are kept

DETECTION_DTYPE = np.dtype(
    [
        ("frame", np.int32),
        ("x", np.float64),  # pixels, centre of the first column = 0.5
        ("y", np.float64),  # pixels, downward
        ("area", np.float64),  # pixels
        ("color", np.int32),  # index into the palette
        ("rgb", np.float64, (3,)),  # measured, [0, 1]
        ("features", np.float64, (3,)),  # shapes.moment_features
        ("edge", bool),  # touches the frame's border
        ("touching", bool),  # was cut out of a group of several objects
    ]
)


def background(video: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, " 3"]:
    """The video's most common colour, RGB in [0, 1]: the mean over the fullest cell of a 16^3 histogram.

    Cells of two half-shifted histograms compete, so that a colour on a cell's border is not torn in two.
    """
    step = max(1, video.size // 3 // 60000)
    pixels = video.reshape(-1, 3)[::step].astype(np.int32)
    best, best_count = None, -1
    for shift in (0, 8):
        cell = (pixels + shift) >> 4
        index = (cell[:, 0] * 17 + cell[:, 1]) * 17 + cell[:, 2]
        count = np.bincount(index)
        if count.max() > best_count:
            best, best_count = pixels[index == count.argmax()], count.max()
    assert best is not None
    return best.mean(axis=0) / 255.0


def nearest_color(
    offset: Float[np.ndarray, "k 3"], palette: Float[np.ndarray, "c 3"], *, least: Float[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Palette colour that best explains each measured colour, and its coverage.

    Args:
      offset: measured colours minus the background; palette: colours minus the background.
      least: the coverage, in (0, 1], that a core may have: 1 where the core is known to be wholly covered.

    Returns:
      index and coverage alpha in [least, 1] minimising |offset - alpha colour|; the coverage returned is not
      clipped.
    """
    norm = (palette**2).sum(axis=1)
    alpha = (offset @ palette.T) / norm
    clipped = np.clip(alpha, least[:, None], 1)
    distance = ((offset[:, None] - clipped[..., None] * palette) ** 2).sum(axis=-1)
    index = distance.argmin(axis=1)
    return index, alpha[np.arange(len(index)), index]


def _groups(mask: UInt8[np.ndarray, "h w"]) -> tuple[int, np.ndarray, np.ndarray]:
    """Connected groups: count, label image grown by one pixel (0 = none), bounding boxes."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)
    if count - 1 > MAX_GROUPS:
        keep = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MAX_GROUPS] + 1
        table = np.zeros(count, np.uint16)
        table[keep] = np.arange(1, MAX_GROUPS + 1)
        label, stats, count = (
            table[np.asarray(label, np.intp)],
            stats[np.concatenate([[0], keep])],
            MAX_GROUPS + 1,
        )
    grown = np.where(label > 0, label, cv2.dilate(label, np.ones((3, 3), np.uint8)))
    return count - 1, grown, stats[1:]


def detect(
    video: UInt8[np.ndarray, "f h w 3"],
    *,
    palette: Float[np.ndarray, "c 3"],
    min_area: float,
    max_share: float = 0.5,
) -> tuple[np.ndarray, Float[np.ndarray, " 3"]]:
    """Every object-like group of every frame.

    Args:
      palette: RGB in [0, 1]; the background's own colour may be in it.
      min_area: in pixels; smaller groups are specks. max_share: of the frame; what covers more is no object.

    Returns:
      array of `DETECTION_DTYPE` in order of frame, and the background colour.
    """
    frames, height, width, _ = video.shape
    base = background(video)
    colors = palette - base
    offset = video.astype(np.float32) / np.float32(255) - base.astype(np.float32)
    mask = (np.einsum("fhwc,fhwc->fhw", offset, offset) > FOREGROUND**2).astype(np.uint8)
    parts, boxes, dents, first = [], [], [], 0
    for f in range(frames):
        count, label, box = _groups(mask[f])
        if count == 0:
            continue
        row, column = np.nonzero(label)
        framed = cv2.copyMakeBorder(
            mask[f], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
        )  # a cut edge is an edge
        depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[row + 1, column + 1]
        parts.append(
            (label[row, column].astype(np.int64) - 1 + first, row, column, depth, offset[f, row, column])
        )
        boxes.append(np.concatenate([np.full((count, 1), f), box], axis=1))
        dents.append(touching.dented(mask[f], label, count=count))
        first += count
    if first == 0:
        return np.zeros(0, DETECTION_DTYPE), base
    label, row, column, depth, pixels = (np.concatenate(a) for a in zip(*parts, strict=True))
    box = np.concatenate(boxes)
    found, single = _measure(label, row, column, depth, pixels, colors=colors, count=first)
    left, top, wide, high, size = box[:, 1:6].T
    found["frame"] = box[:, 0]
    found["edge"] = (left <= 1) | (top <= 1) | (left + wide >= width - 1) | (top + high >= height - 1)
    found["rgb"] += base
    single &= ~np.concatenate(dents)
    possible = (size >= 0.5 * min_area) & (found["area"] <= max_share * height * width)
    out = [found[possible & single]]
    for k in np.flatnonzero(possible & ~single):
        f, (y0, y1), (x0, x1) = box[k, 0], _window(top[k], high[k], height), _window(left[k], wide[k], width)
        inside = np.zeros((y1 - y0, x1 - x0), bool)
        mine = label == k
        inside[row[mine] - y0, column[mine] - x0] = True
        pieces = touching.split(offset[f, y0:y1, x0:x1], inside, colors=colors, min_area=min_area)
        out.append(
            _of_pieces(pieces, colors=colors, base=base, frame=f, corner=(y0, x0), shape=(height, width))
        )
    every = np.concatenate(out)
    solid = (every["color"] >= 0) & (every["area"] >= min_area)
    return every[solid][np.argsort(every[solid]["frame"], kind="stable")], base


def _window(start: int, length: int, limit: int) -> tuple[int, int]:
    return max(int(start) - 2, 0), min(int(start + length) + 2, limit)


def _measure(
    label: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    depth: np.ndarray,
    pixels: np.ndarray,
    *,
    colors: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Detections of all groups at once, as if each were one object; and which of them are one."""

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label, weights=values, minlength=count)

    deepest = np.zeros(count)
    np.maximum.at(deepest, label, depth)
    weight = (depth / np.maximum(deepest, 1)[label]) ** 4
    mass = np.maximum(total(weight), 1e-9)
    core = np.stack([total(weight * pixels[:, c]) for c in range(3)], axis=1) / mass[:, None]
    small = deepest < 3.5
    color, coverage = nearest_color(core, colors, least=np.where(small, 0.7, 1.0))
    # A small core may be thinned by blur: its full colour is the palette's. A large one is taken as it is.
    full = np.where(small[:, None], colors[color] * np.clip(coverage, 0.95, 1.1)[:, None], core)
    norm = np.maximum((full**2).sum(axis=1), 1e-6)
    alpha = np.einsum("qc,qc->q", pixels, full[label]) / norm[label]
    residual = pixels - alpha[:, None] * full[label]
    pixels_of = np.maximum(total((depth > 0).astype(float)), 1)
    misfit = np.sqrt(total(np.einsum("qc,qc->q", residual, residual) * (depth > 0)) / pixels_of)
    spread = np.sqrt(total(weight * ((pixels - core[label]) ** 2).sum(axis=1)) / mass)
    measured = shapes.moment_features(column + 0.5, row + 0.5, np.clip(alpha, -0.2, 1.2), label, count=count)
    found = np.zeros(count, DETECTION_DTYPE)
    for name in ("x", "y", "area", "features"):
        found[name] = measured[name]
    ghost = coverage < 0.5
    found["color"] = np.where(ghost, -1, color)
    found["rgb"] = core
    return found, (misfit < MISFIT) & (spread < SPREAD)


def _of_pieces(
    pieces: list[tuple[np.ndarray, int]],
    *,
    colors: np.ndarray,
    base: np.ndarray,
    frame: int,
    corner: tuple[int, int],
    shape: tuple[int, int],
) -> np.ndarray:
    """Detections of coverage images cut out of one window."""
    found = np.zeros(len(pieces), DETECTION_DTYPE)
    for k, (coverage, color) in enumerate(pieces):
        row, column = np.nonzero(coverage)
        measured = shapes.moment_features(
            column + corner[1] + 0.5,
            row + corner[0] + 0.5,
            coverage[row, column],
            np.zeros(len(row), np.int64),
            count=1,
        )
        for name in ("x", "y", "area", "features"):
            found[name][k] = measured[name][0]
        solid = np.argwhere(coverage > 0.5) + corner
        border = (solid <= 0).any() or (solid >= np.array(shape) - 1).any()
        found["edge"][k] = bool(len(solid)) and bool(border)
        found["color"][k], found["rgb"][k] = color, colors[color] + base
    found["frame"], found["touching"] = frame, len(pieces) > 1
    return found


def world_units(
    x: np.ndarray, y: np.ndarray, area: np.ndarray, *, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel coordinates and areas to world units: origin at the centre, y up, the short side is 10."""
    scale = 10.0 / min(height, width)
    return (x - width / 2) * scale, (height / 2 - y) * scale, shapes.area_radius(area) * scale


def min_area_pixels(min_radius: float, *, height: int, width: int) -> float:
    """Area in pixels, at least 4, of a disc of `min_radius` world units."""
    return max(4.0, math.pi * (min_radius * min(height, width) / 10.0) ** 2)
