"""Scores of a video against the true camera and the true depth: does the picture move as the camera would?

Each is a function of (video `[f h w 3]` uint8, `types.SceneState3D`) to a score in [0, 1], 1 best. NaN = the
truth is not one the metric is about (the camera does not move, or does not return). A video of another size,
length or type than the truth's scores 0. Only pixels that show what never moves enter: the room, and objects
at rest.

What each does not see is said in its docstring. Measured on 40 clips (26 still, 14 with moving objects; 14
orbits, 16 pans, 10 dollies; 7 return; 17 frames, short side 96 or 128) with `camera_corruptions.DOSES`: mean
of truth, and of truth through H.264 (crf 12); mean over clips of Spearman's correlation of score and dose;
AUROC of the smallest dose; and the AUROC of a corruption the metric should not see:

| metric | truth | mp4 | falls with | Spearman | AUROC | not with |
|---|---|---|---|---|---|---|
| rotation | .990 | .990 | scale, wrong sign, time warp (no dolly) | -1.00 -.96 -1.00 | 1.00 | palette .49 |
| translation | .982 | .981 | wrong sign, time warp, no return | -.98 -1.00 -1.00 | 1.00 | palette .44 |
| travel | .990 | .989 | scale, no return | -1.00 -1.00 | 1.00 | palette .38 |
| sampson | .995 | .995 | non-rigid | -1.00 | .95 | no return .50 |
| warp | .992 | .992 | scale, wrong sign, time warp, non-rigid | -1.00 | .97 1.00 .99 1.00 | palette .57 |
| coherence | .991 | .990 | no return, palette, non-rigid | -1.00 | .96 1.00 1.00 | scale .53 |

Nulls (6 clips): noise and grey 0 to .17 everywhere; a frozen first frame 0 on translation and travel, .33 on
rotation (dollies do not turn), .63 on warp, but .97 on sampson, which asks only that what moves moves right.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sora_jax.evaluation.physics import epipolar
from sora_jax.evaluation.physics.camera_path import (
    Path,
    angles,
    back_project,
    estimate_path,
    lit_mask,
    project,
    sample,
    usable,
)
from sora_jax.types import SceneState3D

LEAST_TURN = math.radians(10)  # of the truth's mean: errors of a smaller turn are measured against this
LEAST_TRAVEL = 0.1  # metres: a camera that never gets farther from its start does not travel
READING = 0.5  # pixels: what tracking itself errs by, so what a true path is read from its picture to
BLUR = 1.0  # pixels, standard deviation: two samplings of one texture are compared above it
SLACK = 0.012  # of the range: what two samplings of one texture differ by
OCCLUDED = 0.03  # relative excess of depth over the depth map's: more is hidden
STEP = 2  # every which row and column of pixels is warped
LAGS = (0.125, 0.25)  # of the clip's length, between the frames of a warp
SAME_PLACE, SAME_TURN = 0.03, math.radians(0.7)  # metres and radians: poses that count as one
AWAY_PLACE, AWAY_TURN = 0.15, math.radians(4)  # in between the camera has been as far as that
CAMERA_METRICS = ("rotation", "translation", "travel", "sampson", "warp", "coherence")


def camera_scores(video: UInt8[np.ndarray, "f h w 3"], state: SceneState3D) -> dict[str, float]:
    """All of `CAMERA_METRICS`; the path is estimated once."""
    path = estimate_path(video, state) if usable(video, state) else None
    return {
        "rotation": rotation_score(video, state, path=path),
        "translation": translation_score(video, state, path=path),
        "travel": travel_score(video, state, path=path),
        "sampson": epipolar.known_pose_score(video, state),
        "warp": warp_score(video, state),
        "coherence": coherence_score(video, state),
    }


def centers(world_to_camera: Float[np.ndarray, "f 4 4"]) -> Float[np.ndarray, "f 3"]:
    """Where the camera is, in the world, metres."""
    return -np.einsum("fji,fj->fi", world_to_camera[:, :3, :3], world_to_camera[:, :3, 3])


def rotation_errors(path: Path, state: SceneState3D) -> Float[np.ndarray, " f"]:
    """Degrees between the estimated and the true orientation, arccos((trace(R_est R_true^T) - 1) / 2)."""
    return np.degrees(angles(path.world_to_camera, state.world_to_camera))


def reading(state: SceneState3D) -> tuple[float, float]:
    """The turn in degrees, and the shift in metres at the median depth, that move a point by `READING`."""
    share = READING / float(state.intrinsics[0, 0, 0])
    return math.degrees(share), share * float(np.median(state.depth))


def rotation_score(video: np.ndarray, state: SceneState3D, *, path: Path | None = None) -> float:
    """1 - mean_f max(error - r, 0) / max(mean_f true turn since frame 0, LEAST_TURN), degrees, at least 0.

    r = the turn of `reading`. A frame whose pose is not found counts as wrong by the denominator. Never
    NaN: a camera that should not turn is asked not to. Blind to where the camera is (a dolly too far), and
    to what happens between the tracked corners. Error as in Sturm et al. 2012, "A benchmark for the
    evaluation of RGB-D SLAM systems".
    """
    if not usable(video, state):
        return 0.0
    path = estimate_path(video, state) if path is None else path
    turn = np.degrees(angles(state.world_to_camera, state.world_to_camera[:1]))[1:].mean()
    against = max(float(turn), math.degrees(LEAST_TURN))
    beyond = np.maximum(rotation_errors(path, state) - reading(state)[0], 0)
    errors = np.where(path.found, beyond, against)[1:]
    return max(0.0, 1 - float(errors.mean()) / against)


def _travels(state: SceneState3D) -> np.ndarray | None:
    """True displacement since frame 0, `[f 3]` metres, or None if the camera stays where it is."""
    moved = centers(state.world_to_camera) - centers(state.world_to_camera[:1])
    return moved if np.linalg.norm(moved, axis=1).max() > LEAST_TRAVEL else None


def _aligned(path: Path, state: SceneState3D, moved: np.ndarray) -> tuple[float, np.ndarray]:
    """The scale s >= 0 that takes the estimated path nearest to the true one, and the estimated path."""
    guess = centers(path.world_to_camera) - centers(state.world_to_camera[:1])
    guess[~path.found] = 0
    power = float((guess**2).sum())
    return max(0.0, float((guess * moved).sum()) / power) if power > 1e-9 else 0.0, guess


def _distance(moved: np.ndarray) -> float:
    """Metres from the start, mean over the later frames."""
    return float(np.linalg.norm(moved, axis=1)[1:].mean())


def translation_score(video: np.ndarray, state: SceneState3D, *, path: Path | None = None) -> float:
    """1 - mean_f max(|s c_est(f) - c_true(f)| - r, 0) / mean_f |c_true(f)|, at least 0.

    c = place since frame 0, r = the shift of `reading`, metres; s = max(0, sum c_est . c_true / sum
    |c_est|^2), the least-squares scale (Umeyama 1991 with the rotation known): a path of the right form and
    the wrong length is right, one that goes the other way, or nowhere, has s = 0 and scores 0. NaN where the
    camera does not travel. Blind to the path's length (`travel_score` sees it).
    """
    moved = _travels(state)
    if moved is None:
        return math.nan
    if not usable(video, state):
        return 0.0
    path = estimate_path(video, state) if path is None else path
    s, guess = _aligned(path, state, moved)
    if s == 0:
        return 0.0
    error = np.maximum(np.linalg.norm(s * guess - moved, axis=1) - reading(state)[1], 0)[1:].mean()
    return max(0.0, 1 - float(error / _distance(moved)))


def travel_score(video: np.ndarray, state: SceneState3D, *, path: Path | None = None) -> float:
    """min(s, 1 / s) + r / mean_f |c_true(f)|, at most 1: is the path as long as it should be?

    s = the scale, r and c as in `translation_score`; 0 where s is 0. NaN where the camera does not travel.
    Blind to the path's form.
    """
    moved = _travels(state)
    if moved is None:
        return math.nan
    if not usable(video, state):
        return 0.0
    s, _ = _aligned(estimate_path(video, state) if path is None else path, state, moved)
    return min(1.0, min(s, 1 / s) + reading(state)[1] / _distance(moved)) if s > 0 else 0.0


def _blurred(video: np.ndarray) -> Float[np.ndarray, "f h w 3"]:
    return np.stack([cv2.GaussianBlur(f, (0, 0), BLUR) for f in video.astype(np.float32) / 255])


def _apart(state: SceneState3D) -> np.ndarray:
    """`lit_mask` as far from what moves as the blur reaches, three standard deviations."""
    near = np.ones((2 * math.ceil(3 * BLUR) + 1,) * 2, np.uint8)
    return np.stack([cv2.erode(m.astype(np.uint8), near) for m in lit_mask(state)]).astype(bool)


def _contrast(video: Float[np.ndarray, "f h w 3"], mask: np.ndarray) -> float:
    """Mean of max(|I(p) - I(q)| - SLACK, 0) of static pixels p, q taken at random: what chance errs by."""
    pixels = video[:, ::STEP, ::STEP][mask[:, ::STEP, ::STEP]]
    if len(pixels) < 2:
        return 0.0
    order = np.random.default_rng(0).permutation(len(pixels))
    return _beyond(np.abs(pixels - pixels[order]).mean(axis=1))


def _beyond(errors: np.ndarray) -> float:
    """Mean of what differences of pixels have beyond `SLACK`."""
    return float(np.maximum(errors - SLACK, 0).mean())


def warp_errors(
    video: Float[np.ndarray, "f h w 3"], state: SceneState3D, first: int, second: int, mask: np.ndarray
) -> Float[np.ndarray, " k"]:
    """|I_second(p) - I_first(p')| of the static pixels p of one frame that are seen in the other at p'.

    p' = projection by the first pose of the place of p by the second pose and its depth; seen: in the frame,
    static there, and no deeper than the first depth map by more than OCCLUDED.
    """
    rows, columns = STEP * np.stack(np.nonzero(mask[second][::STEP, ::STEP]))
    points = np.stack([columns, rows], axis=1) + 0.5
    places = back_project(
        points, state.depth[second][rows, columns], state.intrinsics[second], state.world_to_camera[second]
    )
    pixels, depth = project(places, state.intrinsics[first], state.world_to_camera[first])
    surface = 1 / sample((1 / state.depth[first]).astype(np.float32), pixels)
    inner = sample(cv2.erode(mask[first].astype(np.float32), np.ones((5, 5))), pixels, outside=0.0)
    seen = (depth > 0) & (np.abs(depth / surface - 1) < OCCLUDED) & (inner > 0.999)
    return np.abs(video[second][rows[seen], columns[seen]] - sample(video[first], pixels[seen])).mean(axis=1)


def warp_score(video: np.ndarray, state: SceneState3D) -> float:
    """1 - mean max(|I_b(p) - I_a(warp(p))| - SLACK, 0) / mean max(|I(p) - I(q)| - SLACK, 0), at least 0.

    p and q are any two static pixels, so that chance scores 0. Frames a < b are `LAGS` of the clip apart;
    the warp is by the true depth and poses (as in Zhou et al. 2017, arXiv 1704.07813, Eq. 2, with truth for
    the networks), where visible. The denominator is of the video itself, so that a grey one has no contrast
    and scores 0. NaN where the camera does not move. Blind to what moves, to detail below `BLUR`, and to
    where the picture has no texture.
    """
    pose = state.world_to_camera
    moves = _travels(state) is not None or angles(pose, pose[:1]).max() > AWAY_TURN
    if not moves:
        return math.nan
    if not usable(video, state):
        return 0.0
    soft, mask = _blurred(video), _apart(state)
    contrast = _contrast(soft, mask)
    lags = sorted({max(1, round(lag * len(video))) for lag in LAGS})
    pairs = [(f, f + lag) for lag in lags for f in range(0, len(video) - lag, max(1, lag // 2))]
    errors = np.concatenate([warp_errors(soft, state, a, b, mask) for a, b in pairs])
    return _against(errors, contrast)


def _against(errors: np.ndarray, contrast: float) -> float:
    """The score of differences of pixels; of nothing to compare, or of a blank picture, 0."""
    if not len(errors) or contrast < 1 / 255:
        return 0.0
    return float(np.clip(1 - _beyond(errors) / contrast, 0, 1))


def returns_of(state: SceneState3D) -> list[tuple[int, int]]:
    """Frames (a, b) that the camera takes from one pose, having been elsewhere in between."""
    pose, place = state.world_to_camera, centers(state.world_to_camera)
    found = []
    for a in range(len(pose)):
        turn, away = angles(pose, pose[a : a + 1]), np.linalg.norm(place - place[a], axis=1)
        for b in range(a + 2, len(pose)):
            left = (turn[a:b].max() > AWAY_TURN) or (away[a:b].max() > AWAY_PLACE)
            if left and turn[b] < SAME_TURN and away[b] < SAME_PLACE:
                found.append((a, b))
    return found


def coherence_score(video: np.ndarray, state: SceneState3D) -> float:
    """1 - mean max(|I_a(p) - I_b(p)| - SLACK, 0) / mean max(|I(p) - I(q)| - SLACK, 0), at least 0.

    Frames a and b are `returns_of`: when the camera is back, what does not move looks as before. NaN where
    it never comes back. Blind to everything in between, so to the path's length, form and sign.
    """
    pairs = returns_of(state)
    if not pairs:
        return math.nan
    if not usable(video, state):
        return 0.0
    soft, mask = _blurred(video), _apart(state)
    errors = [np.abs(soft[a] - soft[b])[mask[a] & mask[b]].mean(axis=1) for a, b in pairs]
    return _against(np.concatenate(errors), _contrast(soft, mask))
