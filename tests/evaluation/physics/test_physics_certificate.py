"""A quick certificate that a blind metric fails, and the tools that certificates are made with."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from sora_jax import rng as rng_lib
from sora_jax.data import video_files
from sora_jax.evaluation.physics import certificate, certificate_picture, suite, wear
from sora_jax.evaluation.physics.corruptions import CORRUPTIONS, corruption, related
from sora_jax.evaluation.physics.edits import Shot, draw, hidden
from sora_jax.evaluation.physics.sweep import make_scenes

METRICS = {m.name: m for m in suite.METRICS}
QUICK = ("velocity", "steadiness", "count", "births and deaths", "color", "size", "constancy")
SHOWN = ("slower", "jitter", "visitor", "blinking", "recolor", "smaller", "shrinking")


def quick(metrics, *, names=SHOWN, families=("uniform", "beside"), clips=8, frames=13):
    return certificate.certify(
        metrics,
        [c for c in CORRUPTIONS if c.name in names],
        clips=clips,
        seed=3,
        frames=frames,
        side=64,
        families=families,
        nuisances=False,
    )


@pytest.fixture(scope="module")
def found():
    return quick([METRICS[name] for name in QUICK])


def test_metrics_see_their_own_failure_and_nothing_else(found):
    for name, result in found.items():
        assert result["gates"]["ceiling"]["raw"]["mean"] >= 0.98, name  # so few clips say little of mp4
        for gate in ("monotone", "separation", "specificity", "nulls"):
            assert result["gates"][gate]["pass"], (name, gate, result["gates"][gate])


@pytest.mark.parametrize("broken", ["constant", "inverted", "count in disguise"])
def test_a_metric_gone_blind_loses_its_certificate(broken):
    """A constant separates nothing; an inverted one is not monotone; another's failure is not its own."""
    line = METRICS["color"]

    def score(observed, truth):
        value = (METRICS["count"] if broken == "count in disguise" else line).score(observed, truth)
        return {"constant": 1.0, "inverted": 1 - value, "count in disguise": value}[broken]

    blind = dataclasses.replace(line, score=score)
    result = quick([blind], names=("visitor", "recolor"), clips=5)["color"]
    assert not result["certified"]
    assert {"monotone", "separation", "specificity"} <= set(result["failing"])
    if broken == "count in disguise":
        assert set(result["gates"]["specificity"]["failing"]) == {"visitor", "recolor"}


def test_contacts_are_certified_from_collisions():
    names = ("ghost", "deflection", "dull hit")
    lines = [METRICS[name] for name in ("response", "momentum", "energy")]
    found = quick(lines, names=names, families=("collision",), clips=14, frames=17)
    for name, result in found.items():
        assert result["gates"]["ceiling"]["raw"]["mean"] >= 0.98, name
        for gate in ("monotone", "separation", "specificity"):
            assert result["gates"][gate]["pass"], (name, gate, result["gates"][gate])


def test_result_is_plain_data_and_makes_a_picture(found, tmp_path):
    json.dumps(found, allow_nan=False)
    certificate_picture.save(found, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 10_000


def test_auroc_against_a_count_of_pairs():
    random = np.random.default_rng(0)
    a, b = random.random(7), random.random(5)
    pairs = [
        1.0 if x > y + certificate.TIE else 0.5 if abs(x - y) <= certificate.TIE else 0.0
        for x in a
        for y in b
    ]
    assert certificate.auroc(a, b) == pytest.approx(np.mean(pairs))
    assert certificate.auroc(a, a + 0.001) == pytest.approx(certificate.auroc(a, a), abs=0.05)
    assert certificate.auroc(np.ones(3), np.zeros(2)) == 1
    assert certificate.auroc(np.ones(3), np.ones(2)) == 0.5


def test_every_failure_has_a_corruption_and_a_metric():
    assert {m.failure for m in suite.METRICS} == {c.failure for c in CORRUPTIONS}
    assert len({m.name for m in suite.METRICS}) == len(suite.METRICS)
    assert len({c.name for c in CORRUPTIONS}) == len(CORRUPTIONS)
    for metric in suite.METRICS:
        own = [c for c in CORRUPTIONS if c.failure == metric.failure]
        assert all(set(c.families) & set(metric.families) for c in own), metric.name
        apart = [c.name for c in CORRUPTIONS if related(metric, c) is None]
        assert len(apart) >= 4, metric.name  # enough of the matrix says something


def test_smallest_doses_can_be_seen_and_larger_ones_more():
    """Every first dose changes some pixel by over 16 of 255, and the state is left as it was."""
    scenes = make_scenes(clips=3, seed=11, frames=17, side=64)
    for line in CORRUPTIONS:
        shown = 0
        for scene in scenes:
            if scene.state.family not in line.families:
                continue
            before = scene.state.position.copy()
            video = draw(scene.state, scene.shot).astype(int)
            worn = []
            for dose in (line.doses[0], line.doses[-1]):
                edited = line.apply(scene.state, dose, rng_lib.host(1, line.name), scene.shot)
                worn.append(None if edited is None else draw(edited, scene.shot).astype(int))
            if worn[0] is not None and worn[1] is not None:
                change = [np.abs(w - video) for w in worn]
                assert change[0].max() > 16, line.name
                shown += 1
            np.testing.assert_array_equal(scene.state.position, before)
        assert shown or line.failure in ("pairing", "momentum", "penetration"), line.name


def test_only_the_living_are_drawn():
    scene = make_scenes(clips=1, seed=5, frames=5, side=48, families=("uniform",))[0]
    count = len(scene.state.bodies)
    empty = scene.state
    for i in range(count):
        empty = hidden(empty, i, np.array([1, 3]))
    video = draw(empty, scene.shot)
    still = draw(scene.state, scene.shot)
    assert (video[[1, 3]] == video[1, 0, 0]).all()
    np.testing.assert_array_equal(video[[0, 2, 4]], still[[0, 2, 4]])


def test_mp4_in_memory_is_the_mp4_that_is_written(tmp_path):
    video = draw(make_scenes(clips=1, seed=5, frames=5, side=48)[0].state, Shot(fps=12, height=48, width=64))
    path = video_files.write_video(tmp_path / "a.mp4", video, fps=12.0)
    np.testing.assert_array_equal(wear.through_mp4(video, fps=12.0), video_files.read_video(path)[0])


def test_a_line_of_the_table_is_checked():
    with pytest.raises(ValueError, match="five"):
        corruption("x", "count", CORRUPTIONS[0].apply, doses=(1, 2, 3), unit="", changes="number")
    with pytest.raises(ValueError, match="nmber"):
        corruption("x", "count", CORRUPTIONS[0].apply, doses=(1, 2, 3, 4, 5), unit="", changes="nmber")


def test_a_metric_that_no_clip_shows_is_not_certified_and_its_certificate_is_plain_json():
    gravity = METRICS["gravity"]  # of falls: the family has none
    result = quick([gravity], names=("visitor",), clips=2)["gravity"]
    assert not result["certified"] and {"ceiling", "interval"} <= set(result["failing"])
    json.dumps(result, allow_nan=False)


def test_only_known_families_are_certified(tmp_path):
    with pytest.raises(ValueError, match=r"\['unifrom'\] are not among uniform"):
        certificate.run(tmp_path, 8, families=("unifrom",))
