"""Physics-IQ (Motamed et al. 2025, arXiv 2501.09038): where, when and how much moves, against a second take.

Of motion masks M `[f h w]` of a generated clip and M' of the first real take, with take 2 as the measure of
what physics itself leaves open (the "physical variance"):

    spatial            IoU of any_f M and any_f M'                      where
    spatiotemporal     mean_f IoU of M_f and M'_f                       where and when
    weighted spatial   sum min(A, A') / sum max(A, A'), A = mean_f M    where and how much
    MSE                mean of squared differences of pixels in [0, 1]  how

    as released   100 clip(mean_k IoU_k / IoU_k(take 2) - (MSE - MSE(take 2)), 0, 1), each averaged over clips
    verified      100 mean over clips of mean(clip(IoU_k / IoU_k(take 2)), clip(MSE(take 2) / MSE))

An IoU of two empty masks is 1. Masks: grey, 5 x 5 Gaussian blur, difference above 10 of 255 from a running
average of weight 0.3, opened and closed by a 5 x 5 square; the first frame's is empty.

Faults as released: two of the three IoUs do not know the order of the frames, so a clip played backwards
keeps them and with them most of the score; frames in which nothing moves score 1 in the third; the MSE, which
would know, is around 0.01 on a scale of 1 and is subtracted from it unscaled; a great score of one part makes
up for a poor one of another. The second scoring (Raedsch et al. 2026, arXiv 2606.18943) mends the last two.

    corrected     the verified score of
                  spatial and weighted spatial "so far": mean_f of the IoU of what moved up to frame f
                  spatiotemporal over the frames in which anything moves in either
                  MSE as it was

On 16 simulated collisions (33 frames of 128 x 128, take 2 with velocities off by 3 %) the true clip played
backwards scores 67 as released, 55 verified and 24 corrected; at half its speed 42, 36 and 30; held still 0,
5 and 2; the tests hold the like of smaller clips.

Verified against the released code (google-deepmind/physics-IQ-benchmark, code/ at commit ec2c611, physiq/ at
b5faeb1): masks, the four metrics, IoU of nothing, both scores, only take 1 as the reference. Differs: there
masks go through a lossy video and are halved twice in size before they are compared; metrics are averaged
over three camera views, here over the clips given; rounding to 4 digits is left out. Not verified: the
papers' own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

Video = UInt8[np.ndarray, "f h w 3"]
Masks = Bool[np.ndarray, "f h w"]


class Metrics(NamedTuple):
    """The four numbers of a pair of clips, all in [0, 1]; of the IoUs 1 is best, of the MSE 0."""

    spatial: float
    spatiotemporal: float
    weighted_spatial: float
    mse: float


def motion_masks(video: Video, *, threshold: float = 10, weight: float = 0.3, kernel: int = 5) -> Masks:
    """Where each frame differs from the running average of the frames so far, the frame itself included.

    Args:
      threshold: of 255, in grey. weight: of the new frame. kernel: pixels, of blur, opening and closing.
    """
    square = np.ones((kernel, kernel), np.uint8)
    masks = np.zeros(video.shape[:3], bool)
    average = np.zeros(0)
    for f, frame in enumerate(video):
        grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (kernel, kernel), 0)
        if f == 0:
            average = grey.astype(np.float64)
            continue
        average = (1 - weight) * average + weight * grey
        apart = cv2.absdiff(grey, np.clip(np.round(average), 0, 255).astype(np.uint8))
        moved = (apart > threshold).astype(np.uint8)
        moved = cv2.morphologyEx(moved, cv2.MORPH_OPEN, square)
        masks[f] = cv2.morphologyEx(moved, cv2.MORPH_CLOSE, square) > 0
    return masks


def metrics_as_released(video: Video, truth: Video) -> Metrics:
    """The four metrics of a clip against a real one of the same frames, height and width."""
    masks, true = _masks(video, truth)
    return Metrics(
        spatial=_iou(masks.any(axis=0), true.any(axis=0)),
        spatiotemporal=float(np.mean([_iou(a, b) for a, b in zip(masks, true, strict=True)])),
        weighted_spatial=_soft_iou(masks.mean(axis=0), true.mean(axis=0)),
        mse=_mse(video, truth),
    )


def metrics_corrected(video: Video, truth: Video) -> Metrics:
    """The four with the order of the frames: see `corrected` in the module's docstring."""
    masks, true = _masks(video, truth)
    frames = [f for f in range(len(masks)) if true[: f + 1].any() or masks[: f + 1].any()]
    moving = [f for f in range(len(masks)) if masks[f].any() or true[f].any()]
    ever, ever_true = np.logical_or.accumulate(masks), np.logical_or.accumulate(true)
    amount, amount_true = np.cumsum(masks, axis=0), np.cumsum(true, axis=0)
    return Metrics(
        spatial=_mean([_iou(ever[f], ever_true[f]) for f in frames]),
        spatiotemporal=_mean([_iou(masks[f], true[f]) for f in moving]),
        weighted_spatial=_mean([_soft_iou(amount[f], amount_true[f]) for f in frames]),
        mse=_mse(video, truth),
    )


def score_as_released(generated: Sequence[Metrics], takes: Sequence[Metrics]) -> float:
    """The published score, 0 to 100; 100 = as like take 1 as take 2 is.

    Args:
      generated: of each generated clip against take 1; takes: of each take 2 against its take 1.

    Raises:
      ValueError: lists of different length, or second takes whose motion never meets that of the first.
    """
    own, other = _table(generated, takes)
    mean, physical = own.mean(axis=0), other.mean(axis=0)
    if not (physical[:3] > 0).all():
        raise ValueError(f"the two takes share no motion (IoUs {physical[:3]}): they show different scenes")
    return 100 * float(np.clip(np.mean(mean[:3] / physical[:3]) - (mean[3] - physical[3]), 0, 1))


def score_verified(generated: Sequence[Metrics], takes: Sequence[Metrics]) -> float:
    """The score of "Physics-IQ Verified", 0 to 100: clip by clip, four ratios of equal weight, at most 1."""
    own, other = _table(generated, takes)
    ratios = np.concatenate(
        [own[:, :3] / (other[:, :3] + _TINY), (other[:, 3:] + _TINY) / (own[:, 3:] + _TINY)], axis=1
    )
    return 100 * float(np.clip(ratios, 0, 1).mean())


def score_corrected(generated: Sequence[Metrics], takes: Sequence[Metrics]) -> float:
    """The corrected score, 0 to 100: `score_verified` of what `metrics_corrected` gives."""
    return score_verified(generated, takes)


_TINY = 1e-8


def _table(generated: Sequence[Metrics], takes: Sequence[Metrics]) -> tuple[np.ndarray, np.ndarray]:
    if len(generated) != len(takes) or not generated:
        raise ValueError(f"{len(generated)} clips and {len(takes)} second takes: give one of each per scene")
    return np.array(generated, float), np.array(takes, float)


def _masks(video: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if video.shape != truth.shape or video.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(
            f"expected two uint8 videos of one shape, got {video.dtype} {video.shape} and "
            f"{truth.dtype} {truth.shape}"
        )
    return motion_masks(video), motion_masks(truth)


def _iou(a: Any, b: Any) -> float:
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0


def _soft_iou(a: np.ndarray, b: np.ndarray) -> float:
    either = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / either if either else 1.0


def _mse(video: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(((video.astype(np.float32) - truth.astype(np.float32)) / 255) ** 2))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 1.0
