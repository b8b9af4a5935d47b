"""Attention within segments against a loop, and its own gradient against autodiff of the definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.nn.attention import attend

B, N, M, K, D = 2, 7, 5, 3, 4
QUERY_SEGMENT = np.array([[1, 1, 2, 3, 2, 0, 1], [0, 0, 1, 1, 1, 1, 1]])
KEY_SEGMENT = np.array([[1, 2, 2, 0, 1], [1, 1, 0, 0, 2]])  # row 0 has no key of segment 3


def inputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    shapes = ((B, N, K, D), (B, M, K, D), (B, M, K, D), (K, N, M))
    return [jnp.asarray(3 * rng.normal(size=s), jnp.float32) for s in shapes]


def definition(query, key, value, bias):
    """Softmax over each query's own keys, query by query."""
    out = jnp.zeros(query.shape)
    for b in range(B):
        for n in range(N):
            keys = np.flatnonzero(KEY_SEGMENT[b] == QUERY_SEGMENT[b, n])
            if QUERY_SEGMENT[b, n] == 0 or len(keys) == 0:
                continue
            logits = jnp.einsum("kd,mkd->km", query[b, n], key[b, keys]) * 0.7 + bias[:, n, keys]
            out = out.at[b, n].set(jnp.einsum("km,mkd->kd", jax.nn.softmax(logits, -1), value[b, keys]))
    return out


def attention(query, key, value, bias):
    return attend(
        query,
        key,
        value,
        bias=bias,
        query_segment=jnp.asarray(QUERY_SEGMENT),
        key_segment=jnp.asarray(KEY_SEGMENT),
        scale=0.7,
    )


@pytest.fixture(scope="module")
def both():
    """(output, gradients) of the implementation and of the definition, for one random cotangent."""
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(B, N, K, D)), jnp.float32)

    def run(function):
        @jax.jit
        def value_and_gradients(*arguments):
            out, pull = jax.vjp(function, *arguments)
            return out, pull(cotangent)

        return value_and_gradients(*inputs())

    return run(attention), run(definition)


def test_equals_the_definition(both):
    """Output and all four gradients; float32 sums of at most 7 terms."""
    (out, grads), (want, want_grads) = both
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)
    for name, a, b in zip(("query", "key", "value", "bias"), grads, want_grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5, err_msg=name)


def test_without_a_key_exactly_zero(both):
    """Padding queries, and one whose segment has no key: 0, not NaN, and no gradient, nor to padding keys."""
    (out, (query, key, value, _)), _ = both
    idle = (QUERY_SEGMENT == 0) | ((QUERY_SEGMENT == 3) & (np.arange(B)[:, None] == 0))
    assert np.all(np.asarray(out)[idle] == 0) and np.all(np.asarray(query)[idle] == 0)
    unseen = (KEY_SEGMENT == 0) | ((KEY_SEGMENT == 2) & (np.arange(B)[:, None] == 1))
    assert np.all(np.asarray(key)[unseen] == 0) and np.all(np.asarray(value)[unseen] == 0)


def test_large_logits_do_not_overflow():
    query, key, value, bias = inputs()
    assert np.all(np.isfinite(attention(100 * query, 100 * key, value, bias)))


def test_unknown_implementation():
    with pytest.raises(ValueError, match="'flash'"):
        query, key, value, _ = inputs()
        attend(
            query,
            key,
            value,
            query_segment=jnp.asarray(QUERY_SEGMENT),
            key_segment=jnp.asarray(KEY_SEGMENT),
            scale=1.0,
            implementation="flash",  # type: ignore[arg-type]
        )
