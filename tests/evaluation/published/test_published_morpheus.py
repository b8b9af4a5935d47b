"""Morpheus: the released conservation score, the best quarter that decides it, and the correction."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax.evaluation.published import morpheus

FPS, GRAVITY = 16.0, 6.0


def flight(frames: int = 33, *, gravity: float = GRAVITY) -> np.ndarray:
    """World units, y up."""
    t = np.arange(frames) / FPS
    return np.stack([-3 + 3 * t, -4 + 6 * t - gravity * t**2 / 2], axis=1)


def pixels(track: np.ndarray, *, side: int = 400) -> np.ndarray:
    """(x, y) of a square frame 10 world units wide, y down."""
    return (track * [1, -1] + 5) * side / 10


def test_conservation_of_numbers_worked_out_by_hand():
    assert morpheus.conservation_as_released(np.full(5, 3.0)) == 1
    assert morpheus.conservation_as_released(np.array([1.0, 3.0])) == pytest.approx(1 / 2)  # std 1, absolute
    # A mean of 10 or more, and the same spread is relative.
    assert morpheus.conservation_as_released(np.array([19.0, 21.0])) == pytest.approx(1 / (1 + 1 / 20))


def test_the_released_velocity_is_exact_on_a_line_and_on_a_parabola_inside():
    t = np.arange(20) / 10.0
    assert np.allclose(morpheus.velocity_as_released(3 * t + 1, t), 3)
    assert np.allclose(morpheus.velocity_as_released(t**2, t)[4:-4], 2 * t[4:-4])


def test_the_best_quarter_decides_as_released_and_the_whole_clip_corrected():
    true = flight()
    broken = true.copy()
    broken[22:] += 2 * np.sin(np.arange(11)[:, None] * [2.1, 1.7])  # shaken in its last third
    released = [morpheus.invariance_as_released(pixels(x)) for x in (true, broken)]
    assert released[0].momentum == pytest.approx(1) and released[0].acceleration == pytest.approx(1)
    assert released[1][1:] == pytest.approx(released[0][1:], abs=1e-6)
    corrected = [morpheus.invariance_corrected(x, fps=FPS, gravity=GRAVITY) for x in (true, broken)]
    assert corrected[0] == pytest.approx((1, 1, 1))
    assert max(corrected[1]) < 0.7


def test_the_released_score_tends_to_one_for_a_small_picture_and_the_corrected_has_no_units():
    draw = np.random.default_rng(0)
    track = flight() + draw.standard_normal((33, 2))  # jitter of a tenth of the frame
    large, small = (morpheus.invariance_as_released(pixels(track, side=side)) for side in (1024, 16))
    assert max(large.energy, large.momentum) < 0.7 and min(small.energy, small.momentum) > 0.9
    plain = morpheus.invariance_corrected(track, fps=FPS, gravity=GRAVITY)
    # The same flight in units of a third, and in half seconds.
    other = morpheus.invariance_corrected(3 * track, fps=FPS / 2, gravity=3 * GRAVITY / 4)
    assert other == pytest.approx(plain)


def test_a_ball_that_hangs_still_conserves_everything_as_released_and_nothing_corrected():
    still = np.repeat(flight()[:1], 33, axis=0)
    assert morpheus.invariance_as_released(pixels(still)).score == pytest.approx(1)
    assert morpheus.invariance_corrected(still, fps=FPS, gravity=GRAVITY).score == 0


def test_the_corrected_score_knows_up_from_down_and_a_wrong_gravity():
    fallen = flight() * [1, -1]
    score = morpheus.invariance_corrected(fallen, fps=FPS, gravity=GRAVITY)
    assert score.acceleration == pytest.approx(1 / 3)  # off by twice gravity
    assert score.momentum == pytest.approx(1)
    doses = [flight(gravity=GRAVITY * (1 + s)) for s in (0, 0.25, 0.5, 1.0)]
    scores = [morpheus.invariance_corrected(x, fps=FPS, gravity=GRAVITY).score for x in doses]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0.98


def test_a_missing_frame_is_worst():
    track = flight()
    track[7] = np.nan
    assert morpheus.invariance_corrected(track, fps=FPS, gravity=GRAVITY) == (0, 0, 0)
    assert morpheus.dynamical_score(track, fps=FPS) == 0
    with pytest.raises(ValueError, match="gaps"):
        morpheus.invariance_as_released(track)


def test_the_dynamical_score_is_one_minus_the_residual_over_the_variance():
    track = flight()
    assert morpheus.dynamical_score(track, fps=FPS) == pytest.approx(1)
    assert morpheus.dynamical_score(track, fps=FPS, gravity=GRAVITY) == pytest.approx(1)
    assert morpheus.dynamical_score(track, fps=FPS, gravity=2 * GRAVITY) < 0.9
    noise = np.random.default_rng(1).standard_normal(track.shape)
    # 66 numbers less 5 fitted ones, of standard deviation 0.5; the mean square varies by sqrt(2 / 61).
    expected = 2 * 0.5**2 * 61 / 66 / (track + 0.5 * noise).var(axis=0).sum()
    got = 1 - morpheus.dynamical_score(track + 0.5 * noise, fps=FPS)
    assert got == pytest.approx(expected, rel=4 * (2 / 61) ** 0.5)
    wild = np.random.default_rng(2).standard_normal((200, 2))
    assert morpheus.dynamical_score(wild, fps=FPS) < 0.1
    assert morpheus.dynamical_score(np.zeros((9, 2)), fps=FPS) == 0
