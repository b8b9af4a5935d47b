"""Clips of several shots: one cast, cuts where a latent begins, captions that are true of their shots."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax import text_bytes
from sora_jax.worlds import facts as facts_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.source import TEXT_BOUND, WorldSource

CLIPS = 40


@pytest.fixture(scope="module", params=(17, 33))
def clips(request):
    source = WorldSource(
        seed=31,
        length=CLIPS,
        families={"cuts": 1.0},
        frames={request.param: 1.0},
        sizes={(64, 64): 0.5, (64, 96): 0.5},
    )
    found = [source[number] for number in range(CLIPS)]
    return [clip for clip in found if clip.state.shot is not None]


def test_nearly_every_clip_has_cuts_and_they_begin_a_latent(clips):
    assert len(clips) > 0.9 * CLIPS
    counts = set()
    for clip in clips:
        cuts = np.flatnonzero(np.diff(clip.state.shot)) + 1
        assert len(clips[0].video) == len(clip.state.shot)
        assert ((cuts - 1) % 4 == 0).all() and (np.diff([1, *cuts, len(clip.video)]) >= 4).all()
        counts.add(len(cuts) + 1)
    assert counts == ({2, 3} if len(clips[0].video) == 33 else {2})


def test_the_cast_stays_and_is_elsewhere_after_a_cut(clips):
    for clip in clips:
        position, speed = clip.state.position, clip.state.velocity
        for cut in np.flatnonzero(np.diff(clip.state.shot)) + 1:
            expected = position[cut - 1] + speed[cut - 1] / clip.fps
            assert np.hypot(*(position[cut] - expected).T).min() > 1.9
        seconds = 1 / clip.fps
        inside = np.diff(clip.state.shot) == 0
        moved = np.diff(position, axis=0)[inside]
        np.testing.assert_allclose(moved, speed[1:][inside] * seconds, atol=1e-4)


def test_every_shots_caption_is_true_of_it_and_starts_with_it(clips):
    for clip in clips:
        shots = state_lib.shots(clip.state)
        for text in clip.captions.values():
            timed = text_bytes.split_times(text)
            assert len(timed) == len(shots)
            assert len(text_bytes.encode_timed(text).tokens) < TEXT_BOUND
            for (start, caption), (first, shot) in zip(timed, shots, strict=True):
                assert abs(start - first / clip.fps) < 1e-3
                stated = parse_prompt(caption)
                assert stated is not None, caption
                assert facts_lib.agrees(stated, facts_lib.facts(shot)), caption


def test_a_clip_too_short_for_two_shots_has_one():
    source = WorldSource(seed=2, length=6, families={"cuts": 1.0}, frames={9: 1.0}, sizes={(64, 64): 1.0})
    for number in range(6):
        clip = source[number]
        assert clip.state.shot is None and "[" not in clip.captions["short"]
