"""The simulated world as a source of clips: clip = f(seed, index), nothing stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args

import numpy as np

from sora_jax import rng as rng_lib
from sora_jax import text_bytes
from sora_jax.types import SIZE_DTYPE, Clip, SceneState
from sora_jax.worlds import captions as captions_lib
from sora_jax.worlds import facts as facts_lib
from sora_jax.worlds import families as families_lib
from sora_jax.worlds import placing
from sora_jax.worlds import simulate as simulate_lib
from sora_jax.worlds import state as state_lib
from sora_jax.worlds.placing import Heldout
from sora_jax.worlds.scene import Family, Scene

TEXT_BOUND = 256  # text tokens no caption of the world exceeds
SIDES = tuple(range(48, 129, 16))
FRAMES: Mapping[int, float] = {1: 0.25, 9: 0.2, 17: 0.4, 33: 0.15}
FPS = (8.0, 12.0, 16.0)
# Shares of the families among clips of more than one frame; a single frame is always an "arrangement".
WEIGHTS: Mapping[str, float] = {
    "uniform": 0.42,
    "beside": 0.16,
    "parabola": 0.14,
    "bounce": 0.15,
    "collision": 0.13,
}


def all_sizes() -> dict[tuple[int, int], float]:
    """Every (height, width) with sides 48 to 128 in steps of 16 and aspect 1:2 to 2:1, equally often."""
    return {(h, w): 1.0 for h in SIDES for w in SIDES if max(h, w) <= 2 * min(h, w)}


class WorldSource:
    """`types.Source` of simulated clips.

    Args:
      seed: of the whole set; sets with different seeds share no clip.
      length: number of clips; a longer set begins with the same clips.
      families: family -> share, among clips of several frames; keys of `families.FAMILIES`.
      frames: number of frames -> share.
      sizes: (height, width) -> share; None = `all_sizes()`.
      heldout: "exclude" never shows a held-out combination (`scene.held_out`), "only" always shows at least
        one, "any" does not care.
    """

    def __init__(
        self,
        *,
        seed: int,
        length: int,
        families: Mapping[str, float] | None = None,
        frames: Mapping[int, float] | None = None,
        sizes: Mapping[tuple[int, int], float] | None = None,
        heldout: Heldout = "exclude",
    ):
        families = dict(WEIGHTS if families is None else families)
        unknown = set(families) - set(families_lib.FAMILIES)
        if unknown:
            raise ValueError(f"families {sorted(unknown)} are not among {sorted(families_lib.FAMILIES)}")
        if heldout not in get_args(Heldout):
            raise ValueError(f"heldout {heldout!r} is not one of {get_args(Heldout)}")
        self._seed, self._length = seed, length
        self._heldout: Heldout = heldout  # pyright: ignore[reportAttributeAccessIssue]
        self._families = {cast(Family, name): share for name, share in families.items() if share > 0}
        self._table = self._draw_sizes(
            dict(FRAMES if frames is None else frames), dict(all_sizes() if sizes is None else sizes)
        )

    def _draw_sizes(self, frames: dict[int, float], sizes: dict[tuple[int, int], float]) -> np.ndarray:
        marks = rng_lib.host(self._seed, "worlds", "sizes").random((self._length, 2))
        table = np.empty(self._length, SIZE_DTYPE)
        table["frames"] = np.array(list(frames))[_which(marks[:, 0], frames.values())]
        sides = np.array(list(sizes))[_which(marks[:, 1], sizes.values())]
        table["height"], table["width"] = sides.T
        table["text"] = TEXT_BOUND
        return table

    @property
    def sizes(self) -> np.ndarray:
        return self._table

    def __len__(self) -> int:
        return self._length

    def scene(self, index: int) -> Scene:
        """The scene of clip `index`, before it is simulated."""
        if not 0 <= index < self._length:
            raise IndexError(f"clip {index} of a world of {self._length}")
        stream = rng_lib.host(self._seed, "worlds", "scene", int(index))
        frames, height, width = (int(self._table[index][name]) for name in ("frames", "height", "width"))
        draw = placing.Draw(
            rng=stream,
            frames=frames,
            height=height,
            width=width,
            fps=FPS[int(stream.random() * len(FPS))],
            heldout=self._heldout,
        )
        if frames == 1:
            return families_lib.sample(draw, "arrangement")
        family = draw.pick(tuple(self._families), tuple(self._families.values()))
        return families_lib.sample(draw, cast(Family, family))

    def __getitem__(self, index: int) -> Clip:
        scene = self.scene(index)
        video, state = simulate_lib.simulate(scene)
        return Clip(
            video=video,
            fps=scene.fps,
            captions=_captions(state, scene.fps, rng_lib.host(self._seed, "worlds", "captions", int(index))),
            id=f"world-{self._seed}-{index}",
            state=state,
        )


def _captions(state: SceneState, fps: float, words: np.random.Generator) -> dict[str, str]:
    """What is said of a clip; of several shots, each with its time (`text_bytes.split_times`)."""
    if state.shot is None:
        return captions_lib.captions(facts_lib.facts(state), words)
    shots = [(first / fps, facts_lib.facts(shot)) for first, shot in state_lib.shots(state)]
    said = captions_lib.shot_captions(shots, words)
    return {phrasing: text_bytes.join_times(timed) for phrasing, timed in said.items()}


def _which(marks: np.ndarray, shares) -> np.ndarray:
    edges = np.cumsum(np.array(list(shares), np.float64))
    return np.minimum(np.searchsorted(edges, marks * edges[-1], side="right"), len(edges) - 1)
