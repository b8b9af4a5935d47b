"""phyworld's velocity error (Kang et al. 2024, arXiv 2411.02385) from parsed and true positions.

World units (the frame is 10 x 10, its corner the origin), 0.1 s between frames. Valid frames have an index of
at least 3 and show the true balls wholly. With v of consecutive valid frames' positions, and v' the truth:

    as released, uniform motion   |mean_f v_x - v'_x|
    as released, collision        mean over balls of |mean_f v_x - mean_f v'_x|, over the frames after contact
    per frame (the paper's text)  mean over f and balls of |v_x - v'_x|

Faults as released: the mean of the differences of consecutive positions is (last - first) / time, so that
nothing between the first and the last valid frame is seen: a ball that vanishes on its way, jumps or jitters
and comes back has the error of a perfect one. A missing ball is moreover put on the frame's edge (x = 10; the
left one of two at x = 0), where balls leave anyway. A centroid does not know a radius: a ball that shrinks to
a dot has an error of 0 in both. A clip whose error is NaN leaves the average.

Verified against the released code (phyworld/phyworld, id_ood_data/evaluate.py, commit e929342): the valid
frames, the edge for a missing ball, both averages, the contact as the first change of the true velocity by
more than 0.1, the means that skip NaN; `per_frame` is its `abs_x_vel_err_avg` and `post_vel_err_avg`. In a
parabola it reports errors of position, not of velocity. Not verified: the paper's text, of which "per frame"
follows a description.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

WORLD = 10.0
SECONDS = 0.1  # between frames
GIVEN = 3  # frames the model is shown
CHANGE = 0.1  # world units/s: a greater change of the true velocity is the contact


class Corrected(NamedTuple):
    """What the corrected error says of a clip; 0 is best in each.

    Attributes:
      velocity: world units/s, mean |v - v'| over pairs of valid frames and balls, both axes; a pair in which
        the ball is not found counts twice the true speed, at least 1.
      missing: share of (valid frame, ball) in which the ball is not found.
      radius: mean |r - r'| / r' over these; a missing ball counts 1.
    """

    velocity: float
    missing: float
    radius: float


def valid_frames(truth: Float[np.ndarray, "f o 2"], radius: Float[np.ndarray, " o"]) -> Int[np.ndarray, " k"]:
    """Frames after the given ones in which every true ball is wholly in view.

    Differs: of two balls the released code looks at the left one's left edge and the right one's right edge
    alone; in a head-on collision on one line these are the same frames.
    """
    inside = (truth >= radius[:, None]) & (truth <= WORLD - radius[:, None])
    return np.flatnonzero(inside.all(axis=(1, 2)) & (np.arange(len(truth)) >= GIVEN))


def after_contact(truth: Float[np.ndarray, "k o 2"]) -> Int[np.ndarray, " j"]:
    """Pairs of consecutive frames, numbered by the first, after the true velocity has changed."""
    velocity = np.diff(truth[..., 0], axis=0) / SECONDS
    changed = (np.abs(np.diff(velocity, axis=0)) > CHANGE).any(axis=1)
    contact = int(np.argmax(changed)) + 1 if changed.any() else len(velocity) - 1
    return np.arange(contact + 1, len(velocity))


def filled_as_released(position: Float[np.ndarray, "k o 2"]) -> Float[np.ndarray, "k o 2"]:
    """Positions with a missing ball (NaN) on the edge: x = 10, or 0 for the first of two; y as it was last.

    y stays NaN until the ball was seen once.
    """
    filled = position.copy()
    edges = [WORLD] if position.shape[1] == 1 else [0.0] + [WORLD] * (position.shape[1] - 1)
    for o, edge in enumerate(edges):
        last = math.nan
        for f in range(len(filled)):
            if np.isnan(position[f, o, 0]):
                filled[f, o] = edge, last
            last = filled[f, o, 1]
    return filled


def velocity_error_as_released(
    position: Float[np.ndarray, "f o 2"], truth: Float[np.ndarray, "f o 2"], radius: Float[np.ndarray, " o"]
) -> float:
    """The released `vel_error` (one ball) or `post_vel_error` (two), world units/s; NaN if nothing is valid.

    Args:
      position: parsed; NaN where a ball is not found. truth: of the simulator. radius: of the true balls.
    """
    moved, true = _released_velocities(position, truth, radius)
    return float(np.abs(moved.mean(axis=0) - true.mean(axis=0)).mean()) if len(moved) else math.nan


def velocity_error_per_frame(
    position: Float[np.ndarray, "f o 2"], truth: Float[np.ndarray, "f o 2"], radius: Float[np.ndarray, " o"]
) -> float:
    """The mean of |v_x - v'_x| over frames and balls, world units/s, a missing ball on the edge."""
    moved, true = _released_velocities(position, truth, radius)
    return float(np.abs(moved - true).mean()) if len(moved) else math.nan


def _released_velocities(
    position: np.ndarray, truth: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(parsed, true) velocities along x `[j o]` of the scored pairs of frames, missing balls on the edge."""
    _check(position, truth, radius)
    valid = valid_frames(truth, radius)
    if len(valid) < 2:
        return np.zeros((0, len(radius))), np.zeros((0, len(radius)))
    moved = np.diff(filled_as_released(position[valid])[..., 0], axis=0) / SECONDS
    true = np.diff(truth[valid][..., 0], axis=0) / SECONDS
    pairs = after_contact(truth[valid]) if len(radius) > 1 else np.arange(len(true))
    return moved[pairs], true[pairs]


def velocity_error_corrected(
    position: Float[np.ndarray, "f o 2"],
    truth: Float[np.ndarray, "f o 2"],
    radius: Float[np.ndarray, " o"],
    *,
    parsed_radius: Float[np.ndarray, "f o"],
) -> Corrected:
    """The error frame by frame, on both axes, with what was missing and what changed its size beside it.

    Args:
      parsed_radius: of the parsed balls; what it is where a ball is missing does not matter.
    """
    _check(position, truth, radius)
    if parsed_radius.shape != position.shape[:2]:
        raise ValueError(f"parsed_radius is {parsed_radius.shape}: expected {position.shape[:2]}")
    valid = valid_frames(truth, radius)
    if len(valid) < 2:
        return Corrected(math.nan, math.nan, math.nan)
    found = np.isfinite(position[valid].sum(axis=-1))
    true = np.diff(truth[valid], axis=0) / SECONDS
    apart = np.linalg.norm(np.diff(position[valid], axis=0) / SECONDS - true, axis=-1)
    worst = np.maximum(2 * np.linalg.norm(true, axis=-1), 1.0)
    velocity = np.where(found[1:] & found[:-1], apart, worst)
    size = np.where(found, np.abs(parsed_radius[valid] - radius) / radius, 1.0)
    pairs = np.flatnonzero(np.diff(valid) == 1)
    if truth.shape[1] > 1:
        pairs = np.intersect1d(pairs, after_contact(truth[valid]))
    velocity = velocity[pairs]
    return Corrected(
        velocity=float(velocity.mean()) if len(velocity) else math.nan,
        missing=float(1 - found.mean()),
        radius=float(size.mean()),
    )


def _check(position: np.ndarray, truth: np.ndarray, radius: np.ndarray) -> None:
    if position.shape != truth.shape or truth.ndim != 3 or truth.shape[1:] != (len(radius), 2):
        raise ValueError(
            f"expected positions [f o 2] of one shape and radii [o], got {position.shape}, {truth.shape}, "
            f"{radius.shape}: give NaN where a ball is not found"
        )
