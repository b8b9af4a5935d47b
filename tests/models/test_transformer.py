"""The diffusion transformer: a packed clip is a clip alone, and no way of computing changes the function."""

from __future__ import annotations

import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import patches, text_bytes
from sora_jax.models.autoencoder import Autoencoder
from sora_jax.models.cost import count_decoder_flops, count_flops, count_parameters, count_training_flops
from sora_jax.models.noise_level import distinct_levels
from sora_jax.models.text import TextEncoder
from sora_jax.models.transformer import SIZES, Transformer, factorised_segments

PATCH = 12
ROW, TEXT = 30, 20
TINY = {"patch_width": PATCH, "width": 24, "depth": 2, "heads": 2, "hidden": 40}
ENCODER = TextEncoder(width=16, depth=1, heads=2, head_dim=6, hidden=20)
CLIPS = (  # grid, frames/s, caption, noise level
    ((2, 3, 2), 8.0, "red", 0.7),
    ((1, 1, 5), 8.0, "a bar", 0.2),
    ((3, 2, 1), 12.0, "", 0.9),
)


def model_of(**changes) -> Transformer:
    return Transformer(**{**TINY, "text_encoder": ENCODER, "levels": 4, **changes})


def segment(i: int) -> patches.Segment:
    (gf, gh, gw), fps, caption, _ = CLIPS[i]
    latents = np.random.default_rng(i).normal(size=(gf, 2 * gh, 2 * gw, PATCH // 4)).astype(np.float32)
    text = text_bytes.encode(caption)
    return patches.segment(latents, ratio=(4, 8, 8), patch=(1, 2, 2), fps=fps, clip=i, text=text)


def pack(rows):
    """Rows of clip numbers as a batch, its noise levels and, per token, the clip's number (-1: padding)."""
    batch = patches.pack_rows(
        [[segment(i) for i in row] for row in rows], row_tokens=ROW, row_text=TEXT, max_segments=4
    )
    clip = np.full(batch.segment.shape, -1)
    t = np.zeros(batch.segment.shape, np.float32)
    for r, row in enumerate(rows):
        for k, i in enumerate(row):
            clip[r][batch.segment[r] == k + 1] = i
            t[r][batch.segment[r] == k + 1] = CLIPS[i][3]
    return jax.tree.map(jnp.asarray, batch), jnp.asarray(t), clip


@functools.cache
def parameters():
    """Random everywhere: what begins at zero would hide what it multiplies."""
    batch, t, _ = pack([[0, 1, 2], [1]])
    params = jax.jit(model_of().init)(jax.random.key(0), batch.tokens, t, batch)["params"]
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [a + 0.2 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return structure.unflatten(noisy)


@functools.cache
def function(**changes):
    """The jitted velocity of a model; `function()` is shared by most tests, at one shape."""
    model = model_of(**changes)
    return jax.jit(lambda params, xt, t, batch: model.apply({"params": params}, xt, t, batch))


@functools.cache
def gradient(**changes):
    """The jitted gradient of a weighted sum of squares of the velocities."""
    model = model_of(**changes)

    def loss(params, xt, t, batch, weight):
        out = model.apply({"params": params}, xt, t, batch)
        return jnp.sum(jnp.square(out) * weight[:, :, None])

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def assert_trees_close(a, b, tolerance):
    """Every array within `tolerance` of the largest entry of its reference."""
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        size = float(np.max(np.abs(y)))
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(size, 1e-3), err_msg=str(path))


def test_packed_is_alone():
    """Each clip's velocity, and all parameters' gradient: sums of float32 products in another order."""
    together, t, clip = pack([[0, 1, 2], []])
    velocity = function()(parameters(), together.tokens, t, together)
    grads, _ = gradient()(parameters(), together.tokens, t, together, (clip >= 0).astype(np.float32))
    total = jax.tree.map(jnp.zeros_like, grads)
    for i in range(len(CLIPS)):
        alone, t, where = pack([[i], []])
        single = function()(parameters(), alone.tokens, t, alone)
        np.testing.assert_allclose(velocity[clip == i], single[where == i], rtol=1e-4, atol=1e-5)
        part, _ = gradient()(parameters(), alone.tokens, t, alone, (where >= 0).astype(np.float32))
        total = jax.tree.map(jnp.add, total, part)
    assert_trees_close(grads, total, 1e-5)


def test_neighbours_change_nothing():
    """Patches, level, position and text of one clip: not a bit of the others moves, and it does itself."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    before = function()(parameters(), batch.tokens, t, batch)
    mine = jnp.asarray(clip == 1)
    text_mine = batch.text_segment == 2
    for name, xt, level, changed in (
        ("patches", jnp.where(mine[:, :, None], 3.0, batch.tokens), t, batch),
        ("level", batch.tokens, jnp.where(mine, 0.4, t), batch),
        ("text", batch.tokens, t, batch._replace(text=jnp.where(text_mine, 9, batch.text))),
        ("place", batch.tokens, t, batch._replace(position=batch.position * (1 + 0.3 * mine[:, :, None]))),
    ):
        after = function()(parameters(), xt, level, changed)
        np.testing.assert_array_equal(before[clip != 1], after[clip != 1], err_msg=name)
        assert np.max(np.abs(np.asarray(before - after)[0][clip[0] == 1])) > 1e-3, name


def test_each_token_reads_the_caption_of_its_time():
    """A clip of two captions: changing the second moves the first latent through attention alone."""
    latents = np.random.default_rng(3).normal(size=(3, 4, 4, PATCH // 4)).astype(np.float32)

    def batch_of(prompt: str):
        text = text_bytes.encode_timed(prompt)
        clip = patches.segment(
            latents,
            ratio=(4, 8, 8),
            patch=(1, 2, 2),
            fps=8.0,
            clip=0,
            text=text.tokens,
            text_span=text.span,
            starts=text.starts,
        )
        batch = patches.pack_rows([[clip], []], row_tokens=ROW, row_text=TEXT, max_segments=4)
        return jax.tree.map(jnp.asarray, batch)

    batch = batch_of("red [0.5s] a bar")
    np.testing.assert_array_equal(batch.span[0, :12], np.repeat([0, 1, 1], 4))
    np.testing.assert_array_equal(batch.text_span[0, :10], np.repeat([0, 1], [4, 6]))
    t = jnp.where(batch.segment > 0, 0.5, 0.0)
    same = function()(parameters(), batch.tokens, t, batch)
    # The same caption twice is that caption once: an encoder that saw both would tell them apart.
    once, twice = batch_of("a bar"), batch_of("a bar [0.5s] a bar")
    np.testing.assert_allclose(
        function()(parameters(), batch.tokens, t, once)[0, :12],
        function()(parameters(), batch.tokens, t, twice)[0, :12],
        atol=1e-5,
    )
    # With attention between frames cut (each its own segment), the other caption's bytes change not a bit.
    apart = batch._replace(segment=batch.segment + batch.span * (batch.segment > 0))
    apart = apart._replace(span=jnp.zeros_like(batch.span))
    apart = apart._replace(
        text_segment=batch.text_segment + batch.text_span, text_span=jnp.zeros_like(batch.span[:, :TEXT])
    )
    before = function()(parameters(), batch.tokens, t, apart)
    swapped = jnp.where(apart.text_segment == 2, 9, apart.text)
    after = function()(parameters(), batch.tokens, t, apart._replace(text=swapped))
    np.testing.assert_array_equal(before[0, :4], after[0, :4])
    assert np.abs(np.asarray(before - after)[0, 4:12]).max() > 1e-3
    other = function()(parameters(), batch.tokens, t, batch_of("red [0.5s] a bat"))
    assert np.abs(np.asarray(same - other)[0, 4:12]).max() > 1e-3


def test_no_gradient_across_segments():
    """d velocity(clip 1) / d patches is exactly 0 outside clip 1 and on padding, and finite everywhere."""
    batch, t, clip = pack([[0, 1, 2], []])  # the second row is all padding: queries without keys
    grads, by_patch = gradient()(parameters(), batch.tokens, t, batch, (clip == 1).astype(np.float32))
    assert np.all(np.asarray(by_patch)[clip != 1] == 0)
    assert np.all(np.any(np.asarray(by_patch)[clip == 1] != 0, axis=-1))
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(grads))


def test_order_of_tokens_does_not_matter():
    """Positions are read, not indices: tokens in any order give their velocities in that order."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    velocity = function()(parameters(), batch.tokens, t, batch)
    order = np.random.default_rng(0).permutation(ROW)
    shuffled = batch._replace(position=batch.position[:, order], segment=batch.segment[:, order])
    out = function()(parameters(), batch.tokens[:, order], t[:, order], shuffled)
    seen = clip[:, order] >= 0
    np.testing.assert_allclose(np.asarray(out)[seen], velocity[:, order][seen], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        *({"scan": False}, {"remat": "full"}, {"remat": "offload"}),
        *({"scan": False, "remat": "dots"}, {"levels": None}),
    ],
    ids=str,
)
def test_the_same_function_another_way(changes):
    """Unrolled, rematerialised, and one modulation per token: the gradient of the plain model."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    weight = (clip >= 0).astype(np.float32)
    want = gradient()(parameters(), batch.tokens, t, batch, weight)
    assert_trees_close(gradient(**changes)(parameters(), batch.tokens, t, batch, weight), want, 2e-5)


def test_factorised_segments_are_frames_and_places():
    batch, _, clip = pack([[0, 1, 2], [1], []])
    index = np.asarray(batch.index)
    for found, own in zip(factorised_segments(batch), (index[..., :1], index[..., 1:]), strict=True):
        found = np.asarray(found)
        np.testing.assert_array_equal(found == 0, clip < 0)
        for row in range(3):
            name = np.concatenate([clip[row][:, None], own[row]], axis=-1)
            same = (name[:, None] == name[None]).all(axis=-1) & (clip[row] >= 0)
            np.testing.assert_array_equal((found[row][:, None] == found[row]) & (found[row] > 0), same)


@pytest.mark.parametrize("scan", [True, False])
def test_a_factorised_layer_sees_a_frame_then_a_place(scan):
    """What a velocity depends on: with one layer its own frame, with the first one silenced its place, with
    both its whole clip; of the other clips nothing."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    index = np.asarray(batch.index)[0]
    at = 7  # frame 1, row 0, column 1 of the first clip
    mine = clip[0] == 0
    frame, place = mine & (index[:, 0] == 1), mine & (index[:, 1] == 0) & (index[:, 2] == 1)
    assert frame[at] and place[at]
    only = jnp.zeros(clip.shape).at[0, at].set(1.0)

    def seen(silenced: int | None) -> np.ndarray:
        params = parameters()
        if silenced is not None:
            out = params["blocks"]["attention"]["out"]["kernel"]
            params = jax.tree.map(lambda a: a, params)
            params["blocks"]["attention"]["out"]["kernel"] = out.at[silenced].set(0.0)
        _, by_patch = gradient(pattern="factorised", scan=scan)(params, batch.tokens, t, batch, only)
        return np.any(np.asarray(by_patch) != 0, axis=-1)

    for silenced, want in ((1, frame), (0, place), (None, mine)):
        found = seen(silenced)
        np.testing.assert_array_equal(found[0], want)
        assert not found[1].any()


def test_too_many_levels_are_loud():
    """A row with more noise levels than `levels`, or one outside [0, 1], has NaN; the other row has not."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    many = t.at[0].add(jnp.linspace(0, 0.01, ROW))
    out = np.asarray(function()(parameters(), batch.tokens, many, batch))
    assert np.isnan(out[0]).any() and np.isfinite(out[1]).all()
    out = np.asarray(function()(parameters(), batch.tokens, t.at[1, 0].set(1.25), batch))
    assert np.isnan(out[1][clip[1] == 1]).all() and np.isfinite(out[0]).all()


def test_distinct_levels_spread_back():
    t = jnp.asarray([[0.5, 0.0, 0.5, 0.25], [0.1, 0.1, 0.1, 0.1]])
    distinct = jax.jit(distinct_levels, static_argnums=1)
    values, spread = distinct(t, 3)
    np.testing.assert_array_equal(jnp.einsum("bnl,bl->bn", spread, values), t)
    assert np.isnan(distinct(t, 2)[1]).any()


def test_half_precision_computes_the_same_velocity():
    """bfloat16 inside, float32 outside; 2 layers of 8-bit mantissas stay within a few per cent."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    want = np.asarray(function()(parameters(), batch.tokens, t, batch))[clip >= 0]
    out = function(dtype=jnp.bfloat16)(parameters(), batch.tokens, t, batch)
    assert out.dtype == jnp.float32
    error = np.asarray(out)[clip >= 0] - want
    assert 0 < np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(want**2))


def test_text_encoded_once_or_not_at_all():
    """`encode_text` first gives the velocity of the model that encodes; without an encoder, tokens fail."""
    batch, t, clip = pack([[0, 1, 2], [1]])
    model = model_of()
    encode = jax.jit(lambda params: model.apply({"params": params}, batch, method="encode_text"))
    encoded = encode(parameters())
    want = function()(parameters(), batch.tokens, t, batch)
    rest = {k: v for k, v in parameters().items() if k != "text_encoder"}
    out = function(text_encoder=None)(rest, batch.tokens, t, encoded)
    np.testing.assert_allclose(np.asarray(out)[clip >= 0], want[clip >= 0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="no text_encoder"):
        model_of(text_encoder=None).apply({"params": rest}, batch.tokens, t, batch)


def test_wrong_choices_are_errors():
    batch, t, _ = pack([[0], [1]])
    wrong = (
        ({"remat": "some"}, "remat"),
        ({"attention": "flash"}, "attention"),
        ({"pattern": "factorized"}, "pattern 'factorized' is not one of full, factorised"),
        ({"pattern": "factorised", "attention": "cudnn"}, "one after the other"),
    )
    for changes, message in wrong:
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(model_of(**changes).init, jax.random.key(0), batch.tokens, t, batch)
    with pytest.raises(ValueError, match="patch_width"):
        jax.eval_shape(model_of(patch_width=7).init, jax.random.key(0), batch.tokens, t, batch)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_by_formula(size):
    batch, t, _ = pack([[0], [1]])
    model = model_of(**SIZES[size])
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch.tokens, t, batch)["params"]
    assert count_parameters(model) == sum(a.size for a in jax.tree.leaves(shapes))


@pytest.mark.parametrize("gated", [True, False])
def test_flops_by_formula(gated):
    """Exactly the matrix products of the traced program; XLA's count adds elementwise work, some per cent."""
    batch, t, _ = pack([[0], [1]])
    model = model_of(width=96, hidden=200, scan=False, gated=gated)
    variables = jax.eval_shape(model.init, jax.random.key(0), batch.tokens, t, batch)
    jaxpr = jax.make_jaxpr(model.apply)(variables, batch.tokens, t, batch)
    want = count_flops(model, rows=2, tokens=ROW, text=TEXT)
    assert products(jaxpr.jaxpr) == want
    cost = jax.jit(model.apply).lower(variables, batch.tokens, t, batch).cost_analysis()
    assert want < cost["flops"] < 1.15 * want


@pytest.mark.parametrize("remat", ["none", "dots", "full", "offload"])
def test_training_flops_by_formula(remat):
    """The products of a traced gradient; the formula counts those of the inputs' too, less than 5 %."""
    batch, t, _ = pack([[0], [1]])
    model = model_of(width=96, hidden=200, depth=4, scan=False, remat=remat)
    variables = jax.eval_shape(model.init, jax.random.key(0), batch.tokens, t, batch)

    def loss(variables):
        return jnp.sum(model.apply(variables, batch.tokens, t, batch) ** 2)

    found = products(jax.make_jaxpr(jax.grad(loss))(variables).jaxpr)
    want = count_training_flops(model, rows=2, tokens=ROW, text=TEXT)
    assert found <= want < 1.05 * found


def test_decoder_flops_by_formula():
    decoder = Autoencoder(widths=(8, 16), depths=(1, 2), channels=3, expand=2, detail=24)
    latents = jnp.zeros((2, 3, 4, 5, 3))
    key = jax.random.key(0)
    variables = jax.eval_shape(decoder.init, key, jnp.zeros((1, 5, 8, 8, 3)), key)
    traced = jax.make_jaxpr(lambda v: decoder.apply(v, latents, method="decode"))(variables)
    assert products(traced.jaxpr) == count_decoder_flops(decoder, rows=2, latents=(3, 4, 5))


def products(jaxpr) -> int:
    """Twice the multiplications of every dot_general of a program and its sub-programs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            inner = np.prod([equation.invars[0].aval.shape[i] for i in contracted])
            total += int(2 * inner * np.prod(equation.outvars[0].aval.shape))
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += products(inner)
    return total
