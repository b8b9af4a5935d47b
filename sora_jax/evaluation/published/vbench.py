"""VBench's spatial relationship (Huang et al. 2024, arXiv 2311.17982) from boxes of two objects.

Of the boxes' centres, d = c2 - c1, and their IoU; 0.1 = the IoU above which a pair is discounted:

    pair(b1, b2) = min(1, 0.1 / IoU)   if |dx| > |dy| (left, right) or |dy| > |dx| (top, bottom), else 0
    frame = the best pair of the frame;  clip = the mean over its frames

Faults as released: the sign of d is not looked at, so "left of" and "right of" have one score and a mirrored
video keeps it; and the pairs are of any two boxes that bear either name, so two of the first object satisfy
a relation to a second one that is not there.

Verified against the released code (Vchitect/VBench, vbench/spatial_relationship.py, commit 3b9d6ee): pair,
frame and clip, the threshold 0.1, the mixed boxes, the mean over 16 frames. The detector (GRiT) that gives
the boxes there is no part of this. The benchmark's average is over frames of all clips, equal in number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

Relation = Literal["left of", "right of", "above", "below"]
Boxes = Float[np.ndarray, "k 4"]  # (x0, y0, x1, y1) in pixels, y down; k = 0 where there is none

IOU_THRESHOLD = 0.1
_AXIS = {"left of": 0, "right of": 0, "above": 1, "below": 1}
_SIGN = {"left of": 1, "right of": -1, "above": 1, "below": -1}  # of the second centre minus the first


def score_as_released(first: Sequence[Boxes], second: Sequence[Boxes], *, relation: Relation) -> float:
    """The released score of a clip, 0 to 1: whether two boxes lie apart along the relation's axis.

    Args:
      first, second: of each frame, the boxes of the object that stands in the relation, and of the other.
    """
    _check(first, second, relation)
    scores = []
    for a, b in zip(first, second, strict=True):
        boxes = np.concatenate([a, b])
        pairs = [
            pair_as_released(boxes[i], boxes[j], relation=relation)
            for i in range(len(boxes))
            for j in range(i + 1, len(boxes))
        ]
        scores.append(max(pairs, default=0.0))
    return float(np.mean(scores))


def score_corrected(first: Sequence[Boxes], second: Sequence[Boxes], *, relation: Relation) -> float:
    """The same with the sign of the offset, and of pairs of one box of each object only."""
    _check(first, second, relation)
    scores = []
    for a, b in zip(first, second, strict=True):
        pairs = [pair_corrected(i, j, relation=relation) for i in a for j in b]
        scores.append(max(pairs, default=0.0))
    return float(np.mean(scores))


def pair_as_released(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"], *, relation: Relation) -> float:
    """`pair` of the module's docstring, whatever the sign."""
    offset = np.abs((b[:2] + b[2:]) / 2 - (a[:2] + a[2:]) / 2)
    axis = _AXIS[relation]
    if not offset[axis] > offset[1 - axis]:
        return 0.0
    overlap = iou(a, b)
    return 1.0 if overlap < IOU_THRESHOLD else IOU_THRESHOLD / overlap


def pair_corrected(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"], *, relation: Relation) -> float:
    """`pair` if the second box lies on the stated side of the first, else 0."""
    offset = (b[:2] + b[2:]) / 2 - (a[:2] + a[2:]) / 2
    if offset[_AXIS[relation]] * _SIGN[relation] <= 0:
        return 0.0
    return pair_as_released(a, b, relation=relation)


def iou(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes; 0 if both are empty."""
    sides = np.maximum(0.0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))
    both = float(np.prod(sides))
    either = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both
    return both / either if either > 0 else 0.0


def _check(first: Sequence[Boxes], second: Sequence[Boxes], relation: str) -> None:
    if relation not in _AXIS:
        raise ValueError(f"unknown relation {relation!r}: use one of {', '.join(_AXIS)}")
    if len(first) != len(second) or not first:
        raise ValueError(
            f"{len(first)} and {len(second)} frames of boxes: give as many of both, at least one"
        )
