"""One law each: a pendulum, a spring, sliding friction.

pendulum: angle'' = -(g / L) sin(angle), by the classical Runge-Kutta method with 12 steps a frame; energy
  m (L^2 angle'^2 / 2 + g L (1 - cos(angle))) is kept to better than 1e-7 of itself.
spring: x'' = -(k / m) (x - rest), closed form; energy m x'^2 / 2 + k (x - rest)^2 / 2 is kept to rounding.
friction: a body slides with deceleration mu g until it stands still, closed form; the energy it loses is
  m mu g times the way it went.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sora_jax.types import Mark
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench.case import Event, Variant, cast, tell
from sora_jax.worlds.placing import Draw, Item, place

SUBSTEPS = 12  # of a frame, of the pendulum
STRING_RADIUS = 0.1  # world units, of a bead: less than anything that counts as an object
STOPPED = 0.8  # a sliding body stands still from at most this share of the clip on


def swing(angle: float, rate: float, *, pull: float, frames: int, fps: float) -> np.ndarray:
    """Angle and its rate `[f 2]` of a pendulum; pull = g / L in 1/s^2, radians and radians/s at frame 0."""
    step = 1 / (fps * SUBSTEPS)
    now, out = np.array([angle, rate]), np.empty((frames, 2))

    def slope(y: np.ndarray) -> np.ndarray:
        return np.array([y[1], -pull * math.sin(y[0])])

    for frame in range(frames):
        out[frame] = now
        for _ in range(SUBSTEPS):
            a = slope(now)
            b = slope(now + step / 2 * a)
            c = slope(now + step / 2 * b)
            d = slope(now + step * c)
            now = now + step / 6 * (a + 2 * b + 2 * c + d)
    return out


def pendulum(draw: Draw) -> tuple[Variant, ...]:
    """A body swings on a dotted string from a fixed pivot."""
    bob, pivot = cast(draw, 2, shapes=("circle", "square"), sizes=("small",))
    pivot = dataclasses.replace(scene_lib.body("square", pivot.color, "small"), radius=0.5, mass=0.25)
    half_x, half_y = draw.half
    length = draw.between(3.2, 2 * half_y - 0.6 - scene_lib.reach(bob) - 1.2)
    widest = min(1.2, math.asin(min(1.0, (half_x - scene_lib.reach(bob) - 0.1) / length)))
    angle, gravity = draw.pick((-1, 1)) * draw.between(0.35, widest), draw.between(8.0, 16.0)
    motion = swing(angle, 0.0, pull=gravity / length, frames=draw.frames, fps=draw.fps)
    theta, rate = motion.T
    fixed = np.array([0.0, half_y - 0.6])
    place_at = fixed + length * np.stack([np.sin(theta), -np.cos(theta)], -1)
    speed = length * rate[:, None] * np.stack([np.cos(theta), np.sin(theta)], -1)
    events: tuple[Event, ...] = ((0.0, "swings from", 0, 1),)
    state = state_lib.make(
        (bob, pivot),
        np.stack([place_at, np.broadcast_to(fixed, place_at.shape)], 1),
        np.stack([speed, np.zeros_like(speed)], 1),
        np.stack([theta, np.zeros_like(theta)], 1),
        family="pendulum",
        events=events,
        marks=(_string(draw, 0, fixed),),
    )
    measures = {"gravity": gravity, "length": length, "angle": angle}
    return (
        Variant(name="valid", state=state, captions=tell(state.bodies, events, (0, 1)), measures=measures),
    )


def spring(draw: Draw) -> tuple[Variant, ...]:
    """A body swings to and fro on a dotted spring that is fixed to a post."""
    body, post = cast(draw, 2, shapes=("circle", "square"), sizes=("small",))
    post = dataclasses.replace(scene_lib.body("square", post.color, "small"), radius=0.7, mass=0.49)
    half_x, half_y = draw.half
    side, upright = draw.pick((-1, 1)), draw.rng.random() < 0.4
    span = half_y if upright else half_x
    rest = side * draw.between(0.0, 0.8)
    reach = scene_lib.reach(body)
    amplitude = draw.between(1.2, span - abs(rest) - reach - (0 if rest * side < 0 else 0.1))
    fixed = -side * (span - 0.7)
    amplitude = min(amplitude, abs(rest - fixed) - reach - 1.0)
    rate = 2 * math.pi * draw.between(1.0, 2.5) / draw.seconds
    phase = draw.between(-math.pi, math.pi)
    seconds = np.arange(draw.frames) / draw.fps
    along = rest + amplitude * np.cos(rate * seconds + phase)
    pace = -amplitude * rate * np.sin(rate * seconds + phase)
    across = draw.between(-1, 1) * ((half_x if upright else half_y) - reach - 0.2)
    axis, other = (np.array([0.0, 1.0]), np.array([1.0, 0.0]))[:: 1 if upright else -1]
    anchor = fixed * axis + across * other
    here = along[:, None] * axis + across * other
    events: tuple[Event, ...] = ((0.0, "swings to and fro on a spring from", 0, 1),)
    state = state_lib.make(
        (body, post),
        np.stack([here, np.broadcast_to(anchor, here.shape)], 1),
        np.stack([pace[:, None] * axis, np.zeros_like(here)], 1),
        np.zeros((draw.frames, 2)),
        family="spring",
        events=events,
        marks=(_string(draw, 0, anchor),),
    )
    stiffness = body.mass * rate**2
    measures = {"stiffness": stiffness, "rest": rest, "amplitude": amplitude, "upright": float(upright)}
    return (
        Variant(name="valid", state=state, captions=tell(state.bodies, events, (0, 1)), measures=measures),
    )


def friction(draw: Draw) -> tuple[Variant, ...]:
    """1-2 bodies slide over a table, slow down evenly, and stand still within the clip."""
    items: list[Item] = []
    slowing = draw.between(2.0, 5.0)  # mu g, world units/s^2
    for body in cast(draw, draw.pick((1, 2))):
        word = draw.pick(scene_lib.CARDINAL)
        speed = slowing * draw.between(0.35, STOPPED) * draw.seconds
        way = np.array([math.cos(scene_lib.DIRECTIONS[word]), math.sin(scene_lib.DIRECTIONS[word])])
        speed = min(speed, math.sqrt(2 * slowing * (2 * min(draw.half) - 2 * scene_lib.reach(body) - 0.5)))
        distance = speed**2 / (2 * slowing)
        item = Item(body=body)
        item.vx, item.vy = way * distance / draw.seconds  # the same path, for `place`
        if place(draw, item, items):
            items.append(item)
    seconds = np.arange(draw.frames) / draw.fps
    position, velocity, events = [], [], []
    for k, item in enumerate(items):
        path = np.array([item.vx, item.vy]) * draw.seconds
        way = path / np.hypot(*path)
        speed = math.sqrt(2 * slowing * float(np.hypot(*path)))
        sliding = np.minimum(seconds, speed / slowing)
        position.append((item.x, item.y) + (speed * sliding - slowing * sliding**2 / 2)[:, None] * way)
        velocity.append((speed - slowing * sliding)[:, None] * way)
        events.append((0.0, f"slides {scene_lib.direction_word(*way)}", k, -1))
        events.append((speed / slowing, "comes to rest", k, -1))
    bodies = tuple(i.body for i in items)
    told: tuple[Event, ...] = tuple(sorted(events, key=lambda event: event[0]))
    state = state_lib.make(
        bodies, np.stack(position, 1), np.stack(velocity, 1), np.zeros((draw.frames, len(bodies))),
        family="friction", events=told,
    )  # fmt: skip
    captions = tell(bodies, told, range(len(bodies)))
    return (Variant(name="valid", state=state, captions=captions, measures={"deceleration": slowing}),)


def _string(draw: Draw, body: int, fixed: np.ndarray) -> Mark:
    return Mark(
        kind="string", body=body, color="black", radius=STRING_RADIUS, points=fixed[None].astype(np.float32),
        start=np.zeros(1, np.int32), end=np.full(1, draw.frames, np.int32),
    )  # fmt: skip
