"""Optimisers against their closed forms, optax's own, and each other."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from sora_jax.training import optimizer

RULES = ((r"kernel$", "io"), (r".*", None))


def random_like(shapes, seed):
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(generator.standard_normal(shape), jnp.float32),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def run(transform, params, *, steps=3):
    """Parameters after some steps of random gradients, each array with its own stream of them."""
    opt_state = transform.init(params)
    update = jax.jit(transform.update)
    for number in range(steps):
        gradients = {
            name: random_like(jax.tree.map(jnp.shape, leaf), number) for name, leaf in params.items()
        }
        change, opt_state = update(gradients, opt_state, params)
        params = optax.apply_updates(params, change)
    return params


def make(name="muon", **options):
    defaults = {"learning_rate": 0.02, "total_steps": 100, "clip_norm": None, "matrix_rules": RULES}
    return optimizer.make_optimizer(name, **{**defaults, "decay_rules": ((".*", 1.0),), **options})


def test_stacked_kernels_are_a_batch_of_matrices():
    layers = 3
    stacked = {"kernel": random_like((layers, 5, 7), 0)}
    gradients = {"kernel": random_like((layers, 5, 7), 1)}
    transform = make(weight_decay=0.1)
    together, _ = jax.jit(transform.update)(gradients, transform.init(stacked), stacked)
    for layer in range(layers):
        one = {"kernel": stacked["kernel"][layer]}
        transform = make(weight_decay=0.1)
        alone, _ = jax.jit(transform.update)({"kernel": gradients["kernel"][layer]}, transform.init(one), one)
        # The same sums in another order, by a batched matmul: float32 rounding only.
        np.testing.assert_allclose(together["kernel"][layer], alone["kernel"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("axes", "shape", "matrix"), [("ioo", (5, 2, 3), (5, 6)), ("iio", (2, 3, 5), (6, 5))]
)
def test_axes_may_be_several(axes, shape, matrix):
    rules = ((r"kernel$", axes),)
    params, gradients = {"kernel": random_like(shape, 0)}, {"kernel": random_like(shape, 1)}
    transform = make(matrix_rules=rules)
    several, _ = jax.jit(transform.update)(gradients, transform.init(params), params)
    flat = jax.tree.map(lambda leaf: leaf.reshape(matrix), (params, gradients))
    transform = make(matrix_rules=((r"kernel$", "io"),))
    single, _ = jax.jit(transform.update)(flat[1], transform.init(flat[0]), flat[0])
    np.testing.assert_allclose(several["kernel"].reshape(matrix), single["kernel"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("consistent_rms", [None, 0.2])
def test_muon_is_optax_muon(consistent_rms):
    params = {"a": {"kernel": random_like((5, 7), 0)}, "b": {"bias": random_like((7,), 1)}}
    ours = run(make(adam_learning_rate=0.003, weight_decay=0.1, consistent_rms=consistent_rms), params)
    muon = run(optax.contrib.muon(0.02, weight_decay=0.1, consistent_rms=consistent_rms), {"a": params["a"]})
    adamw = run(optax.adamw(0.003, b2=0.99, weight_decay=0.1), {"b": params["b"]})
    for name, theirs in (("a", muon["a"]), ("b", adamw["b"])):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), ours[name], theirs)


def test_muon_update_is_nearly_orthogonal_and_of_the_rate():
    params = {"kernel": jnp.zeros((6, 24))}
    transform = make(learning_rate=0.5)
    update, _ = transform.update({"kernel": random_like((6, 24), 0)}, transform.init(params), params)
    singular = np.linalg.svd(update["kernel"], compute_uv=False)
    # Five Newton-Schulz steps bring every singular value into about [0.7, 1.2] (Jordan), times rate and
    # sqrt(24/6).
    assert np.all((singular > 0.5 * 2 * 0.65) & (singular < 0.5 * 2 * 1.25))


def test_adamw_is_optax_adamw():
    params = {"a": {"kernel": random_like((5, 7), 0), "bias": random_like((7,), 1)}}
    ours = run(make("adamw", learning_rate=0.003, weight_decay=0.1), params)
    theirs = run(optax.adamw(0.003, b2=0.99, weight_decay=0.1), params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), ours, theirs)


def test_decay_by_rule():
    params = {"a": {"kernel": random_like((5, 7), 0), "bias": random_like((7,), 1)}, "scale": jnp.ones(3)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    transform = make("adamw", weight_decay=0.1, decay_rules=(("a/bias", 0.5), ("^a/", 1.0), (".*", 0.0)))
    update, _ = transform.update(zeros, transform.init(params), params)
    expected = {"a": {"kernel": 1.0, "bias": 0.5}, "scale": 0.0}
    jax.tree.map(
        lambda change, leaf, share: np.testing.assert_allclose(change, -0.02 * 0.1 * share * leaf, rtol=1e-6),
        update,
        params,
        expected,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay_rules": (("kernle$", 1.0), (".*", 0.0))}, r"decay_rules: 'kernle\$' matches no path"),
        ({"decay_rules": (("kernel$", 1.0),)}, "decay_rules: no rule matches 'a/bias'"),
        ({"matrix_rules": (("^block", "io"), (".*", None))}, r"matrix_rules: '\^block' matches no path"),
        ({"matrix_rules": ((".*", "io"),)}, r"'io' does not fit 'a/bias' of shape \(7,\)"),
        ({"matrix_rules": (("kernel", "oo"), (".*", None))}, "'oo' does not fit"),
    ],
)
def test_rules_are_total_and_alive(options, message):
    params = {"a": {"kernel": jnp.ones((5, 7)), "bias": jnp.ones(7)}}
    with pytest.raises(ValueError, match=message):
        make(**options).init(params)


def test_clipping_comes_first():
    params = {"kernel": jnp.zeros((5, 7))}
    gradients = {"kernel": random_like((5, 7), 0)}
    small = jax.tree.map(lambda leaf: leaf * (1e-3 / optax.global_norm(gradients)), gradients)
    updates = []
    for given, clip_norm in ((gradients, 1e-3), (small, None)):
        transform = make(
            "adamw", clip_norm=clip_norm, eps=1.0
        )  # eps this large: the update is not scale-free
        updates.append(transform.update(given, transform.init(params), params)[0]["kernel"])
    np.testing.assert_allclose(updates[0], updates[1], rtol=1e-5)


@pytest.mark.parametrize("cooldown", ["linear", "1-sqrt"])
def test_schedule(cooldown):
    rate = optimizer.make_schedule(2.0, total_steps=20, warmup_steps=4, cooldown_steps=5, cooldown=cooldown)
    steps = np.arange(20)
    share = np.clip((steps + 0.5 - 15) / 5, 0, None)
    cool = 1 - share if cooldown == "linear" else 1 - np.sqrt(share)
    expected = 2.0 * np.minimum(1, (steps + 1) / 4) * cool
    np.testing.assert_allclose([rate(step) for step in steps], expected, rtol=1e-5)
    assert rate(0) > 0 and rate(19) > 0 and math.isclose(float(rate(10)), 2.0)


def test_schedule_reaches_the_update():
    params = {"kernel": jnp.ones((5, 7))}
    zeros = {"kernel": jnp.zeros((5, 7))}
    transform = make("adamw", weight_decay=1.0, total_steps=8, warmup_steps=2, cooldown_steps=2)
    opt_state, seen = transform.init(params), []
    for _ in range(8):
        update, opt_state = transform.update(zeros, opt_state, params)
        seen.append(-float(update["kernel"][0, 0]))
    rate = optimizer.make_schedule(0.02, total_steps=8, warmup_steps=2, cooldown_steps=2)
    np.testing.assert_allclose(seen, [rate(step) for step in range(8)], rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"warmup_steps": 60, "cooldown_steps": 60}, {"cooldown": "cosine", "cooldown_steps": 5}]
)
def test_schedule_errors(options):
    with pytest.raises(ValueError, match=r"warmup_steps 60|cooldown 'cosine'"):
        make(**options)


def test_unknown_name():
    with pytest.raises(ValueError, match="'sgd' is neither"):
        make("sgd")


def rates_of(transform, opt_state, *, steps):
    """The rate of each of so many steps, read off the decay of a parameter of 1 without gradient."""
    params, zeros, seen = {"kernel": jnp.ones((5, 7))}, {"kernel": jnp.zeros((5, 7))}, []
    for _ in range(steps):
        update, opt_state = transform.update(zeros, opt_state, params)
        seen.append(-float(update["kernel"][0, 0]))
    return seen, opt_state


@pytest.mark.parametrize("cooldown", ["linear", "1-sqrt"])
def test_an_open_ended_run_that_cools_down_has_the_schedule_of_its_length(cooldown):
    options = {"weight_decay": 1.0, "warmup_steps": 2, "cooldown": cooldown}
    transform = make("adamw", open_ended=True, **options)
    before, trunk = rates_of(transform, transform.init({"kernel": jnp.ones((5, 7))}), steps=5)
    short, _ = rates_of(transform, optimizer.begin_cooldown(trunk, steps=3), steps=3)
    on, trunk = rates_of(transform, trunk, steps=4)  # the state that the copy was taken from goes on
    long, _ = rates_of(transform, optimizer.begin_cooldown(trunk, steps=2), steps=2)
    for seen, cooling in ((before + short, 3), (before + on + long, 2)):
        rate = optimizer.make_schedule(
            0.02, total_steps=len(seen), warmup_steps=2, cooldown_steps=cooling, cooldown=cooldown
        )
        np.testing.assert_allclose(seen, [rate(step) for step in range(len(seen))], rtol=1e-5)


def test_a_cooldown_is_begun_once_and_of_an_open_end():
    params = {"kernel": jnp.ones((5, 7))}
    cooling = optimizer.begin_cooldown(make("muon", open_ended=True).init(params), steps=3)
    with pytest.raises(ValueError, match="has begun at step 0"):
        optimizer.begin_cooldown(cooling, steps=3)
    with pytest.raises(ValueError, match="open_ended=True"):
        optimizer.begin_cooldown(make("muon").init(params), steps=3)
    with pytest.raises(ValueError, match="cooldown of 0 steps"):
        optimizer.begin_cooldown(make("muon", open_ended=True).init(params), steps=0)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_rate_rules_multiply_the_whole_update(name):
    params = {"kernel": random_like((5, 7), 0), "bias": random_like((7,), 1)}
    gradients = jax.tree.map(jnp.ones_like, params)
    updates = []
    for rules in (optimizer.RATE_RULES, ((r"bias$", 3.0), (r".*", 0.5))):
        transform = make(name, weight_decay=0.1, rate_rules=rules)
        updates.append(transform.update(gradients, transform.init(params), params)[0])
    np.testing.assert_allclose(updates[1]["bias"], 3 * updates[0]["bias"], rtol=1e-6)
    np.testing.assert_allclose(updates[1]["kernel"], updates[0]["kernel"] / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="rate_rules: 'bia' matches no path"):
        make(name, rate_rules=(("bia", 1.0), (".*", 2.0))).init({"kernel": params["kernel"]})
