"""Of several seeds the one that its text explains best: the measure, on errors that are known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import patches
from sora_jax.evaluate import gains
from sora_jax.sampling import choosing
from sora_jax.sampling.request import Settings

# By clip: how far a network is off that knows the text, and one that does not.
OFF = {7: (0.5, 1.0), 8: (3.0, 2.0), 9: (0.1, 0.4)}


def segment(clip: int, *, frames: int, known: int) -> patches.Segment:
    draw = np.random.default_rng(clip)
    return patches.segment(
        draw.standard_normal((frames, 2, 2, 3)).astype(np.float32),
        ratio=(4, 8, 8),
        patch=(1, 1, 1),
        fps=8.0,
        clip=clip,
        text=np.array([70, 71, 1], np.int32),
        known=np.repeat(np.arange(frames) < known, 4),
    )


def test_surprise_is_the_log_of_the_errors_with_the_text_over_without():
    """Two clips in a row, and one of a known frame, at which the network is far off."""
    rows = [[segment(7, frames=2, known=0), segment(8, frames=1, known=0)], [segment(9, frames=3, known=1)]]
    batch = patches.pack_rows(rows, row_tokens=14, row_text=6, max_segments=2)

    def apply(off, xt, t, seen):
        exact = (xt - batch.tokens) / jnp.maximum(t, 1e-6)[..., None]  # noise less tokens
        told = ((seen.text > 1) & (seen.text_segment > 0)).any(-1)[:, None]  # else its end alone
        owner = np.take_along_axis(np.asarray(batch.clip), np.maximum(batch.segment - 1, 0), 1)
        size = jnp.where(told, off[0][owner], off[1][owner])
        return exact + jnp.where(batch.known, 100.0, size)[..., None]

    off = jnp.asarray([[OFF.get(clip, (0.0, 0.0))[side] for clip in range(10)] for side in (0, 1)])
    found = choosing.surprise(off, batch, apply=apply, encode_text=lambda params, seen: seen)
    expected = {clip: 2 * np.log(told / untold) for clip, (told, untold) in OFF.items()}
    np.testing.assert_allclose(found[0], [expected[7], expected[8]], rtol=1e-3)
    np.testing.assert_allclose(found[1, 0], expected[9], rtol=1e-3)
    assert np.isfinite(found[1, 1])  # no clip


def test_the_price_of_choosing():
    plain = Settings(steps=20, guidance_scale=4.0)
    assert gains.evaluations(plain) == 40
    tried = gains.evaluations(dataclasses.replace(plain, tries=4))
    assert tried == pytest.approx(4 * (40 + 2 * choosing.DRAWS))
