"""Where the discs of a phyworld video are: opacities from colour, then moments; no tracker is needed.

Red over white leaves red as it is and takes blue away, blue over white the other way round, so with channels
in [0, 1] the opacity of the red disc is 1 - blue and that of the blue one 1 - red, also where both share a
pixel. In each frame the largest connected group of a disc's opacity above a half, grown by `GROWN` pixels for
its soft edge, gives its centroid and its area.

Differs from the released parser (phyworld/phyworld, id_ood_data): that one thresholds colours and takes
whole pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.worlds import phyworld

GROWN = 2  # pixels
LEAST = 0.2  # world units: what has the area of a smaller disc is no disc
CHANNELS = (2, 0)  # that the first and the second disc take away


def locate(
    video: UInt8[np.ndarray, "f side side 3"], discs: int
) -> tuple[Float[np.ndarray, "f o 2"], Float[np.ndarray, "f o"]]:
    """Places (NaN where a disc is not found) and radii (0 there) of `discs` discs, 1 or 2.

    World units, origin at the frame's lower left corner, y up, as `evaluation.published.phyworld` takes them.

    Raises:
      ValueError: a video that is not square, or a number of discs that the protocol does not have.
    """
    frames, height, width, _ = video.shape
    if height != width or discs not in (1, 2):
        raise ValueError(
            f"{discs} discs in frames of {height} x {width}: the protocol has 1 or 2 in a square"
        )
    place = np.full((frames, discs, 2), math.nan)
    radius = np.zeros((frames, discs))
    unit = phyworld.WORLD / height
    # A disc of radius 1 has the mean opacity 1 - SOFTNESS / 2.
    least, full = math.pi * (LEAST / unit) ** 2, math.pi * (1 - phyworld.SOFTNESS / 2)
    for f in range(frames):
        for k in range(discs):
            opacity = _largest(1 - video[f, :, :, CHANNELS[k]] / 255.0)
            area = opacity.sum()
            if area >= least:
                x = (opacity.sum(0) @ (np.arange(width) + 0.5)) / area
                y = (opacity.sum(1) @ (np.arange(height) + 0.5)) / area
                place[f, k] = x * unit, phyworld.WORLD - y * unit
                radius[f, k] = math.sqrt(area / full) * unit
    return place, radius


def _largest(opacity: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The opacity of its largest connected group and a rim of it; 0 elsewhere."""
    count, label, stats, _ = cv2.connectedComponentsWithStats((opacity > 0.5).astype(np.uint8))
    if count < 2:
        return np.zeros_like(opacity)
    group = label == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    grown = cv2.dilate(group.astype(np.uint8), np.ones((2 * GROWN + 1, 2 * GROWN + 1), np.uint8))
    return opacity * grown
