"""The step against a loop written out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sora_jax import rng
from sora_jax.training import state, step

RATE = 0.1


def init_params(key):
    return {"weight": jax.random.normal(key, (3,))}


def loss_fn(params, frozen, batch, key):
    error = batch["x"] @ params["weight"] - batch["y"] + frozen
    return jnp.mean(error**2), {"bias": jnp.mean(error)}


def batch_of(number):
    generator = np.random.default_rng(number)
    return {
        "x": generator.standard_normal((12, 3)).astype(np.float32),
        "y": np.ones(12, np.float32),
    }


@pytest.fixture
def start():
    return state.init_state(init_params, optax.sgd(RATE), key=rng.key(3))


def test_gradient_descent_and_moving_average_by_hand(start):
    weight = np.array(start.params["weight"], np.float64)
    ema = weight.copy()
    step_fn = step.make_step(loss_fn, optax.sgd(RATE), ema_decay=0.3)
    current = start
    for number in range(6):
        batch = batch_of(number)
        current, metrics = step_fn(current, 0.5, batch, rng.key(0, number))
        error = batch["x"] @ weight - batch["y"] + 0.5
        gradient = 2 * batch["x"].T @ error / 12
        weight = weight - RATE * gradient
        decay = min(0.3, (1 + number) / (10 + number))  # 0.1, 2/11, 0.25, then 0.3
        ema = decay * ema + (1 - decay) * weight
        expected = {
            "loss": np.mean(error**2),
            "bias": np.mean(error),
            "grad_norm": np.linalg.norm(gradient),
            "update_norm": RATE * np.linalg.norm(gradient),
            "param_norm": np.linalg.norm(weight),
        }
        assert bool(metrics.pop("finite"))
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert int(current.step) == 6
    np.testing.assert_allclose(current.params["weight"], weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(current.ema["weight"], ema, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulation_is_the_whole_batch(accumulate):
    results = []
    for pieces in (1, accumulate):
        current = state.init_state(init_params, optax.sgd(RATE), key=rng.key(3))
        results.append(
            step.make_step(loss_fn, optax.sgd(RATE), accumulate=pieces)(current, 0.0, batch_of(0), rng.key(0))
        )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), *results)


def test_accumulation_draws_anew_for_each_piece(start):
    def noise(params, frozen, batch, key):
        return jnp.sum(params["weight"]) * 0.0, {"draw": jax.random.normal(key)}

    _, metrics = step.make_step(noise, optax.sgd(RATE), accumulate=2)(start, 0.0, batch_of(0), rng.key(0))
    draws = [jax.random.normal(jax.random.fold_in(rng.key(0), piece)) for piece in range(2)]
    np.testing.assert_allclose(metrics["draw"], np.mean(draws), rtol=1e-6)


def test_batch_that_does_not_divide(start):
    with pytest.raises(ValueError, match="12 rows cannot be cut into accumulate=5"):
        step.make_step(loss_fn, optax.sgd(RATE), accumulate=5)(start, 0.0, batch_of(0), rng.key(0))


def test_gradient_alone_not_finite_is_seen(start):
    # sqrt at 0: the loss is 0 and finite, its gradient is infinite.
    def root(params, frozen, batch, key):
        return jnp.sqrt(jnp.sum(params["weight"] ** 2) * 0.0), {}

    _, metrics = step.make_step(root, optax.sgd(RATE))(start, 0.0, batch_of(0), rng.key(0))
    assert np.isfinite(metrics["loss"]) and not bool(metrics["finite"])


def test_names_of_the_step_are_taken(start):
    def greedy(params, frozen, batch, key):
        return jnp.sum(params["weight"]), {"grad_norm": jnp.zeros(())}

    with pytest.raises(ValueError, match=r"may not be called .*grad_norm"):
        step.make_step(greedy, optax.sgd(RATE))(start, 0.0, batch_of(0), rng.key(0))


def test_parameters_are_float32():
    with pytest.raises(ValueError, match="parameter weight is bfloat16"):
        state.init_state(lambda key: {"weight": jnp.ones(3, jnp.bfloat16)}, optax.sgd(RATE), key=rng.key(0))


def test_average_starts_at_the_parameters(start):
    np.testing.assert_array_equal(start.ema["weight"], start.params["weight"])
    assert start.ema["weight"].unsafe_buffer_pointer() != start.params["weight"].unsafe_buffer_pointer()
