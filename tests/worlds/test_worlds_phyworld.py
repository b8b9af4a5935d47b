"""The protocol's ranges and laws, clip = f(seed, index), and one picture from two renderers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from sora_jax.worlds import phyworld
from sora_jax.worlds.phyworld import PhyworldSource

LAWS = ("uniform", "parabola", "collision")
COUNT = 200


def within(values, ranges) -> bool:
    values = np.asarray(values)
    return bool(np.any([(low <= values) & (values <= high) for low, high in ranges], 0).all())


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("split", ["in", "out_radius", "out_speed", "out_both"])
def test_radii_and_speeds_are_in_their_ranges_and_reach_into_all_of_them(law, split):
    source = PhyworldSource(law, split=split, seed=1, length=COUNT)
    starts = [source.start(k) for k in range(COUNT)]
    radius = np.concatenate([s.radius for s in starts])
    speed = np.abs(np.concatenate([s.velocity for s in starts]))
    radii = {"in": ((0.5, 1.5),) if law == "collision" else ((0.7, 1.4),)}.get(split)
    if split in ("out_radius", "out_both"):
        radii = ((0.3, 0.4), (1.7, 2.0)) if law == "collision" else ((0.3, 0.6), (1.5, 2.0))
    radii = radii or (((0.5, 1.5),) if law == "collision" else ((0.7, 1.4),))
    speeds = ((0.0, 0.8), (4.5, 6.0)) if split in ("out_speed", "out_both") else ((1.0, 4.0),)
    assert within(radius, radii) and within(speed, speeds)
    for values, ranges in ((radius, radii), (speed, speeds)):
        for low, high in ranges:
            inside = values[(low <= values) & (values <= high)]
            assert len(inside) > (3 if law == "collision" else COUNT / 25)
            if not (law == "collision" and split != "in"):  # some pairs cannot meet in time
                assert np.ptp(inside) > 0.7 * (high - low)


def test_a_collision_has_eight_frames_before_and_eight_after_in_view():
    for split in ("in", "out_both"):
        source = PhyworldSource("collision", split=split, seed=2, length=60)
        for index in range(60):
            start, state = source.start(index), phyworld.to_state("collision", source.start(index))
            (frame,) = np.flatnonzero(state.contact[:, 0, 1])
            assert 8 <= frame <= 32 - 8
            inside = (np.abs(state.position) + start.radius[:, None] <= 5 + 1e-5).all((1, 2))
            assert inside[: frame + 8].all()


def test_a_single_disc_is_in_view_for_24_frames_if_it_is_slow_enough():
    for law in ("uniform", "parabola"):
        source = PhyworldSource(law, seed=3, length=COUNT)
        for index in range(COUNT):
            start = source.start(index)
            x = phyworld.motion(law, start)[0][:, 0, 0]
            assert x[0] - start.radius[0] >= -5
            if 2 * start.radius[0] + 2.4 * start.velocity[0] < 10:
                assert (x[:25] + start.radius[0] <= 5 + 1e-9).all()


@pytest.mark.parametrize("law", LAWS)
def test_energy_and_momentum_are_kept(law):
    source = PhyworldSource(law, seed=4, length=40)
    for index in range(40):
        start = source.start(index)
        position, velocity = phyworld.motion(law, start)
        mass = start.radius**2
        fall = 2.5 * position[..., 1] if law == "parabola" else 0.0
        energy = (mass * ((velocity**2).sum(-1) / 2 + fall)).sum(-1)
        np.testing.assert_allclose(energy, energy[0], rtol=1e-12, atol=1e-12)
        momentum = (mass * velocity[..., 0]).sum(-1)
        np.testing.assert_allclose(momentum, momentum[0], rtol=1e-12, atol=1e-12)
        steps = np.diff(position, axis=0) / 0.1
        mean = (velocity[1:] + velocity[:-1]) / 2  # exact for constant acceleration
        free = np.abs(np.diff(velocity[..., 0], axis=0)).max(-1) < 1e-9
        np.testing.assert_allclose(steps[free], mean[free], atol=1e-9)


def test_a_collision_is_elastic_and_only_at_contact():
    source = PhyworldSource("collision", seed=5, length=40)
    for index in range(40):
        start = source.start(index)
        position, velocity = phyworld.motion("collision", start)
        gap = position[:, 1, 0] - position[:, 0, 0] - start.radius.sum()
        assert gap.min() >= -1e-9
        first, last = velocity[0, :, 0], velocity[-1, :, 0]
        np.testing.assert_allclose(last[0] - last[1], first[1] - first[0])  # restitution 1


@pytest.mark.parametrize("law", LAWS)
def test_both_renderers_agree_to_one_level(law):
    render = jax.jit(phyworld.discs, static_argnames="side")
    for split in ("in", "out_both"):
        source = PhyworldSource(law, split=split, seed=6, length=3)
        for index in range(3):
            clip, start = source[index], source.start(index)
            levels = np.asarray(render(clip.state.position, start.radius.astype(np.float32), side=128))
            assert np.abs(levels - clip.video).max() <= 1


def test_the_picture_has_the_discs_place_area_and_color():
    """Of a soft disc the opacity sums to pi r^2 (1 - 0.03 / 2): it is linear in d^2 at the edge.

    The edge is only 0.015 r wide, a fifth of a pixel, so pixels sample it coarsely.
    """
    source = PhyworldSource("uniform", seed=7, length=6)
    for index in range(6):
        clip, start = source[index], source.start(index)
        assert clip.video.shape == (32, 128, 128, 3) and clip.fps == 10
        opacity = 1 - clip.video[0, ..., 1] / 255
        assert (clip.video[0, ..., 0] == 255).all()  # red on white
        cell = 10 / 128
        area = opacity.sum() * cell**2
        np.testing.assert_allclose(area, np.pi * start.radius[0] ** 2 * 0.985, rtol=0.02)
        axis = (np.arange(128) + 0.5) * cell - 5
        center = (opacity.sum(0) @ axis, opacity.sum(1) @ -axis) / opacity.sum()
        np.testing.assert_allclose(center, (start.x[0], start.y), atol=0.02)


def test_counted_frames_are_not_given_and_wholly_in_view():
    source = PhyworldSource("parabola", seed=8, length=20)
    for index in range(20):
        start, clip = source.start(index), source[index]
        counted = phyworld.valid(phyworld.motion("parabola", start)[0], start.radius)
        assert not counted[:3].any() and counted.sum() >= 3
        frames = np.flatnonzero(counted)
        area = (1 - clip.video[frames, ..., 1] / 255).sum((1, 2)) * (10 / 128) ** 2
        np.testing.assert_allclose(area, np.pi * start.radius[0] ** 2 * 0.985, rtol=0.02)
        assert (clip.state.visible[frames] == 1).all()


def test_the_same_clip_whatever_the_length_and_no_other_seeds():
    one, two = (PhyworldSource("collision", seed=9, length=n)[4] for n in (5, 50))
    assert np.array_equal(one.video, two.video) and one.id == two.id
    assert not np.array_equal(one.video, PhyworldSource("collision", seed=10, length=5)[4].video)
    assert one.state.events[0][1] == "hits"


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="colision"):
        PhyworldSource("colision", seed=1, length=2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="far"):
        PhyworldSource("uniform", split="far", seed=1, length=2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(IndexError, match="clip 2 of a set of 2"):
        PhyworldSource("uniform", seed=1, length=2)[2]
