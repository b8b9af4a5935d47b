"""A scene as data: what is in it, how it starts, and how it is filmed.

World coordinates: origin at the frame's centre, x right, y up, the frame's short side is `SHORT_SIDE` =
10 world units. Everything here is a table or a pure function of one.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from sora_jax.types import Body, Shape, SizeWord

SHORT_SIDE = 10.0  # world units
BACKGROUND = (0.94, 0.94, 0.94)

# RGB in [0, 1]. Any two are at least 0.35 apart, and each is at least 0.35 from the background (tested).
PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.88, 0.10, 0.12),
    "green": (0.10, 0.62, 0.15),
    "blue": (0.10, 0.22, 0.92),
    "yellow": (0.98, 0.86, 0.05),
    "orange": (1.00, 0.50, 0.00),
    "purple": (0.48, 0.05, 0.68),
    "pink": (1.00, 0.52, 0.78),
    "cyan": (0.10, 0.82, 0.92),
    "brown": (0.48, 0.26, 0.05),
    "black": (0.04, 0.04, 0.04),
    "gray": (0.52, 0.52, 0.56),
    "lime": (0.60, 0.98, 0.25),
}
COLORS: tuple[str, ...] = tuple(PALETTE)
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "bar")
SIZES: tuple[SizeWord, ...] = ("small", "medium", "large")
RADIUS: dict[SizeWord, float] = {"small": 0.9, "medium": 1.3, "large": 1.8}  # world units, no jitter
BAR_ASPECT = 3.0  # length : thickness

# Speed classes in world units per second; they do not touch, so a word can be read back from a track.
SPEEDS: dict[str, tuple[float, float]] = {"slow": (1.7, 2.3), "medium": (3.8, 5.2), "fast": (6.8, 9.2)}

# Compass words and their angle in radians, counter-clockwise from +x.
DIRECTIONS: dict[str, float] = {
    "right": 0.0,
    "up and to the right": math.pi / 4,
    "up": math.pi / 2,
    "up and to the left": 3 * math.pi / 4,
    "left": math.pi,
    "down and to the left": -3 * math.pi / 4,
    "down": -math.pi / 2,
    "down and to the right": -math.pi / 4,
}
CARDINAL: tuple[str, ...] = ("left", "right", "up", "down")
DIAGONAL: tuple[str, ...] = tuple(word for word in DIRECTIONS if word not in CARDINAL)
DIRECTION_JITTER = math.radians(12)

Family = Literal[
    "uniform", "parabola", "bounce", "collision", "beside", "arrangement", "cuts", "returns", "turns"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """Another way that an object comes to, and perhaps other looks.

    From `start` to `end` its centre follows the cubic Hermite curve between the two ways, without a jump of
    its place or velocity; its angle and its looks change evenly (`coverage.between`).

    Attributes:
      start, end: seconds.
      position, velocity: (x, y) at `end`, world units and world units/s.
      angle: at `end`, radians.
      into: what it becomes; None = its looks stay.
    """

    start: float
    end: float
    position: tuple[float, float]
    velocity: tuple[float, float]
    angle: float
    into: Body | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """All that determines a clip's pixels.

    Attributes:
      family: the sampler it came from.
      bodies: one per object; the first is drawn at the back.
      position, velocity: `[o 2]` float64 at frame 0, world units and world units/s.
      angle, spin: `[o]` float64 at frame 0, radians and radians/s, counter-clockwise.
      gravity: (x, y), world units/s^2.
      contacts: objects collide with each other (pymunk); otherwise motion is in closed form.
      box: the frame's edges are walls (implies contacts).
      margin: of a box, how far outside the frame its walls are, world units: then nobody sees them.
      frames, height, width: of the clip, pixels.
      fps: frames per second; frame k is the instant k / fps.
      background: RGB in [0, 1].
      turn: of its only object; None = it goes on as it began.
      later: the shots that follow this one, of the same bodies; their `frames` are counted on their own.
    """

    family: Family
    bodies: tuple[Body, ...]
    position: Float[np.ndarray, "o 2"]
    velocity: Float[np.ndarray, "o 2"]
    angle: Float[np.ndarray, " o"]
    spin: Float[np.ndarray, " o"]
    gravity: tuple[float, float] = (0.0, 0.0)
    contacts: bool = False
    box: bool = False
    margin: float = 0.0
    frames: int
    height: int
    width: int
    fps: float
    background: tuple[float, float, float] = BACKGROUND
    turn: Turn | None = None
    later: tuple[Scene, ...] = ()


def extent(height: int, width: int) -> tuple[float, float]:
    """Half the frame's width and half its height, in world units."""
    scale = SHORT_SIDE / min(height, width)
    return width * scale / 2, height * scale / 2


def body(shape: Shape, color: str, size: SizeWord, *, restitution: float = 1.0) -> Body:
    """A body of the tables' radius; its mass is radius^2 kg, proportional to its area."""
    radius = RADIUS[size]
    return Body(shape=shape, color=color, size=size, radius=radius, mass=radius**2, restitution=restitution)


def outline(shape: Shape, radius: float) -> Float[np.ndarray, "v 2"]:
    """Corners of a polygon of area pi radius^2 about its centroid, counter-clockwise, at angle 0.

    A bar lies along x. A circle has no corners: asking for them is an error.
    """
    area = math.pi * radius**2
    match shape:
        case "square":
            a = math.sqrt(area) / 2
            return np.array([(-a, -a), (a, -a), (a, a), (-a, a)])
        case "bar":
            b = math.sqrt(area / BAR_ASPECT) / 2
            a = BAR_ASPECT * b
            return np.array([(-a, -b), (a, -b), (a, b), (-a, b)])
        case "triangle":
            corner = math.sqrt(4 * area / (3 * math.sqrt(3)))  # circumradius
            angles = np.array([-5 / 6, -1 / 6, 1 / 2]) * math.pi
            return corner * np.stack([np.cos(angles), np.sin(angles)], -1)
        case _:
            raise ValueError(f"a {shape} has no corners: outline() is for {SHAPES[1:]}")


def radii(shape: Shape, radius: float, angles: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
    """Distances from the centroid to the edge along `angles`, at the shape's angle 0."""
    if shape == "circle":
        return np.full(len(angles), radius)
    corners = outline(shape, radius)
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([edges[:, 1], -edges[:, 0]], -1) / np.linalg.norm(edges, axis=1)[:, None]
    away = (normals * corners).sum(1)  # of each edge's line from the centroid
    toward = np.stack([np.cos(angles), np.sin(angles)], -1) @ normals.T
    return np.where(toward > 1e-9, away / np.maximum(toward, 1e-9), np.inf).min(1)


_REACH = {s: 1.0 if s == "circle" else float(np.hypot(*outline(s, 1.0).T).max()) for s in SHAPES}


def reach(body: Body) -> float:
    """Largest distance from a body's centre to its edge, world units."""
    return body.radius * _REACH[body.shape]


def direction_word(x: float, y: float) -> str:
    """The compass word nearest to the vector (x, y)."""
    octant = round(math.atan2(y, x) / (math.pi / 4)) % 8
    return tuple(DIRECTIONS)[octant]


def speed_word(speed: float) -> str | None:
    """The speed class (world units/s) holds, or None between classes."""
    for word, (low, high) in SPEEDS.items():
        if low <= speed <= high:
            return word
    return None


def held_out(color: str, shape: str, *, direction: str | None = None) -> bool:
    """Whether training never shows this combination.

    Every other colour gives up one shape, and each of the remaining colours gives up one cardinal
    direction of travel: 6 of the 48 (colour, shape) pairs and 6 of the 48 (colour, direction) pairs.
    Every colour, shape and direction is still seen in other company.
    """
    number = COLORS.index(color)
    if number % 2 == 0:
        return SHAPES[number // 2 % 4] == shape
    return direction is not None and direction == held_out_direction(color)


def held_out_direction(color: str) -> str | None:
    """The direction in which training never shows a colour set out, if it has one."""
    number = COLORS.index(color)
    return CARDINAL[number // 2 % 4] if number % 2 else None


def held_out_pairs() -> tuple[tuple[str, Shape], ...]:
    """The held-out (colour, shape) pairs, in the palette's order."""
    return tuple((c, s) for c in COLORS for s in SHAPES if held_out(c, s))
