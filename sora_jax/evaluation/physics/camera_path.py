"""The camera's path from a video's pixels: corners tracked by optical flow, and their poses by PnP.

No network: Shi-Tomasi corners, pyramidal Lucas-Kanade (Bouguet 2001) with a forward-backward check, and
perspective-n-point with RANSAC and Levenberg-Marquardt refinement, on places of the true scene. The first
frame's pose is taken as the true one (it is the gauge, and frame 0 is given in the protocol); corners found
later get their place where their ray, from the ESTIMATED pose, meets the true depth maps.

Pixels are those of `types.SceneState3D`: the centre of pixel (i, j) is (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from sora_jax.types import SceneState3D
from sora_jax.worlds.scene3d import LIGHT, reach_3d

CORNERS = 160  # at most, per anchor
LEAST = 10  # places a pose is fitted to, at least
OFF = 1.0  # pixels that the flow back may miss its start by
REPROJECTION = 1.5  # pixels: more is an outlier of a pose
RENEW = 0.65  # share of an anchor's corners below which new ones are sought
MOVING = 0.02  # metres from its first place: an object that ever goes farther is not part of the room
TURNING = 0.02  # likewise of a quaternion's distance
RIM = 0.05  # metres: a texel of the shadow map is 1.2 cm, and its edge is smoothed over some


class Path(NamedTuple):
    """World-to-camera at every frame, and whether it was found; what was not is the last one found."""

    world_to_camera: Float[np.ndarray, "f 4 4"]
    found: Bool[np.ndarray, " f"]


def usable(video: np.ndarray, state: SceneState3D) -> bool:
    """Whether a video has the truth's frames, size and type, and more than one frame."""
    same = video.shape == (*state.depth.shape, 3) and video.dtype == np.uint8
    return same and len(video) > 1


def moving(state: SceneState3D) -> Bool[np.ndarray, " o"]:
    """Objects that are ever elsewhere, or turned otherwise, than in frame 0."""
    shift = np.linalg.norm(state.position - state.position[:1], axis=-1).max(axis=0)
    turn = 1 - np.abs((state.orientation * state.orientation[:1]).sum(axis=-1)).min(axis=0)
    return ~((shift < MOVING) & (turn < TURNING))


def static_mask(state: SceneState3D) -> Bool[np.ndarray, "f h w"]:
    """Pixels that show the room or an object that never moves."""
    return np.concatenate([[True], ~moving(state)])[state.segmentation]


def lit_mask(state: SceneState3D) -> Bool[np.ndarray, "f h w"]:
    """`static_mask`, less what may lie in the shadow of an object that moves: it does not look alike twice.

    A shadow is taken to be that of a ball of the object's reach and `RIM`, in light along `scene3d.LIGHT`.
    """
    mask, light = static_mask(state), np.array(LIGHT) / np.linalg.norm(LIGHT)
    height, width = mask.shape[1:]
    points = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    for f in range(len(mask)) if moving(state).any() else ():
        places = back_project(points, state.depth[f].ravel(), state.intrinsics[f], state.world_to_camera[f])
        for k in np.flatnonzero(moving(state)):
            away = places - state.position[f, k]
            along = away @ light
            aside = np.sqrt(np.maximum((away**2).sum(axis=1) - along**2, 0))
            dark = (along > 0) & (aside < reach_3d(state.bodies[k]) + RIM)
            mask[f] &= ~dark.reshape(height, width)
    return mask


def back_project(
    points: Float[np.ndarray, "k 2"], depth: Float[np.ndarray, " k"], intrinsics: np.ndarray, pose: np.ndarray
) -> Float[np.ndarray, "k 3"]:
    """World places of pixels (x, y) at depths in metres; `pose` is world-to-camera."""
    rays = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ np.linalg.inv(intrinsics).T
    return (rays * depth[:, None] - pose[:3, 3]) @ pose[:3, :3]


def project(
    places: Float[np.ndarray, "k 3"], intrinsics: np.ndarray, pose: np.ndarray
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, " k"]]:
    """Pixels (x, y) and depths of world places; of what lies behind the camera the depth is not above 0."""
    seen = places @ pose[:3, :3].T + pose[:3, 3]
    image = seen @ intrinsics.T
    return image[:, :2] / np.where(image[:, 2:] > 1e-6, image[:, 2:], 1e-6), seen[:, 2]


def sample(
    image: np.ndarray, points: Float[np.ndarray, "k 2"], *, outside: float = np.nan
) -> Float[np.ndarray, " k"]:
    """Bilinear values of `[h w]` or `[h w c]` at pixels (x, y); `outside` half a pixel beyond the frame."""
    if not len(points):
        return np.zeros((0, *image.shape[2:]))
    row = min(len(points), 4096)  # remap takes maps of fewer than 32768 columns
    x, y = (np.resize(points[:, k] - 0.5, (-(-len(points) // row), row)).astype(np.float32) for k in (0, 1))
    got = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    got = got.reshape(-1, *image.shape[2:])[: len(points)]
    height, width = image.shape[:2]
    beyond = (points[:, 0] < 0) | (points[:, 1] < 0) | (points[:, 0] > width) | (points[:, 1] > height)
    got = got.astype(np.float64)
    got[beyond] = outside
    return got


def places_of(
    points: Float[np.ndarray, "k 2"], pose: np.ndarray, state: SceneState3D, *, near: int
) -> tuple[Float[np.ndarray, "k 3"], Bool[np.ndarray, " k"]]:
    """World places where the rays of pixels, seen from `pose`, meet the depth map of true frame `near`.

    A fixed-point iteration on the depth along each ray; inverse depth is interpolated, which is exact on a
    plane. What does not settle within 1 %, or leaves that frame, is not found.
    """
    intrinsics, other = state.intrinsics[near], state.world_to_camera[near]
    inverse = (1 / state.depth[near]).astype(np.float32)
    depth = np.full(len(points), float(np.median(state.depth[near])))
    miss = np.full(len(points), np.inf)
    for _ in range(30):
        places = back_project(points, depth, intrinsics, pose)
        pixels, z = project(places, intrinsics, other)
        surface = 1 / sample(inverse, pixels)
        miss = np.abs(surface - z) / z
        step = np.where(np.isnan(surface) | (z <= 0), 0.0, surface - z)
        depth = np.maximum(depth + 0.8 * step, 0.05)
    return back_project(points, depth, intrinsics, pose), (miss < 0.01) & (depth > 0.1)


def corners(grey: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"] | None) -> Float[np.ndarray, "k 2"]:
    """Shi-Tomasi corners (x, y), sub-pixel places not needed: what is at the corner's pixel is tracked."""
    where = None if mask is None else cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    found = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 4, mask=where, blockSize=5)
    return np.zeros((0, 2)) if found is None else found.reshape(-1, 2).astype(np.float64) + 0.5


def flow(
    first: UInt8[np.ndarray, "h w"],
    second: UInt8[np.ndarray, "h w"],
    points: Float[np.ndarray, "k 2"],
    guess: Float[np.ndarray, "k 2"] | None = None,
) -> tuple[Float[np.ndarray, "k 2"], Bool[np.ndarray, " k"]]:
    """Where the points (x, y) of the first image are in the second, and whether the way back agrees."""
    if not len(points):
        return points.copy(), np.zeros(0, bool)
    settings = {
        "winSize": (13, 13),
        "maxLevel": 3,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.003),
    }
    start = np.ascontiguousarray((points - 0.5)[:, None], np.float32)
    begin = start.copy() if guess is None else np.ascontiguousarray((guess - 0.5)[:, None], np.float32)
    use = cv2.OPTFLOW_USE_INITIAL_FLOW
    there, good, _ = cv2.calcOpticalFlowPyrLK(first, second, start, begin, flags=use, **settings)
    back, good_back, _ = cv2.calcOpticalFlowPyrLK(second, first, there, start.copy(), flags=use, **settings)
    height, width = first.shape
    there, back = there[:, 0].astype(np.float64), back[:, 0]
    ok = (good[:, 0] == 1) & (good_back[:, 0] == 1) & (np.abs(back - start[:, 0]).max(axis=1) < OFF)
    ok &= ((there > 1) & (there < [width - 2, height - 2])).all(axis=1)
    return there + 0.5, ok


def _pose(
    places: np.ndarray, pixels: np.ndarray, intrinsics: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """World-to-camera of places seen at pixels, and which of them agree; None if fewer than LEAST do."""
    if len(places) < LEAST:
        return None
    turn, shift = cv2.Rodrigues(guess[:3, :3])[0], guess[:3, 3:].copy()
    cv2.setRNGSeed(0)
    done, turn, shift, inliers = cv2.solvePnPRansac(
        places, pixels, intrinsics, None, turn, shift, True, 200, REPROJECTION, 0.999
    )
    if not done or inliers is None or len(inliers) < LEAST:
        return None
    which = np.asarray(inliers, np.intp)[:, 0]
    turn, shift = cv2.solvePnPRefineLM(places[which], pixels[which], intrinsics, None, turn, shift)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return pose, which


def estimate_path(video: UInt8[np.ndarray, "f h w 3"], state: SceneState3D) -> Path:
    """The camera's path in the true scene's world, from the pixels; frame 0 has the true pose.

    Every frame is matched to an anchor frame; when few of its corners are left, the last frame becomes the
    anchor. A frame whose pose cannot be fitted is not found, nor is any after it.
    """
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    poses, found = np.repeat(state.world_to_camera[:1], len(video), axis=0), np.zeros(len(video), bool)
    found[0] = True
    anchor = _anchor(greys, 0, poses[0], state, static_mask(state)[0])
    for frame in range(1, len(video)):
        fitted = _follow(greys, anchor, frame, poses[frame - 1], state)
        if fitted is None or fitted[1] < RENEW * len(anchor.points):
            renewed = _anchor(greys, frame - 1, poses[frame - 1], state, None)
            again = _follow(greys, renewed, frame, poses[frame - 1], state)
            if again is not None:
                anchor, fitted = renewed, again
        if fitted is None:
            poses[frame:] = poses[frame - 1]
            break
        poses[frame], found[frame] = fitted[0], True
    return Path(poses, found)


class _Anchor:
    """A frame's corners with their places, and where they were last seen."""

    def __init__(self, frame: int, points: np.ndarray, places: np.ndarray):
        self.frame, self.points, self.places = frame, points, places
        self.last = points.copy()


def _anchor(greys, frame: int, pose: np.ndarray, state: SceneState3D, mask: np.ndarray | None) -> _Anchor:
    points = corners(greys[frame], mask)
    places, ok = places_of(points, pose, state, near=_nearest(pose, state))
    return _Anchor(frame, points[ok], places[ok])


def _nearest(pose: np.ndarray, state: SceneState3D) -> int:
    """The true frame whose pose is nearest, a radian counting as 3 metres."""
    truth = state.world_to_camera
    centers = -np.einsum("fji,fj->fi", truth[:, :3, :3], truth[:, :3, 3])
    away = np.linalg.norm(centers + pose[:3, :3].T @ pose[:3, 3], axis=1)
    return int(np.argmin(away + 3 * angles(truth, pose[None])))


def angles(a: Float[np.ndarray, "f 4 4"], b: Float[np.ndarray, "f 4 4"]) -> Float[np.ndarray, " f"]:
    """Radians of the rotation between poses; one of the two may be a single pose."""
    trace = (a[:, :3, :3] * b[:, :3, :3]).sum(axis=(1, 2))
    return np.arccos(np.clip((trace - 1) / 2, -1, 1))


def _follow(greys, anchor: _Anchor, frame: int, guess: np.ndarray, state: SceneState3D):
    """The pose of a frame and how many corners agree with it, or None; the anchor notes where they are."""
    there, ok = flow(greys[anchor.frame], greys[frame], anchor.points, anchor.last)
    anchor.last = np.where(ok[:, None], there, anchor.last)
    fitted = _pose(anchor.places[ok], there[ok], state.intrinsics[frame], guess)
    return None if fitted is None else (fitted[0], len(fitted[1]))
