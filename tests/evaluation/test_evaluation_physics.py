"""The benchmark's road: answers beside truth and nulls, nothing dropped, and a page a person can read."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sora_jax import build, command, evaluate
from sora_jax.data import video_files
from sora_jax.evaluate import physics as command_physics
from sora_jax.evaluation import benchmark
from sora_jax.evaluation.physics import certificates, page, protocol
from sora_jax.evaluation.physics.protocol import Job, Row
from sora_jax.evaluation.physics.suite_bench import EVERY_METRIC
from sora_jax.evaluation.text_alignment import Score


@pytest.fixture(scope="module")
def items():
    return benchmark.make({"uniform": 3}, frames=9, height=64, width=64)


@pytest.fixture(scope="module")
def row(items):
    video = benchmark.truth(items[0]).video
    job = Job(
        line=1, item=items[0], other=items[1], videos=[video], given=3, more={"mine": video[:, ::-1].copy()}
    )
    return protocol.work(job)


def test_the_truth_as_an_answer_scores_as_the_truth(row):
    assert row.fault is None
    assert row.scores["sample"] == {k: v for k, v in row.scores["truth"].items() if not np.isnan(v)}
    assert min(row.scores["sample"].values()) > 0.98


def test_nulls_and_the_callers_column_are_judged_beside_it(row):
    velocity = {name: scores["velocity"] for name, scores in row.scores.items()}
    assert set(velocity) == {"truth", "sample", "mine", *protocol.NULLS}
    assert velocity["linear"] > 0.98  # the family's motion is uniform: its extrapolation is the truth
    assert max(velocity[name] for name in ("frozen", "noise", "shuffled", "mine")) < 0.9
    assert row.scores["shuffled"]["color"] < 1 and row.scores["frozen"]["color"] == 1


def test_what_text_leaves_open_is_not_scored_without_given_frames(items):
    video = benchmark.truth(items[0]).video
    by_given = {
        given: set(protocol.work(Job(line=1, item=items[0], videos=[video], given=given)).scores["sample"])
        for given in benchmark.GIVEN
    }
    assert "velocity" in by_given[3] - by_given[1] and "count" in by_given[1] - by_given[0]
    assert {"color", "births and deaths"} <= by_given[0] < by_given[1] < by_given[3] == by_given[5]


def test_what_text_or_an_image_settle_are_metrics_of_the_suite():
    names = {metric.name for metric in EVERY_METRIC}
    assert {*protocol.FROM_TEXT, *protocol.FROM_IMAGE} <= names


def test_an_answer_that_cannot_be_judged_is_the_worst_on_all_that_applies(items, row):
    short = benchmark.truth(items[0]).video[:4]
    lost = protocol.work(Job(line=1, item=items[0], videos=[short], given=3))
    assert "4 of 9 frames" in lost.fault
    assert lost.scores["sample"] == dict.fromkeys(row.scores["sample"], 0.0)
    changed = dataclasses.replace(items[0], prompt="something else")
    assert "line 7" in protocol.work(Job(line=7, item=changed, videos=[short])).fault


def test_lost_answers_and_lost_lines_count_in_the_mean(items, row):
    lost = protocol.work(Job(line=2, item=items[0], given=3))
    table = protocol.summarise([row, lost, Row(item=None, scores={}, fault="line 3")])
    assert table["color"]["sample"].clips == 3
    assert table["color"]["sample"].mean == pytest.approx(1 / 3)
    assert table["color"]["truth"].clips == 2 and table["color"]["truth"].mean == 1


@pytest.fixture
def all_certified(monkeypatch):
    monkeypatch.setattr(certificates, "failing", lambda: {"velocity": "fails <monotone>"})
    monkeypatch.setattr(certificates, "picture", lambda: b"a picture")


def test_a_folder_of_videos_becomes_scores_and_a_page(items, tmp_path, all_certified, capsys):
    manifest = benchmark.write(tmp_path / "benchmark", items)
    videos = tmp_path / "videos"
    for item in items[:2]:
        video_files.write_video(videos / item.video, benchmark.truth(item).video, fps=item.fps)
    video_files.write_video(videos / "stray.gif", benchmark.truth(items[0]).video, fps=8)
    flags = ["--videos", str(videos), "--manifest", str(manifest), "--out", str(tmp_path / "out")]
    evaluate.main(["physics", *flags, "--given", "3", "--workers", "1"])
    result = json.loads((tmp_path / "out/scores.json").read_text())
    assert 0.6 < result["scores"]["color"]["sample"]["mean"] <= 2 / 3
    assert "velocity" not in result["scores"]  # it has no certificate here
    assert [clip["fault"] is None for clip in result["clips"]] == [True, True, False]
    text = (tmp_path / "out/report.html").read_text()
    for words in (f"{items[2].video} is missing", "stray.gif", "fails &lt;monotone&gt;", items[2].prompt):
        assert words in text
    assert text.count("data:image/png;base64") == 7 and "http" not in text
    assert "color" in capsys.readouterr().out


def test_a_model_may_be_asked_without_words_and_for_some_families(tmp_path, monkeypatch, all_certified):
    asked = []

    def sample(generator, requests, **_):
        asked.extend(requests)
        return [np.zeros((r.frames, r.height, r.width, 3), np.uint8) for r in requests]

    monkeypatch.setattr(command_physics.sampling, "sample", sample)
    flags = [
        "--checkpoint",
        "gpu-128px",
        "--families",
        "uniform",
        "--clips",
        "2",
        "--given",
        "5",
        "--workers",
        "1",
    ]
    size = ["--frames", "9", "--height", "32", "--width", "32"]
    for more in ([], ["--untold"]):
        evaluate.main(["physics", *flags, *size, *more, "--out", str(tmp_path / "out")])
    result = json.loads((tmp_path / "out/scores.json").read_text())
    assert [clip["id"] for clip in result["clips"]] == ["uniform-0000", "uniform-0001"]
    assert result["settings"]["prompt"] == "empty"
    assert [bool(r.prompt) for r in asked] == [True, True, False, False]
    assert all(r.given.shape[0] == 2 for r in asked)  # latents of five frames
    np.testing.assert_array_equal(asked[0].given, asked[2].given)


def test_usage_errors_name_the_mend(tmp_path):
    out = ["--out", str(tmp_path)]
    with pytest.raises(command.UsageError, match="--videos needs --manifest"):
        evaluate.main(["physics", "--videos", str(tmp_path), *out])
    with pytest.raises(command.UsageError, match="is no folder"):
        evaluate.main(["physics", "--videos", "none", "--manifest", "m.jsonl", *out])
    for flags in (["--videos", str(tmp_path), "--manifest", "m"], ["--checkpoint", "gpu-128px"]):
        with pytest.raises(command.UsageError, match="add --checkpoint and --given"):
            evaluate.main(["physics", *flags, "--untold", *out])
    with pytest.raises(command.UsageError, match="family 'uniforn' is not one of uniform, "):
        evaluate.main(["physics", "--checkpoint", "gpu-128px", "--families", "uniforn", *out])
    size = ["--frames", "18", "--height", "64", "--width", "64", "--clips", "15"]
    with pytest.raises(command.UsageError, match=r"frames 18 is not 1 \+ a multiple of 4: use 17 or 21"):
        evaluate.main(["physics", "--checkpoint", "gpu-128px", *size, *out])
    (tmp_path / "m.jsonl").write_text("")
    with pytest.raises(command.UsageError, match="is empty"):
        evaluate.main(["physics", "--videos", str(tmp_path), "--manifest", str(tmp_path / "m.jsonl"), *out])


def test_a_page_escapes_what_it_is_told_and_shows_every_column():
    score = Score(0.5, 0.4, 0.6, 7)
    shown = page.Shown(title="<b>x</b>", note="", truth=np.zeros((2, 16, 16, 3), np.uint8), video=None)
    text = page.render(
        page.Page(
            title="a & b",
            settings={"judged": "<me>"},
            table={"color": {"truth": score, "sample": score, "own": score}},
            uncertified={},
            worst=[shown],
            median=[],
            faults=[],
        )
    )
    for words in ("a &amp; b", "&lt;me&gt;", "&lt;b&gt;x", "<th>own</th>", "0.500", "there is no answer"):
        assert words in text
    assert "<p>None.</p>" in text


LATENTS = f"{Path(__file__).parents[2]}/configs/latents.py:smoke"


def test_samples_and_training_clips_become_rows_of_their_own(items, tmp_path, all_certified, capsys):
    manifest = benchmark.write(tmp_path / "benchmark", items[:2])
    videos = tmp_path / "videos"
    first, second = (benchmark.truth(item).video for item in items[:2])
    source = build.source(command.load_config(LATENTS).train)
    fits = (source.sizes["frames"] >= 9) & (source.sizes["height"] == source.sizes["width"])
    copied = source[int(np.flatnonzero(fits)[0])].video[:9]
    names = ("uniform-0000-0.mp4", "uniform-0000-1.mp4", "uniform-0001-0.mp4", "uniform-0001.mp4")
    for name, video in zip(names, (first, copied, second, second), strict=True):
        video_files.write_video(videos / name, video, fps=8, crf=0)
    flags = ["--videos", str(videos), "--manifest", str(manifest), "--out", str(tmp_path), "--given", "3"]
    training = ["--training", "5", "--training_config", LATENTS]
    evaluate.main(["physics", *flags, "--workers", "1", "--samples", "2", *training])
    result = json.loads((tmp_path / "scores.json").read_text())
    color = result["scores"]["color"]
    assert color["best-of-k"]["mean"] == 1 > color["sample"]["mean"] >= 0.5
    assert color["nearest"]["mean"] < 1
    assert [len(clip["samples"]) for clip in result["clips"]] == [2, 2]
    assert result["faults"] == [
        "uniform-0001-1.mp4 is missing",
        "uniform-0001.mp4 is asked for by no line of the manifest",
    ]
    assert result["spread"]["compared"] == 2 and result["spread"]["scores"]["distance"]["sample"]["mean"] > 1
    (true, copy), (alone,) = (clip["nearest"]["ratios"] for clip in result["clips"])
    assert copy < 0.1 < 0.9 < true < 1.1 and 0.9 < alone < 1.1
    assert result["copying"]["samples that could not be read"] == 1
    text = (tmp_path / "report.html").read_text()
    for words in ("<th>best-of-k</th>", "energy distance", "median ratio", "samples of each clip 2"):
        assert words in text
    assert "best-of-k" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--samples", "0"], "--samples 0: give at least 1"),
        (["--training", "-1"], "--training -1: give 0"),
        (["--training", "999", "--training_config", LATENTS], "--training 999: .* has [0-9]+ clips of 9 or"),
    ],
)
def test_flags_of_samples_and_training_name_the_mend(items, tmp_path, flags, said):
    manifest = benchmark.write(tmp_path, items[:1])
    what = ["--videos", str(tmp_path), "--manifest", str(manifest), "--out", str(tmp_path)]
    with pytest.raises(command.UsageError, match=said):
        evaluate.main(["physics", *what, *flags])
