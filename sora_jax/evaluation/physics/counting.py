"""How many there are, whether they come and go, and whether each stays who it is.

`metric(tracks, truth) -> score` in [0, 1], as in `dynamics`: NaN is decided by the truth alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np

from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.shapes import SHAPES
from sora_jax.evaluation.physics.state_metrics import births_deaths
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import SceneState
from sora_jax.worlds import scene
from sora_jax.worlds.scene import COLORS

SURELY, BARELY = 0.5, 0.02  # visible share from which an object must be, and up to which it must not be, seen
BORDER = 0.55  # world units, 2.6 pixels of the smallest frames: a detection within 2 touches the border
PIECE = 0.6  # of a radius: what is smaller is a piece of an object, the rest of it hidden
LINK = 1.5  # world units: a place's next place is nearer; the fastest object moves 1.2 between frames


def count(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean over frames of |objects seen - objects there|, at most 1: one too many throughout is 0.

    An object at the frame's border, visible by 2 to 50 %, may or may not be seen. Frames that the video lacks
    are wrong. Blind to what the objects are and to where.
    """
    share = np.where(truth.alive, truth.visible, 0.0)
    least, most = (share > SURELY).sum(axis=1), (share > BARELY).sum(axis=1)
    both = min(len(least), tracks.frames)
    seen = tracks.present[:both].sum(axis=1)
    wrong = np.maximum(np.maximum(least[:both] - seen, seen - most[:both]), 0)
    return 1 - float(np.minimum([*wrong, *np.ones(len(least) - both)], 1).mean())


def framing(tracks: Tracks, truth: SceneState) -> float:
    """1 - share of the sightings (frame, object) at the frame's border: is the subject wholly in view?

    NaN for a truth of which something comes within `BORDER` of it. Blind to what is wholly out of view, and
    to how much is cut off: of an object that was never seen whole nobody knows.
    """
    reach = np.array([scene.reach(body) for body in truth.bodies])[:, None]
    if (np.abs(truth.position) + reach + BORDER > np.array(tracks.half_extent)).any():
        return math.nan
    return 1 - float((tracks.present & tracks.edge).sum() / max(tracks.present.sum(), 1))


def _only(tracks: Tracks, kept: list[int]) -> Tracks:
    """The tracks without all others."""
    by_object = ("shape_share", "radius")
    by_frame = ("position", "present", "area", "visible", "edge", "touching", "hue", "form")
    return dataclasses.replace(
        tracks,
        **{name: getattr(tracks, name)[kept] for name in by_object},
        **{name: getattr(tracks, name)[:, kept] for name in by_frame},
        color=tuple(tracks.color[k] for k in kept),
        shape=tuple(tracks.shape[k] for k in kept),
    )


def births_and_deaths(tracks: Tracks, truth: SceneState) -> float:
    """1 / (1 + rate), rate = (births + deaths) per object-second away from the frame's edges.

    `state_metrics.births_deaths` says what is excused. The scale is one event per second of an object, half
    the score; no rate is so high that a higher one does not score less. The truth's families have neither
    births nor deaths. Pieces (under `PIECE` of the radius of every body of that colour) do not enter. Blind
    to what happens at the edges, to what is there from the first frame to the last, and to how long something
    is gone.
    """
    if len(truth.alive) < 2:
        return math.nan
    least = {b.color: PIECE * min(o.radius for o in truth.bodies if o.color == b.color) for b in truth.bodies}
    whole = [k for k, color in enumerate(tracks.color) if tracks.radius[k] >= least.get(color, 0.0)]
    found = births_deaths(_only(tracks, whole))
    return 1 / (1 + (found.births + found.deaths) / max(found.object_seconds, 1e-9))


def clones(tracks: Tracks, truth: SceneState) -> float:
    """1 - mean over frames of the objects beyond the cast that look like another present, at most 1.

    Of each look (colour, shape) of a frame: max(0, seen - max(in the cast, 1)). So a single object of a
    strange look is no clone, and twins of the cast are none. Only what shows its shape enters: clear of the
    border and of each other, and no piece under `PIECE` of the largest of that look, as one object across
    another leaves it. Blind to additions that look like nobody, and to small twins.
    """
    cast = Counter((COLORS.index(c), SHAPES.index(s)) for c, s in truth_lib.cast(truth))
    shown = tracks.present & ~tracks.edge & ~tracks.touching
    extra = np.zeros(tracks.frames)
    for f in range(tracks.frames):
        mine = np.flatnonzero(shown[f])
        looks = list(zip(tracks.hue[f, mine].tolist(), tracks.form[f, mine].tolist(), strict=True))
        for look in set(looks):
            area = tracks.area[f, [o for o, other in zip(mine, looks, strict=True) if other == look]]
            extra[f] += max(int((area >= PIECE**2 * area.max()).sum()) - max(cast[look], 1), 0)
    return 1 - float(np.minimum(extra, 1).mean())


def identity(tracks: Tracks, truth: SceneState) -> float:
    """1 / (1 + switches / 2): a switch is a place that goes from one member of the cast to another.

    Places are linked from frame to frame by position alone (mutually nearest, nearer than `LINK`), so that a
    tracker that follows colours cannot hide it; who stands there is told by the colour the frame shows. Two
    objects that change places are two switches, half the score. NaN where the cast has one colour. Blind to
    exchanges among objects of one colour, to a colour that is nobody's, and across a gap of a frame.
    """
    cast = {COLORS.index(color) for color, _ in truth_lib.cast(truth)}
    if len(cast) < 2 or len(truth.alive) < 2:
        return math.nan
    switches = 0
    for f in range(tracks.frames - 1):
        old, new = (np.flatnonzero(tracks.present[k]) for k in (f, f + 1))
        if not (len(old) and len(new)):
            continue
        apart = np.linalg.norm(tracks.position[f, old][:, None] - tracks.position[f + 1, new], axis=-1)
        for i, j in enumerate(apart.argmin(axis=1)):
            if apart[:, j].argmin() != i or apart[i, j] > LINK:
                continue
            before, after = int(tracks.hue[f, old[i]]), int(tracks.hue[f + 1, new[j]])
            switches += before != after and {before, after} <= cast
    return 1 / (1 + switches / 2)
