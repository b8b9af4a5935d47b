"""Draws that belong to a clip: the same wherever it is packed, and of the stated shares."""

import gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion import conditioning

KEY = jax.random.key(3)
GRIDS = {5: (3, 2, 4), 6: (1, 3, 2), 9: (5, 2, 2), 4_000_000_000: (2, 3, 3)}
MIXED = {
    "none": 0.1,
    "first_frame": 0.1,
    "last_frame": 0.1,
    "prefix": 0.2,
    "suffix": 0.1,
    "both_ends": 0.2,
    "random_frames": 0.2,
}


def clips(**changed):
    return {number: gaussian.segment(number, grid=grid, **changed) for number, grid in GRIDS.items()}


def packings():
    """The same four clips in batches of other rows, orders and sizes."""
    a, b, c, d = clips().values()
    return {
        name: gaussian.pack(*rows, tokens=72, text=16, segments=5)  # one shape, so one compilation
        for name, rows in {
            "one row": ([a, b, c, d], [], [], []),
            "two rows": ([d, b], [], [], [c, a]),
            "alone": ([c], [d], [b], [a]),
        }.items()
    }


DRAWS = {
    "token_noise": lambda batch: conditioning.token_noise(KEY, batch),
    "clip_uniform": lambda batch: conditioning.to_tokens(
        conditioning.clip_uniform(KEY, batch), batch.segment
    ),
    "frame_uniform": lambda batch: conditioning.frame_uniform(KEY, batch),
    "level_uniform": lambda batch: conditioning.level_uniform(KEY, batch, forcing=0.5),
    "draw_known": lambda batch: conditioning.draw_known(KEY, batch, shares=MIXED),
}


@pytest.fixture(scope="module")
def drawn():
    """packing -> (batch, draw -> values `[b n ...]`)."""
    draw_all = jax.jit(lambda batch: {name: draw(batch) for name, draw in DRAWS.items()})
    return {name: (batch, draw_all(batch)) for name, batch in packings().items()}


def by_clip(batch, values):
    """The draws `[tokens ...]` of every clip, by its number."""
    found = {}
    for row, segment in enumerate(np.asarray(batch.segment)):
        for number in range(1, segment.max(initial=0) + 1):
            found[int(batch.clip[row, number - 1])] = np.asarray(values)[row][segment == number]
    return found


@pytest.mark.parametrize("name", DRAWS)
def test_a_clip_has_the_same_draws_wherever_it_is_packed(name, drawn):
    one, *others = (by_clip(batch, values[name]) for batch, values in drawn.values())
    assert one.keys() == GRIDS.keys()
    for other in others:
        for number, values in one.items():
            np.testing.assert_array_equal(values, other[number])


def test_noise_at_a_place_does_not_depend_on_the_grid_around_it(drawn):
    batch, values = drawn["one row"]
    (number, (frames, rows, columns)), *_ = GRIDS.items()
    large = gaussian.pack(
        [gaussian.segment(number, grid=(frames + 1, rows, columns + 2))], tokens=len(batch.segment[0])
    )
    noise = np.asarray(jax.jit(DRAWS["token_noise"])(large))[0]
    noise = noise[: (frames + 1) * rows * (columns + 2)].reshape(frames + 1, rows, columns + 2, -1)
    inside = noise[:frames, :, :columns].reshape(frames * rows * columns, -1)
    np.testing.assert_array_equal(by_clip(batch, values["token_noise"])[number], inside)


def test_noise_is_standard_normal_and_differs_between_places_clips_and_keys():
    grid = (4, 16, 16)
    batch = gaussian.pack(*([gaussian.segment(clip, grid=grid)] for clip in (1, 2)))
    draw = jax.jit(conditioning.token_noise)
    noise = np.asarray(draw(KEY, batch)).reshape(2, *grid, -1)
    other = np.asarray(draw(jax.random.key(4), batch)).reshape(noise.shape)
    five_sigma = 5 / np.sqrt(noise[0].size)
    assert abs(noise.mean()) < five_sigma and abs(noise.var() - 1) < 2 * five_sigma
    for a, b in [
        (noise[0], noise[1]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[:, :, 1:], noise[:, :, :-1]),
        (noise[:, :, :, 1:], noise[:, :, :, :-1]),
        (noise[..., 1:], noise[..., :-1]),
        (noise, other),
        (noise, noise.swapaxes(2, 3)[:, ::-1]),
    ]:
        assert abs((a * b).mean()) < 5 / np.sqrt(a.size)


def test_levels_are_one_per_clip_or_one_per_frame_in_the_stated_share():
    shares = (0.0, 0.3, 1.0)
    batch = gaussian.pack(*([gaussian.segment(clip, grid=(3, 1, 2), text=1)] for clip in range(2000)))
    draw = jax.jit(lambda batch: [conditioning.level_uniform(KEY, batch, forcing=share) for share in shares])
    for forcing, level in zip(shares, draw(batch), strict=True):
        level = np.asarray(level).reshape(-1, 3, 2)
        np.testing.assert_array_equal(level[..., 0], level[..., 1])
        differ = np.mean(np.ptp(level[:, :, 0], axis=1) > 0)
        assert abs(differ - forcing) <= 5 * np.sqrt(forcing * (1 - forcing) / 2000)
        assert abs(level.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 2000)
        frames = np.corrcoef(level[..., 0].T)[0, 1]
        assert abs(frames - (1 - forcing)) < 5 / np.sqrt(2000)


def ends(frames, heads, tails):
    return {"1" * a + "0" * (frames - a - b) + "1" * b for a in heads for b in tails if 0 < a + b < frames}


PATTERNS = {  # kind -> which frames of 4 may be known
    "none": {"0000"},
    "first_frame": {"1000"},
    "last_frame": {"0001"},
    "prefix": ends(4, (1, 2, 3), (0,)),
    "suffix": ends(4, (0,), (1, 2, 3)),
    "both_ends": ends(4, (1, 2), (1, 2)),
    "random_frames": {f"{number:04b}" for number in range(15)},
    "first_two_frames": {"1100"},
}


SHARES = {kind: {kind: 1.0} for kind in PATTERNS} | {
    "mixed": {"none": 0.3, "last_frame": 0.2, "both_ends": 0.5}
}
CLIPS = 2000  # of each number of frames, 1 to 4


@pytest.fixture(scope="module")
def patterns():
    """(name of SHARES, frames) -> the pattern of known frames of every clip of that many frames."""
    rows = (
        [gaussian.segment(10 * row + frames, grid=(frames, 1, 2), text=1) for frames in (1, 2, 3, 4)]
        for row in range(CLIPS)
    )
    batch = gaussian.pack(*rows)
    draw = jax.jit(
        lambda batch: {k: conditioning.draw_known(KEY, batch, shares=v) for k, v in SHARES.items()}
    )
    found = {}
    for name, known in draw(batch).items():
        known = np.asarray(known).reshape(CLIPS, 10, 2)
        np.testing.assert_array_equal(known[..., 0], known[..., 1])
        for frames, at in zip((1, 2, 3, 4), (0, 1, 3, 6), strict=True):
            own = known[:, at : at + frames, 0]
            found[name, frames] = ["".join("01"[int(value)] for value in row) for row in own]
    return found


@pytest.mark.parametrize("kind", PATTERNS)
def test_each_kind_gives_all_its_patterns_of_known_frames_and_no_other(kind, patterns):
    assert set(patterns[kind, 4]) == PATTERNS[kind]
    assert set(patterns[kind, 1]) == {"0"}, "an image has no known tokens"
    for frames in (2, 3):
        assert "1" * frames not in patterns[kind, frames], "a clip that is all known has no loss"
        if kind not in ("none", "random_frames"):
            assert "0" * frames not in patterns[kind, frames]


def test_the_stated_shares_of_clips_have_each_kind(patterns):
    for kind, share in SHARES["mixed"].items():
        observed = np.mean([pattern in PATTERNS[kind] for pattern in patterns["mixed", 4]])
        assert abs(observed - share) < 5 * np.sqrt(share * (1 - share) / CLIPS)
    for kind in ("prefix", "suffix"):
        lengths = [pattern.count("1") for pattern in patterns[kind, 4]]
        for length in (1, 2, 3):  # uniform
            assert abs(np.mean(np.equal(lengths, length)) - 1 / 3) < 5 * np.sqrt(2 / 9 / CLIPS)


def test_a_box_is_the_same_rectangle_in_every_frame_of_any_size_and_place():
    frames, rows, columns = 2, 3, 4
    clips = [gaussian.segment(number, grid=(frames, rows, columns), text=1) for number in range(3000)]
    alone = gaussian.segment(9999, grid=(1, 1, 1), text=1)
    batch = gaussian.pack(*([clip, alone] for clip in clips))
    boxes = {}
    for kind in conditioning.BOXES:
        known = np.asarray(conditioning.draw_known(KEY, batch, shares={kind: 1.0}))
        assert not known[:, frames * rows * columns :].any(), "of one token nothing can be given"
        grid = known[:, : frames * rows * columns].reshape(-1, frames, rows, columns)
        np.testing.assert_array_equal(grid[:, 0], grid[:, 1])
        assert not grid.all((1, 2, 3)).any()
        boxes[kind] = grid[:, 0]
    inside, outside = boxes["inside_box"], boxes["outside_box"]
    some = inside.any((1, 2))
    np.testing.assert_array_equal(inside[some], ~outside[some])
    assert not outside[~some].any()
    across, down = inside.any(1), inside.any(2)
    np.testing.assert_array_equal(inside, across[:, None, :] & down[:, :, None])
    for side, count in ((across, columns), (down, rows)):
        assert (np.abs(np.diff(side[some].astype(int), axis=1)).sum(1) <= 2).all(), "in one piece"
        lengths = np.bincount(side[some].sum(1), minlength=count + 1)[1:] / some.sum()
        full = 1 / (rows * columns)  # the box that would be the whole frame
        expected = np.array([1 / count] * (count - 1) + [1 / count - full]) / (1 - full)
        np.testing.assert_allclose(lengths, expected, atol=0.05)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"none": 0.5, "first_fram": 0.5}, "did you mean 'first_frame'"),
        ({"none": 0.5, "prefix": 0.4}, "sum to 0.9"),
        ({"none": 1.5, "prefix": -0.5}, "share of 'none' is 1.5"),
        ({}, "sum to 0"),
    ],
)
def test_a_typo_or_shares_that_do_not_sum_to_one_are_errors(shares, message):
    with pytest.raises(ValueError, match=message):
        conditioning.checked_shares(shares)


def test_a_dropped_caption_is_its_end_token_and_the_others_stay():
    a, b, c, d = clips(text=5).values()
    batch = gaussian.pack([a, b], [c, d], text=12)
    dropped = conditioning.drop_captions(batch, jnp.asarray([[False, True, True, True]] * 2))
    left = np.asarray(dropped.text_segment)
    np.testing.assert_array_equal(left[:, :5], [[1] * 5] * 2)
    np.testing.assert_array_equal(left[:, 5:10], [[0, 0, 0, 0, 2]] * 2)
    np.testing.assert_array_equal(left[:, 10:], 0)
    for name in set(batch._fields) - {"text_segment"}:
        np.testing.assert_array_equal(getattr(batch, name), getattr(dropped, name))
    nothing = conditioning.drop_all_captions(batch)
    np.testing.assert_array_equal(nothing.text_segment > 0, (batch.text == 1) & (batch.text_segment > 0))


def test_padding_of_a_table_spread_to_tokens_is_zero():
    batch = gaussian.pack([gaussian.segment(1, grid=(1, 1, 2))], tokens=4, segments=3)
    table = jnp.asarray([[[3, 4], [5, 6], [7, 8]]])
    spread = conditioning.to_tokens(table, batch.segment)
    np.testing.assert_array_equal(spread, [[[3, 4], [3, 4], [0, 0], [0, 0]]])
