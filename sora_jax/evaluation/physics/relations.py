"""Signed relations: who is left of, right of, above and below whom, and whether the words matter.

`metric(tracks, truth) -> score` in [0, 1]; NaN where the truth states no such relation. A published
spatial-relation score takes |offset| and so gives a mirrored video full marks (VBench); these take its sign.
"""

from __future__ import annotations

import math

import numpy as np

from sora_jax.evaluation.physics.metrics import mirrored
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds.facts import RELATIONS, Facts, facts
from sora_jax.worlds.scene import COLORS

SIDEWAYS, UPRIGHT = ("left of", "right of"), ("above", "below")


def _signed(tracks: Tracks, stated: Facts, words: tuple[str, ...]) -> float:
    """Mean over the stated relations of the share of frames, of those that show both, with the right sign.

    An object is known by the colour that each frame shows: not by its track, which a jump to the other side
    would break or hand on. An object that shares its colour does not enter; of one that is missing nothing is
    right.
    """
    colors = [o.color for o in stated.objects]
    alone = [colors.count(c) == 1 for c in colors]
    said = [r for r in stated.relations if r[1] in words and alone[r[0]] and alone[r[2]]]
    if not said:
        return math.nan
    right = []
    for i, word, j in said:
        offset = _place(tracks, colors[i]) - _place(tracks, colors[j])
        offset = offset[~np.isnan(offset).any(axis=-1)]
        along = offset @ np.array(RELATIONS[word], float)
        right.append(float((along > 0).mean()) if len(along) else 0.0)
    return float(np.mean(right))


def _place(tracks: Tracks, color: str | None) -> np.ndarray:
    """[f 2] mean place of what has a colour, NaN in frames that do not show it."""
    mine = tracks.present & (tracks.hue == COLORS.index(color or ""))
    number = mine.sum(axis=1)[:, None]
    total = np.where(mine[..., None], tracks.position, 0.0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def left_right(tracks: Tracks, truth: SceneState) -> float:
    """Share of frames in which the stated left and right hold, by sign; a mirrored video scores 0.

    Blind to distances, to above and below, and to frames that do not show both.
    """
    return _signed(tracks, facts(truth), SIDEWAYS)


def above_below(tracks: Tracks, truth: SceneState) -> float:
    """The same of above and below; a video upside down scores 0. Blind to left and right."""
    return _signed(tracks, facts(truth), UPRIGHT)


def contrast(tracks: Tracks, truth: SceneState) -> float:
    """(1 + a(prompt) - a(mirrored prompt)) / 2 with a = `left_right`: 1 right, 0 mirrored, 1/2 no difference.

    A video of which neither holds (an object is missing) has 1/2, where `left_right` alone has 0: so it tells
    a wrong side from a wrong object. Blind as `left_right` is.
    """
    stated = facts(truth)
    return (1 + _signed(tracks, stated, SIDEWAYS) - _signed(tracks, mirrored(stated), SIDEWAYS)) / 2
