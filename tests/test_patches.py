import functools

import numpy as np
import pytest

from sora_jax import patches, rng

RATIO, PATCH = (4, 8, 8), (1, 2, 2)


def latents(frames: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return rng.host(0, "latents", frames, height, width).normal(size=(frames, height, width, channels))


@pytest.mark.parametrize("shape", [(1, 6, 4), (3, 4, 10), (5, 2, 2)])
@pytest.mark.parametrize("patch", [(1, 2, 2), (1, 1, 2), (1, 2, 1)])
def test_unpatchify_inverts_patchify_exactly(shape, patch):
    x = latents(*shape)
    tokens = patches.patchify(x, patch=patch)
    grid = patches.grid_of(x.shape, patch=patch)
    assert tokens.shape == (np.prod(grid), np.prod(patch) * 3)
    np.testing.assert_array_equal(patches.unpatchify(tokens, grid=grid, patch=patch), x)


def test_a_patch_holds_the_latents_of_its_own_place():
    x = latents(3, 4, 10)
    tokens = patches.patchify(x, patch=PATCH)
    index = patches.indices((3, 2, 5))
    for token, (f, r, c) in zip(tokens, index, strict=True):
        np.testing.assert_array_equal(token, x[f, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].ravel())


def test_positions_are_seconds_and_the_short_side_spans_minus_one_to_one():
    grid = patches.latent_grid(9, 48, 96, ratio=RATIO, patch=PATCH)
    assert grid == (3, 3, 6)
    position = patches.positions(grid, ratio=RATIO, patch=PATCH, fps=8).reshape(*grid, 3)
    np.testing.assert_allclose(position[:, 0, 0, 0], [0, 0.5, 1.0])
    np.testing.assert_allclose(position[0, :, 0, 1], [-2 / 3, 0, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(position[0, 0, :, 2], np.linspace(-5 / 3, 5 / 3, 6), atol=1e-6)


def test_the_same_scene_at_twice_the_resolution_has_the_same_geometry():
    def corners(height: int, width: int) -> np.ndarray:
        grid = patches.latent_grid(1, height, width, ratio=RATIO, patch=PATCH)
        position = patches.positions(grid, ratio=RATIO, patch=PATCH, fps=8).reshape(*grid, 3)[0, ..., 1:]
        half_patch = (position[1, 1] - position[0, 0]) / 2
        return np.stack([position[0, 0] - half_patch, position[-1, -1] + half_patch])

    np.testing.assert_allclose(corners(48, 64), corners(96, 128), atol=1e-6)


def test_images_and_videos_of_every_size_share_rows_and_come_back():
    shapes = [(1, 6, 4), (3, 4, 10), (2, 4, 4), (1, 2, 2)]
    clips = [latents(*shape).astype(np.float32) for shape in shapes]
    segments = [
        patches.segment(x, ratio=RATIO, patch=PATCH, fps=8, clip=40 + i, text=np.arange(1, 3 + i))
        for i, x in enumerate(clips)
    ]
    batch = patches.pack_rows(
        [[segments[0], segments[1]], [segments[2], segments[3]]], row_tokens=40, row_text=9, max_segments=3
    )
    assert batch.segment.tolist()[0] == [1] * 6 + [2] * 30 + [0] * 4
    assert batch.clip.tolist() == [[40, 41, 0], [42, 43, 0]]
    assert batch.text_segment.tolist() == [[1, 1, 2, 2, 2, 0, 0, 0, 0], [1] * 4 + [2] * 5]
    back = patches.unpack_rows(batch.tokens, batch.segment, grids=batch.grid, patch=PATCH)
    for x, y in zip(clips, back, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "size, message",
    [
        ((9, 90, 64), "height 90 is not a multiple of 16 .autoencoder 8 x patch 2.: use 80 or 96"),
        ((10, 64, 64), "frames 10 is not 1 . a multiple of 4: use 9 or 13"),
        ((9, 64, 7), "width 7 .* use 16 or 32"),
    ],
)
def test_a_bad_size_is_told_with_the_nearest_good_ones(size, message):
    with pytest.raises(ValueError, match=message):
        patches.latent_grid(*size, ratio=RATIO, patch=PATCH)


def test_a_row_that_overflows_is_an_error():
    s = patches.segment(latents(1, 4, 4), ratio=RATIO, patch=PATCH, fps=8, clip=0, text=np.ones(2, int))
    with pytest.raises(ValueError, match="needs 8 tokens, and has room for 6"):
        patches.pack_rows([[s, s]], row_tokens=6, row_text=9, max_segments=3)


def test_a_clip_is_split_into_clips_of_the_same_tokens_places_and_captions():
    x = latents(5, 4, 6)
    known = np.arange(5 * 2 * 3) < 4
    clip = patches.segment(
        x,
        ratio=RATIO,
        patch=PATCH,
        fps=8,
        clip=3,
        text=np.array([7, 1, 8, 9, 1]),
        text_span=np.array([0, 0, 1, 1, 1]),
        starts=(0.0, 1.4),
        known=known,
    )
    head, tail = patches.split(clip, [3])
    assert (head.grid, tail.grid, head.clip, tail.clip) == ((3, 2, 3), (2, 2, 3), 3, 3)
    np.testing.assert_array_equal(head.text, [7, 1])
    np.testing.assert_array_equal(tail.text, [8, 9, 1])
    np.testing.assert_array_equal(np.unique(head.position[:, 0]), [0, 0.5, 1])
    np.testing.assert_array_equal(np.unique(tail.position[:, 0]), [0.5, 1])  # a clip without its first latent
    one, apart = (
        patches.pack_rows([row], row_tokens=31, row_text=5, max_segments=2) for row in ([clip], [head, tail])
    )
    for name in ("tokens", "known", "index", "span", "text", "text_span"):
        np.testing.assert_array_equal(getattr(one, name), getattr(apart, name))
    np.testing.assert_array_equal(one.position[..., 1:], apart.position[..., 1:])
    np.testing.assert_array_equal(apart.segment[0], np.repeat([1, 2, 0], [18, 12, 1]))
    # Without captions of its own, a part has those that it reads.
    assert [part.text.tolist() for part in patches.split(clip, [1])] == [[7, 1], clip.text.tolist()]
    assert [part.grid for part in patches.split(clip, [])] == [clip.grid]
    for borders in ([0], [5], [2, 2], [3, 1]):
        with pytest.raises(ValueError, match="each part has one at least"):
            patches.split(clip, borders)


def test_an_anchored_part_begins_with_the_place_of_the_first_frame():
    """Its later frames are where those of a part that has lost its first are, and draw the same noise."""
    ask = {"ratio": RATIO, "patch": PATCH, "fps": 8.0, "clip": 7, "text": np.ones(2, np.int32)}
    times = {"starts": (0.0, 2.4), "text_span": np.arange(2, dtype=np.int32)}
    lost = patches.segment(latents(3, 4, 4), **ask, **times, first=4)
    anchored = patches.segment(latents(4, 4, 4), **ask, **times, first=3, anchored=True)
    places = len(lost.tokens) // 3
    np.testing.assert_array_equal(anchored.position[places:], lost.position)
    assert (anchored.position[:places, 0] == 0).all() and lost.position[0, 0] == 0.5
    np.testing.assert_array_equal(anchored.span[places:], lost.span)
    assert anchored.span.tolist() == [0] * (2 * places) + [1] * (2 * places)  # at 1.5, 2; 2.5, 3 seconds
    rows = [
        patches.pack_rows([[part]], row_tokens=4 * places, row_text=8, max_segments=1)
        for part in (lost, anchored)
    ]
    np.testing.assert_array_equal(rows[1].index[0, places:], rows[0].index[0, : 3 * places])


def test_the_middle_of_a_video_has_positions_as_a_clip_without_its_first_frame_and_its_own_captions():
    x = latents(3, 4, 4)
    make = functools.partial(
        patches.segment, x, ratio=RATIO, patch=PATCH, fps=8, clip=0, text=np.ones(2, int)
    )
    begin, middle, late = make(), make(first=1), make(first=7, starts=(0.0, 4.2))
    np.testing.assert_array_equal(np.unique(begin.position[:, 0]), [0, 0.5, 1])
    np.testing.assert_array_equal(np.unique(middle.position[:, 0]), [0.5, 1, 1.5])
    np.testing.assert_array_equal(late.position, middle.position)
    np.testing.assert_array_equal(late.span, np.repeat([0, 0, 1], 4))  # at 3.5, 4 and 4.5 s of the video
    batch = patches.pack_rows([[late]], row_tokens=12, row_text=2, max_segments=1)
    np.testing.assert_array_equal(np.unique(batch.index[0, :, 0]), [7, 8, 9])
