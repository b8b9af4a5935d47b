"""A reading that several metrics of one video share is made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from sora_jax.evaluation.physics.suite import Observed
from sora_jax.types import SceneState

Read = TypeVar("Read")
Reader = Callable[[Observed, SceneState], Read]


class _Pair:
    """An observation and a truth, equal to another of the same two objects."""

    def __init__(self, observed: Observed, truth: SceneState):
        self.observed, self.truth = observed, truth

    def __hash__(self) -> int:
        return hash((id(self.observed), id(self.truth)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pair) and self.observed is other.observed and self.truth is other.truth


def remembered(read: Reader[Read]) -> Reader[Read]:
    """`read`, of which the last result is kept for as long as the same two objects are asked for."""
    kept = functools.lru_cache(maxsize=1)(lambda pair: read(pair.observed, pair.truth))

    @functools.wraps(read)
    def call(observed: Observed, truth: SceneState) -> Read:
        return kept(_Pair(observed, truth))

    return call
