"""Attributes of the parse against those the truth states: direction, speed, colour, shape, size, pairing.

`metric(tracks, truth) -> score` in [0, 1], 1 best; NaN where the truth states nothing of the kind. Graded, so
that a little wrong is not as bad as all wrong; `metrics.fact_scores` has the right-or-wrong forms.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.metrics import MOVED, displacement, fit_velocity, match, standing
from sora_jax.evaluation.physics.shapes import SHAPES
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds.facts import STILL, facts
from sora_jax.worlds.scene import COLORS, DIRECTIONS, RADIUS, SPEEDS

OCTANT = math.pi / 8  # radians from a compass word's angle to the next word's territory
WORST_PACE = math.log(4.0)  # "slow" for "fast" is a factor of four
WORST_SIZE = math.log(2.0)  # "small" for "large" is a factor of two
FREE_SIZE = 0.03  # relative error of a radius that is free: what softness and the grid do


def direction(tracks: Tracks, truth: SceneState) -> float:
    """Mean of 1 - (turn - pi/8) / (7 pi/8) over objects on a straight path, turn from the stated word.

    Net displacement's angle against the word's; up to pi/8 the word is still the nearest and free. No motion
    (`metrics.MOVED`) and a missing object score 0. Blind to speed, to place and to the path between.
    """
    stated = facts(truth)
    said = [(k, o.direction) for k, o in enumerate(stated.objects) if o.direction not in (None, STILL)]
    if not said:
        return math.nan
    track, scores = match(tracks, stated).track, []
    for k, word in said:
        x, y = displacement(tracks, int(track[k])) if track[k] >= 0 else (0.0, 0.0)
        if math.hypot(x, y) <= MOVED or word is None:
            scores.append(0.0)
            continue
        turn = abs(math.remainder(math.atan2(y, x) - DIRECTIONS[word], 2 * math.pi))
        scores.append(1 - max(turn - OCTANT, 0.0) / (math.pi - OCTANT))
    return float(np.mean(scores))


def speed(tracks: Tracks, truth: SceneState) -> float:
    """Mean of 1 - |log(pace / nearest pace of the stated class)| / log 4 over moving objects, at least 0.

    Pace: least-squares velocity. "slow", "medium", "fast" are `scene.SPEEDS`; slow for fast is a factor of 4,
    the worst. No motion and a missing object score 0. Blind to direction and to changes within a class.
    """
    stated = facts(truth)
    said = [(k, o.speed) for k, o in enumerate(stated.objects) if o.speed is not None]
    if not said:
        return math.nan
    track, scores = match(tracks, stated).track, []
    for k, word in said:
        o = int(track[k])
        if o < 0 or math.hypot(*displacement(tracks, o)) <= MOVED:
            scores.append(0.0)
            continue
        low, high = SPEEDS[word]
        pace = max(float(np.hypot(*fit_velocity(tracks, o))), 1e-6)
        gap = max(math.log(low / pace), math.log(pace / high), 0.0)
        scores.append(1 - min(gap / WORST_PACE, 1.0))
    return float(np.mean(scores))


def size(tracks: Tracks, truth: SceneState) -> float:
    """Mean of 1 - |log(radius / radius of the stated word)| / log 2 over objects, at least 0.

    An error of `FREE_SIZE` is free. A missing object scores 0. Blind to changes in time (`constancy`), to
    shape and to colour.
    """
    stated = facts(truth)
    track, scores = match(tracks, stated).track, []
    for k in range(len(stated.objects)):
        if truth.visible[:, k].max() <= truth_lib.WHOLE:
            continue
        if track[k] < 0:
            scores.append(0.0)
            continue
        wrong = abs(math.log(max(tracks.radius[track[k]], 1e-3) / RADIUS[truth.bodies[k].size]))
        scores.append(1 - min(max(wrong - FREE_SIZE, 0.0) / WORST_SIZE, 1.0))
    return float(np.mean(scores)) if scores else math.nan


def constancy(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean over tracks and frames of |log(r / r_0)| / log 2, r_0 the median of a track's first three.

    Frames at the border or in a touching group do not enter; an error of `FREE_SIZE` is free. A velocity
    error alone is blind to a ball that shrinks (Kang et al. 2024's). Needs no state. Blind to a size that is
    wrong throughout, and to what is gone.
    """
    if len(truth.alive) < 4:
        return math.nan
    errors = []
    for o in standing(tracks):
        free = np.flatnonzero(tracks.present[:, o] & ~tracks.edge[:, o] & ~tracks.touching[:, o])
        if len(free) > 3:
            radius = np.sqrt(tracks.area[free, o] / math.pi)
            wrong = np.abs(np.log(radius / np.median(radius[:3])))
            errors += list(np.minimum(np.maximum(wrong - FREE_SIZE, 0) / WORST_SIZE, 1))
    return 1 - float(np.mean(errors)) if errors else 1.0


def color(tracks: Tracks, truth: SceneState) -> float:
    """Mean over frames of sum_c min(seen_c, cast_c) / min(seen, cast): colours right, each once.

    The worst is 0: no colour right in any frame. Blind to who has which colour (`pairing`), to what is
    missing and to strangers beside a full cast.
    """
    due = Counter(COLORS.index(c) for c, _ in truth_lib.cast(truth))
    if not due:
        return math.nan
    frames = [Counter(tracks.hue[f, tracks.present[f]].tolist()) for f in range(tracks.frames)]
    return _mean([(seen & due).total() / min(seen.total(), due.total()) for seen in frames if seen])


def _whole(tracks: Tracks) -> np.ndarray:
    """[f o] where an object shows its shape, clear of border and others."""
    return tracks.present & ~tracks.edge & ~tracks.touching


def shape(tracks: Tracks, truth: SceneState) -> float:
    """The same of shapes, over objects of the cast's colours, clear of the border and of each other.

    Of each colour at most as many as the cast has enter, right shapes first: a twin is no wrong shape. Where
    a frame shows none of these colours, whatever it shows: another colour is no wrong shape. Blind to who has
    which shape, to what is missing, and to strangers.
    """
    cast = truth_lib.cast(truth)
    if not cast:
        return math.nan
    due, scores = Counter(SHAPES.index(s) for _, s in cast), []
    number = Counter(COLORS.index(c) for c, _ in cast)
    shown = _whole(tracks)
    for f in range(tracks.frames):
        seen: Counter[int] = Counter()
        for c in number:
            forms = tracks.form[f, shown[f] & (tracks.hue[f] == c)].tolist()
            seen.update(sorted(forms, key=lambda form: form not in due)[: number[c]])
        if not seen:
            forms = tracks.form[f, shown[f]].tolist()
            seen.update(sorted(forms, key=lambda form: form not in due)[: len(cast)])
        if seen:
            scores.append((seen & due).total() / seen.total())
    return _mean(scores)


def pairing(tracks: Tracks, truth: SceneState) -> float:
    """The same of shapes within each colour: the red one is a circle. NaN where the cast has one look.

    sum_c,s min(seen_cs, cast_cs) / sum_c min(seen_c, cast_c), over objects as for `shape`. Two objects that
    exchange colours are right for `color` and `shape`, and wrong here. Blind to place, to twins, to what is
    missing, and to colours that are nobody's.
    """
    due = Counter((COLORS.index(c), SHAPES.index(s)) for c, s in truth_lib.cast(truth))
    if len(due) < 2:
        return math.nan
    colors = Counter(c for c, _ in due.elements())
    shown, scores = _whole(tracks) & np.isin(tracks.hue, list(colors)), []
    for f in range(tracks.frames):
        pairs = zip(tracks.hue[f, shown[f]].tolist(), tracks.form[f, shown[f]].tolist(), strict=True)
        if seen := Counter(pairs):
            possible = Counter(c for c, _ in seen.elements()) & colors
            scores.append((seen & due).total() / possible.total())
    return _mean(scores)


def _mean(scores: list[float]) -> float:
    """0 where a video had nothing to judge."""
    return float(np.mean(scores)) if scores else 0.0
