"""Gaussian data N(mean, diag(variance)): batches of it, and all that is known of it in closed form."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from sora_jax import patches
from sora_jax.types import PackedBatch

MEAN = np.asarray([0.5, -1.0, 0.0], np.float32)
VARIANCE = np.asarray([0.25, 1.0, 4.0], np.float32)


def velocity(xt, t, batch=None):
    """`E[noise - x0 | xt]`: the best velocity there is."""
    del batch
    t = t[..., None]
    mean, variance = (jnp.asarray(x).reshape((1,) * (xt.ndim - 1) + (-1,)) for x in (MEAN, VARIANCE))
    total = (1 - t) ** 2 * variance + t**2
    return (t - (1 - t) * variance) / total * (xt - (1 - t) * mean) - mean


def least_error(t: np.ndarray) -> np.ndarray:
    """The least mean squared error of the velocity at t, averaged over the dimensions."""
    t = np.asarray(t, np.float64)[..., None]
    return np.mean(VARIANCE / ((1 - t) ** 2 * VARIANCE + t**2), axis=-1)


def images(rows: int, *, tokens: int, generator: np.random.Generator) -> PackedBatch:
    """`rows x tokens` clips of one token each, numbered from 0, each a sample of the data."""
    shape = (rows, tokens)
    noise = generator.normal(size=(*shape, len(MEAN)))
    number = np.broadcast_to(np.arange(1, tokens + 1), shape)
    batch = PackedBatch(
        tokens=(MEAN + np.sqrt(VARIANCE) * noise).astype(np.float32),
        position=np.zeros((*shape, 3), np.float32),
        segment=number,
        known=np.zeros(shape, bool),
        index=np.zeros((*shape, 3), np.int32),
        clip=np.arange(rows * tokens, dtype=np.uint32).reshape(shape),
        grid=np.ones((*shape, 3), np.int32),
        text=np.ones(shape, np.int32),
        text_segment=number,
        span=np.zeros(shape, np.int32),
        text_span=np.zeros(shape, np.int32),
    )
    return PackedBatch(*map(jnp.asarray, batch))


def segment(clip: int, *, grid: patches.Grid, text: int = 4) -> patches.Segment:
    """A clip whose content is a function of its number and grid: `text` caption tokens, the last the end."""
    generator = np.random.default_rng([clip, *grid])
    tokens = MEAN + np.sqrt(VARIANCE) * generator.normal(size=(int(np.prod(grid)), len(MEAN)))
    words = np.append(generator.integers(3, 259, text - 1), 1)
    return patches.Segment(
        tokens=tokens.astype(np.float32),
        grid=grid,
        position=patches.positions(grid, ratio=(4, 8, 8), patch=(1, 2, 2), fps=8.0),
        clip=clip,
        text=words.astype(np.int32),
    )


def pack(*rows: list[patches.Segment], tokens: int = 0, text: int = 0, segments: int = 0) -> PackedBatch:
    """Rows of segments, in tables of at least the given sizes."""
    n = max([tokens, *(sum(len(s.tokens) for s in row) for row in rows)])
    m = max([text, *(sum(len(s.text) for s in row) for row in rows)])
    s = max([segments, *(len(row) for row in rows)])
    batch = patches.pack_rows(rows, row_tokens=n, row_text=m, max_segments=s)
    return PackedBatch(*map(jnp.asarray, batch))
