"""The tokenizer: positions matter, the output begins at zero, any grid has features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import patches
from sora_jax.models.tokenizer import Tokenizer, position_features


def test_the_same_patch_elsewhere_is_another_token():
    """Every pair of positions of a 128 px clip of 4 s has features well apart: a token knows where it is."""
    position = patches.positions((9, 8, 8), ratio=(4, 8, 8), patch=(1, 2, 2), fps=8.0)
    features = np.asarray(position_features(jnp.asarray(position[None])))[0]
    assert features.shape == (576, 36)
    distance = np.linalg.norm(features[:, None] - features[None], axis=-1)
    assert np.min(distance + 10 * np.eye(576)) > 1.0


def test_begins_at_zero_and_reads_position():
    tokenizer = Tokenizer(patch_width=5, width=7)
    x, position = jnp.ones((2, 3, 5)), jnp.arange(18.0).reshape(2, 3, 3) / 7
    variables = jax.jit(tokenizer.init)(jax.random.key(0), x, position)
    np.testing.assert_array_equal(tokenizer.apply(variables, x, position), np.zeros((2, 3, 5)))
    tokens = tokenizer.apply(variables, x, position, method="embed")
    assert np.min(np.abs(np.diff(tokens, axis=1)).max(-1)) > 0.1
    with pytest.raises(ValueError, match="patch_width is 5"):
        tokenizer.apply(variables, x[..., :4], position, method="embed")
