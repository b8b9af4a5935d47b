"""Clips matched but for one thing: does a score tell those that physics allows from the others?

Chance is 1/2 everywhere, ties count half. Error rates of sets are those of IntPhys (Riochet et al. 2018,
arXiv 1803.07616, Sec. 3.3).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def preferred(possible: Float[np.ndarray, " n"], impossible: Float[np.ndarray, " n"]) -> float:
    """Share of pairs in which the possible clip scores more than the impossible one of the same case."""
    gap = np.asarray(possible) - np.asarray(impossible)
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def quadruplet_errors(
    plausibility: Float[np.ndarray, "n v"], possible: Bool[np.ndarray, "n v"]
) -> tuple[float, float]:
    """Relative and absolute error rate of a plausibility on matched sets of clips; chance is 1/2 for both.

    relative: share of the sets in which the sum over the possible clips is not above that over the others;
    absolute: 1 - AUROC of possible against impossible clips over all sets.
    Differs: ties count half in both; as released, a relative tie is no error, and a constant has none.

    Args:
      plausibility: of each clip, any scale, greater = more plausible. possible: half of each set.

    Raises:
      ValueError: a plausibility that is no number, or a set whose clips are not half possible.
    """
    if not np.isfinite(plausibility).all():
        raise ValueError(f"{(~np.isfinite(plausibility)).sum()} plausibilities are no numbers")
    if not (2 * possible.sum(axis=1) == possible.shape[1]).all():
        raise ValueError("in every set as many clips have to be possible as not")
    gap = np.where(possible, plausibility, -plausibility).sum(axis=1)
    scale = 1e-9 * np.maximum(np.abs(plausibility).sum(axis=1), 1e-300)
    relative = np.where(np.abs(gap) <= scale, 0.5, gap < 0).mean()
    apart = plausibility[possible][:, None] - plausibility[~possible]
    return float(relative), float(1 - (apart > 0).mean() - 0.5 * (apart == 0).mean())
