"""The phyworld protocol: one or two discs, one law, in and out of the distribution that a model learned.

Source: Kang et al. 2024, arXiv 2411.02385, Sec. 3 and App.; ranges and drawing also from the authors'
released data generator. A 10 x 10 world of 32 frames, 0.1 s apart, at 128 x 128: soft discs on white.
  uniform    x = x0 + v t                     a disc crosses the frame from left to right
  parabola   the same, y = y0 - 2.5 t^2 / 2   thrown level from the top
  collision  two discs on one line meet with restitution 1 and masses r^2
A disc's opacity at distance d from its centre is clip((1 - d^2 / r^2) / 0.03, 0, 1), so its edge is soft in
proportion to its size.

Differs: all motion is in closed form (the authors step Box2D by 0.01 s and show frame k at 0.1 k + 0.01 s);
pixel centres are at (k + 1/2) / 128 (theirs at k / 127); levels are rounded (theirs cut off); radii and
speeds are drawn one by one instead of on a grid, so that a clip is f(seed, index). Places here have their
origin at the frame's centre, as everywhere in this project.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sora_jax import rng as rng_lib
from sora_jax.types import SIZE_DTYPE, Body, Clip, SceneState
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.source import TEXT_BOUND

Law = Literal["uniform", "parabola", "collision"]
Split = Literal["in", "out_radius", "out_speed", "out_both"]

WORLD = 10.0  # world units
FRAMES, SIDE = 32, 128
SECONDS = 0.1  # between frames
GIVEN = 3  # frames that a model is shown
GRAVITY = 2.5  # world units/s^2, of the parabola
SOFTNESS = 0.03
COLORS = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # of the first and the second disc
NAMES = ("red", "blue")
SEEN = 24  # frames that a single disc is at least in view, where its size and speed allow
APART = 8  # frames before and after the collision, at least
MARGIN = 0.5  # world units between a disc and the upper and lower edge, at the start
SPEED_IN = (1.0, 4.0)
SPEED_OUT = ((0.0, 0.8), (4.5, 6.0))
RADIUS_IN: Mapping[Law, tuple[float, float]] = {
    "uniform": (0.7, 1.4),
    "parabola": (0.7, 1.4),
    "collision": (0.5, 1.5),
}
RADIUS_OUT: Mapping[Law, tuple[tuple[float, float], ...]] = {
    "uniform": ((0.3, 0.6), (1.5, 2.0)),
    "parabola": ((0.3, 0.6), (1.5, 2.0)),
    "collision": ((0.3, 0.4), (1.7, 2.0)),  # as released: [0.3, 0.6] and [1.5, 2.0] touch its training range
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """Where a clip begins: radii and x `[o]`, their common height y and velocities along x `[o]`.

    World units and world units/s; origin at the frame's centre.
    """

    radius: Float[np.ndarray, " o"]
    x: Float[np.ndarray, " o"]
    y: float
    velocity: Float[np.ndarray, " o"]


def _in_one_of(rng: np.random.Generator, ranges: tuple[tuple[float, float], ...]) -> float:
    low, high = ranges[int(rng.random() * len(ranges))]
    return float(low + (high - low) * rng.random())


def draw(rng: np.random.Generator, law: Law, split: Split) -> Start:
    """A start of the split's ranges, such that what the law does can be seen.

    A single disc is wholly in view at the start and still in view after `SEEN` frames if it is slow enough;
    two discs collide at least `APART` frames after the start and before the end, and are wholly in view until
    `APART` frames after (so never two that are both fast, which would meet too soon).
    """
    radii = RADIUS_OUT[law] if split in ("out_radius", "out_both") else (RADIUS_IN[law],)
    speeds = SPEED_OUT if split in ("out_speed", "out_both") else (SPEED_IN,)
    while True:
        start = _pair(rng, radii, speeds) if law == "collision" else _single(rng, law, radii, speeds)
        if start is not None:
            return start


def _single(rng: np.random.Generator, law: Law, radii, speeds) -> Start:
    radius, speed = _in_one_of(rng, radii), _in_one_of(rng, speeds)
    last = WORLD - (SEEN * SECONDS * speed + radius)
    if last < radius:  # too fast to stay so long: start at the left edge
        last = radius + 0.5 * rng.random()
    x = radius + (last - radius) * rng.random()
    top = WORLD - MARGIN - radius
    low = top - 1.0 if law == "parabola" else MARGIN + radius
    y = low + (top - low) * rng.random()
    return Start(
        radius=np.array([radius]),
        x=np.array([x - WORLD / 2]),
        y=float(y - WORLD / 2),
        velocity=np.array([speed]),
    )


def _pair(rng: np.random.Generator, radii, speeds) -> Start | None:
    """Two discs that come to meet each other; None if these do not meet in time within the frame."""
    radius = np.array([_in_one_of(rng, radii) for _ in range(2)])
    velocity = np.array([_in_one_of(rng, speeds), -_in_one_of(rng, speeds)])
    closing, touch = velocity[0] - velocity[1], radius.sum()
    least = APART * SECONDS * closing + touch
    most = min((FRAMES - 1 - APART) * SECONDS * closing + touch, WORLD - touch)
    if least > most:
        return None
    gap = least + (most - least) * rng.random()
    first = radius[0] + (WORLD - touch - gap) * rng.random()
    room = MARGIN + radius.max()
    y = room + (WORLD - 2 * room) * rng.random()
    start = Start(
        radius=radius, x=np.array([first, first + gap]) - WORLD / 2, y=float(y - WORLD / 2), velocity=velocity
    )
    x, _ = motion("collision", start)
    met = math.ceil((gap - touch) / closing / SECONDS)
    after = np.abs(x[met : met + APART, :, 0]) <= WORLD / 2 - radius
    return start if after.all() else None


def motion(
    law: Law, start: Start, *, frames: int = FRAMES
) -> tuple[Float[np.ndarray, "f o 2"], Float[np.ndarray, "f o 2"]]:
    """Position and velocity of every disc at every frame, in closed form (float64)."""
    t = (np.arange(frames) * SECONDS)[:, None]
    x, vx = start.x + t * start.velocity, np.broadcast_to(start.velocity, (frames, len(start.x)))
    y, vy = np.full_like(x, start.y), np.zeros_like(x)
    match law:
        case "uniform":
            pass
        case "parabola":
            y, vy = y - GRAVITY * t**2 / 2, vy - GRAVITY * t
        case "collision":
            mass, v = start.radius**2, start.velocity
            mean = (mass * v).sum() / mass.sum()
            when = (start.x[1] - start.x[0] - start.radius.sum()) / (v[0] - v[1])
            late = np.maximum(t - when, 0)
            x, vx = x + late * 2 * (mean - v), np.where(t >= when, 2 * mean - v, v)
        case _:
            raise ValueError(f"law {law!r} is not one of {get_args(Law)}")
    return np.stack([x, y], -1), np.stack([vx, vy], -1)


def host_discs(
    position: Float[np.ndarray, "f o 2"], radius: Float[np.ndarray, " o"], *, side: int = SIDE
) -> UInt8[np.ndarray, "f side side 3"]:
    """Soft discs on white, the last in front; positions and radii in world units (origin at the centre)."""
    axis = (np.arange(side) + 0.5) * (WORLD / side) - WORLD / 2
    video = np.ones((len(position), side, side, 3))
    for frame, places in zip(video, position, strict=True):
        for (x, y), size, color in zip(places, radius, COLORS, strict=False):
            columns = slice(*np.searchsorted(axis, (x - size, x + size)))
            rows = slice(*np.searchsorted(axis, (-y - size, -y + size)))
            square = np.square(-axis[rows, None] - y) + np.square(axis[None, columns] - x)
            opacity = np.clip((1 - square / size**2) / SOFTNESS, 0, 1)[..., None]
            window = frame[rows, columns]
            window += opacity * (np.array(color) - window)
    return (video * 255 + 0.5).astype(np.uint8)


def discs(
    position: Float[Array, "f o 2"], radius: Float[Array, " o"], *, side: int = SIDE
) -> Float[Array, "f side side 3"]:
    """`host_discs` in JAX, to be jitted and differentiated: float32 levels 0 to 255, not rounded."""
    axis = (jnp.arange(side) + 0.5) * (WORLD / side) - WORLD / 2
    frame = jnp.ones((position.shape[0], side, side, 3), jnp.float32)
    for k in range(position.shape[1]):
        dx = axis[None] - position[:, k, :1]
        dy = -axis[None] - position[:, k, 1:]
        square = jnp.square(dx)[:, None, :] + jnp.square(dy)[:, :, None]
        opacity = jnp.clip((1 - square / jnp.square(radius[k])) / SOFTNESS, 0, 1)[..., None]
        color = jnp.asarray(COLORS[k], jnp.float32)[None, None, None]
        frame = frame + opacity * (color - frame)
    return frame * 255


def valid(position: Float[np.ndarray, "f o 2"], radius: Float[np.ndarray, " o"]) -> np.ndarray:
    """`[f]` bool: the frames that the velocity error counts: not given, and every disc wholly in view."""
    inside = (np.abs(position) + radius[:, None] <= WORLD / 2).all((1, 2))
    return inside & (np.arange(len(position)) >= GIVEN)


class PhyworldSource:
    """`types.Source` of one law's clips: clip = f(seed, index).

    Args:
      law: "uniform", "parabola" or "collision".
      split: "in" the training ranges; or with radii, speeds, or both out of them, small or large.
      seed: of the whole set; sets with different seeds share no clip.
      length: number of clips (published: 30,000, 300,000 and 3,000,000); a longer set begins with the same.
      frames: of a clip, at least the protocol's 32: a causal autoencoder wants 1 + a multiple of its ratio.
      side: height and width, pixels; the protocol's is 128.

    Raises:
      ValueError: a law or split that is none, fewer frames than the protocol's.
    """

    def __init__(
        self,
        law: Law,
        *,
        split: Split = "in",
        seed: int,
        length: int,
        frames: int = FRAMES,
        side: int = SIDE,
    ):
        if law not in get_args(Law):
            raise ValueError(f"law {law!r} is not one of {get_args(Law)}")
        if split not in get_args(Split):
            raise ValueError(f"split {split!r} is not one of {get_args(Split)}")
        if frames < FRAMES or side < 1:
            raise ValueError(f"{frames} frames of side {side}: use at least {FRAMES} frames and 1 pixel")
        self.law: Law = law
        self.split: Split = split
        self._seed, self._length, self._frames, self._side = seed, length, frames, side

    @property
    def sizes(self) -> np.ndarray:
        table = np.empty(self._length, SIZE_DTYPE)
        table["frames"], table["height"], table["width"], table["text"] = (
            self._frames,
            self._side,
            self._side,
            TEXT_BOUND,
        )
        return table

    def __len__(self) -> int:
        return self._length

    def start(self, index: int) -> Start:
        """Where clip `index` begins."""
        if not 0 <= index < self._length:
            raise IndexError(f"clip {index} of a set of {self._length}")
        rng = rng_lib.host(self._seed, "phyworld", self.law, self.split, int(index))
        return draw(rng, self.law, self.split)

    def __getitem__(self, index: int) -> Clip:
        start = self.start(index)
        state = to_state(self.law, start, frames=self._frames)
        position, _ = motion(self.law, start, frames=self._frames)
        return Clip(
            video=host_discs(position, start.radius, side=self._side),
            fps=1 / SECONDS,
            captions={"short": CAPTIONS[self.law]},
            id=f"phyworld-{self.law}-{self.split}-{self._seed}-{index}",
            state=state,
        )


CAPTIONS: Mapping[Law, str] = {
    "uniform": "a red circle moves right",
    "parabola": "a red circle is thrown to the right and falls",
    "collision": "a red circle hits a blue circle",
}


def to_state(law: Law, start: Start, *, frames: int = FRAMES) -> SceneState:
    """The exact state; `visible` is the share of each disc's width and height that is in the frame."""
    position, velocity = motion(law, start, frames=frames)
    bodies = tuple(
        Body(
            shape="circle",
            color=NAMES[k],
            size="medium",
            radius=float(r),
            mass=float(r) ** 2,
            restitution=1.0,
        )
        for k, r in enumerate(start.radius)
    )
    shown = np.clip(
        (WORLD / 2 - np.abs(position) + start.radius[:, None]) / (2 * start.radius[:, None]), 0, 1
    )
    contact = np.zeros((frames, len(bodies), len(bodies)), bool)
    events: tuple[tuple[float, str, int, int], ...] = ()
    if law == "collision":
        gap = start.x[1] - start.x[0] - start.radius.sum()
        when = float(gap / (start.velocity[0] - start.velocity[1]))
        contact[math.ceil(when / SECONDS), [0, 1], [1, 0]] = True
        events = ((when, "hits", 0, 1),)
    return state_lib.make(
        bodies,
        position,
        velocity,
        np.zeros((frames, len(bodies))),
        family=f"phyworld {law}",
        visible=shown.prod(-1).astype(np.float32),
        contact=contact,
        events=events,
        background=(1.0, 1.0, 1.0),
    )
