"""Placement rules, on meshes that need no devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.sharding import context, mesh, rules
from sora_jax.training import state
from sora_jax.types import PackedBatch

MESH = AbstractMesh((2, 4, 3, 5), mesh.AXES)


def shapes(**leaves):
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in leaves.items()}


def specs(tree):
    return jax.tree.map(lambda leaf: leaf.spec, tree, is_leaf=lambda leaf: isinstance(leaf, NamedSharding))


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((6, 8), P(None, "fsdp")),
        ((3, 8, 6), P(None, "fsdp")),
        ((4, 7, 6), P("fsdp")),
        ((5, 7), P()),
        ((2, 4), P()),  # 8 elements: below `least`
    ],
)
def test_fsdp_cuts_the_last_axis_that_divides(shape, spec):
    assert rules.Fsdp(least=9).spec(shape, MESH) == spec


@pytest.mark.parametrize(
    ("shape", "axis", "spec"),
    [
        ((2, 8, 12), -1, P(None, "fsdp", "tensor")),
        ((2, 12, 8), -2, P(None, "tensor", "fsdp")),
        ((2, 2, 3), -1, P(None, None, "tensor")),  # 12 elements: along tensor however few
    ],
)
def test_tensor_cuts_its_axis_and_fsdp_another(shape, axis, spec):
    assert rules.Fsdp(least=13, tensor=axis).spec(shape, MESH) == spec


def test_an_axis_that_does_not_divide_along_tensor_is_refused():
    table = ((".*", rules.Fsdp(tensor=-1)),)
    with pytest.raises(ValueError, match=r"axis 1 of 'kernel', 8 long, does not divide into 3 \(tensor\)"):
        rules.param_shardings(shapes(kernel=(12, 8)), MESH, rules=table)


def test_default_rules_fit_and_cut():
    params = {
        "embed": shapes(embedding=(384, 64)),
        "block": shapes(kernel=(3, 64, 256), bias=(3, 256)),
        "head": shapes(kernel=(64, 3)),
    }
    found = specs(rules.param_shardings(params, MESH))
    assert found == {
        "embed": {"embedding": P(None, "fsdp")},
        "block": {"kernel": P(None, None, "fsdp"), "bias": P()},
        "head": {"kernel": P()},
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ((("kernel", P(None, "fsdp")),), "no rule matches 'bias'"),
        ((("kernle", P()), (".*", P())), "'kernle' matches no path"),
        (
            (("kernel", P("tensor")), (".*", P())),
            r"axis 0 of 'kernel', 8 long, does not divide into 3 \(tensor\)",
        ),
        ((("kernel", P(None, ("data", "fsdp"))), (".*", P())), "axis 1 of 'kernel', 12 long, .* into 8"),
        ((("kernel", P("model")), (".*", P())), r"not \['model'\]"),
        (((".*", P(None, None)),), r"has more axes than 'bias' of shape \(12,\)"),
    ],
)
def test_rules_are_checked(table, message):
    with pytest.raises(ValueError, match=message):
        rules.param_shardings(shapes(kernel=(8, 12), bias=(12,)), MESH, rules=table)


def test_optimizer_state_and_average_follow_the_parameters():
    def init_params(key):
        return {"kernel": jnp.zeros((8, 8)), "inner": {"kernel": jnp.zeros((8, 8))}, "scale": jnp.zeros(3)}

    table = (("inner/kernel", P("fsdp")), ("kernel", P(None, "fsdp")), (".*", P()))
    optimizer = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    found = specs(rules.state_shardings(state.abstract_state(init_params, optimizer), MESH, rules=table))
    expected = {"kernel": P(None, "fsdp"), "inner": {"kernel": P("fsdp")}, "scale": P()}
    moments = found.opt_state[1][0]
    assert found.params == found.ema == moments.mu == moments.nu == expected
    assert found.step == moments.count == P()


def test_what_only_the_update_reads_is_cut_along_data_and_context_too():
    def init_params(key):
        return {"kernel": jnp.zeros((20, 3, 8)), "narrow": jnp.zeros((9, 8)), "scale": jnp.zeros(40)}

    table = (("kernel", P(None, None, "fsdp")), ("narrow", P(None, "fsdp")), (".*", P()))
    abstract = state.abstract_state(init_params, optax.adam(1e-3))
    found = specs(rules.state_shardings(abstract, MESH, rules=table))
    assert found.params == {"kernel": P(None, None, "fsdp"), "narrow": P(None, "fsdp"), "scale": P()}
    # 9 rows do not divide into 2 x 5 parts, and a parameter that is not cut at all is small.
    spread = found.params | {"kernel": P(("data", "context"), None, "fsdp")}
    assert found.ema == found.opt_state[0].mu == found.opt_state[0].nu == spread

    alone = AbstractMesh((1, 4, 1, 5), mesh.AXES)
    found = specs(rules.state_shardings(abstract, alone, rules=table))
    assert found.ema["kernel"] == P(("context",), None, "fsdp")
    alone = AbstractMesh((1, 4, 1, 1), mesh.AXES)
    found = specs(rules.state_shardings(abstract, alone, rules=table))
    assert found.ema == found.params


def test_large_state_that_follows_nothing_is_an_error():
    def init(params):
        return {"history": jnp.zeros((100, 64))}

    odd = optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))
    abstract = state.abstract_state(lambda key: {"kernel": jnp.zeros((8, 12))}, odd)
    with pytest.raises(ValueError, match=r"'opt_state/history' of shape \(100, 64\) follows no parameter"):
        rules.state_shardings(abstract, MESH, rules=((".*", P()),))


def test_batches_are_cut_by_rows_and_tokens():
    rows, tokens, segments, text = 16, 35, 3, 9
    batch = PackedBatch(
        tokens=np.zeros((rows, tokens, 4)),
        position=np.zeros((rows, tokens, 3)),
        segment=np.zeros((rows, tokens)),
        known=np.zeros((rows, tokens)),
        index=np.zeros((rows, tokens, 3)),
        clip=np.zeros((rows, segments)),
        grid=np.zeros((rows, segments, 3)),
        text=np.zeros((rows, text)),
        text_segment=np.zeros((rows, text)),
        span=np.zeros((rows, tokens)),
        text_span=np.zeros((rows, text)),
    )
    found = specs(context.batch_shardings(batch, MESH))
    by_tokens = {name for name, spec in found._asdict().items() if spec == P(("data", "fsdp"), "context")}
    assert by_tokens == set(context.TOKEN_FIELDS)
    assert {found.clip, found.grid, found.text, found.text_segment, found.text_span} == {P(("data", "fsdp"))}
    assert specs(context.batch_shardings({"video": np.zeros((8, 2)), "scale": np.ones(())}, MESH)) == {
        "video": P(("data", "fsdp")),
        "scale": P(),
    }
    with pytest.raises(ValueError, match="12 rows does not divide over data x fsdp = 8"):
        context.batch_shardings({"video": np.zeros((12, 2))}, MESH)
    with pytest.raises(ValueError, match="34 tokens do not divide over context = 5"):
        context.batch_shardings(batch._replace(known=np.zeros((rows, 34))), MESH)


def test_mesh_sizes():
    only = mesh.make_mesh(devices=jax.devices()[:1])
    assert dict(only.shape) == {"data": 1, "fsdp": 1, "tensor": 1, "context": 1}
    with pytest.raises(ValueError, match="does not fit 1 devices"):
        mesh.make_mesh(fsdp=2, devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="at most one is -1"):
        mesh.make_mesh(data=-1, fsdp=-1)
