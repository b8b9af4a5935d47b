"""Is it copied? How near a clip is to its nearest training clip, and how near a true one would be.

The distance of two clips is the root mean square difference of their pixels (0 to 1), frame by frame, after
each frame is averaged down to `SIDE` pixels on its shorter side. Pixels and not tracks, since a copy has to
be seen whatever the parser makes of it, background and marks included, and since a copy is near 0 in pixels
at any resolution. So coarse, since a pixel (1.25 world units of a 2-D world) is about an object's radius:
an object that is off by half of itself is still nearer than one that is elsewhere, and the noise of an
autoencoder averages out.

    ratio = d(sample, the training clip nearest to it) / d(truth, the training clip nearest to it)

A sample drawn as the truth is has a ratio below 1 as often as above (share 0.5); a copy has a ratio near 0.
A ratio somewhat below 1 need not be copying: an empty or sparse video has less to differ in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax import rng
from sora_jax.evaluation.text_alignment import Score, bootstrap

SIDE = 8  # pixels of the shorter side
LEAST = 1 / 255  # a smaller distance is not told from 0 in 8 bits: no truth counts as nearer than that


class Nearest(NamedTuple):
    """Which clip of a set is nearest, and its distance (root mean square of pixels of 0 to 1)."""

    index: int
    distance: float


def reduce(video: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, " d"]:
    """A clip as one float32 vector: its frames averaged down, 0 to 1."""
    height, width = video.shape[1:3]
    scale = SIDE / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in video.astype(np.float32)]
    return np.stack(frames).ravel() / 255


def nearest(clip: Float[np.ndarray, " d"], others: Float[np.ndarray, "n d"]) -> Nearest:
    """The nearest of `others` to `clip`, all reduced.

    Raises:
      ValueError: no others, or of another length, shape of frame, or both.
    """
    if not len(others) or others.shape[1:] != clip.shape:
        raise ValueError(
            f"a clip of {clip.shape} and others of {others.shape}: give [d] and [n d], n above 0"
        )
    squares = np.array([np.mean((other - clip) ** 2) for other in others])
    index = int(squares.argmin())
    return Nearest(index, math.sqrt(float(squares[index])))


def ratio(sample: float, truth: float) -> float:
    """The distance of a sample to its nearest training clip over that of the truth to its own."""
    return sample / max(truth, LEAST)


def summarise(
    ratios: Sequence[Float[np.ndarray, " k"]], *, seed: int = 0, draws: int = 1000
) -> dict[str, Score]:
    """ "median ratio" over all samples and "share below 1" of them; the intervals are over scenes.

    Args:
      ratios: of each scene, of those of its samples that could be read; a scene without any does not enter,
        since what is not there is no copy: the caller counts it.
    """
    scenes = [np.asarray(each, float) for each in ratios if len(each)]
    if not scenes:
        nothing = Score(math.nan, math.nan, math.nan, 0)
        return {"median ratio": nothing, "share below 1": nothing}
    below, count = np.array([[(each < 1).sum(), len(each)] for each in scenes], float).T
    stream = rng.host(seed, "bootstrap median")
    chosen = stream.integers(len(scenes), size=(draws, len(scenes)))
    medians = [np.median(np.concatenate([scenes[k] for k in row])) for row in chosen]
    low, high = np.percentile(medians, [2.5, 97.5])
    median = Score(float(np.median(np.concatenate(scenes))), float(low), float(high), len(scenes))
    return {"median ratio": median, "share below 1": bootstrap(below, count, seed=seed, draws=draws)}
