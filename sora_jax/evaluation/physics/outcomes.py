"""Do the samples of one item spread as what could have happened? The energy distance of their end states.

The energy distance (`evaluation.spread`) of the samples' end states (`ends`) against what was possible
given what the model was shown, for the families of `suite.MOVING` (the others have chance in them that no
parse of a prompt gives back):

- no given frame: text leaves start and speed open, so the truth is `POSSIBLE` other clips that satisfy the
  same prompt (`same_prompt`), and 0 is reached by a model that spreads as they do. An item of which fewer
  than `LEAST_POSSIBLE` are found is not compared;
- three given frames, or five: they settle the motion, the truth is one point, and 0 is reached by that point
  alone;
- one given frame: it settles the start and not the speed, and no other clip of the world begins like it.
  The truth is one draw of what was possible: the mean over items still ranks models rightly (the score is
  proper), but what the true distribution gets is its own spread, not 0. The same holds of a model that is
  given three frames and uses one.

The estimate is without bias and of few samples it is rough: of two samples, one exact and one wrong, it is 0.

A sample that cannot be read is an end state with every object missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sora_jax.evaluation.benchmark import Item
from sora_jax.evaluation.physics import ends, same_prompt
from sora_jax.evaluation.physics.suite import MOVING, Observed
from sora_jax.evaluation.spread import Spread, energy_distance
from sora_jax.evaluation.text_alignment import Score, bootstrap
from sora_jax.types import SceneState

POSSIBLE = 32  # clips of the same prompt that stand for what text leaves open
LEAST_POSSIBLE = 8
REPEATED = "repeated truth"  # the item's own clip as every sample, where text leaves more than that open


def compare(
    item: Item,
    state: SceneState,
    samples: Sequence[Observed | None],
    beside: Mapping[str, Observed],
    *,
    given: int,
) -> dict[str, Spread]:
    """Column -> energy distance, world units: of the samples, and of each clip of `beside` as a point mass.

    Args:
      state: of the item's truth, which `beside` has as "truth".
      samples: as parsed, at least 2; None = could not be read.
      given: true frames that the model was given.

    Returns:
      {} where there is nothing to compare with (see above).
    """
    if item.family not in MOVING or state.family != item.family:  # a sampler may fall back on another family
        return {}
    own = ends.of_state(state)
    possible = [own]
    if given == 0:
        possible = [ends.of_state(one) for one in same_prompt.states(item, count=POSSIBLE)]
        if len(possible) < LEAST_POSSIBLE:
            return {}
    truth = np.stack([ends.vector(one, own) for one in possible])
    sets = {"sample": list(samples), **{name: [one] for name, one in beside.items()}}
    if given == 0:
        sets[REPEATED] = sets.pop("truth")
    return {name: energy_distance(_vectors(each, own), truth) for name, each in sets.items()}


def _vectors(seen: Sequence[Observed | None], own: ends.Cast) -> np.ndarray:
    return np.stack([ends.vector(None if one is None else ends.of_tracks(one.tracks), own) for one in seen])


def summarise(
    spreads: Sequence[Mapping[str, Spread]], *, seed: int = 0, draws: int = 1000
) -> dict[str, dict[str, Score]]:
    """Field of `Spread` -> column -> mean over the items compared, world units, interval over items."""
    compared = [spread for spread in spreads if spread]
    columns = dict.fromkeys(name for spread in compared for name in spread)
    table: dict[str, dict[str, Score]] = {}
    for field in Spread._fields if compared else ():
        for column in columns:
            values = np.array([getattr(spread[column], field) for spread in compared if column in spread])
            score = bootstrap(values, np.ones(len(values)), seed=seed, draws=draws)
            table.setdefault(field, {})[column] = score
    return table
