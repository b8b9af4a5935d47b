"""What is true of a clip, in a form that captions are written from and that an evaluation can check.

`facts(state)` reads them off the exact state; `captions.py` says them; `parse.py` reads them back from words.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.types import SceneState
from sora_jax.worlds import scene as scene_lib

RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, 1), "below": (0, -1)}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
BECOMES = "turns into"  # the event of an object that another was
STILL = "still"  # the direction word of an object at rest
CLEAR_ANGLE = 1.5  # a relation holds when its axis has this many times the other's offset
STILL_SPEED = 0.05  # world units per second


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """One object; None = not stated (in words) or not well defined (in a state).

    Attributes:
      color, shape, size: words of `scene.PALETTE`, `scene.SHAPES`, `scene.SIZES`.
      direction: a word of `scene.DIRECTIONS`, or "still" for an object at rest.
      speed: "slow", "medium" or "fast"; words never state "medium".
    """

    color: str | None = None
    shape: str | None = None
    size: str | None = None
    direction: str | None = None
    speed: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """All of a clip, or what a prompt says of it.

    Attributes:
      objects: one each; a prompt's "two blue squares" gives two equal ones.
      relations: (i, "left of" | "right of" | "above" | "below", j); of a state, those that hold clearly in
        every frame, each pair in both directions.
      events: (verb, i, j) in order of time, j = -1 where no second object takes part; verbs are "hits",
        "bounces off the left wall" (right wall, floor, ceiling), "falls", "is thrown " + a compass word,
        "leaves on the left and comes back" (on the right, at the top, at the bottom), "turns into".
      count: of objects, what another turns into not counted; None where a prompt leaves it open.
    """

    objects: tuple[ObjectFacts, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    events: tuple[tuple[str, int, int], ...] = ()
    count: int | None = None


def facts(state: SceneState) -> Facts:
    """The facts of an exact state.

    Direction and speed are given to objects on a straight path at constant velocity only: after a bounce or
    under gravity neither is one word.
    """
    objects = tuple(_object(state, k) for k in range(len(state.bodies)))
    seen = np.array([state.visible[:, k].max() > 0 for k in range(len(objects))])
    events = tuple((verb, i, j) for _, verb, i, j in state.events)
    count = int(seen.sum()) - sum(verb == BECOMES for verb, *_ in events)
    return Facts(objects=objects, relations=_relations(state), events=events, count=count)


def _object(state: SceneState, k: int) -> ObjectFacts:
    body = state.bodies[k]
    direction = speed = None
    velocity = state.velocity[:, k]
    if len(velocity) > 1 and np.abs(velocity - velocity[0]).max() < 1e-3:
        x, y = velocity[0].tolist()
        pace = float(np.hypot(x, y))
        if pace < STILL_SPEED:
            direction = STILL
        else:
            direction, speed = scene_lib.direction_word(x, y), scene_lib.speed_word(pace)
    return ObjectFacts(color=body.color, shape=body.shape, size=body.size, direction=direction, speed=speed)


def _relations(state: SceneState) -> tuple[tuple[int, str, int], ...]:
    found = []
    position = state.position
    for i in range(len(state.bodies)):
        for j in range(i + 1, len(state.bodies)):
            offset = position[:, i] - position[:, j]
            near = scene_lib.reach(state.bodies[i]) + scene_lib.reach(state.bodies[j])
            for word, axis in RELATIONS.items():
                along = offset @ np.array(axis, np.float32)
                aside = np.abs(offset @ np.array(axis[::-1], np.float32))
                if np.all(along > np.maximum(CLEAR_ANGLE * aside, near)):
                    found += [(i, word, j), (j, OPPOSITE[word], i)]
    return tuple(found)


def outcomes(said: Facts) -> dict[int, int]:
    """Every object that comes out of no earlier one, and which it is at last: itself if it never turns.

    What turns into one thing and then another is the last of them, and it may be again what it was.
    """
    turned = [(i, j) for verb, i, j in said.events if verb == BECOMES]
    into, made = dict(turned), {j for i, j in turned if j > i}
    last = {}
    for k in (k for k in range(len(said.objects)) if k not in made):
        end, seen = k, set()
        while end in into and end not in seen:
            seen.add(end)
            end = into[end]
        last[k] = end
    return last


def ends(said: Facts) -> tuple[Facts, Facts]:
    """What holds before anything turns into something else, and what holds after; no events.

    The objects of both are those that do not come out of another, in the same order. Of what turns, no
    direction or speed is said, nor a relation after it has.
    """
    last = outcomes(said)
    turning = {i for verb, i, _ in said.events if verb == BECOMES}
    before = [_at_once(said.objects[k]) if k in turning else said.objects[k] for k in last]
    after = [_at_once(said.objects[last[k]]) if k in turning else said.objects[k] for k in last]
    holds = [(i, word, j) for i, word, j in said.relations if i in last and j in last]
    lasts = [relation for relation in holds if not {relation[0], relation[2]} & turning]
    number = {k: new for new, k in enumerate(last)}
    renumbered = [tuple((number[i], word, number[j]) for i, word, j in some) for some in (holds, lasts)]
    return (
        Facts(objects=tuple(before), relations=renumbered[0], count=said.count),
        Facts(objects=tuple(after), relations=renumbered[1], count=said.count),
    )


def _at_once(one: ObjectFacts) -> ObjectFacts:
    return dataclasses.replace(one, direction=None, speed=None)


def agrees(stated: Facts, truth: Facts) -> bool:
    """Whether all that `stated` says is true, for some assignment of its objects to different true ones."""
    if stated.count is not None and stated.count != truth.count:
        return False
    return _assign(stated, truth, [])


def _assign(stated: Facts, truth: Facts, chosen: list[int]) -> bool:
    k = len(chosen)
    if k == len(stated.objects):
        return all(
            (chosen[i], word, chosen[j]) in truth.relations for i, word, j in stated.relations
        ) and all(
            (verb, chosen[i], chosen[j] if j >= 0 else -1) in truth.events for verb, i, j in stated.events
        )
    said = [(name, word) for name, word in dataclasses.asdict(stated.objects[k]).items() if word is not None]
    return any(
        _assign(stated, truth, [*chosen, m])
        for m, one in enumerate(truth.objects)
        if m not in chosen and all(getattr(one, name) == word for name, word in said)
    )
