"""What the modes of prompting promise, as numbers of pixels and of parsed tracks.

Rows of the table of claims: animate P2, extend P3 and P4, loop P5, edit P6, connect P7, storyboard P10, fill
P12, drift E3. Every measure is a function of videos alone, so that a naive way and the truth go through the
same code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.evaluation.physics import shots as shots_lib
from sora_jax.evaluation.physics.tracks import Tracks, parse
from sora_jax.worlds.scene import PALETTE

Pixels = UInt8[np.ndarray, "f h w 3"]

AROUND = 1  # frames on each side of a join whose change of velocity is the join's
LIT = 0.25  # of full contrast from the background: a pixel of an object
MOST_PSNR = 60.0  # dB, of equal pixels


def psnr(a: Pixels, b: Pixels) -> float:
    """dB of two videos of one shape; `MOST_PSNR` if they are nearly equal."""
    if a.shape != b.shape:
        raise ValueError(f"videos of shapes {a.shape} and {b.shape}: bring them to one")
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return MOST_PSNR if error == 0 else min(MOST_PSNR, 10 * math.log10(255**2 / error))


def steps(video: Pixels, *, cyclic: bool = False) -> Float[np.ndarray, " k"]:
    """Mean absolute change from each frame to the next, in [0, 1]; cyclic: from the last to the first too."""
    frames = video.astype(np.float64) / 255
    if cyclic:
        frames = np.concatenate([frames, frames[:1]])
    return np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))


def seam(video: Pixels) -> float:
    """The step across a loop's seam over its median step."""
    taken = steps(video, cyclic=True)
    return float(taken[-1] / max(np.median(taken), 1e-6))


def largest_step(video: Pixels) -> float:
    """The largest step over the mean one: 1 is even, much more is a break."""
    taken = steps(video)
    return float(taken.max() / max(taken.mean(), 1e-6))


def main_track(tracks: Tracks) -> int | None:
    """The object that is seen longest; None if nothing is."""
    return int(tracks.present.sum(0).argmax()) if tracks.parsable else None


def velocity_changes(tracks: Tracks) -> Float[np.ndarray, " f"]:
    """|v_f - v_(f-1)| of the main object at every frame, world units/s; NaN where it is not wholly seen."""
    found = np.full(tracks.frames, np.nan)
    track = main_track(tracks)
    if track is None:
        return found
    whole = tracks.present[:, track] & ~tracks.edge[:, track]
    place = np.where(whole[:, None], tracks.position[:, track], np.nan)
    found[1:-1] = np.linalg.norm(np.diff(place, n=2, axis=0), axis=1) * tracks.fps
    return found


def join(video: Pixels, *, at: int, fps: float) -> tuple[float, float]:
    """(mean change of velocity at the join, mean change elsewhere), world units/s; NaN where nothing is seen.

    Args:
      at: the first frame after the join.
    """
    changes = velocity_changes(parse(video, fps=fps))
    near = np.zeros(len(changes), bool)
    near[at - 1 - AROUND : at + AROUND + 1] = True
    with np.errstate(invalid="ignore"):
        inside, there = changes[~near], changes[near]
        return (
            float(np.nanmean(there)) if np.isfinite(there).any() else math.nan,
            float(np.nanmean(inside)) if np.isfinite(inside).any() else math.nan,
        )


def object_color(frames: Pixels) -> Float[np.ndarray, " 3"]:
    """Mean RGB in [0, 1] of all pixels that differ from the background (the median pixel); NaN if none do."""
    pixels = frames.reshape(-1, 3).astype(np.float64) / 255
    lit = np.abs(pixels - np.median(pixels, axis=0)).max(1) > LIT
    return pixels[lit].mean(0) if lit.any() else np.full(3, np.nan)


def color_drift(parts: Sequence[Pixels]) -> float:
    """Slope per part of the object's RGB distance from its colour in the first; a lost object is 1 away."""
    colors = np.array([object_color(part) for part in parts])
    distance = np.linalg.norm(colors - colors[0], axis=1)
    distance = np.where(np.isnan(distance), 1.0, distance)
    return float(np.polyfit(np.arange(len(parts)), distance, 1)[0])


def coherent(video: Pixels, *, fps: float, objects: int) -> float:
    """Share of the frames that show exactly so many objects."""
    return float(np.mean(parse(video, fps=fps).present.sum(1) == objects))


def shows_colors(video: Pixels, colors: Sequence[str], *, fps: float) -> np.ndarray:
    """`[f]` bool: the frame shows one object of each of these colours and nothing else."""
    tracks = parse(video, fps=fps)
    names = list(PALETTE)
    asked = sorted(names.index(color) for color in colors)
    return np.array(
        [sorted(tracks.hue[f, tracks.present[f]].tolist()) == asked for f in range(tracks.frames)], bool
    )


def comes_back(after: Pixels, *, color: str, shape: str, fps: float) -> bool:
    """Whether an object of this look, and no other, is seen for two frames or more."""
    tracks = parse(after, fps=fps)
    shown = np.flatnonzero(tracks.present.sum(0) >= 2)
    return len(shown) == 1 and (tracks.color[shown[0]], tracks.shape[shown[0]]) == (color, shape)


def cuts_found(video: Pixels, expected: Sequence[int], *, fps: float) -> float:
    """Share of the expected cuts (first frames of shots) that are seen within one frame."""
    seen = shots_lib.cuts(parse(video, fps=fps))
    return float(np.mean([any(abs(f - cut) <= 1 for f in seen) for cut in expected]))


def unasked_cut(video: Pixels, expected: Sequence[int] = (), *, fps: float) -> float:
    """1 where a cut is seen that is not within one frame of an expected one, else 0."""
    seen = shots_lib.cuts(parse(video, fps=fps))
    return float(any(all(abs(f - cut) > 1 for cut in expected) for f in seen))


def cuts_seen(video: Pixels, *, fps: float) -> int:
    """Cuts in a video that nobody asked for any in."""
    return len(shots_lib.cuts(parse(video, fps=fps)))


def cast_kept(video: Pixels, cuts: Sequence[int], *, fps: float) -> float:
    """Share of the later shots that show the looks (colour, shape) of the first one's objects, no others."""
    borders = [0, *cuts, len(video)]
    looks = []
    for first, stop in itertools.pairwise(borders):
        tracks = parse(video[first:stop], fps=fps)
        standing = np.flatnonzero(tracks.present.mean(0) > 0.5)
        looks.append(sorted((tracks.color[k], tracks.shape[k]) for k in standing))
    return float(np.mean([look == looks[0] and bool(look) for look in looks[1:]]))


def places_apart(a: Pixels, b: Pixels, *, fps: float) -> float:
    """Median distance of the main objects of two videos of one length, world units; NaN if one shows none.

    World units do not depend on the size in pixels: a draft can be held against its large version.
    """
    found = [parse(video, fps=fps) for video in (a, b)]
    chosen = [main_track(tracks) for tracks in found]
    if None in chosen:
        return math.nan
    first, second = (tracks.position[:, k] for tracks, k in zip(found, chosen, strict=True))
    apart = np.linalg.norm(first - second, axis=1)
    return float(np.nanmedian(apart)) if np.isfinite(apart).any() else math.nan


def cross_fade(a: Pixels, b: Pixels, frames: int) -> Pixels:
    """`frames` frames from the last of `a` to the first of `b` in even steps: the naive way to connect."""
    weight = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
    mixed = (1 - weight) * a[-1].astype(np.float64) + weight * b[0]
    return np.round(mixed).astype(np.uint8)
