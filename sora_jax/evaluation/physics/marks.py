"""Marks that contact leaves, read from pixels: are they there, do they stay, and does contact cause them?

A mark is what tells two drawings of the truth apart, one with marks and one without. In the drawing without,
ground is every pixel that shows what can be marked: the bitten body, or the canvas; a rim of `RIM` around
everything else, and of `EDGE` on either side of the mark's edge, does not count. Of the ground, marked is
what the video no longer shows as the body (a bite), or shows in the paint's colour (a stroke); each pixel is
told by the nearest of the clip's colours. Blind to marks off the ground, to their edges, and read at the true
place: a body that is elsewhere takes its mark along, and loses it. The drawings have the video's own
background, unless that is a colour of the clip's.

`metric(observed, truth) -> score` in [0, 1], 1 best.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float

from sora_jax.evaluation.physics.remembered import remembered
from sora_jax.evaluation.physics.suite import Observed
from sora_jax.evaluation.physics.tracks import Tracks
from sora_jax.types import Body, SceneState
from sora_jax.worlds import render as render_lib
from sora_jax.worlds.scene import PALETTE, SHORT_SIDE

TOOL, TARGET = 0, 1  # numbers of the bodies in the world's clips: biter and bitten, brush and paint
RIM = 0.16  # world units: 2 pixels of 128
EDGE = 0.08  # world units: 1 pixel of 128; there a compressed video blends
LEAST = 0.25  # world units squared: a smaller mark is not measured
DISTINCT = 0.25  # RGB distance of a background from every colour of the clip; the worlds' own have 0.3
PURE = 0.06  # RGB distance within which the drawing shows one colour alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ground:
    """Of every frame `[f h w]` bool: pixels that can be marked, that are in truth, and in the video.

    Attributes:
      true, seen: within the ground; frames that the video lacks have none seen.
      behind: ground that a screen has been in front of, since it was marked or not.
      pixel: world units squared of one.
    """

    true: Bool[np.ndarray, "f h w"]
    seen: Bool[np.ndarray, "f h w"]
    behind: Bool[np.ndarray, "f h w"]
    pixel: float


def _background(tracks: Tracks, truth: SceneState) -> Float[np.ndarray, " 3"]:
    apart = min(math.dist(PALETTE[b.color], tracks.background) for b in truth.bodies)
    return tracks.background if apart > DISTINCT else np.array(truth.background)


def _drawn(tracks: Tracks, truth: SceneState, bodies: Sequence[int], *, marks: bool) -> np.ndarray:
    """The truth's frames as RGB in [0, 1], at the video's size; some of the bodies."""
    bodies = list(bodies)
    video, _ = render_lib.render(
        tuple(truth.bodies[k] for k in bodies),
        truth.position[:, bodies].astype(np.float64),
        truth.angle[:, bodies].astype(np.float64),
        height=tracks.height,
        width=tracks.width,
        background=tuple(_background(tracks, truth).tolist()),
        alive=truth.alive[:, bodies],
        occluder=tuple(truth.occluder[k] for k in bodies) if truth.occluder else (),
        marks=truth.marks if marks else (),
    )
    return video.astype(np.float32) / 255


@remembered
def ground(observed: Observed, truth: SceneState) -> Ground:
    """Where the truth's clip can be marked, and is."""
    tracks, scale = observed.tracks, min(observed.tracks.height, observed.tracks.width) / SHORT_SIDE
    every = range(len(truth.bodies))
    bare, marked = (_drawn(tracks, truth, every, marks=m) for m in (False, True))
    paint = np.array(PALETTE[truth.bodies[TARGET].color], np.float32)
    others = [PALETTE[b.color] for k, b in enumerate(truth.bodies) if k != TARGET]
    colors = np.array([_background(tracks, truth), paint, *others], np.float32)
    bite = truth.family == "bite"
    here = np.linalg.norm(bare - colors[1 if bite else 0], axis=-1) < PURE
    here = _inner(here, RIM * scale)
    video = np.zeros_like(bare)
    both = min(len(video), len(observed.video))
    video[:both] = observed.video[:both] / np.float32(255)

    def painted(frames: np.ndarray) -> np.ndarray:
        found = np.zeros(here.shape, bool)
        found[here] = _nearest(frames[here], colors) == 1
        return here & (found ^ bite)

    true = painted(marked)
    here &= _inner(true, EDGE * scale) | _inner(~true, EDGE * scale)
    seen = painted(video)
    seen[both:] = False
    return Ground(
        true=true & here,
        seen=seen,
        behind=_passed(tracks, truth, here.shape) & here,
        pixel=1 / scale**2,
    )


def _inner(mask: Bool[np.ndarray, "f h w"], pixels: float) -> Bool[np.ndarray, "f h w"]:
    """Where all within so many pixels (one at least, in rows and columns) is in the mask too."""
    kernel = np.ones((2 * max(1, round(pixels)) + 1,) * 2, np.uint8)
    return np.stack([cv2.erode(f, kernel, borderValue=1) for f in mask.astype(np.uint8)]).astype(bool)


def _nearest(pixels: Float[np.ndarray, "k 3"], colors: Float[np.ndarray, "c 3"]) -> np.ndarray:
    return ((colors**2).sum(axis=1) - 2 * pixels @ colors.T).argmin(axis=1)


def _passed(tracks: Tracks, truth: SceneState, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels that a screen covered in an earlier frame."""
    screens = np.flatnonzero(truth.occluder)
    if not len(screens):
        return np.zeros(shape, bool)
    alone = _drawn(tracks, truth, screens.tolist(), marks=False)
    covered = np.abs(alone - _background(tracks, truth).astype(np.float32)).max(axis=-1) > PURE
    return np.maximum.accumulate(covered, axis=0)


def _iou(found: Ground, frames: np.ndarray, *, within: np.ndarray | None = None) -> float:
    """Mean of |true and seen| / |true or seen| over the frames in which the true one is large enough."""
    true, seen = found.true[frames], found.seen[frames]
    if within is not None:
        true, seen = true & within[frames], seen & within[frames]
    used = true.sum(axis=(1, 2)) * found.pixel >= LEAST
    if not used.any():
        return math.nan
    both, either = (true & seen)[used].sum(axis=(1, 2)), (true | seen)[used].sum(axis=(1, 2))
    return float((both / either).mean())


def marked_from(truth: SceneState, *, fps: float) -> int:
    """The first frame after the contact, or after the near miss."""
    touch = np.flatnonzero(truth.contact[:, TOOL, TARGET])
    return int(touch[-1]) + 1 if len(touch) else math.ceil(truth.events[0][0] * fps) + 1


def _applies(truth: SceneState) -> bool:
    return bool(truth.contact[:, TOOL, TARGET].any()) and bool(truth.marks)


def kept(observed: Observed, truth: SceneState) -> float:
    """Mean IoU of the mark over the frames from the end of the contact to the end of the clip.

    NaN where nothing is marked. Blind to the time before, and to the mark's colour unless it is paint.
    """
    if not _applies(truth):
        return math.nan
    frames = np.arange(marked_from(truth, fps=observed.fps), len(truth.alive))
    return _iou(ground(observed, truth), frames)


def kept_behind(observed: Observed, truth: SceneState) -> float:
    """Mean IoU of the mark over what a screen has hidden and shows again.

    NaN where nothing is marked or no screen passes. Blind to what no screen has hidden.
    """
    if not _applies(truth) or not any(truth.occluder):
        return math.nan
    found = ground(observed, truth)
    frames = np.arange(marked_from(truth, fps=observed.fps), len(truth.alive))
    return _iou(found, frames, within=found.behind)


def trace(observed: Observed, truth: SceneState) -> float:
    """How much of a mark the video shows after the contact or near miss, 0 to 1: mean of min(seen / A, 1).

    A is the true mark's area in the frame; after a near miss half the area of the tool's disc. The mean is
    over frames in which A, and the ground, are `LEAST` or more. Where the mark is does not matter.
    """
    found = ground(observed, truth)
    first = marked_from(truth, fps=observed.fps)
    seen, true = (x[first:].sum(axis=(1, 2)) * found.pixel for x in (found.seen, found.true))
    tool: Body = truth.bodies[TOOL]
    whole = true if _applies(truth) else np.full(len(seen), math.pi * tool.radius**2 / 2)
    used = whole >= LEAST
    return float(np.minimum(seen[used] / whole[used], 1).mean()) if used.any() else math.nan


def cause(observed: Observed, truth: SceneState) -> float:
    """A mark if and only if there was contact: `trace` after a contact, 1 - `trace` after a near miss.

    Blind, mostly, to when a mark goes; a mark far from where it should be counts as none: `kept` sees both.
    """
    value = trace(observed, truth)
    return value if _applies(truth) else 1 - value


def cause_score(traces: Sequence[float], truths: Sequence[SceneState]) -> float:
    """Over clips: mean trace after contact - mean trace after near misses, from -1 to 1; 1 = contact causes.

    0 = it makes no difference: marks never, always or at random. NaN without clips of both kinds.
    """
    hit = np.array([_applies(t) for t in truths], bool)
    values = np.asarray(traces, np.float64)
    if not hit.any() or hit.all():
        return math.nan
    return float(np.nanmean(values[hit]) - np.nanmean(values[~hit]))
