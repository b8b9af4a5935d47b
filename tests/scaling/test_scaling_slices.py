"""From a slice and hours to a budget: the plan's step time decides, until size and budget agree."""

from __future__ import annotations

import dataclasses
import types

import pytest

from sora_jax import build, command
from sora_jax.scaling import ladder, predict, slices, study
from sora_jax.scaling.law import Law

LAW = Law(0.3, 80.0, 40.0, 0.55, 0.40)
FITS = {"fits": {"projection": {"law": dataclasses.asdict(LAW)}}}


@pytest.fixture
def opened(tmp_path) -> study.Study:
    return study.open_study(command.load_config("configs/scaling.py:tpu"), tmp_path)


def planner(opened, *, mfu: float = 0.3, fits: bool = True):
    """A plan that reaches `mfu` if all overlaps and half of it if nothing does, and what was asked.

    It does half as much again as the ladder counts, as padding and remat make a program do.
    """
    asked = []

    def plan(config, request):
        asked.append((config.model.size.width, request))
        flops = 1.5 * opened.sizes("main")(config.model.size.width, config.data.rows).step_flops
        seconds = flops / (8 * 459e12 * mfu)
        estimate = types.SimpleNamespace(best=seconds, worst=2 * seconds)
        return types.SimpleNamespace(
            fits=fits, estimate=estimate, run_flops=flops, rows=config.data.rows, refusal=""
        )

    return plan, asked


def test_the_budget_is_what_the_planned_model_does_in_the_hours(opened, monkeypatch):
    plan, asked = planner(opened)
    monkeypatch.setattr(build, "plan", plan)
    found = slices.budget(opened, FITS, "v5p:2x2x2", 2.0, "")
    assert found.flops == pytest.approx(0.3 / 1.5 * 8 * 459e12 * 7200, rel=1e-6)
    assert found.least == pytest.approx(found.flops / 2)
    best, _, _ = LAW.optimum_on(found.flops, predict.flops_per_token(opened))
    (width,) = ladder.nearest(opened.table, opened.sizes("main"), found.flops, float(best), 1)
    assert found.width == width == asked[-1][0]
    request = asked[-1][1]
    assert (request.size.frames, request.size.height) == (17, 128) and request.what == "train"
    assert "not measured" in found.told and "2 hours" in found.told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hours": 0.0}, "--hours 0.0: give more than 0"),
        ({"fits": {"fits": {"projection": {"error": "too few runs"}}}}, "too few runs"),
        ({"topology": "v9z:2x2"}, "v9z"),
    ],
)
def test_what_cannot_be_planned_is_told(opened, monkeypatch, change, message):
    monkeypatch.setattr(build, "plan", planner(opened)[0])
    given = {"fits": FITS, "topology": "v5p:2x2x2", "hours": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        slices.budget(opened, given["fits"], given["topology"], given["hours"], "")


def test_a_model_that_does_not_fit_is_an_error(opened, monkeypatch):
    monkeypatch.setattr(build, "plan", planner(opened, fits=False)[0])
    with pytest.raises(ValueError, match=r"does not fit v5p:2x2x2 \(memory\): give a larger slice"):
        slices.budget(opened, FITS, "v5p:2x2x2", 1.0, "")
