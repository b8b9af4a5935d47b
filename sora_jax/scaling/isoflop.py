"""Optima read off the runs without a law of (N, D): a parabola a budget, and the lower envelope of all runs.

IsoFLOP (Hoffmann et al. 2022, arXiv 2203.15556, Approach 2): at one budget the loss against log N is a
parabola near its minimum; through the minima go N_opt = k C^a, D_opt = k' C^b and L_opt = E + k C^-g. The
parabola is an approximation: where alpha and beta differ or the sizes lie off centre its minimum is
displaced, which the cubic check makes visible.

Envelope (Approach 1): the best run of each budget, and power laws through those.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.scaling.points import Points, budgets

DECADES = 0.15  # how far a cubic may move a minimum before the parabola is not to be believed
LN10 = np.log(10)


@dataclasses.dataclass(frozen=True)
class Budget:
    """The parabola of one budget.

    Attributes:
      flops: mean C of its runs; runs: their indices; sizes: number of distinct N.
      parameters, tokens, loss: at the minimum; curvature: second derivative of the loss by log10 N.
      r_squared: of the parabola; standard_error: of the minimum, in decades of N (residuals of one variance).
      cubic_shift: decades of N from the parabola's minimum to the cubic's, NaN where the cubic has none.
      rejected: why this budget is not used, in words; "" where it is.
    """

    flops: float
    runs: np.ndarray
    sizes: int
    parameters: float
    tokens: float
    loss: float
    curvature: float
    r_squared: float
    standard_error: float
    cubic_shift: float
    rejected: str


def fit_isoflop(points: Points) -> list[Budget]:
    """The parabola of each budget, cheapest first, those that fail named and rejected.

    Raises:
      ValueError: fewer than 2 budgets of at least 3 sizes.
    """
    found = budgets(points)
    if len(found) < 2:
        there = ", ".join(f"{np.exp(np.log(points.flops[runs]).mean()):.3g}" for runs in found) or "none"
        raise ValueError(
            f"budgets with at least 3 sizes within 10 % of one C: {there}: an IsoFLOP fit needs at least 2 "
            "(3 for an interval)"
        )
    return [_budget(points, runs) for runs in found]


def isoflop_laws(
    points: Points, weights: np.ndarray, fitted: list[Budget], at: tuple[float, ...] = ()
) -> dict[str, np.ndarray]:
    """Exponents and predictions through the minima of the accepted budgets, for each row of weights [r n]:
    values [r].

    a, b of N_opt and D_opt (lines weighted by 1 / (se^2 + median se^2), so that a parabola that fits by luck
    does not decide alone); E and g of L_opt = E + k C^-g from 4 budgets on, without E below; and N@C, D@C,
    loss@C for each C of `at`. A budget without a minimum within its sizes in one row is left out of that row;
    NaN where fewer than 2 are left.

    Raises:
      ValueError: fewer than 2 accepted budgets.
    """
    used = [budget for budget in fitted if not budget.rejected]
    if len(used) < 2:
        reasons = "; ".join(f"{budget.flops:.3g}: {budget.rejected}" for budget in fitted if budget.rejected)
        raise ValueError(
            f"{len(used)} budgets accepted, and a line needs 2, its interval 3. Rejected: {reasons}"
        )
    log_c = np.log([budget.flops for budget in used])
    minima = [_minimum(points, budget.runs, weights[:, budget.runs]) for budget in used]
    x, loss, error, inside = (np.stack(values, -1) for values in zip(*minima, strict=True))
    log_d = np.stack([_tokens_at(points, budget.runs, x[:, i]) for i, budget in enumerate(used)], -1)
    variance = np.where(inside, error**2, np.nan)
    weight = np.where(inside, 1 / (error**2 + _median(variance) + 1e-24), 0.0)
    return _power_laws(log_c, x, log_d, loss, weight, inside, at)


def fit_envelope(
    points: Points, weights: np.ndarray | None = None, at: tuple[float, ...] = ()
) -> dict[str, np.ndarray]:
    """Power laws through the best run of each budget, for each row of weights [r n] (a run of weight 0 is not
    there): values [r].

    Where there are no two budgets, bins of a quarter decade of C take their place. A bin whose best is worse
    than a cheaper one's is not on the envelope. The names are those of `isoflop_laws`.

    Raises:
      ValueError: fewer than 2 bins.
    """
    weights = np.ones((1, len(points))) if weights is None else weights
    bins = budgets(points)
    if len(bins) < 2:
        number = np.round(np.log10(points.flops) * 4)
        bins = [np.flatnonzero(number == value) for value in np.unique(number)]
    if len(bins) < 2:
        raise ValueError(
            "all runs lie within a quarter decade of FLOPs: an envelope needs at least 2 budgets"
        )
    there = [np.where(weights[:, runs] > 0, points.loss[runs], np.inf) for runs in bins]
    best = np.stack([runs[loss.argmin(axis=1)] for runs, loss in zip(bins, there, strict=True)], -1)
    loss = np.stack([loss.min(axis=1) for loss in there], -1)
    cheaper = np.minimum.accumulate(np.pad(loss, ((0, 0), (1, 0)), constant_values=np.inf), axis=1)[:, :-1]
    inside = np.isfinite(loss) & (loss < cheaper)
    log_c = np.array([np.log(points.flops[runs]).mean() for runs in bins])
    log_n, log_d = np.log(points.parameters[best]), np.log(points.tokens[best])
    return _power_laws(log_c, log_n, log_d, np.where(inside, loss, 1.0), inside * 1.0, inside, at)


def line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and value at x = 0 of weighted lines through y [r k] at x [k]; NaN below 2 weights above 0."""
    few = np.count_nonzero(weight, axis=1) < 2
    weight = np.where(few[:, None], 1.0, weight)
    weight = weight / weight.sum(axis=1, keepdims=True)
    middle, height = weight @ x, (weight * np.where(weight > 0, y, 0)).sum(axis=1)
    from_middle = x - middle[:, None]
    slope = (weight * from_middle * np.where(weight > 0, y, 0)).sum(axis=1) / (weight * from_middle**2).sum(
        axis=1
    )
    slope = np.where(few, np.nan, slope)
    return slope, height - slope * middle


def power_with_floor(
    x: np.ndarray, loss: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, k, g >= 0 of loss [r m] = E + k exp(-g x), x [m]: least weighted squares of relative residuals.

    For each g, E and k are linear; g by a grid that is made finer around its best point.
    """
    low, high = np.full(len(loss), np.log(0.005)), np.full(len(loss), np.log(2.0))
    for _ in range(7):
        g = np.exp(np.linspace(low, high, 33, axis=-1))  # [r 33]
        term = np.exp(-g[..., None] * (x - x.mean())) / loss[:, None]
        one = np.broadcast_to(1 / loss[:, None], term.shape)
        w = weight[:, None]
        tt, t1, oo, t, o = ((w * v).sum(-1) for v in (term**2, term * one, one**2, term, one))
        apart = tt * oo - t1**2
        known = apart > 1e-12 * tt * oo
        floor = np.where(known, np.maximum(tt * o - t1 * t, 0) / np.where(known, apart, 1), 0)
        k = np.maximum((t - floor * t1) / tt, 0)
        left = (w * (floor[..., None] * one + k[..., None] * term - 1) ** 2).sum(-1)
        best = left.argmin(axis=-1)
        grid = np.log(g)
        ends = [np.clip(best + side, 0, 32) for side in (-1, 1)]
        low, high = (np.take_along_axis(grid, end[:, None], -1)[:, 0] for end in ends)
    floor, k, g = (np.take_along_axis(values, best[:, None], -1)[:, 0] for values in (floor, k, g))
    return floor, k * np.exp(g * x.mean()), g


def _power_laws(log_c, log_n, log_d, loss, weight, inside, at) -> dict[str, np.ndarray]:
    """The laws through optima: log_c [k]; log_n, log_d, loss, weight, inside [r k]."""
    a, n0 = line(log_c, log_n, weight)
    b, d0 = line(log_c, log_d, weight)
    slope, height = line(log_c, np.log(loss), inside * 1.0)
    enough = inside.sum(axis=1) >= 4
    floor, k, g = power_with_floor(log_c, loss, inside * 1.0)
    floor = np.where(enough, floor, np.nan)
    found = {"a": a, "b": b, "E": floor, "g": np.where(enough, g, -slope)}
    for flops in at:
        x = np.log(flops)
        found[f"N@{flops:.6g}"], found[f"D@{flops:.6g}"] = np.exp(n0 + a * x), np.exp(d0 + b * x)
        found[f"loss@{flops:.6g}"] = np.where(enough, floor + k * np.exp(-g * x), np.exp(height + slope * x))
    return found


def _minimum(points: Points, runs: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Minima of the weighted parabolas [r m]: log N, loss, standard error of log N, within the sizes?"""
    log_n, loss = np.log(points.parameters[runs]), points.loss[runs]
    middle, scale = log_n.mean(), max(float(np.ptp(log_n)) / 2, 1e-12)
    u = (log_n - middle) / scale
    design = np.stack([np.ones_like(u), u, u**2], -1)
    same = (np.unique(points.parameters[runs])[:, None] == points.parameters[runs]) * 1.0
    sizes = np.count_nonzero(weights @ same.T, axis=1)
    gram = np.einsum("rm,mi,mj->rij", weights, design, design)
    gram[sizes < 3] = np.eye(3)
    inverse = np.linalg.inv(gram)
    c = (inverse @ np.einsum("rm,mi,m->ri", weights, design, loss)[..., None])[..., 0]
    up = c[:, 2] > 1e-12 * np.abs(loss).max()
    bend = np.where(up, c[:, 2], 1.0)
    vertex = np.where(up, -c[:, 1] / (2 * bend), 0)
    left = (weights * (loss - c @ design.T) ** 2).sum(axis=1) / np.maximum(weights.sum(axis=1) - 3, 1)
    slope = np.stack([0 * bend, -1 / (2 * bend), c[:, 1] / (2 * bend**2)], -1)
    variance = left * np.einsum("ri,rij,rj->r", slope, inverse, slope)
    inside = up & (sizes >= 3) & (np.abs(vertex) <= 1)
    at = np.stack([vertex**0, vertex, vertex**2], -1)
    error = scale * np.sqrt(np.maximum(variance, 0))
    return middle + scale * vertex, np.where(inside, (c * at).sum(axis=1), 1.0), error, inside


def _tokens_at(points: Points, runs: np.ndarray, log_n: np.ndarray) -> np.ndarray:
    """log D of this budget at log N [r], between its sizes by a line."""
    sizes = np.unique(points.parameters[runs])
    logs = [np.log(points.tokens[runs][points.parameters[runs] == size]).mean() for size in sizes]
    return np.interp(log_n, np.log(sizes), logs)


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis without NaN, [r 1]; 0 where all are."""
    empty = np.isnan(values).all(axis=-1, keepdims=True)
    return np.nanmedian(np.where(empty, 0, values), axis=-1, keepdims=True)


def _budget(points: Points, runs: np.ndarray) -> Budget:
    log_n, loss = np.log10(points.parameters[runs]), points.loss[runs]
    sizes = np.unique(log_n)
    x, at, error, _ = (values[0] for values in _minimum(points, runs, np.ones((1, len(runs)))))
    minimum = x / LN10
    centred = log_n - log_n.mean()
    parabola = np.polyfit(centred, loss, 2)
    explained = 1 - ((loss - np.polyval(parabola, centred)) ** 2).sum() / max(
        ((loss - loss.mean()) ** 2).sum(), 1e-300
    )
    shift = _cubic_shift(centred, loss, minimum - log_n.mean()) if len(sizes) >= 4 else np.nan
    below, above = int((sizes < minimum).sum()), int((sizes > minimum).sum())
    if len(sizes) < 5:
        rejected = f"{len(sizes)} distinct sizes, and 5 are needed"
    elif parabola[0] <= 1e-12 * np.abs(loss).max():
        rejected = "the parabola opens downwards: the loss has no minimum over these sizes"
    elif below < 2 or above < 2:
        side, few = ("smaller", below) if below < 2 else ("larger", above)
        rejected = (
            f"the minimum is not interior: sizes {side} than it: {few}, and 2 are needed: train {side} models"
        )
    elif explained <= 0.9:
        rejected = (
            f"the parabola explains {explained:.0%} of the variance (R^2), and more than 90 % is needed: "
            "add seeds, or sizes further from the minimum"
        )
    else:
        rejected = ""
    tokens = float(np.exp(_tokens_at(points, runs, np.array([x]))[0]))
    flops = float(np.exp(np.log(points.flops[runs]).mean()))
    curvature, error = float(2 * parabola[0]), float(error / LN10)
    return Budget(
        flops,
        runs,
        len(sizes),
        float(10**minimum),
        tokens,
        float(at),
        curvature,
        float(explained),
        error,
        shift,
        rejected,
    )


def _cubic_shift(u: np.ndarray, loss: np.ndarray, minimum: float) -> float:
    """How far (decades) the minimum of a cubic lies from `minimum`; NaN where the cubic has none."""
    cubic = np.poly1d(np.polyfit(u, loss, 3))
    roots = cubic.deriv().roots
    real = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and cubic.deriv(2)(root.real) > 0]
    return min((root - minimum for root in real), key=abs, default=float("nan"))
