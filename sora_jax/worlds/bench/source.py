"""The table of the benchmark's families, and a source of their clips: clip = f(seed, index)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from sora_jax import rng as rng_lib
from sora_jax.types import SIZE_DTYPE, Clip, SceneState
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.bench import billiards, breaking, grid, hiding, marking, mechanics, relating
from sora_jax.worlds.bench.case import Variant
from sora_jax.worlds.placing import Draw
from sora_jax.worlds.source import TEXT_BOUND

# name -> sampler of a case; a case is one or several variants, as many for every case of a family.
BENCH_FAMILIES: Mapping[str, Callable[[Draw], tuple[Variant, ...]]] = {
    "occlusion": hiding.occlusion,
    "permanence": hiding.permanence,
    "bite": marking.bite,
    "brush": marking.brush,
    "fracture": breaking.fracture,
    "clones": breaking.clones,
    "mirrored": relating.mirrored,
    "ordered": relating.ordered,
    "shots": relating.shots,
    "billiards": billiards.billiards,
    "pendulum": mechanics.pendulum,
    "spring": mechanics.spring,
    "friction": mechanics.friction,
    "gridworld": grid.gridworld,
}
VARIANTS: Mapping[str, int] = {"permanence": 4, "clones": 2, "mirrored": 2}  # 1 elsewhere
FRAMES: Mapping[str, int] = {  # 33 elsewhere
    "bite": 49,
    "brush": 65,
    "shots": 49,
    "billiards": 129,
    "pendulum": 49,
    "spring": 49,
    "gridworld": 49,
}


class BenchSource:
    """`types.Source` of the benchmark's clips; the variants of a case follow each other.

    Args:
      family: a key of `BENCH_FAMILIES`.
      seed: of the whole set; sets with different seeds share no case.
      length: number of cases; a longer set begins with the same cases.
      frames, height, width: of every clip, pixels; frames None = as long as the family needs (`FRAMES`).
      fps: frames per second.
      heldout: "exclude" never shows a held-out combination (`families.shows_held_out`), "any" does not care.
    """

    def __init__(
        self,
        family: str,
        *,
        seed: int,
        length: int,
        frames: int | None = None,
        height: int = 128,
        width: int = 128,
        fps: float = 12.0,
        heldout: Literal["exclude", "any"] = "any",
    ):
        if family not in BENCH_FAMILIES:
            raise ValueError(f"family {family!r} is not one of {sorted(BENCH_FAMILIES)}")
        frames = FRAMES.get(family, 33) if frames is None else frames
        if frames < 17:
            raise ValueError(f"frames {frames} are too few for {family}: use 17 or more")
        self.family, self.variants = family, VARIANTS.get(family, 1)
        self._seed, self._cases = seed, length
        self._size = {"frames": frames, "height": height, "width": width}
        self._fps, self._heldout = fps, heldout

    @property
    def sizes(self) -> np.ndarray:
        table = np.empty(len(self), SIZE_DTYPE)
        for name, value in {**self._size, "text": TEXT_BOUND}.items():
            table[name] = value
        return table

    def __len__(self) -> int:
        return self._cases * self.variants

    def case(self, number: int) -> tuple[Variant, ...]:
        """All variants of case `number`, not yet drawn."""
        if not 0 <= number < self._cases:
            raise IndexError(f"case {number} of a set of {self._cases}")
        stream = rng_lib.host(self._seed, "bench", self.family, int(number))
        frames, height, width = self._size.values()
        draw = Draw(rng=stream, frames=frames, height=height, width=width, fps=self._fps, heldout="any")
        while True:
            variants = BENCH_FAMILIES[self.family](draw)
            if self._heldout == "any" or not any(_shows_held_out(v.state) for v in variants):
                return variants

    def clip(self, variant: Variant, *, id: str) -> Clip:
        """A variant drawn at this source's size."""
        height, width = self._size["height"], self._size["width"]
        video, state = state_lib.film(variant.state, height=height, width=width)
        return Clip(video=video, fps=self._fps, captions=variant.captions, id=id, state=state)

    def __getitem__(self, index: int) -> Clip:
        number, which = divmod(int(index), self.variants)
        return self.clip(self.case(number)[which], id=f"{self.family}-{self._seed}-{number}-{which}")


def _shows_held_out(state: SceneState) -> bool:
    """What `families.shows_held_out` says of a scene, of a state."""
    for body, (x, y) in zip(state.bodies, state.velocity[0].tolist(), strict=True):
        word = scene_lib.direction_word(x, y) if x or y else None
        if scene_lib.held_out(body.color, body.shape, direction=word):
            return True
    return False
