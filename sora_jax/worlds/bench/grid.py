"""A small grid game: an agent among walls takes a coin, or a key and then a door, by a policy that is told.

The board's cells fill the frame's middle square. The agent goes one cell at a time, along a shortest path;
every frame has the board as numbers (`types.SceneState.grid`).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np

from sora_jax.types import Body, Shape
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.case import PLAIN, Event, Variant, noun
from sora_jax.worlds.placing import Draw

CELLS = {"empty": 0, "wall": 1, "coin": 2, "key": 3, "door": 4, "agent": 5}
POLICIES = ("nearest", "farthest", "key")
STRIDE = 4  # frames from one cell to the next
LOOKS: Mapping[str, tuple[Shape, float]] = {  # shape; width over a cell's
    "wall": ("square", 1.0),
    "coin": ("circle", 0.55),
    "key": ("triangle", 0.6),
    "door": ("square", 0.9),
    "agent": ("square", 0.7),
}
Cell = tuple[int, int]  # row, column


def distances(walls: np.ndarray, start: Cell) -> dict[Cell, int]:
    """Steps from a cell to every cell that can be reached, by breadth-first search."""
    found, queue = {start: 0}, collections.deque([start])
    while queue:
        row, column = queue.popleft()
        for cell in ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)):
            inside = 0 <= cell[0] < walls.shape[0] and 0 <= cell[1] < walls.shape[1]
            if inside and not walls[cell] and cell not in found:
                found[cell] = found[row, column] + 1
                queue.append(cell)
    return found


def shortest(walls: np.ndarray, start: Cell, goal: Cell) -> list[Cell]:
    """The cells from start to goal, both included; of equally short paths the first in (row, column) order.

    Raises:
      ValueError: if there is none.
    """
    left = distances(walls, goal)
    if start not in left:
        raise ValueError(f"no path from {start} to {goal}")
    path = [start]
    while path[-1] != goal:
        row, column = path[-1]
        around = ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column))
        path.append(next(c for c in around if left.get(c, math.inf) == left[path[-1]] - 1))
    return path


def steps_to(closed: np.ndarray, agent: Cell, goal: Cell) -> float:
    """Length of the shortest way to a cell, on which nothing else that is closed is stepped; inf if none."""
    around = closed.copy()
    around[goal] = False
    return distances(around, agent).get(goal, math.inf)


def goals(policy: str, closed: np.ndarray, agent: Cell, things: dict[str, list[Cell]]) -> list[Cell]:
    """What the agent goes to, in order: the nearest or the farthest coin, or the key and then the door.

    Args:
      closed: `[rows columns]` bool, cells with a wall or a thing.

    Raises:
      ValueError: on another policy.
    """
    coins = sorted(things["coin"], key=lambda cell: steps_to(closed, agent, cell))
    match policy:
        case "nearest":
            return coins[:1]
        case "farthest":
            return coins[-1:]
        case "key":
            return [*things["key"], *things["door"]]
        case _:
            raise ValueError(f"policy {policy!r} is not one of {POLICIES}")


def gridworld(draw: Draw) -> tuple[Variant, ...]:
    """One agent, walls, two coins at different distances, a key and a door; one policy of three."""
    policy = draw.pick(POLICIES)
    most = (draw.frames - 1) // STRIDE
    while True:
        side = draw.pick((5, 6, 7))
        cells = [(int(k) // side, int(k) % side) for k in draw.rng.permutation(side * side)]
        agent, things = cells[0], {"coin": cells[1:3], "key": cells[3:4], "door": cells[4:5]}
        walls = np.zeros((side, side), bool)
        for cell in cells[5 : 5 + side * side // 5]:
            walls[cell] = True
        closed = walls.copy()
        for cell in itertools.chain(*things.values()):
            closed[cell] = True
        path = _walk(closed, agent, goals(policy, closed, agent, things))
        near, far = sorted(steps_to(closed, agent, cell) for cell in things["coin"])
        if path is not None and 3 <= len(path) - 1 <= most and math.inf > far >= near + 2:
            break
    return (_played(draw, policy, agent, things, walls, path),)


def _walk(closed: np.ndarray, agent: Cell, stops: list[Cell]) -> list[Cell] | None:
    """The whole path through the stops, past everything that is closed; None if there is no way."""
    path = [agent]
    for stop in stops:
        if steps_to(closed, path[-1], stop) == math.inf:
            return None
        closed = closed.copy()
        closed[stop] = False
        path += shortest(closed, path[-1], stop)[1:]
    return path


def _played(
    draw: Draw, policy: str, agent: Cell, things: dict[str, list[Cell]], walls: np.ndarray, path
) -> Variant:
    side, cell_size = len(walls), scene_lib.SHORT_SIDE / len(walls)
    hues = [scene_lib.COLORS[k] for k in draw.rng.permutation(len(scene_lib.COLORS))]
    listing: list[tuple[str, Cell]] = [("wall", (int(r), int(c))) for r, c in np.argwhere(walls)]
    listing += [(kind, cell) for kind in ("coin", "key", "door") for cell in things[kind]] + [
        ("agent", agent)
    ]
    color: dict[str, str] = dict(zip(LOOKS, hues, strict=False))
    bodies = tuple(_body(kind, color[kind], cell_size) for kind, _ in listing)

    step = np.arange(draw.frames) / STRIDE
    corners = np.array([_center(c, side) for c in path])
    index = np.arange(len(path))
    walked = np.stack([np.interp(step, index, corners[:, axis]) for axis in (0, 1)], -1)
    pace = np.zeros_like(walked)
    moving = step < len(path) - 1
    hop = np.minimum(step.astype(int), len(path) - 2)
    pace[moving] = (corners[hop + 1] - corners[hop])[moving] * draw.fps / STRIDE
    still = np.array([_center(cell, side) for _, cell in listing])
    position = np.broadcast_to(still, (draw.frames, *still.shape)).copy()
    position[:, -1] = walked
    velocity = np.zeros_like(position)
    velocity[:, -1] = pace

    alive = np.ones(position.shape[:2], bool)
    grid = np.zeros((draw.frames, side, side), np.int8)
    events: list[Event] = []
    verbs = {"coin": "takes", "key": "takes", "door": "opens"}
    for k, (kind, cell) in enumerate(listing[:-1]):
        if kind in verbs and cell in path:
            at = path.index(cell) * STRIDE
            alive[at:, k] = False
            events.append((at / draw.fps, verbs[kind], len(listing) - 1, k))
        grid[alive[:, k], cell[0], cell[1]] = CELLS[kind]
    at = np.array(path)[np.minimum(np.floor(step + 0.5).astype(int), len(path) - 1)]
    grid[np.arange(draw.frames), at[:, 0], at[:, 1]] = CELLS["agent"]
    state = state_lib.make(
        bodies, position, velocity, np.zeros(alive.shape), family="gridworld", alive=alive, grid=grid,
        events=tuple(sorted(events)),
    )  # fmt: skip
    said = {p: _told(p, bodies, listing) for p in POLICIES}
    other = {"nearest": "farthest", "farthest": "nearest", "key": "nearest"}[policy]
    return Variant(
        name=policy,
        state=state,
        captions=said[policy],
        counter=said[other]["short"],
        measures={"steps": float(len(path) - 1), "stride": float(STRIDE), policy: 1.0},
    )


def _body(kind: str, color: str, cell_size: float) -> Body:
    """A body of the table's width, measured across an upright shape."""
    shape, share = LOOKS[kind]
    unit = 2.0 if shape == "circle" else float(np.ptp(scene_lib.outline(shape, 1.0)[:, 0]))
    radius = share * cell_size / unit
    return dataclasses.replace(scene_lib.body(shape, color, "small"), radius=radius, mass=radius**2)


def _center(cell: Cell, side: int) -> tuple[float, float]:
    """The middle of a cell in world units; row 0 is at the top."""
    size = scene_lib.SHORT_SIDE / side
    return (cell[1] + 0.5) * size - 5.0, 5.0 - (cell[0] + 0.5) * size


def _told(policy: str, bodies: tuple[Body, ...], listing: list[tuple[str, Cell]]) -> dict[str, str]:
    look = {kind: body for (kind, _), body in zip(listing, bodies, strict=True)}
    agent = look["agent"]
    coin, key, door = (noun(look[kind], definite=True) for kind in ("coin", "key", "door"))
    near = coin.removeprefix("the ")
    deed = {
        "nearest": f"goes to the nearest {near}",
        "farthest": f"goes to the farthest {near}",
        "key": f"goes to {key}, then to {door}",
    }[policy]
    walls = f"{look['wall'].color} walls" if "wall" in look else "no walls"
    short = f"{noun(agent)} {deed}"
    board = f"A board with {walls}, two {near}s, {noun(look['key'])} and {noun(look['door'])}."
    return {"short": short, "descriptive": f"{board} The {agent.color} {agent.shape} {deed}. {PLAIN}"}
