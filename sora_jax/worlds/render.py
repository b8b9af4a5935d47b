"""A rasteriser with exact coverage: bodies, the screens before them, and the marks they leave.

Edges of several shapes within one pixel are composed as if independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.lib.stride_tricks import sliding_window_view

from sora_jax.types import Body, Mark
from sora_jax.worlds import marks as marks_lib
from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.coverage import between
from sora_jax.worlds.coverage import circle_coverage as circle_coverage
from sora_jax.worlds.coverage import object_coverage as object_coverage
from sora_jax.worlds.coverage import polygon_coverage as polygon_coverage


def render(
    bodies: tuple[Body, ...],
    position: Float[np.ndarray, "f o 2"],
    angle: Float[np.ndarray, "f o"],
    *,
    height: int,
    width: int,
    background: tuple[float, float, float] = scene_lib.BACKGROUND,
    alive: Bool[np.ndarray, "f o"] | None = None,
    occluder: Sequence[bool] = (),
    marks: Sequence[Mark] = (),
    turned: Float[np.ndarray, " f"] | None = None,
) -> tuple[UInt8[np.ndarray, "f h w 3"], Float[np.ndarray, "f o"]]:
    """Draw every frame, the last body in front, and screens before all others.

    Args:
      alive, occluder, marks, turned: as in `types.SceneState`; None or () = all alive, no screens, no marks,
        nothing becomes anything.

    Returns:
      the frames, and the share of what there is of each object (without what is bitten off) that is neither
      hidden by one drawn later nor outside the frame; 0 where it is not alive.
    """
    frames = len(position)
    light = np.zeros((frames, 3, height, width), np.float32)
    through = np.ones((frames, height, width), np.float32)  # what the objects in front let through
    visible = np.zeros((frames, len(bodies)), np.float32)
    every = np.arange(frames)
    order = _front_to_back(len(bodies), occluder)
    if turned is not None:  # objects 0 and 1 are one, drawn in the place of the first
        order.remove(1)
        if alive is not None:
            alive = np.column_stack([alive[:, :2].any(1), alive[:, 1:]])
    for k in order:
        body, color = bodies[k], np.array(scene_lib.PALETTE[bodies[k].color], np.float32)
        where = position[:, k], angle[:, k]
        if turned is not None and k == 0:
            coverage, origin, area = between(body, bodies[1], turned, *where, height=height, width=width)
            color = _between_colors(body, bodies[1], turned)
        else:
            coverage, origin, area = object_coverage(body, *where, height=height, width=width)
        window, (column, row) = coverage.shape[1:], origin.T
        bites = [mark for mark in marks if mark.kind == "bite" and mark.body == k]
        for bite in bites:
            coverage *= 1 - marks_lib.bite_coverage(
                bite, *where, height=height, width=width, origin=origin, window=window
            )
        if alive is not None and not alive[:, k].all():
            coverage *= alive[:, k, None, None]
        passing = sliding_window_view(through, window, axis=(1, 2), writeable=True)  # pyright: ignore
        behind = passing[every, row, column]
        seen = behind * coverage
        passing[every, row, column] = behind - seen
        visible[:, k] = seen.sum((1, 2)) / area
        if bites:
            visible[:, k] /= np.maximum(marks_lib.kept_share(body, bites, frames), 1e-6)
        for channel, value in enumerate(color):
            plane = sliding_window_view(light[:, channel], window, axis=(1, 2), writeable=True)  # pyright: ignore
            plane[every, row, column] += seen * value
    for mark in reversed(marks):
        if mark.kind != "bite":
            _paint(mark, position[:, mark.body], light, through)
    if turned is not None:  # what is seen is the first, then the second
        visible[:, :2] = np.where((turned < 0.5)[:, None], (1, 0), (0, 1)) * visible[:, :1]
    video = np.empty((frames, height, width, 3), np.uint8)
    for channel, value in enumerate(background):
        video[..., channel] = (light[:, channel] + through * np.float32(value)) * 255 + 0.5
    return video, visible.clip(0, 1)


def _front_to_back(objects: int, occluder: Sequence[bool]) -> list[int]:
    """The order of drawing: screens first, each kind from the last body to the first."""
    screens = [k for k in range(objects) if occluder and occluder[k]]
    return screens[::-1] + [k for k in reversed(range(objects)) if k not in screens]


def _between_colors(
    first: Body, second: Body, share: Float[np.ndarray, " f"]
) -> Float[np.ndarray, "3 f 1 1"]:
    """RGB of every frame, `share` of the way from one body's to another's."""
    ends = np.array([scene_lib.PALETTE[body.color] for body in (first, second)], np.float32)
    return ((1 - share) * ends[0][:, None] + share * ends[1][:, None])[..., None, None].astype(np.float32)


def _paint(mark: Mark, position: np.ndarray, light: np.ndarray, through: np.ndarray) -> None:
    """Put a stroke or a string behind all that `through` (changed in place) has let pass so far."""
    height, width = through.shape[1:]
    seen = through * marks_lib.canvas_coverage(mark, position, height=height, width=width)
    through -= seen
    for channel, value in enumerate(scene_lib.PALETTE[mark.color]):
        light[:, channel] += seen * np.float32(value)
