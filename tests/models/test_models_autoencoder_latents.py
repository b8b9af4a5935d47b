"""Statistics, normalisation and fingerprint of latents."""

import jax
import ml_dtypes
import numpy as np
import pytest

from sora_jax.models.autoencoder_latents import (
    LatentStatistics,
    denormalise,
    fingerprint,
    latent_statistics,
    normalise,
)

HYPERPARAMETERS = {"widths": (8,), "ratio": (4, 8, 8), "channels": 2}


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    return [rng.normal(100.0, (1.0, 3.0), size=(f, 3, 5, 2)).astype(np.float32) for f in (1, 2, 7)]


@pytest.fixture
def params():
    rng = np.random.default_rng(1)
    return {"a": {"kernel": rng.normal(size=(3, 5)).astype(np.float32)}, "b": np.ones(7, np.float32)}


def test_statistics_are_those_of_all_positions(clips):
    flat = np.concatenate([c.reshape(-1, 2) for c in clips]).astype(np.float64)
    statistics = latent_statistics(iter(clips))
    np.testing.assert_allclose(statistics.mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, flat.std(0), rtol=1e-6)
    again = latent_statistics([normalise(c, statistics) for c in clips])
    np.testing.assert_allclose(again.mean, 0.0, atol=1e-4)
    np.testing.assert_allclose(again.std, 1.0, rtol=1e-4)


def test_denormalise_is_the_inverse(clips):
    statistics = latent_statistics(clips)
    for clip in clips:
        np.testing.assert_allclose(denormalise(normalise(clip, statistics), statistics), clip, rtol=1e-6)


def test_useless_latents_are_errors(clips):
    with pytest.raises(ValueError, match="no clips"):
        latent_statistics([])
    clips[0][..., 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        latent_statistics(clips)
    with pytest.raises(ValueError, match=r"channels \[0\] are constant"):
        latent_statistics([c * np.array([0.0, 1.0], np.float32) for c in clips[1:]])


def test_fingerprint_changes_with_any_weight(params, clips):
    statistics = latent_statistics(clips)
    original = fingerprint(params, statistics, HYPERPARAMETERS)
    seen = {original}
    leaves, structure = jax.tree.flatten(params)
    for i, leaf in enumerate(leaves):
        for place in np.ndindex(leaf.shape):
            changed = [x.copy() for x in leaves]
            changed[i][place] *= 1.01
            seen.add(fingerprint(jax.tree.unflatten(structure, changed), statistics, HYPERPARAMETERS))
    assert len(seen) == 1 + sum(x.size for x in leaves)
    others = [
        fingerprint({"a": params["a"], "c": params["b"]}, statistics, HYPERPARAMETERS),
        fingerprint(params, LatentStatistics(statistics.std, statistics.mean), HYPERPARAMETERS),
        fingerprint(params, statistics, HYPERPARAMETERS | {"channels": 3}),
    ]
    assert len(seen.union(others)) == len(seen) + 3


def test_fingerprint_is_stable(params, clips):
    statistics = latent_statistics(clips)
    original = fingerprint(params, statistics, HYPERPARAMETERS)
    shipped = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), params)
    reordered = {"b": shipped["b"], "a": shipped["a"]}
    assert fingerprint(reordered, statistics, HYPERPARAMETERS) == original
    constant = LatentStatistics(np.zeros(2, np.float32), np.ones(2, np.float32))
    # Written down from the first run: it must be the same in every process and on every machine.
    assert fingerprint({"a": np.ones(3)}, constant, {"x": (1, 2)}) == "d6e3aa187551dc06d89bbe6507f21e83"
