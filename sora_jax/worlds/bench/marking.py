"""Contact that leaves a mark: a bite out of a body, paint on the canvas; and near misses that leave none.

Motion is in closed form. In some clips a screen then sweeps across, and the mark has to be there afterwards.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from sora_jax.types import Body, Mark, SceneState
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.case import Event, Variant, cast, frame_after, screen, tell
from sora_jax.worlds.placing import Draw

TARGET_RADIUS = 2.0  # world units, of what is bitten
BRUSH_SHARE = 0.5  # radius of the paint's discs / radius of the brush
SWEEP = (0.45, 0.97)  # when a screen begins and ends its sweep, as shares of the clip


def bite(draw: Draw) -> tuple[Variant, ...]:
    """A biter goes to a large disc and back: it bites a piece off, or stops short of it.

    The disc drifts and turns, and what is bitten off stays off. At no instant does the biter overlap what is
    left of the disc.
    """
    bites = bool(draw.rng.random() < 0.5)
    biter, target = cast(draw, 2, shapes=("circle",))
    target = dataclasses.replace(target, size="large", radius=TARGET_RADIUS, mass=TARGET_RADIUS**2)
    touch = biter.radius + target.radius
    depth = draw.between(0.7, 1.1) * biter.radius if bites else -draw.between(0.4, 0.9)
    far, turning = draw.between(touch + 1.0, 6.0), draw.between(0.2, 0.3) * draw.seconds
    pace = (far - touch + depth) / turning  # towards the target, in its frame
    seconds = np.arange(draw.frames) / draw.fps
    aim = draw.pick((0, 1, 2, 3)) * math.pi / 2
    way = np.array([math.cos(aim), math.sin(aim)])  # from the target to the biter
    drift = np.array([draw.between(-0.25, 0.25), draw.between(-0.25, 0.25)])
    home = -way * (far / 2 - 0.5) + np.array([-way[1], way[0]]) * draw.between(-1, 1)
    spin = draw.pick((-1, 1)) * draw.between(0.1, 0.5)

    def apart(t: np.ndarray) -> np.ndarray:
        return touch - depth + pace * np.abs(t - turning)

    begin = turning - depth / pace
    target_at = home + seconds[:, None] * drift
    biter_at = target_at + apart(seconds)[:, None] * way
    side = np.where(seconds < turning, -1.0, 1.0)[:, None]
    contact = np.zeros(draw.frames, bool)
    marks: tuple[Mark, ...] = ()
    events: tuple[Event, ...] = ((turning, "stops short of", 0, 1),)
    if bites:
        instants = np.unique(
            [*np.linspace(begin, turning, 9), *seconds[(seconds > begin) & (seconds < turning)]]
        )
        turned = _turn(apart(instants)[:, None] * way, -spin * instants)
        marks = (_mark("bite", 1, target, biter.radius, turned, instants, draw),)
        events = ((begin, "bites", 0, 1),)
        contact[frame_after(begin, draw.fps) : frame_after(turning, draw.fps) + 1] = True
    state = state_lib.make(
        (biter, target),
        np.stack([biter_at, target_at], 1),
        np.stack([drift + side * pace * way, np.broadcast_to(drift, (draw.frames, 2))], 1),
        np.stack([np.zeros(draw.frames), seconds * spin], 1),
        family="bite",
        events=events,
        marks=marks,
        contact=_pairwise(contact),
    )
    return (
        _finish(draw, state, bites, {"touch": touch, "instant": begin if bites else turning, "depth": depth}),
    )


def brush(draw: Draw) -> tuple[Variant, ...]:
    """A brush goes past a pot of paint and then across the canvas; it paints if it has touched the pot."""
    paints = bool(draw.rng.random() < 0.5)
    tool, pot = cast(draw, 2, shapes=("circle",))
    tool = scene_lib.body("circle", tool.color, "small")
    touch = pot.radius + tool.radius
    clear = 0.0 if paints else draw.between(0.5, 1.0)
    path, pot_at = _brush_path(draw, touch + clear, tool.radius, pot.radius)
    lengths = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    seconds, last = np.arange(draw.frames) / draw.fps, 0.6 * draw.seconds
    pace = along[-1] / last
    begin = float(along[1] / pace)

    def place(t: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(t * pace, along, path[:, axis]) for axis in (0, 1)], -1)

    tool_at = place(seconds)
    step = 1e-4
    velocity = (place(seconds + step) - tool_at) / step
    radius = BRUSH_SHARE * tool.radius
    marks: tuple[Mark, ...] = ()
    events: tuple[Event, ...] = ((begin, "passes by", 0, 1),)
    if paints:
        count = math.ceil((last - begin) * pace / (0.3 * radius))
        instants = np.linspace(begin, last, count)
        marks = (_mark("stroke", 0, pot, radius, place(instants), instants, draw),)
        events = ((begin, "touches", 0, 1), (begin, f"leaves a {pot.color} stroke", 0, -1))
    contact = np.zeros(draw.frames, bool)
    contact[frame_after(begin, draw.fps)] = paints
    still = np.broadcast_to(pot_at, (draw.frames, 2))
    state = state_lib.make(
        (tool, pot),
        np.stack([tool_at, still], 1),
        np.stack([velocity, np.zeros_like(still)], 1),
        np.zeros((draw.frames, 2)),
        family="brush",
        events=events,
        marks=marks,
        contact=_pairwise(contact),
    )
    return (_finish(draw, state, paints, {"touch": touch, "instant": begin, "clear": clear}),)


def _brush_path(draw: Draw, near: float, reach: float, pot: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners `[5 2]` of a path and the pot's place; at the second corner the pot is at distance `near`.

    The path is nowhere nearer, and it stays in view.
    """
    half = np.array(draw.half) - reach - 0.1
    while True:
        pot_at = draw.rng.uniform(-1, 1, 2) * (np.array(draw.half) - pot - 0.1)
        angle = draw.between(-math.pi, math.pi)
        at = pot_at + near * np.array([math.cos(angle), math.sin(angle)])
        corners = draw.rng.uniform(-1, 1, (4, 2)) * half
        path = np.stack([corners[0], at, *corners[1:]])
        legs = np.hypot(*np.diff(path, axis=0).T)
        dense = np.concatenate([np.linspace(a, b, 60) for a, b in itertools.pairwise(path)])
        apart = np.hypot(*(dense - pot_at).T)
        apart[[59, 60]] = np.inf  # the corner itself
        if (np.abs(at) < half).all() and legs[0] > 2 and legs[1:].min() > 2.5 and apart.min() > near + 0.01:
            return path, pot_at


def _turn(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]], -1)


def _mark(kind, body: int, paint: Body, radius: float, points, instants, draw: Draw) -> Mark:
    """Discs that are there from the first frame at or after their instants, to the end."""
    start = np.array([frame_after(t, draw.fps) for t in instants], np.int32)
    return Mark(
        kind=kind,
        body=body,
        color=paint.color,
        radius=radius,
        points=points.astype(np.float32),
        start=start,
        end=np.full(len(start), draw.frames, np.int32),
    )


def _pairwise(contact: np.ndarray) -> np.ndarray:
    """`[f 2 2]` from whether two objects touch."""
    both = np.zeros((len(contact), 2, 2), bool)
    both[:, 0, 1] = both[:, 1, 0] = contact
    return both


def _finish(draw: Draw, state: SceneState, marked: bool, measures: dict[str, float]) -> Variant:
    """The variant, in half of the cases with a screen that sweeps across once the mark is made."""
    swept = bool(draw.rng.random() < 0.5)
    members = (0, 1)
    if swept:
        state, members = _swept(draw, state), (0, 1, 2)
    return Variant(
        name="valid",
        state=state,
        captions=tell(state.bodies, state.events, members),
        measures=measures | {"marked": float(marked), "swept": float(swept)},
    )


def _swept(draw: Draw, state: SceneState) -> SceneState:
    """The state with a screen that comes in from one side and leaves on the other."""
    half_x, side = draw.half[0], draw.pick((-1, 1))
    colors = [c for c in scene_lib.COLORS if c not in {b.color for b in state.bodies}]
    width = draw.between(3.4, 5.0)
    first, last = (share * draw.seconds for share in SWEEP)
    pace = side * (2 * half_x + width) / (last - first)
    start = -side * (half_x + width / 2) - pace * first
    seconds = np.arange(draw.frames) / draw.fps
    board = state_lib.make(
        (screen(draw.pick(colors), width),),
        np.stack([start + pace * seconds, 0 * seconds], -1)[:, None],
        np.broadcast_to([[pace, 0.0]], (draw.frames, 1, 2)),
        np.full((draw.frames, 1), math.pi / 2),
        family=state.family,
    )
    return _joined(
        state, board, events=(*state.events, (first, "passes across", 2, -1)), occluder=(False, False, True)
    )


def _joined(state: SceneState, more: SceneState, **changes) -> SceneState:
    """A state with the bodies of another, which touch nothing, after its own."""
    arrays = {
        name: np.concatenate([getattr(state, name), getattr(more, name)], 1)
        for name in ("position", "velocity", "angle", "visible", "wall_contact", "alive", "rounding")
    }
    new = len(more.bodies)
    contact = np.pad(state.contact, ((0, 0), (0, new), (0, new)))
    return dataclasses.replace(state, bodies=state.bodies + more.bodies, contact=contact, **arrays, **changes)
