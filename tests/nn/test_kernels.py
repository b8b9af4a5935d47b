"""The kernels, run operation by operation on CPU, against plain attention: packed rows, both passes."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from sora_jax.nn import ring as ring_lib
from sora_jax.nn.attention import attend
from sora_jax.nn.flash import flash_attention
from sora_jax.nn.partition import HEADS, ROWS, TOKENS
from sora_jax.nn.splash import splash_attention
from sora_jax.sharding.mesh import AXES

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


@pytest.fixture(
    scope="module",
    params=[(splash, True), (splash, False), (flash, True), (ring, True)],
    ids=["splash", "splash-cross", "flash", "ring"],
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


def test_what_the_kernel_cannot_do_is_an_error():
    x = jnp.zeros((1, 130, 2, 64))
    ids = jnp.ones((1, 130), jnp.int32)
    with pytest.raises(ValueError, match=r"130 queries per device .* pad the rows to 256"):
        splash(x, x, x, query_segment=ids, key_segment=ids, scale=1.0)
    with pytest.raises(ValueError, match=r"rows of 130 tokens .* pad them to 256"):
        flash(x, x, x, query_segment=ids, key_segment=ids, scale=1.0)
    for own in ("flash", "ring"):
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
