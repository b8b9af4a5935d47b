"""Bodies that break if and only if they are hit hard, and bodies that come, multiply or go as none should.

Fracture: a hammer of mass m and a body of mass M at rest meet head-on with restitution e at speed v, so the
normal impulse is (1 + e) v m M / (m + M). Above `FRACTURE_IMPULSE` the body falls apart into pieces that tile
it: their areas sum to its own, and they fly apart without spin, so none ever meets another. Closed form.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sora_jax.types import Body, Shape
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.case import Event, Variant, cast, frame_after, straight, tell
from sora_jax.worlds.placing import Draw, Item, add_mover, apart, place, velocity

FRACTURE_IMPULSE = 3.0  # kg world units / s
RESTITUTION = 0.6
SOFT, HARD = (0.4, 0.8), (1.25, 1.7)  # impulse / FRACTURE_IMPULSE
SPREAD = 0.8 * RESTITUTION  # largest speed of a piece from their common centre / the hammer's
SHOWN = 5  # frames in which all pieces are in view
PIECES: dict[Shape, int] = {"square": 4, "bar": 3, "triangle": 4}


def tiling(shape: Shape, radius: float) -> tuple[float, np.ndarray, np.ndarray, Shape]:
    """Pieces that tile a body at angle 0: their radius, offsets `[k 2]`, angles `[k]` and shape.

    A square falls into 4 squares, a bar into 3 squares, a triangle into 4 triangles.
    """
    if shape not in PIECES:
        raise ValueError(f"a {shape} does not break: use one of {sorted(PIECES)}")
    corners, count = scene_lib.outline(shape, radius), PIECES[shape]
    angles = np.zeros(count)
    if shape == "square":
        offsets = corners / 2
    elif shape == "bar":
        offsets = np.stack([2 * corners[1, 0] / 3 * np.arange(-1, 2), np.zeros(3)], -1)
    else:
        offsets, angles[3] = np.concatenate([corners / 2, np.zeros((1, 2))]), math.pi
    return radius / math.sqrt(count), offsets, angles, "square" if shape == "bar" else shape


def fracture(draw: Draw) -> tuple[Variant, ...]:
    """A disc hits a resting body, hard or softly (equally often); hard, the body breaks into pieces."""
    hard = bool(draw.rng.random() < 0.5)
    while True:
        share = draw.between(*(HARD if hard else SOFT))
        hammer = scene_lib.body(
            "circle", draw.pick(scene_lib.COLORS), draw.pick(("small", "medium", "large"))
        )
        (target,) = cast(draw, 1, shapes=tuple(PIECES), sizes=("medium", "large"), taken=(hammer.color,))
        reduced = hammer.mass * target.mass / (hammer.mass + target.mass)
        speed = share * FRACTURE_IMPULSE / ((1 + RESTITUTION) * reduced)
        turn = draw.pick((0, 1)) * math.pi / 2 if target.shape == "bar" else 0.0
        aim = draw.pick((0, 1, 2, 3)) * math.pi / 2
        if target.shape == "triangle":
            turn = aim - math.pi / 2  # its lower side faces the hammer
        way = np.array([math.cos(aim), math.sin(aim)])
        touch = hammer.radius + _side(target, turn, way)
        when = draw.between(0.25, 0.5) * draw.seconds
        away = speed * when
        half = draw.half[0] if abs(way[0]) > 0.5 else draw.half[1]
        carried = (1 + RESTITUTION) * reduced / target.mass + SPREAD  # of the pieces, over the hammer's speed
        onward = SHOWN / draw.fps * speed * carried if hard else 0.0
        room = 2 * half - hammer.radius - away - touch - scene_lib.reach(target) - onward - 0.2
        if away > 0.4 and room > 0:
            break
    home = (-half + hammer.radius + 0.1 + away + touch + draw.between(0, min(room, 0.5))) * way
    aside = draw.between(-1.5, 1.5) * np.array([-way[1], way[0]])
    return (_broken(draw, (hammer, target), home + aside, turn, way * speed, touch, when, hard),)


def _side(body: Body, turn: float, way: np.ndarray) -> float:
    """Distance from a body's centre to the side that something moving along `way` meets."""
    corners = scene_lib.outline(body.shape, body.radius)
    cos, sin = math.cos(turn), math.sin(turn)
    turned = np.stack(
        [cos * corners[:, 0] - sin * corners[:, 1], sin * corners[:, 0] + cos * corners[:, 1]], -1
    )
    return float(-(turned @ way).min())


def _broken(
    draw: Draw, pair: tuple[Body, Body], home, turn: float, push, touch: float, when: float, hard: bool
):
    hammer, target = pair
    speed = float(np.hypot(*push))
    way, total = push / speed, hammer.mass + target.mass
    after = (
        (hammer.mass - RESTITUTION * target.mass) / total * push,
        (1 + RESTITUTION) * hammer.mass / total * push,
    )
    radius, offsets, angles, shape = tiling(target.shape, target.radius)
    cos, sin = math.cos(turn), math.sin(turn)
    offsets = offsets @ np.array([[cos, sin], [-sin, cos]])
    piece = dataclasses.replace(target, shape=shape, size="small", radius=radius, mass=radius**2)
    count = len(offsets) if hard else 0
    # the pieces at the hammer's side go no faster back than the hammer is left behind
    spread = SPREAD * speed / np.hypot(*offsets.T).max()
    fly = after[1] + spread * offsets[:count]

    seconds = (np.arange(draw.frames) / draw.fps)[:, None]
    later = np.maximum(seconds - when, 0)
    earlier = np.minimum(seconds - when, 0)
    tracks = [home - touch * way + earlier * push + later * after[0], home + later * after[1]]
    tracks += [home + offsets[k] + later * fly[k] for k in range(count)]
    struck = seconds >= when
    rates = [np.where(struck, after[0], push), np.where(struck, after[1], 0.0)]
    rates += [np.where(struck, fly[k], 0.0) for k in range(count)]
    angle = np.tile([0.0, turn, *(turn + angles[:count])], (draw.frames, 1))
    alive = np.ones((draw.frames, 2 + count), bool)
    if hard:
        alive[:, 1], alive[:, 2:] = ~struck[:, 0], struck
    contact = np.zeros((draw.frames, 2 + count, 2 + count), bool)
    contact[frame_after(when, draw.fps), [0, 1], [1, 0]] = True
    outcome = f"breaks into {('three', 'four')[count - 3]} pieces" if hard else "stays whole"
    events: tuple[Event, ...] = ((when, "hits", 0, 1), (when, outcome, 1, -1))
    bodies = (hammer, target, *[piece] * count)
    state = state_lib.make(
        bodies, np.stack(tracks, 1), np.stack(rates, 1), angle, family="fracture", events=events,
        alive=alive, contact=contact, parent=(-1, -1, *[1] * count) if hard else (),
    )  # fmt: skip
    impulse = (1 + RESTITUTION) * speed * hammer.mass * target.mass / total
    measures = {"impulse": impulse, "threshold": FRACTURE_IMPULSE, "pieces": float(count), "instant": when}
    return Variant(name="valid", state=state, captions=tell(bodies, events, (0, 1)), measures=measures)


def clones(draw: Draw) -> tuple[Variant, ...]:
    """A clip in which everything is well, and the same one with a birth, a clone or a death in its midst."""
    kind = draw.pick(("birth", "clone", "death"))
    frame = int(draw.between(0.3, 0.7) * draw.frames)
    while True:
        items: list[Item] = []
        for body in cast(draw, draw.pick((2, 3)), sizes=("small",)):
            add_mover(draw, items, [body])
        if len(items) > 1 and (made := _intruder(draw, items, kind, frame)) is not None:
            break
    index, extra = made
    everything = [*items, extra] if extra else items
    where = np.array([(i.x, i.y) for i in everything])
    pace = np.array([(i.vx, i.vy) for i in everything])
    position, speed = straight(draw, where, pace)
    angle = np.tile([i.angle for i in everything], (draw.frames, 1))
    bodies = tuple(i.body for i in everything)
    events: tuple[Event, ...] = tuple(
        (0.0, f"moves {scene_lib.direction_word(i.vx, i.vy)}", k, -1) for k, i in enumerate(items)
    )
    captions = tell(bodies, events, range(len(items)))
    variants = []
    for name in ("valid", kind):
        alive = np.ones(angle.shape, bool)
        alive[:, len(items) :] = False
        broken = name != "valid"
        if broken:
            alive[frame:, index] = kind != "death"
        state = state_lib.make(bodies, position, speed, angle, family="clones", events=events, alive=alive)
        variants.append(
            Variant(
                name="violated" if broken else "valid",
                state=state,
                captions=captions,
                possible=not broken,
                measures={"frame": float(frame), "object": float(index), kind: 1.0},
            )
        )
    return tuple(variants)


def _intruder(draw: Draw, items: list[Item], kind: str, frame: int) -> tuple[int, Item | None] | None:
    """The object that dies, or the new one's number and start; None if it is not in view at that frame."""
    when = frame / draw.fps
    if kind == "birth":
        taken = {i.body.color for i in items}
        item = Item(body=cast(draw, 1, sizes=("small",), taken=taken)[0])
        item.vx, item.vy = velocity(draw, item.body)
        return (len(items), item) if place(draw, item, items) else None
    index = draw.pick(range(len(items)))
    chosen = items[index]
    x, y = chosen.x + when * chosen.vx, chosen.y + when * chosen.vy
    room = np.array(draw.half) - scene_lib.reach(chosen.body) - 0.5
    if abs(x) > room[0] or abs(y) > room[1]:
        return None
    if kind == "death":
        return index, None
    turn = draw.pick((-1, 1)) * draw.between(0.8, 2.2)  # the copy leaves its original at this angle
    cos, sin = math.cos(turn), math.sin(turn)
    vx, vy = cos * chosen.vx - sin * chosen.vy, sin * chosen.vx + cos * chosen.vy
    copy = dataclasses.replace(chosen, x=x - when * vx, y=y - when * vy, vx=vx, vy=vy)
    start = dataclasses.replace(copy, x=x, y=y)
    rest = draw.seconds - when
    for other in items:
        later = dataclasses.replace(other, x=other.x + when * other.vx, y=other.y + when * other.vy)
        if other is not chosen and not apart(start, later, seconds=rest):
            return None
    return len(items), copy
