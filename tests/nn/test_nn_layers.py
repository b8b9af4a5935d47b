"""Dense layers, norms and features against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.nn import layers, rope
from sora_jax.nn.layers import (
    Dense,
    FeedForward,
    RMSNorm,
    activate,
    fourier_features,
    geometric,
    rms_normalize,
)


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


NUMBERS = jax.random.split(jax.random.key(3), 6)


def normal(number: int, *shape: int, dtype=jnp.float32):
    return 2 * jax.random.normal(NUMBERS[number], shape, dtype)


def turned_norm(x, gain, rotation):
    y = rms_normalize(x) * gain[None, None, None, :]
    return y if rotation is None else rope.rotate(y, *rotation)


ROTATION = rope.rotations(normal(0, 2, 5, 3), head_dim=8)
HEADS, TOKENS = (2, 5, 3, 8), (2, 5, 8)
# Name -> (the operation with its own gradient, the same written plainly, arguments that are differentiated).
OPERATIONS = {
    "norm": (
        lambda x, gain: layers.scaled_norm(x, gain, None, 1e-6, x.dtype),
        lambda x, gain: turned_norm(x, gain, None),
        (normal(1, *HEADS), 1 + normal(2, 8)),
    ),
    "turned norm": (
        lambda x, gain: layers.scaled_norm(x, gain, ROTATION, 1e-6, x.dtype),
        lambda x, gain: turned_norm(x, gain, ROTATION),
        (normal(1, *HEADS), 1 + normal(2, 8)),
    ),
    "modulated norm": (
        layers.modulated_norm,
        lambda x, shift, scale: layers.modulate(rms_normalize(x), shift=shift, scale=scale),
        (normal(1, *TOKENS), normal(2, *TOKENS), normal(3, *TOKENS)),
    ),
    "gated silu": (
        layers.gated_silu,
        lambda gate, up: jax.nn.silu(gate) * up,
        (normal(1, *TOKENS), normal(2, *TOKENS)),
    ),
}


@pytest.fixture(scope="module", params=OPERATIONS)
def pulled(request):
    """(operation, the plain one, arguments, what one of them says of arguments: output and gradients)."""
    own, plain, arguments = OPERATIONS[request.param]
    cotangent = normal(4, *arguments[0].shape).astype(jnp.bfloat16)  # whose numbers are float32's too

    def results(function, *arguments):
        out, pull = jax.vjp(function, *arguments)
        return (out, *pull(cotangent.astype(out.dtype)))

    return own, plain, arguments, results


def test_own_gradients_are_the_derivatives(pulled):
    own, plain, arguments, results = pulled
    for found, expected in zip(results(own, *arguments), results(plain, *arguments), strict=True):
        assert found.shape == expected.shape and np.abs(expected).max() > 1
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_only_what_goes_in_and_out_is_rounded(pulled):
    """Against float32 from the same rounded numbers: half a unit in the last place is 2**-9 of a number."""
    own, plain, arguments, results = pulled
    halves = [x.astype(jnp.bfloat16) if x.ndim > 1 else x for x in arguments]
    found = results(own, *halves)
    expected = results(plain, *(x.astype(jnp.float32) for x in halves))
    for a, b, x in zip(found, expected, (halves[0], *halves), strict=True):
        assert a.dtype == x.dtype
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=2**-8)


def kept_bytes(function, *arguments) -> int:
    """Bytes that the forward pass hands to the backward pass, inputs included."""
    pull = jax.eval_shape(lambda *x: jax.vjp(function, *x)[1], *arguments)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pull))


def test_less_is_kept_for_the_backward_pass(pulled):
    own, plain, arguments, _ = pulled
    halves = [x.astype(jnp.bfloat16) for x in arguments]
    assert kept_bytes(own, *halves) < 0.7 * kept_bytes(plain, *halves)
