"""Physics-IQ: the metrics on masks worked out by hand, and what a clip played backwards scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sora_jax.evaluation.published import physics_iq
from sora_jax.evaluation.published.physics_iq import Metrics
from sora_jax.worlds import simulate
from sora_jax.worlds.source import WorldSource

CLIPS = 8


def takes(family: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two takes each of simulated scenes: the second with velocities off by 3 % and places by 0.05 units."""
    source = WorldSource(
        seed=3,
        length=CLIPS,
        families={family: 1.0},
        frames={17: 1.0},
        sizes={(64, 64): 1.0},
        heldout="any",
    )
    made = []
    for k in range(CLIPS):
        scene, draw = source.scene(k), np.random.default_rng(k)
        again = dataclasses.replace(
            scene,
            velocity=scene.velocity * (1 + 0.03 * draw.standard_normal(scene.velocity.shape)),
            position=scene.position + 0.05 * draw.standard_normal(scene.position.shape),
        )
        made.append((simulate.simulate(scene)[0], simulate.simulate(again)[0]))
    return made


CHANGES = {
    "second take": lambda first, second: second,
    "backwards": lambda first, second: first[::-1].copy(),
    "half speed": lambda first, second: first[np.arange(len(first)) // 2].copy(),
    "still": lambda first, second: np.repeat(first[:1], len(first), axis=0),
}


@pytest.fixture(scope="module", params=["parabola", "collision"])
def scores(request) -> dict[str, tuple[float, float, float]]:
    """Change -> (as released, verified, corrected)."""
    pairs = takes(request.param)
    table = {}
    for name, change in CHANGES.items():
        clips = [(change(a, b), a) for a, b in pairs]
        released = [physics_iq.metrics_as_released(x, a) for x, a in clips]
        corrected = [physics_iq.metrics_corrected(x, a) for x, a in clips]
        others = [physics_iq.metrics_as_released(b, a) for a, b in pairs]
        others_corrected = [physics_iq.metrics_corrected(b, a) for a, b in pairs]
        table[name] = (
            physics_iq.score_as_released(released, others),
            physics_iq.score_verified(released, others),
            physics_iq.score_corrected(corrected, others_corrected),
        )
    return table


def test_the_second_take_is_the_ceiling_and_a_still_clip_the_floor(scores):
    assert scores["second take"] == pytest.approx((100, 100, 100))
    assert max(scores["still"]) < 15


def test_a_clip_played_backwards_scores_high_as_released_and_low_corrected(scores):
    released, verified, corrected = scores["backwards"]
    assert released > 60 and verified > 45  # of 100
    assert corrected < 40
    # As released, backwards is better by far than the right motion at half its speed.
    assert released - scores["half speed"][0] > 15
    assert corrected - scores["half speed"][2] < 8


def video(places, *, side: int = 32) -> np.ndarray:
    """A bright 9 x 9 square on black with its upper left corner at (row, column) per frame."""
    made = np.zeros((len(places), side, side, 3), np.uint8)
    for frame, (row, column) in zip(made, places, strict=True):
        frame[row : row + 9, column : column + 9] = 255
    return made


def test_masks_show_what_moved_and_nothing_in_the_first_frame():
    masks = physics_iq.motion_masks(video([(2, 2), (2, 2), (2, 15)]))
    assert not masks[:2].any()
    shown = np.zeros((32, 32), bool)
    shown[2:11, 2:11] = shown[2:11, 15:24] = True
    # Where it was and where it is, to within the blur of two pixels.
    assert masks[2][shown].mean() > 0.9 and masks[2][~shown].mean() < 0.2


def test_the_order_of_frames_is_in_none_but_one_of_the_released_ious_and_in_all_of_the_corrected(monkeypatch):
    monkeypatch.setattr(physics_iq, "motion_masks", lambda clip: clip[..., 0] > 0)
    there = video([(2, 2), (2, 2), (12, 12), (22, 22)])
    back = there[::-1].copy()
    released, corrected = (
        physics_iq.metrics_as_released(back, there),
        physics_iq.metrics_corrected(back, there),
    )
    assert released.spatial == released.weighted_spatial == 1 > released.spatiotemporal
    assert max(corrected[:3]) < 0.7
    assert physics_iq.metrics_corrected(there, there) == (1, 1, 1, 0)


def test_metrics_of_masks_worked_out_by_hand(monkeypatch):
    monkeypatch.setattr(physics_iq, "motion_masks", lambda clip: clip[..., 0] > 0)
    true = np.zeros((3, 2, 2, 3), np.uint8)
    clip = true.copy()
    true[1, 0, 0] = true[2, 0, 1] = 255  # then
    clip[1, 0, 0] = clip[2, 1, 0] = 255  # the second of two pixels is wrong
    got = physics_iq.metrics_as_released(clip, true)
    assert got == pytest.approx((1 / 3, (1 + 1 + 0) / 3, (1 / 3) / (3 / 3), 2 / 12))
    fair = physics_iq.metrics_corrected(clip, true)
    # Nothing moves in the first frame, which does not count: 1 then 1/3 of what moved so far.
    assert fair == pytest.approx(((1 + 1 / 3) / 2, (1 + 0) / 2, (1 + 1 / 3) / 2, 2 / 12))


def test_scores_of_metrics_worked_out_by_hand():
    own, other = Metrics(0.2, 0.3, 0.4, 0.05), Metrics(0.8, 0.6, 0.5, 0.01)
    mean = (0.25 + 0.5 + 0.8) / 3
    assert physics_iq.score_as_released([own], [other]) == pytest.approx(100 * (mean - 0.04))
    assert physics_iq.score_verified([own], [other]) == pytest.approx(
        100 * (0.25 + 0.5 + 0.8 + 0.2) / 4, abs=1e-4
    )
    assert physics_iq.score_as_released([Metrics(0, 0, 0, 0.5)], [other]) == 0
    best = Metrics(1, 1, 1, 0)
    assert physics_iq.score_verified([best], [other]) == 100
    # A great part makes up for a poor one as released only.
    uneven = Metrics(0.8, 0.0, 1.0, 0.01)
    assert physics_iq.score_as_released([uneven], [other]) == pytest.approx(100)
    assert physics_iq.score_verified([uneven], [other]) == pytest.approx(75, abs=1e-4)


def test_the_refusals():
    with pytest.raises(ValueError, match="one shape"):
        physics_iq.metrics_as_released(video([(1, 1)]), video([(1, 1), (1, 1)]))
    with pytest.raises(ValueError, match="different scenes"):
        physics_iq.score_as_released([Metrics(0, 0, 0, 0)], [Metrics(0, 0, 0, 0)])
    with pytest.raises(ValueError, match="one of each per scene"):
        physics_iq.score_verified([Metrics(0, 0, 0, 0)], [])
