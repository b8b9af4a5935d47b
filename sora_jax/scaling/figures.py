"""The pictures of a report: IsoFLOP curves, optima, the least loss against compute, residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sora_jax.scaling.isoflop import Budget
from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points

matplotlib.use("Agg")  # no window

SIZE = (7.0, 4.6)  # inches
PER_DECADE = 24  # points of a drawn curve


def _axes(xlabel: str, ylabel: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=SIZE, dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.grid(True, which="major", alpha=0.25)
    return figure, axes


def isoflops(points: Points, budgets: Sequence[Budget]) -> Figure:
    """Loss against N, a colour a budget; parabolas and minima of those accepted, the others' runs joined."""
    figure, axes = _axes("N, parameters without embeddings", "held-out loss")
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, max(len(budgets), 2)))
    for budget, colour in zip(budgets, colours, strict=False):
        n, loss = points.parameters[budget.runs], points.loss[budget.runs]
        axes.plot(n, loss, "o", ms=4, color=colour, label=f"{budget.flops:.2g} FLOPs")
        if budget.rejected:
            sizes = np.unique(n)
            axes.plot(sizes, [loss[n == size].mean() for size in sizes], "--", lw=1, color=colour)
        else:
            x = np.linspace(np.log10(n.min()), np.log10(n.max()), 60)
            y = budget.loss + budget.curvature / 2 * (x - np.log10(budget.parameters)) ** 2
            axes.plot(10**x, y, lw=1, color=colour)
            axes.plot(budget.parameters, budget.loss, "*", ms=11, mec="black", mew=0.5, color=colour)
    axes.set_yscale("log")
    axes.legend(fontsize=8, ncols=2)
    axes.set_title("One curve a budget: parabola and minimum (star), or rejected (dashed)", fontsize=10)
    return figure


def optima(found: Mapping[str, Any], budgets: Sequence[Budget], curve: Mapping[str, np.ndarray]) -> Figure:
    """N at the optimum against compute: minima, the line through them, and the law's own optimum.

    Args:
      curve: "C" and, by estimator, N at the optimum.
    """
    figure, axes = _axes("C, training FLOPs", "N at the optimum")
    used = [budget for budget in budgets if not budget.rejected]
    if used:
        flops, n = ([getattr(b, name) for b in used] for name in ("flops", "parameters"))
        error = [n_ * np.log(10) * b.standard_error for n_, b in zip(n, used, strict=True)]
        axes.errorbar(flops, n, yerr=error, fmt="k*", ms=9, capsize=3, label="minima of the parabolas")
    for name, values in curve.items():
        if name != "C":
            a = found["fits"][name]["value"].get("a")
            axes.plot(curve["C"], values, lw=1.3, label=name + ("" if a is None else f", a = {a:.3f}"))
    axes.set_yscale("log")
    axes.legend(fontsize=8)
    return figure


def least_loss(
    points: Points,
    budgets: Sequence[Budget],
    curve: Mapping[str, np.ndarray],
    floor: float | None,
    held_out: Sequence[Mapping[str, Any]],
) -> Figure:
    """The best loss of each budget against compute, the laws, the predictions and what came of them.

    Args:
      curve: "C" and, by estimator, the loss at the optimum.
      floor: E of the projection.
      held_out: {"C", "loss", "low", "high", "measured"}: predicted, its 80 % interval, the result or None.
    """
    figure, axes = _axes("C, training FLOPs", "held-out loss")
    for budget in budgets:
        best = points.loss[budget.runs].min()
        axes.plot(budget.flops, best, "ko", ms=5, mfc="none" if budget.rejected else "k")
    for name, values in curve.items():
        if name != "C":
            axes.plot(curve["C"], values, lw=1.3, label=name)
    if floor:
        axes.axhline(floor, color="grey", ls=":", lw=1, label=f"E = {floor:.4f}")
    for row in held_out:
        error = [[row["loss"] - row["low"]], [row["high"] - row["loss"]]]
        axes.errorbar(row["C"], row["loss"], yerr=error, fmt="s", color="tab:red", mfc="none", capsize=4)
        if row.get("measured") is not None:
            axes.plot(row["C"], row["measured"], "x", color="tab:red", ms=8, mew=2)
    axes.set_title("dots: best run of a budget; squares: predicted, 80 %; crosses: measured", fontsize=10)
    axes.legend(fontsize=8)
    return figure


def residuals(points: Points, law: Law) -> Figure:
    """What the law leaves of every run's loss, in per cent, against compute; a colour a size."""
    figure, axes = _axes("C, training FLOPs", "(measured - law) / law, %")
    left = 100 * (points.loss / law.loss(points.parameters, points.tokens) - 1)
    dots = axes.scatter(points.flops, left, c=np.log10(points.parameters), s=18, cmap="viridis")
    figure.colorbar(dots, ax=axes, label="log10 N")
    axes.axhline(0, color="black", lw=0.8)
    return figure


def curves(
    laws: Mapping[str, Law], flops: tuple[float, float], cost: Callable[[np.ndarray], np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(N, loss) at the optimum of each law over a range of budgets, each {"C": [m], name: [m]}."""
    count = max(2, round(PER_DECADE * np.log10(flops[1] / flops[0])))
    grid = np.geomspace(*flops, count)
    sizes, losses = {"C": grid}, {"C": grid}
    for name, law in laws.items():
        best = [law.optimum_on(float(c), cost) for c in grid]
        sizes[name] = np.array([float(n) for n, _, _ in best])
        losses[name] = np.array([float(loss) for _, _, loss in best])
    return sizes, losses
