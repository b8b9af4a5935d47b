"""The kernels, run operation by operation on CPU, against plain attention: packed rows, both passes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from sora_jax import patches
from sora_jax.models.transformer import SIZES, Transformer
from sora_jax.nn import chunked as chunked_lib
from sora_jax.nn import cudnn as cudnn_lib
from sora_jax.nn import ring as ring_lib
from sora_jax.nn.attention import attend
from sora_jax.nn.flash import flash_attention
from sora_jax.nn.partition import HEADS, ROWS, TOKENS
from sora_jax.nn.ring_splash import ring_splash_attention
from sora_jax.nn.splash import splash_attention
from sora_jax.sharding import context
from sora_jax.sharding.mesh import AXES, make_mesh

B, N, M, K, D = 2, 256, 128, 2, 64


def segments(length: int, borders: list[list[int]]) -> jnp.ndarray:
    """Segment numbers of rows: segment k ends before the k-th border, what is left is padding."""
    rows = [np.searchsorted(np.asarray(b), np.arange(length), side="right") + 1 for b in borders]
    rows = [np.where(row > len(b), 0, row) for row, b in zip(rows, borders, strict=True)]
    return jnp.asarray(np.stack(rows), jnp.int32)


QUERY = segments(N, [[70, 131, 200], [5, 256]])
# Row 0 has no key of segment 3; row 1 has keys of a segment 3 that no query has.
KEY = segments(M, [[30, 100], [1, 60, 128]])


def results(function, own: bool):
    """Output and gradients for one random cotangent, of self- or cross-attention."""
    rng = np.random.default_rng(0)
    m = N if own else M
    query, key, value = (
        jnp.asarray(2 * rng.normal(size=(B, length, K, D)), jnp.float32) for length in (N, m, m)
    )
    cotangent = jnp.asarray(rng.normal(size=query.shape), jnp.float32)

    @jax.jit
    def value_and_gradients(query, key, value):
        def run(query, key, value):
            return function(
                query, key, value, query_segment=QUERY, key_segment=QUERY if own else KEY, scale=0.2
            )

        out, pull = jax.vjp(run, query, key, value)
        return out, *pull(cotangent)

    return [np.asarray(x) for x in value_and_gradients(query, key, value)]


def splash(*arguments, **keywords):
    return splash_attention(*arguments, **keywords, interpret=True)


def flash(*arguments, query_segment, key_segment, **keywords):
    assert query_segment is key_segment
    return flash_attention(*arguments, segment=query_segment, **keywords, interpret=True)


def ring(*arguments, query_segment, key_segment, **keywords):
    """Three blocks of keys, the last one filled up."""
    assert query_segment is key_segment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring_lib, "BLOCK", 100)
        return ring_lib.ring_attention(*arguments, segment=query_segment, **keywords)


def chunked(*arguments, query_segment, key_segment, **keywords):
    """Three chunks of queries, the last one filled up."""
    assert query_segment is key_segment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_lib, "LOGITS", 0)
        patch.setattr(chunked_lib, "LEAST", 100)
        return chunked_lib.chunked_attention(*arguments, segment=query_segment, **keywords)


def ring_splash(*arguments, query_segment, key_segment, **keywords):
    assert query_segment is key_segment
    return ring_splash_attention(*arguments, segment=query_segment, **keywords, interpret=True)


@jax.custom_vjp
def ragged(query, key, value, same):
    """Attention where `same`; NaN, in the output and in every gradient, at tokens of no sequence."""
    out = _ragged(query, key, value, same)
    return jnp.where(jnp.any(same, axis=-1)[:, :, None, None], out, jnp.nan)


def _ragged(query, key, value, same):
    logits = jnp.where(same[:, None], jnp.einsum("bnkd,bmkd->bknm", query, key), -jnp.inf)
    weights = jnp.where(same[:, None], jax.nn.softmax(logits, axis=-1), 0)
    return jnp.einsum("bknm,bmkd->bnkd", weights, value)


def _ragged_backward(inputs, gradient):
    *arrays, same = inputs
    inside = jnp.any(same, axis=-1)[:, :, None, None]
    arrays = (jnp.where(inside, x, 0) for x in arrays)
    # All is masked softmax, so what the gradient holds at tokens of no sequence goes nowhere.
    pulled = jax.vjp(lambda *x: _ragged(*x, same), *arrays)[1](jnp.where(inside, gradient, 0))
    return (*(jnp.where(inside, x, jnp.nan) for x in pulled), None)


ragged.defvjp(lambda *inputs: (ragged(*inputs), inputs), _ragged_backward)


def as_documented(query, key, value, *, q_seqlen, kv_seqlen, q_offsets, kv_offsets, scale, mask_type):
    """What JAX says of its cuDNN attention with offsets: sequences by start and length, -1 for none."""
    assert mask_type.name == "PADDING" and q_seqlen is kv_seqlen and q_offsets is kv_offsets
    assert q_offsets.shape[1] == q_seqlen.shape[1] + 1 > 2 and q_offsets.dtype == q_seqlen.dtype == jnp.int32
    place = jnp.arange(query.shape[1])[None, :, None]
    starts, ends = q_offsets[:, None, :-1], (q_offsets[:, :-1] + q_seqlen)[:, None]
    member = (q_seqlen[:, None] > 0) & (place >= starts) & (place < ends)
    return ragged(query * scale, key, value, jnp.einsum("bns,bms->bnm", member, member))


def cudnn(*arguments, query_segment, key_segment, **keywords):
    assert query_segment is key_segment
    module = "jax._src.cudnn.fused_attention_stablehlo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{module}.dot_product_attention", as_documented)
        patch.setattr(cudnn_lib, "HALVES", (jnp.float32,))
        return cudnn_lib.cudnn_attention(*arguments, segment=query_segment, most_segments=4, **keywords)


@pytest.fixture(
    scope="module",
    params=[
        (splash, True),
        (splash, False),
        (flash, True),
        (ring, True),
        (ring_splash, True),
        (cudnn, True),
        (chunked, True),
    ],
    ids=["splash", "splash-cross", "flash", "ring", "ring_splash", "cudnn", "chunked"],
)
def both(request):
    kernel, own = request.param
    return own, results(kernel, own), results(attend, own)


def test_equals_the_plain_attention(both):
    """float32: gradients are sums of up to 256 terms of up to 10, so roundings of 1e-6 add up to 1e-5."""
    _, found, expected = both
    for name, a, b in zip(("output", "query", "key", "value"), found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4, err_msg=name)


def test_padding_and_queries_without_keys_are_exactly_zero(both):
    own, (out, query, key, value), _ = both
    idle = np.array(QUERY == 0)
    idle[0] |= np.asarray(QUERY[0] == 3) & (not own)
    assert idle.any() and (out[idle] == 0).all() and (query[idle] == 0).all()
    unseen = np.array(QUERY == 0) if own else np.array(KEY == 0)
    unseen[1] |= np.asarray(KEY[1] == 3) if not own else False
    assert unseen.any() and (key[unseen] == 0).all() and (value[unseen] == 0).all()


def test_attention_over_a_row_on_several_devices_equals_the_plain_one(on_eight_devices):
    """As above, with tokens of a segment on several devices, and queries that find no key on most."""
    said = json.loads(on_eight_devices(Path(__file__).with_name("rows_on_a_mesh.py"), seconds=300))
    assert set(said) == {"ring", "ring_splash", "chunked", "chunked, heads exchanged"}
    for found in said.values():
        assert max(found["apart"]) < 2e-4 and found["zero"]


def test_what_the_kernel_cannot_do_is_an_error():
    x = jnp.zeros((1, 130, 2, 64))
    ids = jnp.ones((1, 130), jnp.int32)
    with pytest.raises(ValueError, match=r"130 queries per device .* pad the rows to 256"):
        splash(x, x, x, query_segment=ids, key_segment=ids, scale=1.0)
    with pytest.raises(ValueError, match=r"rows of 130 tokens .* pad them to 256"):
        flash(x, x, x, query_segment=ids, key_segment=ids, scale=1.0)
    with pytest.raises(ValueError, match="'cudnn' computes in bfloat16 or float16, not float32: set dtype"):
        attend(*(x, x, x), query_segment=ids, key_segment=ids, scale=1.0, implementation="cudnn")
    with pytest.raises(ValueError, match=r"not for this machine \(cuDNN is not detected.*'flash' on other"):
        half = x.astype(jnp.bfloat16)
        attend(*(half, half, half), query_segment=ids, key_segment=ids, scale=1.0, implementation="cudnn")
    for own in ("chunked", "flash", "cudnn", "ring", "ring_splash"):
        with pytest.raises(ValueError, match=rf"'{own}' has no bias and attends to its own sequence"):
            attend(*(x, x, x), query_segment=ids, key_segment=ids + 0, scale=1.0, implementation=own)
    with pytest.raises(ValueError, match="no bias"):
        bias = jnp.zeros((2, 130, 130))
        attend(
            *(x, x, x),
            query_segment=ids,
            key_segment=ids,
            scale=1.0,
            bias=bias,
            implementation="splash",
        )


def test_axes_are_the_mesh_s():
    assert {*ROWS, HEADS, TOKENS} == set(AXES)


def test_flash_is_lowered_for_cuda_forward_and_backward():
    """Without a GPU no more can be seen than that the kernels of both passes become Triton's."""
    x = jax.ShapeDtypeStruct((1, 256, 2, 64), jnp.bfloat16)
    ids = jax.ShapeDtypeStruct((1, 256), jnp.int32)

    def loss(query, key, value, ids):
        out = attend(
            *(query, key, value), query_segment=ids, key_segment=ids, scale=0.1, implementation="flash"
        )
        return out.astype(jnp.float32).sum()

    call = "__gpu$xla.gpu.triton"
    lower = export.export(
        jax.jit(jax.grad(loss, argnums=(0, 1, 2))),
        platforms=["cuda"],
        disabled_checks=[export.DisabledSafetyCheck.custom_call(call)],
    )
    with a_gpu_to_lower_for():
        module = lower(x, x, x, ids).mlir_module()
    assert module.count(call) >= 3  # forward, preparation, backward


def test_pieces_of_rows():
    ids = jnp.asarray([[1, 1, 2, 3, 3, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    starts, lengths = cudnn_lib.pieces(ids, 4)
    np.testing.assert_array_equal(starts, [[0, 2, 3, -1, -1], [0, -1, -1, -1, -1], [-1] * 5])
    np.testing.assert_array_equal(lengths, [[2, 1, 2, -1], [6, -1, -1, -1], [-1] * 4])
    starts, lengths = cudnn_lib.pieces(ids, 1)  # at least two, of which the second is none
    np.testing.assert_array_equal(starts[:2], [[0, -1, -1]] * 2)
    np.testing.assert_array_equal(lengths[:2], [[2, -1], [6, -1]])


@pytest.mark.parametrize("on_a_mesh", [False, True])
def test_a_model_with_cudnn_is_lowered_for_cuda_forward_backward_and_again(on_a_mesh, monkeypatch):
    """From its parameters on, as a training run makes them; what the kernels compute only a GPU can tell."""
    module = "jax._src.cudnn.fused_attention_stablehlo"
    for name, answer in (
        ("check_cudnn_version", lambda: 91900),
        ("check_compute_capability", lambda _: True),
        ("is_cuda_compute_capability_equal", lambda _: False),
    ):
        monkeypatch.setattr(f"{module}.{name}", answer)
    clip = patches.segment(
        np.zeros((2, 8, 8, 16), np.float32),
        ratio=(4, 8, 8),
        patch=(1, 2, 2),
        fps=8.0,
        clip=0,
        text=np.ones(4, np.int32),
    )
    batch = patches.pack_rows([[clip, clip]], row_tokens=128, row_text=16, max_segments=3)
    batch = batch._replace(text=jnp.zeros((1, 16, 48)))
    model = Transformer(
        **SIZES["test"], patch_width=64, levels=4, attention="cudnn", dtype=jnp.bfloat16, remat="full"
    )
    t = jnp.full((1, 128), 0.5)

    def loss(params):
        return jnp.sum(model.apply({"params": params}, batch.tokens, t, batch))  # type: ignore[arg-type]

    with context.use(make_mesh(devices=jax.devices()[:1])) if on_a_mesh else contextlib.nullcontext():
        params = jax.eval_shape(
            lambda key: model.init(key, batch.tokens, t, batch)["params"], jax.random.key(0)
        )
        text = jax.jit(jax.grad(loss)).trace(params).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("@__cudnn$fmhaSoftmax(") == 2  # in the scanned layer, and computed again
    assert text.count("@__cudnn$fmhaSoftmaxBackward(") == 1


def a_gpu_to_lower_for():
    """Since 0.11 jax asks which GPU a Triton kernel is for, of the mesh in force."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")  # type: ignore[attr-defined]
    mesh = jax.sharding.AbstractMesh(
        (1,) * len(AXES),
        AXES,
        axis_types=(jax.sharding.AxisType.Auto,) * len(AXES),
        abstract_device=device,  # type: ignore[call-arg]
    )
    return jax.sharding.use_abstract_mesh(mesh)
