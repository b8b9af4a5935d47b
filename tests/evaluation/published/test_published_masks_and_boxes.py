"""PISA and VBench: the formulas on shapes worked out by hand, their faults, and the corrections."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sora_jax.evaluation.published import pisa, vbench

HEIGHT, WIDTH = 40, 60


def masks(corners, *, side: int = 4) -> np.ndarray:
    """[f h w]: a square whose upper left corner (x, y) is given per frame; None = nothing."""
    made = np.zeros((len(corners), HEIGHT, WIDTH), bool)
    for frame, corner in zip(made, corners, strict=True):
        if corner is not None:
            x, y = corner
            frame[y : y + side, x : x + side] = True
    return made


def test_pisa_l2_is_a_mean_error_per_axis_and_not_a_length():
    truth, off, turned = masks([(10, 10)] * 3), masks([(13, 14)] * 3), masks([(15, 10)] * 3)
    unit = math.sqrt(2) * HEIGHT
    assert pisa.l2_as_released(off, truth) == pytest.approx(3.5 / unit)
    assert pisa.l2_as_released(turned, truth) == pytest.approx(2.5 / unit)  # as far off, along one axis
    diagonal = math.hypot(HEIGHT, WIDTH)
    for video in (off, turned):
        assert pisa.l2_corrected(video, truth) == pytest.approx(5 / diagonal)


@pytest.mark.parametrize("name", ["l2", "chamfer"])
def test_pisa_does_not_see_an_object_that_vanishes_and_the_correction_does(name):
    released, corrected = getattr(pisa, f"{name}_as_released"), getattr(pisa, f"{name}_corrected")
    truth = masks([(10, 5), (10, 10), (10, 20), (10, 30)])
    vanished = masks([(10, 5), None, None, None])
    late = masks([(10, 5), (10, 9), (10, 18), (10, 27)])
    assert released(vanished, truth) == 0 < released(late, truth)
    assert corrected(vanished, truth) == pytest.approx(0.75)
    assert 0.75 > corrected(late, truth) > corrected(truth, truth) == 0
    assert math.isnan(released(masks([None] * 4), truth))
    assert corrected(masks([None] * 4), truth) == 1


def test_pisa_chamfer_of_two_points():
    a, b = masks([(10, 10)], side=1), masks([(13, 14)], side=1)
    assert pisa.chamfer_as_released(a, b) == pytest.approx(10 / (math.sqrt(2) * HEIGHT))
    assert pisa.chamfer_corrected(a, b) == pytest.approx(5 / math.hypot(HEIGHT, WIDTH))
    # Two against one: 0 and 5 on the way there, 0 back.
    assert pisa.chamfer_as_released(a | b, a) == pytest.approx(2.5 / (math.sqrt(2) * HEIGHT))


def test_pisa_iou_counts_nothing_as_right_and_the_correction_leaves_it_out():
    truth, late = masks([(10, 10), None]), masks([(12, 10), None])
    assert pisa.iou_as_released(late, truth) == pytest.approx((8 / 24 + 1) / 2)
    assert pisa.iou_corrected(late, truth) == pytest.approx(8 / 24)
    assert pisa.iou_corrected(masks([(10, 10), (5, 5)]), truth) == pytest.approx(0.5)  # born of nothing


def test_pisa_frames_and_refusals():
    assert pisa.aligned_frames(6, 4, truth_fps=30, fps=12).tolist() == [0, 2, 5]
    with pytest.raises(ValueError, match="aligned_frames"):
        pisa.l2_corrected(masks([None]), masks([None, None]))


def box(x: float, y: float, *, side: float = 10) -> np.ndarray:
    return np.array([x, y, x + side, y + side], float)


NONE = np.zeros((0, 4))


def test_vbench_has_one_score_for_left_and_right_and_the_correction_has_two():
    left, right = [box(5, 20)[None]] * 3, [box(40, 25)[None]] * 3
    for first, second in ((left, right), (right, left)):
        for relation in ("left of", "right of"):
            assert vbench.score_as_released(first, second, relation=relation) == 1
    assert vbench.score_corrected(left, right, relation="left of") == 1
    assert vbench.score_corrected(right, left, relation="right of") == 1
    assert vbench.score_corrected(right, left, relation="left of") == 0
    assert vbench.score_corrected(left, right, relation="right of") == 0


def test_vbench_has_one_score_for_above_and_below_and_the_correction_has_two():
    high, low = [box(20, 5)[None]], [box(25, 40)[None]]  # y points down
    scores = {r: vbench.score_as_released(high, low, relation=r) for r in ("above", "below", "left of")}
    assert scores == {"above": 1, "below": 1, "left of": 0}
    assert vbench.score_corrected(high, low, relation="above") == 1
    assert vbench.score_corrected(low, high, relation="above") == 0
    assert vbench.score_corrected(low, high, relation="below") == 1


def test_vbench_takes_two_of_one_object_for_a_pair_and_the_correction_does_not():
    twins = [np.stack([box(5, 20), box(40, 20)])]
    assert vbench.score_as_released(twins, [NONE], relation="left of") == 1
    assert vbench.score_corrected(twins, [NONE], relation="left of") == 0


def test_vbench_discounts_overlap_and_averages_over_frames():
    first, second = [box(0, 0)[None], box(0, 0)[None]], [box(5, 0)[None], NONE]
    overlap = 50 / 150
    for score in (vbench.score_as_released, vbench.score_corrected):
        assert score(first, second, relation="left of") == pytest.approx(0.1 / overlap / 2)
    with pytest.raises(ValueError, match="left of, right of"):
        vbench.score_corrected(first, second, relation="behind")  # type: ignore[arg-type]
