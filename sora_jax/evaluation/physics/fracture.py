"""Does a body break if and only if it is hit hard, and do its pieces add up to it and stay apart?

`metric(tracks, truth) -> score` in [0, 1], 1 best. The body and its pieces are all objects of its colour; of
a frame, n is their number and A the sum of their areas. Times within `TOLERANCE` of the true break do not
enter. Blind to where the pieces go, and to the hammer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from sora_jax.evaluation.physics.counting import BARELY, SURELY
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds.scene import COLORS

TOLERANCE = 2  # frames
FREE_AREA = 0.03  # of ln A: what a soft edge takes from pieces, which have more of it than the whole
HAMMER, TARGET = 0, 1  # numbers of the bodies in the world's clips


def pieces_of(truth: SceneState) -> list[int]:
    """The bodies that are pieces of the target; empty where it stays whole."""
    return [k for k, parent in enumerate(truth.parent) if parent == TARGET]


def struck_at(truth: SceneState) -> int:
    """The first frame after the hit.

    Raises:
      ValueError: if there is none.
    """
    hits = np.flatnonzero(truth.contact[:, HAMMER, TARGET])
    if not len(hits):
        raise ValueError(f"nothing hits body {TARGET} in this {truth.family} clip: use the family fracture")
    return int(hits[0])


def seen(tracks: Tracks, truth: SceneState) -> tuple[Int[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Number and total area (world units squared) of what has the target's colour, in the truth's frames."""
    frames = len(truth.alive)
    number, area = np.zeros(frames, int), np.zeros(frames)
    both = min(frames, tracks.frames)
    mine = tracks.present[:both] & (tracks.hue[:both] == COLORS.index(truth.bodies[TARGET].color))
    number[:both], area[:both] = mine.sum(axis=1), (tracks.area[:both] * mine).sum(axis=1)
    return number, area


def _due(truth: SceneState) -> Int[np.ndarray, " f"]:
    """How many pieces have to be seen after the break, 0 within `TOLERANCE` of it and before."""
    pieces, frames = pieces_of(truth), np.arange(len(truth.alive))
    shown = (truth.visible * truth.alive)[:, pieces] > SURELY
    return np.where(frames > struck_at(truth) + TOLERANCE, shown.sum(axis=1), 0)


def unmistaken(truth: SceneState) -> Bool[np.ndarray, " f"]:
    """Frames that show every piece by more than half, or not at all."""
    shown = (truth.visible * truth.alive)[:, pieces_of(truth)]
    return np.asarray(((shown > SURELY) | (shown <= BARELY)).all(axis=1))


def breaking(tracks: Tracks, truth: SceneState) -> float:
    """(share of frames before the break with n = 1) x (share of frames after it with n >= 2).

    Where the body is hit softly and stays whole: the share of all frames with n = 1. So a body that never
    breaks where it should, one that breaks where it should not, and one that is not there score 0. Frames
    after the break in which fewer than two pieces are in view do not enter. Blind to how many pieces.
    """
    number, _ = seen(tracks, truth)
    if not pieces_of(truth):
        shown = (truth.visible * truth.alive)[:, TARGET] > SURELY
        return float((number == 1)[shown].mean()) if shown.any() else math.nan
    before = np.arange(len(number)) < struck_at(truth) - TOLERANCE
    after = _due(truth) >= 2
    if not before.any() or not after.any():
        return math.nan
    return float((number == 1)[before].mean() * (number >= 2)[after].mean())


def area(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean of min(free(|ln(A / A_due)|) / ln 2, 1) over frames after the hit, A_due from A before it.

    A_due = (median of A / B before) B, B the area of the true body and pieces that is in view: half or twice
    the area is the worst, and `FREE_AREA` of it is free. Frames: B is at least half of what it was at most.
    NaN where there are none before or after. Blind to how the area is shared out, and to a body of the wrong
    size from the start.
    """
    frame, hit = np.arange(len(truth.alive)), struck_at(truth)
    square = np.array([b.radius**2 for b in truth.bodies])
    square[HAMMER] = 0
    due = math.pi * ((truth.visible * truth.alive) @ square)
    shown = due >= due.max() / 2
    before, after = shown & (frame < hit - TOLERANCE), shown & (frame > hit + TOLERANCE)
    if not before.any() or not after.any():
        return math.nan
    share = seen(tracks, truth)[1] / np.maximum(due, 1e-9)
    first = float(np.median(share[before]))
    if first <= 0:
        return 0.0
    wrong = np.abs(np.log(np.maximum(share[after], 1e-9) / first))
    wrong = np.maximum(wrong - FREE_AREA, 0) / math.log(2)
    return 1 - float(np.minimum(wrong, 1).mean())


def pieces(tracks: Tracks, truth: SceneState) -> float:
    """Mean over frames after the break of min(n / k, 1), k >= 2 the pieces that have to be in view.

    Frames in which a piece may or may not be seen (`unmistaken`) do not enter. NaN where the body stays
    whole. Blind to more pieces than k, and to their sizes.
    """
    if not pieces_of(truth):
        return math.nan
    number, due = seen(tracks, truth)[0], _due(truth)
    used = (due >= 2) & unmistaken(truth)
    return float(np.minimum(number[used] / due[used], 1).mean()) if used.any() else math.nan


def staying_broken(tracks: Tracks, truth: SceneState) -> float:
    """From the first two frames on that show n >= 2: the share of frames with n >= 2, of those that are due.

    0 where the body never breaks, NaN where it should not. Blind to when it breaks, and to merging of some
    pieces while others stay apart.
    """
    if not pieces_of(truth):
        return math.nan
    broken, due = seen(tracks, truth)[0] >= 2, _due(truth) >= 2
    if not due.any():
        return math.nan
    since = first_break(tracks, truth)
    due &= np.arange(len(due)) >= (len(due) if since is None else since)
    return float(broken[due].mean()) if due.any() else 0.0


def first_break(tracks: Tracks, truth: SceneState) -> int | None:
    """The first of the first two frames in a row with n >= 2; None if the video shows no break."""
    broken: Bool[np.ndarray, " f"] = seen(tracks, truth)[0] >= 2
    twice = np.flatnonzero(broken[1:] & broken[:-1])
    return int(twice[0]) if len(twice) else None


def event_f1(
    found: Sequence[Sequence[int]], true: Sequence[Sequence[int]], *, tolerance: int = TOLERANCE
) -> float:
    """F1 of events over clips: 2 TP / (2 TP + FP + FN), each true one matched to at most one found in reach.

    Args:
      found, true: the frames of each clip's events. tolerance: frames of difference that still match.

    1 where there are no events and none is found.
    """
    matched = sum(matches(f, t, tolerance=tolerance) for f, t in zip(found, true, strict=True))
    total = sum(map(len, found)) + sum(map(len, true))
    return 2 * matched / total if total else 1.0


def matches(found: Sequence[int], true: Sequence[int], *, tolerance: int) -> int:
    """The greatest number of pairs (found, true) within the tolerance, each event in one pair at most."""
    count, left = 0, sorted(found)
    for t in sorted(true):
        while left and left[0] < t - tolerance:
            left.pop(0)
        if left and left[0] <= t + tolerance:
            left.pop(0)
            count += 1
    return count
