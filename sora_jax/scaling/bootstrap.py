"""How certain a statistic of the runs is: the runs of each budget are drawn again and again.

Within a budget of n runs, n - 1 are drawn with replacement and weighted by n / (n - 1) (Rao & Wu 1988, JASA
83(401), Sec. 2): drawing n makes the variance too small by (n - 1) / n. Every budget stays in every draw.

Intervals: `t`, the value -+ Student's t x the replicates' standard deviation; `percentile`; and `bca`
(bias-corrected and accelerated, Efron 1987, JASA 82(397)). How often each holds the truth is measured in
experiments/005_scaling/recovery.md: `t` does what it says for the projection and is a little wide for the
parametric fit, where `bca` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from sora_jax.scaling.points import Points, budgets

# (points, weights [r n]) -> {statistic: values [r]}: one value for each row of weights on the runs.
Estimator = Callable[[Points, np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Each statistic of all runs, of each resample [resamples] and without each run [n].

    A fit that fails in a resample is NaN there and counted by `failed`, never drawn anew.
    """

    value: dict[str, float]
    replicates: dict[str, np.ndarray]
    jackknife: dict[str, np.ndarray]
    strata: np.ndarray
    constants: int

    def failed(self, name: str) -> float:
        """Share of the resamples in which this statistic could not be computed."""
        return float(1 - np.isfinite(self.replicates[name]).mean())

    def t(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The value -+ t x the replicates' deviation; runs less constants are the degrees of freedom."""
        finite = self.replicates[name][np.isfinite(self.replicates[name])]
        if len(finite) < 2 or len(self.strata) <= self.constants:
            return float("nan"), float("nan")
        reach = student.ppf((1 + level) / 2, len(self.strata) - self.constants) * finite.std(ddof=1)
        return float(self.value[name] - reach), float(self.value[name] + reach)

    def percentile(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The interval between the replicates' quantiles."""
        return _quantiles(self.replicates[name], np.array([(1 - level) / 2, (1 + level) / 2]))

    def bca(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The bias-corrected and accelerated interval."""
        return bca(self.replicates[name], self.value[name], self.jackknife[name], level, strata=self.strata)

    def correlation(self, first: str, second: str) -> float:
        """Pearson's, over the replicates; NaN where one of them does not vary."""
        pair = np.stack([self.replicates[first], self.replicates[second]])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        if pair.shape[1] < 3 or not (np.ptp(pair, axis=1) > 0).all():
            return float("nan")
        return float(np.corrcoef(pair)[0, 1])


def bootstrap(
    points: Points, estimator: Estimator, *, resamples: int = 1000, seed: int = 0, constants: int = 5
) -> Bootstrap:
    """The estimator of all runs, of `resamples` draws of runs within budgets, and without each run in turn.

    Runs of no budget are drawn among themselves. A pure function of (points, resamples, seed).

    Args:
      constants: how many the estimator fits to the runs; what `t` takes off the degrees of freedom.
    """
    strata = strata_of(points)
    rng = np.random.default_rng(seed)
    everything = np.concatenate(
        [np.ones((1, len(points))), 1.0 - np.eye(len(points)), resample(strata, resamples, rng)]
    )
    found = estimator(points, everything)
    split = 1 + len(points)
    return Bootstrap(
        {name: float(values[0]) for name, values in found.items()},
        {name: values[split:] for name, values in found.items()},
        {name: values[1:split] for name, values in found.items()},
        strata,
        constants,
    )


def strata_of(points: Points) -> np.ndarray:
    """The number of each run's budget, [n], cheapest 0; -1 for runs of none."""
    strata = np.full(len(points), -1)
    for number, members in enumerate(budgets(points)):
        strata[members] = number
    return strata


def resample(strata: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Weights [resamples n] of draws within each stratum [n], that sum to its size; a lone run is kept."""
    weights = np.ones((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        n = len(members)
        if n > 1:
            weights[:, members] = rng.multinomial(n - 1, np.full(n, 1 / n), size=resamples) * (n / (n - 1))
    return weights


def bca(
    replicates: np.ndarray,
    value: float,
    jackknife: np.ndarray,
    level: float = 0.95,
    *,
    strata: np.ndarray | None = None,
) -> tuple[float, float]:
    """Efron's BCa interval.

    Bias from the share of replicates below `value` (half of those equal to it), acceleration sum u^3 / (6
    (sum u^2)^(3/2)) with u the mean of the stratum's leave-one-out values less each. NaN where the replicates
    are all on one side, or fewer than 2 are finite.
    """
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < 2 or not np.isfinite(value):
        return float("nan"), float("nan")
    if np.ptp(finite) == 0:
        return float(finite[0]), float(finite[0])
    below = ((finite < value).mean() + (finite <= value).mean()) / 2
    if below in (0, 1):
        return float("nan"), float("nan")
    bias = norm.ppf(below)
    strata = np.zeros(len(jackknife)) if strata is None else strata
    good = np.isfinite(jackknife)
    pull = [
        jackknife[good & (strata == s)].mean() - jackknife[good & (strata == s)]
        for s in np.unique(strata[good])
    ]
    u = np.concatenate(pull) if pull else np.zeros(1)
    spread = (u**2).sum() ** 1.5
    acceleration = (u**3).sum() / (6 * spread) if spread else 0.0
    z = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    return _quantiles(finite, norm.cdf(bias + z / (1 - acceleration * z)))


def leave_one_budget_out(points: Points, estimator: Estimator) -> dict[str, np.ndarray]:
    """The estimator without each budget in turn, cheapest first: {statistic: [budgets]}."""
    strata = strata_of(points)
    return estimator(points, (strata != np.arange(strata.max() + 1)[:, None]) * 1.0)


def _quantiles(values: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values) or not np.isfinite(shares).all():
        return float("nan"), float("nan")
    low, high = np.quantile(values, shares)
    return float(low), float(high)
