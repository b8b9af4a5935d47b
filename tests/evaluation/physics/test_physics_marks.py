"""Marks: IoU and cause fall with each edit, and by as much as the edit says."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest

from sora_jax.evaluation.physics import edits_marks, marks, suite, wear
from sora_jax.evaluation.physics.edits import Shot, draw
from sora_jax.evaluation.physics.suite_bench import BENCH_METRICS
from sora_jax.evaluation.physics.sweep import Scene
from sora_jax.evaluation.physics.tracks import parse
from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.state import film

METRICS = {m.name: m for m in BENCH_METRICS}
FAMILIES = ("bite", "brush")


@functools.cache
def some(family: str, *, marked: bool, swept: bool = False) -> Scene:
    source = BenchSource(family, seed=4, length=30, height=48, width=48)
    for number in range(30):
        (variant,) = source.case(number)
        if bool(variant.state.marks) == marked and (not swept or any(variant.state.occluder)):
            state = film(variant.state, height=48, width=48)[1]
            return Scene(number=number, state=state, shot=Shot(fps=12.0, height=48, width=48))
    raise AssertionError("no clip of thirty serves")


def observed(shown, scene) -> suite.Observed:
    return looked_at(draw(shown, scene.shot))


def looked_at(video) -> suite.Observed:
    """The video with the parse of its first frame: marks are read from pixels, on the parse's background."""
    return suite.Observed(video=video, fps=12.0, tracks=parse(video[:1], fps=12.0))


def edited(edit, dose: float, scene):
    shown = edit(scene.state, dose, np.random.default_rng(0), scene.shot)
    assert shown is not None
    return observed(shown, scene)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_truth_has_full_marks_also_through_mp4(family):
    scene = some(family, marked=True, swept=True)
    whole = observed(scene.state, scene)
    assert (marks.kept(whole, scene.state), marks.cause(whole, scene.state)) == (1, 1)
    assert marks.kept_behind(whole, scene.state) == 1
    video = wear.through_mp4(whole.video, fps=scene.shot.fps)
    worn = looked_at(video)
    assert marks.kept(worn, scene.state) > 0.95
    assert marks.cause(worn, scene.state) > 0.98


@pytest.mark.parametrize("family", FAMILIES)
def test_healing_costs_the_share_of_frames_without_the_mark(family):
    scene = some(family, marked=True)
    first = marks.marked_from(scene.state, fps=12.0)
    found = marks.ground(observed(scene.state, scene), scene.state)
    due = found.true[first:].sum(axis=(1, 2)) * found.pixel >= marks.LEAST
    values = []
    for dose in (0.3, 0.7, 1.0):
        shown = edits_marks.healed(scene.state, dose, np.random.default_rng(0), scene.shot)
        assert shown is not None
        end = int(shown.marks[0].end.max())
        values.append(marks.kept(observed(shown, scene), scene.state))
        assert values[-1] == pytest.approx(due[: max(end - first, 0)].sum() / due.sum(), abs=0.02), dose
    assert 0.9 > values[0] > values[1] > values[2] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mark_elsewhere_is_no_mark_but_has_a_cause(family):
    scene = some(family, marked=True)
    values = []
    for dose in (0.4, 0.7, 1.0):
        seen = edited(edits_marks.displaced, dose, scene)
        values.append(marks.kept(seen, scene.state))
        assert marks.cause(seen, scene.state) > 0.8
    assert 0.98 > values[0] > values[1] > values[2]
    assert values[2] < 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_healing_behind_the_screen_is_seen_where_it_has_passed(family):
    scene = some(family, marked=True, swept=True)
    seen = edited(edits_marks.healed_behind, 1.0, scene)
    behind = marks.kept_behind(seen, scene.state)
    assert behind < 0.3
    assert behind < marks.kept(seen, scene.state)


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_if_and_only_if_there_is_contact(family):
    hit, miss = some(family, marked=True), some(family, marked=False)
    assert marks.cause(observed(miss.state, miss), miss.state) == 1
    assert marks.cause(edited(edits_marks.unmarked, 1.0, hit), hit.state) < 0.05
    small, large = (marks.cause(edited(edits_marks.uncaused, d, miss), miss.state) for d in (0.4, 1.0))
    assert large < small < 0.99
    states = [hit.state, miss.state]
    true = [marks.trace(observed(s.state, s), s.state) for s in (hit, miss)]
    assert marks.cause_score(true, states) == 1
    assert marks.cause_score([1.0, 1.0], states) == marks.cause_score([0.0, 0.0], states) == 0
    assert marks.cause_score([0.0, 1.0], states) == -1
    assert math.isnan(marks.cause_score([1.0], [hit.state]))


def test_nan_is_decided_by_the_truth_alone():
    hit, miss = some("bite", marked=True), some("bite", marked=False)
    empty = np.full((49, 48, 48, 3), 240, np.uint8)
    for video in (empty, np.random.default_rng(0).integers(0, 256, empty.shape).astype(np.uint8), empty[:5]):
        seen = looked_at(video)
        for name in ("mark", "mark by contact"):
            assert METRICS[name].score(seen, hit.state) == 0
        assert math.isnan(METRICS["mark"].score(seen, miss.state))
        other = dataclasses.replace(hit.state, family="uniform")
        assert math.isnan(METRICS["mark"].score(seen, other))
