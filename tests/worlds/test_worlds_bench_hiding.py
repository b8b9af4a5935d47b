"""Occlusion is of varied length; a quadruplet's frames tell nothing one by one."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.state import film, render_state

SMALL = {"height": 48, "width": 48}


def test_the_object_is_seen_then_hidden_as_long_as_told_then_seen_again():
    source, lengths = BenchSource("occlusion", seed=5, length=60, **SMALL), []
    for number in range(60):
        (variant,) = source.case(number)
        _, state = film(variant.state, **SMALL)
        thing, fps = state.visible[:, 0], 12.0
        seconds = np.arange(len(thing)) / fps
        inside = (variant.measures["hidden_from"] <= seconds) & (seconds < variant.measures["seen_from"])
        # Two edges within one pixel (0.21 units here) are composed as if independent: a quarter of a strip
        # one pixel wide shows, of a square's area sqrt(pi) r x 0.21 / (4 pi r^2) = 0.033 for r = 0.9.
        assert (thing[inside] < 0.034).all() and inside.sum() == variant.measures["hidden_frames"] >= 2
        assert (thing[~inside] > 0).all() and thing[0] > 0.99 and thing[-1] > 0.4
        assert state.occluder == (False, True) and (state.visible[inside, 1] > 0).all()
        lengths.append(inside.sum())
    assert len(set(lengths)) >= 8 and max(lengths) >= 10


def test_a_quadruplet_has_the_same_frames_at_every_instant():
    """The multiset of frames of the two possible clips is that of the two impossible ones."""
    source, kinds = BenchSource("permanence", seed=6, length=25, **SMALL), collections.Counter()
    for number in range(25):
        variants = source.case(number)
        clips = {v.name: source.clip(v, id="x").video for v in variants}
        assert [v.possible for v in variants] == [True, True, False, False]
        possible = [clips[v.name] for v in variants if v.possible]
        impossible = [clips[v.name] for v in variants if not v.possible]
        for frame in range(len(possible[0])):
            assert sorted(c[frame].tobytes() for c in possible) == sorted(
                c[frame].tobytes() for c in impossible
            )
        splice = int(variants[0].measures["splice"])
        assert np.array_equal(clips["a"][splice], clips["b"][splice])  # nothing can be seen
        for name, other in (("a then b", "a"), ("b then a", "b")):
            assert not np.array_equal(clips[name], clips[other])
            assert np.array_equal(clips[name][:splice], clips[other][:splice])
        kinds[bool(variants[1].state.alive[:, 1].any())] += 1
    assert min(kinds.values()) >= 5  # swaps, and things that vanish or appear


def test_an_impossible_clip_has_the_caption_of_the_possible_one_that_begins_like_it():
    source = BenchSource("permanence", seed=6, length=10)
    for number in range(10):
        said = {v.name: v.captions for v in source.case(number)}
        assert said["a then b"] == said["a"] and said["b then a"] == said["b"] != said["a"]


def test_the_possible_clips_have_no_change_of_identity():
    source = BenchSource("permanence", seed=6, length=10)
    for number in range(10):
        for variant in source.case(number):
            births = np.diff(variant.state.alive[:, :2].astype(int), axis=0)
            assert variant.possible == (not births.any())
            if not variant.possible:
                frames = np.flatnonzero(births.any(1)) + 1
                assert frames.tolist() == [variant.measures["splice"]]


@pytest.mark.parametrize("family", ["occlusion", "permanence"])
def test_the_thing_moves_at_one_velocity(family):
    state = BenchSource(family, seed=2, length=3).case(1)[0].state
    np.testing.assert_allclose(np.diff(state.position, axis=0), state.velocity[1:] / 12, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (48, 72), (72, 48)])
@pytest.mark.parametrize("family", ["occlusion", "permanence"])
def test_the_background_is_the_greater_part_of_every_frame(family, size):
    """A screen that fills half of a frame cannot be told from its background."""
    source = BenchSource(family, seed=5, length=20, height=size[0], width=size[1])
    for number in range(20):
        state = source.case(number)[0].state
        clear = render_state(state, height=size[0], width=size[1]).min(axis=-1) > 0.85 * 255
        assert clear.mean(axis=(1, 2)).min() > 0.5
