"""The T5 encoder: an embedding depends on its own caption alone."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import text_bytes
from sora_jax.models.text import TextEncoder, buckets_of, relative_bias

ENCODER = TextEncoder(width=12, depth=2, heads=2, head_dim=5, hidden=14)
LENGTH = 40


@functools.cache
def encoded(*captions: str) -> list[np.ndarray]:
    """The embeddings of captions that share one row of `LENGTH` tokens."""
    tokens, segment = np.zeros((1, LENGTH), np.int32), np.zeros((1, LENGTH), np.int32)
    start = 0
    for number, caption in enumerate(captions, 1):
        data = text_bytes.encode(caption)
        tokens[0, start : start + len(data)] = data
        segment[0, start : start + len(data)] = number
        start += len(data)
    out = np.asarray(apply(tokens, segment))[0]
    return [out[segment[0] == number + 1] for number in range(len(captions))]


@functools.cache
def variables():
    one = jnp.ones((1, 1), jnp.int32)
    return jax.jit(ENCODER.init)(jax.random.key(0), one, one)


@functools.cache
def compiled():
    return jax.jit(ENCODER.apply)


def apply(tokens, segment):
    return compiled()(variables(), jnp.asarray(tokens), jnp.asarray(segment))


def test_padding_and_neighbours_change_nothing():
    """At three lengths of padding and with any neighbours, the embeddings are the same to rounding."""
    caption = "two red squares"
    alone = encoded(caption)[0]
    exact = apply(text_bytes.encode(caption)[None], np.ones((1, 16), np.int32))
    longer = np.zeros((2, 1, 23), np.int32)
    longer[:, 0, :16] = text_bytes.encode(caption), np.ones(16)
    np.testing.assert_allclose(alone, exact[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone, apply(*longer)[0, :16], rtol=1e-4, atol=1e-5)
    for row in ((caption, "a bar"), ("a", caption), ("", caption, "left")):
        np.testing.assert_allclose(encoded(*row)[row.index(caption)], alone, rtol=1e-4, atol=1e-5)


def test_a_dropped_caption_is_the_empty_one():
    """Only the end token left of a segment, wherever it stands in the row: the unconditional embedding."""
    caption = text_bytes.encode("a red bar")
    tokens, segment = np.zeros((1, LENGTH), np.int32), np.zeros((1, LENGTH), np.int32)
    tokens[0, : len(caption)] = caption
    segment[0, len(caption) - 1] = 1
    dropped = np.asarray(apply(tokens, segment))[0, len(caption) - 1]
    np.testing.assert_allclose(dropped, encoded("")[0][0], rtol=1e-4, atol=1e-5)


def test_bias_is_the_table_at_the_bucket():
    """The row-cutting against a gather; buckets: sign, exact below 8, logarithmic, the last beyond 128."""
    table = jnp.arange(32.0 * 3).reshape(32, 3)
    i = np.arange(7)
    bucket = buckets_of(i[None, :] - i[:, None], buckets=32, max_distance=128)
    np.testing.assert_array_equal(
        relative_bias(table, 7, max_distance=128), np.moveaxis(np.asarray(table)[bucket], -1, 0)
    )
    got = buckets_of(np.array([0, -3, 3, -8, 15, 500, -500]), buckets=32, max_distance=128)
    np.testing.assert_array_equal(got, [0, 3, 19, 8, 25, 31, 15])


def test_a_token_outside_the_vocabulary_is_loud():
    assert np.isnan(apply(np.full((1, LENGTH), 384, np.int32), np.ones((1, LENGTH), np.int32))).all()
