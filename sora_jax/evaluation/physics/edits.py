"""Tools to edit a state and draw it: what the corruptions are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sora_jax.types import Body, SceneState
from sora_jax.worlds import render as render_lib
from sora_jax.worlds import scene as scene_lib

GAP = 0.35  # world units between an object that is put somewhere and the others
TRIES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shot:
    """How a state is filmed: frames per second, pixels, and the background's RGB in [0, 1]."""

    fps: float
    height: int
    width: int
    background: tuple[float, float, float] = scene_lib.BACKGROUND

    @property
    def half(self) -> Float[np.ndarray, " 2"]:
        """Half the frame's width and height, world units."""
        return np.array(scene_lib.extent(self.height, self.width))


# (state, dose, rng, shot) -> the edited state, or None where the clip has nothing to edit.
Edit = Callable[[SceneState, float, np.random.Generator, Shot], SceneState | None]


def draw(state: SceneState, shot: Shot) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames of a state: of each frame the living bodies, screens in front, and the marks."""
    return render_lib.render(
        state.bodies,
        state.position.astype(np.float64),
        state.angle.astype(np.float64),
        height=shot.height,
        width=shot.width,
        background=shot.background,
        alive=state.alive,
        occluder=state.occluder,
        marks=state.marks,
    )[0]


def moved(state: SceneState, position: np.ndarray, angle: np.ndarray | None = None) -> SceneState:
    """The state with other positions (and angles); its velocities stay as they were, nothing draws them."""
    angle = state.angle if angle is None else angle
    return dataclasses.replace(
        state, position=position.astype(np.float32), angle=np.asarray(angle, np.float32)
    )


def added(
    state: SceneState,
    body: Body,
    position: Float[np.ndarray, "f 2"],
    *,
    angle: np.ndarray | float = 0.0,
    alive: Bool[np.ndarray, " f"],
) -> SceneState:
    """The state with one more body, drawn in front, alive in the frames given."""
    frames = len(state.position)
    angles = np.broadcast_to(np.asarray(angle, np.float32), (frames,))[:, None]
    return dataclasses.replace(
        state,
        bodies=(*state.bodies, body),
        position=np.concatenate([state.position, position[:, None].astype(np.float32)], axis=1),
        angle=np.concatenate([state.angle, angles], axis=1),
        alive=np.concatenate([state.alive, alive[:, None]], axis=1),
        occluder=(*state.occluder, False) if state.occluder else (),
        parent=(*state.parent, -1) if state.parent else (),
    )


def hidden(state: SceneState, i: int, frames: np.ndarray) -> SceneState:
    """The state without body `i` in some frames."""
    alive = state.alive.copy()
    alive[frames, i] = False
    return dataclasses.replace(state, alive=alive)


def relooked(state: SceneState, i: int, look: Body, frames: np.ndarray) -> SceneState:
    """Body `i` as another body in some frames, at the same places."""
    alive = np.zeros(len(state.position), bool)
    alive[frames] = state.alive[frames, i]
    return added(hidden(state, i, frames), look, state.position[:, i], angle=state.angle[:, i], alive=alive)


def last(state: SceneState, share: float) -> np.ndarray:
    """The frames from where the last share begins of those that show most objects."""
    shown = ((state.visible > 0.5) & state.alive).sum(axis=1)
    seen = np.flatnonzero(shown == shown.max())
    return np.arange(seen[-max(1, round(share * len(seen)))], len(state.position))


def free(state: SceneState, i: int, path: Float[np.ndarray, "f 2"], *, frames: np.ndarray) -> bool:
    """Whether a path of body `i` keeps clear of the others in the frames given."""
    return _clear_of(state, scene_lib.reach(state.bodies[i]), path, frames=frames, but=i)


def _clear_of(
    state: SceneState, reach: float, path: np.ndarray, *, frames: np.ndarray, but: int = -1
) -> bool:
    for k, other in enumerate(state.bodies):
        apart = np.linalg.norm(state.position[frames, k] - path[frames], axis=-1)
        if k != but and (apart < reach + scene_lib.reach(other) + GAP).any():
            return False
    return True


def room(
    state: SceneState, body: Body, *, rng: np.random.Generator, shot: Shot
) -> Float[np.ndarray, "f 2"] | None:
    """A resting place for a body, in view and clear of every object's whole path; None if none is found."""
    reach, every = scene_lib.reach(body), np.arange(len(state.position))
    limit = shot.half - reach - 0.3
    if (limit <= 0).any():
        return None
    for place in rng.uniform(-limit, limit, (TRIES, 2)):
        path = np.broadcast_to(place, (len(every), 2))
        if _clear_of(state, reach, path, frames=every):
            return path
    return None


def inside(
    state: SceneState, i: int, path: np.ndarray, *, frames: np.ndarray, shot: Shot, margin: float = 0.1
) -> bool:
    """Whether body `i` on a path is wholly within the frame, in the frames given."""
    return bool((np.abs(path[frames]) + scene_lib.reach(state.bodies[i]) + margin < shot.half).all())
