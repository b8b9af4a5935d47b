"""A store of latents: encoded once, read at random for as long as a transformer trains on them.

A folder of ArrayRecord shards beside their manifests:

    store.json                 what encoded them: fingerprint, ratio, ...; how many clips, and per shard
    shard-00007.arrayrecord    one record per clip: header (shape, fps, frames, id, captions), float16 latents
    shard-00007.npz            the sizes and ids of its clips; written last, so its presence means "finished"

Shard i covers the clips [i S, (i + 1) S) of the set that was encoded. Writing may be killed at any time and
run again: finished shards are kept, unfinished ones written anew.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_data_source, array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from sora_jax import text_bytes, types
from sora_jax.data.manifest import BadClipError, BadClips, manifest_hash

_log = logging.getLogger(__name__)
_LARGEST = float(np.finfo(np.float16).max)


def write_latents(
    path: str | Path,
    clips: Callable[[int, int], Iterable[types.LatentClip]],
    *,
    total: int,
    meta: Mapping[str, Any],
    shard_clips: int = 1024,
    max_missing_share: float = 0.0,
    part: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Encodes a set of `total` clips into the store at `path`; run again, it goes on where it stopped.

    Args:
      clips: `clips(start, stop)` gives the latents of the set's clips [start, stop); it is called once per
        unfinished shard. A clip that could not be read is left out.
      meta: plain JSON values; `fingerprint` (of the autoencoder) and `ratio` (its compression of frames,
        height, width) at least.
      shard_clips: clips per shard.
      max_missing_share: of a shard's clips, the most that may be left out.
      part: (k, n): only every n-th shard from the k-th on, as one of n processes that write a store together.
      progress: called with (clips done, total) after each shard.

    Returns:
      The number of clips in the shards that are its part.

    Raises:
      ValueError: the store holds another set or another autoencoder's latents; latents that are not finite or
        exceed float16; a shape that does not belong to the clip's frames.
      RuntimeError: more clips missing than allowed.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    store = {**meta, "ratio": list(meta["ratio"]), "total": total, "shard_clips": shard_clips}
    _claim(path, json.loads(json.dumps(store)))
    count = 0
    first, step = part
    for shard in range(first, -(-total // shard_clips), step):
        start, stop = shard * shard_clips, min((shard + 1) * shard_clips, total)
        if not _manifest(path, shard).exists():
            _write_shard(path, shard, clips(start, stop), ratio=meta["ratio"])
        with np.load(_manifest(path, shard)) as finished:
            written = len(finished["ids"])
        missing = stop - start - written
        if missing:
            _log.warning(
                "%s: %d of the clips [%d, %d) are missing", _records(path, shard), missing, start, stop
            )
        if not 0 <= missing <= max_missing_share * (stop - start):
            _manifest(path, shard).unlink()
            raise RuntimeError(
                f"shard {shard} got {written} clips for [{start}, {stop}): mend the source, or allow more "
                f"than max_missing_share {max_missing_share}"
            )
        count += written
        if progress:
            progress(stop, total)
    return count


def missing(path: str | Path) -> list[int]:
    """The shards that the store at `path` has not yet."""
    path = Path(path)
    meta = json.loads((path / "store.json").read_text())
    return [shard for shard in range(_shards(meta)) if not _manifest(path, shard).exists()]


class LatentSource:
    """The finished store at `path`: `source[i]` is clip i.

    A record whose checksum does not fit raises `BadClipError`, is logged and counted: batches leave it out.
    More of them than `max_bad_share` of all is an error.

    Attributes:
      meta: what `write_latents` was given; `fingerprint` and `ratio` are taken from it.
      sizes: `[len]` of `types.SIZE_DTYPE`, in pixels.
      ids: `[len]`, of the clips.
      manifest_hash: of sizes, ids and the autoencoder.

    Raises:
      FileNotFoundError: no store there, or one that is not finished.
      TooManyBadError: too many damaged records; names how many, and the first.
    """

    def __init__(self, path: str | Path, *, max_bad_share: float = 0.01) -> None:
        path = self.path = Path(path)
        if not (path / "store.json").exists():
            raise FileNotFoundError(
                f"no latents at {path} (no store.json): write them with python -m sora_jax.make_latents"
            )
        self.meta: dict[str, Any] = json.loads((path / "store.json").read_text())
        self.fingerprint: str = self.meta["fingerprint"]
        self.ratio: tuple[int, int, int] = tuple(self.meta["ratio"])
        shards, absent = _shards(self.meta), missing(path)
        if absent:
            raise FileNotFoundError(
                f"{path} has {shards - len(absent)} of {shards} shards: run the command that writes it again"
            )
        manifests = [_load_manifest(path, i) for i in range(shards)]
        self.sizes = np.concatenate([sizes for sizes, _ in manifests])
        self.ids = np.concatenate([ids for _, ids in manifests])
        self.manifest_hash = manifest_hash(self.sizes, [self.fingerprint, *self.ids.tolist()])
        files = [f"{_records(path, i)}[0:{len(ids)}]" for i, (_, ids) in enumerate(manifests) if len(ids)]
        self._records = array_record_data_source.ArrayRecordDataSource(files)
        self._bad = BadClips(len(self.ids), max_share=max_bad_share)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> types.LatentClip:
        try:
            return decode_record(self._records[int(index)])
        except RuntimeError as error:  # array_record's, of a checksum that does not fit
            self._bad.add(f"{self.path}, clip {self.ids[index]}", str(error))
            self._bad.check()
            raise BadClipError(f"{self.path}, clip {self.ids[index]}: {error}") from error


def encode_record(clip: types.LatentClip) -> bytes:
    """One clip as bytes: length of the header (4 bytes), header (JSON), latents (float16)."""
    latents = np.asarray(clip.latents)
    if not np.all(np.abs(latents) <= _LARGEST):
        raise ValueError(f"latents of clip {clip.id} are not finite or exceed float16's {_LARGEST:.0f}")
    header = json.dumps(
        {
            "shape": latents.shape,
            "fps": float(clip.fps),
            "frames": int(clip.frames),
            "id": clip.id,
            "captions": dict(clip.captions),
        }
    ).encode()
    return len(header).to_bytes(4, "little") + header + latents.astype("<f2").tobytes()


def decode_record(record: bytes) -> types.LatentClip:
    """The inverse of `encode_record`, to float16's precision; latents are float32 again."""
    start = 4 + int.from_bytes(record[:4], "little")
    header = json.loads(record[4:start])
    latents = np.frombuffer(record, "<f2", offset=start).reshape(header["shape"]).astype(np.float32)
    return types.LatentClip(
        latents=latents,
        fps=header["fps"],
        captions=header["captions"],
        id=header["id"],
        frames=header["frames"],
    )


def latent_size(clip: types.LatentClip, *, ratio: Sequence[int]) -> tuple[int, int, int, int]:
    """The row of `types.SIZE_DTYPE` of a clip: frames, height, width in pixels, most text tokens."""
    lf, lh, lw, _ = clip.latents.shape
    if (lf - 1) * ratio[0] + 1 != clip.frames:
        raise ValueError(
            f"clip {clip.id} has {clip.frames} frames and {lf} latent frames: with ratio {ratio[0]} those "
            f"hold {(lf - 1) * ratio[0] + 1} frames"
        )
    text = max(len(text_bytes.encode_timed(caption).tokens) for caption in clip.captions.values())
    return clip.frames, lh * ratio[1], lw * ratio[2], text


def _write_shard(path: Path, shard: int, clips: Iterable[types.LatentClip], *, ratio: Sequence[int]) -> None:
    writer = array_record_module.ArrayRecordWriter(str(_records(path, shard)), "group_size:1,uncompressed")
    sizes, ids = [], []
    for clip in clips:
        sizes.append(latent_size(clip, ratio=ratio))
        ids.append(clip.id)
        writer.write(encode_record(clip))
    writer.close()
    unfinished = _manifest(path, shard).with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        np.savez(file, sizes=np.array(sizes, types.SIZE_DTYPE), ids=np.array(ids, np.str_))
    unfinished.replace(_manifest(path, shard))


def _claim(path: Path, store: dict[str, Any]) -> None:
    file = path / "store.json"
    if not file.exists():
        unfinished = file.with_suffix(f".{uuid.uuid4().hex}.unfinished")  # others may be writing it too
        unfinished.write_text(json.dumps(store, indent=1, sort_keys=True))
        unfinished.replace(file)
    found = json.loads(file.read_text())
    for name in sorted(found.keys() | store.keys()):
        if found.get(name) != store.get(name):
            raise ValueError(
                f"{path} holds latents with {name} {found.get(name)!r}, not {store.get(name)!r}: "
                f"write to another folder, or remove that one"
            )


def _shards(meta: Mapping[str, Any]) -> int:
    return -(-meta["total"] // meta["shard_clips"])


def _load_manifest(path: Path, shard: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(_manifest(path, shard)) as manifest:
        return manifest["sizes"], manifest["ids"]


def _records(path: Path, shard: int) -> Path:
    return path / f"shard-{shard:05d}.arrayrecord"


def _manifest(path: Path, shard: int) -> Path:
    return path / f"shard-{shard:05d}.npz"
