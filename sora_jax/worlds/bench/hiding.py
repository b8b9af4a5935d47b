"""Objects behind screens, and quadruplets of which two clips are possible and two are not.

The quadruplets are after IntPhys (Riochet et al. 2018, arXiv 1803.07616, Sec. 3): the impossible clips are
the possible ones, exchanged while nothing can be seen. At every instant the two possible clips together show
the same two frames as the two impossible ones, so no score of single frames can tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sora_jax.types import Body
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.case import Event, Variant, cast, frame_after, screen, tell
from sora_jax.worlds.placing import Draw

LEAST_HIDDEN = 2  # frames
LEAST_UNSEEN = (
    3  # frames of a quadruplet, exchanged in the middle one: no edge is within a pixel of the screen's
)
WIDEST = 1.35  # half an object's width, world units
FILLED = (
    0.45  # of the frame, at most, by screen and thing: what fills half of it is no longer before a background
)
MOST = 6.0  # world units: a screen's width in a frame of any width
SHAPES = ("circle", "square", "triangle")


def occlusion(draw: Draw) -> tuple[Variant, ...]:
    """An object passes behind a screen, or a screen before it, for 2 frames to a third of the clip."""
    (thing,) = _narrow(draw, 1)
    color = draw.pick([c for c in scene_lib.COLORS if c != thing.color])
    reach = across(thing)
    if draw.rng.random() < 0.5:
        width, place, velocity = _passing(draw, reach, _widest(draw, (thing,)))
        verbs = ("passes behind", 0, 1)
    else:
        width, place, velocity = _covering(draw, reach, _widest(draw, (thing,)))
        verbs = ("passes in front of", 1, 0)
    hidden, seen = _hidden(place, velocity, width, reach)
    bodies = (thing, screen(color, width))
    verb, i, j = verbs
    events: tuple[Event, ...] = ((hidden, verb, i, j), (seen, "is seen again", 0, -1))
    state = _state(draw, bodies, place, velocity, family="occlusion", events=events)
    count = frame_after(seen, draw.fps) - frame_after(hidden, draw.fps)
    measures = {"hidden_from": hidden, "seen_from": seen, "hidden_frames": float(count)}
    return (Variant(name="valid", state=state, captions=tell(bodies, events, (0, 1)), measures=measures),)


def permanence(draw: Draw) -> tuple[Variant, ...]:
    """Four clips: object A or B (or nothing) before the screen, and A or B (or nothing) after it.

    The variants "a" and "b" are possible, "a then b" and "b then a" are not: a swap, or, where B is nothing,
    an object that vanishes and one that appears. Each is captioned as the possible clip that begins like it.
    """
    first, second = _narrow(draw, 2)
    nothing = draw.rng.random() < 0.5  # instead of the second object
    color = draw.pick([c for c in scene_lib.COLORS if c not in (first.color, second.color)])
    reach = max(across(first), across(second))
    width, place, velocity = _passing(draw, reach, _widest(draw, (first, second)), least=LEAST_UNSEEN)
    bodies = (first, second, screen(color, width))
    hidden, seen = _hidden(place, velocity, width, reach)
    place, velocity = place[[0, 0, 1]], velocity[[0, 0, 1]]
    splice = (frame_after(hidden, draw.fps) + frame_after(seen, draw.fps)) // 2
    early = np.arange(draw.frames) < splice
    made = []
    for name, before, after in (("a", 0, 0), ("b", 1, 1), ("a then b", 0, 1), ("b then a", 1, 0)):
        alive = np.ones((draw.frames, 3), bool)
        for k in (0, 1):
            alive[:, k] = (early & (k == before)) | (~early & (k == after))
        if nothing:
            alive[:, 1] = False
        whole = _passage(hidden, seen, before, before, nothing=nothing)
        events = _passage(hidden, seen, before, after, nothing=nothing)
        state = _state(draw, bodies, place, velocity, family="permanence", events=events, alive=alive)
        members = [k for k in (before, 2) if not (nothing and k == 1)]
        made.append(
            Variant(
                name=name,
                state=state,
                captions=tell(bodies, whole, members),
                possible=before == after,
                measures={"splice": float(splice), "hidden_from": hidden, "seen_from": seen},
            )
        )
    return tuple(made)


def across(body: Body) -> float:
    """Half the width of an upright body, world units."""
    if body.shape == "circle":
        return body.radius
    return float(scene_lib.outline(body.shape, body.radius)[:, 0].max())


def _narrow(draw: Draw, count: int) -> list[Body]:
    """Bodies that fit behind a screen and beside it, in one frame."""
    while True:
        bodies = cast(draw, count, shapes=SHAPES)
        if max(map(across, bodies)) <= WIDEST:
            return bodies


def _passage(hidden: float, seen: float, before: int, after: int, *, nothing: bool) -> tuple[Event, ...]:
    gone = [(hidden, "passes behind", before, 2)] if not (nothing and before == 1) else []
    back = [(seen, "is seen again", after, -1)] if not (nothing and after == 1) else []
    return (*gone, *back)


def _state(draw: Draw, bodies: tuple[Body, ...], place, velocity, **more):
    seconds = (np.arange(draw.frames) / draw.fps)[:, None, None]
    angle = np.zeros((draw.frames, len(bodies)))
    angle[:, -1] = math.pi / 2
    return state_lib.make(
        bodies,
        place + seconds * velocity,
        np.broadcast_to(velocity, (draw.frames, *velocity.shape)),
        angle,
        occluder=(*[False] * (len(bodies) - 1), True),
        **more,
    )


def _hidden(place: np.ndarray, velocity: np.ndarray, width: float, reach: float) -> tuple[float, float]:
    """When (from, until; seconds) an object that reaches so far to either side is wholly behind a screen."""
    apart, pace = place[0, 0] - place[1, 0], velocity[0, 0] - velocity[1, 0]
    ends = sorted((side * (width / 2 - reach) - apart) / pace for side in (-1, 1))
    return float(ends[0]), float(ends[1])


def _widest(draw: Draw, things: Sequence[Body]) -> float:
    """A screen's greatest width: as high as the frame, it and any of the things fill `FILLED` of it."""
    half_x, half_y = draw.half
    thing = max(math.pi * body.radius**2 for body in things)
    return min(MOST, FILLED * 2 * half_x - thing / (2 * half_y))


def _passing(
    draw: Draw, reach: float, widest: float, *, least: int = LEAST_HIDDEN
) -> tuple[float, np.ndarray, np.ndarray]:
    """The screen's width, and (thing, screen) places and velocities `[2 2]`; the thing is in view first."""
    half_x, half_y = draw.half
    total = draw.seconds
    while True:
        width = draw.between(2 * reach + 0.3, min(2 * half_x - 4 * reach - 0.4, widest))
        side, at = draw.pick((-1, 1)), draw.between(-0.5, 0.5)
        nearest, farthest = at + width / 2 + reach + 0.2, at - width / 2 - reach - 0.6
        if nearest > half_x - reach or farthest < -half_x:
            continue
        start, end = draw.between(nearest, half_x - reach), draw.between(farthest, -half_x + 0.4 * reach)
        velocity = np.array([[side * (end - start) / total, 0.0], [0.0, 0.0]])
        high = min(half_y - reach - 0.2, 1.5 * width - reach - 0.1)
        place = np.array([[side * start, draw.between(-high, high)], [side * at, 0.0]])
        hidden, seen = _hidden(place, velocity, width, reach)
        if frame_after(seen, draw.fps) - frame_after(hidden, draw.fps) >= least:
            return width, place, velocity


def _covering(draw: Draw, reach: float, widest: float) -> tuple[float, np.ndarray, np.ndarray]:
    """As `_passing`, but the thing rests and the screen goes past it."""
    half_x, half_y = draw.half
    while True:
        width, side = draw.between(2 * reach + 0.4, widest), draw.pick((-1, 1))
        x = draw.between(-half_x / 3, half_x / 3)
        latest = x - reach - width / 2 - 0.2
        start = draw.between(max(-half_x - width / 2, latest - 3), latest)
        past = x + reach + width / 2 + 0.1
        pace = (past - start) / (draw.between(0.6, 0.9) * draw.seconds)
        velocity = np.array([[0.0, 0.0], [side * pace, 0.0]])
        high = min(half_y - reach - 0.2, 1.5 * width - reach - 0.1)
        place = np.array([[side * x, draw.between(-high, high)], [side * start, 0.0]])
        hidden, seen = _hidden(place, velocity, width, reach)
        if frame_after(seen, draw.fps) - frame_after(hidden, draw.fps) >= LEAST_HIDDEN:
            return width, place, velocity
