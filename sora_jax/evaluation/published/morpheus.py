"""Morpheus's scores of one ballistic track (Zhang et al. 2025, arXiv 2504.02918): conservation and dynamics.

Physical invariance score, of a quantity q(t) that should not change, over windows of a quarter of the clip
that overlap by half:

    s(q)  = 1 / (1 + std q / |mean q|)   where |mean q| >= 10 std q or |mean q| >= 10, else 1 / (1 + std q)
    as released   mean of max over windows of s, over q = energy v^2 / 2 + g h, horizontal velocity, vertical
                  acceleration; positions in pixels / 400, times in frames / 100, g = 9.81

Dynamical score: 1 - min(NMSE, 1), NMSE = mean squared residual of the track about the fitted equation of
motion / the track's variance.

Faults as released: the BEST quarter of the clip decides, so a ball that breaks the law in the other three is
not seen; in the second branch the score depends on the units, of which pixels / 400 and frames / 100 are no
metres and seconds, so that in a small enough picture anything conserves energy and momentum; a ball that
hangs still conserves everything (its penalty is off by default).

    corrected     the whole clip, in world units: 1 / (1 + std q / scale), scale = mean v^2 / 2 + the range of
                  g h for the energy, the root mean square speed for the momentum, and 1 / (1 + |a - g| / g)
                  for the acceleration; a missing frame, or no motion at all, makes all three 0.

Verified against a copy of the released code (physics-from-video/Morpheus, scoring/physical_score.py and
dynamical_score.py, as kept in another public repository): s and its two branches, windows and their maximum,
velocities (0.7 of the 5-frame regression's slope + 0.3 of the central difference, then Savitzky-Golay of
width 5 and order 3), the constants, the three quantities of a falling, thrown or bouncing ball, and
1 - min(NMSE, 1). Not verified: the original repository and the paper's own text. Pendulums, springs and
collisions have other quantities there and are left out, as are gaps, which it fills by interpolation before
scoring.
Differs: the released dynamical score fits a small network to the track and to the equation at once, after
200,000 steps; here the equation's own solution is fitted by least squares, which has a unique answer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter

GRAVITY, SCALE, RATE = 9.81, 400.0, 100.0  # m/s^2, pixels per "metre", frames per "second", as released
WIDTH = 5  # frames of the smoothing, as released

Track = Float[np.ndarray, "f 2"]


class Invariance(NamedTuple):
    """Scores of the three quantities, 0 to 1, 1 is best, and `score`, their mean."""

    energy: float
    momentum: float
    acceleration: float

    @property
    def score(self) -> float:
        return float(np.mean(self))


def conservation_as_released(values: Float[np.ndarray, " k"]) -> float:
    """s(q) of the module's docstring."""
    mean, std = abs(float(np.mean(values))), float(np.std(values))
    relative = mean >= 10 * std or mean >= 10
    return 1 / (1 + (std / (mean + 1e-10) if relative else std))


def best_window(values: Float[np.ndarray, " f"]) -> float:
    """The greatest s(q) over windows of max(5, (f - 1) // 4) + 1 frames; 0 if the clip holds none.

    The released windows include both ends and start every half a window, up to one before the last.
    """
    last = len(values) - 1
    window = max(last // 4, 5)
    starts = range(0, last - window, window // 2)
    return max((conservation_as_released(values[s : s + window + 1]) for s in starts), default=0.0)


def velocity_as_released(values: Float[np.ndarray, " f"], seconds: Float[np.ndarray, " f"]) -> np.ndarray:
    """The smoothed time derivative of one coordinate, `[f]`; at least `WIDTH` frames."""
    central = np.gradient(values, seconds)
    slope = np.empty(len(values))
    for f in range(len(values)):
        at = slice(max(0, f - WIDTH // 2), f + WIDTH // 2 + 1)
        time = seconds[at] - seconds[at].mean()
        slope[f] = time @ values[at] / (time @ time)
    return np.asarray(savgol_filter(0.7 * slope + 0.3 * central, WIDTH, 3))


def invariance_as_released(track: Track) -> Invariance:
    """The released score of one ball's centres (x, y) in pixels, y down, without gaps.

    Raises:
      ValueError: fewer than `WIDTH` frames, or a gap.
    """
    if len(track) < WIDTH or not np.isfinite(track).all():
        raise ValueError(
            f"a track of {len(track)} frames with or without gaps: give {WIDTH} or more, all found"
        )
    across, down = (track / SCALE).T
    seconds = np.arange(1, len(track) + 1) / RATE
    v_across, v_down = (velocity_as_released(values, seconds) for values in (across, down))
    energy = (v_across**2 + v_down**2) / 2 - GRAVITY * (down - down.min())
    return Invariance(
        energy=best_window(energy),
        momentum=best_window(v_across),
        acceleration=best_window(np.gradient(v_down, seconds)),
    )


def invariance_corrected(track: Track, *, fps: float, gravity: float) -> Invariance:
    """The score of the whole clip, the same in whatever units.

    Args:
      track: (x, y) in world units, y UP, NaN where the ball is not found; in free flight, at least 5 frames.
      fps: frames per second.
      gravity: what pulls down, world units/s^2, above 0.
    """
    if len(track) < WIDTH or gravity <= 0 or fps <= 0:
        raise ValueError(f"{len(track)} frames at {fps} /s under {gravity}: give 5 or more, and both above 0")
    if not np.isfinite(track).all():
        return Invariance(0.0, 0.0, 0.0)
    velocity = (track[2:] - track[:-2]) * fps / 2
    height = track[1:-1, 1]
    fall = np.diff(track[:, 1], n=2) * fps**2
    kinetic = (velocity**2).sum(axis=1) / 2
    speed = math.sqrt(2 * float(kinetic.mean()))
    if speed / fps < 1e-6 * max(1.0, float(np.abs(track).max())):
        return Invariance(0.0, 0.0, 0.0)
    exchange = float(kinetic.mean()) + gravity * float(np.ptp(height))
    return Invariance(
        energy=1 / (1 + float(np.std(kinetic + gravity * height)) / exchange),
        momentum=1 / (1 + float(np.std(velocity[:, 0])) / speed),
        acceleration=1 / (1 + float(np.mean(np.abs(fall + gravity))) / gravity),
    )


def dynamical_score(track: Track, *, fps: float, gravity: float | None = None) -> float:
    """1 - min(NMSE, 1) of the best free flight: x = x0 + u t, y = y0 + v t - g t^2 / 2.

    Args:
      track: (x, y) in world units, y up, at least 4 frames; NaN where the ball is not found makes it 0.
      gravity: world units/s^2 where it is known; None fits it, and any constant acceleration is right.
    """
    if len(track) < 4:
        raise ValueError(f"{len(track)} frames: give at least 4")
    if not np.isfinite(track).all():
        return 0.0
    seconds = np.arange(len(track)) / fps
    line = np.stack([np.ones_like(seconds), seconds], axis=1)
    flown = track + np.stack([0 * seconds, (gravity or 0.0) * seconds**2 / 2], axis=1)
    residual = np.empty_like(track)
    for axis in (0, 1):
        curve = np.column_stack([line, seconds**2]) if axis == 1 and gravity is None else line
        residual[:, axis] = flown[:, axis] - curve @ np.linalg.lstsq(curve, flown[:, axis], rcond=None)[0]
    variance = float(track.var(axis=0).sum())
    if variance == 0:
        return 0.0
    return 1 - min(float((residual**2).mean(axis=0).sum()) / variance, 1.0)
