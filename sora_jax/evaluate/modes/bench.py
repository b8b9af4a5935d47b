"""What every mode's score is made from: held-out clips, the model, and what to do with both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax.evaluation import report, text_alignment
from sora_jax.sampling import video
from sora_jax.sampling.request import CONTEXT_SCALE, TRIES, Generator, Settings
from sora_jax.sampling.video import Job, Video
from sora_jax.types import Clip
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.source import WorldSource

SEED = 8_100_000  # of the clips' worlds; no training world has it
GIVEN, WHOLE, SIDE = 17, 33, 64  # frames that a mode is given, frames of the truth, pixels
MORE = (WHOLE - GIVEN) // 4  # latents that an extension adds
SEEN_SIZES = ((64, 64), (64, 96), (96, 96))
UNSEEN_SIZES = ((80, 80), (112, 64), (48, 96))

# How a video is continued: as the command does it, guided by what was there before; by nothing; by its text
# as the model's card says.
CONTINUED: dict[str, dict[str, float]] = {
    "mode": {"guidance_scale": 1.0, "context_scale": CONTEXT_SCALE},
    "no guidance": {"guidance_scale": 1.0},
    "guided by text": {},
}
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

# measure -> column -> one value per clip
Found = dict[str, dict[str, Sequence[float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What every mode's score is made from.

    Attributes:
      clips: of `WHOLE` frames, one object in view throughout.
    """

    generator: Generator
    settings: Settings
    rows: int
    clips: Sequence[Clip]
    out: Path

    def make(self, jobs: Sequence[Job]) -> list[Video]:
        """The videos of jobs."""
        return video.run(self.generator, jobs, settings=self.settings, rows=self.rows)

    def best(self, jobs: Sequence[Job]) -> list[Video]:
        """The videos of jobs, each the best of `TRIES` seeds."""
        return self.changed({"tries": TRIES}).make(jobs)

    def changed(self, changes: Mapping[str, Any]) -> Bench:
        """The same with other settings of the sampler."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **changes))

    def of(self, clips: Sequence[Clip]) -> Bench:
        """The same with other clips."""
        return dataclasses.replace(self, clips=clips)

    def frames(self, videos: Sequence[Video]) -> list[np.ndarray]:
        """Their pixels."""
        return [video.decode(self.generator, one) for one in videos]

    def encoded(self, frames: np.ndarray, fps: float) -> Video:
        """Pixels as a video of latents."""
        return video.encode(self.generator, frames, fps=fps)

    def through(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """Pixels through the autoencoder."""
        return video.decode(self.generator, self.encoded(frames, fps))

    def given(self) -> list[Video]:
        """The clips' first `GIVEN` frames as latents."""
        return [self.encoded(c.video[:GIVEN], c.fps) for c in self.clips]

    def sheet(self, name: str, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """A contact sheet of (caption, frames)."""
        captions, frames = zip(*shown, strict=True)
        report.save_png(self.out / f"{name}.png", report.contact_sheet(frames, captions, side=96, frames=10))


def held_out(count: int, *, objects: int = 1) -> list[Clip]:
    """Clips of `WHOLE` frames of objects in free motion that are wholly in view throughout."""
    world = WorldSource(
        seed=SEED,
        length=100_000,
        families={"uniform": 1.0},
        frames={WHOLE: 1.0},
        sizes={(SIDE, SIDE): 1.0},
    )
    found: list[Clip] = []
    for number in range(len(world)):
        scene = world.scene(number)
        if len(scene.bodies) != objects:
            continue
        clip = world[number]
        if clip.state is not None and clip.state.visible.min() > 0.98:
            found.append(clip)
        if len(found) == count:
            break
    return found


def prompt_of(clip: Clip) -> str:
    return clip.captions["short"]


def said(clips: Sequence[Clip], frames: Sequence[np.ndarray], name: str) -> Sequence[float]:
    """One of the scores against what the captions state, per clip."""
    facts = [parse_prompt(prompt_of(c)) for c in clips]
    assert all(f is not None for f in facts)
    table = text_alignment.score_prompts(frames, facts, fps=[c.fps for c in clips])  # type: ignore[arg-type]
    return table[name].tolist()
