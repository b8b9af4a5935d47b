"""Rotary embedding: products of queries and keys see differences of positions, on each axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import patches
from sora_jax.nn import rope


def products(position, head_dim=32):
    """`q_i . k_j` of the same random query and key at every position."""
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=head_dim), jnp.float32) for _ in range(2))
    rotation = rope.rotations(jnp.asarray(position[None]), head_dim=head_dim)
    shape = (1, len(position), 1, head_dim)
    query, key = (rope.rotate(jnp.broadcast_to(x[None, None, None], shape), *rotation) for x in (query, key))
    return np.asarray(jnp.einsum("bnkd,bmkd->nm", query, key))


def test_only_differences_matter():
    """A shift in time and space changes no product; angles reach 40 rad, so float32 leaves 1e-5 of each."""
    position = patches.positions((3, 2, 5), ratio=(4, 8, 8), patch=(1, 2, 2), fps=12.0)
    shifted = position + np.array([0.75, -0.4, 0.3], np.float32)
    np.testing.assert_allclose(products(position), products(shifted), atol=2e-4)


@pytest.mark.parametrize("axis", range(3))
def test_every_axis_matters(axis):
    position = np.zeros((2, 3), np.float32)
    position[1, axis] = 0.25
    p = products(position)
    assert abs(p[0, 1] - p[0, 0]) > 0.1 and abs(p[0, 1] - p[1, 0]) > 0.1


def test_length_is_kept():
    position = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    rotation = rope.rotations(jnp.asarray(position[None]), head_dim=12)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 7, 2, 12)), jnp.float32)
    turned = rope.rotate(x, *rotation)
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of XLA on a CPU")
def test_cosines_are_made_once_however_many_layers_turn_by_them():
    def layers(x, position):
        rotation = rope.rotations(position, head_dim=12)
        for _ in range(3):
            x = jax.nn.relu(jnp.sum(rope.rotate(x, *rotation), axis=2, keepdims=True) + x)
        return x

    shapes = ((1, 64, 2, 12), (1, 64, 3))
    compiled = jax.jit(layers).lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile()
    text = compiled.as_text() or ""
    assert text.count(" cosine(") == text.count(" sine(") == 1


@pytest.mark.parametrize("head_dim", [6, 12, 32, 64, 72, 128])
def test_planes_fill_the_head(head_dim):
    counts = rope.planes(head_dim)
    assert sum(counts) == head_dim // 2 and min(counts) >= 1 and counts[1] == counts[2]


@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_no_plane_stands_still_at_a_spacing_in_use(head_dim):
    """Between neighbours on any side from 48 to 256 px, no spatial plane turns by whole circles."""
    w = np.geomspace(*rope.SPACE_BAND, rope.planes(head_dim)[1])
    for side in range(48, 257, 16):
        turn = w * 32 / side % (2 * np.pi)
        assert np.min(np.minimum(turn, 2 * np.pi - turn)) > 0.18, side


def test_heads_that_cannot_be_rotated():
    for head_dim in (4, 15):
        with pytest.raises(ValueError, match=str(head_dim)):
            rope.planes(head_dim)
