"""Modes that change a video, as commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sora_jax.sample import options as shared
from sora_jax.sample.mode import Mode, Options, Parser, add_prompt, add_video, clip
from sora_jax.sampling import edit, video
from sora_jax.sampling.request import Generator
from sora_jax.sampling.video import Job, Video


def _edit_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser)
    parser.add_argument("--strength", type=float, default=0.7, help="0 keeps all, 1 keeps nothing")


def _edit(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    source = clip(options, generator, options.video)
    return edit.edit(generator, source, prompt=options.prompt, strength=options.strength, seed=options.seed)


def _inpaint_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser)
    add_video(parser, "--mask", "white where the video is made anew: a .png for all frames, or a video")


def _inpaint(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    frames, fps = shared.read_clip(options.video, generator)
    mask, _ = shared.read_file(options.mask)
    mask = mask.mean(-1) > 127
    if len(mask) == 1:
        mask = np.repeat(mask, len(frames), axis=0)
    source = video.encode(generator, frames, fps=fps)
    return edit.inpaint(generator, source, mask, prompt=options.prompt, seed=options.seed)


def _outpaint_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser)
    parser.add_argument("--height", type=int, required=True, help="pixels of the new frame")
    parser.add_argument("--width", type=int, required=True, help="pixels of the new frame")
    parser.add_argument("--top", type=int, default=0, help="pixels above the old frame")
    parser.add_argument("--left", type=int, default=0, help="pixels left of the old frame")


def _outpaint(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    frames, fps = shared.read_clip(options.video, generator)
    return edit.outpaint(
        generator,
        frames,
        fps=fps,
        height=options.height,
        width=options.width,
        top=options.top,
        left=options.left,
        prompt=options.prompt,
        seed=options.seed,
    )


def _keyframes_arguments(parser: Parser) -> None:
    add_prompt(parser)
    parser.add_argument(
        "--at",
        action="append",
        required=True,
        metavar="FRAME:IMAGE",
        help="once per keyframe: its number, from 0, and its file",
    )
    parser.add_argument("--frames", type=int, default=17, help="1 + a multiple of 4")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second")
    shared.continue_by_context(parser)


def _keyframes(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    frames_at: dict[int, np.ndarray] = {}
    for entry in options.at:
        number, colon, path = entry.partition(":")
        if not colon or not number.isdigit():
            raise ValueError(f"--at {entry!r}: write FRAME:IMAGE, as in 16:end.png")
        frames, _ = shared.read_clip(Path(path), generator)
        frames_at[int(number)] = frames[0]
    size = next(iter(frames_at.values())).shape[:2]
    frames_at = {
        n: shared.resized(image[None], generator, name=f"keyframe {n}", size=size)[0]
        for n, image in frames_at.items()
    }
    return edit.keyframes(
        generator,
        frames_at,
        prompt=options.prompt,
        frames=options.frames,
        fps=options.fps,
        seed=options.seed,
    )


def _upscale_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser, text="the draft")
    parser.add_argument("--height", type=int, required=True, help="pixels of the new frame")
    parser.add_argument("--width", type=int, required=True, help="pixels of the new frame")
    parser.add_argument("--level", type=float, default=0.6, help="noise level that the draft is given")


def _upscale(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    frames, fps = shared.read_clip(options.video, generator)
    return edit.upscale(
        generator,
        frames,
        fps=fps,
        height=options.height,
        width=options.width,
        level=options.level,
        prompt=options.prompt,
        seed=options.seed,
    )


MODES: dict[str, Mode] = {
    "edit": Mode(
        "A video is changed by text (SDEdit).",
        '--video ball.mp4 --prompt "a blue circle moving left" --strength 0.7 --out blue.mp4',
        _edit_arguments,
        _edit,
    ),
    "inpaint": Mode(
        "What a mask marks is made anew.",
        '--video ball.mp4 --mask mask.png --prompt "a red circle moving left" --out mended.mp4',
        _inpaint_arguments,
        _inpaint,
    ),
    "outpaint": Mode(
        "A video becomes a part of a larger frame.",
        '--video ball.mp4 --height 64 --width 128 --left 32 --prompt "a red circle" --out wide.mp4',
        _outpaint_arguments,
        _outpaint,
    ),
    "keyframes": Mode(
        "Frames at given places; the rest is filled in.",
        '--at 0:a.png --at 16:b.png --prompt "a red circle moving left" --out between.mp4',
        _keyframes_arguments,
        _keyframes,
    ),
    "upscale": Mode(
        "A draft is drawn again at a larger size.",
        '--video draft.mp4 --height 128 --width 128 --prompt "a red circle moving left" --out large.mp4',
        _upscale_arguments,
        _upscale,
    ),
}
