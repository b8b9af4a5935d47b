"""Every fit of a set of runs, with intervals, as one JSON-serialisable dict; `in_words` reads it out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.scaling.bootstrap import Bootstrap, Estimator, bootstrap, leave_one_budget_out
from sora_jax.scaling.fit import (
    DELTA,
    Fit,
    fit_parametric,
    fit_projection,
    fit_without_floor,
    refit,
)
from sora_jax.scaling.isoflop import Budget, fit_envelope, fit_isoflop, isoflop_laws, line
from sora_jax.scaling.law import Law
from sora_jax.scaling.points import Points, budgets
from sora_jax.scaling.solver import EXPONENTS
from sora_jax.scaling.words import NAMES, in_words

__all__ = ["fit_all", "in_words"]

LEVELS = (0.8, 0.95)
KINDS = ("t", "percentile", "bca")


def fit_all(
    points: Points,
    *,
    resamples: int = 1000,
    seed: int = 0,
    at: Sequence[float] = (),
    flops_per_token: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict:
    """All four estimators, their intervals, leave-one-budget-out, nulls and notes: what fits.json holds.

    An estimator that these runs do not allow is {"error": why}; a number that could not be computed is None.

    Args:
      at: budgets (FLOPs) for which N, D and the loss are predicted.
      flops_per_token: c(N) where a token does not cost k N FLOPs; k, the median of C / (N D), is used without
        it.

    Raises:
      ValueError: too few runs for the law itself.
    """
    per_token = points.flops / (points.parameters * points.tokens)
    k = float(np.median(per_token))
    fits = {"parametric": fit_parametric(points), "projection": fit_projection(points)}
    bare, errors, parabolas = fit_without_floor(points), {}, []
    try:
        parabolas = fit_isoflop(points)
    except ValueError as error:
        errors["isoflop"] = str(error)
    centres = [float(np.exp(np.log(points.flops[runs]).mean())) for runs in budgets(points)]
    constants = {"isoflop": 3 * sum(not one.rejected for one in parabolas), "envelope": len(centres)}
    makers = _makers(fits, parabolas, k, flops_per_token)
    result: dict = {
        "runs": len(points),
        "flops": [points.flops.min(), points.flops.max()],
        "budgets": [_of_budget(budget) for budget in parabolas],
        "flops_per_parameter_and_token": k,
        "notes": [*points.notes, *_cost_notes(per_token, k, flops_per_token)],
        "resamples": resamples,
        "seed": seed,
        "at": list(at),
        "fits": {},
        "without_floor": _of_fit(bare),
        "aic_without_floor_less_with": bare.aic - fits["projection"].aic,
        "leave_one_budget_out": {},
        "nulls": _nulls(points),
    }
    for name in NAMES:
        try:
            if name in errors:
                raise ValueError(errors[name])
            estimator, free = makers[name](tuple(at)), constants.get(name, 5)
            found = bootstrap(points, estimator, resamples=resamples, seed=seed, constants=free)
        except ValueError as error:
            result["fits"][name] = {"error": str(error)}
            continue
        result["fits"][name] = {**_of_bootstrap(found), **(_of_fit(fits[name]) if name in fits else {})}
        if len(centres) > 2:
            without = leave_one_budget_out(points, makers[name](tuple(centres)))
            result["leave_one_budget_out"][name] = _left_out(points, centres, without)
    return {key: _plain(value) for key, value in result.items()}


def _makers(fits: dict[str, Fit], parabolas: list[Budget], k: float, flops_per_token) -> dict:
    """For each estimator: the budgets to predict for -> Estimator."""

    def of_law(start: Law, delta: float) -> Callable[[tuple[float, ...]], Estimator]:
        def at_budgets(at: tuple[float, ...]) -> Estimator:
            def estimate(points: Points, weights: np.ndarray) -> dict[str, np.ndarray]:
                law = refit(points, start, weights, delta=delta)
                found = {name: np.asarray(getattr(law, name)) for name in ("a", "b", "E", "alpha", "beta")}
                ends = (points.flops.min(), points.flops.max()) if flops_per_token else ()
                spent = {flops: _optimum(law, flops, k, flops_per_token) for flops in (*at, *ends)}
                for flops in at:
                    best = spent[flops]
                    found |= {f"{what}@{flops:.6g}": best[i] for i, what in enumerate(("N", "D", "loss"))}
                if ends:
                    low, high = (np.log(spent[flops][0]) for flops in ends)
                    found["a_effective"] = (high - low) / np.log(ends[1] / ends[0])
                return found

            return estimate

        return at_budgets

    return {
        "parametric": of_law(fits["parametric"].law, DELTA),
        "projection": of_law(fits["projection"].law, np.inf),
        "isoflop": lambda at: lambda points, weights: isoflop_laws(points, weights, parabolas, at),
        "envelope": lambda at: lambda points, weights: fit_envelope(points, weights, at),
    }


def _optimum(law: Law, flops: float, k: float, flops_per_token) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return law.optimum_on(flops, flops_per_token) if flops_per_token else law.optimum(flops, k)


def _cost_notes(per_token: np.ndarray, k: float, flops_per_token) -> list[str]:
    if flops_per_token:
        return []
    low, high = np.quantile(per_token, (0.05, 0.95))
    if high / low > 1.1:
        return [
            f"C / (N D) runs from {low:.3g} to {high:.3g} over these runs, and its median {k:.3g} is used "
            "for the optima: give flops_per_token"
        ]
    return (
        []
        if abs(k / 6 - 1) <= 0.02
        else [f"C = {k:.3g} N D over these runs, and that is used for the optima"]
    )


def _of_fit(fit: Fit) -> dict:
    return {"law": dataclasses.asdict(fit.law)} | {
        name: getattr(fit, name) for name in ("objective", "r_squared", "rms", "aic")
    }


def _of_budget(budget: Budget) -> dict:
    return {name: value for name, value in dataclasses.asdict(budget).items() if name != "runs"} | {
        "runs": len(budget.runs)
    }


def _of_bootstrap(found: Bootstrap) -> dict:
    intervals = {
        name: {
            f"{level:.0%}": {kind: getattr(found, kind)(name, level) for kind in KINDS} for level in LEVELS
        }
        for name in found.value
    }
    result = {"value": found.value, "intervals": intervals, "failed": found.failed("a")}
    if "alpha" in found.value:
        result["correlation_of_E_and_alpha"] = found.correlation("E", "alpha")
        result["correlation_of_E_and_beta"] = found.correlation("E", "beta")
        ends = np.stack([found.replicates["alpha"], found.replicates["beta"]])
        at_bound = ((ends <= EXPONENTS[0]) | (ends >= EXPONENTS[1])).any(axis=0) | (
            found.replicates["E"] <= 0
        )
        result["at_a_bound"] = float(at_bound.mean())
    return result


def _left_out(points: Points, centres: list[float], without: dict[str, np.ndarray]) -> list[dict]:
    rows = []
    for i, (flops, best) in enumerate(zip(centres, _best(points), strict=True)):
        predicted = without[f"loss@{flops:.6g}"][i]
        rows.append(
            {
                "flops": flops,
                "a": without["a"][i],
                "predicted": predicted,
                "measured": best,
                "relative": predicted / best - 1,
            }
        )
    return rows


def _best(points: Points) -> list[float]:
    return [float(points.loss[runs].min()) for runs in budgets(points)]


def _nulls(points: Points) -> list[dict]:
    """For each budget but the cheapest three, what knows no law of (N, D) says from the cheaper ones.

    "last": the best loss of the budget before; "power_law": a line through the log of the cheaper budgets'
    best losses.
    """
    best = np.array(_best(points))
    log_c = np.array([np.log(points.flops[runs]).mean() for runs in budgets(points)])
    rows = []
    for i in range(3, len(best)):
        slope, height = (value[0] for value in line(log_c[:i], np.log(best[None, :i]), np.ones((1, i))))
        power = float(np.exp(height + slope * log_c[i]))
        rows.append({"flops": np.exp(log_c[i]), "measured": best[i], "last": best[i - 1], "power_law": power})
    return rows


def _plain(value):
    """Python numbers, lists and dicts, with None for what is not finite."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
