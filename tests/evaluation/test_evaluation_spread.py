"""Several samples of one scene: how they spread, what they may be compared with, and how copies are seen."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from sora_jax.evaluation import answers, benchmark, nearest
from sora_jax.evaluation.physics import ends, outcomes, protocol, same_prompt
from sora_jax.evaluation.physics.protocol import Job, Row
from sora_jax.evaluation.physics.tracks import parse
from sora_jax.evaluation.spread import energy_distance
from sora_jax.worlds import placing
from sora_jax.worlds.facts import agrees, facts
from sora_jax.worlds.parse import parse_prompt


@pytest.fixture(scope="module")
def items():
    counts = {"uniform": 6, "beside": 2, "bounce": 3, "pendulum": 1}
    return benchmark.make(counts, frames=17, height=64, width=64)


def test_energy_distance_is_the_mean_over_pairs_of_two_different_outcomes():
    stream = np.random.default_rng(0)
    x, y = stream.normal(size=(5, 3)), stream.normal(size=(7, 3))

    def mean(pairs):
        return np.mean([math.dist(a, b) for a, b in pairs])

    got = energy_distance(x, y)
    assert got.distance == pytest.approx(mean(itertools.product(x, y)))
    assert got.own == pytest.approx(mean(itertools.permutations(x, 2)))
    assert got.truth == pytest.approx(mean(itertools.permutations(y, 2)))
    assert got.energy == pytest.approx(2 * got.distance - got.own - got.truth)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_energy_distance_has_the_value_of_two_normals_without_bias(shift):
    """E|N(m, 2)| = 2 exp(-m^2 / 4) / sqrt(pi) + m erf(m / 2), of the difference of two unit normals.

    Three and four draws at a time: a V-statistic is too great by E|X - X'| / 3 + E|Y - Y'| / 4 = 0.66, and
    the mean over 2000 has a standard error below 0.03.
    """

    def apart(m):
        return 2 * math.exp(-(m**2) / 4) / math.sqrt(math.pi) + m * math.erf(m / 2)

    stream = np.random.default_rng(1)
    draws = [
        energy_distance(stream.normal(size=(3, 1)), shift + stream.normal(size=(4, 1))).energy
        for _ in range(2000)
    ]
    assert np.mean(draws) == pytest.approx(2 * apart(shift) - 2 * apart(0), abs=0.1)


def test_against_one_point_it_is_twice_the_energy_score():
    x = np.array([[0.0, 0], [3, 4], [6, 8]])
    got = energy_distance(x, np.zeros((1, 2)))
    assert got.energy == pytest.approx(2 * ((0 + 5 + 10) / 3 - (5 + 10 + 5) / 3 / 2))
    assert energy_distance(x[:1], x[:1]).energy == 0
    with pytest.raises(ValueError, match="at least 1 of each"):
        energy_distance(x[:0], x)
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(3, 1\)"):
        energy_distance(x, x[:, :1])


def test_an_end_state_read_from_pixels_is_that_of_the_simulation(items):
    for item in items[:6]:
        clip = benchmark.truth(item)
        own = ends.of_state(clip.state)
        seen = ends.of_tracks(parse(clip.video, fps=item.fps))
        assert np.abs(ends.vector(seen, own) - ends.vector(own, own)).max() < 0.3  # world units


def test_a_missing_object_is_farther_than_a_misplaced_one_and_equals_another_missing_one():
    place = np.array([[1.0, 2], [3, -4]])
    pair = ends.Cast(color=("red", "blue"), shape=("circle", "bar"), place=place, share=np.ones(2))
    alone = dataclasses.replace(pair, color=("blue",), shape=("bar",), place=place[1:], share=np.ones(1))
    full, half, none = (ends.vector(seen, pair) for seen in (pair, alone, None))
    np.testing.assert_allclose(full * math.sqrt(2), [1, 2, 0, 3, -4, 0])
    np.testing.assert_allclose(half * math.sqrt(2), [0, 0, ends.FAR, 3, -4, 0])
    np.testing.assert_allclose(none * math.sqrt(2), [0, 0, ends.FAR] * 2)
    swapped = dataclasses.replace(pair, color=("blue", "red"), shape=("bar", "circle"), place=place[::-1])
    np.testing.assert_array_equal(ends.vector(swapped, pair), full)  # by looks, whatever the order
    twins = dataclasses.replace(pair, color=("red", "red"), shape=("bar", "bar"))
    exchanged = dataclasses.replace(twins, place=place[::-1] + 0.1)
    np.testing.assert_allclose(
        ends.vector(exchanged, twins) * math.sqrt(2), full * math.sqrt(2) + [0.1, 0.1, 0] * 2
    )


def test_other_clips_of_a_prompt_satisfy_it_and_are_others(items):
    for item in (items[1], items[6], items[8]):
        own = benchmark.truth(item).state
        found = same_prompt.states(item, count=6)
        assert len(found) == 6
        stated = parse_prompt(item.prompt)
        for state in found:
            assert agrees(stated, facts(state)) and state.position.shape == own.position.shape
            assert np.abs(state.position[0] - own.position[0]).max() > 0.01
        starts = np.array([state.position[0] for state in found])
        assert len(np.unique(starts.round(6), axis=0)) == 6
    again = same_prompt.states(items[1], count=2)
    np.testing.assert_array_equal(again[1].position, same_prompt.states(items[1], count=6)[1].position)
    assert same_prompt.states(dataclasses.replace(items[0], prompt="nothing"), count=1) == []
    with pytest.raises(ValueError, match="'pendulum' is not one of uniform"):
        same_prompt.states(items[-1], count=1)


def test_a_cast_that_the_rule_never_shows_is_refused():
    look = placing.Look("red", "circle", None, 1)  # a held-out pair
    draw = placing.Draw(
        rng=np.random.default_rng(0), frames=9, height=64, width=64, fps=8, heldout="exclude", cast=(look,)
    )
    with pytest.raises(ValueError, match="a red circle is held out"):
        placing.looks(draw, 1, grouped=True)
    ((body,),) = placing.looks(dataclasses.replace(draw, heldout="any"), 4, grouped=True)
    assert (body.color, body.shape) == ("red", "circle")


def test_several_samples_have_a_mean_and_a_best_and_the_missing_ones_count(items):
    video = benchmark.truth(items[0]).video
    held = np.repeat(video[:1], len(video), axis=0)
    job = Job(line=1, item=items[0], other=items[1], samples=3, videos=[video, held], given=3)
    row = protocol.work(job)
    assert row.fault == "uniform-0000 has no video"
    assert [sample.fault is None for sample in row.samples] == [True, True, False]
    one = protocol.work(Job(line=1, item=items[0], other=items[1], videos=[held], given=3))
    for name, score in row.scores["sample"].items():
        each = [row.scores["truth"][name], one.scores["sample"][name], 0.0]
        assert score == pytest.approx(np.mean(each)) and row.scores["best-of-k"][name] == max(each)
    other = one.scores["shuffled"]
    assert row.scores["shuffled best-of-k"]["velocity"] >= max(
        row.scores["shuffled"]["velocity"], other["velocity"]
    )
    lost = Row(item=None, scores={}, fault="line 2")
    table = protocol.summarise([row, lost])
    assert table["velocity"]["best-of-k"].mean == pytest.approx(row.scores["best-of-k"]["velocity"] / 2)
    assert table["velocity"]["best-of-k"].clips == 2  # scenes, not samples
    assert "best-of-k" not in one.scores and one.spread == {}


def test_given_frames_make_the_truth_one_point(items):
    video = benchmark.truth(items[0]).video
    held = np.repeat(video[:1], len(video), axis=0)

    def spread(*videos):
        return protocol.work(Job(line=1, item=items[0], samples=2, videos=videos, given=3)).spread

    right, wrong, lost = spread(video, video), spread(held, held), spread()
    assert right["sample"].energy < 0.5 and right["sample"].own == 0 and right["sample"].truth == 0
    assert right["truth"].energy == right["sample"].energy  # both are the parsed truth as one point
    assert lost["sample"].distance >= ends.FAR > wrong["sample"].distance > right["sample"].distance
    table = outcomes.summarise([right, wrong, {}])
    assert table["energy"]["sample"].clips == 2
    mean = (right["sample"].energy + wrong["sample"].energy) / 2
    assert table["energy"]["sample"].mean == pytest.approx(mean)


def test_without_given_frames_the_truth_is_what_the_prompt_leaves_open(items):
    item = items[1]
    clip = benchmark.truth(item)
    one = protocol.work(Job(line=1, item=item, samples=2, videos=[clip.video] * 2)).spread
    assert one["sample"].truth > 1 and one["sample"].own == 0
    assert one[outcomes.REPEATED] == pytest.approx(one["sample"]) and "truth" not in one
    assert one["sample"].energy > 1  # right each time, and without the spread of the truth
    others = same_prompt.states(item, count=64)
    own = ends.of_state(clip.state)
    vectors = np.stack([ends.vector(ends.of_state(state), own) for state in others])
    assert abs(energy_distance(vectors[:32], vectors[32:]).energy) < 0.5  # spread as the truth is
    assert protocol.work(Job(line=1, item=items[-1], samples=2)).spread == {}  # a pendulum


def test_samples_have_files_of_their_own(items):
    item = dataclasses.replace(items[0], video="deep/x.mp4")
    assert answers.expand(item, 1) == [item]
    assert [one.video for one in answers.expand(item, 3)] == [f"deep/x-{k}.mp4" for k in range(3)]
    with pytest.raises(ValueError, match="samples 0: give at least 1"):
        answers.expand(item, 0)


def test_the_nearest_is_found_by_brute_force_and_a_copy_is_at_no_distance(items):
    videos = [benchmark.truth(item).video for item in items[:6]]
    bank = np.stack([nearest.reduce(video) for video in videos])
    assert bank.shape == (6, 17 * 8 * 8 * 3) and 0 <= bank.min() < bank.max() <= 1
    assert nearest.nearest(bank[4], bank) == (4, 0.0)
    shown = videos[5].reshape(17, 8, 8, 8, 8, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(bank[5], shown.ravel(), atol=1e-5)
    apart = [math.sqrt(np.mean((shown.ravel() - other) ** 2)) for other in bank[:5]]
    found = nearest.nearest(bank[5], bank[:5])
    assert found.index == np.argmin(apart) and found.distance == pytest.approx(min(apart), rel=1e-4)
    with pytest.raises(ValueError, match="n above 0"):
        nearest.nearest(bank[0], bank[:0])
    assert nearest.ratio(0.1, 0.0) == pytest.approx(25.5)


def test_ratios_are_summed_up_over_scenes():
    scores = nearest.summarise([np.array([0.5, 2.0]), np.array([]), np.array([0.6])])
    assert scores["median ratio"].mean == 0.6 and scores["share below 1"].mean == pytest.approx(2 / 3)
    assert scores["median ratio"].clips == scores["share below 1"].clips == 2
    # Two scenes that agree within and not between: the interval is as wide as scenes make it, not samples.
    wide = nearest.summarise([np.full(50, 0.5), np.full(50, 2.0)])["median ratio"]
    assert (wide.low, wide.high) == (0.5, 2.0)
    assert math.isnan(nearest.summarise([np.array([])])["median ratio"].mean)
