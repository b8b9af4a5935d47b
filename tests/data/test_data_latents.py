"""The store of latents: what goes in comes out, a killed writer goes on, nothing wrong is kept."""

import numpy as np
import pytest

from sora_jax import types
from sora_jax.data import latents

META = {"fingerprint": "abc", "ratio": (4, 8, 8)}


def latent_clip(i: int) -> types.LatentClip:
    lf, lh, lw = 1 + i % 3, 2 + i % 4, 6 - i % 2
    values = np.random.default_rng(i).normal(size=(lf, lh, lw, 5)).astype(np.float32)
    captions = {"short": "ab" * (i + 1), "descriptive": "ü" * 3}
    return types.LatentClip(latents=values, fps=8.0 + i, captions=captions, id=f"c{i}", frames=4 * lf - 3)


class Encoder:
    """Counts what it was asked for; fails at a clip as a killed process would."""

    def __init__(self, fail_at: int = -1, leave_out: tuple[int, ...] = ()):
        self.asked, self.fail_at, self.leave_out = [], fail_at, leave_out

    def __call__(self, start, stop):
        self.asked.append((start, stop))
        for i in range(start, stop):
            if i == self.fail_at:
                raise KeyboardInterrupt
            if i not in self.leave_out:
                yield latent_clip(i)


def test_round_trip_to_float16(tmp_path):
    assert latents.write_latents(tmp_path, Encoder(), total=7, meta=META, shard_clips=3) == 7
    source = latents.LatentSource(tmp_path)
    assert len(source) == 7 and source.fingerprint == "abc" and source.ratio == (4, 8, 8)
    for i in (6, 0, 3, 2):
        found, truth = source[i], latent_clip(i)
        assert found.latents.dtype == np.float32
        np.testing.assert_array_equal(found.latents, truth.latents.astype(np.float16).astype(np.float32))
        assert (found.fps, found.id, found.frames) == (truth.fps, truth.id, truth.frames)
        assert dict(found.captions) == dict(truth.captions)


def test_sizes_are_in_pixels_and_of_the_longest_phrasing(tmp_path):
    latents.write_latents(tmp_path, Encoder(), total=4, meta=META, shard_clips=3)
    sizes = latents.LatentSource(tmp_path).sizes
    assert sizes.dtype == types.SIZE_DTYPE
    # text: "ab" (i + 1) times has 2 (i + 1) bytes, the umlauts 6; and the end token
    assert sizes.tolist() == [(1, 16, 48, 7), (5, 24, 40, 7), (9, 32, 48, 7), (1, 40, 40, 9)]


def test_a_killed_writer_goes_on_and_keeps_finished_shards(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        latents.write_latents(tmp_path, Encoder(fail_at=7), total=10, meta=META, shard_clips=3)
    with pytest.raises(FileNotFoundError, match="2 of 4 shards"):
        latents.LatentSource(tmp_path)
    encoder, done = Encoder(), []
    latents.write_latents(
        tmp_path,
        encoder,
        total=10,
        meta=META,
        shard_clips=3,
        progress=lambda clips, total: done.append((clips, total)),
    )
    assert encoder.asked == [(6, 9), (9, 10)]
    assert done == [(3, 10), (6, 10), (9, 10), (10, 10)]
    assert latents.LatentSource(tmp_path).ids.tolist() == [f"c{i}" for i in range(10)]


def test_another_autoencoder_is_refused(tmp_path):
    latents.write_latents(tmp_path, Encoder(), total=3, meta=META, shard_clips=3)
    with pytest.raises(ValueError, match="fingerprint 'abc', not 'abd'"):
        latents.write_latents(tmp_path, Encoder(), total=3, meta=META | {"fingerprint": "abd"}, shard_clips=3)
    with pytest.raises(ValueError, match="total 3, not 4"):
        latents.write_latents(tmp_path, Encoder(), total=4, meta=META, shard_clips=3)


def test_missing_clips_are_bounded_and_leave_no_hole(tmp_path):
    encoder = Encoder(leave_out=(1, 2))
    with pytest.raises(RuntimeError, match="shard 0 got 1 clips"):
        latents.write_latents(tmp_path, encoder, total=6, meta=META, shard_clips=3, max_missing_share=0.5)
    count = latents.write_latents(
        tmp_path, Encoder(leave_out=(1, 5)), total=6, meta=META, shard_clips=3, max_missing_share=0.5
    )
    source = latents.LatentSource(tmp_path)
    assert count == len(source) == 4
    assert [source[i].id for i in range(4)] == ["c0", "c2", "c3", "c4"] == source.ids.tolist()


def test_manifest_hash_names_sizes_ids_and_autoencoder(tmp_path):
    def hash_of(name, **meta):
        latents.write_latents(tmp_path / name, Encoder(), total=5, meta=META | meta, shard_clips=2)
        return latents.LatentSource(tmp_path / name).manifest_hash

    assert hash_of("a") == hash_of("b") != hash_of("c", fingerprint="abd")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_values_that_float16_cannot_hold_are_refused(value):
    clip = latent_clip(0)
    clip.latents[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="c0 are not finite or exceed"):
        latents.encode_record(clip)


def test_frames_must_belong_to_the_latents():
    with pytest.raises(ValueError, match="2 frames and 1 latent"):
        latents.latent_size(types.LatentClip(**{**vars(latent_clip(0)), "frames": 2}), ratio=(4, 8, 8))
