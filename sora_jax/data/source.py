"""A folder of videos and a file of captions, as a `types.Source`."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import text_bytes, types
from sora_jax.data.decode import VideoInfo, decode, probe
from sora_jax.data.manifest import BadClipError, BadClips, manifest_hash
from sora_jax.data.transform import fit_frames, fit_size, resize_cover

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a captions file: a video, or its part from `start` to `end` seconds, and what it shows."""

    path: str
    caption: str
    start: float = 0.0
    end: float | None = None

    @property
    def id(self) -> str:
        return f"{self.path}@{self.start:g}-{'' if self.end is None else f'{self.end:g}'}"


class FolderSource:
    """Videos under `root`, captioned by a CSV or JSONL file with path, caption and optional start, end
    (seconds).

    Every clip is shown at `fps` (a slower video at its own), cut to 1 + 4k frames, and scaled to the allowed
    size nearest its own aspect (see `data.transform`). An image is a clip of one frame.

    Sizes are read from the files' headers once and kept in a manifest file beside the captions; a file that
    has changed is read again. A file that cannot be read is left out, logged with its path and counted; so is
    one that fails later, when it is decoded, by raising `BadClipError` (`manifest.readable` skips it, clip
    batches put the next clip of its size in its place). More of them than `max_bad_share` of all is an error.

    Attributes:
      sizes, ids: of the clips that can be read.
      manifest_hash: of sizes and ids.

    Raises:
      ValueError: a captions file without its columns, an empty caption, an end before its start, a clip
      twice. TooManyBadError: too many unreadable files; names how many, and the first.
    """

    def __init__(
        self,
        root: str | Path,
        captions_file: str | Path,
        *,
        fps: float = 8.0,
        max_frames: int = 33,
        pixels: int = 64 * 64,
        multiple: int = 16,
        ratio_t: int = 4,
        max_bad_share: float = 0.05,
        manifest: str | Path | None = None,
    ) -> None:
        """Reads the captions file and what is not in the manifest yet.

        Args:
          fps: frames per second to show at.
          max_frames: the longest a clip may be; longer files are cut.
          pixels: most pixels of a frame.
          multiple: of which both sides are a multiple: the autoencoder's compression times the patch.
          ratio_t: the autoencoder's compression of frames: a clip has 1 + a multiple of it.
          max_bad_share: of all entries, the most that may be unreadable.
          manifest: where sizes are kept; None = beside the captions file.
        """
        self.root, self.fps = Path(root), fps
        entries = read_captions(captions_file)
        self.listed = len(entries)
        self._bad = BadClips(self.listed, max_share=max_bad_share)
        manifest = Path(manifest) if manifest else Path(captions_file).with_suffix(".manifest.json")
        infos = _probe_all(self.root, sorted({entry.path for entry in entries}), manifest)
        self._clips: list[tuple[Entry, VideoInfo]] = []
        sizes = []
        for entry in entries:
            info = infos[entry.path]
            try:
                if isinstance(info, str):
                    raise BadClipError(info)
                frames = _frames(entry, info, fps=fps, most=max_frames, ratio=ratio_t)
                height, width = fit_size(info.height, info.width, pixels=pixels, multiple=multiple)
            except (BadClipError, ValueError) as error:
                self._bad.add(entry.id, str(error))
                continue
            self._clips.append((entry, info))
            sizes.append((frames, height, width, len(text_bytes.encode(entry.caption))))
        self._bad.check()
        self.sizes = np.array(sizes, types.SIZE_DTYPE)
        self.ids = [entry.id for entry, _ in self._clips]
        self.manifest_hash = manifest_hash(self.sizes, self.ids)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> types.Clip:
        entry, info = self._clips[index]
        frames, height, width = (int(self.sizes[name][index]) for name in ("frames", "height", "width"))
        fps = self.fps if frames == 1 else min(self.fps, info.fps)
        resize = functools.partial(resize_cover, height=height, width=width, shown=(info.height, info.width))
        try:
            video = decode(self.root / entry.path, entry.start + np.arange(frames) / fps, transform=resize)
        except BadClipError as error:
            self._bad.add(entry.id, str(error))
            self._bad.check()
            raise
        return types.Clip(video=video, fps=fps, captions={"short": entry.caption}, id=entry.id)

    @property
    def bad(self) -> dict[str, str]:
        """Id -> reason, of those that cannot be read."""
        return self._bad.reasons


def read_captions(path: str | Path) -> list[Entry]:
    """The entries of a captions file: `.csv` with a header, or `.jsonl` with one object per line.

    Raises:
      ValueError: another kind of file; a missing column, by its name; a bad value, by its line.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines: list[dict[str, Any]] = list(csv.DictReader(file))
            first_line = 2
        case ".jsonl":
            with path.open(encoding="utf-8") as file:
                lines = [json.loads(line) for line in file if line.strip()]
            first_line = 1
        case suffix:
            raise ValueError(f"captions file {path} ends in {suffix!r}: use .csv or .jsonl")
    if not lines:
        raise ValueError(f"captions file {path} has no entries")
    entries = [_entry(line, f"{path}, entry {number}") for number, line in enumerate(lines, first_line)]
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise ValueError(f"captions file {path} lists {entry.id} twice: give each part one line")
        seen.add(entry.id)
    return entries


def _entry(line: dict[str, Any], where: str) -> Entry:
    for column in ("path", "caption"):
        if column not in line:
            raise ValueError(
                f"{where}: column {column!r} is missing; found {sorted(k for k in line if k)} "
                f"(needed: path, caption; optional: start, end)"
            )
    caption, file = (line["caption"] or "").strip(), (line["path"] or "").strip()
    if not caption or not file:
        raise ValueError(f"{where}: path {file!r} and caption {caption!r} must not be empty")
    start, end = (_seconds(line.get(name), f"{where}, {name}") for name in ("start", "end"))
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise ValueError(f"{where}: the part from {start} to {end} s is empty: end must lie after start >= 0")
    return Entry(path=file, caption=caption, start=start or 0.0, end=end)


def _seconds(value: Any, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {value!r} is not a number of seconds") from None


def _frames(entry: Entry, info: VideoInfo, *, fps: float, most: int, ratio: int) -> int:
    if info.seconds == 0 and entry.start == 0:
        return 1
    end = info.seconds if entry.end is None else min(entry.end, info.seconds)
    if end <= entry.start:
        raise BadClipError(f"starts at {entry.start:g} s, and the file ends at {info.seconds:g} s")
    return fit_frames(end - entry.start, fps=min(fps, info.fps), most=most, ratio=ratio)


def _probe_all(root: Path, paths: list[str], manifest: Path) -> dict[str, VideoInfo | str]:
    """What each file shows, or why it cannot be read; from the manifest if the file is unchanged since."""
    known: dict[str, Any] = json.loads(manifest.read_text()) if manifest.exists() else {}
    records: dict[str, Any] = {}
    for path in paths:
        try:
            stat = (root / path).stat()
        except OSError as error:
            records[path] = {"bad": f"{root / path}: {error.strerror}"}
            continue
        stamp = [stat.st_size, stat.st_mtime_ns]
        if path in known and known[path].get("stamp") == stamp:
            records[path] = known[path]
            continue
        try:
            records[path] = {"stamp": stamp, "info": dataclasses.asdict(probe(root / path))}
        except BadClipError as error:
            records[path] = {"stamp": stamp, "bad": str(error)}
    if records != known:
        unfinished = manifest.with_name(manifest.name + ".unfinished")
        unfinished.write_text(json.dumps(records, indent=0))
        unfinished.replace(manifest)
    return {path: record.get("bad") or VideoInfo(**record["info"]) for path, record in records.items()}
