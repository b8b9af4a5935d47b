"""Causality, streaming and shapes of the video autoencoder, in float32 at a tiny size.

Whole and streamed results differ by the order of sums in matrix products of at most 128 terms of size ~1,
that is by less than 128 * 6e-8 ~ 1e-5, the tolerance of these tests.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import tree
from sora_jax.models.autoencoder import SIZES, Autoencoder, create, sample
from sora_jax.models.autoencoder_stream import decode_stream, decoder_cache, encode_stream, encoder_cache

FRAMES, HEIGHT, WIDTH = 13, 16, 24  # 4 latents of 2 x 3
LATENTS = (2, 4, 2, 3, 4)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return create("test")


@pytest.fixture(scope="module")
def video():
    return jax.random.uniform(jax.random.key(3), (2, FRAMES, HEIGHT, WIDTH, 3), minval=-1.0)


@pytest.fixture(scope="module")
def latents():
    return jax.random.normal(jax.random.key(4), LATENTS)


@pytest.fixture(scope="module")
def params(model, video):
    """Away from the initial values, where every residual branch is zero and nothing crosses a position."""
    params = jax.jit(model.init)(jax.random.key(0), video[:, :5], jax.random.key(1))["params"]
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [x + 0.15 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, moved)


@pytest.fixture(scope="module")
def encode(model, params):
    return jax.jit(lambda video: model.apply({"params": params}, video, method="encode"))


@pytest.fixture(scope="module")
def decode(model, params):
    return jax.jit(lambda latents: model.apply({"params": params}, latents, method="decode"))


@pytest.fixture(scope="module")
def stream_encode(model, params):
    step = jax.jit(functools.partial(encode_stream, model=model))
    return functools.partial(streamed, functools.partial(step, params), encoder_cache, model)


@pytest.fixture(scope="module")
def stream_decode(model, params):
    step = jax.jit(functools.partial(decode_stream, model=model))
    return functools.partial(streamed, functools.partial(step, params), decoder_cache, model)


def streamed(step, make_cache, model, x, chunks):
    """`x` through `step` in chunks of the given lengths; the cache must keep its size."""
    cache = make_cache(model, x.shape[0], HEIGHT, WIDTH)
    sizes = jax.tree.map(jnp.shape, cache.blocks)
    parts, start = [], 0
    for length in chunks:
        y, cache = step(cache, x[:, start : start + length])
        assert jax.tree.map(jnp.shape, cache.blocks) == sizes
        parts.append(y)
        start += length
    assert start == x.shape[1]
    return jnp.concatenate(parts, axis=1)


def test_shapes_of_frame_that_is_not_square(encode, decode, video):
    mean, logvar = encode(video)
    assert mean.shape == logvar.shape == LATENTS
    assert decode(mean).shape == video.shape
    assert mean.dtype == jnp.float32


def test_prefix_is_encoded_without_what_follows(encode, video):
    whole = encode(video)
    prefix = encode(video[:, :5])
    np.testing.assert_allclose(prefix.mean, whole.mean[:, :2], **TOLERANCE)
    np.testing.assert_allclose(prefix.logvar, whole.logvar[:, :2], **TOLERANCE)


def test_image_is_the_first_latent_of_its_clip(encode, decode, video):
    whole = encode(video).mean
    image = encode(video[:, :1]).mean
    assert image.shape[1] == 1
    np.testing.assert_allclose(image, whole[:, :1], **TOLERANCE)
    np.testing.assert_allclose(decode(image), decode(whole)[:, :1], **TOLERANCE)


@pytest.mark.parametrize("chunks", [(1, 4, 8), (5, 8)])
def test_streamed_encoding_is_the_whole(encode, stream_encode, video, chunks):
    np.testing.assert_allclose(stream_encode(video, chunks), encode(video).mean, **TOLERANCE)


@pytest.mark.parametrize("chunks", [(1, 1, 2), (2, 2)])
def test_streamed_decoding_is_the_whole(decode, stream_decode, latents, chunks):
    np.testing.assert_allclose(stream_decode(latents, chunks), decode(latents), **TOLERANCE)


def influence(function, x):
    """`[out, in]`: the largest derivative of a random sum of an output frame by a value of an input frame."""
    y, back = jax.vjp(function, x)
    weights = jax.random.normal(jax.random.key(5), y.shape)
    rows = []
    for k in range(y.shape[1]):
        (gradient,) = back(jnp.zeros_like(y).at[:, k].set(weights[:, k]))
        rows.append(jnp.abs(gradient).max(axis=(0, 2, 3, 4)))
    return np.stack(rows)


@pytest.mark.parametrize("chunks", [None, (1, 4, 8)])
def test_no_latent_sees_a_frame_after_its_group(encode, stream_encode, video, chunks):
    function = (lambda x: encode(x).mean) if chunks is None else (lambda x: stream_encode(x, chunks))
    table = influence(function, video)
    group = np.array([0] + [1 + i // 4 for i in range(12)])
    later = group[None, :] > np.arange(4)[:, None]
    assert (table[later] == 0).all()
    own_or_before = (group[None, :] <= np.arange(4)[:, None]) & (group[None, :] >= np.arange(4)[:, None] - 1)
    assert (table[own_or_before] > 0).all()  # the past is seen, across the edges of chunks too


@pytest.mark.parametrize("chunks", [None, (1, 1, 2)])
def test_no_output_frame_sees_a_later_latent(decode, stream_decode, latents, chunks):
    function = decode if chunks is None else (lambda x: stream_decode(x, chunks))
    table = influence(function, latents)
    group = np.array([0] + [1 + i // 4 for i in range(12)])
    later = np.arange(4)[None, :] > group[:, None]
    assert (table[later] == 0).all()
    own_or_before = (np.arange(4)[None, :] <= group[:, None]) & (np.arange(4)[None, :] >= group[:, None] - 1)
    assert (table[own_or_before] > 0).all()


def test_sample_has_the_moments(encode, video):
    moments = encode(video)
    draws = jax.vmap(lambda k: sample(k, moments))(jax.random.split(jax.random.key(6), 4000))
    deviation = jnp.exp(0.5 * moments.logvar)
    # 192 means of 4000 draws: 5 standard errors of 1 / sqrt(4000) are exceeded once in ten thousand runs.
    assert float(jnp.abs((draws.mean(0) - moments.mean) / deviation).max()) < 5 / 4000**0.5
    assert float(jnp.abs(draws.std(0) / deviation - 1).max()) < 5 / 8000**0.5


def test_bfloat16_computes_in_it_and_stays_close(params, encode, video):
    mean = create("test", dtype=jnp.bfloat16).apply({"params": params}, video, method="encode").mean
    exact = encode(video).mean
    assert mean.dtype == jnp.float32
    error = jnp.sqrt(jnp.mean(jnp.square(mean - exact)) / jnp.mean(jnp.square(exact)))
    assert 1e-4 < float(error) < 0.03  # 8 bits of mantissa, ten layers


@pytest.mark.parametrize("size", sorted(SIZES))
def test_every_size_has_its_ratio(size):
    model = create(size)
    t, h, w = model.ratio
    video = jnp.zeros((2, 1 + 2 * t, 2 * h, 3 * w, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), video, jax.random.key(1))
    moments = jax.eval_shape(functools.partial(model.apply, method="encode"), params, video)
    assert moments.mean.shape == (2, 3, 2, 3, model.channels)
    decoded = jax.eval_shape(functools.partial(model.apply, method="decode"), params, moments.mean)
    assert decoded.shape == video.shape


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((12, 16, 24), "12 frames .* use 9 or 13"),
        ((5, 20, 24), "height 20 is not a multiple of 8 .*: use 16 or 24"),
        ((5, 16, 4), "width 4 is not a multiple of 8 .*: use 8"),
    ],
)
def test_sizes_that_do_not_fit_are_named(model, params, shape, message):
    with pytest.raises(ValueError, match=message):
        model.apply({"params": params}, jnp.zeros((1, *shape, 3)), method="encode")


def test_misuse_of_a_stream_is_named(model, params, video):
    cache = encoder_cache(model, 2, HEIGHT, WIDTH)
    _, cache = encode_stream(params, cache, video[:, :1], model=model)
    with pytest.raises(ValueError, match="chunk of 5 frames is not a multiple of 4: use 4 or 8"):
        encode_stream(params, cache, video[:, :5], model=model)
    with pytest.raises(ValueError, match="does not continue a stream"):
        encode_stream(params, cache, video[:1, :4], model=model)
    with pytest.raises(ValueError, match="0 latents"):
        decode_stream(params, decoder_cache(model, 2, 16, 24), jnp.zeros((2, 0, 2, 3, 4)), model=model)


def test_unknown_sizes_and_fields_are_named(model):
    with pytest.raises(ValueError, match="no autoencoder size '9x9'"):
        create("9x9")
    with pytest.raises(ValueError, match="use at most 2 stages"):
        _ = Autoencoder(widths=(8, 8, 8), depths=(1, 1, 1), ratio=(4, 8, 2)).patch
    with pytest.raises(ValueError, match="initialise on 5"):
        model.init(jax.random.key(0), jnp.zeros((1, 1, 16, 16, 3)), jax.random.key(1))


def test_growing_detail_changes_nothing_at_first(model, params, encode, decode, video):
    names = {"encoder_detail", "decoder_detail"}
    plain = {name: value for name, value in params.items() if name not in names}
    small = model.clone(detail=0)
    fresh = jax.jit(model.init)(jax.random.key(9), video[:, :5], jax.random.key(1))["params"]
    grown = tree.grow(plain, fresh)
    assert set(grown) == set(plain) | names

    def through(module, video):
        return module.decode(module.encode(video).mean)

    before = small.apply({"params": plain}, video, method=through)
    np.testing.assert_array_equal(model.apply({"params": grown}, video, method=through), before)
    assert not np.allclose(model.apply({"params": params}, video, method=through), before)
    with pytest.raises(ValueError, match="does not exist"):
        tree.grow(params, plain)
