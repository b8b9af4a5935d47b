"""The benchmark's files give its items back, and whatever is wrong with a line or a video is said."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from sora_jax.data import video_files
from sora_jax.evaluation import answers, benchmark

SIZE = {"frames": 5, "height": 48, "width": 64}


@pytest.fixture(scope="module")
def items():
    return benchmark.make({"uniform": 2, "collision": 1}, **SIZE)


def test_what_is_written_is_read_and_its_truth_is_the_clip(items, tmp_path):
    path = benchmark.write(tmp_path, items)
    assert [entry.item for entry in benchmark.read(path)] == items
    video = benchmark.truth(items[1]).video
    assert video.shape == (5, 48, 64, 3)
    for k in range(3):
        np.testing.assert_array_equal(Image.open(tmp_path / f"given/{items[1].id}/{k}.png"), video[k])


def test_families_have_clips_of_their_own(items):
    assert len({item.prompt for item in items}) == 3
    assert benchmark.truth(items[2]).state.family == "collision"


@pytest.mark.parametrize("clips", [15, 16, 33, 256, 1000])
def test_clips_are_shared_out_exactly(clips):
    dealt = benchmark.shares(clips)
    total = sum(benchmark.COUNTS.values())
    assert sum(dealt.values()) == clips and min(dealt.values()) >= 1
    for family, count in benchmark.COUNTS.items():
        assert abs(dealt[family] - count * clips / total) < 2


def test_too_few_clips_and_an_unknown_family_are_refused():
    with pytest.raises(ValueError, match="give at least 15"):
        benchmark.shares(14)
    assert benchmark.shares(7, families=["occlusion"]) == {"occlusion": 7}
    with pytest.raises(ValueError, match="'unifrom' is not one of uniform"):
        benchmark.make({"unifrom": 1}, **SIZE)


def test_bad_lines_are_kept_with_their_fault(items, tmp_path):
    path = benchmark.write(tmp_path, items)
    lines = path.read_text().splitlines()
    extra = json.loads(lines[1]) | {"id": "more", "stray": 1}
    path.write_text("\n".join([lines[0], "no JSON", json.dumps(extra), lines[0], lines[1]]) + "\n")
    entries = benchmark.read(path)
    assert [entry.item for entry in entries] == [items[0], None, None, None, items[1]]
    faults = [entry.fault for entry in entries if entry.fault]
    assert "line 2" in faults[0] and "stray" in faults[1] and "listed twice" in faults[2]


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("index", "abc", "index 'abc' is no int"),
        ("frames", True, "frames True is no int"),
        ("video", None, "video None is no str"),
        ("height", 8, "sides of at least 32"),
        ("frames", -3, "at least 2 frames"),
        ("fps", 0, "frames/s above 0"),
    ],
)
def test_a_line_with_an_impossible_field_says_which(items, tmp_path, field, value, said):
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps(dataclasses.asdict(items[0]) | {field: value}) + "\n")
    (entry,) = benchmark.read(path)
    assert entry.item is None and said in entry.fault


def test_a_changed_line_has_no_truth(items):
    with pytest.raises(ValueError, match="make the manifest again"):
        benchmark.truth(dataclasses.replace(items[0], prompt="a red circle"))


def test_every_way_in_which_a_video_cannot_be_judged_is_named(items, tmp_path):
    item, clip = items[0], benchmark.truth(items[0]).video
    path = tmp_path / item.video
    assert "is missing" in answers.read(tmp_path, item).fault
    path.write_bytes(b"")
    assert "empty" in answers.read(tmp_path, item).fault
    path.write_bytes(b"not a video" * 99)
    assert "cannot be read" in answers.read(tmp_path, item).fault
    for wrong, said in ((clip[:1], "1 of 5 frames"), (clip[:, :, :48], "48 x 48, not 48 x 64")):
        video_files.write_video(path, wrong, fps=item.fps)
        answer = answers.read(tmp_path, item)
        assert answer.video is None and said in answer.fault


def test_a_good_video_is_taken_and_a_longer_one_is_cut(items, tmp_path):
    item, clip = items[0], benchmark.truth(items[0]).video
    longer = np.concatenate([clip, clip[-1:]])
    video_files.write_video(tmp_path / item.video, longer, fps=item.fps, crf=0)
    answer = answers.read(tmp_path, item)
    assert answer.fault is None and answer.video.shape == clip.shape
    assert np.abs(answer.video.astype(int) - clip).mean() < 2


def test_files_that_nothing_asks_for_are_told(items, tmp_path):
    clip = benchmark.truth(items[0]).video
    for name in (items[0].video, "other.mp4", "deep/more.gif"):
        video_files.write_video(tmp_path / name, clip, fps=8)
    (tmp_path / "notes.txt").write_text("no video")
    assert answers.unlisted(tmp_path, items) == ["deep/more.gif", "other.mp4"]
