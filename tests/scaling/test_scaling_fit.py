"""The two fits of L(N, D): known laws come back, gradients are right, a floor is found where there is one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scaling_runs import EXPONENTS, ladder, law_of
from scipy.optimize import approx_fprime, minimize_scalar, nnls

from sora_jax.scaling.fit import (
    DELTA,
    fit_parametric,
    fit_projection,
    fit_without_floor,
    huber,
    refit,
)
from sora_jax.scaling.law import Law
from sora_jax.scaling.solver import Frame, project, residuals


def error(found: Law, true: Law) -> float:
    """Of the constants relatively (A and B in logs), and of a."""
    pairs = zip(dataclasses.astuple(found), dataclasses.astuple(true), strict=True)
    return max([abs(np.log(new / old)) for new, old in pairs] + [abs(float(found.a - true.a))])


@pytest.mark.parametrize("exponents", EXPONENTS)
@pytest.mark.parametrize(("decades", "offset"), [(2, 0.0), (3, 0.0), (3, 0.4), (4, -0.4)])
def test_a_law_without_noise_comes_back(exponents, decades, offset):
    true = law_of(*exponents)
    points = ladder(true, decades=decades, offset=offset)
    assert error(fit_projection(points).law, true) <= 1e-6
    assert error(fit_parametric(points).law, true) <= 1e-3


@pytest.mark.parametrize("exponents", EXPONENTS)
@pytest.mark.parametrize("noise", [0.001, 0.003, 0.01])
def test_noise_moves_the_exponent_as_far_as_it_should(exponents, noise):
    """Within 5 standard errors, by the Jacobian; Huber's is at most sqrt(pi / 2) wider (a median's)."""
    true = law_of(*exponents)
    points = ladder(true, noise=noise, seed=5)
    frame = Frame.of(points)
    _, slope = residuals(frame.theta(true)[None], frame, relative=True)
    by_theta = np.array([0, 0, 0, -true.beta, true.alpha]) / (true.alpha + true.beta) ** 2
    standard_error = noise * np.sqrt(by_theta @ np.linalg.inv(slope[0].T @ slope[0]) @ by_theta)
    assert abs(fit_projection(points).law.a - true.a) <= 5 * standard_error
    assert abs(fit_parametric(points).law.a - true.a) <= 5 * np.sqrt(np.pi / 2) * standard_error


def test_any_unit_of_size_and_loss():
    """Sizes of 1e4 instead of 1e9 and a loss 100 times smaller: the same exponents, no start to tune."""
    points = ladder(law_of(0.34, 0.28), noise=0.003)
    small = dataclasses.replace(
        points,
        parameters=points.parameters / 1e5,
        tokens=points.tokens / 1e5,
        flops=points.flops / 1e10,
        loss=points.loss / 100,
    )
    for fit in (fit_projection, fit_parametric):
        one, other = fit(points).law, fit(small).law
        assert pytest.approx(one.E / 100, rel=1e-6) == other.E
        np.testing.assert_allclose([other.alpha, other.beta], [one.alpha, one.beta], rtol=1e-6)


def test_gradient_of_the_huber_sum():
    """Against central differences at residuals on both sides of delta; scaled by 1 / delta^2."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=23), rng.normal(size=23)
    theta = np.array([0.3, -0.2, 0.1, 0.34, 0.28])
    fitted = np.log(np.exp(0.3 - 0.34 * x) + np.exp(-0.2 - 0.28 * y) + np.exp(0.1))
    target = fitted + rng.normal(size=23) * 0.02
    value, gradient = huber(theta, x, y, target, 0.01)
    r = np.abs(fitted - target)
    assert 3 < (r < 0.01).sum() < 20
    assert value == pytest.approx(np.where(r < 0.01, r**2 / 2, 0.01 * (r - 0.005)).sum() / 1e-4, rel=1e-10)
    numeric = approx_fprime(theta, lambda t: huber(t, x, y, target, 0.01)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4)


@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_the_parametric_fit_is_where_the_gradient_is_zero(noise):
    """Less than 1e-5 of what one run alone pulls (1 / delta), by the function that L-BFGS was given."""
    points = ladder(law_of(0.34, 0.28), noise=noise, seed=2)
    frame = Frame.of(points)
    theta = frame.theta(fit_parametric(points).law)
    theta[2] = np.log(theta[2])
    _, gradient = huber(theta, frame.x, frame.y, np.log(frame.loss), DELTA)
    assert np.abs(gradient).max() < 1e-5 / DELTA


def test_derivative_of_the_residuals():
    frame = Frame.of(ladder(law_of(0.34, 0.28), decades=1, noise=0.01))
    theta = frame.theta(law_of(0.3, 0.4))
    for relative in (True, False):
        _, slope = residuals(theta[None], frame, relative=relative)
        numeric = approx_fprime(
            theta, lambda t, r=relative: residuals(t[None], frame, relative=r)[0][0], 1e-7
        )
        np.testing.assert_allclose(slope[0], numeric, rtol=1e-4, atol=1e-5)


def test_projection_is_non_negative_least_squares():
    """Against scipy's, also where E or the N-term has to be 0."""
    frame = Frame.of(ladder(law_of(0.34, 0.28), noise=0.01))
    alpha, beta = np.array([0.1, 0.3, 0.05, 1.4]), np.array([0.1, 0.3, 1.4, 0.05])
    weights = np.random.default_rng(0).uniform(0.5, 2, len(frame.x))
    constants, misfit = project(alpha, beta, frame, weights)
    for row in range(4):
        design = np.stack([frame.x**0, np.exp(-alpha[row] * frame.x), np.exp(-beta[row] * frame.y)], -1)
        root = np.sqrt(weights)
        expected, norm = nnls(design * (root / frame.loss)[:, None], root)
        np.testing.assert_allclose(constants[row], expected, rtol=1e-5, atol=1e-8)
        assert misfit[row] == pytest.approx(norm**2, rel=1e-6)
    assert (constants == 0).any()


@pytest.mark.parametrize("delta", [DELTA, np.inf])
def test_a_resample_refitted_at_once_is_the_fit_of_its_runs(delta):
    """Warm starts and weights against fits from scratch of repeated runs; one row lacks a whole budget."""
    points = ladder(law_of(0.35, 0.45), noise=0.003)
    fit = fit_projection if np.isinf(delta) else fit_parametric
    rng = np.random.default_rng(1)
    counts = np.concatenate([rng.multinomial(7, np.ones(7) / 7, size=4) for _ in range(7)], axis=1)
    counts[3, :7] = 0
    laws = refit(points, fit(points).law, counts.astype(float), delta=delta)
    for row, count in enumerate(counts):
        alone = fit(points.take(np.repeat(np.arange(len(points)), count))).law
        np.testing.assert_allclose([laws.alpha[row], laws.beta[row]], [alone.alpha, alone.beta], rtol=1e-4)
        np.testing.assert_allclose(laws.E[row], alone.E, rtol=1e-4)


def test_a_floor_is_found_where_there_is_one():
    """dAIC over 10 with E, below it without: over 10 by chance has probability below 3e-4 (chi^2_1 > 12)."""
    for noise in (0.001, 0.003):
        with_floor = ladder(law_of(0.34, 0.28), noise=noise)
        without = ladder(law_of(0.34, 0.28, floor=0.0), noise=noise)
        assert fit_without_floor(with_floor).aic - fit_projection(with_floor).aic > 10
        assert fit_without_floor(without).aic - fit_projection(without).aic < 10
        assert fit_without_floor(with_floor).law.E == 0
    exact = ladder(law_of(0.34, 0.28, floor=0.0))
    assert pytest.approx(0, abs=1e-6) == fit_projection(exact).law.E


def test_standard_errors_weigh_the_runs():
    """One budget with a loss 5 % off and a standard error that says so: the law of the others comes back."""
    true = law_of(0.34, 0.28)
    points = ladder(true)
    off = np.arange(len(points)) < 7
    wrong = dataclasses.replace(
        points,
        loss=points.loss * np.where(off, 1.05, 1),
        standard_error=points.loss * np.where(off, 1e3, 1e-3),
    )
    assert error(fit_projection(wrong, by_standard_error=True).law, true) < 1e-6
    assert error(fit_projection(wrong).law, true) > 0.01
    with pytest.raises(ValueError, match="run 0: no standard error"):
        fit_projection(points, by_standard_error=True)


def test_goodness():
    """rms is the noise, R^2 what it leaves of the variance."""
    points = ladder(law_of(0.34, 0.28), noise=0.003, seeds=5)
    fit = fit_projection(points)
    assert fit.rms == pytest.approx(0.003, rel=0.2)  # 4.4 standard errors of an rms of 245 residuals
    assert fit.r_squared == pytest.approx(1 - 0.003**2 / np.log(points.loss).var(), abs=2e-4)


def test_too_little_to_fit_says_what_is_needed():
    points = ladder(law_of(0.34, 0.28))
    with pytest.raises(ValueError, match=r"5 runs: a law of 5 constants needs at least 6"):
        fit_projection(points.take(np.arange(5)))
    one_size = dataclasses.replace(points, parameters=np.full(len(points), 1e8))
    with pytest.raises(ValueError, match=r"1 distinct model sizes N"):
        fit_parametric(one_size)


@pytest.mark.parametrize("exponents", EXPONENTS)
def test_optimum(exponents):
    """In closed form, on a grid with c(N) = 6 N, and by a scalar search; N grows as C^a."""
    law = law_of(*exponents)
    for flops in (1e15, 1e21):
        n, d, loss = law.optimum(flops)
        assert 6 * n * d == pytest.approx(flops)
        found = minimize_scalar(lambda x, c=flops: float(law.loss(np.exp(x), c / 6 / np.exp(x))), (10, 20))
        assert np.log(n) == pytest.approx(found.x, abs=1e-5) and loss == pytest.approx(found.fun, rel=1e-12)
        on_grid = law.optimum_on(flops, lambda size: 6 * size)
        np.testing.assert_allclose(on_grid, (n, d, loss), rtol=1e-5)
    assert np.log10(law.optimum(1e21)[0] / law.optimum(1e15)[0]) == pytest.approx(6 * law.a)


def test_optimum_where_a_token_costs_more_than_6n():
    """c(N) = 6 N + 1e4 sqrt(N): the slope of L along C = c(N) D is 0 there. Many laws at once; an edge."""
    constants = [dataclasses.astuple(law_of(*exponents)) for exponents in EXPONENTS]
    laws = Law(*(np.array(values) for values in zip(*constants, strict=True)))

    def cost(size):
        return 6 * size + 1e4 * np.sqrt(size)

    n, d, _ = laws.optimum_on(1e18, cost)
    np.testing.assert_allclose(cost(n) * d, 1e18)
    by_size = -laws.alpha * laws.A * n**-laws.alpha
    by_data = laws.beta * laws.B * d**-laws.beta * (6 * n + 5e3 * np.sqrt(n)) / cost(n)
    np.testing.assert_allclose(by_size, -by_data, rtol=1e-5)
    with pytest.raises(ValueError, match="lies at an edge"):
        law_of(0.34, 0.28).optimum_on(1e18, lambda size: 6e8 + 0 * size)
