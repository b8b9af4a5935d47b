"""Feature vectors of videos: our autoencoder's latents pooled, or any network given as a local folder.

A feature folder holds `features.json` and the network's file:

    {"name": "i3d-kinetics400", "kind": "torchscript", "file": "i3d.pt", "batch": 8, "layout": "bcfhw",
     "frames": 16, "height": 224, "width": 224, "low": -1.0, "high": 1.0}

`kind` says what the file is, and what has to be installed beside it:

    "python"       a module with `load(folder) -> network`, run as code: give none that you have not read
    "torchscript"  a scripted module; torch
    "jax_export"   the bytes of `jax.export.Exported.serialize()`; flatbuffers

A network gets one float32 array (or tensor) `[batch ...]` in `layout` ("bfhwc" or "bcfhw"), pixels mapped
linearly from 0..255 to low..high, and returns `[batch d]`. Videos are brought to `frames` by taking evenly
spaced ones, ends included, and to `height` x `width` by area averaging or linear interpolation; aspect is not
kept. The last batch is filled up with copies and cut again.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.export
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.data.decode import decode, probe
from sora_jax.data.manifest import BadClipError, TooManyBadError
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.types import Clip

_log = logging.getLogger(__name__)

Video = UInt8[np.ndarray, "f h w 3"]
TABLE = "features.json"
SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif", ".png")
MAX_BAD_SHARE = 0.1  # of a folder's files
CHUNK = 64  # videos held in memory at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """Attributes:
    name: what the numbers are stated on: says network, pooling and size.
    extract: some videos -> `[n d]` float64, in their order, each row a function of its own video.
    """

    name: str
    extract: Callable[[Sequence[Video]], Float[np.ndarray, "n d"]]


def compute(features: Features, videos: Iterable[Video]) -> Float[np.ndarray, "n d"]:
    """The features of all videos, read a few at a time."""
    rows, some = [], []
    for video in videos:
        some.append(video)
        if len(some) == CHUNK:
            rows.append(features.extract(some))
            some = []
    if some:
        rows.append(features.extract(some))
    if not rows:
        raise ValueError("no video to take features of")
    return np.concatenate(rows)


def videos(source: str | Path | Sequence[Video], *, unreadable: list[str]) -> Iterator[Video]:
    """The videos of a folder in the order of their names, or those given.

    Args:
      unreadable: gets the path of every file that cannot be read; each is logged.

    Raises:
      FileNotFoundError: a folder without video files.
      TooManyBadError: more than `MAX_BAD_SHARE` of them cannot be read.
    """
    if not isinstance(source, str | Path):
        yield from source
        return
    paths = sorted(p for p in Path(source).glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no video in {source}: expected files that end in {', '.join(SUFFIXES)}")
    bad = 0
    for path in paths:
        try:
            video = _read(path)
        except BadClipError as error:
            _log.warning("left out: %s", error)
            unreadable.append(str(path))
            bad += 1
            if bad > MAX_BAD_SHARE * len(paths):
                raise TooManyBadError(
                    f"{bad} of {len(paths)} videos in {source} cannot be read, the last {path}"
                ) from error
            continue
        yield video


def _read(path: Path) -> np.ndarray:
    info = probe(path)
    frames = max(1, round(info.seconds * info.fps))
    return decode(path, np.arange(frames) / info.fps)


def resampled(video: Video, *, frames: int, height: int, width: int) -> Video:
    """Evenly spaced frames, ends included, at another size."""
    chosen = video[np.linspace(0, len(video) - 1, frames).round().astype(int)]
    if chosen.shape[1:3] == (height, width):
        return chosen
    shrinks = height * width < chosen.shape[1] * chosen.shape[2]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (width, height), interpolation=how) for frame in chosen])


def autoencoder_features(frozen: FrozenAutoencoder, *, size: tuple[int, int, int] | None = None) -> Features:
    """Our autoencoder's normalised latents, pooled by `pooled`: `[n 3 lc]`.

    Args:
      size: (frames, height, width) that all videos are brought to; None takes them as they are.

    Raises (at use):
      ValueError: a video whose size the autoencoder does not divide.
    """
    ratio = frozen.ratio
    shape = "as given" if size is None else "x".join(map(str, size))

    def extract(videos: Sequence[Video]) -> np.ndarray:
        clips = []
        for number, video in enumerate(videos):
            if size is not None:
                video = resampled(video, frames=size[0], height=size[1], width=size[2])
            left = ((len(video) - 1) % ratio[0], video.shape[1] % ratio[1], video.shape[2] % ratio[2])
            if any(left):
                raise ValueError(
                    f"video {number} has {len(video)} frames of {video.shape[1]} x {video.shape[2]}: give a "
                    f"size of 1 + a multiple of {ratio[0]} frames, sides that are multiples of {ratio[1]}"
                )
            clips.append(Clip(video=video, fps=1.0, captions={"short": ""}, id=str(number)))
        return np.stack([pooled(latent.latents) for latent in frozen.encode_clips(clips)])

    name = f"autoencoder {frozen.fingerprint[:12]}, latents' mean, deviation, change; size {shape}"
    return Features(name=name, extract=extract)


def pooled(latents: Float[np.ndarray, "lf lh lw lc"]) -> Float[np.ndarray, " 3*lc"]:
    """Of each channel the mean and the standard deviation over all places, and the root mean square of its
    change from one latent frame to the next (0 of a single one), without which the order of frames would not
    be seen."""
    values = np.asarray(latents, np.float64)
    change = np.diff(values, axis=0)
    change = np.sqrt((change**2).mean(axis=(0, 1, 2))) if len(change) else np.zeros(values.shape[-1])
    return np.concatenate([values.mean(axis=(0, 1, 2)), values.std(axis=(0, 1, 2)), change])


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """`features.json`, field by field; see the module's docstring."""

    name: str
    kind: str
    file: str
    batch: int
    layout: str
    frames: int
    height: int
    width: int
    low: float
    high: float

    def __post_init__(self) -> None:
        for field, known in (("kind", tuple(_LOADERS)), ("layout", ("bfhwc", "bcfhw"))):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"{TABLE}: {field} {getattr(self, field)!r} is not one of {', '.join(known)}"
                )
        for field in ("batch", "frames", "height", "width"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise ValueError(f"{TABLE}: {field} {getattr(self, field)!r} is not a positive integer")


def load_features(folder: str | Path) -> Features:
    """The feature network of a folder.

    Raises:
      FileNotFoundError: no table, or no file of that name.
      ValueError: a table with missing, unknown or impossible fields.
      ModuleNotFoundError: a network whose package is not installed.
    """
    folder = Path(folder)
    if not (folder / TABLE).is_file():
        raise FileNotFoundError(f"{folder} has no {TABLE}: see sora_jax/evaluation/video_features.py for it")
    found = json.loads((folder / TABLE).read_text())
    known = {field.name for field in dataclasses.fields(FeatureTable)}
    if set(found) != known:
        raise ValueError(
            f"{folder / TABLE}: missing fields {sorted(known - set(found))}, unknown ones "
            f"{sorted(set(found) - known)}"
        )
    table = FeatureTable(**found)
    path = folder / table.file
    if not path.is_file():
        raise FileNotFoundError(f"{folder / TABLE} names {table.file}, which is not in {folder}")
    network = _LOADERS[table.kind](path)

    def extract(videos: Sequence[Video]) -> np.ndarray:
        rows = []
        for start in range(0, len(videos), table.batch):
            some = [_input(v, table) for v in videos[start : start + table.batch]]
            filled = np.stack([*some, *[some[-1]] * (table.batch - len(some))])
            row = np.asarray(network(filled), np.float64)
            if row.ndim != 2 or len(row) != table.batch:
                raise ValueError(
                    f"{path} returned {row.shape} for a batch of {table.batch}: expected [batch d]"
                )
            rows.append(row[: len(some)])
        return np.concatenate(rows)

    return Features(name=f"{table.name}, {table.frames}x{table.height}x{table.width}", extract=extract)


def _input(video: np.ndarray, table: FeatureTable) -> np.ndarray:
    shown = resampled(video, frames=table.frames, height=table.height, width=table.width)
    scaled = shown.astype(np.float32) / 255 * (table.high - table.low) + table.low
    return scaled if table.layout == "bfhwc" else np.moveaxis(scaled, -1, 0)


def _load_python(path: Path) -> Callable[[np.ndarray], Any]:
    spec = importlib.util.spec_from_file_location(f"features_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python module: name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "load"):
        raise ValueError(f"{path} has no function load(folder) that returns the network")
    return module.load(path.parent)


def _load_jax_export(path: Path) -> Callable[[np.ndarray], Any]:
    _needed("flatbuffers", path)
    return jax.export.deserialize(bytearray(path.read_bytes())).call


def _load_torchscript(path: Path) -> Callable[[np.ndarray], Any]:
    torch = _needed("torch", path)
    module = torch.jit.load(str(path), map_location="cpu").eval()

    def call(array: np.ndarray) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(array)).numpy()

    return call


def _needed(package: str, path: Path) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the network {path} needs {package}, which is not installed: pip install {package}, or give the "
            'network as "python"'
        ) from error


_LOADERS: dict[str, Callable[[Path], Callable[[np.ndarray], Any]]] = {
    "python": _load_python,
    "torchscript": _load_torchscript,
    "jax_export": _load_jax_export,
}
