"""LikePhys: the error from any loss, the same noise within a pair, ties, and our own model as a loss."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import build
from sora_jax.evaluation.published import likephys
from sora_jax.evaluation.published.likephys import VelocityLoss
from sora_jax.types import Clip
from sora_jax.worlds.source import WorldSource

RATIO, PATCH = (4, 8, 8), (1, 2, 2)


def clip(value: int, *, frames: int = 5, caption: str = "a red circle") -> Clip:
    video = np.full((frames, 16, 32, 3), value, np.uint8)
    return Clip(video=video, fps=8.0, captions={"short": caption}, id=str(value))


def test_the_error_is_the_share_of_pairs_that_prefer_the_invalid_clip():
    valid, invalid = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 3.0, 9.0])
    assert likephys.preference_error_corrected(valid, invalid) == (0 + 1 + 0.5 + 0) / 4
    # All 16 pairs, strictly: the row of 1 has none, of 2 one, of 3 two, of 4 three.
    assert likephys.preference_error_as_released(valid, invalid) == 6 / 16


def test_a_loss_that_does_not_look_is_perfect_as_released_and_at_chance_corrected():
    pairs = [(clip(k), clip(k + 100)) for k in range(6)]
    valid, invalid = likephys.paired_losses(lambda clip, t, noise: t * noise, pairs)
    assert (valid == invalid).all() and valid.std() > 0
    valid, invalid = valid.mean(axis=1), invalid.mean(axis=1)
    assert likephys.preference_error_corrected(valid, invalid) == 0.5
    one = [likephys.preference_error_as_released(valid[k : k + 1], invalid[k : k + 1]) for k in range(6)]
    assert np.mean(one) == 0


def test_both_clips_of_a_pair_are_met_with_the_same_noise_and_no_two_pairs_are():
    met: list[tuple[int, float, int]] = []

    def loss(clip: Clip, t: float, noise: int) -> float:
        met.append((int(clip.video[0, 0, 0, 0]), t, noise))
        return float(clip.video.mean())

    pairs = [(clip(1), clip(101)), (clip(2), clip(102))]
    valid, invalid = likephys.paired_losses(loss, pairs, levels=(0.2, 0.7), draws=3)
    assert valid.shape == (2, 2) and (valid.T == [1, 2]).all() and (invalid.T == [101, 102]).all()
    by_clip = {k: [(t, n) for c, t, n in met if c == k] for k in (1, 2, 101, 102)}
    assert by_clip[1] == by_clip[101] and by_clip[2] == by_clip[102]
    assert len({n for _, _, n in met}) == 2 * 2 * 3
    again: list = list(met)
    met.clear()
    likephys.paired_losses(loss, pairs, levels=(0.2, 0.7), draws=3)
    assert met == again
    met.clear()
    likephys.paired_losses(loss, pairs, levels=(0.2, 0.7), draws=3, seed=1)
    assert met != again


def test_a_pair_that_differs_in_more_than_its_physics_is_refused():
    for other, name in (
        (clip(2, frames=9), "size"),
        (clip(2, caption="a blue circle"), "caption"),
        (dataclasses.replace(clip(2), fps=16.0), "rate"),
    ):
        with pytest.raises(ValueError, match=f"pair 0: {name}"):
            likephys.paired_losses(lambda *_: 0.0, [(clip(1), other)])
    with pytest.raises(ValueError, match="pair 0 is not finite"):
        likephys.paired_losses(lambda *_: np.nan, [(clip(1), clip(2))])


def encode(video) -> jax.Array:
    """One latent channel: the mean of each block of pixels, in [-1, 1]; frames 0, 4, 8, ..."""
    shown = jnp.asarray(video, jnp.float32)[:, ::4].mean(axis=-1) / 127.5 - 1
    b, f, h, w = shown.shape
    return shown.reshape(b, f, h // 8, 8, w // 8, 8).mean(axis=(3, 5))[..., None]


def knows_grey(params, xt, t, batch, *, grey: float):
    """The velocity of a model that is certain that the clip is `grey` all over: (xt - x0) / t."""
    del params, batch
    return (xt - grey) / t[..., None]


def velocity_loss(apply) -> VelocityLoss:
    return VelocityLoss(
        apply=apply,
        encode_text=lambda params, batch: batch,
        params={},
        encode=encode,
        ratio=RATIO,
        patch=PATCH,
    )


def test_the_velocity_loss_of_a_model_that_knows_the_clip_is_zero_and_of_another_clip_is_closed_form():
    value = 153
    grey = value / 127.5 - 1
    loss = velocity_loss(functools.partial(knows_grey, grey=grey))
    assert loss(clip(value), 0.3, 7) == pytest.approx(0, abs=1e-9)
    # (xt - grey) / t - (noise - x0) = (x0 - grey) / t.
    apart = (0 - value) / 127.5
    assert loss(clip(0), 0.5, 7) == pytest.approx((apart / 0.5) ** 2, rel=1e-5)
    pairs = [(clip(value), clip(value - 20 - k)) for k in range(3)]
    valid, invalid = likephys.paired_losses(loss, pairs, levels=(0.25, 0.75))
    assert likephys.preference_error_corrected(valid.mean(axis=1), invalid.mean(axis=1)) == 0
    assert likephys.preference_error_corrected(invalid.mean(axis=1), valid.mean(axis=1)) == 1


def test_the_velocity_loss_is_a_function_of_the_seed_and_hides_the_clean_tokens():
    seen = []

    def apply(params, xt, t, batch):
        seen.append(batch.tokens is xt)  # while it is traced
        return jnp.zeros_like(xt)

    loss = velocity_loss(apply)
    first, again, other = loss(clip(10), 0.5, 1), loss(clip(10), 0.5, 1), loss(clip(10), 0.5, 2)
    assert first == again != other and seen == [True]


def test_the_noise_of_the_velocity_loss_is_standard_normal():
    loss = velocity_loss(lambda params, xt, t, batch: jnp.zeros_like(xt))
    x0 = 10 / 127.5 - 1
    # The mean of (noise - x0)^2 over 16 numbers and 100 seeds, whose variance is (2 + 4 x0^2) / 1600.
    many = np.mean([loss(clip(10), 0.5, k) for k in range(100)])
    assert many == pytest.approx(1 + x0**2, abs=4 * ((2 + 4 * x0**2) / 1600) ** 0.5)


def vanished(clip: Clip) -> Clip:
    """The clip whose objects are gone from its middle third on, and back in its last."""
    video, frames = clip.video.copy(), len(clip.video)
    video[frames // 3 : 2 * frames // 3] = video[0, 0, 0]
    return dataclasses.replace(clip, video=video)


@pytest.mark.slow
def test_the_shipped_model_prefers_clips_whose_objects_do_not_vanish():
    generator, _ = build.load_generator("gpu-128px")
    loss = VelocityLoss(
        apply=generator.apply,
        encode_text=generator.encode_text,
        params=generator.params,
        encode=build.load_autoencoder("gpu-128px").encode,
        ratio=generator.ratio,
        patch=generator.patch,
    )
    source = WorldSource(
        seed=77, length=24, families={"uniform": 1.0}, frames={17: 1.0}, sizes={(64, 64): 1.0}
    )
    pairs = [(c, vanished(c)) for c in (source[k] for k in range(len(source)))]
    valid, invalid = likephys.paired_losses(loss, pairs, levels=(0.3, 0.5, 0.7, 0.9))
    error = likephys.preference_error_corrected(valid.mean(axis=1), invalid.mean(axis=1))
    assert error < 0.25  # chance 0.5; its standard error over 24 pairs is 0.1
