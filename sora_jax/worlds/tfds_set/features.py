"""The layout of a clip in a TFDS set: both directions, side by side.

Any TFDS set with `video`, `fps`, `captions` (a dictionary of texts), `id` and `sizes` can be read as clips;
`state` is the exact state where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sora_jax.types import SIZE_DTYPE, Body, Clip, SceneState

_ARRAYS: dict[str, tuple[tuple[int | None, ...], type]] = {
    "position": ((None, None, 2), np.float32),
    "velocity": ((None, None, 2), np.float32),
    "angle": ((None, None), np.float32),
    "visible": ((None, None), np.float32),
    "contact": ((None, None, None), np.bool_),
    "wall_contact": ((None, None), np.bool_),
    "alive": ((None, None), np.bool_),
    "rounding": ((None, None, 3), np.float64),
}
_BODY: dict[str, type] = {
    "shape": str,
    "color": str,
    "size": str,
    "radius": float,
    "mass": float,
    "restitution": float,
}
_EVENT: dict[str, type] = {"seconds": float, "verb": str, "first": int, "second": int}


def _array(shape: tuple[int | None, ...], dtype: type) -> tfds.features.Tensor:
    """Several unknown dimensions need an encoding; without one, float64 would be stored as float32."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="zlib")


def _table(columns: Mapping[str, type]) -> dict[str, Any]:
    """One feature per column: texts as they are, numbers exact."""
    numbers = {float: np.float64, int: np.int64}
    return {
        name: tfds.features.Sequence(tfds.features.Text()) if kind is str else _array((None,), numbers[kind])
        for name, kind in columns.items()
    }


def features(*, with_state: bool = True) -> tfds.features.FeaturesDict:
    """The feature dictionary of a set of clips; fps and lengths in the units of `types.Clip`."""
    clip: dict[str, Any] = {
        "video": _array((None, None, None, 3), np.uint8),
        "fps": _array((), np.float64),
        "captions": {"short": tfds.features.Text(), "descriptive": tfds.features.Text()},
        "id": tfds.features.Text(),
        "sizes": {name: tfds.features.Scalar(np.int32) for name in SIZE_DTYPE.names or ()},
    }
    if with_state:
        clip["state"] = {
            **{name: _array(shape, dtype) for name, (shape, dtype) in _ARRAYS.items()},
            "bodies": _table(_BODY),
            "events": _table(_EVENT),
            "family": tfds.features.Text(),
        }
    return tfds.features.FeaturesDict(clip)


def to_example(clip: Clip) -> dict[str, Any]:
    """A clip as nested plain data for `features()`, or without state for `features(with_state=False)`."""
    frames, height, width, _ = clip.video.shape
    text = 1 + max(len(caption.encode()) for caption in clip.captions.values())
    example = {
        "video": clip.video,
        "fps": np.float64(clip.fps),
        "captions": {name: clip.captions.get(name, "") for name in ("short", "descriptive")},
        "id": clip.id,
        "sizes": {"frames": frames, "height": height, "width": width, "text": text},
    }
    if clip.state is not None:
        state = clip.state
        more = (state.shot, state.grid, state.turned)
        if state.occluder or state.marks or state.parent or any(array is not None for array in more):
            raise ValueError(
                f"clip {clip.id} of family {state.family} has screens, marks, pieces, shots, a board or a "
                "change of looks, which this layout does not hold: make such clips anew from (seed, index)"
            )
        example["state"] = {
            **{name: getattr(state, name) for name in _ARRAYS},
            "bodies": _columns([[getattr(b, name) for name in _BODY] for b in state.bodies], _BODY),
            "events": _columns(state.events, _EVENT),
            "family": state.family,
        }
    return example


def to_clip(example: Mapping[str, Any]) -> Clip:
    """The clip of an example as `as_data_source` decodes it; the inverse of `to_example`, exactly."""
    captions = {name: _text(caption) for name, caption in example["captions"].items()}
    return Clip(
        video=np.asarray(example["video"]),
        fps=float(example["fps"]),
        captions={name: caption for name, caption in captions.items() if caption},
        id=_text(example["id"]),
        state=_to_state(example["state"]) if "state" in example else None,
    )


def _to_state(example: Mapping[str, Any]) -> SceneState:
    events = _rows(example["events"], _EVENT)
    arrays: dict[str, Any] = {name: np.asarray(example[name], dtype) for name, (_, dtype) in _ARRAYS.items()}
    return SceneState(
        **arrays,
        bodies=tuple(Body(**row) for row in _rows(example["bodies"], _BODY)),
        events=tuple((r["seconds"], r["verb"], r["first"], r["second"]) for r in events),
        family=_text(example["family"]),
    )


def _columns(rows: Sequence[Sequence[Any]], columns: Mapping[str, type]) -> dict[str, Any]:
    plain = {name: [row[k] for row in rows] for k, name in enumerate(columns)}
    return {
        name: plain[name] if kind is str else np.array(plain[name], np.float64 if kind is float else np.int64)
        for name, kind in columns.items()
    }


def _rows(table: Mapping[str, Any], columns: Mapping[str, type]) -> list[dict[str, Any]]:
    plain = [[_text(x) if kind is str else kind(x) for x in table[name]] for name, kind in columns.items()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
