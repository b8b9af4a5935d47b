"""What the samplers of scenes share: how objects look, how they move, and where they find room.

Objects that are not of one group differ in (colour, shape), nothing overlaps at the start, and nothing that
is meant to pass freely ever touches; so the caption can name everything without ambiguity.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

import numpy as np

from sora_jax.types import Body, Shape, SizeWord
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.scene import Family, Scene

Heldout = Literal["exclude", "only", "any"]

TRIES = 60  # draws before a sampler gives something up
GAP = 0.35  # world units between objects, at least


class Look(NamedTuple):
    """A group of equal objects that has to be in a scene; size None = drawn."""

    color: str
    shape: Shape
    size: SizeWord | None
    members: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """What every sampler is given: the clip's random stream, its size, the rule on held-out combinations.

    `cast` are the groups that `looks` gives, in this order; None = they are drawn.
    """

    rng: np.random.Generator
    frames: int
    height: int
    width: int
    fps: float
    heldout: Heldout
    cast: tuple[Look, ...] | None = None

    @property
    def seconds(self) -> float:
        return (self.frames - 1) / self.fps

    @property
    def half(self) -> tuple[float, float]:
        return scene_lib.extent(self.height, self.width)

    def pick(self, options, weights=None):
        """One of a sequence, with the given weights."""
        if weights is None:
            return options[int(self.rng.random() * len(options))]
        mark = self.rng.random() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            mark -= weight
            if mark < 0:
                return option
        return options[-1]

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()


@dataclasses.dataclass(kw_only=True)
class Item:
    body: Body
    x: float = 0.0
    y: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    angle: float = 0.0
    spin: float = 0.0


def _forced_look(draw: Draw) -> tuple[str, Shape] | None:
    """The first group's look where a held-out combination must appear, else None.

    It is a held-out pair, or a colour that `velocity` can send its held-out way.
    """
    if draw.heldout != "only":
        return None
    if draw.frames == 1 or draw.rng.random() < 0.6:
        return draw.pick(scene_lib.held_out_pairs())
    return draw.pick(scene_lib.COLORS[1::2]), draw.pick(scene_lib.SHAPES)


def _size_weights(count: int) -> tuple[float, float, float]:
    return (1.0, 1.0, 1.0) if count < 3 else (1.0, 0.6, 0.15)


def _group(draw: Draw, look: Look, count: int) -> list[Body]:
    """The bodies of a look that has to be there, among `count` in all.

    Raises:
      ValueError: a look that the draw's rule on held-out combinations never shows.
    """
    if draw.heldout == "exclude" and scene_lib.held_out(look.color, look.shape):
        raise ValueError(f"a {look.color} {look.shape} is held out: use heldout 'any' to show it")
    size = look.size or draw.pick(scene_lib.SIZES, _size_weights(count))
    return [scene_lib.body(look.shape, look.color, size)] * look.members


def looks(draw: Draw, count: int, *, grouped: bool) -> list[list[Body]]:
    """Groups of equal bodies, `count` bodies in all; different groups differ in (colour, shape)."""
    if draw.cast is not None:
        return [_group(draw, look, sum(each.members for each in draw.cast)) for look in draw.cast]
    groups: list[list[Body]] = []
    used: set[tuple[str, str]] = set()
    forced = _forced_look(draw)
    size_weights = _size_weights(count)
    while count:
        members = 1
        if grouped and count > 1 and draw.rng.random() < 0.4:
            members = count if count < 3 or draw.rng.random() < 0.5 else 2
        color, shape = forced or (draw.pick(scene_lib.COLORS), draw.pick(scene_lib.SHAPES))
        if (color, shape) in used or (draw.heldout == "exclude" and scene_lib.held_out(color, shape)):
            continue
        forced = None
        used.add((color, shape))
        groups.append([scene_lib.body(shape, color, draw.pick(scene_lib.SIZES, size_weights))] * members)
        count -= members
    return groups


def tilt(draw: Draw, body: Body) -> float:
    """An angle at which the shape is still called by its name; bars lie, stand or lean."""
    if body.shape == "bar":
        return draw.pick((0.0, math.pi / 2, draw.between(0, math.pi)), (0.4, 0.4, 0.2))
    return draw.between(-0.2, 0.2) if draw.rng.random() < 0.5 else 0.0


def apart(a: Item, b: Item, *, seconds: float) -> bool:
    """Whether two objects on straight relative paths keep GAP between their reaches for `seconds`."""
    px, py, vx, vy = b.x - a.x, b.y - a.y, b.vx - a.vx, b.vy - a.vy
    speed2 = vx * vx + vy * vy
    when = 0.0 if speed2 == 0 else min(max(-(px * vx + py * vy) / speed2, 0.0), seconds)
    near = scene_lib.reach(a.body) + scene_lib.reach(b.body) + GAP
    return (px + vx * when) ** 2 + (py + vy * when) ** 2 >= near * near


def span(limit: float, travel: float, over: float) -> tuple[float, float]:
    """Starts on one axis that begin in view (|start| <= limit) and end at most `over` outside."""
    return max(-limit, -limit - over - travel), min(limit, limit + over - travel)


def place(
    draw: Draw, item: Item, others: list[Item], *, over: float = 0.0, near: tuple | None = None
) -> bool:
    """Give the item a start in view, apart from the others for the whole clip; False if none was found.

    `near` is (item, side) to stand clearly on one side ("left", "right", "up", "down") of another.
    """
    reach = scene_lib.reach(item.body)
    half_x, half_y = draw.half
    lows, highs = [], []
    for half, velocity in ((half_x, item.vx), (half_y, item.vy)):
        low, high = span(half - reach - 0.1, velocity * draw.seconds, over)
        if low > high:
            return False
        lows.append(low)
        highs.append(high)
    for x, y in draw.rng.uniform(lows, highs, (TRIES // 4, 2)).tolist():
        if near is not None:
            x, y = _beside(draw, item, *near)
            if not (lows[0] <= x <= highs[0] and lows[1] <= y <= highs[1]):
                continue
        item.x, item.y = x, y
        if all(apart(item, other, seconds=draw.seconds) for other in others):
            return True
    return False


def _beside(draw: Draw, item: Item, other: Item, side: str) -> tuple[float, float]:
    reach = scene_lib.reach(item.body) + scene_lib.reach(other.body)
    away, along = reach + draw.between(0.6, 2.5), draw.between(-0.6, 0.6)
    dx, dy = {"left": (-away, along), "right": (away, along), "up": (along, away), "down": (along, -away)}[
        side
    ]
    return other.x + dx, other.y + dy


def velocity(draw: Draw, body: Body) -> tuple[float, float]:
    """A velocity of one speed class about one compass direction, as the rule on held-out motions allows."""
    wanted = draw.heldout == "only" and scene_lib.held_out_direction(body.color)
    while True:
        if wanted:
            word = wanted
        elif draw.rng.random() < 0.75:
            word = draw.pick(scene_lib.CARDINAL)
        else:
            word = draw.pick(scene_lib.DIAGONAL)
        if draw.heldout != "exclude" or not scene_lib.held_out(body.color, body.shape, direction=word):
            break
    low, high = scene_lib.SPEEDS[draw.pick(tuple(scene_lib.SPEEDS), (0.35, 0.4, 0.25))]
    speed = draw.between(low, high)
    angle = scene_lib.DIRECTIONS[word] + draw.between(-1, 1) * scene_lib.DIRECTION_JITTER
    return speed * math.cos(angle), speed * math.sin(angle)


def add_mover(draw: Draw, items: list[Item], group: list[Body]) -> None:
    """Place a group that shares one velocity; after many refusals it shrinks or stays away."""
    for attempt in range(TRIES):
        vx, vy = velocity(draw, group[0])
        over = 1.5 * scene_lib.reach(group[0]) if draw.rng.random() < 0.3 else 0.0
        angle = tilt(draw, group[0])
        placed = [Item(body=b, vx=vx, vy=vy, angle=angle) for b in group]
        so_far = list(items)
        if all(place(draw, i, so_far, over=over) and so_far.append(i) is None for i in placed):
            items.extend(placed)
            return
        if attempt % 12 == 11:
            small = scene_lib.body(group[0].shape, group[0].color, "small")
            group = [small] * max(1, len(group) - (group[0].size == "small"))


def add_resting(draw: Draw, items: list[Item], group: list[Body]) -> None:
    """Place a group at rest, often clearly on one side of an object that is there already.

    A member that finds no room stays away; an object by itself is tried small first.
    """
    angle = tilt(draw, group[0])
    small = scene_lib.body(group[0].shape, group[0].color, "small")
    for body in group:
        for attempt in range(6):
            item = Item(body=small if attempt > 3 and len(group) == 1 else body, angle=angle)
            near = None
            if items and draw.rng.random() < 0.75:
                near = (draw.pick(items), draw.pick(("left", "right", "up", "down")))
            if place(draw, item, items, near=near):
                items.append(item)
                break


def compose(draw: Draw, family: Family, items: list[Item], **more) -> Scene:
    """The scene of these items; `more` are other fields of `Scene`."""
    return Scene(
        family=family,
        bodies=tuple(i.body for i in items),
        position=np.array([(i.x, i.y) for i in items]),
        velocity=np.array([(i.vx, i.vy) for i in items]),
        angle=np.array([i.angle for i in items]),
        spin=np.array([i.spin for i in items]),
        frames=draw.frames,
        height=draw.height,
        width=draw.width,
        fps=draw.fps,
        **more,
    )
