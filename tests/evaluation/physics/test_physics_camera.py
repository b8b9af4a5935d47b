from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sora_jax.data.video_files import read_video, write_video
from sora_jax.evaluation.physics import camera, camera_corruptions, epipolar
from sora_jax.evaluation.physics.camera_path import estimate_path, places_of, static_mask
from sora_jax.types import SceneState3D
from sora_jax.worlds import gl, room3d, simulate3d, source3d
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.scene3d import CameraPath, Scene3D

try:
    with gl.renderer(gl.load().MjModel.from_xml_string("<mujoco/>"), height=8, width=8):
        MISSING = ""
except gl.No3DError as error:
    MISSING = str(error)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

FRAMES, SIDE = 13, 96
PATHS = {
    "orbit": CameraPath(
        move="orbit", side="left", target=(0, 0, 0.35), distance=3.2, height=1.5, azimuth=0.3, amount=0.7
    ),
    "pan": CameraPath(
        move="pan", side="right", target=(0, 0, 0.35), distance=3.2, height=1.5, azimuth=-0.5, amount=0.5
    ),
    "dolly": CameraPath(
        move="dolly", side="forward", target=(0, 0, 0.35), distance=3.8, height=1.4, azimuth=1.0, amount=1.2
    ),
    "return": CameraPath(
        move="orbit",
        side="right",
        target=(0, 0, 0.35),
        distance=3.0,
        height=1.6,
        azimuth=2.0,
        amount=0.5,
        returns=True,
    ),
}
MADE: dict[str, tuple[Scene3D, simulate3d.Motion, np.ndarray, SceneState3D]] = {}


def clip(name: str):
    """(scene, motion, video, state) of a still scene under one of PATHS, made once."""
    if name not in MADE:
        bodies = scene_lib.solid("sphere", "red", "medium"), scene_lib.solid("cube", "blue", "medium")
        scene = Scene3D(
            family="still",
            bodies=bodies,
            position=np.array([(-0.6, 0, bodies[0].radius), (0.5, 0.4, bodies[1].radius)]),
            velocity=np.zeros((2, 3)),
            orientation=np.stack([scene_lib.rest_orientation(b, 0.4) for b in bodies]),
            angular_velocity=np.zeros((2, 3)),
            camera=PATHS[name],
            texture=11,
            frames=FRAMES,
            height=SIDE,
            width=SIDE,
            fps=8.0,
        )
        motion = simulate3d.simulate(scene, room3d.model(scene))
        MADE[name] = (scene, motion, *source3d.film(scene, motion))
    return MADE[name]


def refilmed(name: str, corruption: str, dose: float) -> np.ndarray:
    scene, motion, _, _ = clip(name)
    return camera_corruptions.refilm(scene, motion, corruption, dose)


@pytest.mark.parametrize("name", PATHS)
def test_the_truth_scores_at_the_ceiling_and_nan_says_what_does_not_apply(name, tmp_path):
    _, _, video, state = clip(name)
    scores = camera.camera_scores(video, state)
    assert tuple(scores) == camera.CAMERA_METRICS
    absent = {k for k, v in scores.items() if math.isnan(v)}
    wanted = {"coherence"} if name != "return" else set()
    assert absent == wanted | ({"translation", "travel", "sampson"} if name == "pan" else set())
    assert min(v for v in scores.values() if not math.isnan(v)) > 0.96, scores
    through_mp4, _ = read_video(write_video(tmp_path / "clip.mp4", video, fps=8.0))
    again = camera.camera_scores(through_mp4, state)
    for key in scores.keys() - absent:
        assert abs(again[key] - scores[key]) < 0.03, (key, scores, again)


@pytest.mark.parametrize("name", PATHS)
def test_the_path_is_found_to_half_a_degree_and_five_centimetres(name):
    _, _, video, state = clip(name)
    path = estimate_path(video, state)
    assert path.found.all() and camera.rotation_errors(path, state).max() < 0.55
    off = camera.centers(path.world_to_camera) - camera.centers(state.world_to_camera)
    assert np.linalg.norm(off, axis=1).max() < 0.05


@pytest.mark.parametrize("name", ["orbit", "dolly"])
def test_a_longer_path_is_seen_by_its_length_and_not_by_its_form(name):
    state = clip(name)[3]
    bent = refilmed(name, "scale", 0.4)
    scores = camera.camera_scores(bent, state)
    assert abs(scores["travel"] - 1 / 1.4) < 0.06
    assert scores["translation"] > 0.9
    if name == "orbit":  # every angle is 1.4 times the true one
        assert abs(scores["rotation"] - 0.6) < 0.05 and scores["warp"] < 0.9
    else:
        assert scores["rotation"] > 0.95


@pytest.mark.parametrize("name", ["orbit", "pan", "dolly"])
def test_the_wrong_side_scores_nothing_where_the_size_is_right(name):
    state = clip(name)[3]
    scores = camera.camera_scores(refilmed(name, "wrong sign", 1.0), state)
    if name != "dolly":
        assert scores["rotation"] == 0  # off by twice the true turn
    if name != "pan":
        # a mirrored orbit shares its component towards the target with the true one
        assert scores["translation"] < 0.25 and (name == "orbit" or scores["travel"] == 0)
    assert scores["warp"] < 0.75


def test_another_clock_is_seen_though_the_path_is_the_same():
    state = clip("orbit")[3]
    mild, worse = (camera.camera_scores(refilmed("orbit", "time warp", d), state) for d in (0.3, 1.2))
    for name in ("rotation", "translation"):
        assert worse[name] < mild[name] - 0.05 and mild[name] < 0.95


def test_a_camera_that_does_not_come_back_is_incoherent():
    state = clip("return")[3]
    assert camera.returns_of(state) and not camera.returns_of(clip("orbit")[3])
    scores = [camera.coherence_score(refilmed("return", "no return", d), state) for d in (0.0, 0.2, 0.6)]
    assert scores[0] > 0.98 and scores[0] - 0.1 > scores[1] > scores[2]
    tinted = camera_corruptions.palette(clip("return")[2], 0.2, np.random.default_rng(0))
    assert camera.coherence_score(tinted, state) < scores[0] - 0.2


def test_the_published_epipolar_error_forgives_the_worst_warp_and_the_corrected_one_does_not():
    """The hole: F fitted to the matches that are left, and pairs with few matches left out."""
    _, _, video, state = clip("orbit")
    doses = (0.0, 0.02, 0.06, 0.16)
    bent = [camera_corruptions.nonrigid(video, d, np.random.default_rng(1)) for d in doses]
    released = [epipolar.as_released_score(v) for v in bent]
    known = [epipolar.known_pose_score(v, state) for v in bent]
    assert known[0] > 0.97 and known[0] > known[1] + 0.1 > known[2] + 0.2 and known[3] < known[1]
    # as released the worst warp is no worse than a mild one, or cannot be told at all
    assert math.isnan(released[3]) or released[3] > min(released[1:3])
    # and a video that goes the wrong way is as good as the truth
    wrong = refilmed("orbit", "wrong sign", 1.0)
    assert abs(epipolar.as_released_score(wrong) - released[0]) < 0.1
    assert epipolar.known_pose_score(wrong, state) < known[0] - 0.2


def test_sampsons_distance_of_a_sideways_step_is_the_row_offset_over_root_two():
    lens = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    moved = np.eye(4)
    moved[0, 3] = -0.3
    matrix = epipolar.fundamental_of(np.eye(4), moved, lens, lens)
    first = np.array([(10.0, 20.0), (40.0, 5.0), (3.0, 7.0)])
    second = first + np.array([(-5, 0), (-9, 1.5), (2, -4)])
    np.testing.assert_allclose(
        epipolar.sampson(first, second, matrix), np.array([0, 1.5, 4]) / math.sqrt(2), atol=1e-9
    )


def test_places_seen_from_one_pose_are_found_through_another_frames_depth():
    state = clip("orbit")[3]
    rng = np.random.default_rng(0)
    points = rng.uniform(8, SIDE - 8, (200, 2))
    points = points[static_mask(state)[6][points[:, 1].astype(int), points[:, 0].astype(int)]]
    direct, ok = places_of(points, state.world_to_camera[6], state, near=6)
    through, found = places_of(points, state.world_to_camera[6], state, near=3)
    both = ok & found
    on_floor = both & (np.abs(direct[:, 2]) < 1e-3)
    assert both.sum() > 0.7 * len(points) and on_floor.sum() > 40
    # inverse depth is linear on a plane, so only the iteration's 1 % is left, and most of that is gone
    assert np.quantile(np.linalg.norm(through - direct, axis=1)[on_floor], 0.95) < 0.02


def test_an_unusable_video_scores_zero_wherever_the_metric_applies():
    _, _, video, state = clip("return")
    for bad in (video[:-1], video[:, :-2], video.astype(np.float32), video[:1], video[..., :2]):
        scores = camera.camera_scores(bad, state)
        assert set(scores.values()) == {0.0}, scores
    grey = camera.camera_scores(np.full_like(video, 128), state)
    assert max(grey.values()) < 1e-9
    noise = np.random.default_rng(0).integers(0, 256, video.shape, dtype=np.uint8)
    assert max(camera.camera_scores(noise, state).values()) < 0.2
    assert math.isnan(camera.camera_scores(clip("pan")[2][:1], clip("pan")[3])["sampson"])


def test_a_frozen_video_does_not_pass_for_a_moving_camera():
    _, _, video, state = clip("orbit")
    scores = camera.camera_scores(np.repeat(video[:1], FRAMES, axis=0), state)
    assert scores["rotation"] < 0.05 and scores["translation"] < 0.05 and scores["travel"] < 0.05
    assert scores["warp"] < 0.75


def test_moving_objects_are_not_taken_for_the_room():
    state = clip("orbit")[3]
    assert static_mask(state).all()
    moving = state.position.copy()
    moving[5:, 0, 0] += 0.1
    mask = static_mask(dataclasses.replace(state, position=moving))
    assert np.array_equal(mask, state.segmentation != 1)


@pytest.mark.parametrize("name", camera_corruptions.PATHS)
def test_a_path_corruption_of_no_dose_is_the_truth_and_any_dose_keeps_the_first_frame(name):
    video = clip("return")[2]
    assert np.array_equal(refilmed("return", name, 0.0), video)
    worst = refilmed("return", name, camera_corruptions.DOSES[name][-1])
    assert np.array_equal(worst[0], video[0]) and not np.array_equal(worst[-3], video[-3])
    assert len(camera_corruptions.DOSES[name]) >= 5


@pytest.mark.parametrize("name", camera_corruptions.PIXELS)
def test_a_pixel_corruption_grows_with_its_dose_and_keeps_the_first_frame(name):
    video = clip("orbit")[2]
    last = 0.0
    for dose in camera_corruptions.DOSES[name]:
        bent = camera_corruptions.PIXELS[name](video, dose, np.random.default_rng(3))
        assert bent.dtype == np.uint8 and np.array_equal(bent[0], video[0])
        change = float(np.abs(bent.astype(float) - video).mean())
        assert change > last
        last = change
