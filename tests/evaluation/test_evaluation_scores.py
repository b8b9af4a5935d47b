"""Scores against prompts: assignment, events, nulls, intervals; fidelity; what a person looks at."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from sora_jax.evaluation import fidelity, report, text_alignment
from sora_jax.evaluation.physics import events, metrics
from sora_jax.evaluation.physics.tracks import parse
from sora_jax.worlds import render as render_lib
from sora_jax.worlds.facts import Facts, ObjectFacts, facts
from sora_jax.worlds.parse import parse_prompt
from sora_jax.worlds.scene import body
from sora_jax.worlds.source import WorldSource

FPS = 8.0


def drawn(bodies, places) -> np.ndarray:
    places = np.asarray(places, float)
    return render_lib.render(tuple(bodies), places, np.zeros(places.shape[:2]), height=64, width=64)[0]


def line(start, step, frames: int = 9) -> np.ndarray:
    return np.array(start, float) + np.arange(frames)[:, None] * np.array(step, float)


@pytest.fixture(scope="module")
def pair():
    """A red circle moving left above a blue square moving right at 4 and 2 world units/s."""
    bodies = [body("circle", "red", "small"), body("square", "blue", "large")]
    video = drawn(bodies, np.stack([line((3, 3), (-0.5, 0)), line((-2, -2), (0.25, 0))], axis=1))
    return parse(video, fps=FPS)


@pytest.fixture(scope="module")
def world():
    source = WorldSource(seed=9, length=24, heldout="any", sizes={(64, 64): 1.0}, frames={1: 0.25, 9: 0.75})
    clips = [source[k] for k in range(len(source))]
    videos, fps, said = [c.video for c in clips], [c.fps for c in clips], [facts(c.state) for c in clips]
    return videos, fps, said, text_alignment.parse_all(videos, fps=fps)


def test_one_of_two_right_is_a_half(pair):
    said = parse_prompt("a red circle and a green triangle")
    scores = metrics.fact_scores(pair, said)
    assert (scores["color"], scores["shape"], scores["count"], scores["all"]) == (0.5, 0.5, 1, 0)
    alone = metrics.fact_scores(pair, parse_prompt("three red circles"))
    assert (alone["color"], alone["count"]) == (pytest.approx(1 / 3), 0)


def test_a_prompt_is_scored_for_what_it_says_only(pair):
    said = parse_prompt("a small red circle moving left above a blue square")
    scores = metrics.fact_scores(pair, said)
    assert scores["relation"] == scores["direction"] == scores["size"] == scores["all"] == 1
    assert (
        math.isnan(scores["rest"])
        and math.isnan(scores["speed"])
        and math.isnan(scores["relation left/right"])
    )
    wrong = metrics.fact_scores(pair, parse_prompt("a large red circle moving right below a blue square"))
    assert wrong["relation"] == wrong["direction"] == wrong["size"] == 0
    assert wrong["color"] == wrong["shape"] == 1


@pytest.mark.parametrize(
    ("direction", "right"), [("left", 1), ("up and to the left", 1), ("up", 0), ("right", 0), ("still", 0)]
)
def test_direction_is_right_within_45_degrees(pair, direction, right):
    said = Facts(objects=(ObjectFacts(color="red", direction=direction),))
    scores = metrics.fact_scores(pair, said)
    assert scores["rest" if direction == "still" else "direction"] == right


def test_equal_looks_are_told_apart_by_motion_but_not_by_relation():
    bodies = [body("circle", "red", "small")] * 2 + [body("bar", "blue", "small")]
    places = np.stack([line((3, 3), (-0.5, 0)), line((-3, -3), (0.5, 0)), line((0, 0), (0, 0))], axis=1)
    seen = parse(drawn(bodies, places), fps=FPS)
    red = {"color": "red", "shape": "circle"}
    blue = ObjectFacts(color="blue", shape="bar")
    moving = Facts(objects=tuple(ObjectFacts(direction=d, **red) for d in ("right", "left")))
    assert metrics.attribute_accuracy(seen, moving, attribute="direction") == 1
    equal = Facts(objects=(ObjectFacts(**red), ObjectFacts(**red), blue), relations=((0, "above", 2),))
    other = Facts(objects=equal.objects, relations=((1, "above", 2),))
    assert metrics.relation_accuracy(seen, equal) == metrics.relation_accuracy(seen, other) == 1
    told = Facts(
        objects=(*moving.objects, blue), relations=((0, "above", 2),)
    )  # the one moving right is below
    assert metrics.relation_accuracy(seen, told) == 0
    assert math.isnan(
        metrics.relation_accuracy(seen, Facts(objects=equal.objects, relations=((0, "above", 1),)))
    )


def test_speed_is_the_nearest_class(pair):
    for color, word in (("red", "medium"), ("blue", "slow")):
        said = Facts(objects=(ObjectFacts(color=color, speed=word),))
        assert metrics.attribute_accuracy(pair, said, attribute="speed") == 1
        np.testing.assert_allclose(
            abs(metrics.fit_velocity(pair, pair.color.index(color))),
            (4 if color == "red" else 2, 0),
            atol=0.01,
        )


def test_events_are_seen_and_their_opposites_are_not():
    ball = [body("circle", "red", "small")]
    wall = np.concatenate([line((2, 0), (0.7, 0), 4), line((3.4, 0), (-0.7, 0), 5)])
    bounce = parse(drawn(ball, wall[:, None]), fps=FPS)
    assert events.bounces(bounce, 0, "right wall")
    assert not any(events.bounces(bounce, 0, w) for w in ("left wall", "floor", "ceiling"))
    seconds = np.arange(9) / FPS
    thrown = np.stack([-3 + 3 * seconds, 3 * seconds - 4 * seconds**2], axis=1)
    arc = parse(drawn(ball, thrown[:, None]), fps=FPS)
    assert events.thrown(arc, 0, "up and to the right") and not events.thrown(arc, 0, "left")
    drop = parse(drawn(ball, line((0, 3), (0, -0.5))[:, None]), fps=FPS)
    assert events.falls(drop, 0) and not events.falls(arc, 0)
    said = Facts(
        objects=(ObjectFacts(color="red"),), events=(("falls", 0, -1), ("bounces off the floor", 0, -1))
    )
    assert events.event_accuracy(drop, said) == 0.5


def test_a_hit_needs_nearness_and_a_kick():
    pair = [body("circle", "red", "small"), body("circle", "blue", "small")]
    still, come = line((0.9, 0), (0, 0), 5), line((-2.5, 0), (0.4, 0), 5)
    first = np.concatenate([come, np.repeat(come[-1:], 4, axis=0)])
    second = np.concatenate([still, line((1.3, 0), (0.4, 0), 4)])
    assert events.hits(parse(drawn(pair, np.stack([first, second], axis=1)), fps=FPS), 0, 1)
    passing = np.stack([line((-3, 0.95), (0.6, 0)), line((3, -0.95), (-0.6, 0))], axis=1)
    assert not events.hits(parse(drawn(pair, passing), fps=FPS), 0, 1)


def test_nulls_fall(world):
    videos, fps, said, tracks = world
    true, dealt = (text_alignment.score_tracks(tracks, said), text_alignment.shuffled(tracks, said))
    held = text_alignment.frozen(videos, said, fps=fps)
    for name, most in (("color", 0.35), ("shape", 0.6), ("direction", 0.6), ("all", 0.1)):
        assert np.nanmean(true[name]) >= 0.97
        assert np.nanmean(dealt[name]) < most
    assert np.nanmax(held["direction"]) == np.nanmax(held["speed"]) == 0
    assert np.nanmin(held["color"]) == np.nanmin(held["rest"]) == 1


def test_aggregate_splits_and_counts_every_clip(world):
    _, _, said, tracks = world
    table = text_alignment.score_tracks(tracks, said)
    scores = text_alignment.aggregate(table, draws=200)
    parts = [
        scores[s]["parsable"].clips for s in ("one object", "two objects", "more objects") if s in scores
    ]
    assert sum(parts) == scores["all"]["parsable"].clips == len(said)
    assert scores["images"]["parsable"].clips + scores["videos"]["parsable"].clips == len(said)
    assert "direction" not in scores["images"] and "births_deaths_per_object_second" not in scores["images"]
    rate = scores["all"]["births_deaths_per_object_second"]
    assert rate.mean == 0 and rate.clips == (table["frames"] > 1).sum()


def test_the_interval_covers_the_true_mean():
    """A 95 % percentile interval of 80 Bernoulli(0.8) covers 0.8 in 93-94 %; 3 sigma of 200 draws are 5 %."""
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        sample = (random.random(80) < 0.8).astype(float)
        score = text_alignment.bootstrap(sample, np.ones(80), seed=seed, draws=200)
        covered += score.low <= 0.8 <= score.high
    assert 0.88 <= covered / 200 <= 0.98


def test_a_rate_is_weighted_by_its_denominator():
    score = text_alignment.bootstrap(np.array([1.0, 0.0]), np.array([1.0, 3.0]))
    assert score.mean == 0.25 and score.low == 0 and score.high == 1
    assert math.isnan(text_alignment.bootstrap(np.zeros(0), np.zeros(0)).mean)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_dealing_moves_every_caption(count):
    other = text_alignment.deal(count, seed=3)
    assert sorted(other) == list(range(count)) and (other != np.arange(count)).all()


def test_psnr_of_a_constant_error():
    video = np.random.default_rng(0).integers(0, 240, (3, 12, 14, 3)).astype(np.uint8)
    assert fidelity.psnr(video, video) == 100
    np.testing.assert_allclose(fidelity.psnr(video + np.uint8(5), video), 20 * np.log10(255 / 5), rtol=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        fidelity.psnr(video[:2], video)


def test_ssim_equals_a_window_by_window_reference():
    random = np.random.default_rng(1)
    a, b = (random.integers(0, 256, (2, 13, 15, 3)).astype(np.uint8) for _ in range(2))
    window = np.outer(fidelity.gaussian_window(), fidelity.gaussian_window())[..., None]
    values = []
    for frame_a, frame_b in zip(a.astype(float), b.astype(float), strict=True):
        for i in range(3):
            for j in range(5):
                p, q = frame_a[i : i + 11, j : j + 11], frame_b[i : i + 11, j : j + 11]
                p_mean, q_mean = ((window * v).sum((0, 1)) for v in (p, q))
                p_var, q_var = ((window * (v - m) ** 2).sum((0, 1)) for v, m in ((p, p_mean), (q, q_mean)))
                both = (window * (p - p_mean) * (q - q_mean)).sum((0, 1))
                top = (2 * p_mean * q_mean + 6.5025) * (2 * both + 58.5225)
                values.append(top / ((p_mean**2 + q_mean**2 + 6.5025) * (p_var + q_var + 58.5225)))
    np.testing.assert_allclose(fidelity.ssim(a, b), np.mean(values), rtol=1e-9)
    assert fidelity.ssim(a, a) == 1
    with pytest.raises(ValueError, match="11 pixels"):
        fidelity.ssim(a[:, :8], b[:, :8])


def test_a_contact_sheet_holds_clips_of_all_sizes(tmp_path):
    videos = [
        np.full((f, h, w, 3), 10 * f, np.uint8) for f, h, w in ((1, 48, 96), (9, 64, 64), (17, 128, 64))
    ]
    prompts = ["a red circle", "two blue squares moving left " * 6, "a bar"]
    sheet = report.contact_sheet(videos, prompts, notes=["count 1"] * 3, frames=4, side=32, columns=2)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    read = cv2.imread(str(report.save_png(tmp_path / "new" / "sheet.png", sheet)))
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1], sheet)
    with pytest.raises(ValueError, match="as many prompts"):
        report.contact_sheet(videos, prompts[:2])


def test_a_strip_begins_and_ends_with_the_clip():
    video = np.repeat(np.arange(17, dtype=np.uint8), 8 * 8 * 3).reshape(17, 8, 8, 3)
    picture = report.strip(video, frames=5, side=16, gap=2)
    assert picture.shape == (16, 5 * 16 + 4 * 2, 3)
    assert [int(picture[0, 18 * k, 0]) for k in range(5)] == [0, 4, 8, 12, 16]


def test_tables_keep_the_numbers(tmp_path):
    scores = {"all": {"color": text_alignment.Score(0.9, 0.8, 1.0, 40)}}
    floor = {
        "all": {"color": text_alignment.Score(1.0, 1.0, 1.0, 40), "velocity_error": scores["all"]["color"]}
    }
    page, numbers = report.write_report(tmp_path, {"samples": scores, "truth": floor})
    assert "| color | 0.900 [0.800, 1.000] (40) | 1.000 [1.000, 1.000] (40) |" in page.read_text()
    assert "| velocity_error ↓ | - | 0.900" in page.read_text()
    assert json.loads(numbers.read_text())["samples"]["all"]["color"]["clips"] == 40
