"""Clips of things that come to another way and other looks: smooth, even, and said in the captions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sora_jax.evaluation import text_alignment
from sora_jax.evaluation.physics.events import event_accuracy
from sora_jax.evaluation.physics.tracks import parse
from sora_jax.types import Body
from sora_jax.worlds import coverage, simulate
from sora_jax.worlds import facts as facts_lib
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.source import TEXT_BOUND, WorldSource

CLIPS, FRAMES = 40, 33


@pytest.fixture(scope="module")
def clips():
    world = WorldSource(
        seed=37,
        length=CLIPS,
        families={"turns": 1.0},
        frames={FRAMES: 1.0},
        sizes={(64, 64): 0.5, (64, 96): 0.5},
    )
    return [(world.scene(number), world[number]) for number in range(CLIPS)]


def both(clips):
    """Those that become something else."""
    return [(scene, clip) for scene, clip in clips if scene.turn.into]


def test_its_ways_are_straight_before_and_after_and_joined_without_a_jump(clips):
    for scene, _ in clips:
        turn = scene.turn
        fine = simulate.evolve(_at_rate(scene, 960.0))
        t = np.arange(len(fine.position)) / 960.0
        place, speed = fine.position[:, 0], fine.velocity[:, 0]
        before, after = t <= turn.start, t >= turn.end
        np.testing.assert_allclose(
            speed[before], np.broadcast_to(scene.velocity[0], speed[before].shape), atol=1e-5
        )
        np.testing.assert_allclose(
            speed[after], np.broadcast_to(turn.velocity, speed[after].shape), atol=1e-5
        )
        np.testing.assert_allclose(place[after][0], turn.position, atol=0.02)
        # The velocity is the slope of the place, everywhere, and neither jumps.
        np.testing.assert_allclose(np.diff(place, axis=0) * 960.0, (speed[1:] + speed[:-1]) / 2, atol=0.02)
        half = np.array(scene_lib.extent(scene.height, scene.width))
        assert (np.abs(fine.position) < half).all()


def _at_rate(scene, fps):
    """The same seconds of a scene in more frames."""
    return dataclasses.replace(scene, fps=fps, frames=round((scene.frames - 1) / scene.fps * fps) + 1)


def test_it_is_one_object_in_view_throughout_and_its_looks_change_evenly(clips):
    changed = both(clips)
    assert 0.4 * CLIPS < len(changed) < 0.8 * CLIPS
    for scene, clip in changed:
        state, turned = clip.state, clip.state.turned
        assert turned[0] == 0 and turned[-1] == 1
        going = (turned > 0) & (turned < 1)
        steps = np.diff(turned)[going[1:] & going[:-1]]
        np.testing.assert_allclose(steps, 1 / (scene.turn.end - scene.turn.start) / clip.fps, rtol=1e-4)
        assert (state.alive.sum(1) == 1).all()
        np.testing.assert_allclose(state.visible.sum(1), 1, atol=0.03)
        seen = parse(clip.video, fps=clip.fps)
        assert (seen.present.sum(1) == 1).all()
        np.testing.assert_allclose(
            np.nanmax(np.where(seen.present[..., None], seen.position, np.nan), 1),
            state.position[:, 0],
            atol=0.35,
        )


def test_before_and_after_it_is_drawn_as_what_it_is(clips):
    for scene, clip in both(clips):
        state = clip.state
        for body, there in ((state.bodies[0], state.turned == 0), (state.bodies[1], state.turned == 1)):
            alone = state_lib.make((body,), *_exact(state, there), family="uniform")
            frames = state_lib.render_state(alone, height=scene.height, width=scene.width)
            assert np.abs(frames.astype(int) - clip.video[there]).max() <= 1
        assert np.array_equal(
            state_lib.render_state(state, height=scene.height, width=scene.width), clip.video
        )


def _exact(state, there):
    exact = np.concatenate([state.position, state.angle[..., None]], -1, dtype=np.float64) + state.rounding
    own = exact[there][:, :1]
    return own[..., :2], np.zeros((len(own), 1, 2)), own[..., 2]


@pytest.mark.parametrize("shapes", [("circle", "square"), ("bar", "triangle"), ("triangle", "circle")])
def test_between_two_outlines_the_area_is_the_coverage(shapes):
    first, second = (
        Body(shape=shape, color="red", size="large", radius=1.8, mass=1.0, restitution=1.0)
        for shape in shapes
    )
    share = np.linspace(0, 1, 7)
    found, _, area = coverage.between(
        first, second, share, np.full((7, 2), 0.13), np.full(7, 0.4), height=64, width=64
    )
    np.testing.assert_allclose(found.sum((1, 2)), area, rtol=2e-3)
    np.testing.assert_allclose(area[[0, -1]], math.pi * (1.8 * 6.4) ** 2, rtol=2e-3)


def test_captions_say_so_and_read_back(clips):
    for _, clip in clips:
        truth = facts_lib.facts(clip.state)
        assert truth.count == 1
        for caption in clip.captions.values():
            stated = parse_prompt(caption)
            assert stated is not None and facts_lib.agrees(stated, truth), caption
            assert len(caption) < TEXT_BOUND
            assert [verb for verb, *_ in stated.events] == [verb for verb, *_ in truth.events]


def test_a_caption_the_other_way_round_is_false(clips):
    for _, clip in both(clips):
        stated = parse_prompt(clip.captions["short"])
        assert stated is not None
        ((verb, i, j),) = stated.events
        turned_round = facts_lib.Facts(objects=stated.objects, events=((verb, j, i),), count=stated.count)
        assert not facts_lib.agrees(turned_round, facts_lib.facts(clip.state))


@pytest.mark.parametrize(
    "words", ["turns into", "becomes", "is changing into", "morphs into", "transforming into"]
)
def test_simple_prompts_are_read(words):
    facts = parse_prompt(f"a red ball moving left {words} a blue square")
    assert facts is not None and facts.events == (("turns into", 0, 1),) and facts.count == 1
    assert [(one.color, one.shape) for one in facts.objects] == [("red", "circle"), ("blue", "square")]


def test_what_has_no_check_is_left_out_of_the_score_of_events(clips):
    _, clip = clips[0]
    stated = parse_prompt("a red circle leaves on the left and comes back")
    assert stated is not None and stated.events
    assert math.isnan(event_accuracy(parse(clip.video, fps=clip.fps), stated))


def test_looks_are_scored_before_and_after(clips):
    """The truth reads as its captions say, played backwards as the other way round, held still as half."""
    for _, clip in both(clips):
        stated = parse_prompt(clip.captions["short"])
        videos = (clip.video, clip.video[::-1], np.repeat(clip.video[:1], FRAMES, axis=0))
        table = text_alignment.score_prompts(videos, [stated] * 3, fps=clip.fps)
        first, last = clip.state.bodies
        assert table["count"].tolist() == [1, 1, 1]
        for look in ("color", "shape"):
            same = getattr(first, look) == getattr(last, look)
            assert table[look].tolist() == ([1, 1, 1] if same else [1, 0, 0.5]), (look, first, last)
        assert table["event"].tolist() == [1, 0, 0] and table["all"].tolist() == [1, 0, 0]


def test_what_else_is_said_is_scored_beside_a_turn():
    said = parse_prompt("a red circle turns into a blue square. a green bar is left of the red circle")
    assert said is not None and said.count == 2
    before, after = facts_lib.ends(said)
    assert [(o.color, o.shape) for o in before.objects] == [("red", "circle"), ("green", "bar")]
    assert [(o.color, o.shape) for o in after.objects] == [("blue", "square"), ("green", "bar")]
    assert before.relations == ((1, "left of", 0),) and after.relations == () and not before.events


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("a red circle turns into a blue square which becomes a green bar", "red circle", "green bar"),
        (
            "a red circle turns into a blue square. the blue square becomes the red circle",
            "red circle",
            "red circle",
        ),
    ],
)
def test_what_turns_twice_is_one_thing(clips, text, first, last):
    said = parse_prompt(text)
    assert said is not None and said.count == 1 and len(said.events) == 2
    for facts, look in zip(facts_lib.ends(said), (first, last), strict=True):
        assert [f"{one.color} {one.shape}" for one in facts.objects] == [look]
    table = text_alignment.score_prompts([clips[0][1].video], [said], fps=8.0)
    assert table["event"].tolist() in ([0], [1]) and table["count"].tolist() == [1]


def test_a_clip_too_short_for_it_shows_something_else():
    world = WorldSource(seed=37, length=6, families={"turns": 1.0}, frames={9: 1.0}, sizes={(64, 64): 1.0})
    families = {world[number].state.family for number in range(6)}
    assert families <= {"uniform", "turns"} and "uniform" in families
