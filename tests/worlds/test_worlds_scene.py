from __future__ import annotations

import itertools

import numpy as np
import pytest

from sora_jax.worlds import scene


def test_colors_are_told_apart_and_seen_on_the_background():
    assert len(scene.PALETTE) >= 12
    colors = np.array([*scene.PALETTE.values(), scene.BACKGROUND])
    for a, b in itertools.combinations(colors, 2):
        assert np.linalg.norm(a - b) >= 0.35


@pytest.mark.parametrize("shape", scene.SHAPES[1:])
def test_every_polygon_has_the_area_of_its_circle(shape):
    corners = scene.outline(shape, 1.3)
    x, y = corners.T
    area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2  # positive: counter-clockwise
    np.testing.assert_allclose(area, np.pi * 1.3**2, rtol=1e-12)
    np.testing.assert_allclose(corners.mean(0), 0, atol=1e-12)  # the centroid, for these shapes
    body = scene.body(shape, "red", "medium")
    np.testing.assert_allclose(scene.reach(body), np.linalg.norm(corners, axis=1).max())


def test_classes_of_speed_and_size_do_not_touch():
    bounds = [edge for pair in scene.SPEEDS.values() for edge in pair]
    assert bounds == sorted(bounds) and len(set(bounds)) == len(bounds)
    assert list(scene.RADIUS.values()) == sorted(set(scene.RADIUS.values()))
    assert scene.speed_word(4.5) == "medium" and scene.speed_word(3.0) is None


@pytest.mark.parametrize("word", scene.DIRECTIONS)
@pytest.mark.parametrize("jitter", [-1, 1])
def test_a_jittered_direction_keeps_its_word(word, jitter):
    angle = scene.DIRECTIONS[word] + jitter * scene.DIRECTION_JITTER
    assert scene.direction_word(np.cos(angle), np.sin(angle)) == word


def test_held_out_combinations_leave_every_attribute_in_training():
    pairs = set(itertools.product(scene.COLORS, scene.SHAPES))
    gone = set(scene.held_out_pairs())
    assert len(gone) == len(pairs) // 8
    kept = pairs - gone
    assert {c for c, _ in kept} == set(scene.COLORS) and {s for _, s in kept} == set(scene.SHAPES)
    ways = {(c, d) for c in scene.COLORS for d in scene.CARDINAL if scene.held_out_direction(c) == d}
    assert len(ways) == 6
    for color, way in ways:
        shape = next(s for s in scene.SHAPES if not scene.held_out(color, s))
        assert scene.held_out(color, shape, direction=way)
        assert not scene.held_out(color, shape, direction="up and to the left")


def test_corners_of_a_circle_are_an_error():
    with pytest.raises(ValueError, match="circle has no corners"):
        scene.outline("circle", 1.0)
