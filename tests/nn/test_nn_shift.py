"""Shifts against a loop in NumPy, and the norm's independence of other positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.nn.norm import PositionNorm
from sora_jax.nn.shift import shift, temporal_channels


def looped(x, previous):
    """The docstring of `shift`, position by position."""
    y = np.zeros_like(x)
    group = x.shape[-1] // 8
    steps = [(0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1), (-1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)]
    _, frames, height, width, _ = x.shape
    for k, (df, di, dj) in enumerate(steps):
        channels = slice(k * group, (k + 1) * group)
        for f, i, j in np.ndindex(frames, height, width):
            f2, i2, j2 = f + df, i + di, j + dj
            if f2 < 0:
                y[:, f, i, j, channels] = previous[:, i, j]
            elif 0 <= i2 < height and 0 <= j2 < width:
                y[:, f, i, j, channels] = x[:, f2, i2, j2, channels]
    return y


@pytest.mark.parametrize("frames", [1, 3])
def test_shift_is_the_loop(frames):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, frames, 5, 7, 24)).astype(np.float32)
    previous = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    shifted, last = shift(jnp.asarray(x), jnp.asarray(previous))
    np.testing.assert_array_equal(shifted, looped(x, previous))
    np.testing.assert_array_equal(last, x[:, -1, :, :, 12:15])


def test_width_that_does_not_divide_is_an_error():
    with pytest.raises(ValueError, match="20 is not a multiple of 8"):
        temporal_channels(20)


def test_norm_is_of_each_position_alone():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 8))
    norm = PositionNorm()
    params = norm.init(jax.random.key(1), x)
    y = norm.apply(params, 7.0 * x)
    np.testing.assert_allclose(jnp.mean(jnp.square(y), axis=-1), 1.0, atol=1e-5)
    other = norm.apply(params, x.at[1].set(5.0).at[0, 2].set(-3.0))
    np.testing.assert_array_equal(other[0, :2], norm.apply(params, x)[0, :2])
