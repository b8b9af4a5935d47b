"""phyworld's velocity error: what it is on tracks worked out by hand, what it does not see, what sees it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sora_jax.evaluation.published import phyworld

RADIUS = np.array([1.0])


def uniform(speed: float = 2.0, *, frames: int = 32) -> np.ndarray:
    x = 1.5 + speed * phyworld.SECONDS * np.arange(frames)
    return np.stack([x, np.full(frames, 5.0)], axis=-1)[:, None]


def collision(frames: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Equal balls that meet at frame 12 and swap velocities, 2 and -1."""
    step = phyworld.SECONDS * (np.arange(frames) - 12)
    a, b = np.where(step < 0, 2.0, -1.0) * step, np.where(step < 0, -1.0, 2.0) * step
    x = np.stack([4.0 + a, 6.0 + b], axis=1)
    return np.stack([x, np.full(x.shape, 5.0)], axis=-1), np.array([1.0, 1.0])


def sizes(track: np.ndarray) -> np.ndarray:
    return np.ones(track.shape[:2])


def test_valid_frames_begin_after_the_given_ones_and_end_where_the_ball_is_cut():
    valid = phyworld.valid_frames(uniform(4.0), RADIUS)
    assert valid[0] == 3 and valid[-1] == 18  # 1.5 + 0.4 f <= 9 up to f = 18
    assert len(phyworld.valid_frames(uniform() + 20, RADIUS)) == 0


@pytest.mark.parametrize("error", [phyworld.velocity_error_as_released, phyworld.velocity_error_per_frame])
def test_a_wrong_speed_is_its_difference(error):
    assert error(uniform(), uniform(), RADIUS) == pytest.approx(0)
    assert error(uniform(2.5), uniform(), RADIUS) == pytest.approx(0.5)


def test_the_released_error_does_not_see_what_happens_on_the_way():
    truth = uniform()
    vanishing, jumping = truth.copy(), truth.copy()
    vanishing[8:24] = np.nan
    jumping[8:24, 0] += np.array([3.0, -2.0])
    for track in (vanishing, jumping):
        assert phyworld.velocity_error_as_released(track, truth, RADIUS) == pytest.approx(0, abs=1e-9)
    gone = phyworld.velocity_error_corrected(vanishing, truth, RADIUS, parsed_radius=sizes(truth))
    # 29 frames are valid, 3 to 31, hence 28 pairs, of which 17 lack the ball and count 2 x 2.
    assert gone.missing == pytest.approx(16 / 29) and gone.velocity == pytest.approx(17 * 4 / 28)
    moved = phyworld.velocity_error_corrected(jumping, truth, RADIUS, parsed_radius=sizes(truth))
    assert moved.velocity == pytest.approx(2 * math.hypot(3, 2) / 0.1 / 28) and moved.missing == 0


def test_a_ball_that_vanishes_for_good_near_the_edge_is_taken_to_have_left():
    truth = uniform(4.0)
    gone = truth.copy()
    gone[18:] = np.nan  # the last valid frame, in which it stands at 8.7
    released = phyworld.velocity_error_as_released(gone, truth, RADIUS)
    assert released == pytest.approx((10 - 8.7) / (15 * 0.1))
    assert phyworld.velocity_error_corrected(gone, truth, RADIUS, parsed_radius=sizes(truth)).missing > 0


def test_neither_error_sees_a_ball_that_shrinks_and_the_correction_does():
    truth = uniform()
    shrinking = sizes(truth) * np.linspace(1, 0.1, len(truth))[:, None]
    # Neither takes a radius of the parsed ball at all.
    assert phyworld.velocity_error_as_released(truth, truth, RADIUS) == pytest.approx(0, abs=1e-9)
    assert phyworld.velocity_error_per_frame(truth, truth, RADIUS) == pytest.approx(0, abs=1e-9)
    seen = phyworld.velocity_error_corrected(truth, truth, RADIUS, parsed_radius=shrinking)
    assert seen.radius == pytest.approx(np.mean(1 - shrinking[3:])) and seen.velocity == pytest.approx(0)
    assert phyworld.velocity_error_corrected(truth, truth, RADIUS, parsed_radius=sizes(truth)).radius == 0


def test_a_clip_never_seen_leaves_the_released_average_and_is_the_worst_of_the_correction():
    truth = np.broadcast_to([5.0, 5.0], (32, 1, 2)).copy()  # a ball at rest
    nothing = np.full_like(truth, np.nan)
    assert phyworld.velocity_error_as_released(nothing, truth, RADIUS) == 0  # x = 10 throughout
    assert np.isnan(phyworld.filled_as_released(nothing)[..., 1]).all()
    seen = phyworld.velocity_error_corrected(nothing, truth, RADIUS, parsed_radius=sizes(truth))
    assert seen == (1.0, 1.0, 1.0)


def test_a_collision_is_scored_after_contact_only():
    truth, radius = collision()
    pairs = phyworld.after_contact(truth[phyworld.valid_frames(truth, radius)])
    assert pairs[0] + 3 == 13  # the contact is in the pair that begins at frame 12
    passing = truth.copy()
    passing[13:] = truth[13:, ::-1] + np.array([[-2.0, 0], [2.0, 0]])  # through each other
    for error in (phyworld.velocity_error_as_released, phyworld.velocity_error_per_frame):
        assert error(truth, truth, radius) == pytest.approx(0, abs=1e-9)
        assert error(passing, truth, radius) == pytest.approx(3)
    before = truth.copy()
    before[:12] += 1
    assert phyworld.velocity_error_per_frame(before, truth, radius) == pytest.approx(0, abs=1e-9)
    seen = phyworld.velocity_error_corrected(passing, truth, radius, parsed_radius=sizes(truth))
    assert seen.velocity == pytest.approx(3)


def test_the_refusals_name_the_shapes():
    with pytest.raises(ValueError, match=r"\(32, 1, 2\)"):
        phyworld.velocity_error_as_released(uniform(), uniform(), np.ones(2))
    with pytest.raises(ValueError, match="parsed_radius"):
        phyworld.velocity_error_corrected(uniform(), uniform(), RADIUS, parsed_radius=np.ones((3, 1)))
