"""The modes of `sora_jax.sampling`, each as a command: what it takes, and the job it makes of that."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sora_jax import command
from sora_jax.data import video_files
from sora_jax.evaluation import report
from sora_jax.sample import options as shared
from sora_jax.sampling import connect, create, edit, extend, video
from sora_jax.sampling.generate import Generator
from sora_jax.sampling.video import Job, Video

Options = argparse.Namespace
Parser = argparse.ArgumentParser


class Mode:
    """One mode: `add(parser)` its own arguments, `job(options, generator, made)` -> what is sampled.

    `times(options)` > 1 samples again from what was made (`made`; None at first).
    """

    def __init__(
        self,
        doc: str,
        example: str,
        add: Callable[[Parser], None],
        job: Callable[[Options, Generator, Video | None], Job],
        times: Callable[[Options], int] = lambda options: 1,
    ) -> None:
        self.__doc__, self.EXAMPLE = doc, example
        self._add, self._job, self._times = add, job, times

    def add_arguments(self, parser: Parser) -> None:
        """The mode's own, then the shared ones."""
        shared.add_model(parser)
        self._add(parser)
        shared.add_out(parser, default="out/sample.mp4")

    def run(self, options: Options) -> int:
        """Samples and writes; returns the exit code."""
        generator, settings = shared.load(options)
        begun = time.monotonic()
        made: Video | None = None
        for number in range(self._times(options)):
            with command.checking_usage():
                job = self._job(options, generator, made)
                generator.grid(job.request)
            if number == 0:
                size = f"{job.request.frames} frames of {job.request.height}x{job.request.width}"
                print(f"sampling {size}, {settings.steps} steps (the first time also compiles)")
            with command.checking_usage():
                (made,) = video.run(generator, [job], settings=settings)
        assert made is not None
        frames = video.decode(generator, made)
        path = video_files.check_path(options.out, frames=len(frames))
        video_files.write_video(path, frames, fps=made.fps)
        print(f"{path}: {len(frames)} frames of {frames.shape[1]}x{frames.shape[2]} at {made.fps:g} frames/s")
        if options.sheet is not None:
            report.save_png(options.sheet, report.contact_sheet([frames], [options.prompt]))
            print(f"{options.sheet}: contact sheet")
        print(f"{time.monotonic() - begun:.1f} s")
        return 0


def _prompt(parser: Parser) -> None:
    parser.add_argument("--prompt", required=True, help="what it shows, perhaps with times: 'a [1s] b'")


def _clip(options: Options, generator: Generator, path: Path) -> Video:
    frames, fps = shared.read_clip(path, generator)
    return video.encode(generator, frames, fps=getattr(options, "fps", None) or fps)


def _add_video(parser: Parser, name: str = "--video", text: str = "the video: .mp4, .gif or .png") -> None:
    parser.add_argument(name, type=Path, required=True, help=text)


def _image_arguments(parser: Parser) -> None:
    _prompt(parser)
    shared.add_size(parser, frames=False)


def _image(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    return _text(options, generator, prompt=options.prompt, frames=1)


def _text(options: Options, generator: Generator, *, prompt: str, frames: int) -> Job:
    size = {"height": options.height, "width": options.width, "fps": options.fps}
    return create.text_to_video(generator, prompt=prompt, frames=frames, seed=options.seed, **size)


def _storyboard_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--shot",
        dest="shots",
        action="append",
        required=True,
        metavar="SECONDS:CAPTION",
        help="once per shot, in order, the first at 0",
    )
    shared.add_size(parser)


def _storyboard(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    shots = []
    for shot in options.shots:
        seconds, colon, caption = shot.partition(":")
        try:
            shots.append((float(seconds), caption.strip()))
        except ValueError:
            colon = ""
        if not colon:
            raise ValueError(f"--shot {shot!r}: write SECONDS:CAPTION, as in '1.5:a red circle at rest'")
    options.prompt = "; ".join(caption for _, caption in shots)
    return create.storyboard(
        generator,
        shots=shots,
        frames=options.frames,
        height=options.height,
        width=options.width,
        fps=options.fps,
        seed=options.seed,
    )


def _animate_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser, "--image", "the first frame: .png, or the first of a video")
    parser.add_argument("--frames", type=int, default=17, help="1 + a multiple of 4")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second")


def _animate(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    frames, _ = shared.read_clip(options.image, generator)
    return create.animate(
        generator,
        frames[0],
        prompt=options.prompt,
        frames=options.frames,
        fps=options.fps,
        seed=options.seed,
    )


def _context(parser: Parser) -> None:
    parser.add_argument("--context", type=int, default=3, help="latents of the video that are known")


def _extend_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser)
    parser.add_argument("--latents", type=int, default=4, help="latents (of 4 frames) that are added")
    parser.add_argument("--times", type=int, default=1, help="how often")
    parser.add_argument("--backward", action="store_true", help="before the video, not after it")
    _context(parser)
    shared.continue_unguided(parser)


def _extend(options: Options, generator: Generator, made: Video | None) -> Job:
    if made is None:
        made = _clip(options, generator, options.video)
        options.first_seed = options.seed
    else:
        options.seed += 1 if options.backward else 0  # a beginning has no place of its own to draw noise by
    mode = extend.extend_backward if options.backward else extend.extend
    return mode(
        generator,
        made,
        prompt=options.prompt,
        latents=options.latents,
        context=options.context,
        seed=options.seed,
    )


def _loop_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser)
    parser.add_argument("--latents", type=int, default=4, help="latents (of 4 frames) of the way back")
    _context(parser)


def _loop(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    return connect.loop(
        generator,
        _clip(options, generator, options.video),
        prompt=options.prompt,
        latents=options.latents,
        context=options.context,
        seed=options.seed,
    )


def _connect_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser, text="the video that comes first")
    _add_video(parser, "--to", "the video that comes last, of the same size and rate")
    parser.add_argument("--latents", type=int, default=4, help="latents (of 4 frames) between them")
    _context(parser)


def _connect(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    return connect.connect(
        generator,
        _clip(options, generator, options.video),
        _clip(options, generator, options.to),
        prompt=options.prompt,
        latents=options.latents,
        context=options.context,
        seed=options.seed,
    )


def _edit_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser)
    parser.add_argument("--strength", type=float, default=0.7, help="0 keeps all, 1 keeps nothing")


def _edit(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    source = _clip(options, generator, options.video)
    return edit.edit(generator, source, prompt=options.prompt, strength=options.strength, seed=options.seed)


def _inpaint_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser)
    _add_video(parser, "--mask", "white where the video is made anew: a .png for all frames, or a video")


def _inpaint(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    frames, fps = shared.read_clip(options.video, generator)
    mask, _ = video_files.read_video(options.mask)
    mask = mask.mean(-1) > 127
    if len(mask) == 1:
        mask = np.repeat(mask, len(frames), axis=0)
    source = video.encode(generator, frames, fps=fps)
    return edit.inpaint(generator, source, mask, prompt=options.prompt, seed=options.seed)


def _outpaint_arguments(parser: Parser) -> None:
    _prompt(parser)
    _add_video(parser)
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
    _prompt(parser)
    parser.add_argument(
        "--at",
        action="append",
        required=True,
        metavar="FRAME:IMAGE",
        help="once per keyframe: its number, from 0, and its file",
    )
    parser.add_argument("--frames", type=int, default=17, help="1 + a multiple of 4")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second")


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
    _prompt(parser)
    _add_video(parser, text="the draft")
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
    "image": Mode(
        "One frame from text.",
        '--prompt "two green bars" --height 128 --width 96 --out bars.png',
        _image_arguments,
        _image,
    ),
    "storyboard": Mode(
        "Several shots of one cast, each with its caption and its time.",
        '--shot "0:a red circle moving left" --shot "1:a red circle at rest" --out shots.mp4',
        _storyboard_arguments,
        _storyboard,
    ),
    "animate": Mode(
        "An image begins to move.",
        '--image ball.png --prompt "a red circle moving left" --out ball.mp4',
        _animate_arguments,
        _animate,
    ),
    "extend": Mode(
        "A video goes on, after its end or before its beginning, any number of times.",
        '--video ball.mp4 --prompt "a red circle moving left" --times 3 --out longer.mp4',
        _extend_arguments,
        _extend,
        times=lambda options: options.times,
    ),
    "loop": Mode(
        "A video finds back to its beginning, without a seam.",
        '--video ball.mp4 --prompt "a red circle moving" --out loop.mp4',
        _loop_arguments,
        _loop,
    ),
    "connect": Mode(
        "One video becomes another.",
        '--video ball.mp4 --to square.mp4 --prompt "a red circle" --out both.mp4',
        _connect_arguments,
        _connect,
    ),
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
