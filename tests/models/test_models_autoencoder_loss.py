"""Analytic values of the losses, and that they train."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sora_jax.models.autoencoder import Gaussian, create
from sora_jax.models.autoencoder_adversary import Discriminator, adversarial_loss
from sora_jax.models.autoencoder_loss import (
    charbonnier,
    gradient_difference,
    kl,
    psnr,
    reconstruction_loss,
)
from sora_jax.training.step import make_step
from sora_jax.types import TrainState
from sora_jax.worlds.source import WorldSource


def create_state(params, optimizer):
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, ema=params, opt_state=optimizer.init(params)
    )


@pytest.fixture(scope="module")
def model():
    return create("test")


@pytest.fixture(scope="module")
def batch():
    source = WorldSource(seed=0, length=4, frames={5: 1.0}, sizes={(32, 48): 1.0})
    return jnp.stack([source[i].video for i in range(4)]).astype(jnp.float32) / 127.5 - 1.0


@pytest.fixture(scope="module")
def params(model, batch):
    return jax.jit(model.init)(jax.random.key(0), batch, jax.random.key(1))["params"]


def test_charbonnier_is_square_below_epsilon_and_absolute_above():
    x = jnp.zeros((1, 2, 3, 5, 3))
    assert float(charbonnier(x, x)) == 0.0
    np.testing.assert_allclose(charbonnier(x + 1.0, x, epsilon=1e-4), 1.0, rtol=1e-3)
    np.testing.assert_allclose(charbonnier(x + 0.01, x, epsilon=1.0), 0.01**2 / 2, rtol=1e-2)


def test_gradient_difference_of_ramps():
    f, h, w = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in (3, 8, 16)), indexing="ij")
    x = jnp.zeros((2, 3, 8, 16, 3))

    def ramp(y):
        return jnp.broadcast_to(y[None, ..., None], x.shape)

    np.testing.assert_allclose(gradient_difference(x + 0.3, x), 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient_difference(ramp(f), x, scales=2), 1.0, rtol=1e-6)
    # A slope s per pixel is 2 s per pixel of the halved frame.
    np.testing.assert_allclose(gradient_difference(ramp(0.1 * h), x, scales=2), (0.1 + 0.2) / 2, rtol=1e-5)
    np.testing.assert_allclose(gradient_difference(ramp(0.1 * w), x, scales=3), 0.7 / 3, rtol=1e-5)
    image = gradient_difference(ramp(0.1 * w)[:, :1], x[:, :1], scales=3)
    np.testing.assert_allclose(image, 0.7 / 3, rtol=1e-5)


def test_kl_against_its_integral():
    mean, logvar = 0.7, -1.1
    x = np.linspace(-12, 12, 20001)
    p = np.exp(-((x - mean) ** 2) / (2 * np.exp(logvar))) / np.sqrt(2 * np.pi * np.exp(logvar))
    log_q = -(x**2) / 2 - np.log(2 * np.pi) / 2
    integral = np.sum(p * (np.log(np.maximum(p, 1e-300)) - log_q)) * (x[1] - x[0])
    shape = (2, 1, 3, 5, 4)
    np.testing.assert_allclose(
        kl(Gaussian(jnp.full(shape, mean), jnp.full(shape, logvar))), integral, rtol=1e-4
    )


def test_psnr_of_a_uniform_error():
    x = jnp.zeros((1, 2, 3, 5, 3))
    np.testing.assert_allclose(psnr(x + 0.02, x), 40.0, rtol=1e-5)
    np.testing.assert_allclose(psnr(x + 3.0, x + 1.0), 120.0 + 20 * np.log10(2.0), rtol=1e-3)  # clipped


def test_an_image_has_a_loss(model, params, batch):
    loss, metrics = reconstruction_loss(model)(params, None, batch[:, :1], jax.random.key(0))
    assert np.isfinite(loss)
    assert set(metrics) == {"charbonnier", "gradient", "kl", "psnr", "latent_rms"}


def test_loss_goes_down_on_simulated_clips(model, params, batch):
    loss_fn = reconstruction_loss(model)
    optimizer = optax.adam(1e-2)
    step_fn = make_step(loss_fn, optimizer, donate=False)
    state = create_state(params, optimizer)
    values = []
    for i in range(60):
        state, metrics = step_fn(state, None, batch, jax.random.key(i))
        values.append(float(metrics["psnr"]))
    assert values[-1] > values[0] + 8.0


@pytest.fixture(scope="module")
def discriminator():
    return Discriminator(width=16, depth=1)


@pytest.fixture(scope="module")
def opponent(discriminator, batch):
    return jax.jit(discriminator.init)(jax.random.key(7), batch)["params"]


def test_discriminator_has_a_logit_per_patch(discriminator, opponent, batch):
    assert discriminator.apply({"params": opponent}, batch).shape == (4, 2, 4, 6)
    assert discriminator.apply({"params": opponent}, batch[:, :1]).shape == (4, 1, 4, 6)
    with pytest.raises(ValueError, match=r"4 frames .* use 1 or 5"):
        discriminator.apply({"params": opponent}, batch[:, :4])


def test_each_side_has_the_gradient_of_its_own_loss(model, params, discriminator, opponent, batch):
    """Against the two losses written apart: each side's parameters with the other side's held fixed."""
    weight, key = 2.0, jax.random.key(3)
    both = {"autoencoder": params, "discriminator": opponent}
    loss_fn = adversarial_loss(model, discriminator, adversarial_weight=weight)
    gradient, metrics = jax.jit(jax.grad(loss_fn, has_aux=True))(both, None, batch, key)

    def logits(side, video):
        return discriminator.apply({"params": side}, video)

    def generator_loss(side):
        video, _ = model.apply({"params": side}, batch, key)
        return reconstruction_loss(model)(side, None, batch, key)[0] - weight * logits(opponent, video).mean()

    def critic_loss(side):
        video, _ = model.apply({"params": params}, batch, key)
        return jax.nn.relu(1 - logits(side, batch)).mean() + jax.nn.relu(1 + logits(side, video)).mean()

    own = jax.jit(jax.grad(generator_loss))(params)
    critic, hinge = jax.jit(jax.grad(critic_loss))(opponent), critic_loss(opponent)
    for ours, alone in ((gradient["autoencoder"], own), (gradient["discriminator"], critic)):
        assert any(np.any(leaf) for leaf in jax.tree.leaves(alone))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, alone)
    np.testing.assert_allclose(metrics["hinge"], hinge, rtol=1e-5)


def test_discriminator_learns_to_tell(model, params, discriminator, opponent, batch):
    optimizer = optax.partition(
        {"autoencoder": optax.adam(1e-4), "discriminator": optax.adam(3e-3)},
        {"autoencoder": "autoencoder", "discriminator": "discriminator"},
    )
    loss_fn = adversarial_loss(model, discriminator, adversarial_weight=0.01)
    step_fn = make_step(loss_fn, optimizer, donate=False)
    state = create_state({"autoencoder": params, "discriminator": opponent}, optimizer)
    history = []
    for i in range(12):
        state, metrics = step_fn(state, None, batch, jax.random.key(i))
        history.append(float(metrics["hinge"]))
    assert history[-1] < 0.7 * history[0]
