"""The tables of the benchmark's own families hang together, and a shared reading is made once."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax import rng as rng_lib
from sora_jax.evaluation.physics.corruptions_bench import BENCH_CORRUPTIONS, EVERY_CORRUPTION
from sora_jax.evaluation.physics.edits import draw
from sora_jax.evaluation.physics.remembered import remembered
from sora_jax.evaluation.physics.suite import observe
from sora_jax.evaluation.physics.suite_bench import BENCH, BENCH_METRICS, EVERY_METRIC
from sora_jax.evaluation.physics.sweep import make_scenes
from sora_jax.worlds.bench.source import BENCH_FAMILIES


def test_every_failure_has_a_metric_and_a_corruption_on_a_family_of_both():
    assert {m.failure for m in BENCH_METRICS} == {c.failure for c in BENCH_CORRUPTIONS}
    assert set(BENCH) <= set(BENCH_FAMILIES)
    for table in (EVERY_METRIC, EVERY_CORRUPTION):
        assert len({line.name for line in table}) == len(table)
    for metric in BENCH_METRICS:
        assert set(metric.families) <= set(BENCH)
        own = [c for c in BENCH_CORRUPTIONS if c.failure == metric.failure]
        assert all(set(c.families) & set(metric.families) for c in own), metric.name


@pytest.mark.parametrize("family", sorted(set(BENCH) - {"billiards", "brush"}))
def test_smallest_doses_can_be_seen_and_leave_the_state_as_it_was(family):
    """Of some clip of nine, every corruption of the family changes a pixel by over 16 of 255."""
    shown = {c.name: 0 for c in BENCH_CORRUPTIONS if family in c.families}
    for scene in make_scenes(clips=9, seed=11, frames=17, side=32, families=(family,)):
        before = scene.state.position.copy(), scene.state.alive.copy()
        video = draw(scene.state, scene.shot).astype(int)
        for line in (c for c in BENCH_CORRUPTIONS if c.name in shown):
            edited = line.apply(scene.state, line.doses[0], rng_lib.host(1, line.name), scene.shot)
            if edited is not None:
                change = np.abs(draw(edited, scene.shot).astype(int) - video).max()
                shown[line.name] = max(shown[line.name], int(change))
        np.testing.assert_array_equal(scene.state.position, before[0])
        np.testing.assert_array_equal(scene.state.alive, before[1])
    assert all(change > 16 for change in shown.values()), shown


def test_a_reading_is_made_once_for_the_same_objects():
    (scene,) = make_scenes(clips=1, seed=1, frames=17, side=32, families=("friction",))
    video = draw(scene.state, scene.shot)[:2]
    one, two = observe(video, fps=12.0), observe(video, fps=12.0)
    calls = []
    read = remembered(lambda observed, truth: calls.append(observed))
    for observed in (one, one, two, one):
        read(observed, scene.state)
    assert [id(c) for c in calls] == [id(one), id(two), id(one)]
