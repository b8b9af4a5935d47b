"""Marks have the area and the place that geometry gives them, and go with their bodies."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax.types import Mark
from sora_jax.worlds import marks
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.render import render

WHITE = (1.0, 1.0, 1.0)
BLACK = 1 - 0.04  # darkness of the palette's black


def mark(kind, points, *, radius=0.6, frames=4, start=0, color="black") -> Mark:
    points = np.array(points, np.float32)
    counts = np.full(len(points), start, np.int32)
    return Mark(
        kind=kind, body=0, color=color, radius=radius, points=points, start=counts, end=counts * 0 + frames
    )


def lens(r: float, s: float, d: float) -> float:
    """Area that two circles share, their centres d apart."""
    a, b = np.arccos((d * d + r * r - s * s) / (2 * d * r)), np.arccos((d * d + s * s - r * r) / (2 * d * s))
    corner = np.sqrt((r + s - d) * (d + r - s) * (d - r + s) * (d + r + s))
    return r * r * a + s * s * b - corner / 2


def darkness(video) -> np.ndarray:
    """Area in world units^2 of black on white, per frame of a 64-pixel-high video."""
    return ((1 - video[..., 0] / 255) / BLACK).sum((1, 2)) * (10 / 64) ** 2


def draw(body, places, angles, drawn):
    return render(
        (body,), places[:, None], angles[:, None], height=64, width=96, background=WHITE, marks=drawn
    )


def test_a_bite_takes_the_area_two_circles_share_wherever_the_body_goes():
    body, bite = scene_lib.body("circle", "black", "large"), mark("bite", [[1.4, 0]], radius=0.9, start=1)
    places = np.array([[0.1, 0.2], [0.1, 0.2], [-3.3, 1.7], [4.1, -2.2]])
    angles = np.array([0.0, 0.0, 1.1, -2.0])
    video, visible = draw(body, places, angles, [bite])
    whole, gone = np.pi * 1.8**2, lens(1.8, 0.9, 1.4)
    np.testing.assert_allclose(darkness(video), whole - np.array([0, gone, gone, gone]), rtol=0.004)
    np.testing.assert_allclose(visible[:, 0], 1, atol=0.003)  # all that is left of it can be seen
    for frame in (1, 2, 3):
        center = places[frame] + 1.6 * np.array([np.cos(angles[frame]), np.sin(angles[frame])])
        column, row = int(48 + 6.4 * center[0]), int(32 - 6.4 * center[1])
        assert (video[frame, row, column] == 255).all()


def test_a_bite_shows_what_is_behind():
    back, front = scene_lib.body("square", "red", "large"), scene_lib.body("circle", "black", "medium")
    bite = mark("bite", [[0, 0]], radius=0.7, frames=1)
    moved = Mark(**{**vars(bite), "body": 1})
    place = np.zeros((1, 2, 2))
    video, visible = render(
        (back, front), place, np.zeros((1, 2)), height=64, width=64, background=WHITE, marks=[moved]
    )
    np.testing.assert_array_equal(video[0, 32, 32], np.round(np.array(scene_lib.PALETTE["red"]) * 255))
    ring = np.pi * (1.3**2 - 0.7**2)
    np.testing.assert_allclose(visible[0], [1 - ring / (np.pi * 1.8**2), 1], atol=0.003)


def test_a_stroke_has_the_area_of_a_capsule_and_lies_under_every_body():
    line = np.stack([np.linspace(-3, 2, 101), np.full(101, -3.0)], -1)
    stroke = mark("stroke", line, radius=0.5)
    gone = scene_lib.body("circle", "black", "small")
    far = np.full((4, 2), 30.0)
    video, _ = draw(gone, far, np.zeros(4), [stroke])
    capsule = np.pi * 0.5**2 + 5 * 1.0
    np.testing.assert_allclose(darkness(video), capsule, rtol=0.004)
    red = scene_lib.body("circle", "red", "small")
    video, visible = draw(red, np.tile([[0.0, -3.0]], (4, 1)), np.zeros(4), [stroke])
    np.testing.assert_array_equal(
        video[0, int(32 + 6.4 * 3), 48], np.round(np.array(scene_lib.PALETTE["red"]) * 255)
    )
    np.testing.assert_allclose(visible, 1, atol=1e-3)


def test_a_stroke_grows_and_can_be_taken_away():
    points = [[-2, 0], [0, 0], [2, 0]]
    stroke = mark("stroke", points, radius=0.5)
    stroke = Mark(**{**vars(stroke), "start": np.array([0, 1, 2]), "end": np.array([4, 4, 3])})
    far = np.full((4, 2), 30.0)
    video, _ = draw(scene_lib.body("circle", "black", "small"), far, np.zeros(4), [stroke])
    np.testing.assert_allclose(darkness(video), np.pi * 0.25 * np.array([1, 2, 3, 2]), rtol=0.01)


@pytest.mark.parametrize("kind", ["bite", "stroke"])
def test_no_mark_is_no_change(kind):
    body, places = scene_lib.body("square", "black", "medium"), np.zeros((4, 2))
    before = mark(kind, [[0.5, 0]], start=4)
    plain, marked = draw(body, places, np.zeros(4), []), draw(body, places, np.zeros(4), [before])
    np.testing.assert_array_equal(plain[0], marked[0])


def test_a_string_runs_from_its_fixed_end_to_the_body():
    string = mark("string", [[0, 4]], radius=0.12)
    places = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 1.0]])
    drawn = marks.canvas_coverage(string, places, height=64, width=96)
    columns, rows = (np.arange(96) + 0.5 - 48) / 6.4, (32 - np.arange(64) - 0.5) / 6.4
    for frame, place in enumerate(places):
        total, middle = drawn[frame].sum(), (place + np.array([0, 4])) / 2
        x = (drawn[frame].sum(0) * columns).sum() / total
        y = (drawn[frame].sum(1) * rows).sum() / total
        np.testing.assert_allclose((x, y), middle, atol=0.01)
        along = np.hypot(*(place - np.array([0, 4])))
        beads = 1 + np.ceil(along / marks.BEAD_GAP)
        np.testing.assert_allclose(total / 6.4**2, beads * np.pi * 0.12**2, rtol=0.01)
