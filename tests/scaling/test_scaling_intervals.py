"""Intervals: BCa against scipy's, draws that keep every budget, coverage; the summary and its sentences."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scaling_runs import ladder, law_of
from scipy import stats

from sora_jax.scaling import bootstrap as boot
from sora_jax.scaling.fit import fit_projection, refit
from sora_jax.scaling.summary import fit_all, in_words


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bca_is_scipys(level):
    """The same replicates, the mean of a skewed sample: the same interval."""
    sample = np.random.default_rng(0).lognormal(size=40)
    draws = {"n_resamples": 2000, "rng": np.random.default_rng(1)}
    theirs = stats.bootstrap((sample,), np.mean, confidence_level=level, method="BCa", **draws)
    without = (sample.sum() - sample) / 39
    ours = boot.bca(theirs.bootstrap_distribution, sample.mean(), without, level)
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=1e-10)


@pytest.mark.filterwarnings("error")
def test_bca_without_an_answer():
    """NaN where all replicates lie on one side, or none is finite; a point where they are all alike."""
    above = np.linspace(2, 3, 50)
    assert np.isnan(boot.bca(above, 1.0, above)).all()
    assert np.isnan(boot.bca(np.full(50, np.nan), 1.0, above)).all()
    assert boot.bca(np.full(50, 1.5), 1.5, above) == (1.5, 1.5)


def test_draws_stay_within_budgets():
    """Every budget keeps its weight, a lone run stays, the mean's variance is the unbiased one (Rao & Wu)."""
    strata = np.array([0] * 7 + [1] * 3 + [-1])
    weights = boot.resample(strata, 4000, np.random.default_rng(0))
    for stratum, size in ((0, 7), (1, 3), (-1, 1)):
        np.testing.assert_allclose(weights[:, strata == stratum].sum(axis=1), size)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.06)
    values = np.random.default_rng(1).normal(size=7)
    variance = (weights[:, :7] @ values / 7).var()
    assert variance == pytest.approx(values.var(ddof=1) / 7, rel=4 * np.sqrt(2 / 4000))


def test_strata_are_budgets():
    points = ladder(law_of(0.34, 0.28), decades=1)
    points = dataclasses.replace(points, flops=points.flops * np.where(np.arange(21) == 4, 1.5, 1))
    np.testing.assert_array_equal(boot.strata_of(points), [0] * 4 + [-1] + [0] * 2 + [1] * 7 + [2] * 7)


def test_bootstrap_of_a_mean():
    """One estimator of known answer: jackknife, replicates, seeds, and NaN counted as failed."""
    points = ladder(law_of(0.34, 0.28), decades=1, noise=0.01)

    def mean(points, weights):
        value = weights @ points.loss / weights.sum(axis=1)
        return {"mean": value, "some": np.where(weights[:, 0] == 0, np.nan, value)}

    found = boot.bootstrap(points, mean, resamples=1000, seed=3)
    assert found.value["mean"] == pytest.approx(points.loss.mean())
    np.testing.assert_allclose(found.jackknife["mean"], (points.loss.sum() - points.loss) / 20)
    within = np.sqrt(np.mean([points.loss[i : i + 7].var(ddof=1) for i in (0, 7, 14)]) / 21)
    assert found.replicates["mean"].std() == pytest.approx(within, rel=0.1)
    assert found.failed("mean") == 0 and found.failed("some") == pytest.approx((6 / 7) ** 6, abs=0.06)
    low, high = found.percentile("mean")
    assert low < points.loss.mean() < high and high - low == pytest.approx(2 * 1.96 * within, rel=0.15)
    again = boot.bootstrap(points, mean, resamples=1000, seed=3)
    np.testing.assert_array_equal(again.replicates["mean"], found.replicates["mean"])
    assert found.correlation("mean", "mean") == pytest.approx(1)


def test_coverage():
    """40 ladders, 0.3 % noise: a true 95 % covers under 31 with probability 1e-5; half the width, 27."""
    true, hits = law_of(0.34, 0.28), 0
    for seed in range(40):
        points = ladder(true, noise=0.003, seed=seed)
        start = fit_projection(points).law
        found = boot.bootstrap(
            points, lambda points, weights, start=start: {"a": refit(points, start, weights).a}, resamples=200
        )
        low, high = found.t("a")
        hits += low <= true.a <= high
    assert hits >= 31


@pytest.fixture(scope="module")
def summary() -> dict:
    points = ladder(law_of(0.34, 0.28), noise=0.002, width=1.6, seeds=2)
    return fit_all(points, resamples=100, seed=1, at=[1e22])


def test_summary_is_json_and_repeats(summary):
    points = ladder(law_of(0.34, 0.28), noise=0.002, width=1.6, seeds=2)
    assert json.loads(json.dumps(summary, allow_nan=False)) == json.loads(
        json.dumps(fit_all(points, resamples=100, seed=1, at=[1e22]))
    )
    assert set(summary["fits"]) == {"parametric", "projection", "isoflop", "envelope"}
    for name in ("parametric", "projection"):
        fit, true = summary["fits"][name], law_of(0.34, 0.28)
        assert fit["value"]["a"] == pytest.approx(true.a, abs=0.03)
        assert fit["value"]["loss@1e+22"] == pytest.approx(float(true.optimum(1e22)[2]), rel=0.02)
        narrow, wide = (fit["intervals"]["a"][level]["bca"] for level in ("80%", "95%"))
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert summary["aic_without_floor_less_with"] > 10


def test_each_budget_is_predicted_from_the_others(summary):
    """The largest budget's best loss within 1 % from the cheaper six, better than both that know no law."""
    assert len(summary["leave_one_budget_out"]["projection"]) == 7
    last, null = summary["leave_one_budget_out"]["projection"][-1], summary["nulls"][-1]
    assert last["flops"] == pytest.approx(1e21) and last["measured"] == null["measured"]
    assert abs(last["relative"]) < 0.01
    for blind in ("last", "power_law"):
        assert abs(null[blind] / null["measured"] - 1) > abs(last["relative"])


def test_the_cost_of_a_token(summary):
    """With c(N) = 6 N as a callable, the same predictions; with c(N) = 12 N, those of half the budget."""
    points = ladder(law_of(0.34, 0.28), noise=0.002, width=1.6, seeds=2)
    same = fit_all(points, resamples=3, at=[1e22], flops_per_token=lambda n: 6 * n)
    double = fit_all(points, resamples=3, at=[2e22], flops_per_token=lambda n: 12 * n)
    for key in ("N@1e+22", "loss@1e+22"):
        expected = summary["fits"]["projection"]["value"][key]
        assert same["fits"]["projection"]["value"][key] == pytest.approx(expected, rel=1e-5)
        twice = double["fits"]["projection"]["value"][key.replace("1e", "2e")]
        assert twice == pytest.approx(expected, rel=1e-5)
    assert same["fits"]["projection"]["value"]["a_effective"] == pytest.approx(
        summary["fits"]["projection"]["value"]["a"], abs=1e-5
    )
    dear = fit_all(dataclasses.replace(points, flops=2 * points.flops), resamples=3, at=[2e22])
    assert dear["fits"]["projection"]["value"]["N@2e+22"] == pytest.approx(
        summary["fits"]["projection"]["value"]["N@1e+22"], rel=1e-5
    )
    assert any("C = 12 N D" in note for note in dear["notes"])


def test_words_of_a_good_ladder(summary):
    words = " ".join(in_words(summary))
    assert "span 3.0 decades" in words and "floor E is rejected" in words
    assert "estimators agree: a from" in words and "At 1e+22 FLOPs the projection predicts" in words
    assert "not supported" in words and "guess" not in words


def test_words_of_a_poor_ladder():
    """1 decade, 1 % noise, sizes far off the optimum: what cannot be told is said."""
    points = ladder(law_of(0.34, 0.28), decades=1, noise=0.01, offset=0.7)
    result = fit_all(points, resamples=100, at=[1e21])
    words = " ".join(in_words(result))
    json.dumps(result, allow_nan=False)
    for part in (
        "is a guess",
        "Budget 1e+18 is rejected",
        "too wide to tell",
        "says little",
        "The IsoFLOP fit could not be computed",
        "not determined separately",
        "more than 1 decade above the largest run",
    ):
        assert part in words, part


def test_words_where_there_is_no_floor():
    result = fit_all(ladder(law_of(0.34, 0.28, floor=0.0), noise=0.003), resamples=50)
    assert "without a floor E is not rejected" in " ".join(in_words(result))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "what", ["scattered", "seven runs", "one budget", "two budgets", "flat", "upside down"]
)
def test_anybodys_runs_are_summed_up(what):
    """No budgets, too few runs for an interval, no law at all: sentences, and no warning on the way."""
    rng = np.random.default_rng(0)
    points = ladder(law_of(0.34, 0.28), noise=0.003)
    n, d = 10 ** rng.uniform(7, 10, 30), 10 ** rng.uniform(9, 11.5, 30)
    loss = law_of(0.34, 0.28).loss(n, d) * np.exp(0.003 * rng.normal(size=30))
    scattered = dataclasses.replace(
        points.take(np.arange(30)), flops=6 * n * d, parameters=n, tokens=d, loss=loss
    )
    runs = {
        "scattered": scattered,
        "seven runs": scattered.take(np.arange(7)),
        "one budget": points.take(np.arange(7)),
        "two budgets": points.take(np.arange(14)),
        "flat": dataclasses.replace(points, loss=np.full(len(points), 2.0)),
        "upside down": dataclasses.replace(points, loss=points.loss[::-1].copy()),
    }[what]
    result = fit_all(runs, resamples=30, at=[1e22])
    json.dumps(result, allow_nan=False)
    words = " ".join(in_words(result))
    said = {
        "scattered": "no two budgets with 5 sizes each",
        "seven runs": "The projection gives no exponent with an interval",
        "one budget": "all runs lie within a quarter decade",
        "two budgets": "Below 2 decades",
        "flat": "In 100.0% of the resamples a constant of the projection lies at its bound",
        "upside down": "is rejected: the parabola",
    }
    assert said[what] in words
