"""Dense layers, norms and features against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.nn.layers import Dense, FeedForward, RMSNorm, activate, fourier_features, geometric


def test_dense_over_any_leading_axes():
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    layer = Dense(7, use_bias=True)
    variables = layer.init(jax.random.key(0), x)
    params = {"kernel": variables["params"]["kernel"], "bias": jnp.arange(7.0)}
    want = np.einsum("bni,io->bno", x, np.asarray(params["kernel"])) + np.arange(7.0)
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, rtol=1e-5, atol=1e-5)
    low = Dense(7, dtype=jnp.bfloat16)
    assert low.apply({"params": {"kernel": params["kernel"]}}, x).dtype == jnp.bfloat16


def test_rms_norm():
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    gain = np.arange(5, dtype=np.float32)
    out = RMSNorm().apply({"params": {"gain": gain}}, x)
    np.testing.assert_allclose(out, x / np.sqrt(np.mean(x**2, -1, keepdims=True)) * gain, rtol=1e-5)


@pytest.mark.parametrize("gated", [True, False])
def test_feed_forward(gated):
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    layer = FeedForward(7, gated=gated, activation="relu")
    params = layer.init(jax.random.key(0), x)["params"]
    up = x @ params["up"]["kernel"]
    hidden = np.maximum(x @ params["gate"]["kernel"], 0) * up if gated else np.maximum(up, 0)
    want = hidden @ np.asarray(params["down"]["kernel"])
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, rtol=1e-4, atol=1e-5)


def test_features_and_spacing():
    np.testing.assert_allclose(geometric(0.5, 8.0, 3), (0.5, 2.0, 8.0))
    assert geometric(2.0, 8.0, 1) == (4.0,)
    x = jnp.asarray([[0.3, -1.0]])
    want = np.concatenate(
        [np.cos(np.asarray(x)[..., None] * [1, 3]), np.sin(np.asarray(x)[..., None] * [1, 3])], -1
    )
    np.testing.assert_allclose(fourier_features(x, (1.0, 3.0)), want, rtol=1e-5, atol=1e-6)
    for wrong in ((0.0, 1.0, 2), (2.0, 1.0, 2), (1.0, 2.0, 0)):
        with pytest.raises(ValueError, match="cannot space"):
            geometric(*wrong)
    with pytest.raises(ValueError, match="'tanh'"):
        activate(x, "tanh")  # type: ignore[arg-type]
