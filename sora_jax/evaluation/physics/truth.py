"""What an exact state says of itself, as the metrics and the corruptions ask for it.

Everything here depends on the state alone, never on a video: so whether a metric applies to a clip (NaN or a
number) is decided by what should be seen, and nothing that a video does can excuse it.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float

from sora_jax.types import SceneState

WHOLE = 0.99  # visible share from which an object counts as wholly seen


def clear(state: SceneState) -> Bool[np.ndarray, "f o"]:
    """Where an object exists and is wholly seen."""
    return (state.visible > WHOLE) & state.alive


def struck(state: SceneState) -> Bool[np.ndarray, "f o"]:
    """Where an object touched another or a wall since the frame before."""
    return state.contact.any(axis=-1) | state.wall_contact


def gravity(state: SceneState, *, fps: float) -> Float[np.ndarray, " 2"]:
    """The acceleration of free flight, world units/s^2: the median over steps without a contact.

    A step next to a contact is left out too. Zero for an image and where every step has a contact.
    """
    touched = struck(state)
    touched[:-1] |= touched[1:]
    free = ~(touched[1:] | touched[:-1])
    change = np.diff(state.velocity, axis=0)[free]
    return np.median(change, axis=0).astype(np.float64) * fps if len(change) else np.zeros(2)


def flights(touched: Bool[np.ndarray, " f"]) -> list[tuple[int, int]]:
    """Maximal runs [start, stop) of frames without a contact inside: one at frame f begins a new run."""
    cuts = [0, *(np.flatnonzero(touched[1:]) + 1).tolist(), len(touched)]
    return [(a, b) for a, b in itertools.pairwise(cuts) if b > a]


def fit_motion(
    position: Float[np.ndarray, "k 2"], seconds: Float[np.ndarray, " k"], *, gravity: np.ndarray
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Position and velocity at time 0 of a free flight under known gravity, by least squares.

    Args:
      seconds: at least two different times.
    """
    fallen = position - 0.5 * seconds[:, None] ** 2 * gravity
    middle = seconds.mean()
    spread = seconds - middle
    velocity = spread @ fallen / (spread**2).sum()
    return fallen.mean(axis=0) - middle * velocity, velocity


def cast(state: SceneState) -> list[tuple[str, str]]:
    """(colour, shape) of every object that the clip shows at some time."""
    shown = (state.visible * state.alive).max(axis=0) > 0
    return [(b.color, b.shape) for b, s in zip(state.bodies, shown, strict=True) if s]
