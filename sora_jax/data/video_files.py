"""Writing and reading finished videos: mp4 and gif for clips, png for a single frame."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

SUFFIXES = (".mp4", ".gif", ".png")


def check_path(path: str | Path, *, frames: int) -> Path:
    """`path` as a Path whose parent exists (made if need be).

    Raises:
      ValueError: a suffix that cannot be written, or a png asked to hold several frames.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix!r}: use one of {', '.join(SUFFIXES)}")
    if path.suffix == ".png" and frames != 1:
        raise ValueError(f"{path} can hold 1 frame, not {frames}: use .mp4 or .gif, or --frames 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_video(path: str | Path, video: UInt8[np.ndarray, "f h w 3"], *, fps: float, crf: int = 12) -> Path:
    """Writes `video` to `path` in the format its suffix names.

    Args:
      fps: frames per second, above 0.
      crf: H.264's constant rate factor, 0 (lossless) to 51; 12 leaves no visible mark. mp4 only.
    """
    path = check_path(path, frames=len(video))
    match path.suffix:
        case ".mp4":
            write_mp4(path, video, fps=fps, crf=crf)
        case ".gif":
            images = [Image.fromarray(frame) for frame in video]
            images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
        case _:
            Image.fromarray(video[0]).save(path)
    return path


def write_mp4(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    *,
    fps: float,
    crf: int = 12,
    growing: bool = False,
) -> int:
    """Writes frames as they come: memory does not grow with the length. Returns how many.

    An interrupt (Ctrl-C) ends the file with the frames that came before it, and is raised again.

    Args:
      growing: in pieces of a second that can be played while the rest is written, and after a kill.
    """
    count = 0
    pieces = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
    with av.open(str(path), "w", options=pieces if growing else {}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), **({"g": str(max(1, round(fps)))} if growing else {})}
        try:
            for frame in frames:
                if count == 0:
                    stream.height, stream.width = frame.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                count += 1
        finally:
            if count:
                container.mux(stream.encode())
    return count


def read_video(path: str | Path) -> tuple[UInt8[np.ndarray, "f h w 3"], float]:
    """All frames of a video or image file, and its frames per second (1 for a png)."""
    path = Path(path)
    if path.suffix == ".png":
        return np.asarray(Image.open(path).convert("RGB"))[None], 1.0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        if not frames:
            raise ValueError(f"{path} holds no video frame")
        return np.stack(frames), float(stream.average_rate or 1)
