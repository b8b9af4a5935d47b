"""The numerical part of the fits: good units, E, A, B for given exponents, refinement of all five constants.

`theta` [... 5] = (log of the N-term at x = 0, log of the D-term at y = 0, E, alpha, beta), in the units of a
`Frame`. Everything is for many laws, or many weightings of the runs, at once.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points

EXPONENTS = (0.01, 2.5)  # what alpha and beta may be


@dataclasses.dataclass(frozen=True)
class Frame:
    """Runs in the units of the fit, each [n]: x, y = log N, log D less their means, loss / geometric mean."""

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
        a, b = np.exp(p + z0 + alpha * x0), np.exp(q + z0 + beta * y0)
        return Law(np.exp(z0) * floor, a, b, alpha, beta)

    def theta(self, law: Law) -> np.ndarray:
        x0, y0, z0 = self.centre
        p, q = np.log(law.A) - z0 - law.alpha * x0, np.log(law.B) - z0 - law.beta * y0
        return np.stack(np.broadcast_arrays(p, q, law.E / np.exp(z0), law.alpha, law.beta), -1)


def project(
    alpha: np.ndarray, beta: np.ndarray, frame: Frame, weights: np.ndarray, *, floor: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """E, A, B >= 0 [g 3] of least weighted squares of relative residuals at (alpha, beta), and these [g].

    Non-negative least squares in closed form: of the least squares over each subset of the three, the best
    that is not negative.
    """
    by_size, by_data = np.exp(-alpha[:, None] * frame.x), np.exp(-beta[:, None] * frame.y)
    design = np.stack([np.ones_like(by_size), by_size, by_data], -1) / frame.loss[:, None]
    weighted = design * weights[:, None]
    gram, moment = np.swapaxes(weighted, 1, 2) @ design, weighted.sum(axis=1)
    constants, least = np.zeros((len(alpha), 3)), np.full(len(alpha), np.inf)
    among = (0, 1, 2) if floor else (1, 2)
    for size in (1, 2, 3):
        for subset in map(list, itertools.combinations(among, size)):
            part = gram[:, subset][:, :, subset]
            part = part + 1e-14 * np.trace(part, axis1=1, axis2=2)[:, None, None] * np.eye(size)
            solved = np.linalg.solve(part, moment[:, subset, None])[..., 0]
            left = weights.sum() - (solved * moment[:, subset]).sum(axis=1)
            better = (solved >= 0).all(axis=1) & (left < least)
            least[better] = left[better]
            constants[better] = 0
            constants[np.ix_(better, subset)] = solved[better]
    return constants, least


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
    """theta [r 5] of the least sum of Huber residuals with weights [r n] or [1 n], begun at `theta`.

    Levenberg-Marquardt; Huber by iterated reweighting (weight min(1, delta / |r|), Huber & Ronchetti 2009,
    Sec. 7.8). A constant at its bound (E >= 0, EXPONENTS) that would go beyond stays there. A row that no
    longer moves leaves the iteration.
    """
    least = np.array([-40, -40, 0, EXPONENTS[0], EXPONENTS[0]])
    most = np.array([40, 40, np.inf if floor else 0, EXPONENTS[1], EXPONENTS[1]])
    theta = np.clip(theta, least, most)
    weights = np.broadcast_to(weights, (len(theta), len(frame.x)))
    relative, damping, moving = bool(np.isinf(delta)), np.full(len(theta), 1e-3), np.arange(len(theta))
    value = misfit(residuals(theta, frame, relative=relative)[0], weights, delta)
    for _ in range(500):
        now = theta[moving]
        residual, slope = residuals(now, frame, relative=relative)
        pull = weights[moving]
        if not relative:
            pull = pull * np.minimum(1, delta / np.maximum(np.abs(residual), 1e-300))
        weighted = slope * pull[..., None]
        gradient = (residual[:, None, :] @ weighted)[:, 0]
        hessian = np.swapaxes(weighted, 1, 2) @ slope
        held = ((now <= least) & (gradient >= 0)) | ((now >= most) & (gradient <= 0))
        step = _damped(hessian, gradient, held, damping[moving])
        trial = np.clip(now + step, least, most)
        after = misfit(residuals(trial, frame, relative=relative)[0], weights[moving], delta)
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
    own = diagonal * damping[:, None] + 1e-13 * diagonal.max(axis=1, keepdims=True)
    own += np.where(held, 1.0, 1e-300)
    pull = np.where(held, 0, gradient)[..., None]
    return -np.linalg.solve(hessian + own[:, :, None] * np.eye(5), pull)[..., 0]


def misfit(residual: np.ndarray, weights: np.ndarray, delta: float) -> np.ndarray:
    """Weighted sum over runs of Huber(residual), [r]."""
    if np.isinf(delta):
        return (weights * residual**2).sum(axis=-1) / 2
    slope = np.clip(residual, -delta, delta)
    return (weights * slope * (residual - slope / 2)).sum(axis=-1)
