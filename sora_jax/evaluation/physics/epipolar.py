"""Sampson's epipolar error: as published, with the geometry estimated from the matches, and corrected.

Sampson's distance of a match x, x' (homogeneous pixels) to a fundamental matrix F (Hartley & Zisserman 2004,
Eq. 11.9): d^2 = (x'^T F x)^2 / ((F x)_1^2 + (F x)_2^2 + (F^T x')_1^2 + (F^T x')_2^2).

The published score fits F to the very matches it then measures. A warped picture leaves few matches, those
that some F explains, and pairs with too few are left out: past some warp the score gets better again. Mean of
40 clips (see `camera`), truth and non-rigid warps of 1, 2, 3.5, 6, 10 % of the width: as released .82, then
.72 .63 .57 .54 .57; with the known poses 1.00, then .95 .86 .70 .51 .31.
"""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.evaluation.physics.camera_path import (
    back_project,
    corners,
    flow,
    project,
    sample,
    static_mask,
    usable,
)
from sora_jax.types import SceneState3D

RATIO, LEAST_MATCHES = 0.75, 20  # as released
STRIDE = 0.125  # of the clip's length, between the frames of a pair
BASELINE = 0.04  # metres: with less between its frames a pair has no epipolar lines worth the name
SLACK = 0.4  # pixels: what matching itself errs by
CAP = 4.0  # pixels of a frame 128 on the short side: a match as far off as this is as bad as none
LOST = 0.05  # share of the corners that flow loses in a true video


def sampson(
    first: Float[np.ndarray, "k 2"], second: Float[np.ndarray, "k 2"], fundamental: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, " k"]:
    """Sampson's distance d in pixels of each match (x, y)."""
    x = np.concatenate([first, np.ones((len(first), 1))], axis=1)
    y = np.concatenate([second, np.ones((len(second), 1))], axis=1)
    line, back = x @ fundamental.T, y @ fundamental
    power = (line[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1)
    return np.abs((y * line).sum(1)) / np.sqrt(np.maximum(power, 1e-12))


def fundamental_of(
    first: np.ndarray, second: np.ndarray, intrinsics: np.ndarray, intrinsics_second: np.ndarray
) -> Float[np.ndarray, "3 3"]:
    """F = K'^-T [t]x R K^-1 of two world-to-camera poses, (R, t) = second first^-1."""
    motion = second @ np.linalg.inv(first)
    x, y, z = motion[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    essential = cross @ motion[:3, :3]
    return np.linalg.inv(intrinsics_second).T @ essential @ np.linalg.inv(intrinsics)


def as_released_error(video: UInt8[np.ndarray, "f h w 3"]) -> float:
    """The published epipolar error, pixels, lower is better; NaN if no pair of frames has enough matches.

    Kupyn et al. 2025, arXiv 2510.21615: SIFT, ratio test, F by RANSAC, mean Sampson distance of what RANSAC
    keeps, over neighbouring frames; pairs with fewer than `LEAST_MATCHES` matches are left out.
    """
    sift, matcher = cv2.SIFT.create(), cv2.BFMatcher()
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    known = [sift.detectAndCompute(grey, None) for grey in greys]
    errors = []
    for (points, words), (others, other_words) in itertools.pairwise(known):
        if words is None or other_words is None or len(others) < 2:
            continue
        pairs = [p for p in matcher.knnMatch(words, other_words, k=2) if len(p) == 2]
        kept = [m for m, n in pairs if m.distance < RATIO * n.distance]
        if len(kept) < LEAST_MATCHES:
            continue
        a = np.array([points[m.queryIdx].pt for m in kept])
        b = np.array([others[m.trainIdx].pt for m in kept])
        cv2.setRNGSeed(0)
        fitted, inside = cv2.findFundamentalMat(a, b, cv2.FM_RANSAC, 3.0, 0.99)
        if fitted is None or fitted.shape != (3, 3):
            continue
        agree = inside[:, 0] == 1
        errors.append(float(sampson(a[agree], b[agree], fitted).mean()))
    return float(np.mean(errors)) if errors else math.nan


def as_released_score(video: UInt8[np.ndarray, "f h w 3"]) -> float:
    """exp(-`as_released_error`), in [0, 1]; NaN with it. Kept to show its hole, not to score with."""
    return math.exp(-as_released_error(video))


def known_pose_score(video: np.ndarray, state: SceneState3D) -> float:
    """1 - mean_k min(max(d_k - SLACK, 0) / CAP, 1), d = Sampson's distance to the TRUE epipolar geometry.

    Corners of static pixels that the truth says stay visible for `STRIDE` of the clip are followed by optical
    flow from frame to frame. One that is lost counts 1, beyond a share of LOST, so losing matches costs. NaN
    where the camera does not travel. Blind to errors along the epipolar lines: to a dolly's length and,
    nearly, an orbit's (`camera.rotation_score` and `warp_score` see those); it is for what is not rigid.
    """
    pairs = _pairs(state)
    if not pairs:
        return math.nan
    if not usable(video, state):
        return 0.0
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    mask = static_mask(state)
    unit = min(video.shape[1:3]) / 128
    costs, lost = [np.zeros(0)], 0
    for a, b in pairs:
        points = corners(greys[a], mask[a])
        points = points[_visible(points, a, b, state, mask)]
        there, ok = points, np.ones(len(points), bool)
        for frame in range(a, b):
            there, good = flow(greys[frame], greys[frame + 1], there)
            ok &= good
        pose, lens = state.world_to_camera, state.intrinsics
        distance = sampson(points[ok], there[ok], fundamental_of(pose[a], pose[b], lens[a], lens[b]))
        costs.append(np.clip((distance - SLACK) / (CAP * unit), 0, 1))
        lost += int((~ok).sum())
    every = np.concatenate(costs)
    total = len(every) + lost
    return 1 - (float(every.sum()) + max(0.0, lost - LOST * total)) / total if total else 0.0


def _pairs(state: SceneState3D) -> list[tuple[int, int]]:
    frames = len(state.depth)
    stride = max(1, round(STRIDE * frames))
    pose = state.world_to_camera
    place = -np.einsum("fji,fj->fi", pose[:, :3, :3], pose[:, :3, 3])
    pairs = [(f, f + stride) for f in range(0, frames - stride, stride)]
    return [(a, b) for a, b in pairs if np.linalg.norm(place[a] - place[b]) > BASELINE]


def _visible(points: np.ndarray, a: int, b: int, state: SceneState3D, mask: np.ndarray) -> np.ndarray:
    """Points of frame a that are in view, uncovered, and clear of moving things in every frame until b."""
    depth = 1 / sample((1 / state.depth[a]).astype(np.float32), points)
    places = back_project(points, depth, state.intrinsics[a], state.world_to_camera[a])
    seen = np.ones(len(points), bool)
    edge = 8.0
    for f in range(a, b + 1):
        pixels, z = project(places, state.intrinsics[f], state.world_to_camera[f])
        surface = 1 / sample((1 / state.depth[f]).astype(np.float32), pixels)
        clear = sample(cv2.erode(mask[f].astype(np.float32), np.ones((15, 15))), pixels, outside=0.0)
        height, width = mask[f].shape
        inside = ((pixels > edge) & (pixels < [width - edge, height - edge])).all(axis=1)
        seen &= inside & (z > 0) & (np.abs(z / surface - 1) < 0.03) & (clear > 0.999)
    return seen
