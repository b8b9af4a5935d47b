"""From pixels to tracks: what a video shows, as objects with a place in every frame.

`parse` detects the objects of each frame (`segment.detect`) and joins them over time by a minimum-cost
assignment of position, colour and area in which leaving unmatched has a price of its own, so that an object
that vanishes ends its track's presence and one that appears out of nothing begins another. Nothing is fitted
to what was expected: the parser never sees the prompt.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.optimize import linear_sum_assignment

from sora_jax.evaluation.physics import segment, shapes
from sora_jax.types import Shape
from sora_jax.worlds.scene import PALETTE

UNMATCHED = 1.0  # price of leaving a track or a detection unmatched; a pair may cost up to twice that
REACH = 1.2  # world units from the predicted place that cost 1
TURNED = 0.6  # world units that it costs more to be near the last place, not the predicted one: a bounce
RIM = 1.0  # world units squared, under which what is only seen between others may be their mixed rim


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracks:
    """The objects a video shows. World units: origin at the frame's centre, y up, the short side is 10.

    Attributes:
      position: `[f o 2]` float64, NaN where absent.
      present: `[f o]` bool.
      area: `[f o]` float64, world units squared, 0 where absent.
      visible: `[f o]` float64, share of the object's own full area that is seen, 0 to 1.
      edge: `[f o]` bool: touches the frame's border.
      touching: `[f o]` bool: in contact with another object, or cut out of one group with it.
      color: `[o]` names of the palette, by vote.
      shape: `[o]` by majority over the frames in which the object is wholly seen.
      shape_share: `[o]` share of these frames that agree.
      hue: `[f o]` int32, index into the palette's colours of what each frame shows, -1 where absent.
      form: `[f o]` int32, index into `shapes.SHAPES` of what each frame shows, -1 where absent.
      radius: `[o]` world units, of the circle of the object's area.
      fps: frames per second; height, width: of the video in pixels.
      background: `[3]` RGB in [0, 1].
    """

    position: Float[np.ndarray, "f o 2"]
    present: Bool[np.ndarray, "f o"]
    area: Float[np.ndarray, "f o"]
    visible: Float[np.ndarray, "f o"]
    edge: Bool[np.ndarray, "f o"]
    touching: Bool[np.ndarray, "f o"]
    color: tuple[str, ...]
    shape: tuple[Shape, ...]
    shape_share: Float[np.ndarray, " o"]
    hue: Int[np.ndarray, "f o"]
    form: Int[np.ndarray, "f o"]
    radius: Float[np.ndarray, " o"]
    fps: float
    height: int
    width: int
    background: Float[np.ndarray, " 3"]

    @property
    def frames(self) -> int:
        return self.present.shape[0]

    @property
    def parsable(self) -> bool:
        """Whether anything object-like was seen at all."""
        return bool(self.present.any())

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half width and half height of the frame in world units."""
        scale = 5.0 / min(self.height, self.width)
        return self.width * scale, self.height * scale

    def part(self, first: int, stop: int) -> Tracks:
        """Frames [first, stop) alone; an object's looks are those that most of them show."""
        cut = {
            name: getattr(self, name)[first:stop]
            for name in ("position", "present", "area", "visible", "edge", "touching", "hue", "form")
        }
        looks = {"hue": list(self.color), "form": list(self.shape)}
        names = {"hue": tuple(PALETTE), "form": shapes.SHAPES}
        radius = self.radius.copy()
        for o in np.flatnonzero(cut["present"].any(0)):
            seen = cut["present"][:, o] & ~(cut["edge"][:, o] | cut["touching"][:, o])
            seen = seen if seen.any() else cut["present"][:, o]
            for kind, words in names.items():
                looks[kind][o] = words[int(np.bincount(cut[kind][seen, o]).argmax())]
            radius[o] = math.sqrt(float(np.median(cut["area"][seen, o])) / math.pi)
        return dataclasses.replace(
            self, **cut, color=tuple(looks["hue"]), shape=tuple(looks["form"]), radius=radius
        )


def parse(video: UInt8[np.ndarray, "f h w 3"], *, fps: float, min_radius: float = 0.3) -> Tracks:
    """The objects that a video shows, and their places.

    Args:
      video: uint8 RGB; one frame is an image.
      fps: frames per second, positive.
      min_radius: world units; smaller specks are ignored.

    Raises:
      ValueError: if the array is no uint8 video or fps is not positive.
    """
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise ValueError(f"expected uint8 [f h w 3] with no empty axis, got {video.dtype} {video.shape}")
    if not fps > 0:
        raise ValueError(f"fps {fps} is not positive")
    frames, height, width, _ = video.shape
    palette = np.array(list(PALETTE.values()), np.float64)
    least = segment.min_area_pixels(min_radius, height=height, width=width)
    found, base = segment.detect(video, palette=palette, min_area=least)
    x, y, radius = segment.world_units(found["x"], found["y"], found["area"], height=height, width=width)
    place = np.stack([x, y], axis=-1)
    track = assign(found, place, radius, frames=frames)
    kept = ~_rims(found, radius, track, frames=frames)[track]
    found, place, radius = found[kept], place[kept], radius[kept]
    track = np.unique(track[kept], return_inverse=True)[1]
    return _tracks(found, place, radius, track, video.shape, fps=fps, base=base)


def assign(
    found: np.ndarray, place: Float[np.ndarray, "k 2"], radius: Float[np.ndarray, " k"], *, frames: int
) -> Int[np.ndarray, " k"]:
    """Track number of each detection.

    A track predicts its next place with the mean of standing still and going on, or for `TURNED` more where
    it was; one that was lost may be taken up again in any later frame, from a place ever less certain.

    Args:
      found: `segment.DETECTION_DTYPE`, in order of frame; place, radius: the same in world units.
    """
    track = np.full(len(found), -1)
    last: list[int] = []  # the latest detection of each track
    previous: list[int] = []  # and the one before
    bounds = np.searchsorted(found["frame"], np.arange(frames + 1))
    for f in range(frames):
        new = np.arange(bounds[f], bounds[f + 1])
        if len(last) and len(new):
            old, before = np.array(last), np.array(previous)
            cost = _cost(found, place, radius, old=old, before=before, new=new, frame=f)
            n, m = cost.shape
            square = np.full((n + m, n + m), 0.0)
            square[:n, :m] = cost
            square[:n, m:] = square[n:, :m] = UNMATCHED
            for i, j in zip(*linear_sum_assignment(square), strict=True):
                if i < n and j < m and cost[i, j] < 2 * UNMATCHED:
                    track[new[j]] = i
                    previous[i], last[i] = last[i], new[j]
        for j in new[track[new] < 0]:
            track[j] = len(last)
            last.append(j)
            previous.append(j)
    return track


def _cost(
    found: np.ndarray,
    place: np.ndarray,
    radius: np.ndarray,
    *,
    old: np.ndarray,
    before: np.ndarray,
    new: np.ndarray,
    frame: int,
) -> np.ndarray:
    """Cost [old new] of each detection going on each track; a pair of cost 0 costs nothing."""
    gap = frame - found["frame"][old]
    since = np.maximum(found["frame"][old] - found["frame"][before], 1)
    speed = (place[old] - place[before]) / since[:, None]
    predicted = place[old] + speed * np.minimum(gap, 4)[:, None] * 0.75
    on, still = (np.linalg.norm(p[:, None] - place[new], axis=-1) for p in (predicted, place[old]))
    distance = np.where(gap[:, None] == 1, np.minimum(on, still + TURNED), on)
    reach = REACH * (1 + 0.25 * np.minimum(gap - 1, 8))
    hue = np.linalg.norm(found["rgb"][old][:, None] - found["rgb"][new], axis=-1) / 0.35
    ratio = np.abs(np.log(radius[old][:, None] / radius[new]))
    cut_off = found["edge"][old][:, None] | found["edge"][new]
    return distance / reach[:, None] + 0.7 * np.minimum(hue, 2) + np.where(cut_off, 0.3, 1.0) * ratio


def _rims(
    found: np.ndarray, radius: Float[np.ndarray, " k"], track: Int[np.ndarray, " k"], *, frames: int
) -> Bool[np.ndarray, " o"]:
    """Tracks that are no object: small, cut out of groups only, and in fewer than half of the frames.

    Where two objects touch, the pixels between them have a mixed colour, which may be a third one's.
    """
    count = int(track.max()) + 1 if len(track) else 0
    seen = np.bincount(track, minlength=count)
    apart = np.bincount(track, weights=~found["touching"], minlength=count)
    area = np.bincount(track, weights=np.pi * radius**2, minlength=count) / np.maximum(seen, 1)
    return (apart == 0) & (area < RIM) & (seen < frames / 2)


def _tracks(
    found: np.ndarray,
    place: np.ndarray,
    radius: np.ndarray,
    track: np.ndarray,
    shape: tuple[int, ...],
    *,
    fps: float,
    base: np.ndarray,
) -> Tracks:
    """Dense arrays over (frame, object) and the votes of each track."""
    frames, height, width, _ = shape
    count = int(track.max()) + 1 if len(track) else 0
    names = tuple(PALETTE)
    position = np.full((frames, count, 2), np.nan)
    area, visible = np.zeros((frames, count)), np.zeros((frames, count))
    present, edge, touching = (np.zeros((frames, count), bool) for _ in range(3))
    at = (found["frame"], track)
    position[at], present[at], edge[at], touching[at] = place, True, found["edge"], found["touching"]
    area[at] = np.pi * radius**2
    kind = shapes.classify(found["features"])
    hue, form = (np.full((frames, count), -1, np.int32) for _ in range(2))
    hue[at], form[at] = found["color"], kind
    colors, kinds, agree, full_radius = [], [], np.zeros(count), np.zeros(count)
    for o in range(count):
        mine = np.flatnonzero(track == o)
        clear = mine[~found["edge"][mine] & ~found["touching"][mine]]
        clear = clear if len(clear) else mine[~found["edge"][mine]] if (~found["edge"][mine]).any() else mine
        full = float(np.median(radius[clear]))
        full = full if not found["edge"][clear].all() else float(radius[mine].max())
        whole = clear[np.abs(radius[clear] / full - 1) < 0.1]
        votes = np.bincount(kind[whole] if len(whole) else kind[clear], minlength=len(shapes.SHAPES))
        colors.append(names[int(np.bincount(found["color"][mine], weights=found["area"][mine]).argmax())])
        kinds.append(shapes.SHAPES[int(votes.argmax())])
        agree[o], full_radius[o] = votes.max() / votes.sum(), full
        visible[found["frame"][mine], o] = np.minimum((radius[mine] / full) ** 2, 1)
    return Tracks(
        position=position,
        present=present,
        area=area,
        visible=visible,
        edge=edge,
        touching=touching,
        color=tuple(colors),
        shape=tuple(kinds),
        shape_share=agree,
        hue=hue,
        form=form,
        radius=full_radius,
        fps=float(fps),
        height=height,
        width=width,
        background=base,
    )
