"""L(N, D) = E + A / N^alpha + B / D^beta fitted to runs, in two ways.

Parametric: the least SUM over runs of Huber_delta(log L_fitted - log L), delta = 1e-3, over (a, b, e, alpha,
beta) with A = exp a, B = exp b, E = exp e, by L-BFGS from many starts (Hoffmann et al. 2022, arXiv
2203.15556, Sec. D.2). The sum and not the mean: an optimiser's tolerance is absolute, and with the mean it
stops too early (Besiroglu et al. 2024, arXiv 2404.10102).

Projection: the least sum of squared relative residuals. For each (alpha, beta) the best E, A, B >= 0 are a
linear problem (variable projection, Golub & Pereyra 1973), so that a grid over two numbers sees the whole
landscape.

Both end in one Gauss-Newton iteration (`solver.refine`) over all five constants, for many weightings of the
runs at once: a bootstrap of 1,000 resamples is one call.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize

from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points, at_least
from sora_jax.scaling.solver import EXPONENTS, Frame, misfit, project, refine, residuals

DELTA = 1e-3


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted law and how well it fits.

    Attributes:
      law: the constants; objective: what was minimised, at its minimum.
      r_squared: share of the variance of log loss explained; rms: root (weighted) mean square of
        (L_fitted - L) / L.
      aic: n log(rms^2) + 2 k for k constants and a variance: independent Gaussian relative residuals of one
        variance (an rms below 1e-9, float64's reach here, counts as 1e-9). Only differences between fits of
        the same runs mean anything.
    """

    law: Law
    objective: float
    r_squared: float
    rms: float
    aic: float


def fit_projection(points: Points, *, floor: bool = True, by_standard_error: bool = False) -> Fit:
    """The law of least squared residuals, each over its loss.

    Args:
      floor: whether there is an E; without it E = 0.
      by_standard_error: each residual over its standard error instead. These are of the evaluation; where
        runs differ by more than that (seeds, schedules), the default is the honest one.

    Raises:
      ValueError: too few runs, sizes or numbers of tokens; a standard error that is not there.
    """
    _identifiable(points, 5 if floor else 4)
    frame, weights = Frame.of(points), np.ones(len(points))
    if by_standard_error:
        missing = np.flatnonzero(np.isnan(points.standard_error))
        if len(missing):
            raise ValueError(f"{points.names[missing[0]]}: no standard error: fit without by_standard_error")
        weights = (points.loss / points.standard_error) ** 2
        weights = weights / weights.mean()
    theta = refine(starts(frame, weights, floor=floor), frame, weights[None], floor=floor)
    return _best(theta, frame, weights, np.inf, floor)


def fit_without_floor(points: Points) -> Fit:
    """The projection with E = 0: what a floor has to beat, by `aic`."""
    return fit_projection(points, floor=False)


def fit_parametric(points: Points, *, delta: float = DELTA) -> Fit:
    """The law of the least sum of Huber(log residual).

    Differs: Hoffmann's grid of starts is in units of language models; here the starts are the best of a grid
    over (alpha, beta) with E, A, B by projection, which knows the scale of any loss and any size.

    Raises:
      ValueError: as fit_projection.
    """
    _identifiable(points, 5)
    frame = Frame.of(points)
    polished, weights = [], np.ones(len(points))
    for start in starts(frame, weights):
        start[2] = np.log(max(start[2], 1e-3))
        found = optimize.minimize(
            huber,
            start,
            args=(frame.x, frame.y, np.log(frame.loss), delta),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-30, 30)] * 3 + [EXPONENTS] * 2,
            options={"maxiter": 300, "maxfun": 500, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 20},
        )
        polished.append([*found.x[:2], np.exp(found.x[2]), *found.x[3:]])
    theta = refine(np.array(polished), frame, weights[None], delta=delta)
    return _best(theta, frame, weights, delta, True)


def refit(
    points: Points, start: Law, weights: np.ndarray, *, delta: float = np.inf, floor: bool = True
) -> Law:
    """r fits at once, begun at `start`: one for each row of `weights` [r n] on the runs (0 = left out).

    `delta` infinite is the projection, `DELTA` the parametric fit. NaN where a row has no more runs than
    there are constants.
    """
    frame = Frame.of(points)
    laws = []
    for rows in np.array_split(weights, max(1, weights.size // 20_000)):  # what fits a processor's cache
        theta = np.broadcast_to(frame.theta(start), (len(rows), 5))
        theta = refine(theta, frame, rows, delta=delta, floor=floor, tolerance=1e-6)
        laws.append(np.where((np.count_nonzero(rows, axis=1) > 5)[:, None], theta, np.nan))
    return frame.law(np.concatenate(laws))


def starts(frame: Frame, weights: np.ndarray, *, floor: bool = True, number: int = 10) -> np.ndarray:
    """theta [number 5]: the best points of a 24 x 24 grid over (alpha, beta), E, A and B by projection."""
    exponents = np.geomspace(0.03, 1.5, 24)
    alpha, beta = (grid.ravel() for grid in np.meshgrid(exponents, exponents))
    constants, left = project(alpha, beta, frame, weights, floor=floor)
    best = np.argsort(left)[:number]
    e, a, b = constants[best].T
    p, q = np.log(np.maximum(a, 1e-6)), np.log(np.maximum(b, 1e-6))
    return np.stack([p, q, e, alpha[best], beta[best]], -1)


def huber(
    theta: np.ndarray, x: np.ndarray, y: np.ndarray, log_loss: np.ndarray, delta: float
) -> tuple[float, np.ndarray]:
    """Sum over runs of Huber(LSE(a - alpha x, b - beta y, e) - log L) / delta^2 and its gradient [5].

    `theta` = (a, b, e, alpha, beta). Huber(r) = r^2 / 2, and delta (|r| - delta / 2) beyond delta.
    """
    a, b, e, alpha, beta = theta
    logits = np.stack([a - alpha * x, b - beta * y, np.full_like(x, e)])
    top = logits.max(axis=0)
    shares = np.exp(logits - top)
    total = shares.sum(axis=0)
    residual = top + np.log(total) - log_loss
    slope = np.clip(residual, -delta, delta)
    shares *= slope / total
    gradient = [*shares.sum(axis=1), -(shares[0] @ x), -(shares[1] @ y)]
    return float((slope * (residual - slope / 2)).sum()) / delta**2, np.array(gradient) / delta**2


def _best(theta: np.ndarray, frame: Frame, weights: np.ndarray, delta: float, floor: bool) -> Fit:
    relative, _ = residuals(theta, frame, relative=True)
    logs, _ = residuals(theta, frame, relative=False)
    value = misfit(relative if np.isinf(delta) else logs, weights, delta)
    best = int(value.argmin())
    rms = float(np.sqrt((weights * relative[best] ** 2).mean()))
    explained = 1 - (logs[best] ** 2).sum() / max(float((np.log(frame.loss) ** 2).sum()), 1e-300)
    aic = len(weights) * 2 * np.log(max(rms, 1e-9)) + 2 * (6 if floor else 5)
    law = frame.law(theta[best])
    law = Law(*(float(value) for value in dataclasses.astuple(law)))
    return Fit(law, float(value[best]), float(explained), rms, float(aic))


def _identifiable(points: Points, constants: int) -> None:
    at_least(points, constants + 1, f"a law of {constants} constants")
    for values, what in ((points.parameters, "model sizes N"), (points.tokens, "numbers of tokens D")):
        if (there := len(np.unique(values))) < 3:
            raise ValueError(f"{there} distinct {what}: an exponent beside a floor needs at least 3")
