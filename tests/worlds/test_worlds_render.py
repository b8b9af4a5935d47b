from __future__ import annotations

import numpy as np
import pytest

from sora_jax.worlds import render, scene

LEVEL = 1 / 255


def clipped_area(corners: np.ndarray, row: int, column: int) -> float:
    """Area of a convex polygon within pixel (row, column), by Sutherland-Hodgman clipping."""
    points = [tuple(p) for p in corners]
    for axis, bound, sign in ((0, column, 1), (0, column + 1, -1), (1, row, 1), (1, row + 1, -1)):
        kept = []
        for p, q in zip(points, points[1:] + points[:1], strict=True):
            inside, after = sign * (p[axis] - bound), sign * (q[axis] - bound)
            if inside >= 0:
                kept.append(p)
            if inside * after < 0:
                s = inside / (inside - after)
                kept.append(tuple(a + s * (b - a) for a, b in zip(p, q, strict=True)))
        points = kept
        if not points:
            return 0.0
    x, y = np.array(points).T
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


@pytest.mark.parametrize("shape", scene.SHAPES[1:])
@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, np.pi / 4, 2.0])
def test_polygon_coverage_is_the_clipped_area(shape, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = scene.outline(shape, 3.1) @ turn.T + (7.37, 6.21)
    got = render.polygon_coverage(corners[None], origin=np.array([[2, 1]]), window=(11, 12))[0]
    want = [[clipped_area(corners, i + 1, j + 2) for j in range(12)] for i in range(11)]
    np.testing.assert_allclose(got, want, atol=0.05 * LEVEL)


@pytest.mark.parametrize("radius", [0.4, 1.7, 5.0])
def test_circle_coverage_is_the_integral_of_its_chords(radius):
    center, steps = np.array([6.31, 5.83]), 4000
    got = render.circle_coverage(center[None], radius, origin=np.array([[1, 0]]), window=(12, 11))[0]
    x = (np.arange(11 * steps) + 0.5) / steps + 1 - center[0]
    chord = np.sqrt(np.maximum(radius**2 - x**2, 0))
    rows = np.arange(12)[:, None] - center[1]
    inside = np.clip(chord, rows, rows + 1) - np.clip(-chord, rows, rows + 1)
    want = inside.reshape(12, 11, steps).mean(-1)
    np.testing.assert_allclose(got, want, atol=0.1 * LEVEL)


@pytest.mark.parametrize("shape", scene.SHAPES)
def test_position_and_area_can_be_read_back_from_pixels(shape):
    """The centroid and sum of coverage are the centre and area; x points right and y up."""
    height, width = 48, 80
    body = scene.body(shape, "black", "medium")
    place, angle = np.array([[[2.345, -1.0]]]), np.array([[0.7]])
    white = (1.0, 1.0, 1.0)  # a whole number of bytes, so that empty pixels weigh nothing
    video, visible = render.render((body,), place, angle, height=height, width=width, background=white)
    dark = (1 - video[0, :, :, 0] / 255) / (1 - 0.04)
    columns = (np.arange(width) + 0.5 - width / 2) * 10 / 48
    rows = -(np.arange(height) + 0.5 - height / 2) * 10 / 48
    centroid = np.array([(dark.sum(0) * columns).sum(), (dark.sum(1) * rows).sum()]) / dark.sum()
    np.testing.assert_allclose(centroid, place[0, 0], atol=0.003)  # 0.015 pixel: rounding to bytes
    np.testing.assert_allclose(dark.sum() * (10 / 48) ** 2, np.pi * 1.3**2, rtol=0.01)
    np.testing.assert_allclose(visible, 1, atol=1e-4)


def test_visible_share_counts_the_frame_and_what_is_in_front():
    back, front = scene.body("square", "red", "medium"), scene.body("square", "blue", "large")
    half_side = np.sqrt(np.pi) * 1.8 / 2
    place = np.array(
        [
            [[0.0, 0.0], [3.0, 3.0]],  # apart
            [[5.0, 0.0], [-3.0, 3.0]],  # half over the right edge
            [[0.0, 0.0], [half_side, 0.0]],  # half hidden
            [[0.0, 0.0], [0.0, 0.0]],  # wholly hidden
            [[9.0, 0.0], [0.0, -12.0]],  # both gone
        ]
    )
    video, visible = render.render((back, front), place, np.zeros((5, 2)), height=64, width=64)
    want = [[1, 1], [0.5, 1], [0.5, 1], [0, 1], [0, 0]]
    np.testing.assert_allclose(visible, want, atol=2e-3)
    assert (video[4] == 240).all()  # 0.94 * 255 rounded


def test_an_object_larger_than_the_window_of_the_frame_still_fits():
    body = scene.body("bar", "green", "large")
    video, visible = render.render((body,), np.zeros((2, 1, 2)), np.zeros((2, 1)), height=16, width=48)
    assert video.shape == (2, 16, 48, 3)
    np.testing.assert_allclose(visible, 1, atol=1e-3)
