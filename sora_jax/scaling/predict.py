"""From a budget to a model: its size, tokens, batch and rate, the loss to expect, and the command.

The size is where the fitted law L(N, D) is least at C = c(N) D, with c(N) the FLOPs of a token of the
ladder's own family; the model is the family's width nearest to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.scaling import ladder
from sora_jax.scaling.ladder import Line
from sora_jax.scaling.study import Study
from sora_jax.scaling.words import KIND

ESTIMATOR = "projection"  # whose optimum is taken; the others stand beside it


def flops_per_token(study: Study, arm: str = "main") -> Callable[[np.ndarray], np.ndarray]:
    """c(N) of the arm's family, elementwise: linear in logs between its widths, and on beyond them."""
    sizes = study.sizes(arm)
    found = [sizes(width, study.config.data.rows) for width in study.table.widths]
    log_n = np.log([size.parameters for size in found])
    log_c = np.log([size.step_flops / size.step_tokens for size in found])
    first, last = ((log_c[i + 1] - log_c[i]) / (log_n[i + 1] - log_n[i]) for i in (0, len(found) - 2))

    def cost(parameters: np.ndarray) -> np.ndarray:
        x = np.log(parameters)
        below = first * np.minimum(x - log_n[0], 0)
        above = last * np.maximum(x - log_n[-1], 0)
        return np.exp(np.interp(x, log_n, log_c) + below + above)

    return cost


def predictions(
    study: Study, found: Mapping[str, Any], budgets: Sequence[float], *, tier: str = "cpu"
) -> list[dict[str, Any]]:
    """What the fits of `summary.fit_all`, made `at` these budgets, say of each.

    Each entry: C; N, D at the optimum (`ESTIMATOR`); loss of every estimator with its 80 % and 95 %
    intervals; the line of the ladder that is trained (width, rows, steps, rate) and its command.

    Raises:
      ValueError: the law could not be fitted, or a budget too small for any model.
    """
    return [_prediction(study, found["fits"], budget, tier) for budget in budgets]


def _prediction(study: Study, fits: Mapping[str, Any], budget: float, tier: str) -> dict[str, Any]:
    if "error" in fits[ESTIMATOR]:
        raise ValueError(f"no law to predict from: {fits[ESTIMATOR]['error']}")
    key = f"{budget:.6g}"
    values = fits[ESTIMATOR]["value"]
    parameters, tokens = values[f"N@{key}"], values[f"D@{key}"]
    if parameters is None:
        raise ValueError(f"the law has no optimum at {budget:.3g} FLOPs: ask for one nearer to the runs")
    (width,) = ladder.nearest(study.table, study.sizes("main"), budget, parameters, 1)
    one = ladder.line(study.table, study.sizes("main"), arm="main", budget=budget, width=width)
    return {
        "C": budget,
        "N": parameters,
        "D": tokens,
        "loss": {name: _with_intervals(fit, key) for name, fit in fits.items() if "error" not in fit},
        "width": width,
        "width_N": one.size.parameters,
        "rows": one.size.rows,
        "steps": one.steps,
        "learning_rate": study.config_for(one).optimizer.learning_rate,
        "command": command_of(study, one, tier=tier),
    }


def _with_intervals(fit: Mapping[str, Any], key: str) -> dict[str, Any]:
    name = f"loss@{key}"
    intervals = {level: kinds[KIND] for level, kinds in fit["intervals"][name].items()}
    return {"value": fit["value"][name], "N": fit["value"][f"N@{key}"], **intervals}


def command_of(study: Study, one: Line, *, tier: str) -> str:
    """The command of `sora_jax.train` that trains a line alone, with the schedule of its length."""
    settings = {
        "model.size.width": one.size.width,
        "data.rows": one.size.rows,
        "seed": one.seed,
        "optimizer.learning_rate": round(study.config_for(one).optimizer.learning_rate, 6),
        "optimizer.open_ended": False,
        "optimizer.cooldown_steps": one.cooldown_steps,
        "train.total_steps": one.steps,
        "data.latents": "LATENTS",
    }
    changes = " ".join(f"--config.{name}={value}" for name, value in settings.items())
    return f"python -m sora_jax.train --config configs/scaling.py:{tier} --workdir WORKDIR {changes}"
