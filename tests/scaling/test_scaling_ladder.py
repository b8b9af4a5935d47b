"""The ladder: what is trained, in which order, and that it follows the optimum wherever it lies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sora_jax.scaling import ladder
from sora_jax.scaling.ladder import Result, Size, Table

TABLE = Table(
    budgets=(1e10, 1e11, 1e12, 1e13),
    held_out=(1e14,),
    widths=tuple(range(1, 17)),
    coarse=((1e10, (1, 2, 3, 4, 5)), (1e11, (2, 3, 4, 5, 6)), (1e12, (3, 4, 5, 6, 7))),
    sizes=7,
    seeds=3,
    rows=((1.1e11, 2), (1e30, 8)),
    cooldown=0.2,
)


def sizes(width: int, rows: int) -> Size:
    parameters = 1000 * width**3
    tokens = 10 * rows
    return Size(
        width=width, rows=rows, parameters=parameters, total=parameters + 7,
        step_flops=6 * parameters * tokens, step_tokens=tokens,
    )  # fmt: skip


def loss(parameters: float, tokens: float) -> float:
    """A law whose optimum at C = 6 N D is N ~ C^0.45 by choice of the exponents."""
    return 0.3 + (1500 / parameters) ** 0.4 * 3 + 60 / tokens**0.3273


def trained(lines, arm="main"):
    return [
        Result(
            arm=one.arm, budget=one.budget, width=one.size.width, seed=one.seed,
            parameters=one.size.parameters,
            loss=loss(one.size.parameters, one.tokens) * (1 + 1e-4 * one.seed),
        )
        for one in lines if one.arm == arm
    ]  # fmt: skip


def best_size(budget: float) -> float:
    n = np.geomspace(1e2, 1e8, 20001)
    return float(n[np.argmin(loss(n, budget / 6 / n))])


def all_trained():
    """Train what is planned until nothing new is planned, as `run` does."""
    results, planned = [], ladder.plan(TABLE, sizes, [])
    for _ in range(20):
        results = trained(planned)
        following = ladder.plan(TABLE, sizes, results)
        if {one.name for one in following} <= {one.name for one in planned}:
            return planned, results
        planned = list({one.name: one for one in [*planned, *following]}.values())
    raise AssertionError("the plan never settles")


def test_the_coarse_stage_comes_first_and_alone():
    planned = ladder.plan(TABLE, sizes, [])
    assert [(one.budget, one.size.width) for one in planned] == [(b, d) for b, ds in TABLE.coarse for d in ds]
    results = trained(planned)
    assert ladder.plan(TABLE, sizes, results[:-1]) == planned
    assert len(ladder.plan(TABLE, sizes, results)) > len(planned)
    assert ladder.plan(TABLE, sizes, [dataclasses.replace(r, arm="other") for r in results]) == planned


def test_every_budget_ends_with_its_optimum_inside():
    planned, _ = all_trained()
    for budget in TABLE.budgets:
        widths = sorted({one.size.width for one in planned if one.budget == budget and one.seed == 0})
        optimum = best_size(budget)
        below = [d for d in widths if 1000 * d**3 < optimum]
        above = [d for d in widths if 1000 * d**3 > optimum]
        assert len(below) >= 2 and len(above) >= 2, (budget, optimum, widths)
        assert len(widths) >= TABLE.sizes


def test_seeds_stand_at_the_optimum_and_its_neighbours():
    planned, _ = all_trained()
    for budget in TABLE.budgets:
        for seed in (1, 2):
            widths = sorted(one.size.width for one in planned if one.budget == budget and one.seed == seed)
            nearest = min(TABLE.widths, key=lambda d: abs(np.log(1000 * d**3 / best_size(budget))))
            assert len(widths) >= 3 and nearest in widths


def test_a_line_costs_what_was_asked_to_a_step():
    one = ladder.line(TABLE, sizes, arm="main", budget=1e12, width=3, seed=2)
    assert one.size.rows == 8 and one.flops == one.steps * one.size.step_flops
    assert abs(one.flops - 1e12) <= one.size.step_flops / 2
    assert one.tokens == one.steps * 80 and one.cooldown_steps == round(0.2 * one.steps)
    assert one.name == "main/width3-rows8-seed2/1e+12" and one.run == "main/width3-rows8-seed2"
    with pytest.raises(ValueError, match="are 2 steps at width 16"):
        ladder.line(TABLE, sizes, arm="main", budget=1e9, width=16)


def test_lines_of_one_size_share_a_run_only_with_equal_batches():
    names = [ladder.line(TABLE, sizes, arm="main", budget=b, width=3).run for b in (1e10, 1e11, 1e12)]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("parameters", "count", "widths"),
    [
        (27_000, 3, [2, 3, 4]),
        (27_000, 2, [3, 4]),
        (26_000, 2, [2, 3]),
        (10, 3, [1, 2, 3]),
        (1e9, 2, [15, 16]),
    ],
)
def test_nearest(parameters, count, widths):
    assert ladder.nearest(TABLE, sizes, 1e13, parameters, count) == widths


def test_held_out_lines_are_two_sizes_around_the_prediction():
    lines = ladder.held_out(TABLE, sizes, {1e14: 900_000.0})
    assert [(one.budget, one.size.width, one.seed) for one in lines] == [(1e14, 9, 0), (1e14, 10, 0)]


def test_minimum_of_a_parabola_is_exact():
    n = np.geomspace(1e3, 1e5, 7)
    optimum = 12_345.0
    assert np.isclose(ladder.minimum(n, np.exp(0.1 * np.log(n / optimum) ** 2)), optimum, rtol=1e-6)
    edge = ladder.minimum(n, np.exp(0.1 * np.log(n / 10.0) ** 2))  # far below: held near the sizes
    assert n[0] * 0.6 < edge <= n[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (3, 2)}, "widths ascending"),
        ({"cooldown": 1.0}, "cooldown 1.0"),
        ({"coarse": ((1e10, (1, 99)),)}, r"widths \[99\]"),
    ],
)
def test_bad_tables(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TABLE, **change)
