"""What every mode of the command line is: its words, its arguments, and the job that it makes of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from sora_jax import command
from sora_jax.data import video_files
from sora_jax.evaluation import report
from sora_jax.sample import options as shared
from sora_jax.sampling import video
from sora_jax.sampling.request import MEMORY, Generator
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
        path = options.out
        times = self._times(options)
        if times < 1:
            raise command.UsageError(f"--times {times} is below 1: use 1 or more")
        for number in range(times):
            with command.checking_usage():
                job = self._job(options, generator, made)
                generator.grid(job.request)
                path = video_files.check_path(options.out, frames=job.request.frames)
            if number == 0:
                size = f"{job.request.frames} frames of {job.request.height}x{job.request.width}"
                print(f"sampling {size}, {settings.steps} steps (the first time also compiles)")
            with command.checking_usage():
                (made,) = video.run(generator, [job], settings=settings)
        assert made is not None
        frames = video.decode(generator, made)
        video_files.write_video(path, frames, fps=made.fps)
        print(f"{path}: {len(frames)} frames of {frames.shape[1]}x{frames.shape[2]} at {made.fps:g} frames/s")
        if options.sheet is not None:
            report.save_png(options.sheet, report.contact_sheet([frames], [options.prompt]))
            print(f"{options.sheet}: contact sheet")
        print(f"{time.monotonic() - begun:.1f} s")
        return 0


def add_prompt(parser: Parser) -> None:
    """--prompt."""
    parser.add_argument("--prompt", required=True, help="what it shows, perhaps with times: 'a [1s] b'")


def add_video(parser: Parser, name: str = "--video", text: str = "the video: .mp4, .gif or .png") -> None:
    """A file that a mode is given."""
    parser.add_argument(name, type=Path, required=True, help=text)


def add_context(parser: Parser) -> None:
    """--context."""
    parser.add_argument("--context", type=int, default=3, help="latents of the video that are known")


def add_memory(parser: Parser) -> None:
    """--memory, --no-memory."""
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        default=MEMORY,
        help="of what is longer than a window, the first latent stays known",
    )


def clip(options: Options, generator: Generator, path: Path) -> Video:
    """The file as a video of latents, at its own rate unless the mode has --fps."""
    frames, fps = shared.read_clip(path, generator)
    return video.encode(generator, frames, fps=getattr(options, "fps", None) or fps)
