"""Modes that begin or continue a video, as commands."""

from __future__ import annotations

from sora_jax.sample import options as shared
from sora_jax.sample.mode import (
    Mode,
    Options,
    Parser,
    add_context,
    add_memory,
    add_prompt,
    add_video,
    clip,
)
from sora_jax.sampling import connect, create, extend
from sora_jax.sampling.request import CUT_SCALE, TRIES, Generator
from sora_jax.sampling.video import Job, Video


def _image_arguments(parser: Parser) -> None:
    add_prompt(parser)
    shared.add_size(parser, frames=False)


def _image(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    return text(options, generator, prompt=options.prompt, frames=1)


def text(options: Options, generator: Generator, *, prompt: str, frames: int) -> Job:
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
    parser.add_argument(
        "--cut_scale",
        type=float,
        default=CUT_SCALE,
        help="how firmly a shot begins anew; 0 = as the captions alone bring it about",
    )
    parser.set_defaults(tries=TRIES)
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
        cut_scale=options.cut_scale,
    )


def _animate_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser, "--image", "the first frame: .png, or the first of a video")
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


def _extend_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser)
    parser.add_argument("--latents", type=int, default=4, help="latents (of 4 frames) that are added")
    parser.add_argument("--times", type=int, default=1, help="how often")
    parser.add_argument("--backward", action="store_true", help="before the video, not after it")
    add_context(parser)
    add_memory(parser)
    shared.continue_by_context(parser)


def _extend(options: Options, generator: Generator, made: Video | None) -> Job:
    if made is None:
        made = clip(options, generator, options.video)
    elif options.backward:
        options.seed += (
            options.tries
        )  # every beginning is at frame 0: it would be drawn from the same noise again
    ask = {
        "prompt": options.prompt,
        "latents": options.latents,
        "context": options.context,
        "seed": options.seed,
    }
    if options.backward:
        return extend.extend_backward(generator, made, **ask)
    return extend.extend(generator, made, memory=options.memory, **ask)


def _loop_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser)
    parser.add_argument("--latents", type=int, default=4, help="latents (of 4 frames) of the way back")
    add_context(parser)
    shared.continue_by_context(parser)


def _loop(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    return connect.loop(
        generator,
        clip(options, generator, options.video),
        prompt=options.prompt,
        latents=options.latents,
        context=options.context,
        seed=options.seed,
    )


def _connect_arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_video(parser, text="the video that comes first")
    add_video(parser, "--to", "the video that comes last, of the same size and rate")
    parser.add_argument("--latents", type=int, default=4, help="latents (of 4 frames) between them")
    parser.set_defaults(tries=TRIES)
    add_context(parser)
    shared.continue_by_context(parser)


def _connect(options: Options, generator: Generator, made: Video | None) -> Job:
    del made
    return connect.connect(
        generator,
        clip(options, generator, options.video),
        clip(options, generator, options.to),
        prompt=options.prompt,
        latents=options.latents,
        context=options.context,
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
        '--video ball.mp4 --to square.mp4 --prompt "a red circle turns into a blue square" --out both.mp4',
        _connect_arguments,
        _connect,
    ),
}
