"""Captions are true of the state and say what the parser reads; facts are checked against raw state."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax.worlds.facts import Facts, ObjectFacts, agrees, facts
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.source import TEXT_BOUND, WorldSource

COUNT = 600
AXIS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, 1), "below": (0, -1)}
UNIT = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}


@pytest.fixture(scope="module")
def clips():
    source = WorldSource(seed=11, length=COUNT, sizes={(48, 64): 1, (64, 48): 1}, heldout="any")
    return [source[i] for i in range(COUNT)]


def compass(word: str) -> np.ndarray:
    vector = sum((np.array(UNIT[w]) for w in word.split() if w in UNIT), np.zeros(2))
    return vector / np.linalg.norm(vector)


def test_directions_and_speeds_are_those_of_the_displacement(clips):
    checked = 0
    for clip in clips:
        state, seconds = clip.state, (len(clip.video) - 1) / clip.fps
        for k, one in enumerate(facts(state).objects):
            moved = state.position[-1, k] - state.position[0, k]
            if one.direction == "still":
                assert np.abs(moved).max() < 0.05
            elif one.direction is not None:
                checked += 1
                distance = np.linalg.norm(moved)
                assert moved @ compass(one.direction) / distance >= np.cos(np.radians(12.1))
                low, high = {"slow": (1, 3), "medium": (3, 6), "fast": (6, 10)}[one.speed]
                assert low < distance / seconds < high
    assert checked > COUNT / 4


def test_relations_hold_in_every_frame_and_are_signed(clips):
    checked = 0
    for clip in clips:
        for i, word, j in facts(clip.state).relations:
            offset = clip.state.position[:, i] - clip.state.position[:, j]
            along, across = offset @ np.array(AXIS[word]), np.abs(offset @ np.array(AXIS[word][::-1]))
            bodies = clip.state.bodies
            assert (along > bodies[i].radius + bodies[j].radius).all() and (along > 1.4 * across).all()
            checked += 1
    assert checked > COUNT / 4


def test_events_are_contacts_or_throws(clips):
    for clip in clips:
        state = clip.state
        for verb, i, j in facts(state).events:
            if verb == "hits":
                assert state.contact[:, i, j].any()
            elif verb.startswith("bounces"):
                assert state.wall_contact[:, i].any()
                half_y = 5 * max(1, clip.video.shape[1] / clip.video.shape[2])
                if verb.endswith("floor"):
                    assert state.position[:, i, 1].min() < -half_y + 3.2 * state.bodies[i].radius
            elif verb == "falls":
                assert (state.velocity[0, i] == 0).all() and state.velocity[1, i, 1] < 0
            else:
                x, y = state.velocity[0, i]
                heading = np.array((x, y)) / np.hypot(x, y)
                assert heading @ compass(verb.removeprefix("is thrown ")) > np.cos(np.radians(22.6))
        touched = {frozenset(pair) for pair in np.argwhere(state.contact.any(0)).tolist()}
        told = {frozenset((i, j)) for verb, i, j in facts(state).events if verb == "hits"}
        assert touched == told


def test_every_caption_parses_to_facts_that_are_true(clips):
    for clip in clips:
        truth = facts(clip.state)
        for caption in clip.captions.values():
            stated = parse_prompt(caption)
            assert stated is not None and agrees(stated, truth), caption
            assert stated.count == len(clip.state.bodies)
            assert all(one.color and one.shape for one in stated.objects), caption


def test_descriptive_captions_state_all_that_has_a_word(clips):
    for clip in clips:
        truth, stated = facts(clip.state), parse_prompt(clip.captions["descriptive"])
        told = sorted((o.color, o.shape, o.size, o.direction or "") for o in stated.objects)
        assert told == sorted((o.color, o.shape, o.size, o.direction or "") for o in truth.objects)


def test_captions_vary_and_are_short_enough(clips):
    for clip in clips:
        assert all(len(c.encode()) < TEXT_BOUND for c in clip.captions.values())
        if len(clip.state.bodies) == 1:
            assert len(clip.captions["short"]) <= 64
        if len(clip.state.bodies) <= 2:
            assert len(clip.captions["descriptive"]) <= 200
    two = [len(c.captions["short"]) for c in clips if len(c.state.bodies) == 2]
    assert np.mean(np.array(two) <= 64) > 0.6
    groups = [c for c in clips if c.captions["short"].startswith("two ") and len(c.state.bodies) == 2]
    assert len(groups) > COUNT / 50


def one(**said) -> ObjectFacts:
    return ObjectFacts(**said)


RED = {"color": "red", "shape": "circle"}
BLUE = {"color": "blue", "shape": "square"}
PROMPTS = {
    "two blue squares moving left": Facts(objects=(one(**BLUE, direction="left"),) * 2, count=2),
    "A big red ball rolling to the right.": Facts(
        objects=(one(**RED, size="large", direction="right"),), count=1
    ),
    "a red circle to the left of a blue square": Facts(
        objects=(one(**RED), one(**BLUE)), relations=((0, "left of", 1),), count=2
    ),
    "a red circle on the right of the blue square": Facts(
        objects=(one(**RED), one(**BLUE)), relations=((0, "right of", 1),), count=2
    ),
    "a red circle above a blue square, both moving down and to the left": Facts(
        objects=(
            one(**RED, direction="down and to the left"),
            one(**BLUE, direction="down and to the left"),
        ),
        relations=((0, "above", 1),),
        count=2,
    ),
    "a red circle and a blue square moving up fast": Facts(
        objects=(one(**RED, direction="up", speed="fast"), one(**BLUE, direction="up", speed="fast")), count=2
    ),
    "a red circle hits a blue square": Facts(
        objects=(one(**RED), one(**BLUE)), events=(("hits", 0, 1),), count=2
    ),
    "a slow red circle bounces off the top wall": Facts(
        objects=(one(**RED, speed="slow"),), events=(("bounces off the ceiling", 0, -1),), count=1
    ),
    "a red circle is thrown up and to the right, a blue square falls": Facts(
        objects=(one(**RED), one(**BLUE)),
        events=(("is thrown up and to the right", 0, -1), ("falls", 1, -1)),
        count=2,
    ),
    "a red circle moving from left to right": Facts(objects=(one(**RED, direction="right"),), count=1),
    "blue squares": Facts(objects=(one(**BLUE),), count=None),
    "a grey bar at rest. The gray bar is below a red circle": Facts(
        objects=(one(color="gray", shape="bar", direction="still"), one(**RED)),
        relations=((0, "below", 1),),
        count=2,
    ),
    "a cat on a sofa": None,
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_a_person_types(prompt):
    assert parse_prompt(prompt) == PROMPTS[prompt]


def test_agreement_needs_the_sign_the_count_and_the_binding():
    truth = Facts(
        objects=(one(**RED, direction="left"), one(**BLUE, direction="still")),
        relations=((0, "left of", 1), (1, "right of", 0)),
        count=2,
    )
    for text, holds in {
        "a red circle left of a blue square": True,
        "a blue square to the right of a red circle": True,
        "a red circle right of a blue square": False,
        "a blue circle and a red square": False,
        "a red circle moving right and a blue square": False,
        "a red circle moving left": False,
        "a red circle, a blue square and a green bar": False,
    }.items():
        assert agrees(parse_prompt(text), truth) == holds, text
