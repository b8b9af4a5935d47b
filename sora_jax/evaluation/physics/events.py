"""Do the stated events happen? Falls, throws, bounces off a wall, hits and turns, read from the tracks.

Verbs are those of `worlds.facts.Facts.events`. Each check is a statement about motion at the frames' own
rate: an event between two frames shows in what precedes and follows it; one in the last step does not show at
all, and that lowers the floor on truth. Blind to what happens besides, and to order.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from sora_jax.evaluation.physics.metrics import MOVED, TURN, Match, clear_frames, deals, end_parts, match
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.worlds.facts import BECOMES, Facts, outcomes
from sora_jax.worlds.scene import DIRECTIONS

CHECKED = ("hits", "falls", "is thrown ", "bounces off the ")  # how the verbs begin that have a check
WALLS = {"left wall": (-1, 0), "right wall": (1, 0), "floor": (0, -1), "ceiling": (0, 1)}
NEAR_WALL = 1.2  # world units between an object's rim and the wall: a fast object moves as far within a frame
STEP = 0.15  # world units an object must move to a wall, and away from it
REACH = 1.5  # of the sum of two radii: what corners and one frame's motion add
START = 0.25  # seconds that show the direction of a throw
KICK = 0.25  # world units/s by which a hit changes a velocity


def event_accuracy(tracks: Tracks, truth: Facts, *, matched: Match | None = None) -> float:
    """Share of the stated events that happen to the right objects; NaN if none is stated, or of an image.

    Events without a check (something leaves and comes back) are left out. Objects of which the same is said
    take each other's place where that makes more events happen.
    """
    told = [event for event in truth.events if event[0].startswith(CHECKED)]
    turned = [event for event in truth.events if event[0] == BECOMES]
    if not (told or turned) or tracks.frames < 2:
        return math.nan
    right = turns(tracks, truth) if turned else []
    if not told:
        return float(np.mean(right))
    track = (matched or match(tracks, truth)).track
    return max(float(np.mean([*right, *(_happens(tracks, t, e) for e in told)])) for t in deals(truth, track))


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
    raise ValueError(f"no check for the event {verb!r}: known: {', '.join(CHECKED)}")


def turns(tracks: Tracks, truth: Facts) -> list[bool]:
    """Per thing that is to turn into another: it was what it should have been, and is what it should be."""
    order = list(outcomes(truth))
    turning = {i for verb, i, _ in truth.events if verb == BECOMES}
    right = np.ones(len(order), bool)
    for part, said in end_parts(tracks, truth):
        found = match(part, said)
        right &= (found.track >= 0) & (found.right["color"] != 0) & (found.right["shape"] != 0)
    return [bool(ok) for k, ok in zip(order, right, strict=True) if k in turning]


def falls(tracks: Tracks, o: int) -> bool:
    """Drops from its start by more than `MOVED` and more than it moves sideways, not rising first."""
    position = tracks.position[tracks.present[:, o], o]
    low = int(position[:, 1].argmin())
    x, y = position[low] - position[0]
    return -y > max(MOVED, abs(x)) and position[: low + 1, 1].max() - position[0, 1] < STEP


def thrown(tracks: Tracks, o: int, word: str) -> bool:
    """Sets off within 45 degrees of the stated direction: over `START` seconds, at least two steps."""
    seen = np.flatnonzero(tracks.present[:, o])
    seconds = (seen - seen[0]) / tracks.fps
    last = max(int(np.searchsorted(seconds, START, side="right")) - 1, min(2, len(seen) - 1))
    x, y = tracks.position[seen[last], o] - tracks.position[seen[0], o]
    turn = math.remainder(math.atan2(y, x) - DIRECTIONS[word], 2 * math.pi)
    return math.hypot(x, y) > STEP and abs(turn) <= TURN


def bounces(tracks: Tracks, o: int, wall: str) -> bool:
    """Turns near the wall: in some frame it is close, nearer than it was before and than it is after."""
    axis = np.array(WALLS[wall], float)
    along = tracks.position[tracks.present[:, o], o] @ axis
    limit = float(np.abs(axis) @ np.array(tracks.half_extent)) - tracks.radius[o] - NEAR_WALL
    came = along - np.minimum.accumulate(along) > STEP
    goes = along - np.minimum.accumulate(along[::-1])[::-1] > STEP
    peak = np.concatenate([[False], (along[1:-1] >= along[:-2]) & (along[1:-1] >= along[2:]), [False]])
    return bool(((along > limit) & came & goes & peak).any())


def hits(tracks: Tracks, o: int, other: int) -> bool:
    """Two objects come within reach, and while they are the velocity of either changes."""
    both = np.flatnonzero(tracks.present[:, o] & tracks.present[:, other])
    apart = np.linalg.norm(tracks.position[both, o] - tracks.position[both, other], axis=-1)
    near = np.flatnonzero(apart <= REACH * (tracks.radius[o] + tracks.radius[other]))
    return any(_kicked(tracks.position[both, k], both / tracks.fps, near) for k in (o, other))


def _kicked(position: Float[np.ndarray, "k 2"], seconds: np.ndarray, near: np.ndarray) -> bool:
    """Whether at a frame of `near` the mean velocities of up to three steps before and after differ."""
    for middle in near[(near > 0) & (near < len(position) - 1)]:
        before, after = max(middle - 3, 0), min(middle + 3, len(position) - 1)
        first = (position[middle] - position[before]) / (seconds[middle] - seconds[before])
        second = (position[after] - position[middle]) / (seconds[after] - seconds[middle])
        if np.linalg.norm(second - first) > KICK:
            return True
    return False
