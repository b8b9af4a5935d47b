"""Signed relations: who is left of, right of, above and below whom, and whether the words matter.

`metric(tracks, truth) -> score` in [0, 1]; NaN where the truth states no such relation. A published
spatial-relation score takes |offset| and so gives a mirrored video full marks (VBench); these take its sign.
"""

from __future__ import annotations

import math

import numpy as np

from sora_jax.evaluation.physics.metrics import match, mirrored
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds.facts import RELATIONS, Facts, facts

SIDEWAYS, UPRIGHT = ("left of", "right of"), ("above", "below")


def _signed(tracks: Tracks, stated: Facts, words: tuple[str, ...]) -> float:
    """Mean over the stated relations of the share of frames, of those that show both, with the right sign.

    Objects of which the same is said have no sides and do not enter; of an object that is missing or has
    another colour nothing is right.
    """
    said = [r for r in stated.relations if r[1] in words and stated.objects[r[0]] != stated.objects[r[2]]]
    if not said:
        return math.nan
    matched = match(tracks, stated)
    found = (matched.track >= 0) & ~(matched.right["color"] == 0)
    right = []
    for i, word, j in said:
        a, b = matched.track[i], matched.track[j]
        both = tracks.present[:, a] & tracks.present[:, b] if found[i] and found[j] else np.zeros(1, bool)
        if not both.any():
            right.append(0.0)
            continue
        offset = tracks.position[both, a] - tracks.position[both, b]
        right.append(float((offset @ np.array(RELATIONS[word], float) > 0).mean()))
    return float(np.mean(right))


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
