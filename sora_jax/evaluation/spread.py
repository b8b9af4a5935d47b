"""How far a set of outcomes lies from those that were possible: right on average, and as widely spread.

    D(X, Y) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

with X, X' independent and alike, Y, Y' likewise, and |.| Euclidean (Szekely & Rizzo 2013, Energy
statistics: a class of statistics based on distances, J. Stat. Plan. Inference 143(8)). It is 0 if and only
if X and Y have one distribution, positive otherwise, and has the unit of |.|. Where Y is one point y, it is
2 (E|X - y| - E|X - X'| / 2), twice the energy score of Gneiting & Raftery 2007 (JASA 102, Sec. 4.2): a
strictly proper score, so that where y was itself drawn from what was possible, the mean over scenes is
least for the true distribution, though not 0 there: it is then the truth's own spread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist, pdist


class Spread(NamedTuple):
    """An energy distance and the three means it is made of, all in the unit of the outcomes.

    Attributes:
      energy: 2 distance - own - truth.
      distance: mean distance between a sample and a true outcome.
      own: mean distance between two samples; truth: between two true outcomes.
    """

    energy: float
    distance: float
    own: float
    truth: float


def energy_distance(samples: Float[np.ndarray, "k d"], truth: Float[np.ndarray, "m d"]) -> Spread:
    """The unbiased (U-statistic) estimate: no outcome is paired with itself, so it may be below 0.

    Args:
      samples: what was answered; truth: what was possible. A set of ONE row is a point mass, with no spread:
        a single draw of something that is spread needs a second one before it can be given here.

    Raises:
      ValueError: an empty set, or two widths.
    """
    if samples.ndim != 2 or truth.ndim != 2 or samples.shape[1] != truth.shape[1]:
        raise ValueError(f"outcomes {samples.shape} and {truth.shape}: give [k d] and [m d]")
    if not len(samples) or not len(truth):
        raise ValueError(f"{len(samples)} samples and {len(truth)} true outcomes: give at least 1 of each")
    distance = float(cdist(samples, truth).mean())
    own, possible = _within(samples), _within(truth)
    return Spread(2 * distance - own - possible, distance, own, possible)


def _within(points: np.ndarray) -> float:
    return float(pdist(points).mean()) if len(points) > 1 else 0.0
