"""A grid game seen from outside: legal moves, the goal that was told, and a map that stays as it is.

A cell shows the clip's colour (or the background) that most of its middle is nearest to. The player is the
centroid of the most solid group of its colour. `metric(observed, truth) -> score` in [0, 1], 1 best; the
board's size and colours are the truth's.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import cv2
import numpy as np
from jaxtyping import Float, Int

from sora_jax.evaluation.physics.remembered import remembered
from sora_jax.evaluation.physics.suite import Observed
from sora_jax.types import SceneState
from sora_jax.worlds.bench.grid import CELLS, steps_to
from sora_jax.worlds.scene import PALETTE

MIDDLE = 0.15  # of a cell's width on either side of its centre: every kind of thing covers it
NEAR = 0.3  # RGB distance of a pixel from the player's colour; any two colours are 0.35 apart
LEAST = 0.25  # of the player's area that has to be seen
NOBODY = -1
AGENT = CELLS["agent"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """What every frame shows.

    Attributes:
      cells: `[f rows columns]` numbers of `CELLS`; the player is not among them: its cell is NOBODY.
      player: `[f 2]` row and column in cells, fractional, NaN where it is not seen.
    """

    cells: Int[np.ndarray, "f r c"]
    player: Float[np.ndarray, "f 2"]


def kinds(truth: SceneState) -> list[int]:
    """The number in `CELLS` of each body, from the first frame in which the board has it."""
    assert truth.grid is not None
    side = truth.grid.shape[1]
    place = _cell(truth.position[0].astype(float), side)
    return [int(truth.grid[0, row, column]) for row, column in place]


def _cell(place: np.ndarray, side: int) -> np.ndarray:
    """Row and column of places in world units `[.. 2]`."""
    column, row = (place[..., 0] + 5.0) * side / 10, (5.0 - place[..., 1]) * side / 10
    return np.clip(np.floor(np.stack([row, column], -1)).astype(int), 0, side - 1)


@remembered
def read(observed: Observed, truth: SceneState) -> Board:
    """The board of every frame of the truth; frames that the video lacks show nobody and nothing.

    Raises:
      ValueError: if the truth has no board.
    """
    if truth.grid is None:
        raise ValueError(f"a {truth.family} clip has no board: use the family gridworld")
    frames, side, _ = truth.grid.shape
    kind = kinds(truth)
    color = {k: PALETTE[b.color] for k, b in zip(kind, truth.bodies, strict=True)}
    numbers = [CELLS["empty"], *color]
    colors = np.array([observed.tracks.background, *color.values()], np.float32)
    height, width = observed.video.shape[1:3]
    size = min(height, width) / side
    corner = ((height - side * size) / 2, (width - side * size) / 2)
    cells = np.full((frames, side, side), NOBODY)
    player = np.full((frames, 2), np.nan)
    agent = next(b for k, b in zip(kind, truth.bodies, strict=True) if k == AGENT)
    least = LEAST * math.pi * (agent.radius * size * side / 10) ** 2
    middles = [_span(k, size) for k in range(side)]
    for f in range(min(frames, len(observed.video))):
        frame = observed.video[f].astype(np.float32) / 255
        square = frame[int(corner[0]) : int(corner[0]) + round(side * size)]
        square = square[:, int(corner[1]) : int(corner[1]) + round(side * size)]
        apart = ((square[:, :, None] - colors) ** 2).sum(axis=-1)
        nearest = apart.argmin(axis=-1)
        index = numbers.index(AGENT)
        rows, columns = np.nonzero(_largest((nearest == index) & (apart[..., index] < NEAR**2)))
        if len(rows) >= least:
            player[f] = (rows.mean() + 0.5) / size - 0.5, (columns.mean() + 0.5) / size - 0.5
        for r, across in enumerate(middles):
            for c, down in enumerate(middles):
                votes = np.bincount(nearest[across, down].ravel(), minlength=len(numbers))
                shown = numbers[int(votes.argmax())]
                cells[f, r, c] = NOBODY if shown == AGENT else shown
    return Board(cells=cells, player=player)


def _largest(mask: np.ndarray) -> np.ndarray:
    """The connected group with the most inner pixels: a rim, whose mixed pixels may be grey too, has none."""
    count, label = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    sizes = np.bincount(label[inner if inner.any() else mask], minlength=count)
    return label == int(sizes.argmax()) if sizes.any() else mask


def _span(cell: int, size: float) -> slice:
    middle, reach = (cell + 0.5) * size, max(MIDDLE * size, 0.5)
    return slice(round(middle - reach), max(round(middle + reach), int(middle) + 1))


def _path(board: Board) -> list[tuple[int, int]]:
    """The cells that the player is in, in order, without repeats; where it is not seen it stays."""
    seen = board.player[~np.isnan(board.player).any(axis=1)]
    path: list[tuple[int, int]] = []
    for row, column in np.floor(seen + 0.5).astype(int).tolist():
        if not path or path[-1] != (row, column):
            path.append((row, column))
    return path


def _walls(truth: SceneState) -> np.ndarray:
    assert truth.grid is not None
    return truth.grid[0] == CELLS["wall"]


def legal(observed: Observed, truth: SceneState) -> float:
    """1 - (illegal moves + frames without a player) / moves of the truth, at least 0.

    A move from a cell to another is legal if it goes one cell up, down, left or right, and not into a wall of
    the truth's board. Blind to a player that does not move, and to where it should go.
    """
    board, walls = read(observed, truth), _walls(truth)
    path = _path(board)
    wrong = int(np.isnan(board.player).any(axis=1).sum())
    for (r0, c0), (r1, c1) in itertools.pairwise(path):
        inside = 0 <= r1 < len(walls) and 0 <= c1 < len(walls)
        wrong += abs(r1 - r0) + abs(c1 - c0) != 1 or not inside or bool(walls[r1, c1])
    return max(1 - wrong / max(_moves(truth), 1), 0.0)


def _true_path(truth: SceneState) -> list[tuple[int, int]]:
    assert truth.grid is not None
    where = np.argwhere(truth.grid == AGENT)[:, 1:]
    return [(int(r), int(c)) for k, (r, c) in enumerate(where) if not k or (where[k - 1] != (r, c)).any()]


def _moves(truth: SceneState) -> int:
    return len(_true_path(truth)) - 1


def policy(observed: Observed, truth: SceneState) -> float:
    """How far the player gets on the way that was told, / (1 + things it enters that it should not).

    The way: the truth's goals (things that it takes) one after the other. Reached goals count whole, the next
    one by 1 - (steps still to go at the nearest) / (steps from the goal before), by breadth-first search past
    walls and things. Blind to detours, and to what happens after the last goal.
    """
    assert truth.grid is not None
    first = truth.grid[0]
    true, path = _true_path(truth), _path(read(observed, truth))
    things = {
        (int(r), int(c)) for r, c in np.argwhere(~np.isin(first, (CELLS["empty"], CELLS["wall"], AGENT)))
    }
    goals = [cell for cell in true if cell in things]
    if not goals:
        return math.nan
    wrong = len({cell for cell in path if cell in things and cell not in goals})
    closed, start, total, reached = ~np.isin(first, (CELLS["empty"], AGENT)), true[0], 0.0, 0.0
    left = list(path)
    for goal in goals:
        whole = steps_to(closed, start, goal)
        total += whole
        if goal in left:
            reached += whole
            left = left[left.index(goal) :]
        else:
            free = [cell for cell in left if min(cell) >= 0 and max(cell) < len(first) and not closed[cell]]
            nearest = min((steps_to(closed, cell, goal) for cell in free), default=whole)
            reached += max(whole - nearest, 0.0) if math.isfinite(nearest) else 0.0
            break
        closed = closed.copy()
        closed[goal] = False
        start = goal
    total = max(total, float(_moves(truth)))
    return reached / total / (1 + wrong)


def world_map(observed: Observed, truth: SceneState) -> float:
    """Mean over frames of the share of cells with a thing, in truth or in the video, that are as in truth.

    Left out: the player's cells, in truth (where it is, comes from and goes to) and in the video. A thing
    that was taken has to be gone, and what the player has passed has to be there when it comes back. Blind to
    the player, and to differences of form.
    """
    assert truth.grid is not None
    shown = read(observed, truth).cells
    shares = []
    for f, true in enumerate(truth.grid):
        near = truth.grid[max(f - 3, 0) : f + 4] == AGENT
        counted = ~near.any(axis=0)
        used = counted & ((true != CELLS["empty"]) | (shown[f] != CELLS["empty"]))
        used &= ~(counted & (shown[f] == NOBODY) & (true == CELLS["empty"]))
        if used.any():
            shares.append(float((shown[f] == true)[used].mean()))
    return float(np.mean(shares)) if shares else math.nan
