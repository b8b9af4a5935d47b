"""Video files to frames, with PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.container
import av.error
import numpy as np

from sora_jax.data.manifest import BadClipError


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file shows: its length, frames per second, and size in square pixels, upright."""

    seconds: float
    fps: float
    height: int
    width: int


def probe(path: str | Path) -> VideoInfo:
    """Reads a file's container header, and its first frame to see that there is one and how it is turned.

    An image is a video of one frame: 0 seconds.

    Raises:
      BadClipError: a file that is missing, is no video, or whose first frame cannot be decoded.
    """
    with _opened(path) as (container, stream):
        frame = next(container.decode(stream), None)
        if frame is None:
            raise BadClipError(f"{path}: no frame could be decoded")
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        aspect = float(stream.sample_aspect_ratio or 1)
        height, width = frame.height, round(frame.width * aspect)
        if frame.rotation % 180:
            height, width = width, height
        still = fps <= 0 or seconds * fps < 1.5
        return VideoInfo(
            seconds=0.0 if still else seconds, fps=1.0 if still else fps, height=height, width=width
        )


def decode(
    path: str | Path, seconds: np.ndarray, *, transform: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray:
    """The frames on the screen at the instants `seconds` `[f]`, ascending, from the file's first frame = 0.

    Args:
      transform: applied to each chosen frame `[h w 3]` uint8 RGB as it comes, e.g. a resize.

    Returns:
      `[f h w 3]` uint8.

    Raises:
      BadClipError: a file that cannot be decoded, or that ends before the last instant.
    """
    chosen: list[np.ndarray] = []
    with _opened(path) as (container, stream):
        frames = _frames_from(container, stream, float(seconds[0]))
        shown, start = next(frames, (None, 0.0))
        if shown is None:
            raise BadClipError(f"{path}: no frame at {seconds[0]:.3f} s")
        following, next_start = next(frames, (None, np.inf))
        last_length = 0.0
        for instant in seconds:
            while following is not None and next_start <= instant + 1e-4:
                last_length = next_start - start
                shown, start = following, next_start
                following, next_start = next(frames, (None, np.inf))
            if following is None and last_length and instant > start + 1.5 * last_length:
                raise BadClipError(f"{path}: ends at {start + last_length:.3f} s, before {instant:.3f} s")
            chosen.append(transform(_upright(shown)))
    return np.stack(chosen)


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadClipError(f"{path}: holds no video")
            yield container, container.streams.video[0]
    except (av.error.FFmpegError, FileNotFoundError, IsADirectoryError) as error:
        raise BadClipError(f"{path}: {error}") from error


def _frames_from(
    container: av.container.InputContainer, stream: av.VideoStream, second: float
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames and their instants, from the last one that starts by `second`, or from an earlier one."""
    base = float(stream.time_base or 1)
    first = stream.start_time or 0
    if second > 0:
        container.seek(first + int(second / base), stream=stream, backward=True)
    for frame in container.decode(stream):
        instant = 0.0 if frame.pts is None else (frame.pts - first) * base
        yield frame, instant


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """`[h w 3]` RGB, turned as the file says."""
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.rot90(image, turns) if turns else image
