"""L(N, D) = E + A / N^alpha + B / D^beta fitted to runs, in two ways.

Parametric: the least SUM over runs of Huber_delta(log L_fitted - log L), delta = 1e-3, over (a, b, e, alpha,
beta) with A = exp a, B = exp b, E = exp e, by L-BFGS from many starts (Hoffmann et al. 2022, arXiv
2203.15556, Sec. D.2). The sum and not the mean: an optimiser's tolerance is absolute, and with the mean it
stops too early (Besiroglu et al. 2024, arXiv 2404.10102).

Projection: the least sum of squared relative residuals. For each (alpha, beta) the best E, A, B >= 0 are a
linear problem (variable projection, Golub & Pereyra 1973), so that a grid over two numbers sees the whole
landscape.

Both end in one Gauss-Newton iteration (`refine`) over all five constants, for many weightings of the runs at
once: a bootstrap of 1,000 resamples is one call.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from scipy import optimize

from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points, at_least

EXPONENTS = (0.01, 2.5)  # what alpha and beta may be
DELTA = 1e-3


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted law and how well it fits.

    Attributes:
      law: the constants; objective: what was minimised, at its minimum.
      r_squared: share of the variance of log loss explained; rms: root mean square of (L_fitted - L) / L.
      aic: n log(rms^2) + 2 k for k constants and a variance: independent Gaussian relative residuals of one
        variance (an rms below 1e-9, float64's reach here, counts as 1e-9). Only differences between fits of
        the same runs mean anything.
    """

    law: Law
    objective: float
    r_squared: float
    rms: float
    aic: float


@dataclasses.dataclass(frozen=True)
class Frame:
    """Runs in the units of the fit, each [n]: x, y = log N, log D less their means, loss / geometric mean.

    `theta` [... 5] = (log of the N-term at x = 0, log of the D-term at y = 0, E, alpha, beta) in these units.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    centre: tuple[float, float, float]

    @classmethod
    def of(cls, points: Points) -> Frame:
        logs = [np.log(values) for values in (points.parameters, points.tokens, points.loss)]
        centre = [float(values.mean()) for values in logs]
        x, y, z = (values - middle for values, middle in zip(logs, centre, strict=True))
        return cls(x, y, np.exp(z), (centre[0], centre[1], centre[2]))

    def law(self, theta: np.ndarray) -> Law:
        p, q, floor, alpha, beta = np.moveaxis(theta, -1, 0)
        x0, y0, z0 = self.centre
        return Law(
            np.exp(z0) * floor,
            np.exp(p + z0 + alpha * x0),
            np.exp(q + z0 + beta * y0),
            alpha * 1.0,
            beta * 1.0,
        )

    def theta(self, law: Law) -> np.ndarray:
        x0, y0, z0 = self.centre
        p, q = np.log(law.A) - z0 - law.alpha * x0, np.log(law.B) - z0 - law.beta * y0
        return np.stack(np.broadcast_arrays(p, q, law.E / np.exp(z0), law.alpha, law.beta), -1)


def fit_projection(points: Points, *, floor: bool = True) -> Fit:
    """The law of least squared relative residuals; `floor=False` holds E at 0.

    Raises:
      ValueError: fewer runs than constants and one, or fewer than 2 sizes or numbers of tokens.
    """
    _identifiable(points, 5 if floor else 4)
    frame, weights = Frame.of(points), np.ones((1, len(points)))
    theta = refine(starts(frame, floor=floor), frame, weights, floor=floor)
    return _best(theta, points, frame, np.inf, floor)


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
    polished = []
    for start in starts(frame):
        start[2] = np.log(max(start[2], 1e-3))
        found = optimize.minimize(
            huber,
            start,
            args=(frame.x, frame.y, np.log(frame.loss), delta),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-30, 30)] * 3 + [EXPONENTS] * 2,
            options={"maxiter": 2000, "maxfun": 4000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 20},
        )
        polished.append([*found.x[:2], np.exp(found.x[2]), *found.x[3:]])
    theta = refine(np.array(polished), frame, np.ones((1, len(points))), delta=delta)
    return _best(theta, points, frame, delta, True)


def refit(
    points: Points, start: Law, weights: np.ndarray, *, delta: float = np.inf, floor: bool = True
) -> Law:
    """The fit with each row of `weights` [r n] on the runs (counts of a resample, 0 = left out), begun at
    `start`: r laws in one.

    `delta` infinite is the projection, `DELTA` the parametric fit. Constants are NaN where a row has fewer
    runs than constants.
    """
    frame = Frame.of(points)
    laws = []
    for rows in np.array_split(weights, max(1, weights.size // 20_000)):  # what fits a processor's cache
        theta = np.broadcast_to(frame.theta(start), (len(rows), 5))
        theta = refine(theta, frame, rows, delta=delta, floor=floor, tolerance=1e-8)
        laws.append(np.where((np.count_nonzero(rows, axis=1) > 5)[:, None], theta, np.nan))
    return frame.law(np.concatenate(laws))


def starts(frame: Frame, *, floor: bool = True, number: int = 10) -> np.ndarray:
    """theta [number 5]: the best points of a 24 x 24 grid over (alpha, beta), E, A and B by projection."""
    exponents = np.geomspace(0.03, 1.5, 24)
    alpha, beta = (grid.ravel() for grid in np.meshgrid(exponents, exponents))
    constants, misfit = project(alpha, beta, frame, floor=floor)
    best = np.argsort(misfit)[:number]
    e, a, b = constants[best].T
    return np.stack(
        [np.log(np.maximum(a, 1e-6)), np.log(np.maximum(b, 1e-6)), e, alpha[best], beta[best]], -1
    )


def project(
    alpha: np.ndarray, beta: np.ndarray, frame: Frame, *, floor: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """For each (alpha, beta) [g]: E, A, B >= 0 [g 3] of the least sum of squared relative residuals, and that
    sum [g].

    Non-negative least squares in closed form: of the least squares over each subset of the three, the best
    that is not negative.
    """
    terms = [
        np.ones((len(alpha), len(frame.x))),
        np.exp(-alpha[:, None] * frame.x),
        np.exp(-beta[:, None] * frame.y),
    ]
    design = np.stack(terms, -1) / frame.loss[:, None]
    gram, moment = np.swapaxes(design, 1, 2) @ design, design.sum(axis=1)
    constants, misfit = np.zeros((len(alpha), 3)), np.full(len(alpha), np.inf)
    among = (0, 1, 2) if floor else (1, 2)
    for size in (1, 2, 3):
        for subset in map(list, itertools.combinations(among, size)):
            part = gram[:, subset][:, :, subset]
            part = part + 1e-14 * np.trace(part, axis1=1, axis2=2)[:, None, None] * np.eye(size)
            solved = np.linalg.solve(part, moment[:, subset, None])[..., 0]
            left = len(frame.x) - (solved * moment[:, subset]).sum(axis=1)
            better = (solved >= 0).all(axis=1) & (left < misfit)
            misfit[better] = left[better]
            constants[better] = 0
            constants[np.ix_(better, subset)] = solved[better]
    return constants, misfit


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


def residuals(theta: np.ndarray, frame: Frame, *, relative: bool) -> tuple[np.ndarray, np.ndarray]:
    """(L_fitted - L) / L, or log(L_fitted / L), [r n], and its derivative by theta [r n 5]."""
    p, q, floor, alpha, beta = np.moveaxis(theta[..., None], -2, 0)
    by_size, by_data = np.exp(p - alpha * frame.x), np.exp(q - beta * frame.y)
    fitted = floor + by_size + by_data
    terms = [by_size, by_data, np.ones_like(fitted), -frame.x * by_size, -frame.y * by_data]
    scale = np.broadcast_to(frame.loss, fitted.shape) if relative else fitted
    residual = fitted / frame.loss - 1 if relative else np.log(fitted / frame.loss)
    return residual, np.stack(terms, -1) / scale[..., None]


def refine(
    theta: np.ndarray,
    frame: Frame,
    weights: np.ndarray,
    *,
    delta: float = np.inf,
    floor: bool = True,
    tolerance: float = 1e-13,
) -> np.ndarray:
    """theta [r 5] of the least weighted sum of Huber residuals, begun at `theta`, with weights [r n] or [1
    n].

    Levenberg-Marquardt; Huber by iterated reweighting (weight min(1, delta / |r|), Huber & Ronchetti 2009,
    Sec. 7.8). A constant at its bound (E >= 0, EXPONENTS) that would go beyond stays there. A row that no
    longer moves leaves the iteration.
    """
    least = np.array([-40, -40, 0, EXPONENTS[0], EXPONENTS[0]])
    most = np.array([40, 40, np.inf if floor else 0, EXPONENTS[1], EXPONENTS[1]])
    theta = np.clip(theta, least, most)
    weights = np.broadcast_to(weights, (len(theta), len(frame.x)))
    relative, damping, moving = np.isinf(delta), np.full(len(theta), 1e-3), np.arange(len(theta))
    value = _misfit(residuals(theta, frame, relative=bool(relative))[0], weights, delta)
    for _ in range(500):
        now = theta[moving]
        residual, slope = residuals(now, frame, relative=bool(relative))
        pull = weights[moving]
        if not relative:
            pull = pull * np.minimum(1, delta / np.maximum(np.abs(residual), 1e-300))
        weighted = slope * pull[..., None]
        gradient = (residual[:, None, :] @ weighted)[:, 0]
        hessian = np.swapaxes(weighted, 1, 2) @ slope
        held = ((now <= least) & (gradient >= 0)) | ((now >= most) & (gradient <= 0))
        step = _damped(hessian, gradient, held, damping[moving])
        trial = np.clip(now + step, least, most)
        after = _misfit(residuals(trial, frame, relative=bool(relative))[0], weights[moving], delta)
        better = after <= value[moving]
        theta[moving[better]], value[moving[better]] = trial[better], after[better]
        damping[moving] = np.clip(damping[moving] * np.where(better, 0.1, 10), 1e-12, 1e12)
        small = (np.abs(trial - now) <= tolerance * (1 + np.abs(now))).all(axis=1)
        moving = moving[~(small | (damping[moving] >= 1e12))]
        if not len(moving):
            break
    return theta


def _damped(hessian: np.ndarray, gradient: np.ndarray, held: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """-(H + damping diag H)^-1 g over the constants that are not held."""
    free = ~held
    hessian = hessian * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("rii->ri", hessian)
    own = (
        diagonal * damping[:, None]
        + 1e-13 * diagonal.max(axis=1, keepdims=True)
        + np.where(held, 1.0, 1e-300)
    )
    return -np.linalg.solve(hessian + own[:, :, None] * np.eye(5), np.where(held, 0, gradient)[..., None])[
        ..., 0
    ]


def _misfit(residual: np.ndarray, weights: np.ndarray, delta: float) -> np.ndarray:
    """Weighted sum over runs of Huber(residual), [r]."""
    if np.isinf(delta):
        return (weights * residual**2).sum(axis=-1) / 2
    slope = np.clip(residual, -delta, delta)
    return (weights * slope * (residual - slope / 2)).sum(axis=-1)


def _best(theta: np.ndarray, points: Points, frame: Frame, delta: float, floor: bool) -> Fit:
    relative, _ = residuals(theta, frame, relative=True)
    logs, _ = residuals(theta, frame, relative=False)
    value = _misfit(relative if np.isinf(delta) else logs, np.ones((1, len(points))), delta)
    best = int(value.argmin())
    rms = float(np.sqrt((relative[best] ** 2).mean()))
    explained = 1 - (logs[best] ** 2).sum() / max(float((np.log(frame.loss) ** 2).sum()), 1e-300)
    aic = len(points) * 2 * np.log(max(rms, 1e-9)) + 2 * (6 if floor else 5)
    law = frame.law(theta[best])
    law = Law(*(float(value) for value in dataclasses.astuple(law)))
    return Fit(law, float(value[best]), float(explained), rms, float(aic))


def _identifiable(points: Points, constants: int) -> None:
    at_least(points, constants + 1, f"a law of {constants} constants")
    for values, what in ((points.parameters, "model sizes N"), (points.tokens, "numbers of tokens D")):
        if len(np.unique(values)) < 3:
            raise ValueError(
                f"{len(np.unique(values))} distinct {what}: an exponent beside a floor needs at least 3"
            )
