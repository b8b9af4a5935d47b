"""From a video's own size and length to the sizes and lengths that the models take.

The aspect ratio is kept: a video is scaled as a whole to cover the allowed size nearest to its own aspect,
and what then overhangs on two opposite edges, because sides are multiples of 16, is cut off evenly. Nothing
is letterboxed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import UInt8

_FULL = 0.6  # of the pixel budget, the least that a size must use to be preferred for its aspect


def fit_size(height: int, width: int, *, pixels: int, multiple: int = 16) -> tuple[int, int]:
    """The allowed (height, width) for a video of `height x width` square pixels.

    Sides are multiples of `multiple`, their product is at most `pixels`, and neither exceeds the video's own
    (nothing is enlarged). Among those that use at least 60 % of what may be used, the one nearest in aspect
    ratio.

    Raises:
      ValueError: a video smaller than `multiple`, a budget below `multiple` squared.
    """
    if min(height, width) < multiple:
        raise ValueError(f"a video of {height} x {width} pixels has a side below {multiple}: leave it out")
    if pixels < multiple**2:
        raise ValueError(f"pixels {pixels} is less than one block of {multiple} x {multiple}: allow more")
    rows, columns = np.meshgrid(
        np.arange(multiple, height + 1, multiple), np.arange(multiple, width + 1, multiple), indexing="ij"
    )
    area = rows * columns
    area = np.where(area <= pixels, area, 0)
    distance = np.abs(np.log(rows / columns) - math.log(height / width))
    distance = np.where(area >= _FULL * area.max(), distance, np.inf)
    best = np.lexsort((-area.ravel(), np.round(distance.ravel(), 9)))[0]
    return int(rows.ravel()[best]), int(columns.ravel()[best])


def fit_frames(seconds: float, *, fps: float, most: int, ratio: int = 4) -> int:
    """The frames of a clip of `seconds` at `fps`: the largest 1 + ratio k, at most `most`, that it shows."""
    shown = max(1, math.ceil(seconds * fps - 1e-3))
    return 1 + (min(shown, most) - 1) // ratio * ratio


def resize_cover(
    frame: UInt8[np.ndarray, "h w 3"],
    *,
    height: int,
    width: int,
    shown: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Scales `frame` as a whole to cover `height x width`, and cuts the overhang evenly.

    Area averaging where it shrinks (no aliasing), cubic where it grows.

    Args:
      shown: (height, width) in square pixels, where the frame's own pixels are not square; None = `[h w]`.
    """
    shown_height, shown_width = shown or frame.shape[:2]
    scale = max(height / shown_height, width / shown_width)
    size = (max(width, round(shown_width * scale)), max(height, round(shown_height * scale)))
    if size != (frame.shape[1], frame.shape[0]):
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return np.ascontiguousarray(frame[top : top + height, left : left + width])
