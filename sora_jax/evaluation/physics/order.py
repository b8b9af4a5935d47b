"""Do two events happen in the order in which they are told?

Of the worlds' ordered clips: one object hits another and bounces off a wall. `metric(tracks, truth) -> score`
in [0, 1]. A hit is when two objects are nearest to each other and their velocities change most, a bounce when
one is nearest to the wall, if they happen at all (`events`): both read alike whichever way time runs.
"""

from __future__ import annotations

import math

import numpy as np

from sora_jax.evaluation.physics import events
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState

BOUNCES = "bounces off the "
KICK_FRAMES = 2  # before and after a hit, over which a velocity is read


def told(truth: SceneState) -> tuple[tuple[float, str, int, int], tuple[float, str, int, int]] | None:
    """The first object's first two events, if one is a hit and one a bounce."""
    mine = [e for e in truth.events if e[2] == 0 and (e[1] == "hits" or e[1].startswith(BOUNCES))]
    if len(mine) < 2 or (mine[0][1] == "hits") == (mine[1][1] == "hits"):
        return None
    return mine[0], mine[1]


def _alike(tracks: Tracks, color: str) -> int | None:
    """The track of a colour that is there longest."""
    mine = [k for k, c in enumerate(tracks.color) if c == color]
    return max(mine, key=lambda k: int(tracks.present[:, k].sum()), default=None)


def when(tracks: Tracks, truth: SceneState, event: tuple[float, str, int, int]) -> float | None:
    """Seconds at which the video shows an event; None if it does not."""
    o = _alike(tracks, truth.bodies[event[2]].color)
    if o is None:
        return None
    if event[1] == "hits":
        other = _alike(tracks, truth.bodies[event[3]].color)
        if other is None or not events.hits(tracks, o, other):
            return None
        return _hit(tracks, o, other) / tracks.fps
    wall = event[1].removeprefix(BOUNCES)
    if tracks.present[:, o].sum() < 3 or not events.bounces(tracks, o, wall):
        return None
    return float(np.nanargmax(tracks.position[:, o] @ np.array(events.WALLS[wall], float))) / tracks.fps


def _hit(tracks: Tracks, o: int, other: int) -> int:
    """Of the frames in which two objects are nearer than just before and after: that of the greatest kick."""
    here, there = tracks.position[:, o], tracks.position[:, other]
    apart = np.nan_to_num(np.linalg.norm(here - there, axis=-1), nan=np.inf)
    near = apart <= events.REACH * (tracks.radius[o] + tracks.radius[other])
    best, kick = int(apart.argmin()), -1.0
    for f in np.flatnonzero(near):
        before, after = max(int(f) - KICK_FRAMES, 0), min(int(f) + KICK_FRAMES, len(apart) - 1)
        if before < f < after and apart[f] <= min(apart[f - 1], apart[f + 1]):
            changes = [
                (p[after] - p[f]) / (after - f) - (p[f] - p[before]) / (f - before) for p in (here, there)
            ]
            change = float(np.nan_to_num(np.linalg.norm(changes, axis=-1)).max())
            best, kick = (int(f), change) if change > kick else (best, kick)
    return best


def order(tracks: Tracks, truth: SceneState) -> float:
    """1 - min(lack / (2 true gap), 1), lack = by how much the gap is shorter than the true one, over a frame.

    gap = seconds from the event told first to the other: frames tell it to one frame. 1/2 = about at once,
    near 0 = reversed, 0 = an event does not happen. Blind to when the two happen, to a longer gap, and to all
    other events.
    """
    if (pair := told(truth)) is None:
        return math.nan
    first, second = (when(tracks, truth, event) for event in pair)
    if first is None or second is None:
        return 0.0
    due = pair[1][0] - pair[0][0]
    lack = max(due - (second - first) - 1 / tracks.fps, 0.0)
    return 1 - min(lack / (2 * due), 1.0)


def contrast(tracks: Tracks, truth: SceneState) -> float:
    """(1 + a(prompt) - a(reversed prompt)) / 2 with a = `order` of the events shown, a' = 1 - a: so `order`.

    Where an event does not happen it is 1/2, as it makes no difference what was asked for; `order` has 0
    there: so this tells a wrong order from a missing event.
    """
    if (pair := told(truth)) is None:
        return math.nan
    missing = any(when(tracks, truth, event) is None for event in pair)
    return 0.5 if missing else order(tracks, truth)
