"""Conversions between what a network may predict: every kind, both paths, every t."""

import itertools

import gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion import path

T = np.asarray([[0.0, 0.01, 0.3, 0.5, 0.77, 0.99, 1.0]], np.float32)
ROWS, TOKENS, WIDTH = 1, 7, 5


@pytest.fixture(scope="module")
def ends():
    generator = np.random.default_rng(0)
    return tuple(jnp.asarray(generator.normal(size=(ROWS, TOKENS, WIDTH)), jnp.float32) for _ in range(2))


def truth(kind, x0, noise, t, the_path):
    """The definitions, written out in NumPy float64 apart from the code."""
    t = np.asarray(t, np.float64)[..., None]
    x0, noise = np.asarray(x0, np.float64), np.asarray(noise, np.float64)
    linear = the_path.name == "linear"
    alpha, sigma = (1 - t, t) if linear else (np.cos(np.pi * t / 2), np.sin(np.pi * t / 2))
    match kind:
        case "x0":
            return x0
        case "noise":
            return noise
        case "xt":
            return alpha * x0 + sigma * noise
        case "v":
            return (alpha * noise - sigma * x0) / np.hypot(alpha, sigma)
        case "velocity":
            return noise - x0 if linear else np.pi / 2 * (alpha * noise - sigma * x0)


@pytest.mark.parametrize("the_path", path.PATHS.values(), ids=path.PATHS.keys())
def test_the_path_runs_exactly_from_data_to_noise_with_its_velocity_as_derivative(the_path, ends):
    x0, noise = ends
    for level, end in ((0.0, x0), (1.0, noise)):
        t = jnp.full((ROWS, TOKENS), level)
        np.testing.assert_array_equal(path.mix(x0, noise, t=t, path=the_path), end)
    xt, rate = jax.jvp(lambda t: path.mix(x0, noise, t=t, path=the_path), (T,), (jnp.ones_like(T),))
    np.testing.assert_allclose(xt, truth("xt", x0, noise, T, the_path), atol=2e-6)
    np.testing.assert_allclose(rate, truth("velocity", x0, noise, T, the_path), atol=5e-6)
    np.testing.assert_allclose(path.velocity(x0, noise, t=T, path=the_path), rate, atol=5e-6)


@pytest.mark.parametrize("the_path", path.PATHS.values(), ids=path.PATHS.keys())
@pytest.mark.parametrize(("source", "target"), itertools.product(path.PREDICTIONS, repeat=2))
def test_every_kind_converts_into_every_other_and_is_finite_at_the_limits(the_path, source, target, ends):
    x0, noise = ends
    xt = path.mix(x0, noise, t=T, path=the_path)
    output = jnp.asarray(truth(source, x0, noise, T, the_path), jnp.float32)
    got = path.convert(output, xt, t=T, source=source, target=target, path=the_path)
    assert np.isfinite(got).all()
    # x0 does not determine the rest at t = 0, nor noise at t = 1; elsewhere float32 rounding (6e-8 of
    # numbers up to 4, a few operations) is divided by the determinant, here at least 0.01.
    determined = {"x0": T > 0, "noise": T < 1}.get(source, T >= 0) | (source == target)
    want = truth(target, x0, noise, T, the_path)
    np.testing.assert_allclose(got[determined], want[determined], atol=2e-4)
    middle = (T > 0.2) & (T < 0.8)
    np.testing.assert_allclose(got[middle], want[middle], atol=5e-6)


@pytest.mark.parametrize("the_path", path.PATHS.values(), ids=path.PATHS.keys())
@pytest.mark.parametrize(("source", "target"), itertools.product(path.PREDICTIONS, repeat=2))
def test_the_gain_is_the_derivative_of_the_conversion(the_path, source, target, ends):
    t = jnp.asarray([[0.1, 0.2, 0.35, 0.5, 0.6, 0.8, 0.9]])

    def converted(output):
        return path.convert(output, ends[1], t=t, source=source, target=target, path=the_path)

    _, slope = jax.jvp(converted, (ends[0],), (jnp.ones_like(ends[0]),))
    gain = path.gain(t, source=source, target=target, path=the_path)
    np.testing.assert_allclose(slope, np.broadcast_to(gain[..., None], slope.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("the_path", path.PATHS.values(), ids=path.PATHS.keys())
def test_logsnr_and_its_inverse(the_path):
    t = jnp.asarray([0.0, 0.1, 0.5, 0.9, 1.0])
    logsnr = path.logsnr(t, path=the_path)
    alpha, sigma = the_path.alpha(t), the_path.sigma(t)
    np.testing.assert_allclose(logsnr[1:-1], np.log(alpha**2 / sigma**2)[1:-1], rtol=1e-5, atol=1e-6)
    assert logsnr[0] == np.inf and logsnr[-1] == -np.inf
    np.testing.assert_allclose(path.t_of_logsnr(logsnr, path=the_path), t, atol=1e-6)


def test_a_state_of_the_cosine_path_is_one_of_the_linear_path_at_the_same_signal_to_noise_ratio(ends):
    x0, noise = ends
    t, factor = path.to_linear(T, path=path.COSINE)
    there = path.mix(x0, noise, t=T, path=path.COSINE) * factor[..., None]
    np.testing.assert_allclose(path.mix(x0, noise, t=t), there, atol=2e-6)
    np.testing.assert_allclose(path.logsnr(t)[:, 1:-1], path.logsnr(T, path=path.COSINE)[:, 1:-1], atol=1e-4)


@pytest.mark.parametrize("prediction", path.PREDICTIONS)
def test_networks_of_every_kind_that_know_the_best_answer_are_one_velocity_function(prediction):
    xt = jax.random.normal(jax.random.key(0), (2, 3, 3))
    t = jnp.asarray([[0.2, 0.4, 0.6], [0.3, 0.5, 0.9]])

    def network(xt, t, batch):
        return path.convert(gaussian.velocity(xt, t), xt, t=t, source="velocity", target=prediction)

    got = path.velocity_fn(network, prediction=prediction)(xt, t, None)
    np.testing.assert_allclose(got, gaussian.velocity(xt, t), atol=1e-5)


def test_the_floor_bounds_what_an_x0_network_can_do_near_data():
    xt, t = jnp.ones((1, 3, 2)), jnp.asarray([[0.0, 0.01, 0.2]])
    got = path.as_velocity(jnp.zeros_like(xt), xt, t=t, prediction="x0", floor=0.05)
    np.testing.assert_allclose(got[0, :, 0], [20, 20, 5], rtol=1e-6)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="'epsilon': use one of velocity, x0, noise, v"):
        path.velocity_fn(gaussian.velocity, prediction="epsilon")
