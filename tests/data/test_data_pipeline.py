"""A batch is a function of (seed, step): whatever was made before, by whom, and after whatever restart."""

import contextlib
import itertools
import os
import shutil
import signal
from typing import ClassVar

import numpy as np
import pytest

from sora_jax import patches, text_bytes, types
from sora_jax.data import latents, pipeline
from sora_jax.data.manifest import BadClipError, TooManyBadError
from sora_jax.data.schedule import ClipSchedule

RATIO, PATCH, CLIPS = (4, 8, 8), (1, 2, 2), 60
ROOM = {"rows": 3, "row_tokens": 80, "row_text": 90, "max_segments": 6}


def latent_clip(i: int) -> types.LatentClip:
    """Images, 5 and 9 frames in turn; sides 2 to 6 latents; every fifth clip has one phrasing only."""
    lf, lh, lw = 1 + i % 3, 2 * (1 + i % 2), 2 * (1 + i % 3)
    values = np.random.default_rng(i).normal(size=(lf, lh, lw, 3)).astype(np.float32)
    captions = {"short": f"s{i}"} | ({} if i % 5 == 0 else {"descriptive": f"descriptive {i}"})
    return types.LatentClip(latents=values, fps=8.0 + i % 2, captions=captions, id=f"c{i}", frames=4 * lf - 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> latents.LatentSource:
    path = tmp_path_factory.mktemp("latents")
    meta = {"fingerprint": "abc", "ratio": RATIO}
    latents.write_latents(
        path, lambda a, b: map(latent_clip, range(a, b)), total=CLIPS, meta=meta, shard_clips=32
    )
    return latents.LatentSource(path)


class Squares:
    """Clips of three sizes whose pixels are their number; some cannot be read."""

    shapes = ((1, 16, 16), (5, 16, 32), (9, 32, 16))

    def __init__(self, bad: tuple[int, ...] = ()):
        self.bad = bad
        self.sizes = np.array([(*self.shapes[i % 3], 5) for i in range(30)], types.SIZE_DTYPE)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> types.Clip:
        if index in self.bad:
            raise BadClipError(f"{index}")
        video = np.full((*self.shapes[index % 3], 3), index, np.uint8)
        return types.Clip(video=video, fps=8.0, captions={"short": "x"}, id=str(index))


def assert_same(first, second) -> None:
    assert type(first) is type(second)
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def clips_of(batch: types.PackedBatch) -> list[int]:
    return batch.clip[batch.grid[..., 0] > 0].tolist()


def test_packed_batches_are_the_same_wherever_one_starts(store):
    batches = pipeline.make_batches(store, seed=5, **ROOM)
    taken = [next(batches) for _ in range(12)]  # more than two epochs
    assert all(type(batch) is types.PackedBatch for batch in taken)
    resumed = pipeline.make_batches(store, seed=5, start_step=7, prefetch=1, **ROOM)
    for batch in taken[7:]:
        assert_same(next(resumed), batch)
    for step in (11, 0, 4):
        assert_same(pipeline.make_batches(store, seed=5, **ROOM).batch_at(step), taken[step])
    other = pipeline.make_batches(store, seed=6, **ROOM).batch_at(0)
    assert not np.array_equal(other.clip, taken[0].clip)


@pytest.mark.slow  # a process imports everything anew; clip batches hold the same in the quick tests
def test_packed_batches_do_not_depend_on_the_workers(store):
    here = pipeline.make_batches(store, seed=5, **ROOM)
    there = pipeline.make_batches(store, seed=5, workers=1, prefetch=1, **ROOM)
    for _ in range(3):
        assert_same(next(there), next(here))


def test_an_epoch_shows_every_clip_once(store):
    batches = pipeline.make_batches(store, seed=5, **ROOM)
    plan = batches.batch_at.schedule.plan
    rows = len(plan(0, 0)) + len(plan(0, 1))
    shown = []
    for step in range(-(-rows // ROOM["rows"])):
        batch = batches.batch_at(step)
        shown += [clip[grid[:, 0] > 0].tolist() for clip, grid in zip(batch.clip, batch.grid, strict=True)]
    first, second = shown[: len(plan(0, 0))], shown[len(plan(0, 0)) : rows]
    for epoch in (first, second):
        assert sorted(itertools.chain.from_iterable(epoch)) == list(range(CLIPS))
    assert first != second


def test_rows_hold_the_clips_exactly(store):
    batch = pipeline.make_batches(store, seed=5, **ROOM).batch_at(2)
    unpacked = patches.unpack_rows(batch.tokens, batch.segment, grids=batch.grid, patch=PATCH)
    captions = [
        text_bytes.decode(batch.text[r][batch.text_segment[r] == k])
        for r in range(ROOM["rows"])
        for k in range(1, batch.segment[r].max() + 1)
    ]
    assert len(unpacked) == len(clips_of(batch)) == len(captions) > 6
    for number, values, caption in zip(clips_of(batch), unpacked, captions, strict=True):
        clip = store[number]
        np.testing.assert_array_equal(values, clip.latents)
        assert caption in clip.captions.values()
    for r, row in enumerate(batch.segment):
        for k in range(1, row.max() + 1):
            clip, grid = store[batch.clip[r, k - 1]], tuple(batch.grid[r, k - 1])
            np.testing.assert_array_equal(batch.index[r][row == k], patches.indices(grid))
            truth = patches.positions(grid, ratio=RATIO, patch=PATCH, fps=clip.fps)
            np.testing.assert_array_equal(batch.position[r][row == k], truth)
    assert not batch.known.any()
    assert not batch.tokens[batch.segment == 0].any()


def test_phrasings_follow_their_weights_and_change_with_the_epoch(store):
    def captions(epochs: int, mix: dict[str, float]) -> list[dict[int, str]]:
        batches = pipeline.make_batches(store, seed=5, caption_mix=mix, **ROOM)
        packer = batches.batch_at
        return [
            {
                segment.clip: text_bytes.decode(segment.text)
                for row in range(len(packer.schedule.plan(0, epoch)))
                for segment in packer._row(
                    pipeline.RowClips(stage=0, epoch=epoch, clips=packer.schedule.plan(0, epoch).row(row))
                )
            }
            for epoch in range(epochs)
        ]

    drawn = captions(10, {"short": 0.25, "descriptive": 0.75})
    both = [i for i in range(CLIPS) if i % 5]
    share = np.mean([[epoch[i].startswith("descriptive") for i in both] for epoch in drawn])
    assert share == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / (10 * len(both))) ** 0.5)
    assert all(epoch[i] == f"s{i}" for epoch in drawn for i in range(0, CLIPS, 5))  # the one that they have
    assert drawn[0] != drawn[1]
    assert drawn == captions(10, {"descriptive": 3.0, "short": 1.0})


def test_a_phrasing_that_no_clip_has_is_an_error(store):
    with pytest.raises(ValueError, match=r"asks for \['long'\].*(\['descriptive', 'short'\]|\['short'\])"):
        pipeline.make_batches(store, seed=5, caption_mix={"long": 1.0}, **ROOM).batch_at(0)
    with pytest.raises(ValueError, match="weight above 0"):
        pipeline.make_batches(store, seed=5, caption_mix={"short": 1.0, "descriptive": 0.0}, **ROOM)


def test_stages_choose_the_clips(store):
    stages = ((4, ((1, 1.0),)), (6, ((5, 1.0),)), (None, None))
    batches = pipeline.make_batches(store, seed=5, stages=stages, **ROOM)
    most = [batches.batch_at(step).grid[..., 0].max() for step in range(12)]
    assert most == [1] * 4 + [2] * 2 + [3] * 6
    resumed = pipeline.make_batches(store, seed=5, stages=stages, start_step=5, **ROOM)
    for step in range(5, 9):
        assert_same(next(resumed), batches.batch_at(step))
    with pytest.raises(ValueError, match="the last at None"):
        pipeline.make_batches(store, seed=5, stages=((4, None), (3, None), (None, None)), **ROOM)


def test_processes_share_the_rows_of_one_batch(store):
    whole = pipeline.make_batches(store, seed=5, **ROOM).batch_at(3)
    parts = [pipeline.make_batches(store, seed=5, mine=m, **ROOM).batch_at(3) for m in ([0], [1, 2])]
    assert_same(types.PackedBatch(*map(np.concatenate, zip(*parts, strict=True))), whole)


def test_a_process_reads_only_its_own_rows(store):
    class Counted:
        read: ClassVar[list[int]] = []

        def __getattr__(self, name):
            return getattr(store, name)

        def __getitem__(self, index):
            self.read.append(index)
            return store[index]

    batches = pipeline.make_batches(Counted(), seed=5, mine=[1], **ROOM)  # type: ignore[arg-type]
    batch = batches.batch_at(3)
    assert sorted(Counted.read) == sorted(batches.batch_at.schedule(3)[1].clips.tolist())
    assert len(batch.tokens) == 1


def test_processes_share_a_batch_of_clips():
    whole = pipeline.make_clip_batches(Squares(), seed=1, batch=4, shapes=SHAPES).batch_at(5)
    parts = [
        pipeline.make_clip_batches(Squares(), seed=1, batch=4, shapes=SHAPES, mine=m).batch_at(5)
        for m in ([0, 1], [2, 3])
    ]
    for one, other in zip(map(np.concatenate, zip(*parts, strict=True)), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def damage(path, number: int) -> None:
    """Overwrites the middle of a clip's record in the store at `path`."""
    name, inside = path / f"shard-{number // 32:05d}.arrayrecord", np.float32(latent_clip(number).latents)
    content = bytearray(name.read_bytes())
    start = content.index(inside.astype("<f2").tobytes())
    content[start : start + 8] = bytes(8)
    name.write_bytes(content)


def test_a_damaged_record_leaves_its_place_empty_and_is_counted(store, tmp_path, caplog):
    shutil.copytree(store.path, tmp_path, dirs_exist_ok=True)
    damage(tmp_path, 17)
    damaged = latents.LatentSource(tmp_path, max_bad_share=0.02)
    whole, without = (pipeline.make_batches(source, seed=5, **ROOM) for source in (store, damaged))
    steps = range(12)  # more than an epoch
    for step in steps:
        expected, found = whole.batch_at(step), without.batch_at(step)
        assert clips_of(found) == [clip for clip in clips_of(expected) if clip != 17]
        for clip in clips_of(found):
            for a, b in zip(of_clip(expected, clip), of_clip(found, clip), strict=True):
                np.testing.assert_array_equal(a, b)
    assert any(17 in clips_of(whole.batch_at(step)) for step in steps)
    assert sum("c17: Corrupted" in record.message for record in caplog.records) == 1
    damage(tmp_path, 40)
    with pytest.raises(TooManyBadError, match=r"2 of 60 .*c17.*c40"):
        for number in (17, 40):
            with contextlib.suppress(BadClipError):
                damaged[number]


def of_clip(batch: types.PackedBatch, clip: int) -> list[np.ndarray]:
    """What a batch holds of one clip, in the order of its tokens."""
    row, place = np.argwhere((batch.clip == clip) & (batch.grid[..., 0] > 0))[0]
    mine = batch.segment[row] == place + 1
    return [batch.tokens[row][mine], batch.position[row][mine], batch.index[row][mine]]


def test_a_row_whose_clips_are_all_damaged_is_padding(store, tmp_path):
    shutil.copytree(store.path, tmp_path, dirs_exist_ok=True)
    damage(tmp_path, 0)
    damaged = latents.LatentSource(tmp_path, max_bad_share=0.02)
    room = {**ROOM, "rows": 1, "max_segments": 1}  # a clip a row
    whole, without = (pipeline.make_batches(source, seed=5, **room) for source in (store, damaged))
    step = next(step for step in range(CLIPS) if clips_of(whole.batch_at(step)) == [0])
    empty = without.batch_at(step)
    assert not empty.segment.any() and not empty.tokens.any() and clips_of(empty) == []
    for name, of_whole in whole.batch_at(step)._asdict().items():
        assert getattr(empty, name).shape == of_whole.shape and getattr(empty, name).dtype == of_whole.dtype


def test_wasteful_room_is_reported(store, caplog):
    room = ROOM | {"row_text": 20}
    pipeline.make_batches(store, seed=5, **room).batch_at(0)
    assert "raise row_text" in caplog.text


SHAPES = [((1, 16, 16), 0.25), ((9, 32, 16), 0.75)]


def test_clip_batches_are_the_same_wherever_one_starts_and_whoever_makes_them():
    here = pipeline.make_clip_batches(Squares(), seed=1, batch=4, shapes=SHAPES)
    taken = [next(here) for _ in range(9)]
    there = pipeline.make_clip_batches(
        Squares(), seed=1, batch=4, shapes=SHAPES, start_step=3, workers=2, prefetch=1
    )
    for batch in taken[3:]:
        assert_same(next(there), batch)
    for batch in taken:
        shape = batch.video.shape[1:4]
        assert shape in [shape for shape, _ in SHAPES]
        np.testing.assert_array_equal(batch.video[:, 0, 0, 0, 0], batch.clip)
        assert batch.video.dtype == np.uint8 and batch.fps.tolist() == [8.0] * 4


def test_shapes_keep_their_shares_and_clips_come_once_an_epoch():
    schedule = ClipSchedule(Squares().sizes, seed=1, batch=4, shapes=SHAPES)
    drawn = [schedule(step) for step in range(2 * ClipSchedule.block)]
    images = [clips for shape, clips in drawn if shape == (1, 16, 16)]
    assert len(images) == pytest.approx(0.25 * len(drawn), abs=2)
    stream = np.concatenate(images)
    for epoch in range(4):  # ten images in the source
        assert sorted(stream[10 * epoch : 10 * epoch + 10].tolist()) == list(range(0, 30, 3))


class Deadly(Squares):
    """Kills the process that reads clip 9, as often as the file `left` has bytes."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def __getitem__(self, index: int) -> types.Clip:
        if index == 9 and (bytes_left := self.left.read_bytes()):
            self.left.write_bytes(bytes_left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_dead_worker_is_replaced_and_no_batch_is_lost(tmp_path, caplog):
    left = tmp_path / "left"
    left.write_bytes(b"1")
    shapes = [((1, 16, 16), 1.0)]
    batches = pipeline.make_clip_batches(Deadly(left), seed=1, batch=2, shapes=shapes, workers=1)
    expected = pipeline.make_clip_batches(Squares(), seed=1, batch=2, shapes=shapes)
    for step in range(6):  # an epoch is five
        assert_same(next(batches), expected.batch_at(step))
    assert left.read_bytes() == b"" and "a data worker died" in caplog.text


@pytest.mark.slow  # three processes import everything
def test_a_batch_that_kills_every_worker_is_an_error(tmp_path):
    left = tmp_path / "left"
    left.write_bytes(b"1" * 100)
    shapes = [((1, 16, 16), 1.0)]
    batches = pipeline.make_clip_batches(Deadly(left), seed=1, batch=2, shapes=shapes, workers=1)
    with pytest.raises(RuntimeError, match=r"3 data workers in a row died while batch \d was made"):
        list(itertools.islice(batches, 6))
    assert len(left.read_bytes()) == 97


def test_an_unreadable_clip_gives_its_place_to_the_next_of_its_size():
    shapes = [((5, 16, 32), 1.0)]
    whole = pipeline.make_clip_batches(Squares(), seed=1, batch=10, shapes=shapes)
    broken = pipeline.make_clip_batches(Squares(bad=(4, 28)), seed=1, batch=10, shapes=shapes)
    stand_in = {4: 7, 28: 1}  # cyclically
    for step in range(3):
        expected = [stand_in.get(clip, clip) for clip in whole.batch_at(step).clip.tolist()]
        assert broken.batch_at(step).clip.tolist() == expected
    nothing = pipeline.make_clip_batches(Squares(bad=tuple(range(30))), seed=1, batch=2, shapes=shapes)
    with pytest.raises(BadClipError, match="no clip of size"):
        nothing.batch_at(0)


def test_a_shape_that_no_clip_has_names_those_there_are():
    with pytest.raises(ValueError, match=r"\(5, 16, 16\); the most common .*\(5, 16, 32\)"):
        pipeline.make_clip_batches(Squares(), seed=1, batch=4, shapes=[((5, 16, 16), 1.0)])


def test_a_share_of_the_clips_comes_without_its_first_latent(store):
    whole, cut = (pipeline.make_batches(store, seed=3, **ROOM, headless=share) for share in (0.0, 0.5))
    headless = total = 0
    for step in range(8):
        full, part = whole.batch_at(step), cut.batch_at(step)
        np.testing.assert_array_equal(full.clip, part.clip)
        for r in range(ROOM["rows"]):
            for k in range(int(full.segment[r].max())):
                frames, rows, columns = full.grid[r, k]
                here, there = full.segment[r] == k + 1, part.segment[r] == k + 1
                skipped = rows * columns if part.grid[r, k, 0] < frames else 0
                headless, total = headless + (skipped > 0), total + (frames >= 3)
                assert frames >= 3 or not skipped
                for name in ("tokens", "position"):
                    np.testing.assert_array_equal(
                        getattr(full, name)[r][here][skipped:], getattr(part, name)[r][there], err_msg=name
                    )
                assert part.index[r][there][0].tolist() == [0, 0, 0]
    assert 0.3 < headless / total < 0.7
