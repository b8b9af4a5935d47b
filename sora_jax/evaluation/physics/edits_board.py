"""Edits of a grid game: a player that jumps or stops, walls that are not there any more."""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.evaluation.physics.board import AGENT, kinds
from sora_jax.evaluation.physics.edits import Shot, hidden, moved
from sora_jax.types import SceneState
from sora_jax.worlds.bench.grid import CELLS, STRIDE


def _player(state: SceneState) -> int:
    return kinds(state).index(AGENT)


def jumping(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """`dose` times, for `STRIDE` frames, the player is in another cell, three or more away."""
    del shot
    assert state.grid is not None
    k, side = _player(state), state.grid.shape[1]
    size, place = 10.0 / side, state.position.copy()
    starts = np.arange(STRIDE, len(place) - STRIDE, 2 * STRIDE)
    if len(starts) < dose:
        return None
    for f in rng.permutation(starts)[: round(dose)]:
        here = state.position[f, k].astype(float)
        cells = (np.argwhere(state.grid[f] == CELLS["empty"])[:, ::-1] + 0.5) * size
        spots = np.stack([cells[:, 0] - 5.0, 5.0 - cells[:, 1]], -1)
        far = spots[np.abs(spots - here).sum(axis=1) > 2.5 * size]
        if not len(far):
            return None
        place[f : f + STRIDE, k] = far[rng.integers(len(far))]
    return moved(state, place)


def stopping(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The player does not go the last share `dose` of its way, and takes nothing there."""
    del rng, shot
    k, place = _player(state), state.position.copy()
    moves = np.flatnonzero((np.diff(place[:, k], axis=0) != 0).any(axis=1))
    stop = round((1 - dose) * (moves[-1] + 1) / STRIDE) * STRIDE
    place[stop:, k] = place[stop, k]
    alive = state.alive.copy()
    alive[stop + 1 :] = alive[stop]
    return dataclasses.replace(moved(state, place), alive=alive)


def wall_less(state: SceneState, dose: float, rng: np.random.Generator, shot: Shot) -> SceneState | None:
    """The share `dose` of the walls are not there in the second half of the clip."""
    del shot
    walls = [i for i, kind in enumerate(kinds(state)) if kind == CELLS["wall"]]
    if len(walls) < 5:
        return None
    for i in rng.permutation(walls)[: max(1, round(dose * len(walls)))]:
        state = hidden(state, int(i), np.arange(len(state.position) // 2, len(state.position)))
    return state
