"""Do the stated events happen? Falls, throws, bounces off a wall and hits, read from the tracks.

Verbs are those of `worlds.facts.Facts.events`. Each check is a statement about motion at the frames' own rate, so an
event between two frames shows in what precedes and follows it. Blind to what happens besides, and to order.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from sora_jax.evaluation.physics.metrics import MOVED, TURN, Match, clear_frames, match
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.worlds.facts import Facts
from sora_jax.worlds.scene import DIRECTIONS

WALLS = {"left wall": (-1, 0), "right wall": (1, 0), "floor": (0, -1), "ceiling": (0, 1)}
NEAR_WALL = 1.2  # world units between an object's rim and the wall: a fast object moves as far within a frame
STEP = 0.15  # world units an object must move to a wall, and away from it
REACH = 1.5  # of the sum of two radii: what corners and one frame's motion add
START = 0.25  # seconds that show the direction of a throw
KICK = 0.4  # world units/s by which a hit changes a velocity


def event_accuracy(tracks: Tracks, truth: Facts, *, matched: Match | None = None) -> float:
    """Share of the stated events that happen to the right objects; NaN if none is stated, or of an image."""
    if not truth.events or tracks.frames < 2:
        return math.nan
    track = (matched or match(tracks, truth)).track
    return float(np.mean([_happens(tracks, track, event) for event in truth.events]))


def _happens(tracks: Tracks, track: np.ndarray, event: tuple[str, int, int]) -> bool:
    verb, i, j = event
    o = int(track[i])
    if o < 0 or len(clear_frames(tracks, o)) < 2:
        return False
    if verb == "hits":
        other = int(track[j])
        return other >= 0 and hits(tracks, o, other)
    if verb == "falls":
        return falls(tracks, o)
    if verb.startswith("is thrown "):
        return thrown(tracks, o, verb.removeprefix("is thrown "))
    if verb.startswith("bounces off the "):
        return bounces(tracks, o, verb.removeprefix("bounces off the "))
    raise ValueError(
        f"no check for the event {verb!r}: known are hits, falls, is thrown ..., bounces off the ..."
    )


def falls(tracks: Tracks, o: int) -> bool:
    """Ends lower than it began, by more than `MOVED` and more than it moves sideways."""
    seen = np.flatnonzero(tracks.present[:, o])
    x, y = tracks.position[seen[-1], o] - tracks.position[seen[0], o]
    return -y > max(MOVED, abs(x))


def thrown(tracks: Tracks, o: int, word: str) -> bool:
    """Sets off within 45 degrees of the stated direction: the first quarter of a second, at least two steps."""
    seen = np.flatnonzero(tracks.present[:, o])
    seconds = (seen - seen[0]) / tracks.fps
    last = max(int(np.searchsorted(seconds, START, side="right")) - 1, min(2, len(seen) - 1))
    x, y = tracks.position[seen[last], o] - tracks.position[seen[0], o]
    turn = math.remainder(math.atan2(y, x) - DIRECTIONS[word], 2 * math.pi)
    return math.hypot(x, y) > STEP and abs(turn) <= TURN


def bounces(tracks: Tracks, o: int, wall: str) -> bool:
    """Comes near the wall and turns: it moves to it before, and away from it after, its nearest frame."""
    axis = np.array(WALLS[wall], float)
    seen = np.flatnonzero(tracks.present[:, o])
    along = tracks.position[seen, o] @ axis
    limit = float(np.abs(axis) @ np.array(tracks.half_extent))
    k = int(along.argmax())
    if limit - along[k] - tracks.radius[o] > NEAR_WALL:
        return False
    return along[k] - along[: k + 1].min() > STEP and along[k] - along[k:].min() > STEP


def hits(tracks: Tracks, o: int, other: int) -> bool:
    """Two objects come within reach, and the velocity of either changes there."""
    both = np.flatnonzero(tracks.present[:, o] & tracks.present[:, other])
    if len(both) < 3:
        return False
    apart = np.linalg.norm(tracks.position[both, o] - tracks.position[both, other], axis=-1)
    if apart.min() > REACH * (tracks.radius[o] + tracks.radius[other]):
        return False
    return any(_kick(tracks.position[both, k], both / tracks.fps, int(apart.argmin())) for k in (o, other))


def _kick(position: Float[np.ndarray, "k 2"], seconds: np.ndarray, at: int) -> bool:
    """Whether the mean velocities of up to four steps before and after frame `at` differ by `KICK`.

    The nearest frame may be just before or just after the contact, so both readings are tried.
    """
    for middle in (at - 1, at, at + 1):
        before, after = max(middle - 4, 0), min(middle + 4, len(position) - 1)
        if before < middle < after:
            first = (position[middle] - position[before]) / (seconds[middle] - seconds[before])
            second = (position[after] - position[middle]) / (seconds[after] - seconds[middle])
            if np.linalg.norm(second - first) > KICK:
                return True
    return False
