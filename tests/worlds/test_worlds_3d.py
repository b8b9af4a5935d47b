from __future__ import annotations

import dataclasses
import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sora_jax.worlds import captions3d, gl, render3d, room3d, simulate3d, source3d
from sora_jax.worlds import scene3d as scene_lib
from sora_jax.worlds.scene3d import CameraPath, Ramp, Scene3D
from sora_jax.worlds.source3d import World3DSource

try:
    with gl.renderer(gl.load().MjModel.from_xml_string("<mujoco/>"), height=8, width=8):
        MISSING = ""
except gl.No3DError as error:
    MISSING = str(error)
needs_3d = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ORBIT = CameraPath(
    move="orbit", side="left", target=(0.1, -0.2, 0.3), distance=3.0, height=1.5, azimuth=0.4, amount=0.6
)


def make(bodies, places, **more) -> Scene3D:
    count = len(bodies)
    settings = {
        "family": "still",
        "velocity": np.zeros((count, 3)),
        "orientation": np.stack([scene_lib.rest_orientation(b, 0.2) for b in bodies]),
        "angular_velocity": np.zeros((count, 3)),
        "camera": ORBIT,
        "texture": 5,
        "frames": 3,
        "height": 48,
        "width": 64,
        "fps": 10.0,
    }
    return Scene3D(bodies=tuple(bodies), position=np.array(places, float), **(settings | more))


def simulated(scene: Scene3D):
    return simulate3d.simulate(scene, room3d.model(scene))


@needs_3d
def test_depth_pose_and_lens_agree_with_the_exact_scene():
    ball, cube = scene_lib.solid("sphere", "red", "large"), scene_lib.solid("cube", "blue", "small")
    scene = make([ball, cube], [(-0.5, 0, ball.radius), (0.7, 0.3, cube.radius)])
    video, state = source3d.film(scene, simulated(scene))
    assert video.shape == (3, 48, 64, 3) and video.dtype == np.uint8
    for f in range(3):
        pose, lens = state.world_to_camera[f], state.intrinsics[f]
        rows, columns = np.mgrid[:48, :64] + 0.5
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(lens).T
        places = (rays * state.depth[f][..., None] - pose[:3, 3]) @ pose[:3, :3]
        on_ball = state.segmentation[f] == 1
        away = np.linalg.norm(places[on_ball] - state.position[f, 0], axis=1)
        # the renderer's ball is a mesh of flat facets: at most 1 % of the radius inside the sphere
        assert on_ball.sum() > 30 and np.abs(away / ball.radius - 1).max() < 0.012
        on_cube = np.abs((places - state.position[f, 1]) @ simulate3d.rotation(state.orientation[f, 1]))
        faces = on_cube[state.segmentation[f] == 2].max(axis=1)
        assert np.abs(faces - cube.radius).max() < 2e-3
        fixed = places[state.segmentation[f] == 0]
        low, wall = np.abs(fixed[:, 2]), scene_lib.ROOM - np.abs(fixed[:, :2]).max(axis=1)
        assert np.minimum(low, np.abs(wall)).max() < 5e-3
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.linalg.det(pose[:3, :3]) > 0
    red = video[0][state.segmentation[0] == 1].mean(axis=0)
    assert red[0] > 2 * red[1] and red[0] > 2 * red[2]
    floor = video[0][40:][state.segmentation[0][40:] == 0]
    assert floor.std(axis=0).min() > 5  # the texture is there


@pytest.mark.parametrize(
    ("move", "side", "axis", "sign"),
    [
        ("orbit", "left", 0, -1),
        ("orbit", "right", 0, 1),
        ("dolly", "forward", 2, 1),
        ("dolly", "backward", 2, -1),
        ("pan", "left", 0, -1),
        ("pan", "right", 0, 1),
    ],
)
def test_a_path_goes_to_the_cameras_own_side(move, side, axis, sign):
    path = dataclasses.replace(ORBIT, move=move, side=side)
    start, end = scene_lib.poses(path, np.array([0.0, 0.5]))
    centers = [-p[:3, :3].T @ p[:3, 3] for p in (start, end)]
    turn = end[:3, :3] @ start[:3, :3].T
    if move == "pan":  # where the last frame looks, seen from the first
        assert np.allclose(centers[0], centers[1]) and sign * (start[:3, :3] @ end[2, :3])[axis] > 0.05
        assert math.isclose(math.acos(turn[2, 2].clip(-1, 1)), 0.3, rel_tol=0.15)  # the gaze is tilted
        return
    assert sign * (start[:3, :3] @ (centers[1] - centers[0]))[axis] > 0.05
    away = [np.hypot(*(c[:2] - np.array(path.target[:2]))) for c in centers]
    if move == "orbit":
        assert np.allclose(away, 3.0)
        assert np.allclose((end[:3, :3] @ np.array(path.target) + end[:3, 3])[:2], 0, atol=1e-9)
    else:
        assert np.allclose(turn, np.eye(3)) and math.isclose(abs(away[1] - away[0]), 0.3)
    assert np.allclose([c[2] for c in centers], 1.5)


def test_a_camera_that_returns_is_back_and_one_that_does_not_is_not():
    there = scene_lib.poses(ORBIT, scene_lib.progress(ORBIT, 9))
    path = dataclasses.replace(ORBIT, returns=True)
    back = scene_lib.poses(path, scene_lib.progress(path, 9))
    assert np.allclose(back[0], back[-1]) and np.allclose(back[4], there[-1])
    assert not np.allclose(there[0], there[-1])
    assert math.isclose(scene_lib.mean_speed(path, seconds=2), math.degrees(0.6))


@needs_3d
def test_a_ball_falls_like_newtons_and_bounces_by_its_restitution():
    ball = dataclasses.replace(scene_lib.solid("sphere", "red", "medium"), restitution=0.7)
    scene = make([ball], [(0, 0, 1.5)], family="fall", frames=41, fps=40.0)
    motion = simulated(scene)
    seconds = np.arange(41) / 40
    height = motion.position[:, 0, 2]
    meets = math.sqrt(2 * (1.5 - ball.radius) / scene_lib.GRAVITY)
    before = seconds < meets - 0.01
    # semi-implicit steps of 1 / 2000 s lag by g t / 4000
    np.testing.assert_allclose(height[before], (1.5 - scene_lib.GRAVITY * seconds**2 / 2)[before], atol=2e-3)
    again = height[seconds > meets].max() - ball.radius
    assert math.isclose(again / (1.5 - ball.radius), 0.49, rel_tol=0.08)  # restitution^2
    (first, verb, who, other), *_ = motion.events
    assert (verb, who, other) == ("lands on the floor", 0, -1) and abs(first - meets) < 0.01
    touched = int(np.argmax(motion.fixture_contact[:, 0, 0]))
    assert (touched - 1) / 40 <= meets <= touched / 40 + 1e-3
    assert height.min() > ball.radius - 0.01  # it does not sink in


@needs_3d
@pytest.mark.parametrize("shape", ["sphere", "cube"])
def test_down_a_ramp_a_ball_rolls_and_a_smooth_cube_slides(shape):
    body = scene_lib.solid(
        shape, "green", "small", restitution=0.05, friction=0.9 if shape == "sphere" else 0.05
    )
    ramp = Ramp(foot=0.0, side=-1, slope=0.4, length=2.0, width=0.9)
    place = room3d.on_ramp(ramp, body, along=1.7)
    scene = make(
        [body],
        [place],
        family="ramp",
        ramp=ramp,
        orientation=room3d.ramp_orientation(ramp)[None],
        frames=7,
    )
    motion = simulated(scene)
    assert motion.fixture_contact[:, 0, room3d.fixtures(scene).index("ramp")].all()
    assert motion.position[-1, 0, 0] < motion.position[0, 0, 0]  # it falls along -x
    pace = np.linalg.norm(motion.velocity[:, 0], axis=1)
    gains = {"sphere": 5 / 7 * math.sin(0.4), "cube": math.sin(0.4) - 0.05 * math.cos(0.4)}
    np.testing.assert_allclose(pace[2:] / (np.arange(2, 7) / 10), 9.81 * gains[shape], rtol=0.03)


@needs_3d
def test_a_rolling_ball_hits_and_hands_on_momentum():
    ball, other = scene_lib.solid("sphere", "red", "medium"), scene_lib.solid("sphere", "cyan", "medium")
    ball, other = (dataclasses.replace(b, restitution=0.8, friction=0.3) for b in (ball, other))
    r = ball.radius
    scene = make(
        [other, ball],
        [(0, 0, r), (-1.45, 0, r)],
        family="collision",
        velocity=np.array([(0, 0, 0), (2.0, 0, 0)]),
        angular_velocity=np.array([(0, 0, 0), (0, 2.0 / r, 0)]),
        frames=9,
    )
    motion = simulated(scene)
    meets = (1.45 - 2 * r) / 2.0
    np.testing.assert_allclose(motion.velocity[:4, 1, 0], 2.0, rtol=0.01)  # it rolls and does not slow down
    (seconds, verb, a, b), *_ = motion.events
    assert (verb, a, b) == ("hits", 1, 0) and abs(seconds - meets) < 0.02
    frame = int(np.argmax(motion.contact[:, 0, 1]))
    assert (frame - 1) / 10 <= meets <= frame / 10 + 2e-3
    assert np.array_equal(motion.contact, motion.contact.swapaxes(1, 2))
    total = motion.velocity[frame, :, 0].sum()
    assert 1.7 < total <= 2.01 and motion.velocity[frame, 0, 0] > 1.4


@needs_3d
def test_a_clip_is_the_same_in_another_process():
    code = (
        "import hashlib; from sora_jax.worlds.source3d import World3DSource\n"
        "c = World3DSource(seed=3, length=9, sizes={(32, 48): 1}, frames={5: 1})[4]; s = c.state_3d\n"
        "parts = [c.video, s.depth, s.segmentation, s.position, s.world_to_camera]\n"
        "h = hashlib.sha256(b''.join(p.tobytes() for p in parts) + repr(c.captions).encode())\n"
        "print(h.hexdigest())"
    )
    root = str(Path(__file__).parents[2])
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()
    clip = World3DSource(seed=3, length=5, sizes={(32, 48): 1}, frames={5: 1})[4]
    state = clip.state_3d
    assert state is not None and clip.state is None
    parts = [clip.video, state.depth, state.segmentation, state.position, state.world_to_camera]
    here = hashlib.sha256(b"".join(p.tobytes() for p in parts) + repr(clip.captions).encode())
    assert here.hexdigest() == other


@needs_3d
def test_captions_name_the_objects_and_the_cameras_path(monkeypatch):
    def blank(scene, motion, poses, **_):
        shape = (scene.frames, scene.height, scene.width)
        return render3d.Views(
            np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32), np.zeros(shape, np.uint8)
        )

    monkeypatch.setattr(render3d, "render", blank)
    source = World3DSource(seed=2, length=24, sizes={(8, 8): 1}, frames={17: 1})
    said: set[str] = set()
    for index in range(24):
        clip = source[index]
        state = clip.state_3d
        assert state is not None
        for text in clip.captions.values():
            assert text.isascii() and len(text) <= captions3d.MOST_BYTES_3D
        short, full = clip.captions["short"], clip.captions["descriptive"].lower()
        for body in state.bodies:
            assert f"{body.size} {body.color} {captions3d.NOUNS[body.shape]}" in full
        word = {"forward": "forward", "backward": "back away"}.get(
            state.camera_side, f"to the {state.camera_side}"
        )
        for text in (short, full):
            if state.camera_move == "fixed":
                assert not any(w in text for w in ("orbit", "pans", "doll"))
                continue
            assert {"orbit": "orbits", "pan": "pans", "dolly": "dollies"}[state.camera_move] in text
            assert word in text
            assert state.camera_returns == ("returns" in text or "comes back" in text)
        said |= {verb for _, verb, _ in captions3d.actions(state)} | {state.camera_move}
        if state.family == "ramp":
            assert "down a ramp" in short
        if state.family == "fall":
            assert "falls" in short
    assert {"orbit", "pan", "dolly", "fixed", "hits", "falls to the floor", "rolls down a ramp"} <= said


def test_a_longer_set_begins_with_the_same_scenes_and_a_wrong_family_is_an_error():
    short, long = (World3DSource(seed=9, length=n) for n in (3, 7))
    for index in range(3):
        a, b = short.scene(index), long.scene(index)
        assert a.bodies == b.bodies and a.camera == b.camera and np.array_equal(a.position, b.position)
    assert World3DSource(seed=8, length=3).scene(0).camera != short.scene(0).camera
    with pytest.raises(ValueError, match="tumble"):
        World3DSource(seed=0, length=1, families={"tumble": 1.0})
    with pytest.raises(IndexError, match="3"):
        short.scene(3)


@needs_3d
def test_the_same_events_can_be_filmed_from_elsewhere():
    cube = scene_lib.solid("cube", "lime", "medium")
    scene = make([cube], [(0, 0, cube.radius)])
    motion = simulated(scene)
    true = scene_lib.poses(ORBIT, scene_lib.progress(ORBIT, 3))
    a = render3d.render(scene, motion, true, geometry=False)
    b = render3d.render(scene, motion, true[[0, 0, 2]], geometry=False)
    assert a.depth is None and np.array_equal(a.video[[0, 2]], b.video[[0, 2]])
    assert np.array_equal(b.video[0], b.video[1]) and not np.array_equal(a.video[1], b.video[1])
    with pytest.raises(ValueError, match="2 camera poses for 3 frames"):
        render3d.render(scene, motion, true[:2])
