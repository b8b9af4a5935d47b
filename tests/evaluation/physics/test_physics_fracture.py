"""Breaking: each metric sees its own edit by as much as the edit says, and F1 by hand."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from sora_jax.evaluation.physics import edits_fracture, fracture
from sora_jax.evaluation.physics.edits import draw
from sora_jax.evaluation.physics.sweep import Scene, make_scenes
from sora_jax.evaluation.physics.tracks import Tracks, parse


@functools.cache
def scenes() -> tuple[Scene, Scene]:
    """A hard hit whose pieces stay in view for long, and a soft one."""
    every = make_scenes(clips=16, seed=2, frames=33, side=64, families=("fracture",))
    hard = [s for s in every if fracture.pieces_of(s.state)]
    soft = [s for s in every if not fracture.pieces_of(s.state)]
    return max(hard, key=lambda s: int((fracture._due(s.state) >= 2).sum())), soft[0]


def seen(shown, scene) -> Tracks:
    return parse(draw(shown, scene.shot), fps=scene.shot.fps)


def edited(edit, dose: float, scene) -> Tracks:
    shown = edit(scene.state, dose, np.random.default_rng(0), scene.shot)
    assert shown is not None
    return seen(shown, scene)


def test_the_truth_has_full_marks():
    for scene in scenes():
        tracks = seen(scene.state, scene)
        assert fracture.breaking(tracks, scene.state) > 0.98
        assert fracture.area(tracks, scene.state) > 0.97
    hard = scenes()[0]
    tracks = seen(hard.state, hard)
    assert fracture.pieces(tracks, hard.state) > 0.97
    assert fracture.staying_broken(tracks, hard.state) == 1
    found = fracture.first_break(tracks, hard.state)
    assert found is not None and abs(found - fracture.struck_at(hard.state)) <= fracture.TOLERANCE


def test_a_body_that_never_breaks_and_one_that_breaks_uncalled_for_score_0():
    hard, soft = scenes()
    values = [fracture.breaking(edited(edits_fracture.late, d, hard), hard.state) for d in (0.3, 0.6, 1.0)]
    assert 0.95 > values[0] > values[1] > values[2] == 0
    assert fracture.staying_broken(edited(edits_fracture.late, 1.0, hard), hard.state) == 0
    values = [
        fracture.breaking(edited(edits_fracture.uncalled, d, soft), soft.state) for d in (0.2, 0.6, 1.0)
    ]
    assert values == pytest.approx([0.8, 0.4, 0.0], abs=0.07)


def test_merging_is_not_late_breaking():
    hard, _ = scenes()
    value = fracture.staying_broken(edited(edits_fracture.merged, 0.5, hard), hard.state)
    assert value == pytest.approx(0.5, abs=0.15)
    late = edited(edits_fracture.late, 0.4, hard)
    assert fracture.staying_broken(late, hard.state) == 1
    assert fracture.breaking(late, hard.state) < 0.9


def test_lost_and_small_pieces_are_told_apart():
    hard, _ = scenes()
    count = len(fracture.pieces_of(hard.state))
    lost = edited(edits_fracture.lost, 1.0, hard)
    assert fracture.pieces(lost, hard.state) == pytest.approx(1 - 1 / count, abs=0.1)
    assert fracture.area(lost, hard.state) < 0.8
    small = edited(edits_fracture.shrunk, 0.25, hard)
    assert fracture.pieces(small, hard.state) > 0.97
    expected = 1 - (2 * math.log(1.25) - fracture.FREE_AREA) / math.log(2)
    assert fracture.area(small, hard.state) == pytest.approx(expected, abs=0.03)


def test_nan_is_decided_by_the_truth_alone():
    hard, soft = scenes()
    nothing = parse(np.full((33, 64, 64, 3), 240, np.uint8), fps=12.0)
    for measure in (fracture.breaking, fracture.area, fracture.pieces, fracture.staying_broken):
        assert measure(nothing, hard.state) == 0
    assert math.isnan(fracture.pieces(nothing, soft.state))
    assert math.isnan(fracture.staying_broken(nothing, soft.state))


def test_event_f1_by_hand():
    assert fracture.event_f1([[5]], [[7]]) == 1
    assert fracture.event_f1([[4]], [[7]]) == 0
    assert fracture.event_f1([[5, 6]], [[6]]) == pytest.approx(2 / 3)  # one match, one too many
    assert fracture.event_f1([[], []], [[], []]) == 1
    assert fracture.event_f1([[3], []], [[3], [9]]) == pytest.approx(2 / 3)
    assert fracture.matches([4, 6], [2, 5], tolerance=2) == 2
