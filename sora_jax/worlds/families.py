"""Samplers of scenes, one per family: each turns a random stream and a clip's size into a Scene.

Objects that are not of one group differ in (colour, shape), nothing overlaps at the start, and nothing that
is meant to pass freely ever touches; so the caption can name everything without ambiguity.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from sora_jax.types import Body
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.scene import Family, Scene

Heldout = Literal["exclude", "only", "any"]

TRIES = 60
GRAVITY = (5.0, 8.0)  # world units/s^2
GAP = 0.35  # world units between objects, at least
COUNTS = {
    "uniform": (0.64, 0.21, 0.09, 0.04, 0.02),
    "parabola": (0.66, 0.22, 0.08, 0.04, 0.0),
    "bounce": (0.66, 0.24, 0.10, 0.0, 0.0),
    "collision": (0.0, 0.74, 0.17, 0.09, 0.0),
    "beside": (0.0, 0.66, 0.22, 0.08, 0.04),
    "arrangement": (0.45, 0.30, 0.14, 0.07, 0.04),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """What every sampler is given: the clip's random stream, its size, and the rule on held-out combinations."""

    rng: np.random.Generator
    frames: int
    height: int
    width: int
    fps: float
    heldout: Heldout

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
class _Item:
    body: Body
    x: float = 0.0
    y: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    angle: float = 0.0
    spin: float = 0.0


def _looks(draw: Draw, count: int, *, grouped: bool) -> list[list[Body]]:
    """Groups of equal bodies, `count` in all; different groups differ in (colour, shape)."""
    groups: list[list[Body]] = []
    left = count
    used: set[tuple[str, str]] = set()
    forced = None
    if draw.heldout == "only":
        forced = draw.pick(scene_lib.held_out_pairs())
    size_weights = (1.0, 1.0, 1.0) if count < 3 else (1.0, 0.6, 0.15)
    while left:
        size_of = 1
        if grouped and left > 1 and draw.rng.random() < 0.4:
            size_of = left if left < 3 or draw.rng.random() < 0.5 else 2
        while True:
            color, shape = forced or (draw.pick(scene_lib.COLORS), draw.pick(scene_lib.SHAPES))
            forced_out = draw.heldout == "exclude" and scene_lib.held_out(color, shape)
            if (color, shape) not in used and not forced_out:
                break
        forced = None
        used.add((color, shape))
        body = scene_lib.body(shape, color, draw.pick(scene_lib.SIZES, size_weights))
        groups.append([body] * size_of)
        left -= size_of
    return groups


def _tilt(draw: Draw, body: Body) -> float:
    """An angle at which the shape is still called by its name; bars lie, stand or lean."""
    if body.shape == "bar":
        return draw.pick((0.0, math.pi / 2, draw.between(0, math.pi)), (0.4, 0.4, 0.2))
    return draw.between(-0.2, 0.2) if draw.rng.random() < 0.5 else 0.0


def _apart(a: _Item, b: _Item, *, seconds: float) -> bool:
    """Whether two objects on straight relative paths keep GAP between their reaches for `seconds`."""
    px, py, vx, vy = b.x - a.x, b.y - a.y, b.vx - a.vx, b.vy - a.vy
    speed2 = vx * vx + vy * vy
    when = 0.0 if speed2 == 0 else min(max(-(px * vx + py * vy) / speed2, 0.0), seconds)
    near = scene_lib.reach(a.body) + scene_lib.reach(b.body) + GAP
    return (px + vx * when) ** 2 + (py + vy * when) ** 2 >= near * near


def _span(limit: float, travel: float, over: float) -> tuple[float, float]:
    """Starts on one axis that begin in view (|start| <= limit) and end at most `over` outside."""
    return max(-limit, -limit - over - travel), min(limit, limit + over - travel)


def _place(
    draw: Draw, item: _Item, others: list[_Item], *, over: float = 0.0, near: tuple | None = None
) -> bool:
    """Give the item a start in view, apart from the others for the clip's whole duration; False if none was found.

    `near` is (item, side) to stand clearly on one side ("left", "right", "up", "down") of another.
    """
    reach = scene_lib.reach(item.body)
    half_x, half_y = draw.half
    lows, highs = [], []
    for half, velocity in ((half_x, item.vx), (half_y, item.vy)):
        low, high = _span(half - reach - 0.1, velocity * draw.seconds, over)
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
        if all(_apart(item, other, seconds=draw.seconds) for other in others):
            return True
    return False


def _beside(draw: Draw, item: _Item, other: _Item, side: str) -> tuple[float, float]:
    reach = scene_lib.reach(item.body) + scene_lib.reach(other.body)
    away, along = reach + draw.between(0.6, 2.5), draw.between(-0.6, 0.6)
    dx, dy = {"left": (-away, along), "right": (away, along), "up": (along, away), "down": (along, -away)}[
        side
    ]
    return other.x + dx, other.y + dy


def _velocity(draw: Draw, body: Body) -> tuple[float, float]:
    """Speed class and compass direction with jitter; a held-out (colour, direction) is never drawn in training."""
    while True:
        if draw.rng.random() < 0.75:
            word = draw.pick(scene_lib.CARDINAL)
        else:
            word = draw.pick([w for w in scene_lib.DIRECTIONS if w not in scene_lib.CARDINAL])
        if draw.heldout != "exclude" or not scene_lib.held_out(body.color, body.shape, direction=word):
            break
    low, high = scene_lib.SPEEDS[draw.pick(tuple(scene_lib.SPEEDS), (0.35, 0.4, 0.25))]
    speed = draw.between(low, high)
    angle = scene_lib.DIRECTIONS[word] + draw.between(-1, 1) * scene_lib.DIRECTION_JITTER
    return speed * math.cos(angle), speed * math.sin(angle)


def _scene(draw: Draw, family: Family, items: list[_Item], **more) -> Scene:
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


def _count(draw: Draw, family: Family) -> int:
    return draw.pick((1, 2, 3, 4, 5), COUNTS[family])


def _add_mover(draw: Draw, items: list[_Item], group: list[Body]) -> None:
    """Place a group that shares one velocity; after many refusals it shrinks or stays away."""
    for attempt in range(TRIES):
        vx, vy = _velocity(draw, group[0])
        over = 1.5 * scene_lib.reach(group[0]) if draw.rng.random() < 0.3 else 0.0
        angle = _tilt(draw, group[0])
        placed = [_Item(body=b, vx=vx, vy=vy, angle=angle) for b in group]
        so_far = list(items)
        if all(_place(draw, i, so_far, over=over) and so_far.append(i) is None for i in placed):
            items.extend(placed)
            return
        if attempt % 12 == 11:
            small = scene_lib.body(group[0].shape, group[0].color, "small")
            group = [small] * max(1, len(group) - (group[0].size == "small"))


def _add_resting(draw: Draw, items: list[_Item], group: list[Body]) -> None:
    """Place a group at rest, often clearly on one side of an object that is there already."""
    angle = _tilt(draw, group[0])
    for body in group:
        for attempt in range(6):
            item = _Item(
                body=body if attempt < 4 else scene_lib.body(body.shape, body.color, "small"), angle=angle
            )
            near = None
            if items and draw.rng.random() < 0.75:
                near = (draw.pick(items), draw.pick(("left", "right", "up", "down")))
            if _place(draw, item, items, near=near):
                items.append(item)
                break


def uniform(draw: Draw) -> Scene:
    """1-5 objects on straight lines at constant speed."""
    items: list[_Item] = []
    for group in _looks(draw, _count(draw, "uniform"), grouped=True):
        _add_mover(draw, items, group)
    return _scene(draw, "uniform", items) if items else uniform(draw)


def arrangement(draw: Draw) -> Scene:
    """1-5 objects at rest, side by side."""
    items: list[_Item] = []
    for group in _looks(draw, _count(draw, "arrangement"), grouped=True):
        _add_resting(draw, items, group)
    draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
    return _scene(draw, "arrangement", items) if items else arrangement(draw)


def beside(draw: Draw) -> Scene:
    """Objects at rest beside one moving group."""
    items: list[_Item] = []
    groups = _looks(draw, _count(draw, "beside"), grouped=True)
    if len(groups) == 1:
        groups = _looks(draw, 2, grouped=False)
    _add_mover(draw, items, groups[0])
    for group in groups[1:]:
        _add_resting(draw, items, group)
    draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
    return _scene(draw, "beside", items) if items else beside(draw)


def parabola(draw: Draw) -> Scene:
    """Objects let go or thrown in one field of gravity; they share it and a group shares its throw."""
    gravity, seconds = draw.between(*GRAVITY), draw.seconds
    items: list[_Item] = []
    for group in _looks(draw, _count(draw, "parabola"), grouped=True):
        for _ in range(TRIES):
            angle, (vx, vy) = _tilt(draw, group[0]), _throw(draw, gravity, group[0])
            placed = [_Item(body=b, vx=vx, vy=vy, angle=angle) for b in group]
            so_far = list(items)
            if all(_launch(draw, i, so_far, gravity) and so_far.append(i) is None for i in placed):
                items.extend(placed)
                break
    if not items:
        return uniform(draw)
    return _scene(draw, "parabola", items, gravity=(0.0, -gravity))


def _throw(draw: Draw, gravity: float, body: Body) -> tuple[float, float]:
    """Velocity of a fall (0, 0), or of a throw straight up, sideways or aslant."""
    seconds, (half_x, half_y) = draw.seconds, draw.half
    kind = draw.pick(("fall", "up", "aslant", "level"), (0.35, 0.25, 0.25, 0.15))
    if kind == "fall":
        return 0.0, 0.0
    side = draw.pick((-1.0, 1.0))
    across = side * draw.between(0.25, 0.8) * 2 * half_x / max(seconds, 1.0)
    rise = draw.between(0.8, 1.2) * min(gravity * seconds / 2, math.sqrt(2 * gravity * half_y))
    while True:
        match kind:
            case "up":
                velocity = 0.0, rise + 1.0
            case "aslant":
                velocity = across, abs(across) * draw.between(0.8, 1.25)
            case _:
                velocity = across, 0.0
        word = scene_lib.direction_word(*velocity)
        if draw.heldout != "exclude" or not scene_lib.held_out(body.color, body.shape, direction=word):
            return velocity
        kind, across = draw.pick(("up", "aslant", "level")), -across


def _launch(draw: Draw, item: _Item, others: list[_Item], gravity: float) -> bool:
    """Place an item whose path bends: all of it in view but for the last stretch, which may sink below the frame."""
    reach, seconds = scene_lib.reach(item.body), draw.seconds
    half_x, half_y = draw.half
    drop = item.vy * seconds - gravity * seconds**2 / 2
    top = max(item.vy, 0.0)
    apex = top * min(top / gravity, seconds) - gravity * min(top / gravity, seconds) ** 2 / 2
    low = max(-half_y + reach + 0.1, -half_y - reach - drop)
    high = half_y - reach - 0.1 - apex
    left, right = _span(half_x - reach - 0.1, item.vx * seconds, reach)
    if low > high or left > right:
        return False
    for x, y in draw.rng.uniform((left, low), (right, high), (TRIES // 4, 2)).tolist():
        item.x, item.y = x, y
        if all(_apart(item, other, seconds=seconds) for other in others):
            return True
    return False


def bounce(draw: Draw) -> Scene:
    """1-3 objects in a closed box, the frame; sometimes with gravity, then dropped."""
    gravity = draw.between(*GRAVITY) if draw.rng.random() < 0.3 else 0.0
    groups = _looks(draw, _count(draw, "bounce"), grouped=False)
    items: list[_Item] = []
    restitution = 0.85 if gravity else 1.0
    for (look,) in groups:
        body = dataclasses.replace(look, restitution=restitution)
        item = _Item(body=body, angle=_tilt(draw, body))
        if not _place(draw, item, items):
            continue
        item.vx, item.vy = _velocity(draw, body)
        if gravity:
            item.vx, item.vy = (0.0 if draw.rng.random() < 0.5 else item.vx / 2), 0.0
        items.append(item)
    return _scene(draw, "bounce", items, gravity=(0.0, -gravity), contacts=True, box=True)


def collision(draw: Draw) -> Scene:
    """2-4 bodies, of which the first is aimed at the second, which rests or comes to meet it."""
    groups = _looks(draw, _count(draw, "collision"), grouped=False)
    for _ in range(TRIES):
        items = _head_on(draw, groups[0][0], groups[1][0])
        if items is None:
            continue
        for (body,) in groups[2:]:
            item = _Item(body=body, angle=_tilt(draw, body))
            if _place(draw, item, items):
                items.append(item)
        draw.rng.shuffle(items)  # pyright: ignore[reportArgumentType]
        return _scene(draw, "collision", items, contacts=True)
    return beside(draw)


def _head_on(draw: Draw, first: Body, second: Body) -> list[_Item] | None:
    """Two bodies that meet between 30 and 60 % of the clip, both in view at the start; None if they do not fit."""
    vx, vy = _velocity(draw, first)
    meets = draw.between(0.3, 0.6) * draw.seconds
    share = draw.between(0.6, 1.0) if draw.rng.random() < 0.4 else 0.0  # of the speed, the other way
    a = _Item(body=first, vx=vx, vy=vy, angle=_tilt(draw, first))
    b = _Item(body=second, vx=-share * vx, vy=-share * vy, angle=_tilt(draw, second))
    speed = math.hypot(vx, vy)
    touching = (first.radius + second.radius) * 0.95
    away = touching + speed * (1 + share) * meets
    if away < scene_lib.reach(first) + scene_lib.reach(second) + 0.2:
        return None
    aside = draw.between(-0.25, 0.25) * touching
    dx, dy = vx / speed * away - vy / speed * aside, vy / speed * away + vx / speed * aside
    half_x, half_y = draw.half
    spans = []
    for half, d in ((half_x, dx), (half_y, dy)):
        ra, rb = half - scene_lib.reach(first), half - scene_lib.reach(second)
        spans.append((max(-ra, -rb - d), min(ra, rb - d)))
    if any(low > high for low, high in spans):
        return None
    a.x, a.y = (draw.between(low, high) for low, high in spans)
    b.x, b.y = a.x + dx, a.y + dy
    return [a, b]


FAMILIES: dict[Family, Callable[[Draw], Scene]] = {
    "uniform": uniform,
    "parabola": parabola,
    "bounce": bounce,
    "collision": collision,
    "beside": beside,
    "arrangement": arrangement,
}
