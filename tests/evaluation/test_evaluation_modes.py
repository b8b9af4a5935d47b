"""The measures of the modes: 0 or 1 where they must be, and they move when what they see does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sora_jax import command, evaluate
from sora_jax.evaluate.modes import returning
from sora_jax.evaluate.modes.bench import GIVEN
from sora_jax.evaluation import modes
from sora_jax.worlds import render, scene

FPS, SIDE = 8.0, 64


def film(path: np.ndarray, *, color: str = "red", shape: str = "circle") -> np.ndarray:
    """One object on a path `[f 2]`, world units."""
    body = scene.body(shape, color, "medium")  # type: ignore[arg-type]
    video, _ = render.render((body,), path[:, None], np.zeros((len(path), 1)), height=SIDE, width=SIDE)
    return video


def line(frames: int, *, speed: float = 2.0, start: float = -3.0) -> np.ndarray:
    x = start + speed * np.arange(frames) / FPS
    return np.stack([x, np.zeros(frames)], 1)


def test_psnr_is_that_of_a_known_error():
    black = np.zeros((2, 8, 8, 3), np.uint8)
    assert modes.psnr(black, black) == modes.MOST_PSNR
    assert modes.psnr(black, black + 51) == pytest.approx(20 * np.log10(5))
    with pytest.raises(ValueError, match="bring them to one"):
        modes.psnr(black, black[:1])


def test_a_join_is_seen_where_the_velocity_changes_and_only_there():
    smooth = film(line(17))
    at, inside = modes.join(smooth, at=9, fps=FPS)
    assert at < 3 * inside + 0.3
    turned = line(17)
    turned[9:] = turned[8] - np.stack([2.0 * np.arange(1, 9) / FPS, np.zeros(8)], 1)
    broken = film(turned)
    at, inside = modes.join(broken, at=9, fps=FPS)
    assert at > 4 * inside and at > 1.0
    elsewhere, inside = modes.join(broken, at=4, fps=FPS)
    assert elsewhere < 1.5 * inside


def test_a_loops_seam_is_its_last_step_over_the_median():
    turn = 2 * np.pi * np.arange(24) / 24
    loop = film(2 * np.stack([np.cos(turn), np.sin(turn)], 1))
    for start in (0, 3, 11):  # from any starting frame
        assert 0.8 < modes.seam(np.roll(loop, start, axis=0)) < 1.2
    assert modes.seam(film(line(17))) > 4


def test_a_cut_is_a_large_step_and_a_fade_is_none():
    a, b = film(line(9)), film(line(9, start=2.0), color="blue")
    assert modes.largest_step(np.concatenate([a, b])) > 4
    faded = modes.cross_fade(a, b, 8)
    assert modes.largest_step(np.concatenate([a[-1:], faded, b[:1]])) < 1.2
    assert modes.coherent(a, fps=FPS, objects=1) == 1
    assert modes.coherent(faded, fps=FPS, objects=1) < 0.6


def test_colour_drift_is_the_slope_of_the_distance():
    red = film(line(5, speed=0.0))
    assert modes.color_drift([red] * 4) == pytest.approx(0, abs=1e-9)
    parts = [red]
    for number in range(1, 4):
        part = red.astype(int)
        lit = np.abs(part - part[0, 0, 0]).max(-1) > 60
        part[lit] = np.clip(part[lit] + [0, 10 * number, 0], 0, 255)
        parts.append(part.astype(np.uint8))
    assert modes.color_drift(parts) == pytest.approx(10 / 255, rel=0.1)
    gone = np.full_like(red, red[0, 0, 0])
    assert modes.color_drift([red, gone, gone, gone]) > 0.2


def test_cuts_and_cast():
    def shot(color: str, start: float) -> np.ndarray:
        return film(line(8, start=start), color=color)

    video = np.concatenate([shot("red", -3.0), shot("red", 1.0)])
    assert modes.cuts_found(video, [8], fps=FPS) == 1
    assert modes.cuts_found(video, [4], fps=FPS) == 0
    assert modes.cast_kept(video, [8], fps=FPS) == 1
    other = np.concatenate([shot("red", -3.0), shot("blue", 1.0)])
    assert modes.cast_kept(other, [8], fps=FPS) == 0
    assert modes.cuts_found(film(line(16)), [8], fps=FPS) == 0
    assert modes.unasked_cut(video, fps=FPS) == 1 and modes.unasked_cut(video, [4], fps=FPS) == 1
    assert modes.unasked_cut(video, [7], fps=FPS) == modes.unasked_cut(film(line(16)), fps=FPS) == 0
    assert (modes.cuts_seen(video, fps=FPS), modes.cuts_seen(film(line(16)), fps=FPS)) == (1, 0)


def test_what_comes_back_is_of_the_look_that_left():
    look = {"color": "red", "shape": "circle", "fps": FPS}
    assert modes.comes_back(film(line(16)), **look)
    empty = np.full_like(film(line(16)), 240)
    assert not modes.comes_back(empty, **look)
    assert not modes.comes_back(np.concatenate([empty, film(line(1))]), **look)  # for one frame alone
    assert not modes.comes_back(film(line(16), color="blue"), **look)
    assert not modes.comes_back(film(line(16), shape="bar"), **look)


def test_clips_of_what_is_gone_show_it_leave_and_return():
    for clip in returning.gone_clips(4):
        (body,) = clip.state.bodies
        given, after = clip.video[:GIVEN], clip.video[GIVEN:]
        look = {"color": body.color, "shape": body.shape, "fps": clip.fps}
        assert modes.comes_back(given, **look) and modes.comes_back(after, **look)
        assert modes.coherent(given[-1:], fps=clip.fps, objects=0) == 1


def test_the_colours_of_every_frame():
    red, blue = film(line(6)), film(line(6), color="blue")
    video = np.concatenate([red, blue])
    assert modes.shows_colors(video, ["red"], fps=FPS).tolist() == [True] * 6 + [False] * 6
    assert not modes.shows_colors(video, ["red", "blue"], fps=FPS).any()


def test_places_do_not_depend_on_the_size_in_pixels():
    small = film(line(9))
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    assert modes.places_apart(small, large, fps=FPS) < 0.1
    moved = film(line(9, start=-1.0))
    assert modes.places_apart(small, moved, fps=FPS) == pytest.approx(2.0, abs=0.15)
    empty = np.full_like(small, 240)
    assert np.isnan(modes.places_apart(small, empty, fps=FPS))


def test_the_command_scores_a_mode_and_keeps_the_others(tmp_path):
    arguments = ["modes", "--checkpoint", "gpu-128px", "--clips", "2", "--steps", "1", "--out", str(tmp_path)]
    assert evaluate.main([*arguments, "--only", "animate"]) == 0
    assert evaluate.main([*arguments, "--only", "storyboard"]) == 0
    with pytest.raises(command.UsageError, match="holds scores of other settings"):
        evaluate.main([*arguments, "--only", "animate", "--guidance_scale", "2"])
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert set(scores) == {"animate", "storyboard"}
    first = scores["animate"]["PSNR of the first frame, dB"]
    assert first["mode"]["mean"] == pytest.approx(first["reconstruction"]["mean"], abs=0.1)
    assert scores["storyboard"]["cuts within a frame"]["truth"]["mean"] == 1
    assert (tmp_path / "animate.png").exists() and "## storyboard" in (tmp_path / "scores.md").read_text()
