"""The suite: ends of every scale, when a metric does not apply, and the known holes of published scores."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sora_jax.evaluation.physics import edits_looks, edits_motion, suite
from sora_jax.evaluation.physics.edits import Shot, added, draw, moved
from sora_jax.evaluation.physics.sweep import make_scenes
from sora_jax.types import SceneState
from sora_jax.worlds.scene import BACKGROUND, body

SHOT = Shot(fps=8.0, height=64, width=64)


def state(bodies, position, *, family: str = "uniform", contact=None) -> SceneState:
    """An exact state of bodies at positions [f o 2]; contacts as (frame, i, j), j = -1 a wall."""
    position = np.asarray(position, np.float32)
    frames, objects, _ = position.shape
    touch, wall = np.zeros((frames, objects, objects), bool), np.zeros((frames, objects), bool)
    for f, i, j in contact or ():
        if j < 0:
            wall[f, i] = True
        else:
            touch[f, i, j] = touch[f, j, i] = True
    return SceneState(
        bodies=tuple(bodies),
        position=position,
        velocity=np.gradient(position, 1 / SHOT.fps, axis=0).astype(np.float32),
        angle=np.zeros((frames, objects), np.float32),
        visible=np.ones((frames, objects), np.float32),
        contact=touch,
        wall_contact=wall,
        alive=np.ones((frames, objects), bool),
        family=family,
    )


def line(start, step, frames: int = 13) -> np.ndarray:
    return np.array(start, float) + np.arange(frames)[:, None] * np.array(step, float)


def scored(shown: SceneState, truth: SceneState, *names: str):
    found = suite.scores(suite.observe(draw(shown, SHOT), fps=SHOT.fps), truth)
    return found[names[0]] if len(names) == 1 else tuple(found[n] for n in names)


@pytest.fixture(scope="module")
def pair() -> SceneState:
    """A red circle right of a blue square; 2 world units/s to the left, and at rest."""
    bodies = (body("circle", "red", "small"), body("square", "blue", "medium"))
    return state(bodies, np.stack([line((3.6, 1), (-0.25, 0)), line((-3, -0.5), (0, 0))], axis=1))


@pytest.fixture(scope="module")
def world():
    return make_scenes(clips=3, seed=7, frames=13, side=64)


def test_the_truth_has_full_marks(world):
    tables = [suite.scores(suite.observe(draw(s.state, s.shot), fps=s.shot.fps), s.state) for s in world]
    for metric in suite.METRICS:
        got = [t[metric.name] for t in tables if not math.isnan(t[metric.name])]
        assert not got or np.mean(got) >= 0.98, (metric.name, got)
    assert {m.name for m in suite.METRICS if all(math.isnan(t[m.name]) for t in tables)} <= {"restitution"}


def test_what_cannot_be_parsed_scores_0_and_never_more_or_less_often_nan(world):
    """Whether a metric applies is decided by the truth: the same NaN on truth, on nothing and on noise."""
    random = np.random.default_rng(0)
    for scene in world[::2]:
        video = draw(scene.state, scene.shot)
        for wreck in (np.full_like(video, 240), random.integers(0, 256, video.shape).astype(np.uint8)):
            good = suite.scores(suite.observe(video, fps=scene.shot.fps), scene.state)
            bad = suite.scores(suite.observe(wreck, fps=scene.shot.fps), scene.state)
            for name, value in bad.items():
                assert math.isnan(value) == math.isnan(good[name]), name
                assert math.isnan(value) or value == 0, (name, value)


def test_a_video_cut_short_is_scored_for_what_it_lacks(pair):
    short = suite.scores(suite.observe(draw(pair, SHOT)[:6], fps=SHOT.fps), pair)
    assert short["position"] == pytest.approx(6 / 13, abs=0.01)
    assert short["velocity"] == pytest.approx(5 / 12, abs=0.01)
    assert short["count"] == pytest.approx(6 / 13)
    assert all(math.isnan(v) or 0 <= v <= 1 for v in short.values())


def test_scales_have_their_stated_ends(pair):
    still = moved(pair, np.repeat(pair.position[:1], 13, axis=0))
    # The red one should move at 2 units/s: half of the scale's 4, and one of two objects.
    assert scored(still, pair, "velocity") == pytest.approx(1 - 0.5 / 2, abs=0.01)
    assert scored(still, pair, "direction") == 0
    assert scored(still, pair, "speed word") == 0
    back = moved(pair, pair.position[::-1])
    assert scored(back, pair, "direction") == pytest.approx(0, abs=0.01)
    assert scored(back, pair, "velocity") == pytest.approx(1 - 1 / 2, abs=0.01)
    shifted = moved(pair, pair.position + np.array([0, -1.0]))
    position, velocity = scored(shifted, pair, "position", "velocity")
    assert position == pytest.approx(1 - 1 / 4, abs=0.01)
    assert velocity == pytest.approx(1, abs=0.01)
    half = edits_looks.resized(pair, 2**0.5 - 1, np.random.default_rng(0), SHOT)
    assert half is not None
    assert scored(half, pair, "size") == pytest.approx(0.5 + 0.03 / math.log(2), abs=0.03)
    extra = added(pair, body("circle", "green", "small"), line((-3, 3), (0, 0)), alive=np.arange(13) < 5)
    count, clones, color = scored(extra, pair, "count", "clones", "color")
    assert (count, clones, color) == (pytest.approx(1 - 5 / 13), 1, 1)
    twin = added(pair, pair.bodies[0], line((-3, 3), (0, 0)), alive=np.arange(13) < 5)
    assert scored(twin, pair, "clones") == pytest.approx(1 - 5 / 13)


def test_gravity_and_bounces_have_their_stated_ends():
    ball = (body("circle", "red", "small"),)
    t = np.arange(13)[:, None] / SHOT.fps
    fall = np.concatenate([0 * t, 3.5 - 0.5 * 4.0 * t**2], axis=-1)[:, None]
    truth = state(ball, fall, family="parabola")
    assert scored(truth, truth, "gravity") == pytest.approx(1, abs=0.01)
    weak = moved(truth, np.stack([0 * t, 3.5 - 0.5 * 3.0 * t**2], axis=-1))
    assert scored(weak, truth, "gravity") == pytest.approx(0.75, abs=0.01)
    straight = moved(truth, np.stack([0 * t, 3.5 - 2.0 * t], axis=-1))
    assert scored(straight, truth, "gravity") == pytest.approx(0, abs=0.01)
    x = 4.1 - np.abs(np.arange(13) - 5.5)[:, None] * 0.5
    hit = state(ball, np.stack([x, 0 * x], axis=-1), family="bounce", contact=[(6, 0, -1)])
    x = np.where(np.arange(13)[:, None] > 5, 4.1 - (np.arange(13)[:, None] - 5.5) * 0.3, x)
    dull = moved(hit, np.stack([x, 0 * x], axis=-1))
    assert scored(hit, hit, "restitution") == pytest.approx(1, abs=0.01)
    assert scored(dull, hit, "restitution") == pytest.approx(0.6, abs=0.01)


def test_collisions_conserve_respond_and_keep_out():
    balls = (body("circle", "red", "small"), body("circle", "blue", "small"))
    steps = np.arange(13)[:, None]
    first, second = np.minimum(-4 + 0.5 * steps, -0.9 - 0.15), np.maximum(0.9, 0.9 + 0.5 * (steps - 6.0))
    path = np.stack([np.concatenate([p, 0 * p], axis=-1) for p in (first, second)], axis=1)
    truth = state(balls, path, family="collision", contact=[(6, 0, 1)])
    names = ("energy", "momentum", "response", "penetration")
    assert scored(truth, truth, *names) == pytest.approx((1, 1, 1, 1), abs=0.04)
    through = path.copy()
    through[:, 0, 0], through[:, 1, 0] = -4 + 0.5 * np.arange(13), 0.9
    _, _, response, penetration = scored(moved(truth, through), truth, *names)
    assert response < 0.3
    assert penetration < 0.3
    stuck = path.copy()
    stuck[6:, 1, 0] = 0.9
    energy, momentum, response, _ = scored(moved(truth, stuck), truth, *names)
    assert max(energy, momentum) < 0.1
    assert response == pytest.approx(0.5, abs=0.05)  # the first stops, the second does not go


def test_nan_where_the_truth_says_nothing(pair):
    names = {m.name for m in suite.METRICS}
    alone = dataclasses.replace(
        pair,
        **{k: getattr(pair, k)[:, :1] for k in ("position", "velocity", "angle", "visible", "alive")},
        bodies=pair.bodies[:1],
        contact=pair.contact[:, :1, :1],
        wall_contact=pair.wall_contact[:, :1],
    )
    got = suite.scores(suite.observe(draw(alone, SHOT), fps=SHOT.fps), alone)
    silent = {n for n in names if math.isnan(got[n])}
    assert silent == {
        "gravity",
        "restitution",
        "energy",
        "momentum",
        "penetration",
        "response",
        "identity",
        "left or right",
        "above or below",
        "contrast",
        "pairing",
        "framing",  # it goes out of view
    }
    image = suite.scores(suite.observe(draw(pair, SHOT)[:1], fps=SHOT.fps), _first(pair))
    assert {n for n in names if not math.isnan(image[n])} >= {"position", "count", "color", "shape", "size"}
    assert math.isnan(image["velocity"]) and math.isnan(image["births and deaths"])
    strange = suite.scores(
        suite.observe(draw(pair, SHOT), fps=SHOT.fps), dataclasses.replace(pair, family="chess")
    )
    assert all(math.isnan(v) for v in strange.values())


def _first(whole: SceneState) -> SceneState:
    fields = ("position", "velocity", "angle", "visible", "contact", "wall_contact", "alive")
    return dataclasses.replace(whole, **{k: getattr(whole, k)[:1] for k in fields})


def test_known_holes_of_published_scores(pair):
    """A vanished or shrinking ball, a mirrored and a backward video each cost what they should."""
    alive = pair.alive.copy()
    alive[7:, 0] = False
    gone = dataclasses.replace(pair, alive=alive)
    assert scored(gone, pair, "velocity") == pytest.approx(1 - 6 / 24, abs=0.01)
    assert scored(gone, pair, "births and deaths") < 0.75
    shrinking = edits_looks.shrunk(pair, 1.0, np.random.default_rng(0), SHOT)
    assert shrinking is not None
    constancy, velocity = scored(shrinking, pair, "constancy", "velocity")
    assert constancy < 0.7 < 0.98 < velocity
    turned = edits_motion.mirrored(pair, 1.0, np.random.default_rng(0), SHOT)
    assert turned is not None
    assert scored(turned, pair, "left or right", "contrast") == (0, 0)
    assert scored(pair, pair, "left or right", "contrast") == (1, 1)
    upright = moved(pair, pair.position[..., ::-1])
    fallen = edits_motion.flipped(upright, 0.5, np.random.default_rng(0), SHOT)
    assert fallen is not None
    assert scored(upright, upright, "above or below") == 1
    assert scored(fallen, upright, "above or below") == pytest.approx(1 - 6 / 13)


def test_exchange_is_seen_whatever_the_tracker_follows(pair):
    position = pair.position.copy()
    position[6:] = position[6:, ::-1]
    identity, color, count = scored(moved(pair, position), pair, "identity", "color", "count")
    assert (identity, color, count) == (0.5, 1, 1)
    assert scored(pair, pair, "identity") == 1


def test_a_line_of_the_table_is_checked():
    with pytest.raises(ValueError, match="sped"):
        suite.metric("x", lambda tracks, truth: 1.0, families=("uniform",), reads="sped")
    line = suite.metric("x", lambda tracks, truth: 7.0, families=("uniform",), reads="speed")
    assert line.failure == "x"
    assert SHOT.background == BACKGROUND
