"""Who comes back from behind a screen: each metric sees its own edit and no other's; matched clips."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sora_jax.evaluation.physics import edits_hiding, pairs, permanence
from sora_jax.evaluation.physics.edits import draw
from sora_jax.evaluation.physics.sweep import make_scenes
from sora_jax.evaluation.physics.tracks import parse
from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.state import film

MEASURES = {
    "reappearance": permanence.reappearance,
    "punctuality": permanence.punctuality,
    "place": permanence.place,
    "color": permanence.color,
    "shape": permanence.shape,
}
# edit, a middling dose, and all that it may change.
EDITS = {
    "gone": (edits_hiding.gone, 0.5, {"reappearance"}),
    "delayed": (edits_hiding.delayed, 0.4, {"reappearance", "punctuality"}),
    "shifted": (edits_hiding.shifted, 0.6, {"place"}),
    "recolored": (edits_hiding.recolored, 0.5, {"color"}),
    "reshaped": (edits_hiding.reshaped, 0.5, {"shape"}),
    "swapped": (edits_hiding.swapped, 0.5, {"color", "shape"}),
}


def scored(shown, scene) -> dict[str, float]:
    tracks = parse(draw(shown, scene.shot), fps=scene.shot.fps)
    return {name: measure(tracks, scene.state) for name, measure in MEASURES.items()}


@pytest.fixture(scope="module")
def scene():
    """The first clip with a long return of which every edit can be made."""
    random = np.random.default_rng(0)
    for scene in make_scenes(clips=12, seed=3, frames=33, side=64, families=("occlusion",)):
        made = [edit(scene.state, dose, random, scene.shot) for edit, dose, _ in EDITS.values()]
        found = permanence.passages(scene.state)
        if all(m is not None for m in made) and found and len(found[0].due) > 9:
            return scene
    raise AssertionError("no clip of twelve serves")


@pytest.mark.parametrize("family", ["occlusion", "permanence"])
def test_every_clip_has_a_number_and_the_truth_full_marks(family):
    source = BenchSource(family, seed=5, length=20, height=32, width=32)
    for number in range(20):
        _, state = film(source.case(number)[0].state, height=32, width=32)
        assert permanence.passages(state), number
    for number in range(0, 20, 5):
        clip = source[number * source.variants]
        assert permanence.reappearance(parse(clip.video, fps=clip.fps), clip.state) == 1


def test_the_truth_has_full_marks(scene):
    assert all(v == pytest.approx(1, abs=0.01) for v in scored(scene.state, scene).values())


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_seen_by_its_own_metrics_and_no_others(scene, name):
    edit, dose, changes = EDITS[name]
    shown = edit(scene.state, dose, np.random.default_rng(1), scene.shot)
    assert shown is not None
    for metric, value in scored(shown, scene).items():
        if metric in changes:
            assert value < 0.95, metric
        else:
            assert value > 0.98, metric


def test_scores_fall_with_the_dose_to_the_end_of_the_scale(scene):
    due = permanence.passages(scene.state)[0].due
    series = []
    for dose in (0.3, 0.6, 1.0):
        shown = edits_hiding.gone(scene.state, dose, np.random.default_rng(1), scene.shot)
        assert shown is not None
        series.append(scored(shown, scene))
        lost = max(1, round(dose * len(due))) / len(due)
        assert series[-1]["reappearance"] == pytest.approx(1 - lost, abs=0.02)
    assert set(series[-1].values()) == {0.0}  # what never returns is wrong in everything


def test_a_delay_is_measured_in_seconds(scene):
    found = permanence.passages(scene.state)[0]
    shown = edits_hiding.delayed(scene.state, 4 / len(found.due), np.random.default_rng(1), scene.shot)
    assert shown is not None
    assert scored(shown, scene)["punctuality"] == pytest.approx(1 - 4 / scene.shot.fps, abs=0.01)


def test_nan_without_a_screen_whatever_the_video(scene):
    bare = dataclasses.replace(scene.state, occluder=())
    tracks = parse(draw(scene.state, scene.shot), fps=scene.shot.fps)
    assert all(math.isnan(measure(tracks, bare)) for measure in MEASURES.values())
    nothing = parse(np.full((33, 64, 64, 3), 240, np.uint8), fps=12.0)
    assert all(measure(nothing, scene.state) == 0 for measure in MEASURES.values())


def test_the_curve_against_the_length_of_the_occlusion():
    states = [s.state for s in make_scenes(clips=8, seed=3, frames=33, side=32, families=("occlusion",))]
    lengths = [max((p.stop - p.start for p in permanence.passages(s)), default=0) / 12 for s in states]
    curve = permanence.by_length(lengths, states, fps=12.0)
    assert sum(b.clips for b in curve) == sum(k > 0 for k in lengths) > 0
    for b in curve:
        assert not b.clips or b.least <= b.mean < b.most
    blank = permanence.by_length([math.nan] * 8, states, fps=12.0)
    assert all(b.clips == 0 and math.isnan(b.mean) for b in blank)


@pytest.fixture(scope="module")
def sets():
    """Clips of three quadruplets, and which are possible."""
    source = BenchSource("permanence", seed=5, length=3, height=64, width=64)
    cases = [source.case(k) for k in range(3)]
    clips = [[source.clip(v, id="x").video for v in case] for case in cases]
    return clips, np.array([[v.possible for v in case] for case in cases])


def test_only_a_score_over_time_tells_possible_from_impossible(sets):
    clips, possible = sets
    random = np.random.default_rng(0).random((64, 64, 3))
    single = np.array(
        [[float((video * random).sum(axis=(1, 2, 3)).mean()) for video in four] for four in clips]
    )
    assert pairs.quadruplet_errors(single, possible)[0] == 0.5
    ends = [0, 1, 2, -3, -2, -1]  # all that this plausibility looks at
    whole = np.array([[permanence.continuity(parse(v[ends], fps=12.0)) for v in four] for four in clips])
    assert pairs.quadruplet_errors(whole, possible) == (0, 0)
    assert pairs.quadruplet_errors(-whole, possible) == (1, 1)


def test_error_rates_by_hand():
    possible = np.array([[True, True, False, False]] * 2)
    values = np.array([[3.0, 1.0, 0.0, 2.0], [1.0, 1.0, 2.0, 1.0]])
    relative, absolute = pairs.quadruplet_errors(values, possible)
    assert relative == 0.5  # 4 > 2 and 2 < 3
    won = sum((a > b) + 0.5 * (a == b) for a in (3, 1, 1, 1) for b in (0, 2, 2, 1)) / 16
    assert absolute == pytest.approx(1 - won)
    assert pairs.quadruplet_errors(np.zeros((2, 4)), possible) == (0.5, 0.5)  # as released: no error
    with pytest.raises(ValueError, match="no numbers"):
        pairs.quadruplet_errors(np.full((2, 4), math.nan), possible)
    with pytest.raises(ValueError, match="as many"):
        pairs.quadruplet_errors(values, np.ones((2, 4), bool))
    assert pairs.preferred(np.array([2.0, 1.0, 0.0]), np.array([1.0, 1.0, 3.0])) == 0.5
