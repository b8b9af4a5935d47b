"""Clips out of any TFDS set that is laid out as `features.features()`, by random access."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from sora_jax.types import SIZE_DTYPE, Clip
from sora_jax.worlds.tfds_set.features import to_clip


class TFDSSource:
    """`types.Source` of one split of a prepared set.

    Args:
      directory: of one prepared version, such as `out/tfds/tfds_set/small/1.0.0` (it holds `features.json`).
      split: such as "train" or "train[:100]".
    """

    def __init__(self, directory: str | Path, *, split: str = "train"):
        builder = tfds.builder_from_directory(str(directory))
        missing = {"video", "fps", "captions", "id", "sizes"} - set(dict(builder.info.features or {}))  # pyright: ignore
        if missing:
            raise ValueError(
                f"{directory} lacks {sorted(missing)}: lay the set out as tfds_set.features.features()"
            )
        self._clips = builder.as_data_source(split=split)  # pyright: ignore[reportCallIssue]
        skip = {"video": tfds.decode.SkipDecoding()}
        rows = builder.as_data_source(split=split, decoders=skip)  # pyright: ignore[reportCallIssue]
        names = SIZE_DTYPE.names or ()
        self._sizes = np.array([tuple(int(row["sizes"][n]) for n in names) for row in rows], SIZE_DTYPE)

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> Clip:
        return to_clip(self._clips[index])
