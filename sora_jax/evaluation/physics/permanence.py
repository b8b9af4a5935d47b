"""Objects that are hidden for a while: do they come back, when, where, and as what.

`metric(tracks, truth) -> score` in [0, 1], 1 best; NaN where the truth has no object that a screen hides and
gives back. Whoever comes back is told from the screen by colour alone, so each metric is blind to what the
others see: an object that returns in another colour has returned. What never returns scores 0 in all. None
sees an object that was never hidden.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.counting import BARELY
from sora_jax.evaluation.physics.shapes import SHAPES
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.scene import COLORS, SHORT_SIDE

WORST_DELAY = 1.0  # seconds: the longest time in which the clips' objects are behind their screens, about
WORST_RADII = 3.0  # radii from where it should return: clearly another place
BACK = 0.85  # visible share; less of it beside a screen may be the screen's soft rim, of a mixed colour
FULLEST = 0.48  # of the frame; `segment.detect` drops a group that fills half of it
ENDS = 3  # frames at either end of a clip that show its looks
LENGTHS = (0.25, 0.5, 1.0, 2.0)  # seconds, bounds of the bins of an occlusion's length


class Passage(NamedTuple):
    """One object's time behind a screen.

    Attributes:
      body: its number; start, stop: its first hidden frame, and the first in which `BACK` of it is back.
      due: frames from then on that show as much of it, up to the next time that it is hidden.
    """

    body: int
    start: int
    stop: int
    due: Int[np.ndarray, " k"]


def passages(truth: SceneState, *, frame: float = SHORT_SIDE**2) -> list[Passage]:
    """Every time that an object is seen, then hidden by a screen (not by the frame's edge), then seen.

    None where all that is in view together fills more than `FULLEST` of the frame's area, `frame` in world
    units squared: a parse cannot tell such a screen from the background.
    """
    found, seen = [], truth.visible * truth.alive
    if (seen @ [math.pi * b.radius**2 for b in truth.bodies]).max() > FULLEST * frame:
        return found
    screens = np.flatnonzero(truth.occluder)
    reach = [scene_lib.reach(truth.bodies[k]) for k in screens]
    for i, screen in enumerate(truth.occluder):
        apart = np.linalg.norm(truth.position[:, screens] - truth.position[:, i : i + 1], axis=-1)
        gone = (seen[:, i] <= BARELY) & (apart < reach).any(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], gone.astype(int), [0]])))
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            later = np.flatnonzero(gone[end:])
            until = end + int(later[0]) if len(later) else len(seen)
            due = np.arange(end, until)[seen[end:until, i] > BACK]
            if not screen and len(due) and (seen[:start, i] > BACK).any():
                found.append(Passage(i, start, int(due[0]), due))
    return found


def _return(tracks: Tracks, truth: SceneState, passage: Passage) -> Int[np.ndarray, " k"]:
    """Track of whoever is seen in each due frame, nearest to the true place; -1 for nobody."""
    screens = [COLORS.index(b.color) for b, o in zip(truth.bodies, truth.occluder, strict=True) if o]
    found = np.full(len(passage.due), -1)
    for k, f in enumerate(passage.due[passage.due < tracks.frames]):
        there = np.flatnonzero(tracks.present[f] & ~np.isin(tracks.hue[f], screens))
        if len(there):
            apart = np.linalg.norm(tracks.position[f, there] - truth.position[f, passage.body], axis=-1)
            found[k] = there[apart.argmin()]
    return found


def _mean(
    tracks: Tracks, truth: SceneState, score: Callable[[Passage, Int[np.ndarray, " k"]], float]
) -> float:
    wide, high = tracks.half_extent
    values = [score(p, _return(tracks, truth, p)) for p in passages(truth, frame=4 * wide * high)]
    values = [v for v in values if not math.isnan(v)]
    return float(np.mean(values)) if values else math.nan


def reappearance(tracks: Tracks, truth: SceneState) -> float:
    """Share of the frames due after the occlusion in which somebody is seen who is not the screen.

    Blind to where, when within these frames, and to looks.
    """
    return _mean(tracks, truth, lambda passage, found: float((found >= 0).mean()))


def punctuality(tracks: Tracks, truth: SceneState) -> float:
    """1 - min(delay / `WORST_DELAY`, 1), delay = seconds from the first due frame to the first that shows it.

    Blind to what happens after the return, to its place and look, and to coming back too early.
    """

    def score(passage: Passage, found: np.ndarray) -> float:
        if not (found >= 0).any():
            return 0.0
        delay = float(passage.due[(found >= 0).argmax()] - passage.due[0]) / tracks.fps
        return 1 - min(delay / WORST_DELAY, 1.0)

    return _mean(tracks, truth, score)


def _wholly(truth: SceneState, passage: Passage) -> Bool[np.ndarray, " k"]:
    return truth_lib.clear(truth)[passage.due, passage.body]


def place(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean of min(|p - p_true| / (`WORST_RADII` radii), 1) over due frames that show it, wholly in truth.

    Blind to looks, and to frames in which nobody is seen unless there is no other.
    """

    def score(passage: Passage, found: np.ndarray) -> float:
        whole = _wholly(truth, passage)
        if not whole.any():
            return math.nan
        used, body = whole & (found >= 0), truth.bodies[passage.body]
        due = passage.due[used]
        apart = np.linalg.norm(tracks.position[due, found[used]] - truth.position[due, passage.body], axis=-1)
        return 1 - float(np.minimum(apart / (WORST_RADII * body.radius), 1).mean()) if len(due) else 0.0

    return _mean(tracks, truth, score)


def color(tracks: Tracks, truth: SceneState) -> float:
    """Share, of the due frames that show somebody, in which it has its colour. Blind to shape and place."""

    def score(passage: Passage, found: np.ndarray) -> float:
        used = found >= 0
        hue = tracks.hue[passage.due[used], found[used]]
        return float((hue == COLORS.index(truth.bodies[passage.body].color)).mean()) if len(hue) else 0.0

    return _mean(tracks, truth, score)


def shape(tracks: Tracks, truth: SceneState) -> float:
    """Share, of the due frames that show it wholly, in which it has its shape. Blind to colour and place."""

    def score(passage: Passage, found: np.ndarray) -> float:
        whole = _wholly(truth, passage)
        if not whole.any():
            return math.nan
        used = whole & (found >= 0)
        form = tracks.form[passage.due[used], found[used]]
        return float((form == SHAPES.index(truth.bodies[passage.body].shape)).mean()) if len(form) else 0.0

    return _mean(tracks, truth, score)


class Bin(NamedTuple):
    """Mean score of the occlusions whose length in seconds is in [least, most), and their number."""

    least: float
    most: float
    mean: float
    clips: int


def by_length(
    values: Sequence[float], truths: Sequence[SceneState], *, fps: float, bounds: Sequence[float] = LENGTHS
) -> list[Bin]:
    """The curve of a score against the occlusion's length; a clip's is that of its longest.

    Args:
      values: one score per clip, NaN where it does not apply; such clips are left out.
      bounds: seconds, ascending; the bins are those below, between and above them. An empty one has NaN.
    """
    lengths = np.array([max((p.stop - p.start for p in passages(t)), default=0) / fps for t in truths])
    scores, edges = np.asarray(values, np.float64), [0.0, *bounds, math.inf]
    kept = ~np.isnan(scores) & (lengths > 0)
    curve = []
    for least, most in itertools.pairwise(edges):
        mine = scores[kept & (lengths >= least) & (lengths < most)]
        curve.append(Bin(least, most, float(mine.mean()) if len(mine) else math.nan, len(mine)))
    return curve


def continuity(tracks: Tracks) -> float:
    """A plausibility without truth: the share of the colours seen at either end that are seen at both.

    Of the first and last `ENDS` frames; 1 if nothing is seen at all. Blind to all but colours.
    """
    ends = [tracks.hue[part][tracks.present[part]] for part in (slice(ENDS), slice(-ENDS, None))]
    first, last = (set(e.tolist()) for e in ends)
    return len(first & last) / len(first | last) if first | last else 1.0
