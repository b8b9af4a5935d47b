"""Every move is legal, the policy named is the one played, and the board says what is drawn."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest

from sora_jax.worlds.bench import grid
from sora_jax.worlds.bench.source import BenchSource

COUNT = 60


def cases():
    source = BenchSource("gridworld", seed=47, length=COUNT)
    return [source.case(k)[0] for k in range(COUNT)]


def agents(state) -> list[tuple[int, int]]:
    """The agent's cell in every frame."""
    return [tuple(np.argwhere(board == grid.CELLS["agent"])[0]) for board in state.grid]


def walks(board: np.ndarray, start: tuple[int, int]) -> np.ndarray:
    """Steps to every cell, by relaxation over the whole board; a thing can be reached but not passed."""
    steps = np.full(board.shape, np.inf)
    steps[start] = 0
    free = (board == 0) | (board == grid.CELLS["agent"])
    for _ in range(board.size):
        padded = np.pad(np.where(free, steps, np.inf), 1, constant_values=np.inf)
        around = np.min([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], 0)
        steps = np.minimum(steps, np.where(board == grid.CELLS["wall"], np.inf, around + 1))
    return steps


def test_every_move_is_to_a_free_neighbour():
    for variant in cases():
        state, path = variant.state, agents(variant.state)
        for before, after in itertools.pairwise(path):
            assert abs(before[0] - after[0]) + abs(before[1] - after[1]) <= 1
        assert (state.grid == grid.CELLS["agent"]).sum((1, 2)).tolist() == [1] * len(path)
        walls = state.grid == grid.CELLS["wall"]
        assert (walls == walls[0]).all() and not any(walls[0][cell] for cell in path)


def test_the_policy_of_the_caption_is_the_one_played():
    played = collections.Counter()
    for variant in cases():
        state, path = variant.state, agents(variant.state)
        board = state.grid[0]
        coins = [tuple(c) for c in np.argwhere(board == grid.CELLS["coin"])]
        steps = walks(board, path[0])
        near, far = sorted(coins, key=lambda c: steps[c])
        short = variant.captions["short"]
        played[variant.name] += 1
        if variant.name == "key":
            key, door = (tuple(np.argwhere(board == grid.CELLS[n])[0]) for n in ("key", "door"))
            assert path[-1] == door and path.index(key) < path.index(door) and ", then to" in short
            assert not {near, far} & set(path)
        else:
            goal, other = (near, far) if variant.name == "nearest" else (far, near)
            assert path[-1] == goal and other not in path and variant.name in short
            assert variant.measures["steps"] == steps[goal] and steps[far] >= steps[near] + 2
    assert min(played.values()) >= 10 and len(played) == 3


def test_things_are_gone_from_board_and_picture_once_taken():
    for variant in cases():
        state = variant.state
        assert len(state.events) == (2 if variant.name == "key" else 1)
        for seconds, verb, agent, thing in state.events:
            frame = round(seconds * 12)
            assert verb in ("takes", "opens") and agent == len(state.bodies) - 1
            assert state.alive[frame - 1, thing] and not state.alive[frame:, thing].any()
            np.testing.assert_allclose(state.position[frame, agent], state.position[frame, thing], atol=1e-5)
        count = (state.grid == grid.CELLS["coin"]).sum((1, 2))
        assert count[0] == 2 and count[-1] == (2 if variant.name == "key" else 1)


def test_the_board_says_where_things_are_drawn():
    source = BenchSource("gridworld", seed=47, length=4, height=210, width=210)
    for number in range(4):
        (variant,) = source.case(number)
        video, state = source.clip(variant, id="x").video, variant.state
        size = 210 // state.grid.shape[1]
        for frame in (0, len(video) - 1):
            filled = (
                video[frame].reshape(state.grid.shape[1], size, state.grid.shape[2], size, 3) != 240
            ).any((1, 3, 4))
            assert np.array_equal(filled, state.grid[frame] > 0)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="wander"):
        grid.goals("wander", np.zeros((2, 2), bool), (0, 0), {"coin": []})
    walls = np.array([[False, True, False]])
    with pytest.raises(ValueError, match=r"from \(0, 0\) to \(0, 2\)"):
        grid.shortest(walls, (0, 0), (0, 2))
