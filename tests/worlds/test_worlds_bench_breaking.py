"""A body breaks if and only if it is hit hard enough; what should not happen happens in one clip of two."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from sora_jax.worlds import scene as scene_lib
from sora_jax.worlds.bench import breaking
from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.render import render
from sora_jax.worlds.state import film

SMALL = {"height": 32, "width": 32}


def fractures(count=60):
    source = BenchSource("fracture", seed=23, length=count, **SMALL)
    return [source.case(k)[0] for k in range(count)]


def test_it_breaks_if_and_only_if_the_impulse_is_above_the_threshold():
    """The impulse is what the momentum of hammer and body says, not what the sampler says."""
    broken = 0
    for variant in fractures():
        state, measures = variant.state, variant.measures
        mass = np.array([b.mass for b in state.bodies])
        impulse = mass[0] * np.linalg.norm(state.velocity[-1, 0] - state.velocity[0, 0])
        np.testing.assert_allclose(impulse, measures["impulse"], rtol=1e-4)
        breaks = bool(state.parent)
        assert breaks == (impulse > measures["threshold"])
        last = state.alive[-1]
        momentum = [
            (mass[a, None] * state.velocity[f][a]).sum(0) for f, a in ((0, state.alive[0]), (-1, last))
        ]
        np.testing.assert_allclose(momentum[0], momentum[1], atol=2e-5)
        broken += breaks
        verb = state.events[1][1]
        assert verb.startswith("breaks") if breaks else verb == "stays whole"
    assert 0.35 < broken / 60 < 0.65


def test_pieces_come_when_their_parent_goes_and_keep_its_area_and_momentum():
    for variant in fractures():
        state = variant.state
        if not state.parent:
            assert len(state.bodies) == 2 and state.alive.all()
            continue
        pieces = [k for k, parent in enumerate(state.parent) if parent == 1]
        assert len(pieces) == variant.measures["pieces"] >= 3
        assert (state.alive[:, pieces] == ~state.alive[:, [1]]).all() and state.alive[:, 0].all()
        born = int(state.alive[:, pieces[0]].argmax())
        assert born - 1 < variant.measures["instant"] * 12 <= born and state.contact[born, 0, 1]
        area = sum(state.bodies[k].radius ** 2 for k in pieces)
        np.testing.assert_allclose(area, state.bodies[1].radius ** 2, rtol=1e-9)


def test_pieces_and_hammer_never_overlap_again_and_are_in_view_for_some_frames():
    for variant in fractures(30):
        state, count = variant.state, len(variant.state.bodies)
        if not state.parent:
            continue
        gap = np.linalg.norm(state.position[:, 2:, None] - state.position[:, None, 2:], axis=-1)
        frames = np.flatnonzero(state.alive[:, 2])
        assert (np.diff(gap[frames], axis=0)[:, ~np.eye(count - 2, dtype=bool)] > 0).all()
        _, drawn = film(state, **SMALL)
        hidden = 1 - drawn.visible[frames][:3, 2:]
        assert hidden.max() < 0.1  # edges within one pixel of 32: see render


@pytest.mark.parametrize("shape", breaking.PIECES)
def test_pieces_tile_the_body(shape):
    """Drawn together at the body's place they cover what it covers, seams apart."""
    body = scene_lib.body(shape, "black", "large")
    radius, offsets, angles, piece = breaking.tiling(shape, body.radius)
    one = scene_lib.body(piece, "black", "small")
    parts = [type(one)(**{**vars(one), "radius": radius})] * len(offsets)
    size = {"height": 400, "width": 400}
    whole, _ = render((body,), np.zeros((1, 1, 2)), np.zeros((1, 1)), **size)
    tiled, seen = render(tuple(parts), offsets[None], angles[None], **size)
    differs = (np.abs(whole.astype(int) - tiled).max(-1) > 128).sum()
    assert differs < 0.01 * (whole[..., 0] < 128).sum() and (seen > 0.98).all()


def test_a_pair_differs_only_from_the_violation_on():
    source, kinds = BenchSource("clones", seed=29, length=40, **SMALL), collections.Counter()
    for number in range(40):
        valid, violated = source.case(number)
        kind = next(k for k in ("birth", "clone", "death") if k in valid.measures)
        kinds[kind] += 1
        frame, index = int(valid.measures["frame"]), int(valid.measures["object"])
        assert valid.possible and not violated.possible and valid.captions == violated.captions
        changes = np.flatnonzero(np.diff(violated.state.alive[:, index].astype(int))) + 1
        assert changes.tolist() == [frame] and not np.diff(valid.state.alive.astype(int), axis=0).any()
        a, b = (source.clip(v, id="x").video for v in (valid, violated))
        assert np.array_equal(a[:frame], b[:frame]) and not np.array_equal(a[frame + 2], b[frame + 2])
        place = np.abs(violated.state.position[frame, index])
        assert (place < 5 - violated.state.bodies[index].radius).all()  # not at the frame's edge
        count = violated.state.alive.sum(1)
        assert count[-1] - count[0] == (-1 if kind == "death" else 1)
        if kind == "clone":
            looks = [b for b in violated.state.bodies[:index] if b == violated.state.bodies[index]]
            assert len(looks) == 1
            gap = np.linalg.norm(
                violated.state.position[:, :index] - violated.state.position[:, [index]], axis=-1
            )
            assert gap[frame].min() < 1e-5 and gap[-1].min() > 0.5
    assert min(kinds.values()) >= 6


def test_what_does_not_break_is_an_error():
    with pytest.raises(ValueError, match="circle does not break"):
        breaking.tiling("circle", 1.0)
