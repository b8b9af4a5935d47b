"""Mirror images are images, order is order, and a cast stays itself across cuts."""

from __future__ import annotations

import collections

import numpy as np

from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.facts import agrees, facts
from sora_jax.worlds.parse import parse_prompt

SIZE = {"height": 48, "width": 48}


def test_the_mirrored_clip_is_the_mirror_image():
    source, words = BenchSource("mirrored", seed=31, length=30, **SIZE), collections.Counter()
    for number in range(30):
        first, second = source.case(number)
        a, b = (source.clip(v, id="x").video.astype(int) for v in (first, second))
        word = facts(first.state).relations[0][1]
        words[word] += 1
        flipped = b[:, :, ::-1] if word in ("left of", "right of") else b[:, ::-1]
        assert np.abs(a - flipped).max() <= 1  # rounding


def test_the_prompt_is_true_of_its_clip_and_false_of_the_mirrored_one():
    source, words = BenchSource("mirrored", seed=31, length=60), collections.Counter()
    for number in range(60):
        variants = source.case(number)
        for variant, other in (variants, variants[::-1]):
            truth = facts(variant.state)
            for text in variant.captions.values():
                assert agrees(parse_prompt(text), truth), text
                assert not agrees(parse_prompt(text), facts(other.state)), text
            assert variant.counter == other.captions["short"]
            # but for the relation the two prompts say the same
            assert parse_prompt(variant.counter).objects == parse_prompt(variant.captions["short"]).objects
        words[facts(variants[0].state).relations[0][1]] += 1
    assert set(words) == {"left of", "right of", "above", "below"} and min(words.values()) >= 7


def test_events_happen_in_the_order_told_and_the_counter_tells_the_other():
    source, orders = BenchSource("ordered", seed=37, length=30), collections.Counter()
    for number in range(30):
        (variant,) = source.case(number)
        state = variant.state
        hit = np.flatnonzero(state.contact[:, 0, 1])
        wall = np.flatnonzero(state.wall_contact[:, 0])
        assert len(hit) == len(wall) == 1 and abs(hit[0] - wall[0]) >= 4
        short, first = variant.captions["short"], "hits" if hit[0] < wall[0] else "bounces"
        assert short.index(first) < short.index({"hits": "bounces", "bounces": "hits"}[first])
        assert variant.counter.index(first) > variant.counter.index(
            {"hits": "bounces", "bounces": "hits"}[first]
        )
        stated = parse_prompt(short)
        assert stated.events[0][0].split()[0] == first and agrees(stated, facts(state))
        orders[first] += 1
        energy = [(np.array([b.mass for b in state.bodies]) * (v**2).sum(-1)).sum() for v in state.velocity]
        np.testing.assert_allclose(energy, energy[0], rtol=1e-5)  # float32
    assert min(orders.values()) >= 8


def test_at_a_cut_everything_is_elsewhere_and_otherwise_moves_on():
    source, counts = BenchSource("shots", seed=41, length=30), collections.Counter()
    for number in range(30):
        (variant,) = source.case(number)
        state = variant.state
        cuts = np.flatnonzero(np.diff(state.shot)) + 1
        counts[len(cuts) + 1] += 1
        assert len(cuts) + 1 == variant.measures["shots"] and (np.diff(state.shot) >= 0).all()
        jump = np.linalg.norm(np.diff(state.position, axis=0) - state.velocity[1:] / 12, axis=-1)
        at_cut = np.isin(np.arange(1, len(state.shot)), cuts)
        assert (jump[at_cut] > 1).all() and (jump[~at_cut] < 1e-5).all()
        assert np.diff([0, *cuts, len(state.shot)]).min() >= 12
        assert variant.captions["short"].count("; cut; ") == len(cuts)
        for body in state.bodies:
            assert variant.captions["short"].count(f"{body.color} {body.shape}") == len(cuts) + 1
            assert variant.captions["descriptive"].count(f"the {body.color} one") == len(cuts) + 1
    assert set(counts) == {2, 3}
