"""What holds of every family of the benchmark."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sora_jax import command
from sora_jax.worlds.bench.source import BENCH_FAMILIES, BenchSource
from sora_jax.worlds.families import FAMILIES
from sora_jax.worlds.source import TEXT_BOUND
from sora_jax.worlds.state import render_state

SIZE = {"height": 32, "width": 48}

DIGEST = """
import hashlib
from sora_jax.worlds.bench.source import BENCH_FAMILIES, BenchSource
d = hashlib.sha256()
for name in BENCH_FAMILIES:
    c = BenchSource(name, seed=4, length=3, height=32, width=48)[2]
    d.update(c.video.tobytes() + repr((sorted(c.captions.items()), c.id)).encode())
print(d.hexdigest())
"""


def test_the_same_clip_in_every_process():
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "7"}
    far = subprocess.run(
        [sys.executable, "-c", DIGEST], env=env, cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()
    digest = hashlib.sha256()
    for name in BENCH_FAMILIES:
        clip = BenchSource(name, seed=4, length=9, **SIZE)[2]  # a longer set begins with the same cases
        digest.update(clip.video.tobytes() + repr((sorted(clip.captions.items()), clip.id)).encode())
    assert digest.hexdigest() == far


@pytest.mark.parametrize("family", BENCH_FAMILIES)
def test_a_clip_is_drawn_again_from_its_state_to_the_byte(family):
    source = BenchSource(family, seed=3, length=2, **SIZE)
    for index in range(len(source)):
        clip = source[index]
        assert np.array_equal(render_state(clip.state, **SIZE), clip.video)
        assert clip.video.shape == (*source.sizes[index].item()[:3], 3)


@pytest.mark.parametrize("family", BENCH_FAMILIES)
def test_state_and_captions_are_whole(family):
    source, seen = BenchSource(family, seed=8, length=25), set()
    for number in range(25):
        variants = source.case(number)
        assert len(variants) == source.variants and len({v.name for v in variants}) == len(variants)
        for variant in variants:
            state, (frames, objects) = variant.state, variant.state.alive.shape
            assert state.family == family and len(state.bodies) == objects
            assert state.position.shape == state.velocity.shape == (frames, objects, 2)
            assert np.isfinite(state.position).all() and np.isfinite(state.velocity).all()
            for name in ("occluder", "parent"):
                assert len(getattr(state, name)) in (0, objects)
            assert all(0 <= mark.body < objects for mark in state.marks)
            times = [event[0] for event in state.events]
            assert times == sorted(times) and all(0 <= t <= frames / 12 for t in times)
            for caption in (*variant.captions.values(), variant.counter or "-"):
                assert caption.isascii() and 0 < len(caption) < TEXT_BOUND, caption
            assert variant.counter not in variant.captions.values()
            assert set(variant.captions) == {"short", "descriptive"}
            seen.add(variant.captions["short"])
    assert len(seen) >= 20


def test_velocity_is_the_derivative_of_position_where_nothing_happens():
    for family in BENCH_FAMILIES:
        for variant in BenchSource(family, seed=12, length=1).case(0):
            state = variant.state
            mean = (state.velocity[1:] + state.velocity[:-1]) / 2
            error = np.abs(np.diff(state.position, axis=0) * 12 - mean).max(-1)
            assert np.median(error) < 0.05, family


def test_no_family_of_the_benchmark_is_in_the_training_mix():
    assert not set(BENCH_FAMILIES) & set(FAMILIES)


def test_the_gpu_tier_alone_trains_on_two_families_of_the_benchmark_with_a_seed_of_its_own():
    """What the benchmark's page has to say, beside the scores of a model of that tier."""
    for variant, families in (("cpu", set()), ("gpu", {"occlusion", "billiards"})):
        train = command.load_config(f"configs/latents.py:{variant}").train
        parts = list(train.joined.values()) if train.kind == "joined" else [train]
        found = [part.bench for part in parts if part.kind == "bench"]
        assert {name for table in found for name in table.families} == families
        assert all(table.heldout == "exclude" and table.seed == 13 for table in found)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="occulsion"):
        BenchSource("occulsion", seed=1, length=2)
    with pytest.raises(ValueError, match="frames 3"):
        BenchSource("occlusion", seed=1, length=2, frames=3)
    with pytest.raises(IndexError, match="case 2 of a set of 2"):
        BenchSource("occlusion", seed=1, length=2)[2]
