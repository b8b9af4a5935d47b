"""SoraBench's items: which clips of which worlds a model is asked for, and the files that say so.

    items = make({"uniform": 64, "collision": 64}, frames=33, height=128, width=128)
    write("out/benchmark", items)       manifest.jsonl and the given frames, for anybody's model
    entries = read("out/benchmark/manifest.jsonl")

An item is reproducible from the world alone, so its truth (frames, exact state) is never stored: `truth`
makes it again, and refuses if the world gives another clip by now.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from sora_jax.types import Clip, Source
from sora_jax.worlds.bench.source import BENCH_FAMILIES, BenchSource
from sora_jax.worlds.source import WorldSource

SEED = 9_000_000  # of the benchmark's worlds; training and the held-out prompts use others
# Frames a model may be given: text alone, an image, the beginning of a motion; 5 for those whose latents hold
# one frame and then fours, which of 3 use one.
GIVEN = (0, 1, 3, 5)
MANIFEST = "manifest.jsonl"
LEAST_SIDE = 32  # pixels: in less there is no room for a scene
LENGTH = 100_000  # cases of each world: more than any benchmark asks for
# Clips of each family. New families go to the end: a family's place is part of its seed.
COUNTS: Mapping[str, int] = {
    "uniform": 32,
    "parabola": 24,
    "bounce": 24,
    "collision": 32,
    "beside": 16,
    "occlusion": 24,
    "bite": 16,
    "brush": 8,
    "fracture": 16,
    "mirrored": 16,
    "ordered": 16,
    "shots": 8,
    "pendulum": 8,
    "spring": 8,
    "friction": 8,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One clip that is asked for.

    Attributes:
      id: unique within the benchmark.
      prompt: the caption, its short phrasing.
      family: of the world; seed, index: of the clip in it.
      frames, height, width: of the video, pixels; fps: its frames per second.
      video: file of the answer, relative to the folder of videos.
    """

    id: str
    prompt: str
    family: str
    seed: int
    index: int
    frames: int
    height: int
    width: int
    fps: float
    video: str

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            kind = {"int": int, "float": int | float, "str": str}[str(field.type)]
            value = getattr(self, field.name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{field.name} {value!r} is no {field.type}")
        if self.frames < 2 or min(self.height, self.width) < LEAST_SIDE or not self.fps > 0:
            raise ValueError(
                f"{self.frames} frames of {self.height} x {self.width} at {self.fps} frames/s: use at "
                f"least 2 frames, sides of at least {LEAST_SIDE}, and frames/s above 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a manifest: an item, or what is wrong with the line."""

    line: int
    item: Item | None
    fault: str | None = None


def shares(clips: int, *, families: Sequence[str] = tuple(COUNTS)) -> dict[str, int]:
    """`clips` shared out among the families as `COUNTS` are, every family having one.

    Raises:
      ValueError: an unknown family, or fewer clips than families.
    """
    counts = {family: COUNTS[_known(family)] for family in families}
    if clips < len(counts):
        raise ValueError(f"{clips} clips for {len(counts)} families: give at least {len(counts)}")
    total, left = sum(counts.values()), clips - len(counts)
    exact = {family: count * left / total for family, count in counts.items()}
    dealt = {family: 1 + int(share) for family, share in exact.items()}
    most_owed = sorted(exact, key=lambda family: int(exact[family]) - exact[family])
    for family in most_owed[: clips - sum(dealt.values())]:
        dealt[family] += 1
    return dealt


def make(counts: Mapping[str, int], *, frames: int, height: int, width: int) -> list[Item]:
    """The first `counts[family]` clips of every family's world at one size.

    Raises:
      ValueError: an unknown family.
    """
    items = []
    for family, count in counts.items():
        world = _world(family, _seed(family), frames=frames, height=height, width=width)
        for index in range(count):
            clip = world[index]
            name = f"{family}-{index:04d}"
            items.append(
                Item(
                    id=name,
                    prompt=clip.captions["short"],
                    family=family,
                    seed=_seed(family),
                    index=index,
                    frames=frames,
                    height=height,
                    width=width,
                    fps=clip.fps,
                    video=f"{name}.mp4",
                )
            )
    return items


def truth(item: Item) -> Clip:
    """The simulated clip of an item.

    Raises:
      ValueError: the world gives another clip, or none.
    """
    world = _world(item.family, item.seed, frames=item.frames, height=item.height, width=item.width)
    clip = world[item.index]
    if clip.captions["short"] != item.prompt or clip.fps != item.fps:
        raise ValueError(
            f"clip {item.index} of {item.family!r} is {clip.captions['short']!r} at {clip.fps} frames/s, not "
            f"{item.prompt!r} at {item.fps}: the line was changed, or the world has; make the manifest again"
        )
    return clip


def write(folder: str | Path, items: Sequence[Item]) -> Path:
    """Writes `manifest.jsonl` and `given/<id>/0.png` to `4.png`; returns the manifest's path."""
    folder = Path(folder)
    for item in items:
        place = folder / "given" / item.id
        place.mkdir(parents=True, exist_ok=True)
        for k, frame in enumerate(truth(item).video[: max(GIVEN)]):
            Image.fromarray(frame).save(place / f"{k}.png")
    lines = [json.dumps(dataclasses.asdict(item)) + "\n" for item in items]
    (folder / MANIFEST).write_text("".join(lines))  # last: its presence says that all is there
    return folder / MANIFEST


def read(path: str | Path) -> list[Entry]:
    """Every line of a manifest; a line that is no item, or an item again, is kept with its fault.

    Whether an item's clip is the world's is seen when its `truth` is made.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file without lines.
    """
    entries: list[Entry] = []
    seen: set[str] = set()
    for line, text in enumerate(Path(path).read_text().splitlines(), 1):
        item, fault = None, None
        try:
            item = Item(**json.loads(text))
            if item.id in seen:
                item, fault = None, f"line {line}: {item.id} is listed twice"
        except (TypeError, ValueError) as error:
            item, fault = None, f"line {line} is no item of the benchmark: {error}"
        if item is not None:
            seen.add(item.id)
        entries.append(Entry(line=line, item=item, fault=fault))
    if not entries:
        raise ValueError(f"{path} is empty: `python -m sora_jax.evaluate prompts` writes a manifest")
    return entries


def _known(family: str) -> str:
    if family not in COUNTS:
        raise ValueError(f"family {family!r} is not one of {', '.join(COUNTS)}")
    return family


def _seed(family: str) -> int:
    return SEED + list(COUNTS).index(_known(family))


def _world(family: str, seed: int, *, frames: int, height: int, width: int) -> Source:
    if family in BENCH_FAMILIES:
        return BenchSource(family, seed=seed, length=LENGTH, frames=frames, height=height, width=width)
    return WorldSource(
        seed=seed,
        length=LENGTH,
        families={family: 1.0},
        frames={frames: 1.0},
        sizes={(height, width): 1.0},
        heldout="exclude",
    )
