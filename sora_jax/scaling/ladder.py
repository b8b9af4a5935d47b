"""Which models a scaling study trains, and for how long: from a table of budgets to lines, in two stages.

A line is one model after one training: a size, a compute budget, a seed. Lines of one size, seed and batch
share a run: it trains at a constant rate, and at each line's length a copy of it cools down and ends (Haegele
et al. 2024, arXiv 2405.18392). The coarse stage covers three budgets; the power law of its best sizes says
where the sizes of the second stage lie, and where the seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """What one step costs a model of `width`, at one number of rows.

    Attributes:
      parameters: without what maps inputs to the width and back; `total` with it.
      step_flops: of a training step; `step_tokens`: of its batch.
    """

    width: int
    rows: int
    parameters: int
    total: int
    step_flops: int
    step_tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One model of the study.

    Attributes:
      arm: name of the changes to the table; "main" has none.
      budget: FLOPs that were asked for; `flops` is what whole steps come to.
      steps: of the training in all; the last `cooldown_steps` cool down.
      alone: it branches off no run of other lines, since what it reads depends on its length.
    """

    arm: str
    budget: float
    size: Size
    seed: int
    steps: int
    cooldown_steps: int
    alone: bool = False

    @property
    def name(self) -> str:
        """Unique within a study, and a path."""
        return f"{self.run}/{self.budget:.3g}"

    @property
    def run(self) -> str:
        """Of the run that the line branches off."""
        run = f"{self.arm}/width{self.size.width}-rows{self.size.rows}-seed{self.seed}"
        return f"{run}-alone{self.budget:.3g}" if self.alone else run

    @property
    def flops(self) -> int:
        return self.steps * self.size.step_flops

    @property
    def tokens(self) -> int:
        return self.steps * self.size.step_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What is known of a finished line: enough to choose the next ones."""

    arm: str
    budget: float
    width: int
    seed: int
    parameters: int
    loss: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A ladder; see `configs/scaling.py`.

    Attributes:
      budgets, held_out: FLOPs; those held out are trained after a prediction, at `held_out_sizes` sizes.
      widths: that there are, ascending.
      coarse: (budget, widths) of the first stage.
      sizes: per budget, in the second stage.
      seeds: at the best size of a budget and its neighbours.
      rows: (up to which budget, rows of a batch), ascending.
      cooldown: share of a run's steps.
      images_first: share of a run's steps that reads images alone, before it reads clips.
    """

    budgets: Sequence[float]
    held_out: Sequence[float]
    widths: Sequence[int]
    coarse: Sequence[tuple[float, Sequence[int]]]
    sizes: int
    seeds: int
    rows: Sequence[tuple[float, int]]
    cooldown: float
    images_first: float = 0.0
    held_out_sizes: int = 2

    def __post_init__(self) -> None:
        if not (self.budgets or self.coarse) or list(self.widths) != sorted(set(self.widths)):
            raise ValueError(f"budgets {self.budgets}, widths {self.widths}: give some, widths ascending")
        if not 0 <= self.images_first < 1:
            raise ValueError(f"images_first {self.images_first}: give a share of the steps from 0 to 1")
        if not 0 < self.cooldown < 1:
            raise ValueError(f"cooldown {self.cooldown}: give a share of the steps between 0 and 1")
        unknown = {d for _, widths in self.coarse for d in widths} - set(self.widths)
        if unknown:
            raise ValueError(f"coarse asks for widths {sorted(unknown)} that are not among {self.widths}")

    def rows_at(self, budget: float) -> int:
        """Rows of a batch at a budget."""
        return next(rows for limit, rows in self.rows if budget <= limit)


Sizes = Callable[[int, int], Size]  # (width, rows) -> its size


def line(table: Table, sizes: Sizes, *, arm: str, budget: float, width: int, seed: int = 0) -> Line:
    """One line of the table.

    Raises:
      ValueError: the budget is too small for the model: fewer than ten steps.
    """
    size = sizes(width, table.rows_at(budget))
    steps = round(budget / size.step_flops)
    if steps < 10:
        raise ValueError(f"{budget:.3g} FLOPs are {steps} steps at width {width}: give at least ten")
    cooldown = max(1, round(table.cooldown * steps))
    return Line(
        arm=arm,
        budget=budget,
        size=size,
        seed=seed,
        steps=steps,
        cooldown_steps=cooldown,
        alone=table.images_first > 0,
    )


def affordable(table: Table, sizes: Sizes, budget: float, widths: Iterable[int]) -> list[int]:
    """Those widths of which the budget buys at least ten steps."""
    rows = table.rows_at(budget)
    return [d for d in widths if round(budget / sizes(d, rows).step_flops) >= 10]


def plan(table: Table, sizes: Sizes, results: Sequence[Result], *, arm: str = "main") -> list[Line]:
    """The lines of an arm, as far as the results tell: the coarse stage, or all but what is held out.

    The second stage moves with the results: a budget's sizes are those around where its own results, or the
    law of the others, put the optimum; so a minimum at an edge draws sizes beyond that edge.
    """
    mine = [r for r in results if r.arm == arm]

    def lines(budget: float, widths: Iterable[int], seed: int = 0) -> list[Line]:
        return [
            line(table, sizes, arm=arm, budget=budget, width=d, seed=seed)
            for d in affordable(table, sizes, budget, widths)
        ]

    coarse = [one for budget, widths in table.coarse for one in lines(budget, widths)]
    done = {(r.budget, r.width, r.seed) for r in mine}
    if any((one.budget, one.size.width, one.seed) not in done for one in coarse):
        return coarse
    fine = list(coarse)
    for budget in table.budgets:
        best = best_parameters(mine, budget)
        around = nearest(table, sizes, budget, best, table.sizes)
        fine += lines(budget, around)
        for seed in range(1, table.seeds):
            fine += lines(budget, nearest(table, sizes, budget, best, 3), seed)
    return list(dict.fromkeys(fine))


def held_out(table: Table, sizes: Sizes, optimum: Mapping[float, float], *, arm: str = "main") -> list[Line]:
    """The lines at budgets that a prediction was made for.

    Args:
      optimum: budget -> predicted number of parameters.
    """
    return [
        line(table, sizes, arm=arm, budget=budget, width=width)
        for budget in table.held_out
        for width in nearest(table, sizes, budget, optimum[budget], table.held_out_sizes)
    ]


def nearest(table: Table, sizes: Sizes, budget: float, parameters: float, count: int) -> list[int]:
    """The `count` widths around a number of parameters: as many below as above, if there are; ascending.

    Raises:
      ValueError: the budget buys ten steps of none.
    """
    rows = table.rows_at(budget)
    widths = affordable(table, sizes, budget, table.widths)
    if not widths:
        least = 10 * sizes(table.widths[0], rows).step_flops
        raise ValueError(
            f"{budget:.3g} FLOPs are ten steps of no size of the ladder: give {least:.2g} or more"
        )
    logs = np.log([sizes(d, rows).parameters for d in widths])
    centre = int(np.argmin(np.abs(logs - np.log(parameters))))
    if count % 2 == 0 and np.log(parameters) < logs[centre]:
        centre -= 1
    first = max(0, min(centre - (count - 1) // 2, len(widths) - count))
    return widths[first : first + count]


def best_parameters(results: Sequence[Result], budget: float) -> float:
    """Where the optimum of a budget lies: by a parabola of its own results, or by the law of the others'."""
    optima = {}
    for other in sorted({r.budget for r in results}):
        found = minimum(*_curve(results, other))
        if found is not None:
            optima[other] = found
    if budget in optima:
        return optima[budget]
    if len(optima) < 2:
        own = [r for r in results if r.budget == budget] or list(results)
        return float(min(own, key=lambda r: r.loss).parameters)
    slope, offset = np.polyfit(np.log(list(optima)), np.log(list(optima.values())), 1)
    return float(np.exp(offset + slope * np.log(budget)))


def _curve(results: Sequence[Result], budget: float) -> tuple[np.ndarray, np.ndarray]:
    """(parameters, mean loss over seeds) of a budget."""
    found: dict[int, list[float]] = {}
    for r in results:
        if r.budget == budget:
            found.setdefault(r.parameters, []).append(r.loss)
    sizes = sorted(found)
    return np.array(sizes, float), np.array([np.mean(found[n]) for n in sizes])


def minimum(parameters: np.ndarray, loss: np.ndarray) -> float | None:
    """Where the parabola of log loss over log parameters is least, held within half a step of the sizes.

    None for fewer than four sizes, or a parabola that opens downwards: the best size itself says more then.
    """
    if len(parameters) < 4:
        return None
    x, y = np.log(parameters), np.log(loss)
    near = np.argsort(y)[:5]  # far from the minimum a parabola is wrong
    curvature, slope, _ = np.polyfit(x[near], y[near], 2)
    if curvature <= 0:
        return float(parameters[np.argmin(loss)])
    margin = 0.5 * float(np.mean(np.diff(x)))
    return float(np.exp(np.clip(-slope / (2 * curvature), x[0] - margin, x[-1] + margin)))


def as_json(one: Line) -> dict[str, Any]:
    """What a row of `runs.csv` says of a line before it is trained."""
    return {
        "name": one.name,
        "arm": one.arm,
        "budget": one.budget,
        "C": one.flops,
        "N": one.size.parameters,
        "N_total": one.size.total,
        "D": one.tokens,
        "width": one.size.width,
        "rows": one.size.rows,
        "steps": one.steps,
        "cooldown_steps": one.cooldown_steps,
        "seed": one.seed,
    }
