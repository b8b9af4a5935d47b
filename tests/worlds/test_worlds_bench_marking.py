"""A mark is there if and only if there was contact, from then to the end, whatever passes before it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sora_jax.worlds import coverage, marks
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.state import render_state

SIZE = {"height": 64, "width": 64}
CASES = 24


def cases(family):
    source = BenchSource(family, seed=17, length=CASES, **SIZE)
    return [source.case(k)[0] for k in range(CASES)]


def alone(state, keep):
    """The clip of some of a state's bodies, with its marks or without."""
    gone = np.zeros_like(state.alive)
    gone[:, keep] = state.alive[:, keep]
    return dataclasses.replace(state, alive=gone)


@pytest.mark.parametrize("family", ["bite", "brush"])
def test_a_mark_if_and_only_if_contact_and_only_after_it(family):
    made = cases(family)
    for variant in made:
        state = variant.state
        gap = np.hypot(*(state.position[:, 0] - state.position[:, 1]).T) - variant.measures["touch"]
        assert bool(state.marks) == bool(state.contact.any()) == bool(variant.measures["marked"])
        if not state.marks:
            assert gap.min() > 0.39
            continue
        (mark,) = state.marks
        first, fps = mark.start.min(), 12.0
        assert first == np.flatnonzero(state.contact[:, 0, 1])[0]
        assert first - 1 < variant.measures["instant"] * fps <= first
        assert (gap[: first - 1] > 0).all() and (mark.end == len(gap)).all()
        assert not (np.diff(mark.start) < 0).any()
        if family == "bite":
            assert gap[first] < 0
        else:
            np.testing.assert_allclose(mark.points[0], state.position[first, 0], atol=0.8)  # a frame
    share = np.mean([v.measures["marked"] for v in made])
    assert 0.25 < share < 0.75
    assert 0.25 < np.mean([v.measures["swept"] for v in made]) < 0.75


def test_the_biter_never_overlaps_what_is_left():
    """In no pixel do the biter and the bitten body together cover more than there is."""
    for variant in cases("bite"):
        state = variant.state
        if not state.marks:
            continue
        scale, (mark,) = 6.4, state.marks
        origin = np.zeros((len(state.position), 2), np.int64)
        window = {"origin": origin, "window": (64, 64)}
        discs = [
            coverage.circle_coverage(
                state.position[:, k].astype(float) * (scale, -scale) + 32,
                state.bodies[k].radius * scale,
                **window,
            )
            for k in (0, 1)
        ]
        gone = marks.bite_coverage(mark, state.position[:, 1], state.angle[:, 1], **SIZE, **window)
        both = discs[0] + discs[1] * (1 - gone)
        over = np.maximum(both - 1, 0).sum((1, 2)) / scale**2  # world units^2
        # The union of discs, at most 0.18 apart, falls short of the swept area by d^2 / 8 r per length.
        assert over.max() < 0.1


def test_a_bite_stays_as_large_as_it_was_made():
    for variant in cases("bite"):
        state = variant.state
        kept = marks.kept_share(state.bodies[1], state.marks, len(state.position))
        assert (np.diff(kept) <= 0).all() and kept[0] == 1
        if state.marks:
            done = state.marks[0].start.max()
            assert (kept[done:] == kept[done]).all() and 0.03 < 1 - kept[-1] < 0.5


def test_paint_is_the_brushs_path_in_the_pots_color():
    for variant in cases("brush"):
        state = variant.state
        if not state.marks:
            continue
        (mark,) = state.marks
        assert mark.color == state.bodies[1].color
        path = state.position[mark.start.min() :, 0]
        near = np.hypot(*(path[:, None] - mark.points[None]).T).min(0)
        assert near.max() < mark.radius / 2  # paint wherever the brush was after the pot
        back = np.hypot(*(mark.points[:, None] - state.position[None, :, 0]).T).min(0)
        assert back.max() < 0.5  # and only there


def test_the_mark_is_seen_again_after_the_screen():
    """Without the screen's body the last frame is the same, so what it hid is what it was."""
    swept = [v for f in ("bite", "brush") for v in cases(f) if v.measures["swept"] and v.state.marks]
    hidden = 0
    for variant in swept:
        state = variant.state
        with_screen = render_state(state, **SIZE)
        without = render_state(alone(state, [0, 1]), **SIZE)
        assert state.occluder == (False, False, True)
        np.testing.assert_array_equal(with_screen[-1], without[-1])
        unmarked = render_state(dataclasses.replace(state, marks=()), **SIZE)
        difference = np.abs(with_screen.astype(int) - unmarked).sum((1, 2, 3))
        done = state.marks[0].start.max()
        assert difference[-1] > 0
        hidden += bool((difference[done:] < 0.3 * difference[-1]).any())
    assert hidden > len(swept) / 3


def test_the_screen_is_a_color_of_its_own():
    for variant in cases("brush"):
        colors = [b.color for b in variant.state.bodies]
        assert len(set(colors)) == len(colors) and set(colors) <= set(scene_lib.COLORS)
