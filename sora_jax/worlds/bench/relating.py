"""Relations and their mirror images, events in a stated order, and one cast in several shots."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sora_jax.types import SceneState
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.billiards import rolled
from sora_jax.worlds.bench.case import PLAIN, Event, Variant, capital, cast, listed, noun, straight, tell
from sora_jax.worlds.facts import OPPOSITE, facts
from sora_jax.worlds.placing import Draw, Item, place, velocity

PHRASES = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
AXES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, 1), "below": (0, -1)}
LEAST_APART = 4  # frames between two events whose order is asked for


def mirrored(draw: Draw) -> tuple[Variant, ...]:
    """Two objects in a relation, at rest or moving as one, and its mirror image across the relation."""
    first, second = cast(draw, 2)
    word = draw.pick(tuple(AXES))
    axis = np.array(AXES[word], float)
    pace = draw.between(1.7, 2.3) if draw.rng.random() < 0.5 else 0.0
    move = pace * draw.pick((-1, 1)) * axis[::-1]  # across the relation, so that the mirror keeps the way
    near = scene_lib.reach(first) + scene_lib.reach(second)
    half, reach = np.array(draw.half), max(scene_lib.reach(first), scene_lib.reach(second))
    while True:
        offset = axis * draw.between(near + 0.3, near + 1.5) + axis[::-1] * draw.between(-1, 1)
        travel = move * draw.seconds * 0.8
        low = -half + reach + np.maximum(0, -np.minimum(offset, 0)) - np.minimum(travel, 0)
        high = half - reach - np.maximum(offset, 0) - np.maximum(travel, 0)
        if (low < high).all():
            break
        move = 0.9 * move
    where = draw.rng.uniform(low, high)
    where = np.stack([where + offset, where])
    tilt = np.array([draw.between(-0.2, 0.2), 0.0])
    flip = np.array([-1.0, 1.0]) if word in ("left of", "right of") else np.array([1.0, -1.0])
    position, speed = straight(draw, where, np.stack([move, move]))
    angle = np.tile(tilt, (draw.frames, 1))
    image = -angle if flip[0] < 0 else math.pi - angle
    first_state = state_lib.make((first, second), position, speed, angle, family="mirrored")
    second_state = state_lib.make((first, second), position * flip, speed * flip, image, family="mirrored")
    said = [_related(state) for state in (first_state, second_state)]
    return (
        Variant(name="valid", state=first_state, captions=said[0], counter=said[1]["short"]),
        Variant(name="mirrored", state=second_state, captions=said[1], counter=said[0]["short"]),
    )


def _related(state: SceneState) -> dict[str, str]:
    """Captions from the relation of the first object to the second that holds in every frame."""
    word = next((w for i, w, j in facts(state).relations if (i, j) == (0, 1)), None)
    if word is None:
        raise ValueError("the two objects are in no relation that holds in every frame")
    a, b = state.bodies
    x, y = state.velocity[0, 0].tolist()
    motion = f"moves {scene_lib.direction_word(x, y)}" if x or y else "is at rest"
    plural = motion.replace("moves", "moving").replace("is at", "at")
    short = f"{noun(a)} {PHRASES[word]} {noun(b)}, both {plural}"
    sentences = [f"{capital(noun(k, size=True))} {motion}." for k in (a, b)] + [
        f"{capital(noun(b, definite=True))} is {PHRASES[OPPOSITE[word]]} {noun(a, definite=True)}."
    ]
    return {"short": short, "descriptive": " ".join([*sentences, PLAIN])}


def ordered(draw: Draw) -> tuple[Variant, ...]:
    """One object hits another and bounces off a wall, in an order that is told; the counter tells the other.

    Discs without friction, restitution 1, in closed form (see `billiards`).
    """
    hits_first = bool(draw.rng.random() < 0.5)
    half = np.array(draw.half)
    while True:
        striker, struck = cast(draw, 2, shapes=("circle",))
        striker = scene_lib.body("circle", striker.color, "medium")
        struck = scene_lib.body("circle", struck.color, "small")
        rooms = [half - scene_lib.reach(b) - 0.1 for b in (striker, struck)]
        where = np.stack([draw.rng.uniform(-1, 1, 2) * room for room in rooms])
        goal = where[1].copy()
        if not hits_first:  # aim at its image in a wall
            axis, side = draw.pick((0, 1)), draw.pick((-1, 1))
            goal[axis] = side * 2 * (half[axis] - striker.radius) - goal[axis]
        aim = goal - where[0]
        if np.hypot(*(where[1] - where[0])) < striker.radius * 1.4 + struck.radius + 1:
            continue
        when = draw.between(*((0.2, 0.45) if hits_first else (0.5, 0.75))) * draw.seconds
        speed = aim / when  # it hits at about that time
        if np.hypot(*speed) > 9:
            continue
        state = rolled(draw, (striker, struck), where, np.stack([speed, 0 * speed]), family="ordered")
        told = _in_order(draw, state.events, hits_first)
        if told is not None:
            break
    (t1, *one), (t2, *two) = told
    backwards: tuple[Event, ...] = ((t1, *two), (t2, *one))  # pyright: ignore[reportAssignmentType]
    return (
        Variant(
            name="valid",
            state=state,
            captions=tell(state.bodies, told, (0, 1)),
            counter=tell(state.bodies, backwards, (0, 1))["short"],
            measures={"first": t1, "second": t2},
        ),
    )


def _in_order(draw: Draw, events: tuple[Event, ...], hits_first: bool) -> tuple[Event, Event] | None:
    """The striker's first two events, if they are a hit and a bounce in that order, clearly apart.

    A third of the striker's, or a blow from the other object, comes no sooner than the clip's end.
    """
    mine = [e for e in events if e[2] == 0 or e[3] == 0]
    if len(mine) != 2 or mine[1][0] - mine[0][0] < LEAST_APART / draw.fps:
        return None
    kinds = [e[1] == "hits" for e in mine]
    if kinds != [hits_first, not hits_first] or any(e[2] != 0 for e in mine):
        return None
    if mine[1][0] > draw.seconds - LEAST_APART / draw.fps or mine[0][0] < 2 / draw.fps:
        return None
    return mine[0], mine[1]


def shots(draw: Draw) -> tuple[Variant, ...]:
    """Two or three shots of one cast; at a cut every object is elsewhere and moves otherwise."""
    bodies = tuple(cast(draw, 2, sizes=("small", "medium")))
    count = draw.pick((2, 3))
    least = draw.frames // (count + 1)
    while True:
        cuts = np.sort(draw.rng.integers(least, draw.frames - least, count - 1))
        lengths = np.diff([0, *cuts, draw.frames])
        if lengths.min() >= least:
            break
    starts: list[np.ndarray] = []
    position, speed, events = [], [], []
    for number, length in enumerate(lengths):
        shot = dataclasses.replace(draw, frames=int(length))
        items = _laid_out(shot, bodies, position[-1][-1] if position else None)
        begin = float(sum(lengths[:number]) / draw.fps)
        for k, item in enumerate(items):
            word = (
                f"moves {scene_lib.direction_word(item.vx, item.vy)}" if item.vx or item.vy else "is at rest"
            )
            events.append((begin, word, k, -1))
        starts.append(np.array([(i.x, i.y) for i in items]))
        here, pace = straight(shot, starts[-1], np.array([(i.vx, i.vy) for i in items]))
        position.append(here)
        speed.append(pace)
    state = state_lib.make(
        bodies,
        np.concatenate(position),
        np.concatenate(speed),
        np.zeros((draw.frames, len(bodies))),
        family="shots",
        events=tuple(events),
        shot=np.repeat(np.arange(count), lengths).astype(np.int32),
    )
    return (
        Variant(name="valid", state=state, captions=_shot_captions(state), measures={"shots": float(count)}),
    )


def _laid_out(shot: Draw, bodies, before: np.ndarray | None) -> list[Item]:
    """A start and a velocity for each body, every one of them far from where it was."""
    while True:
        items: list[Item] = []
        for body in bodies:
            item = Item(body=body)
            if not items or shot.rng.random() < 0.6:
                item.vx, item.vy = velocity(shot, body)
                if scene_lib.direction_word(item.vx, item.vy) not in scene_lib.CARDINAL:
                    break  # three shots of longer words would not fit into a caption
            if place(shot, item, items):
                items.append(item)
        where = np.array([(i.x, i.y) for i in items])
        if len(items) == len(bodies) and (before is None or np.hypot(*(where - before).T).min() > 2.0):
            return items


def _shot_captions(state: SceneState) -> dict[str, str]:
    times = sorted({event[0] for event in state.events})
    short, long = [], []
    for number, time in enumerate(times):
        said = [(verb, i) for t, verb, i, _ in state.events if t == time]
        short.append(listed([f"{noun(state.bodies[i], definite=number > 0)} {verb}" for verb, i in said]))
        long.append(", ".join(f"the {state.bodies[i].color} one {verb}" for verb, i in said))
    names = listed([noun(b, size=True) for b in state.bodies])
    scenes = [f"Shot {('one', 'two', 'three')[n]}: {text}." for n, text in enumerate(long)]
    return {"short": "; cut; ".join(short), "descriptive": " ".join([f"{capital(names)}.", *scenes])}
