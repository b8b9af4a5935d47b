"""Guidance: the formula, where it applies, and how many evaluations it makes."""

import gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion import guidance


def words(batch):
    """How many caption tokens, the end included, each token's segment has."""
    same = (batch.segment[:, :, None] == batch.text_segment[:, None, :]) & (batch.segment[:, :, None] > 0)
    return jnp.sum(same, axis=-1).astype(jnp.float32)


def told(xt, t, batch):
    """A velocity that depends on the caption's length, and so differs without the caption."""
    return xt * t[..., None] + words(batch)[..., None]


@pytest.fixture(scope="module")
def batch():
    rows = [gaussian.segment(1, grid=(2, 1, 2), text=5), gaussian.segment(2, grid=(1, 1, 2), text=3)]
    batch = gaussian.pack(rows, tokens=8)
    return batch._replace(known=jnp.asarray([[True, True, *[False] * 6]]))


LEVEL = jnp.asarray([[0.0, 0.0, 0.5, 0.5, 0.9, 0.9, 0.0, 0.0]])


def evaluations(batch, level, **options):
    """The guided velocity, and how often the plain one ran (not: was traced)."""
    calls = []

    def counted(xt, t, seen):
        jax.debug.callback(lambda: calls.append(1))
        return told(xt, t, seen)

    velocity = jax.jit(guidance.guided(counted, **options))(batch.tokens, level, batch)
    jax.effects_barrier()
    return velocity, len(calls)


def test_the_two_opinions_are_extrapolated(batch):
    velocity, calls = evaluations(batch, LEVEL, guidance_scale=3.0)
    length = np.asarray([[5, 5, 5, 5, 3, 3, 0, 0]])
    weight = np.asarray([[1, 1, 3, 3, 3, 3, 1, 1]])  # known tokens and padding are left alone
    want = (
        batch.tokens * LEVEL[..., None] + (np.minimum(length, 1) * (1 - weight) + weight * length)[..., None]
    )
    np.testing.assert_allclose(velocity, want, rtol=1e-6)
    assert calls == 2


def test_a_guidance_scale_of_one_is_off_and_makes_one_evaluation(batch):
    assert guidance.guided(told, guidance_scale=1) is told
    velocity, calls = evaluations(batch, LEVEL, guidance_scale=1.0)
    np.testing.assert_array_equal(velocity, told(batch.tokens, LEVEL, batch))
    assert calls == 1


def test_a_guidance_scale_of_zero_is_unconditional(batch):
    velocity, _ = evaluations(batch, LEVEL, guidance_scale=0.0)
    free = np.s_[:, 2:6]
    np.testing.assert_allclose(velocity[free], (batch.tokens * LEVEL[..., None] + 1)[free], rtol=1e-6)


@pytest.mark.parametrize(
    ("interval", "inside", "calls"),
    [
        ((0.6, 1.0), [4, 5], 2),
        ((0.5, 0.9), [2, 3, 4, 5], 2),
        ((0.0, 0.5), [2, 3], 2),
        ((0.6, 0.8), [], 1),
        ((0.0, 0.4), [], 1),  # known tokens and padding, at level 0, do not count
    ],
)
def test_outside_the_interval_tokens_are_unguided_and_unevaluated(batch, interval, inside, calls):
    velocity, counted = evaluations(batch, LEVEL, guidance_scale=3.0, interval=interval)
    whole, _ = evaluations(batch, LEVEL, guidance_scale=3.0)
    plain = told(batch.tokens, LEVEL, batch)
    guided = np.isin(np.arange(8), inside)[None, :, None]
    np.testing.assert_allclose(velocity, np.where(guided, whole, plain), rtol=1e-6)
    assert counted == calls


@pytest.mark.parametrize("interval", [(0.5, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_an_interval_that_is_none_is_an_error(interval):
    with pytest.raises(ValueError, match="guidance interval"):
        guidance.guided(told, guidance_scale=2, interval=interval)


def led(xt, t, batch):
    """A velocity that depends on how much of the clip is seen to be clean."""
    same = (batch.segment[:, :, None] == batch.segment[:, None, :]) & (batch.segment[:, :, None] > 0)
    return xt * t[..., None] + jnp.sum(same * (1 - t)[:, None, :], axis=-1)[..., None]


def test_the_context_is_extrapolated_from_its_absence(batch):
    """At free tokens of the clip with two known ones alone: 2 + 1 clean in sight, 1 without those two."""
    calls = []

    def counted(xt, t, seen):
        jax.debug.callback(lambda: calls.append(1))
        return led(xt, t, seen)

    noise = jnp.full_like(batch.tokens, 7.0)
    options = {"guidance_scale": 1.0, "context_scale": 3.0, "noise": noise}
    velocity = jax.jit(guidance.guided(counted, **options))(batch.tokens, LEVEL, batch)
    plain = led(batch.tokens, LEVEL, batch)
    np.testing.assert_allclose(plain[0, 2], batch.tokens[0, 2] * 0.5 + 3, rtol=1e-6)
    want = np.array(plain)
    want[0, 2:4] += (3 - 1) * (3 - 1)
    np.testing.assert_allclose(velocity, want, rtol=1e-6)
    jax.effects_barrier()
    assert len(calls) == 2
    unknown = batch._replace(known=jnp.zeros_like(batch.known))
    same = jax.jit(guidance.guided(counted, **options))(batch.tokens, LEVEL, unknown)
    np.testing.assert_allclose(same, led(batch.tokens, LEVEL, unknown), rtol=1e-6)
    jax.effects_barrier()
    assert len(calls) == 3  # nothing is known: the blind side is not asked
    above = jax.jit(guidance.guided(counted, **options, interval=(0.6, 1.0)))
    np.testing.assert_allclose(above(batch.tokens, LEVEL, batch)[0, 2:4], plain[0, 2:4], rtol=1e-6)
    jax.effects_barrier()
    assert len(calls) == 5  # tokens 4 and 5 are asked about
    calls.clear()
    low = above(batch.tokens, LEVEL / 2, batch)
    np.testing.assert_allclose(low, led(batch.tokens, LEVEL / 2, batch), rtol=1e-6)
    jax.effects_barrier()
    assert len(calls) == 1
    # From a level on, and each token for itself: the third is under its own, the fourth is not.
    least = jnp.full_like(LEVEL, 0.4).at[:, 2].set(0.6)
    some = jax.jit(guidance.guided(counted, **options, context_level=least))(batch.tokens, LEVEL, batch)
    np.testing.assert_allclose(some[0, 2], plain[0, 2], rtol=1e-6)
    np.testing.assert_allclose(some[0, 3], want[0, 3], rtol=1e-6)


def test_parts_are_told_apart_where_noise_is_high(batch):
    """Of the row's first clip, tokens 2 and 3 are a part with one word: there the velocity moves `scale`
    times its difference from the whole clip's, if its level is high enough, and nowhere else."""
    level = jnp.asarray([[0.0, 0.0, 0.5, 0.9, 0.9, 0.9, 0.0, 0.0]])
    scale = jnp.asarray([[1.5, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0, 0.0]])
    text_segment = jnp.where(batch.text_segment == 2, 3, batch.text_segment).at[0, 0].set(2)
    parts = batch._replace(segment=jnp.asarray([[1, 1, 2, 2, 3, 3, 0, 0]]), text_segment=text_segment)
    assert words(parts)[0].tolist() == [4, 4, 1, 1, 3, 3, 0, 0]
    calls = []

    def counted(xt, t, seen):
        jax.debug.callback(lambda: calls.append(1))
        return told(xt, t, seen)

    velocity_fn = jax.jit(guidance.by_parts(told, counted, parts=parts, scale=scale, lowest=0.8))
    moved = np.asarray([[0, 0, 0, 1.5 * (1 - 5), 0, 0, 0, 0]])[..., None]
    found = velocity_fn(batch.tokens, level, batch)
    np.testing.assert_allclose(found, told(batch.tokens, level, batch) + moved, rtol=1e-6)
    low = velocity_fn(batch.tokens, 0.5 * level, batch)
    np.testing.assert_array_equal(low, told(batch.tokens, 0.5 * level, batch))
    jax.effects_barrier()
    assert len(calls) == 1


def test_text_and_context_add_up(batch):
    def both(xt, t, seen):
        return led(xt, t, seen) + words(seen)[..., None]

    noise = jnp.zeros_like(batch.tokens)
    found = [
        guidance.guided(both, guidance_scale=text, context_scale=context, noise=noise)(
            batch.tokens, LEVEL, batch
        )
        for text, context in ((1, 1), (2, 1), (1, 3), (2, 3))
    ]
    plain, text, context, all_ = map(np.asarray, found)
    assert np.abs(text - plain).max() > 1 and np.abs(context - plain).max() > 1
    np.testing.assert_allclose(all_ - plain, (text - plain) + (context - plain), rtol=1e-6)
    with pytest.raises(ValueError, match="context_scale 2 needs the noise"):
        guidance.guided(both, guidance_scale=1, context_scale=2)
