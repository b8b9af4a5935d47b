"""The held-out prompts: a fixed, stratified list, each with the simulated clip that it describes.

A prompt is reproducible from the world alone, so its truth (video, exact state, facts) is never stored.
Training leaves out every clip that has one of these captions, whatever it shows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from sora_jax.types import Clip
from sora_jax.worlds.families import Heldout
from sora_jax.worlds.source import WorldSource

SEED = 7_000_000  # of the prompts' worlds; training worlds use others
FAMILIES: Mapping[str, float] = {"uniform": 0.6, "beside": 0.2, "parabola": 0.1, "bounce": 0.1}
# Stratum -> (frames, objects, may the combination be one that training holds out).
STRATA: Mapping[str, tuple[int, tuple[int, ...], Heldout]] = {
    "one object": (17, (1,), "exclude"),
    "two objects": (17, (2,), "exclude"),
    "images": (1, (1, 2), "exclude"),
    "held-out combinations": (17, (1, 2), "only"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt and where its truth comes from.

    Attributes:
      prompt: the caption.
      stratum: a key of `STRATA`.
      phrasing: "short" or "descriptive".
      frames, height, width, fps: of the truth, and of the sample that is scored against it.
      index: of the clip in the stratum's world.
      seed: of the sample.
    """

    prompt: str
    stratum: str
    phrasing: Literal["short", "descriptive"]
    frames: int
    height: int
    width: int
    fps: float
    index: int
    seed: int


def held_out(
    counts: Mapping[str, int], *, height: int = 64, width: int = 64, phrasing: str = "short"
) -> list[Prompt]:
    """The first `counts[stratum]` prompts of each stratum; no two are the same text within a stratum.

    Raises:
      ValueError: an unknown stratum.
    """
    prompts = []
    for stratum, count in counts.items():
        world, objects = _world(stratum, height=height, width=width)
        seen: set[str] = set()
        index = 0
        while len(seen) < count:
            clip = world[index]
            text = clip.captions[phrasing]
            if clip.state is not None and len(clip.state.bodies) in objects and text not in seen:
                seen.add(text)
                prompts.append(
                    Prompt(
                        prompt=text,
                        stratum=stratum,
                        phrasing=phrasing,  # type: ignore[arg-type]
                        frames=len(clip.video),
                        height=height,
                        width=width,
                        fps=clip.fps,
                        index=index,
                        seed=len(prompts),
                    )
                )
            index += 1
    return prompts


def truth(prompt: Prompt) -> Clip:
    """The simulated clip that the prompt was made from.

    Raises:
      ValueError: the world gives another clip by now.
    """
    world, _ = _world(prompt.stratum, height=prompt.height, width=prompt.width)
    clip = world[prompt.index]
    if clip.captions[prompt.phrasing] != prompt.prompt:
        raise ValueError(
            f"clip {prompt.index} of {prompt.stratum!r} is {clip.captions[prompt.phrasing]!r}, not "
            f"{prompt.prompt!r}: the world has changed; make the prompts again"
        )
    return clip


def save(path: str | Path, prompts: Sequence[Prompt]) -> None:
    """Writes one JSON object per line."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in prompts))


def load(path: str | Path) -> list[Prompt]:
    """The prompts that `save` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a line that is no prompt, with its number.
    """
    prompts = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        try:
            prompts.append(Prompt(**json.loads(line)))
            if prompts[-1].stratum not in STRATA:
                raise ValueError(f"stratum {prompts[-1].stratum!r} is not one of {', '.join(STRATA)}")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is not a prompt: {error}") from error
    return prompts


def _world(stratum: str, *, height: int, width: int) -> tuple[WorldSource, tuple[int, ...]]:
    if stratum not in STRATA:
        raise ValueError(f"stratum {stratum!r} is not one of {', '.join(STRATA)}")
    frames, objects, heldout = STRATA[stratum]
    world = WorldSource(
        seed=SEED + list(STRATA).index(stratum),
        length=20_000,
        families=FAMILIES,
        frames={frames: 1.0},
        sizes={(height, width): 1.0},
        heldout=heldout,
    )
    return world, objects
