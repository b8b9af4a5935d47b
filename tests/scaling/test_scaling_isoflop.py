"""Parabolas and the envelope: exact minima, power laws through them, budgets that are rejected by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scaling_runs import ladder, law_of

from sora_jax.scaling.isoflop import fit_envelope, fit_isoflop, isoflop_laws, line, power_with_floor
from sora_jax.scaling.points import Points

A, K = 0.47, 0.1  # of the optima of `bowls`
FLOOR, HEIGHT, G = 1.3, 400.0, 0.15


def bowls(flops=(1e16, 1e17, 1e18, 1e19), *, off=0.0, bend=0.2, skew=0.0, sizes=7) -> Points:
    """Budgets whose loss IS a parabola in log10 N, with minimum FLOOR + HEIGHT C^-G at K C^A."""
    c = np.repeat(flops, sizes)
    steps = np.linspace(-0.6, 0.6, sizes) + off
    n = np.repeat(K * np.array(flops) ** A, sizes) * 10 ** np.tile(steps, len(flops))
    u = np.log10(n / (K * c**A))
    loss = FLOOR + HEIGHT * c**-G + bend / 2 * u**2 + skew * u**3
    return Points(c, n, c / 6 / n, loss, np.full(len(c), np.nan), [str(i) for i in range(len(c))])


def test_the_minimum_of_a_parabola():
    for off in (0.0, 0.15, -0.15):
        for budget in fit_isoflop(bowls(off=off)):
            assert budget.rejected == "" and budget.sizes == 7 and len(budget.runs) == 7
            assert budget.parameters == pytest.approx(K * budget.flops**A, rel=1e-9)
            assert budget.tokens == pytest.approx(budget.flops / 6 / budget.parameters, rel=1e-9)
            assert budget.loss == pytest.approx(FLOOR + HEIGHT * budget.flops**-G, rel=1e-12)
            assert budget.curvature == pytest.approx(0.2, rel=1e-9)
            assert budget.r_squared == pytest.approx(1) and abs(budget.cubic_shift) < 1e-6
            assert budget.standard_error < 1e-6


def test_power_laws_through_the_minima():
    points = bowls()
    found = isoflop_laws(points, np.ones((1, len(points))), fit_isoflop(points), at=(1e21,))
    expected = {"a": A, "b": 1 - A, "E": FLOOR, "g": G, "N@1e+21": K * 1e21**A}
    expected["loss@1e+21"] = FLOOR + HEIGHT * 1e21**-G
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-5), name
    assert found["D@1e+21"][0] == pytest.approx(1e21 / 6 / (K * 1e21**A), rel=1e-6)


def test_standard_error_of_a_minimum():
    """The spread over 400 draws of the noise, within 4 standard errors of a deviation: 4 / sqrt(800)."""
    clean = bowls((1e17, 1e18))
    rng = np.random.default_rng(0)
    minima, errors = [], []
    for _ in range(400):
        loss = clean.loss + 1e-3 * rng.normal(size=len(clean))
        budget = fit_isoflop(dataclasses.replace(clean, loss=loss))[0]
        minima.append(np.log10(budget.parameters))
        errors.append(budget.standard_error**2)
    assert np.sqrt(np.mean(errors)) == pytest.approx(np.std(minima), rel=4 / np.sqrt(800))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"off": 0.5}, "sizes smaller than it: 1,"),
        ({"off": -0.5}, "sizes larger than it: 1,"),
        ({"off": 0.9}, "sizes smaller than it: 0,"),
        ({"bend": -0.2}, "opens downwards"),
        ({"sizes": 4}, "4 distinct sizes, and 5 are needed"),
    ],
)
def test_a_budget_that_fails_is_rejected_by_name(change, says):
    good, bad = bowls((1e16, 1e17, 1e19)), bowls((1e18,), **change)
    arrays = {
        field.name: np.concatenate([getattr(good, field.name), getattr(bad, field.name)])
        for field in dataclasses.fields(Points)
        if field.name not in ("names", "notes")
    }
    points = Points(**arrays, names=good.names + bad.names)
    fitted = fit_isoflop(points)
    assert [budget.rejected == "" for budget in fitted] == [True, True, False, True]
    assert says in fitted[2].rejected
    assert isoflop_laws(points, np.ones((1, len(points))), fitted)["a"][0] == pytest.approx(A, rel=1e-6)
    with pytest.raises(ValueError, match=r"0 budgets accepted, and a line needs 2.*1e\+18"):
        isoflop_laws(points, np.ones((1, len(points))), [fitted[2]])


def test_noise_as_large_as_the_bowl_is_rejected():
    points = bowls()
    loss = points.loss + 0.05 * np.random.default_rng(0).normal(size=len(points))
    fitted = fit_isoflop(dataclasses.replace(points, loss=loss))
    assert all("of the variance" in budget.rejected or "interior" in budget.rejected for budget in fitted)


def test_a_cubic_shows_a_skewed_bowl():
    fitted = fit_isoflop(bowls(skew=0.12))
    assert abs(fit_isoflop(bowls(skew=0.001))[0].cubic_shift) < 0.02
    for budget in fitted:
        by_cubic = np.log10(budget.parameters) + budget.cubic_shift
        assert abs(budget.cubic_shift) > 0.15
        assert by_cubic == pytest.approx(np.log10(K * budget.flops**A), abs=1e-6)


def test_seeds_count_and_sizes_are_told_apart():
    """Three seeds a size: 21 runs, 7 sizes, and the mean over seeds has the same minimum."""
    points = ladder(law_of(0.34, 0.28), noise=0.001, seeds=3, width=1.6)
    mean = points.take(np.arange(0, len(points), 3))
    mean = dataclasses.replace(mean, loss=points.loss.reshape(-1, 3).mean(axis=1))
    for many, one in zip(fit_isoflop(points), fit_isoflop(mean), strict=True):
        assert (len(many.runs), many.sizes) == (21, 7)
        assert many.parameters == pytest.approx(one.parameters, rel=1e-9)


def test_one_budget_is_too_few():
    with pytest.raises(ValueError, match=r"1e\+18: an IsoFLOP fit needs at least 2"):
        fit_isoflop(bowls((1e18,)))


@pytest.mark.filterwarnings("error")
def test_line_and_power_law():
    x = np.array([1.0, 2.0, 4.0, 7.0])
    y = np.stack([3 * x - 1, -x])
    weight = np.array([[1.0, 2, 3, 0], [0, 0, 1, 0]])
    y[0, 3] = 99.0
    slope, height = line(x, y, weight)
    assert (slope[0], height[0]) == pytest.approx((3, -1)) and np.isnan(slope[1])
    loss = np.stack([0.7 + 5 * np.exp(-0.2 * x), 5 * np.exp(-0.2 * x)])
    floor, k, g = power_with_floor(x, loss, np.ones_like(loss))
    np.testing.assert_allclose(floor, [0.7, 0], atol=1e-5)
    np.testing.assert_allclose(k, 5, rtol=1e-5)
    np.testing.assert_allclose(g, 0.2, rtol=1e-5)


def test_the_envelope_goes_through_the_best_runs():
    """Exact where optima are among the sizes; a budget that got worse is not on it; bins without budgets."""
    points = ladder(law_of(0.34, 0.28))
    assert fit_envelope(points)["a"][0] == pytest.approx(0.28 / 0.62, rel=1e-9)
    third = slice(14, 21)
    loss = points.loss.copy()
    loss[third] = 1.5 * loss[third][[3, 0, 1, 2, 4, 5, 6]]  # worse, and best at its smallest size
    worse = dataclasses.replace(points, loss=loss)
    assert fit_envelope(worse)["a"][0] == pytest.approx(0.28 / 0.62, rel=1e-9)
    spread = dataclasses.replace(points, flops=points.flops * np.tile(1.12 ** np.arange(-3, 4), 7))
    assert fit_envelope(spread)["a"][0] == pytest.approx(0.28 / 0.62, abs=0.1)
    with pytest.raises(ValueError, match="within a quarter decade"):
        fit_envelope(points.take(np.arange(7)))
