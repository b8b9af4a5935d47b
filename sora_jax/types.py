"""The frozen containers that cross from one room of the house to another.

Host-side containers hold NumPy arrays; `PackedBatch` and `TrainState` are pytrees of device arrays.

Axis letters: `b` rows of a batch, `n` tokens of a row, `p` patch vector, `m` text tokens of a row,
`s` segments (clips) of a row, `f h w c` pixels, `lf lh lw lc` latents, `o` objects of a scene.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

Params = Any  # a plain nested dict of float32 arrays

Shape = Literal["circle", "square", "triangle", "bar"]
SizeWord = Literal["small", "medium", "large"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body:
    """What does not change about one object of a scene.

    Attributes:
      shape: one of `Shape`.
      color: a name of `worlds.scene.PALETTE`.
      size: one of `SizeWord`; `radius` is its number.
      radius: in world units (the frame's short side is 10 world units); the radius of the circle that has
        the object's area, for every shape.
      mass: in kg; proportional to the area unless the family says otherwise.
      restitution: of its contacts, 0 to 1.
    """

    shape: Shape
    color: str
    size: SizeWord
    radius: float
    mass: float
    restitution: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """What a body leaves or draws, as discs of one radius (see `worlds.marks`).

    Attributes:
      kind: "bite", bitten out of `body`, moves and turns with it and shows what lies behind;
        "stroke", paint on the canvas, behind every body;
        "string", a dotted line from a fixed point to `body`, behind every body.
      body: bite: the object bitten; stroke: the object that painted; string: the object that hangs on it.
      color: a name of `worlds.scene.PALETTE`; of a bite it says nothing.
      radius: of each disc, world units.
      points: `[n 2]` float32, the discs' centres: of a bite from the body's centre, at the body's angle 0; of
        a stroke in the world; of a string its one fixed end.
      start, end: `[n]` int32, a disc is there in frames start <= frame < end.
    """

    kind: Literal["bite", "stroke", "string"]
    body: int
    color: str
    radius: float
    points: np.ndarray
    start: np.ndarray
    end: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneState:
    """The exact state of a simulated clip, at the instant of every frame.

    World coordinates: the origin is the frame's centre, x points right, y points UP, and the frame's
    short side is 10 world units long.

    Attributes:
      bodies: one per object, in the order of the object axis.
      position: `[f o 2]` float32, centre (x, y) in world units.
      velocity: `[f o 2]` float32, world units per second.
      angle: `[f o]` float32, radians, counter-clockwise.
      visible: `[f o]` float32, share of the object's area that can be seen (1 = wholly), 0 to 1.
      contact: `[f o o]` bool, symmetric: the two objects touched since the previous frame.
      wall_contact: `[f o]` bool: the object touched a wall of the box since the previous frame.
      alive: `[f o]` bool: the object exists.
      family: name of the family the scene came from.
      events: what the caption may mention, in order of time: (seconds, verb, object, object or -1).
      background: RGB in [0, 1].
      occluder: per object, whether it is a screen, drawn in front of all that are none; () = no screens.
      marks: bites, strokes of paint and strings.
      parent: per object, the object it is a piece of (it comes alive when that one dies), or -1; () = no
        pieces.
      turned: `[f]` float32, share of the way from the looks of object 0 to those of object 1, which it
        becomes: they have one place, and from one half on the second is alive, and the first no more. None =
        nothing becomes anything.
      shot: `[f]` int32, number of the shot, from 0; it grows at every cut. None = one shot.
      grid: `[f rows columns]` int8, the board of a grid game (`worlds.bench.grid.CELLS`). None = no board.
      rounding: `[f o 3]` float64, what (x, y, angle) lost when they became float32, so that a state drawn
        again gives the clip to the byte. None = nothing.
    """

    bodies: tuple[Body, ...]
    position: np.ndarray
    velocity: np.ndarray
    angle: np.ndarray
    visible: np.ndarray
    contact: np.ndarray
    wall_contact: np.ndarray
    alive: np.ndarray
    family: str
    events: tuple[tuple[float, str, int, int], ...] = ()
    background: tuple[float, float, float] = (0.94, 0.94, 0.94)
    occluder: tuple[bool, ...] = ()
    marks: tuple[Mark, ...] = ()
    parent: tuple[int, ...] = ()
    turned: np.ndarray | None = None
    shot: np.ndarray | None = None
    grid: np.ndarray | None = None
    rounding: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A captioned video at its native size; an image is a clip of one frame.

    Attributes:
      video: `[f h w 3]` uint8.
      fps: frames per second (of an image: any positive number; its one frame is at 0 s).
      captions: phrasing -> text, never empty; the phrasings of a world are "short" and "descriptive",
        a data set with one caption uses "short".
      id: unique within its source, the same in every process.
      state: the exact state where the clip was simulated in 2-D, else None.
      state_3d: the exact state where the clip was simulated in 3-D, else None.
    """

    video: np.ndarray
    fps: float
    captions: Mapping[str, str]
    id: str
    state: SceneState | None = None
    state_3d: SceneState3D | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentClip:
    """A clip after the autoencoder's encoder.

    Attributes:
      latents: `[lf lh lw lc]` float32, normalised by the autoencoder's stored statistics.
      fps, captions, id: as in `Clip` (fps is of the pixels' frames).
      frames: pixel frames of the clip, so that the grid can be decoded to its exact length.
    """

    latents: np.ndarray
    fps: float
    captions: Mapping[str, str]
    id: str
    frames: int


# One row per item of a source: what a packing plan needs to know, read without decoding anything.
SIZE_DTYPE = np.dtype(
    [("frames", np.int32), ("height", np.int32), ("width", np.int32), ("text", np.int32)]
)  # pixels; `text` = most text tokens any phrasing of the caption takes, end token included


class Source(Protocol):
    """A random-access set of clips. `sizes` is `[len]` of `SIZE_DTYPE`, known without decoding."""

    @property
    def sizes(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...


class PackedBatch(NamedTuple):
    """Rows of tokens; each row holds several clips ("segments") of any duration, height and width.

    A segment is numbered from 1 within its row, and 0 is padding. Every draw that belongs to a clip
    (noise, noise level, caption dropout, known tokens) is keyed by `clip` and `index`, never by the
    place in the batch, so that packing and mesh do not change it.

    Attributes:
      tokens: clean latent patches.
      position: (seconds, row, column) of each token's centre; see `patches.positions`.
      segment: 0 = padding.
      known: given tokens: noise level 0, no loss.
      index: (frame, row, column) of each token in its own clip's grid of patches.
      clip: per segment table, entry `k` is of segment `k + 1`: the clip's number in its source.
      grid: per segment table: the clip's grid of patches (frames, rows, columns); 0 where unused.
      text: text tokens of every segment's caption, packed likewise.
      text_segment: the segment each text token belongs to; 0 = padding.
      span: which of its clip's captions a token reads, from 0; a clip has one unless its shots are told apart
        (`text_bytes.encode_timed`).
      text_span: which of its clip's captions a text token belongs to.
    """

    tokens: Float[Array, "b n p"]
    position: Float[Array, "b n 3"]
    segment: Int[Array, "b n"]
    known: Bool[Array, "b n"]
    index: Int[Array, "b n 3"]
    clip: UInt32[Array, "b s"]
    grid: Int[Array, "b s 3"]
    text: Int[Array, "b m"]
    text_segment: Int[Array, "b m"]
    span: Int[Array, "b n"]
    text_span: Int[Array, "b m"]


class VelocityFn(Protocol):
    """`velocity_fn(xt, t, batch) -> velocity`: all that objectives, guidance and samplers know of a model.

    `xt` and the result are `[b n p]`; `t` is `[b n]`, one noise level per token, 0 = data, 1 = noise.
    """

    def __call__(
        self, xt: Float[Array, "b n p"], t: Float[Array, "b n"], batch: PackedBatch
    ) -> Float[Array, "b n p"]: ...


class TrainState(NamedTuple):
    """All that a checkpoint holds. No random key and no iterator: both are functions of (seed, step)."""

    step: Int[Array, ""]
    params: Params
    ema: Params
    opt_state: Any


Key = jax.Array

Solid = Literal["sphere", "cube", "cylinder", "capsule"]
CameraMove = Literal["fixed", "orbit", "pan", "dolly"]
CameraSide = Literal["none", "left", "right", "forward", "backward"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body3D:
    """What does not change about one object of a 3-D scene.

    Attributes:
      shape: one of `Solid`; an upright cylinder, a lying capsule.
      color: a name of `worlds.scene.PALETTE`.
      size: one of `SizeWord`; `radius` is its number.
      radius: metres; of the sphere, cylinder and capsule, half the edge of the cube.
      mass: kg.
      restitution: nominal, of a central impact with a plane, 0 to 1.
      friction: Coulomb coefficient of its contacts, above 0.
    """

    shape: Solid
    color: str
    size: SizeWord
    radius: float
    mass: float
    restitution: float
    friction: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneState3D:
    """The exact state of a 3-D clip and of its camera, at the instant of every frame.

    World: right-handed, metres, z up, the floor is z = 0. Camera (OpenCV's): x right, y down, z along the
    optical axis. Pixel (row i, column j) covers [j, j + 1] x [i, i + 1], so a world point X is seen at
    (x, y) = (u / w, v / w), (u, v, w) = intrinsics (world_to_camera X)[:3], and its depth is w.

    Attributes:
      bodies: one per object, in the order of the object axis `o`.
      position: `[f o 3]` float32, centre of mass, metres.
      orientation: `[f o 4]` float32, unit quaternion (w, x, y, z), body to world.
      velocity: `[f o 3]` float32, of the centre, m/s.
      angular_velocity: `[f o 3]` float32, in world axes, rad/s.
      contact: `[f o o]` bool, symmetric: the two objects touched since the previous frame.
      fixtures: names of what never moves, in the order of the axis `s`: "floor", four walls, perhaps "ramp".
      fixture_contact: `[f o s]` bool: the object touched it since the previous frame.
      depth: `[f h w]` float32, metres along the optical axis at the pixel's centre.
      segmentation: `[f h w]` uint8: 0 = fixture, 1 + k = object k.
      world_to_camera: `[f 4 4]` float64, rigid.
      intrinsics: `[f 3 3]` float64, pixels.
      camera_move, camera_side: what the caption calls the camera's path; the side is the camera's own.
      camera_returns: the camera comes back to where it began.
      camera_speed: mean of |d/dt|, degrees/s of an orbit or a pan, m/s of a dolly, 0 if fixed.
      family: of the scene.
      events: (seconds, verb, object, object or -1), in order of time.
    """

    bodies: tuple[Body3D, ...]
    position: np.ndarray
    orientation: np.ndarray
    velocity: np.ndarray
    angular_velocity: np.ndarray
    contact: np.ndarray
    fixtures: tuple[str, ...]
    fixture_contact: np.ndarray
    depth: np.ndarray
    segmentation: np.ndarray
    world_to_camera: np.ndarray
    intrinsics: np.ndarray
    camera_move: CameraMove
    camera_side: CameraSide
    camera_returns: bool
    camera_speed: float
    family: str
    events: tuple[tuple[float, str, int, int], ...] = ()
