"""Anybody's videos as answers to the benchmark's items: read, and what is wrong with each said.

One sample of an item is the file that its line names, `x.mp4`. K samples are `x-0.mp4` to `x-(K-1).mp4`,
all of them: then `x.mp4` itself is a stray, as `x-0.mp4` is where one is asked for, so that how many
samples a score is of never depends on what lies in the folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import av
import av.error
import numpy as np
from jaxtyping import UInt8

from sora_jax.data import video_files
from sora_jax.evaluation.benchmark import Item


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A video, or the reason why there is none to score."""

    video: UInt8[np.ndarray, "f h w 3"] | None
    fault: str | None = None


def expand(item: Item, samples: int) -> list[Item]:
    """The item once per sample, each with its own file: `x.mp4` of one, `x-0.mp4` to `x-(K-1).mp4` of K.

    Names of two items never meet, since none is both a name and a name with a number.

    Raises:
      ValueError: fewer than 1 sample.
    """
    if samples < 1:
        raise ValueError(f"samples {samples}: give at least 1 (the protocol asks for 16)")
    if samples == 1:
        return [item]
    path = PurePosixPath(item.video)
    names = (path.with_name(f"{path.stem}-{k}{path.suffix}").as_posix() for k in range(samples))
    return [dataclasses.replace(item, video=name) for name in names]


def read(folder: str | Path, item: Item) -> Answer:
    """The video of an item. What cannot be scored is no error: it is the worst answer, with its reason.

    A longer video is scored on its first frames; the frames count as the item's frames per second, whatever
    the file says.
    """
    path = Path(folder) / item.video
    if not path.is_file():
        return Answer(video=None, fault=f"{item.video} is missing")
    if path.stat().st_size == 0:
        return Answer(video=None, fault=f"{item.video} is an empty file")
    try:
        video, _ = video_files.read_video(path)
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        return Answer(video=None, fault=f"{item.video} cannot be read: {error}")
    return check(video, item)


def check(video: UInt8[np.ndarray, "f h w 3"], item: Item) -> Answer:
    """The item's frames of a video, or what is wrong with its size."""
    if video.shape[1:3] != (item.height, item.width):
        asked = f"{item.height} x {item.width}"
        return Answer(video=None, fault=f"{item.video} is {video.shape[1]} x {video.shape[2]}, not {asked}")
    if len(video) < item.frames:
        return Answer(video=None, fault=f"{item.video} has {len(video)} of {item.frames} frames")
    return Answer(video=video[: item.frames])


def unlisted(folder: str | Path, items: Sequence[Item], *, samples: int = 1) -> list[str]:
    """Files in the folder of videos that no item asks for."""
    asked = {one.video for item in items for one in expand(item, samples)}
    found = (p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())
    return sorted(name for name in found if name not in asked and Path(name).suffix in video_files.SUFFIXES)
