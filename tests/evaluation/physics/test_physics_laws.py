"""Long motion and the grid game: each metric reads its law's number, and falls by what an edit takes."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from sora_jax.evaluation.physics import board, edits_board, edits_laws, oscillation
from sora_jax.evaluation.physics.edits import draw
from sora_jax.evaluation.physics.suite import Observed
from sora_jax.evaluation.physics.sweep import Scene, make_scenes
from sora_jax.evaluation.physics.tracks import Tracks, parse
from sora_jax.worlds.bench.grid import CELLS


@functools.cache
def scene(family: str) -> Scene:
    return make_scenes(clips=1, seed=8, frames=33, side=48, families=(family,))[0]


def edited(edit, dose: float, scene) -> Tracks:
    shown = edit(scene.state, dose, np.random.default_rng(0), scene.shot)
    assert shown is not None
    return parse(draw(shown, scene.shot), fps=scene.shot.fps)


def test_the_frequency_of_a_known_swing():
    t = np.arange(40) / 12
    for w, offset in ((1.1, 0.0), (4.0, 0.7)):
        found = oscillation.frequency(2 * np.cos(w * t + 0.3) + offset, t, near=1.3 * w, centered=not offset)
        assert found == pytest.approx(w, rel=1e-3)


@pytest.mark.parametrize("family", ["pendulum", "spring"])
def test_the_period_scores_by_its_ratio(family):
    here = scene(family)
    for dose in (0.0, 0.2):
        value = oscillation.period(edited(edits_laws.slowed, dose, here), here.state)
        assert value == pytest.approx(1 - math.log(1 + dose) / math.log(2), abs=0.06)
    still = parse(np.repeat(draw(here.state, here.shot)[:1], 49, axis=0), fps=12.0)
    assert oscillation.period(still, here.state) == 0


@pytest.mark.parametrize("family", ["pendulum", "spring"])
def test_energy_that_runs_down_is_seen_and_a_phase_is_not(family):
    here = scene(family)
    values = [oscillation.energy(edited(edits_laws.run_down, d, here), here.state) for d in (0.0, 0.4, 1.0)]
    assert values[0] > 0.97
    assert 0.95 > values[1] > values[2]
    assert values[2] < 0.9


def test_drift_is_a_slope_of_the_error_against_the_horizon():
    here = scene("spring")
    whole = edited(edits_laws.drifted, 0.0, here)
    assert oscillation.drift(whole, here.state) > 0.98
    half = edited(edits_laws.drifted, 0.5, here)
    error = oscillation.horizon(half, here.state)
    away = np.linalg.norm(here.state.position, axis=-1).mean(axis=1)
    np.testing.assert_allclose(error, away * np.linspace(0, 0.5, len(error)), atol=0.15)
    assert oscillation.drift(half, here.state) < oscillation.drift(whole, here.state) - 0.1
    nothing = parse(np.full((49, 48, 48, 3), 240, np.uint8), fps=12.0)
    assert oscillation.drift(nothing, here.state) == 0


def test_friction_scores_by_its_ratio():
    here = scene("friction")
    assert oscillation.friction(edited(edits_laws.rougher, 0.0, here), here.state) > 0.97
    values = [oscillation.friction(edited(edits_laws.rougher, d, here), here.state) for d in (0.1, 0.4, 0.7)]
    assert values == pytest.approx([0.9, 0.6, 0.3], abs=0.1)


def played(shown, here) -> Observed:
    """The video with the parse of its first frame: a board is read from pixels."""
    video = draw(shown, here.shot)
    return Observed(video=video, fps=12.0, tracks=parse(video[:1], fps=12.0))


def test_the_board_is_read_as_it_is():
    here = scene("gridworld")
    grid = here.state.grid
    assert grid is not None
    found = board.read(played(here.state, here), here.state)
    rest = np.where(grid == CELLS["agent"], board.NOBODY, grid)[0]
    np.testing.assert_array_equal(found.cells[0], rest)
    where = np.argwhere(grid == CELLS["agent"])[:, 1:]
    assert np.abs(found.player - where).max() < 0.6


def test_moves_policy_and_map_each_see_their_own_edit():
    here = scene("gridworld")
    random = np.random.default_rng(0)
    measures = (board.legal, board.policy, board.world_map)

    def scored(shown):
        seen = played(shown, here)
        return [measure(seen, here.state) for measure in measures]

    assert scored(here.state) == pytest.approx([1, 1, 1], abs=0.02)
    jumping = edits_board.jumping(here.state, 2, random, here.shot)
    stopping = edits_board.stopping(here.state, 0.6, random, here.shot)
    bare = edits_board.wall_less(here.state, 1.0, random, here.shot)
    assert jumping is not None and stopping is not None and bare is not None
    legal, _, world = scored(jumping)
    assert legal < 0.9
    assert world > 0.95
    legal, policy, _ = scored(stopping)
    assert legal > 0.98
    assert policy < 0.7
    legal, policy, world = scored(bare)
    assert min(legal, policy) > 0.98
    assert world < 0.85
