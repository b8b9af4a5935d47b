"""Clips of things that leave the frame and come back: exact motion, an absence, captions that say so."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax.worlds import facts as facts_lib
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.source import TEXT_BOUND, WorldSource

CLIPS, SIDES = 40, {(64, 64): 0.5, (64, 96): 0.5}


def source(frames: int) -> WorldSource:
    return WorldSource(seed=37, length=CLIPS, families={"returns": 1.0}, frames={frames: 1.0}, sizes=SIDES)


@pytest.fixture(scope="module")
def clips():
    world = source(33)
    return [(world.scene(number), world[number]) for number in range(CLIPS)]


def movers(scene, clip):
    """The objects that the clip says leave."""
    return [k for _, verb, k, _ in clip.state.events if verb.startswith("leaves")]


def test_one_object_is_gone_for_a_while_and_in_view_at_both_ends(clips):
    kinds = set()
    for scene, clip in clips:
        (k,) = movers(scene, clip)
        seen = clip.state.visible[:, k]
        assert seen[:2].min() > 0.99 and seen[-2:].min() > 0.99
        gone = np.flatnonzero(seen < 0.002)  # a soft edge reaches a little beyond its shape
        assert len(gone) >= 2 and (np.diff(gone) == 1).all()
        kinds.add(scene.margin > 0)
        others = np.delete(clip.state.velocity, k, axis=1)
        assert np.abs(others).max(initial=0.0) == 0 and not clip.state.contact.any()
    assert kinds == {True, False}


def test_it_leaves_on_the_side_that_is_said_and_comes_back_by_the_law(clips):
    for scene, clip in clips:
        (k,) = movers(scene, clip)
        (seconds, verb) = next((t, v) for t, v, *_ in clip.state.events if v.startswith("leaves"))
        first = round(seconds * clip.fps)
        half = np.array(scene_lib.extent(scene.height, scene.width))
        place, reach = clip.state.position[first, k], scene_lib.reach(scene.bodies[k])
        axis = int("left" not in verb and "right" not in verb)
        sign = 1 if "right" in verb or "top" in verb else -1
        assert sign * place[axis] > half[axis] + reach
        velocity = clip.state.velocity[:, k]
        if scene.margin:  # an elastic wall turns the speed across it round, once
            hits = clip.state.wall_contact[:, k].sum()
            assert hits == 1 or (hits == 2 and scene.bodies[k].shape != "circle")  # two corners in turn
            assert np.sign(velocity[0, axis]) == sign and np.sign(velocity[-1, axis]) == -sign
            if scene.bodies[k].shape == "circle":
                np.testing.assert_allclose(velocity[-1, axis], -velocity[0, axis], rtol=1e-4)
        else:
            t = np.arange(scene.frames) / clip.fps
            np.testing.assert_allclose(velocity[:, 1], velocity[0, 1] + scene.gravity[1] * t, atol=1e-4)


def test_captions_say_so_and_read_back(clips):
    said = 0
    for _, clip in clips:
        truth = facts_lib.facts(clip.state)
        for caption in clip.captions.values():
            stated = parse_prompt(caption)
            assert stated is not None and facts_lib.agrees(stated, truth), caption
            assert len(caption) < TEXT_BOUND
            said += any(verb.startswith("leaves") for verb, *_ in stated.events)
    assert said > 1.8 * CLIPS


def test_a_caption_of_the_other_side_is_false(clips):
    other = {"at the top": "at the bottom", "at the bottom": "at the top"}
    other |= {"on the left": "on the right", "on the right": "on the left"}
    for _, clip in clips:
        caption = clip.captions["short"]
        (side,) = [side for side in other if side in caption]
        stated = parse_prompt(caption.replace(side, other[side]))
        assert stated is not None and not facts_lib.agrees(stated, facts_lib.facts(clip.state)), caption


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("a red ball leaves the frame on the left and returns", "leaves on the left and comes back"),
        ("two blue squares leaving at the bottom, and coming back", "leaves at the bottom and comes back"),
    ],
)
def test_simple_prompts_are_read(text, verb):
    facts = parse_prompt(text)
    assert facts is not None and {v for v, *_ in facts.events} == {verb}
    assert all(one.direction is None for one in facts.objects)


def test_a_clip_too_short_for_it_shows_something_else():
    world = source(9)
    shown = [world[number].state.family for number in range(6)]
    assert "uniform" in shown and set(shown) <= {"uniform", "returns"}
