"""Cuts, the cast across cuts, and the order of events; clones and mirror images on matched pairs."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from sora_jax.evaluation.physics import edits_shots, order, pairs, shots, suite
from sora_jax.evaluation.physics.edits import draw
from sora_jax.evaluation.physics.sweep import Scene, make_scenes
from sora_jax.evaluation.physics.tracks import Tracks, parse
from sora_jax.worlds.bench.source import BenchSource

METRICS = {m.name: m for m in suite.METRICS}


@functools.cache
def scenes(family: str) -> tuple[Scene, ...]:
    return make_scenes(clips=2, seed=6, frames=33, side=48, families=(family,))


def seen(shown, scene) -> Tracks:
    return parse(draw(shown, scene.shot), fps=scene.shot.fps)


def edited(edit, dose: float, scene) -> Tracks:
    shown = edit(scene.state, dose, np.random.default_rng(0), scene.shot)
    assert shown is not None
    return seen(shown, scene)


def test_cuts_are_found_where_they_are_and_more_cost_f1():
    scene = scenes("shots")[0]
    true = shots.true_cuts(scene.state)
    tracks = seen(scene.state, scene)
    assert shots.cuts(tracks) == true
    assert shots.cutting(tracks, scene.state) == 1
    for extra in (1, 3):
        value = shots.cutting(edited(edits_shots.cut_more, extra, scene), scene.state)
        assert value == pytest.approx(2 * len(true) / (2 * len(true) + extra), abs=0.01)
    still = parse(np.repeat(draw(scene.state, scene.shot)[:1], 49, axis=0), fps=12.0)
    assert shots.cuts(still) == []
    assert shots.cutting(still, scene.state) == 0


def test_the_cast_is_told_from_an_impostor():
    scene = scenes("shots")[0]
    tracks = seen(scene.state, scene)
    assert shots.identity(tracks, scene.state) > 0.98
    assert shots.against_impostor(tracks, scene.state) > 0.98
    for edit in (edits_shots.impostor, edits_shots.recolored):
        half, whole = (shots.identity(edited(edit, dose, scene), scene.state) for dose in (0.5, 1.0))
        assert 0.95 > half > whole  # one of two objects
        assert whole < 0.75
        assert shots.cutting(edited(edit, 0.5, scene), scene.state) == 1


def test_the_cast_is_the_videos_own():
    """A video whose objects have other colours from the first shot on keeps its cast."""
    scene = scenes("shots")[0]
    assert shots.identity(parse(draw(scene.state, scene.shot)[..., ::-1], fps=12.0), scene.state) > 0.6


def test_order_falls_from_right_to_reversed():
    for scene in scenes("ordered"):
        values, told = [], []
        for dose in (0.0, 0.5, 2.0):
            tracks = edited(edits_shots.reordered, dose, scene)
            values.append(order.order(tracks, scene.state))
            told.append(order.contrast(tracks, scene.state))
        assert values[0] == 1
        assert values[1:] == pytest.approx([0.75, 0], abs=0.2)
        assert told == values  # what only a missing event tells apart stands below
        frozen = parse(np.repeat(draw(scene.state, scene.shot)[:1], 33, axis=0), fps=12.0)
        assert order.order(frozen, scene.state) == 0
        assert order.contrast(frozen, scene.state) == 0.5
    other = scenes("shots")[0]
    assert math.isnan(order.order(seen(other.state, other), other.state))


def _pairs(family: str, *names: str, cases: int = 4) -> tuple[dict[str, list[np.ndarray]], list]:
    """Scores of both variants of some cases against the first one's truth, and the second variants."""
    source = BenchSource(family, seed=3, length=cases, height=64, width=64)
    table: dict[str, list[np.ndarray]] = {name: [] for name in names}
    others = []
    for k in range(cases):
        clips = [source[2 * k + v] for v in (0, 1)]
        others.append(source.case(k)[1])
        looks = [suite.observe(clip.video, fps=clip.fps) for clip in clips]
        for name in names:
            table[name].append(np.array([METRICS[name].score(o, clips[0].state) for o in looks]))
    return table, others


def test_births_clones_and_deaths_are_told_on_matched_pairs():
    table, others = _pairs("clones", "count", "births and deaths", "clones", cases=6)
    for name, rows in table.items():
        first, second = np.array(rows).T
        assert first.mean() > 0.98, name
        cloned = np.array(["clone" in v.measures for v in others])
        assert cloned.any() and not cloned.all()
        # A clone comes out of its original, where a birth has an excuse; what is no clone has no twin.
        told = {"count": cloned | True, "births and deaths": ~cloned, "clones": cloned}[name]
        assert pairs.preferred(first[told], second[told]) == 1, (name, first, second)
        assert (second[~told] > 0.98).all(), name


def test_mirror_images_are_told_by_sign():
    table, _ = _pairs("mirrored", "left or right", "above or below", "contrast")
    asked = np.array(table["left or right"] + table["above or below"])
    asked = asked[~np.isnan(asked[:, 0])]
    assert len(asked) == 4  # each case asks for one of the two
    np.testing.assert_array_equal(asked, [[1, 0]] * 4)
    for value, sides in zip(table["contrast"], table["left or right"], strict=True):
        np.testing.assert_array_equal(value, sides)  # NaN where the case asks for above and below
