"""A folder of videos: the right frames at the right size; bad files counted, named, bounded, not invented."""

import contextlib
import json

import av
import numpy as np
import pytest

from sora_jax import types
from sora_jax.data import decode, interleave, manifest, transform, workers
from sora_jax.data.manifest import BadClipError
from sora_jax.data.source import FolderSource, read_captions

FPS, FRAMES = 10, 40  # of the test videos: 4 seconds


def write_video(path, *, height=60, width=80, frames=FRAMES) -> None:
    """Grey frames, frame i of value 6 i: so that a decoded frame tells its number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = height, width, "yuv420p", 4_000_000
        for i in range(frames):
            image = np.full((height, width, 3), 6 * i, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a.mp4")
    write_video(root / "tall.mp4", height=96, width=48, frames=12)
    whole = (root / "a.mp4").read_bytes()
    (root / "broken.mp4").write_bytes(whole[: len(whole) // 3])
    (root / "text.mp4").write_text("no video")
    with av.open(str(root / "still.png"), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "rgb24"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 9, np.uint8), format="rgb24"))
        )
    return root


def captions(tmp_path, *lines: str):
    file = tmp_path / "captions.csv"
    file.write_text("path,caption,start,end\n" + "\n".join(lines) + "\n")
    return file


def frame_numbers(clip: types.Clip) -> list[int]:
    return np.round(clip.video.mean(axis=(1, 2, 3)) / 6).astype(int).tolist()


def test_clips_show_the_frames_of_their_instants(videos, tmp_path):
    file = captions(tmp_path, "a.mp4,whole", "a.mp4,a part,1.2,2.6", "tall.mp4,tall", "still.png,an image")
    source = FolderSource(videos, file, fps=5, max_frames=33, pixels=64 * 64)
    assert source.sizes.tolist() == [(17, 48, 64, 6), (5, 48, 64, 7), (5, 80, 48, 5), (1, 64, 64, 9)]
    assert source.ids == ["a.mp4@0-", "a.mp4@1.2-2.6", "tall.mp4@0-", "still.png@0-"]
    whole, part, tall, still = (source[i] for i in range(4))
    assert [clip.video.shape[:3] for clip in (whole, part, tall, still)] == [
        tuple(size)[:3] for size in source.sizes.tolist()
    ]
    assert frame_numbers(whole) == list(range(0, 34, 2))  # every second of 10 frames/s
    assert frame_numbers(part) == [12, 14, 16, 18, 20]
    assert whole.fps == part.fps == still.fps == 5
    assert part.captions == {"short": "a part"}
    assert still.video.min() == still.video.max() == 9


def test_a_slower_video_keeps_its_own_frames_per_second(videos, tmp_path):
    source = FolderSource(videos, captions(tmp_path, "tall.mp4,tall"), fps=30)
    assert source[0].fps == FPS
    assert frame_numbers(source[0]) == list(range(9))


def test_bad_files_are_left_out_counted_and_bounded(videos, tmp_path, caplog):
    lines = ["a.mp4,good", "text.mp4,bad", "nothing.mp4,bad", "a.mp4,too late,50,", "tall.mp4,good"]
    file = captions(tmp_path, *lines)
    source = FolderSource(videos, file, max_bad_share=0.6)
    assert source.ids == ["a.mp4@0-", "tall.mp4@0-"]
    assert set(source.bad) == {"text.mp4@0-", "nothing.mp4@0-", "a.mp4@50-"}
    for name in source.bad:
        assert name in caplog.text
    with pytest.raises(manifest.TooManyBadError, match=r"3 of 5 .* max_bad_share 0.5.*text.mp4"):
        FolderSource(videos, file, max_bad_share=0.5)


def test_a_file_that_fails_later_is_counted_and_left_out(videos, tmp_path):
    """Its header was read while it was whole; it is cut off before it is decoded."""
    root = tmp_path / "videos"
    root.mkdir()
    lines = []
    for i in range(4):
        (root / f"{i}.mp4").write_bytes((videos / "a.mp4").read_bytes())
        lines.append(f"{i}.mp4,good")
    source = FolderSource(root, captions(tmp_path, *lines), max_bad_share=0.3)
    for i in (1, 3):
        (root / f"{i}.mp4").write_bytes((videos / "broken.mp4").read_bytes())
    read = manifest.readable(source, range(4))
    assert [next(read)[0], next(read)[0]] == [0, 2]
    assert list(source.bad) == ["1.mp4@0-"]
    with pytest.raises(manifest.TooManyBadError, match="2 of 4"):
        next(read)


def test_a_file_that_ends_too_soon_is_bad_not_padded(videos):
    with pytest.raises(manifest.BadClipError, match=r"ends at 4.000 s, before 4.600 s"):
        decode.decode(videos / "a.mp4", np.array([3.0, 3.8, 4.6]))


def test_sizes_are_kept_and_read_again_when_a_file_changes(videos, tmp_path, monkeypatch):
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.mp4").write_bytes((videos / "a.mp4").read_bytes())
    file = captions(tmp_path, "a.mp4,whole")
    first = FolderSource(root, file)
    with monkeypatch.context() as patch:
        patch.setattr("sora_jax.data.source.probe", lambda path: pytest.fail(f"{path} was read again"))
        again = FolderSource(root, file)
    assert again.manifest_hash == first.manifest_hash
    (root / "a.mp4").write_bytes((videos / "tall.mp4").read_bytes())
    assert FolderSource(root, file).sizes.tolist() != first.sizes.tolist()


def test_jsonl_and_csv_give_the_same_entries(tmp_path):
    file = tmp_path / "captions.jsonl"
    file.write_text(json.dumps({"path": "a.mp4", "caption": "x", "start": 1, "end": 2.5}) + "\n\n")
    assert read_captions(file) == read_captions(captions(tmp_path, "a.mp4,x,1,2.5"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "path,text\na.mp4,x\n", r"column 'caption' is missing; found \['path', 'text'\]"),
        ("c.jsonl", '{"caption": "x"}\n', r"entry 1: column 'path' is missing; found \['caption'\]"),
        ("c.csv", "path,caption\na.mp4,\n", "entry 2: path 'a.mp4' and caption '' must not be empty"),
        ("c.csv", "path,caption,start\na.mp4,x,soon\n", "'soon' is not a number of seconds"),
        ("c.csv", "path,caption,start,end\na.mp4,x,3,2\n", "from 3.0 to 2.0 s is empty"),
        ("c.csv", "path,caption\na.mp4,x\na.mp4,y\n", "a.mp4@0- twice"),
        ("c.csv", "path,caption\n", "no entries"),
        ("c.txt", "a.mp4 x\n", "use .csv or .jsonl"),
    ],
)
def test_errors_in_captions_name_the_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_captions(tmp_path / name)


@pytest.mark.parametrize("native", [(720, 1280), (480, 640), (1080, 1080), (1280, 720), (272, 640), (50, 70)])
@pytest.mark.parametrize("pixels", [64 * 64, 128 * 128, 256 * 256])
def test_sizes_keep_the_aspect_under_the_budget(native, pixels):
    height, width = transform.fit_size(*native, pixels=pixels)
    assert height % 16 == width % 16 == 0
    assert height * width <= pixels and height <= native[0] and width <= native[1]
    # rounding a side to 16 moves the aspect by at most half a step of the shorter one
    assert abs(np.log(height / width * native[1] / native[0])) <= np.log(1 + 8 / min(height, width)) + 1e-9


def test_resize_scales_as_a_whole_and_cuts_evenly():
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    out = transform.resize_cover(ramp, height=50, width=80)  # scale 1/2: 100 wide, 10 cut on each side
    np.testing.assert_allclose(out[0, :, 0], 20.5 + 2 * np.arange(80), atol=0.5)
    wide = transform.resize_cover(
        ramp, height=100, width=100, shown=(100, 100)
    )  # pixels half as wide as high
    np.testing.assert_allclose(wide[0, :, 0], 0.5 + 2 * np.arange(100), atol=0.5)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.0, 1), (0.5, 1), (1.0, 5), (1.25, 9), (60.0, 33), (4.0, 29)]
)
def test_frames_are_one_and_a_multiple_of_four(seconds, frames):
    assert transform.fit_frames(seconds, fps=8, most=33) == frames


class _Numbers:
    """A source of one-frame clips whose pixel is their number; number 5 cannot be read."""

    def __init__(self, start: int, count: int):
        self._start, self._count = start, count

    def __len__(self) -> int:
        return self._count

    @property
    def sizes(self) -> np.ndarray:
        table = np.ones(self._count, types.SIZE_DTYPE)
        table["text"] = self._start + np.arange(self._count)
        return table

    def __getitem__(self, index: int) -> types.Clip:
        number = self._start + index
        if number == 5:
            raise BadClipError("five")
        video = np.full((1, 1, 1, 3), number, np.uint8)
        return types.Clip(video=video, fps=8.0, captions={"short": "x"}, id=str(number))


def test_joined_sources_follow_each_other():
    joined = interleave.JoinedSource([_Numbers(10, 3), _Numbers(20, 1), _Numbers(30, 2)])
    assert [joined[k].id for k in range(len(joined))] == ["10", "11", "12", "20", "30", "31"]
    assert joined.sizes["text"].tolist() == [10, 11, 12, 20, 30, 31]
    for wrong in (-1, 6):
        with pytest.raises(IndexError, match=f"clip {wrong} of a set of 6"):
            joined[wrong]
    with pytest.raises(ValueError, match="no sources"):
        interleave.JoinedSource([])


def test_worker_processes_read_the_same_runs_whichever_is_asked_first():
    source = _Numbers(0, 70)
    reader = workers.ClipReader(source, run=25, workers=2)
    with contextlib.closing(reader):
        reader.begin(50)  # early, and not where the first one asks
        for start, stop in ((0, 25), (25, 50), (50, 70), (25, 50)):
            found = [int(clip.video[0, 0, 0, 0]) for clip in reader.read(start, stop)]
            assert found == [k for k in range(start, stop) if k != 5]
    begun = workers.ClipReader(source, run=25, workers=2)
    with contextlib.closing(begun):
        begun.begin(50)
        asked = list(begun._waiting)
        assert [first for first, _ in asked] == [50, 66]  # by 16, to the end
        assert [int(clip.video[0, 0, 0, 0]) for clip in begun.read(50, 70)] == list(range(50, 70))
        assert all(future.done() for _, future in asked)  # those very ones were handed out
    here = workers.ClipReader(source, run=25, workers=0)
    here.begin(3)
    assert [clip.id for clip in here.read(3, 8)] == ["3", "4", "6", "7"]
