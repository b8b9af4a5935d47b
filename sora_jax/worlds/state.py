"""An exact state that is made, drawn, and drawn again after an edit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.types import Body, SceneState
from sora_jax.worlds import render as render_lib


def make(
    bodies: tuple[Body, ...],
    position: Float[np.ndarray, "f o 2"],
    velocity: Float[np.ndarray, "f o 2"],
    angle: Float[np.ndarray, "f o"],
    *,
    family: str,
    **more: Any,
) -> SceneState:
    """A state from a simulator's float64 arrays; it keeps what float32 loses.

    Args:
      bodies, position, velocity, angle: as in `types.SceneState`.
      more: its other fields; without them nothing touches and everything is alive and in view.
    """
    exact = np.concatenate([position, angle[..., None]], -1).astype(np.float64)
    single = exact.astype(np.float32)
    frames, objects = angle.shape
    fields = {
        "visible": np.ones((frames, objects), np.float32),
        "contact": np.zeros((frames, objects, objects), bool),
        "wall_contact": np.zeros((frames, objects), bool),
        "alive": np.ones((frames, objects), bool),
    } | more
    return SceneState(
        bodies=bodies,
        position=single[..., :2].copy(),
        velocity=velocity.astype(np.float32),
        angle=single[..., 2].copy(),
        rounding=exact - single,
        family=family,
        **fields,
    )


def film(state: SceneState, *, height: int, width: int) -> tuple[UInt8[np.ndarray, "f h w 3"], SceneState]:
    """The frames of a state, and the state with the share of each object that they show."""
    exact = np.concatenate([state.position, state.angle[..., None]], -1, dtype=np.float64)
    if state.rounding is not None:
        exact += state.rounding
    video, visible = render_lib.render(
        state.bodies,
        exact[..., :2],
        exact[..., 2],
        height=height,
        width=width,
        background=state.background,
        alive=state.alive,
        occluder=state.occluder,
        marks=state.marks,
        turned=state.turned,
    )
    return video, dataclasses.replace(state, visible=visible)


def shots(state: SceneState) -> list[tuple[int, SceneState]]:
    """(first frame, state) of every shot, each as a clip of its own; events are told from its own start.

    Differs: events are not handed on, whose seconds are of the whole clip.
    """
    if state.shot is None:
        return [(0, state)]
    found = []
    for first in np.unique(state.shot, return_index=True)[1].tolist():
        own = state.shot == state.shot[first]
        fields = ("position", "velocity", "angle", "rounding", "visible")
        fields += ("contact", "wall_contact", "alive", "turned")
        cut = {n: getattr(state, n)[own] for n in fields if getattr(state, n) is not None}
        found.append((first, dataclasses.replace(state, **cut, events=(), shot=None)))
    return found


def render_state(state: SceneState, *, height: int, width: int) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames of a state; of a simulated clip's own state and size, that clip to the byte.

    A state may be edited first (`dataclasses.replace`): what is not alive is not drawn, screens are in front,
    marks follow their bodies. An edit shorter than float32 can hold has to go into `rounding`.
    """
    return film(state, height=height, width=width)[0]
