"""A video of any length: window after window, written to the file as it comes; Ctrl-C ends it early."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator

import tqdm

from sora_jax import command
from sora_jax.data import video_files
from sora_jax.sample import options as shared
from sora_jax.sample.mode import add_memory
from sora_jax.sampling import stream
from sora_jax.sampling.request import TRIES
from sora_jax.sharding import processes

EXAMPLE = '--prompt "a red circle and a blue circle bounce around in a box" --seconds 60 --out minute.mp4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The mode's own, then the shared ones."""
    parser.add_argument("--prompt", required=True, help="what the video shows, perhaps with times")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the video")
    shared.add_size(parser, frames=False)
    parser.set_defaults(fps=16.0)
    parser.add_argument("--window", type=int, default=9, help="latents sampled at once")
    parser.add_argument("--context", type=int, default=3, help="of them, known from the window before")
    add_memory(parser)
    parser.add_argument("--context_noise", type=float, default=0.0, help="level at which known ones are seen")
    shared.add_model(parser)
    parser.set_defaults(tries=TRIES)  # of the first window
    shared.add_out(parser, default="out/long.mp4")


def run(options: argparse.Namespace) -> int:
    """Samples and writes; returns the exit code."""
    generator, settings = shared.load(options)
    if options.out.suffix != ".mp4":
        raise command.UsageError(f"{options.out} ends in {options.out.suffix!r}: a stream is written as .mp4")
    with command.checking_usage():
        settings = dataclasses.replace(settings, context_noise=options.context_noise)
        latents = 1 + max(0, round(options.seconds * options.fps / generator.ratio[0]))
        path = video_files.check_path(options.out, frames=2)
        chunks = stream.windows(
            generator,
            settings,
            prompt=options.prompt,
            latents=latents,
            height=options.height,
            width=options.width,
            fps=options.fps,
            seed=options.seed,
            window=options.window,
            context=options.context,
            memory=options.memory,
        )
        first = next(chunks)  # whatever the caller has to mend is told before a file is begun
    frames = 1 + (latents - 1) * generator.ratio[0]
    begun = time.monotonic()
    done = 0

    def all_chunks() -> Iterator:
        yield first
        yield from chunks

    with tqdm.tqdm(total=frames, unit="frame", disable=not processes.is_first()) as bar:

        def counted() -> Iterator:
            nonlocal done
            for frame in stream.frames_of(generator, all_chunks()):
                yield frame
                done += 1
                bar.update()

        try:
            video_files.write_mp4(path, counted(), fps=options.fps, growing=True)
        except KeyboardInterrupt:
            print(f"\nstopped: {path} holds the {done} frames that were made")
            return 130
    print(f"{path}: {done} frames of {options.height}x{options.width}, {time.monotonic() - begun:.1f} s")
    return 0
