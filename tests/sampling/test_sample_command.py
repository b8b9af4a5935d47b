"""`python -m sora_jax.sample MODE`: each mode from files to a file, and what it says of misfits."""

from __future__ import annotations

import numpy as np
import pytest

from sora_jax import command, sample
from sora_jax.data import video_files
from sora_jax.worlds.source import WorldSource

SIDE, FRAMES = 48, 17
QUICK = ("--steps", "2", "--guidance_scale", "1")
PROMPT = ("--prompt", "a red circle moving left")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    source = WorldSource(seed=6, length=2, frames={FRAMES: 1.0}, sizes={(SIDE, SIDE): 1.0})
    for number, name in enumerate(("a.mp4", "b.mp4")):
        video_files.write_video(path / name, source[number].video, fps=8.0)
    video_files.write_video(path / "a.png", source[0].video[:1], fps=1.0)
    half = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    half[:, :, SIDE // 2 :] = 255
    video_files.write_video(path / "mask.png", half, fps=1.0)
    odd = np.full((1, 50, 70, 3), 240, np.uint8)
    video_files.write_video(path / "odd.png", odd, fps=1.0)
    return path


def ask(folder, name: str, *arguments: str) -> np.ndarray:
    out = folder / f"out {name}.mp4"
    words = [str(folder / word[1:]) if word.startswith("@") else word for word in arguments]
    assert sample.main([name, *words, *QUICK, "--out", str(out)]) == 0
    return video_files.read_video(out)[0]


@pytest.mark.parametrize(
    ("arguments", "frames", "size"),
    [
        (("animate", "--image", "@a.png", *PROMPT), 17, (SIDE, SIDE)),
        (("extend", "--video", "@a.mp4", *PROMPT, "--latents", "1", "--times", "2"), 25, (SIDE, SIDE)),
        (("extend", "--video", "@a.mp4", *PROMPT, "--latents", "2", "--backward"), 25, (SIDE, SIDE)),
        (("loop", "--video", "@a.mp4", *PROMPT, "--latents", "2"), 24, (SIDE, SIDE)),
        (("connect", "--video", "@a.mp4", "--to", "@b.mp4", *PROMPT, "--latents", "2"), 41, (SIDE, SIDE)),
        (("edit", "--video", "@a.mp4", *PROMPT, "--strength", "0.5"), 17, (SIDE, SIDE)),
        (("inpaint", "--video", "@a.mp4", "--mask", "@mask.png", *PROMPT), 17, (SIDE, SIDE)),
        (
            ("outpaint", "--video", "@a.mp4", "--height", "48", "--width", "64", "--left", "16", *PROMPT),
            17,
            (SIDE, 64),
        ),
        (("keyframes", "--at", "0:@", "--at", "16:@", *PROMPT), 17, (SIDE, SIDE)),
        (
            (
                "storyboard",
                "--shot",
                "0:a red circle",
                "--shot",
                "1:a bar",
                "--height",
                "48",
                "--width",
                "48",
            ),
            17,
            (SIDE, SIDE),
        ),
        (("upscale", "--video", "@a.mp4", "--height", "64", "--width", "64", *PROMPT), 17, (64, 64)),
        (
            (
                *("long", *PROMPT, "--seconds", "1.5", "--height", "48", "--width", "48"),
                *("--window", "4", "--context", "2"),
            ),
            25,
            (SIDE, SIDE),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else "",
)
def test_a_mode_writes_a_video_of_its_size(folder, arguments, frames, size):
    words = [word.replace(":@", f":{folder}/a.png") for word in arguments]
    made = ask(folder, words[0], *words[1:])
    assert made.shape == (frames, *size, 3)


def test_the_frames_that_were_given_are_in_what_is_written(folder):
    given, _ = video_files.read_video(folder / "a.mp4")
    for name, arguments, at in (
        ("extend", ("--video", "@a.mp4", *PROMPT, "--latents", "1"), slice(0, FRAMES)),
        ("edit", ("--video", "@a.mp4", *PROMPT, "--strength", "0"), slice(0, FRAMES)),
        ("animate", ("--image", "@a.png", *PROMPT), slice(0, 1)),
    ):
        made = ask(folder, name, *arguments)[at]
        assert np.abs(made.astype(int) - given[: len(made)]).mean() < 4, name


def test_an_image_of_another_size_is_resized_and_that_is_said(folder, capsys):
    made = ask(folder, "animate", "--image", "@odd.png", *PROMPT, "--frames", "5")
    assert made.shape == (5, 48, 64, 3)
    assert "is 50 x 70 pixels; it is resized to 48 x 64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("animate", "--image", "@none.png", *PROMPT), "no file"),
        (("extend", "--video", "@a.png", *PROMPT), "has 1 frames, and a context of 3 latents needs 9"),
        (("inpaint", "--video", "@a.mp4", "--mask", "@none.png", *PROMPT), "no file"),
        (("inpaint", "--video", "@a.mp4", "--mask", "@odd.png", *PROMPT), r"mask has shape \(17, 50, 70\)"),
        (("keyframes", "--at", "a.png", *PROMPT), "write FRAME:IMAGE"),
        (("storyboard", "--shot", "a red circle"), "write SECONDS:CAPTION"),
        (("extend", "--video", "@a.mp4", *PROMPT, "--times", "0"), "--times 0 is below 1"),
        (("edit", "--video", "@a.mp4", *PROMPT, "--strength", "2"), "strength 2.0 is outside"),
        (
            ("long", *PROMPT, "--window", "3", "--context", "3"),
            "a context of 3 latents and a memory of 1 in a window of 3",
        ),
        (
            ("animate", "--image", "@a.png", *PROMPT, "--attention", "cudnn"),
            "is a kernel for GPUs, .* has a CPU",
        ),
        (
            ("animate", "--image", "@a.png", *PROMPT, "--attention", "splash"),
            "is a kernel for TPUs, .* use 'xla'",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_is_said_in_one_line(folder, arguments, message):
    with pytest.raises(command.UsageError, match=message):
        ask(folder, arguments[0], *arguments[1:])


def test_without_a_mode_it_is_text_to_video(tmp_path):
    out = tmp_path / "text.mp4"
    arguments = [*PROMPT, "--height", "48", "--width", "48", *QUICK, "--out", str(out)]
    assert sample.main(arguments) == 0
    assert video_files.read_video(out)[0].shape == (17, 48, 48, 3)


def test_another_kernel_and_dtype_make_nearly_the_same_video(tmp_path):
    made = []
    for machine in ((), ("--attention", "ring", "--dtype", "bfloat16")):
        out = tmp_path / f"{len(made)}.mp4"
        size = ("--height", "64", "--width", "64", "--frames", "9", "--steps", "6")
        assert sample.main([*PROMPT, *size, *machine, "--out", str(out)]) == 0
        made.append(video_files.read_video(out)[0].astype(int))
    assert 0 < np.abs(made[0] - made[1]).mean() < 5 < made[0].std()
