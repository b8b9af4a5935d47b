"""Cuts between shots, and whether the cast of the first shot is who is seen in the later ones.

`metric(tracks, truth) -> score` in [0, 1], 1 best; NaN of a clip of one shot.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Int

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.fracture import event_f1
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds.scene import COLORS

LINK = 1.5  # world units: an object's next place is nearer within a shot; a cut of the worlds moves it by 2
TOLERANCE = 1  # frames
SAME_SIZE = math.log(1.25)  # a size class is 1.38 to 1.44 times the next


def true_cuts(truth: SceneState) -> list[int]:
    """The first frame of every shot but the first."""
    return [] if truth.shot is None else (np.flatnonzero(np.diff(truth.shot)) + 1).tolist()


def cuts(tracks: Tracks) -> list[int]:
    """Frames before which everything in view, of either frame, is elsewhere: no colour goes on within `LINK`.

    Two frames of which one is empty are no cut. Blind to a cut after which some object is where it was.
    """
    found = []
    for f in range(1, tracks.frames):
        old, new = (np.flatnonzero(tracks.present[k]) for k in (f - 1, f))
        apart = np.linalg.norm(tracks.position[f - 1, old][:, None] - tracks.position[f, new], axis=-1)
        same = tracks.hue[f - 1, old][:, None] == tracks.hue[f, new]
        if len(old) and len(new) and not ((apart < LINK) & same).any():
            found.append(f)
    return found


def cutting(tracks: Tracks, truth: SceneState) -> float:
    """F1 of `cuts` against the true ones, within `TOLERANCE` frames.

    Blind to what the shots show.
    """
    true = true_cuts(truth)
    return event_f1([cuts(tracks)], [true], tolerance=TOLERANCE) if true else math.nan


def _first_looks(tracks: Tracks, truth: SceneState, until: int) -> list[tuple[int, int, float] | None]:
    """(hue, shape, ln radius) of each body as the video's own first shot shows it; None if it does not.

    A body is found by its place: the nearest object within `LINK`, by majority of the frames.
    """
    clear, looks = truth_lib.clear(truth), []
    for i in range(len(truth.bodies)):
        seen: list[tuple[int, int, float]] = []
        for f in np.flatnonzero(clear[: min(until, tracks.frames), i]):
            there = np.flatnonzero(tracks.present[f])
            apart = np.linalg.norm(tracks.position[f, there] - truth.position[f, i], axis=-1)
            if len(there) and apart.min() < LINK:
                o = there[apart.argmin()]
                seen.append(
                    (int(tracks.hue[f, o]), int(tracks.form[f, o]), 0.5 * math.log(tracks.area[f, o]))
                )
        if not seen:
            looks.append(None)
            continue
        hue, form = (np.bincount([s[k] for s in seen], minlength=1).argmax() for k in (0, 1))
        looks.append((int(hue), int(form), float(np.median([s[2] for s in seen]))))
    return looks


def _shows(tracks: Tracks, f: int, look: tuple[int, int, float]) -> bool:
    mine = tracks.present[f] & (tracks.hue[f] == look[0]) & (tracks.form[f] == look[1])
    size = 0.5 * np.log(np.maximum(tracks.area[f], 1e-9))
    return bool((mine & (np.abs(size - look[2]) < SAME_SIZE)).any())


def _later(truth: SceneState) -> Bool[np.ndarray, "f o"]:
    """Where an object is wholly seen after the first cut, clear of the others' rims."""
    clear = truth_lib.clear(truth)
    clear[: true_cuts(truth)[0]] = False
    return clear


def identity(tracks: Tracks, truth: SceneState) -> float:
    """Share, of the frames after the first cut that show a member of the cast wholly, in which it is itself.

    Itself = an object of the look (colour, shape, size within 25 %) that the video's OWN first shot gives it,
    anywhere in the frame: so a video that draws the wrong object, but the same one in all shots, keeps its
    cast. Blind to places, and to further objects beside the cast.
    """
    if not true_cuts(truth):
        return math.nan
    due = np.argwhere(_later(truth))
    if not len(due):
        return math.nan
    looks = _first_looks(tracks, truth, true_cuts(truth)[0])
    right = [f < tracks.frames and (k := looks[i]) is not None and _shows(tracks, int(f), k) for f, i in due]
    return float(np.mean(right))


def against_impostor(tracks: Tracks, truth: SceneState) -> float:
    """`identity` minus the same share of an impostor of the next colour: 1 = itself, -1 = the impostor.

    The impostor of a look has the next colour of the palette that none of the cast has. A video that shows
    everything in every colour scores 0.
    """
    if not true_cuts(truth) or not len(due := np.argwhere(_later(truth))):
        return math.nan
    cast = {COLORS.index(b.color) for b in truth.bodies}
    looks = _first_looks(tracks, truth, true_cuts(truth)[0])
    shown = []
    for f, i in due:
        look = looks[i]
        if look is None or f >= tracks.frames:
            continue
        after: Int[np.ndarray, " c"] = (np.arange(1, len(COLORS) + 1) + look[0]) % len(COLORS)
        other = next(int(c) for c in after if int(c) not in cast)
        shown.append(_shows(tracks, int(f), (other, look[1], look[2])))
    return identity(tracks, truth) - (float(np.mean(shown)) if shown else 0.0)
