"""Maximal update parametrisation: a step changes as much at every width, and only with the rules."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sora_jax import command, patches, rng, text_bytes, tree
from sora_jax.build.denoising import denoising
from sora_jax.models import transformer
from sora_jax.models.text import TextEncoder
from sora_jax.models.text import family as text_family
from sora_jax.training import mup, optimizer

WIDTHS = (12, 24, 48, 96)
STEPS = 4
RATES = {"adamw": 2e-2, "muon": 4e-2}


def model_of(width: int, *, text: bool = True) -> transformer.Transformer:
    size = transformer.family(width=width, depth=1, head_dim=12)
    shape = {name: size[name] for name in ("width", "heads", "hidden")}
    encoder = TextEncoder(**text_family(**shape)) if text else None
    return transformer.Transformer(patch_width=8, text_encoder=encoder, levels=2, scan=False, **size)


@functools.cache
def batch():
    """Four clips of 12 tokens, as different as their captions."""
    rows = []
    for i, caption in enumerate(("red", "a bar", "two", "")):
        latents = np.random.default_rng(i).normal(size=(2, 2, 3, 8)).astype(np.float32)
        said = text_bytes.encode(caption)
        rows.append([patches.segment(latents, ratio=(4, 8, 8), patch=(1, 1, 1), fps=8.0, clip=i, text=said)])
    packed = patches.pack_rows(rows, row_tokens=12, row_text=8, max_segments=1)
    return jax.tree.map(jnp.asarray, packed)


def changes(width: int, name: str) -> dict[bool, float]:
    """The root mean square change of the velocity, per number, after a few steps: with the rules and without.

    The multipliers are an argument, so that both share a compilation; that the optimiser multiplies by its
    rules is tested beside it. The text is given as embeddings, to have less to compile; the loss is linear,
    so that no answer is ever reached.
    """
    model, first, draw = model_of(width, text=False), batch(), np.random.default_rng(0)
    t = jnp.full(first.segment.shape, 0.5)
    embeddings = draw.normal(size=(*first.text.shape, width)).astype(np.float32)
    first = first._replace(text=jnp.asarray(embeddings))
    answer = jnp.asarray(draw.normal(size=first.tokens.shape).astype(np.float32))
    transform = optimizer.make_optimizer(
        name, learning_rate=RATES[name], adam_learning_rate=RATES["adamw"], total_steps=100
    )

    def velocity(params):
        return model.apply({"params": params}, first.tokens, t, first)

    @jax.jit
    def train(key, multipliers):
        def step(state, _):
            params, opt_state = state
            gradients = jax.grad(lambda p: jnp.mean(velocity(p) * answer))(params)
            updates, opt_state = transform.update(gradients, opt_state, params)
            updates = jax.tree.map(jnp.multiply, updates, multipliers)
            return (optax.apply_updates(params, updates), opt_state), None

        params = model.init(key, first.tokens, t, first)["params"]
        (params, _), _ = jax.lax.scan(step, (params, transform.init(params)), length=STEPS)
        return jnp.sqrt(jnp.mean(velocity(params) ** 2))  # it begins at zero

    params = jax.eval_shape(lambda key: model.init(key, first.tokens, t, first)["params"], jax.random.key(0))
    rules = mup.rate_rules(width=width, base_width=WIDTHS[0], optimizer=name)
    found = {
        True: tree.match_tree(rules, params, what="rate_rules"),
        False: jax.tree.map(lambda _: 1.0, params),
    }
    keys = [jax.random.key(k) for k in range(3)]
    return {kept: float(np.mean([train(key, rates) for key in keys])) for kept, rates in found.items()}


@pytest.mark.parametrize("name", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_coordinate_check(name):
    """The slope of log change over log width: near 0 with the rules, and a growth without them."""
    found = [changes(width, name) for width in WIDTHS]
    slopes = {
        kept: np.polyfit(np.log(WIDTHS), np.log([change[kept] for change in found]), 1)[0]
        for kept in (True, False)
    }
    assert abs(slopes[True]) < 0.15, slopes
    assert slopes[False] > 0.4, slopes


def test_rules_name_every_parameter_by_its_role():
    model, first = model_of(48), batch()
    params = jax.eval_shape(model.init, jax.random.key(0), first.tokens, jnp.zeros((4, 12)), first)["params"]
    rules = mup.rate_rules(width=48, base_width=24, optimizer="adamw")
    multipliers = tree.match(rules, list(tree.flatten(params)), what="rate_rules")
    matrices = {
        path for path, leaf in tree.flatten(params).items()
        if leaf.ndim >= 2 and leaf.shape[-2] >= 48 and leaf.shape[-1] > 1 and "kernel" in path
    }  # fmt: skip
    inputs = {"tokenizer/patch/kernel", "tokenizer/position/kernel", "noise_level/in/kernel"}
    assert {path for path, value in multipliers.items() if value == 0.5} == matrices - inputs
    assert "tokenizer/out/kernel" in matrices and "blocks/cross/key/kernel" in matrices


def test_a_larger_head_begins_with_smaller_logits():
    params = {"query_norm": {"gain": jnp.ones(4)}, "key_norm": {"gain": jnp.ones(4)}}
    rules = ((r"query_norm/gain$", mup.init_rules(head_dim=48, base_head_dim=12)[0][1]), (".*", 1.0))
    scaled = mup.rescale(params, rules)
    np.testing.assert_allclose(scaled["query_norm"]["gain"], 0.5)
    np.testing.assert_allclose(scaled["key_norm"]["gain"], 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mup.rate_rules(width=0, base_width=8, optimizer="adamw"), "width 0"),
        (lambda: mup.rate_rules(width=8, base_width=8, optimizer="sgd"), "'sgd' is neither"),
        (lambda: mup.init_rules(head_dim=0, base_head_dim=8), "head_dim 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_config_s_mup_reaches_the_first_values_and_the_updates():
    """Of the ladder's table at twice the base width, beside the same without mup."""
    built = {}
    for name in ("mup", "plain"):
        config = command.load_config("configs/scaling.py:cpu", ["--config.model.size.width=96"])
        config.unlock()
        if name == "plain":
            config.mup = None
        built[name] = denoising(config, channels=8)
    first = jax.tree.map(np.asarray, batch())
    params = {name: parts.init_params(rng.key(0), first, {}) for name, parts in built.items()}
    flat = {name: tree.flatten(own) for name, own in params.items()}
    halved = [
        path for path in flat["mup"] if "query_norm/gain" in path or path.endswith("block_0/query/kernel")
    ]
    assert len(halved) == 3
    for path in flat["mup"]:
        ratio = 0.5**0.5 if path in halved else 1.0  # heads of 48 for 24
        np.testing.assert_allclose(flat["mup"][path], flat["plain"][path] * ratio, rtol=1e-6, err_msg=path)
    updates = {}
    for name, parts in built.items():
        ones = jax.tree.map(jnp.ones_like, params[name])
        change, _ = parts.optimizer.update(ones, parts.optimizer.init(params[name]), params[name])
        updates[name] = tree.flatten(change)
    rates = tree.match(
        mup.rate_rules(width=96, base_width=48, optimizer="adamw"), list(updates["mup"]), what=""
    )
    assert set(rates.values()) == {0.5, 1.0}
    for path, rate in rates.items():
        np.testing.assert_allclose(
            updates["mup"][path], rate * updates["plain"][path], rtol=1e-6, err_msg=path
        )
