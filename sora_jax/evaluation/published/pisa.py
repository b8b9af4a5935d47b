"""PISA's three scores of a dropped object's mask (Li et al. 2025, arXiv 2503.09595): "L2", Chamfer, IoU.

Of one object's masks `[f h w]`, true and generated, frame by frame; errors are lengths over the frame's size.

    as released   l2      = mean over frames and over x, y of |c - c'| / (sqrt(2) h)        c = centroid
                  chamfer = mean over frames of (mean_p min_q |p - q| + mean_q min_p |p - q|) / (sqrt(2) h)
                  iou     = mean over frames of |M & M'| / |M | M'|, 1 where both are empty

Faults: "l2" takes the square root of a square per axis, so it is a mean absolute error per axis (3.5 for an
offset of (3, 4), whose length is 5), and turning the same error changes it; frames in which the object is
missing drop out of l2 and chamfer, so an object that vanishes at its first error is not wrong any more; an
object absent from both has an IoU of 1.

Verified against the released code (vision-x-nyu/pisa-experiments, utils/metrics.py and eval.py, commit
6f7bb47): all three formulas, the factor 1 / (sqrt(2) h), the means that skip NaN, the choice of frames. Not
verified: the paper's own text. The segmentation (SAM 2) that gives the masks there is no part of this.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

Masks = Bool[np.ndarray, "f h w"]


def aligned_frames(truth: int, generated: int, *, truth_fps: float, fps: float) -> Int[np.ndarray, " k"]:
    """The true frame at the instant of each generated one, floor(k truth_fps / fps), while there is one."""
    frames = np.floor(np.arange(generated) * (truth_fps / fps)).astype(int)
    return frames[frames < truth]


def centroids(masks: Masks) -> Float[np.ndarray, "f 2"]:
    """(x, y) in pixels of each mask, NaN where it is empty."""
    height, width = masks.shape[1:]
    area = masks.sum(axis=(1, 2)).astype(float)
    area[area == 0] = np.nan
    x = (masks.sum(axis=1) * np.arange(width)).sum(axis=1) / area
    y = (masks.sum(axis=2) * np.arange(height)).sum(axis=1) / area
    return np.stack([x, y], axis=-1)


def l2_as_released(masks: Masks, truth: Masks) -> float:
    """The released "l2", in units of sqrt(2) h; NaN if no frame shows the object in both."""
    _check(masks, truth)
    apart = np.abs(centroids(masks) - centroids(truth)) / (math.sqrt(2) * masks.shape[1])
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else math.nan


def l2_corrected(masks: Masks, truth: Masks) -> float:
    """Mean distance of the centroids over the frame's diagonal, 0 to 1.

    Over the frames that truly show the object; one in which it is not found counts 1, and so does one that
    shows it where it truly is not.
    """
    _check(masks, truth)
    apart = np.linalg.norm(centroids(masks) - centroids(truth), axis=-1) / math.hypot(*masks.shape[1:])
    return _mean_or_worst(apart, masks, truth, worst=1.0)


def chamfer_as_released(masks: Masks, truth: Masks) -> float:
    """The released Chamfer distance, in units of sqrt(2) h; NaN if no frame shows the object in both."""
    _check(masks, truth)
    apart = np.array([_chamfer(a, b) for a, b in zip(masks, truth, strict=True)])
    apart /= math.sqrt(2) * masks.shape[1]
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else math.nan


def chamfer_corrected(masks: Masks, truth: Masks) -> float:
    """Half the two-sided Chamfer distance over the frame's diagonal, 0 to 1; a missing object counts 1."""
    _check(masks, truth)
    apart = np.array([_chamfer(a, b) for a, b in zip(masks, truth, strict=True)])
    return _mean_or_worst(apart / (2 * math.hypot(*masks.shape[1:])), masks, truth, worst=1.0)


def iou_as_released(masks: Masks, truth: Masks) -> float:
    """Mean intersection over union; a frame that shows the object in neither counts 1."""
    _check(masks, truth)
    return float(_iou(masks, truth).mean())


def iou_corrected(masks: Masks, truth: Masks) -> float:
    """Mean intersection over union of the frames that show the object in either; NaN if none does."""
    _check(masks, truth)
    shown = masks.any(axis=(1, 2)) | truth.any(axis=(1, 2))
    return float(_iou(masks, truth)[shown].mean()) if shown.any() else math.nan


def _iou(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    both, either = (masks & truth).sum(axis=(1, 2)), (masks | truth).sum(axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def _chamfer(mask: np.ndarray, truth: np.ndarray) -> float:
    """Pixels, both directions summed; NaN if one is empty."""
    if not mask.any() or not truth.any():
        return math.nan
    points, others = np.argwhere(mask), np.argwhere(truth)
    there, back = KDTree(others).query(points)[0], KDTree(points).query(others)[0]
    return float(np.mean(there) + np.mean(back))


def _mean_or_worst(apart: np.ndarray, masks: np.ndarray, truth: np.ndarray, *, worst: float) -> float:
    """Mean over the frames that show the object in either, `worst` where but one shows it."""
    found, true = masks.any(axis=(1, 2)), truth.any(axis=(1, 2))
    shown = found | true
    return float(np.where(found & true, apart, worst)[shown].mean()) if shown.any() else math.nan


def _check(masks: np.ndarray, truth: np.ndarray) -> None:
    if masks.shape != truth.shape or masks.ndim != 3 or masks.dtype != bool or truth.dtype != bool:
        raise ValueError(
            f"expected two boolean arrays [f h w] of one shape, got {masks.dtype} {masks.shape} and "
            f"{truth.dtype} {truth.shape}: choose frames with aligned_frames, resize, apply a threshold"
        )
