"""Text to video, for one prompt or a file of them.

`--checkpoint` names a shipped model or a folder that `sora_jax.export` wrote. The same seed gives the same
video, alone or among others; with `--tries` the best of that seed and the next ones is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tqdm
from jaxtyping import UInt8

from sora_jax import command
from sora_jax.data import video_files
from sora_jax.evaluation import report, text_alignment
from sora_jax.sample import options as shared
from sora_jax.sampling import create, video
from sora_jax.sampling.request import Generator
from sora_jax.sampling.video import Job
from sora_jax.sharding import processes
from sora_jax.worlds.parse import parse_prompt


def main(arguments: Sequence[str], *, modes: str = "") -> int:
    """Entry point; returns the exit code. `modes`: names of the other ways, for the help."""
    options = _parser(modes).parse_args(arguments)
    with command.machine(options):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    started = time.monotonic()
    with command.checking_usage():
        prompts = _prompts(options)
        outputs = _outputs(options, len(prompts))
        if options.rows < 1:
            raise ValueError(f"--rows {options.rows} is below 1: use 1 or more")
        generator, settings = shared.load(options)
        jobs = _jobs(options, generator, prompts)
    loaded = time.monotonic()
    print(
        f"sampling {len(jobs)} x {options.frames} frames of {options.height}x{options.width} at "
        f"{options.fps:g} frames/s, {settings.steps} steps of {settings.sampler}, "
        f"guidance {settings.guidance_scale:g} (the first batch also compiles)"
    )
    with tqdm.tqdm(total=len(jobs), unit="video", disable=not processes.is_first()) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        with command.checking_usage():  # a kernel that is not for this machine, or these rows
            made = video.run(generator, jobs, settings=settings, rows=options.rows, progress=progress)
    videos = [video.decode(generator, one) for one in made]
    seconds = time.monotonic() - loaded
    notes = [_score(v, p, options.fps) if options.score else "" for v, p in zip(videos, prompts, strict=True)]
    for path, frames, prompt, note in zip(outputs, videos, prompts, notes, strict=True):
        video_files.write_video(path, frames, fps=options.fps)
        print(f'{path}: "{prompt}", {len(frames)} frames of {options.height}x{options.width}')
        if note:
            print(f"  {note}")
    if options.sheet is not None:
        sheet = report.contact_sheet(videos, prompts, notes=notes if options.score else None)
        report.save_png(options.sheet, sheet)
        print(f"{options.sheet}: contact sheet")
    print(f"{seconds:.1f} s for sampling and decoding, {loaded - started:.1f} s for loading")
    return 0


def _parser(modes: str) -> argparse.ArgumentParser:
    parser = command.parser(
        "Sample videos from text.",
        example='python -m sora_jax.sample --prompt "two blue squares moving left" --out squares.mp4',
    )
    parser.epilog = f"{parser.epilog}\n\nother ways to ask: python -m sora_jax.sample MODE --help, of {modes}"
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--prompt", help="what the video shows")
    text.add_argument("--prompts", type=Path, help="a text file with one prompt per line; OUT gets numbers")
    shared.add_model(parser)
    shared.add_size(parser)
    parser.add_argument("--rows", type=int, default=4, help="videos sampled at once")
    shared.add_out(parser, default="out/sample.mp4")
    parser.add_argument(
        "--score", action="store_true", help="parse the videos and score them against the prompt"
    )
    return parser


def _prompts(options: argparse.Namespace) -> list[str]:
    if options.prompt is not None:
        return [options.prompt]
    if not options.prompts.is_file():
        raise command.UsageError(f"no prompts file {options.prompts}")
    prompts = [line.strip() for line in options.prompts.read_text().splitlines() if line.strip()]
    if not prompts:
        raise command.UsageError(f"{options.prompts} holds no prompt: write one per line")
    return prompts


def _outputs(options: argparse.Namespace, count: int) -> list[Path]:
    if count == 1:
        return [video_files.check_path(options.out, frames=options.frames)]
    paths = [options.out.with_stem(f"{options.out.stem}-{k:03d}") for k in range(count)]
    return [video_files.check_path(path, frames=options.frames) for path in paths]


def _jobs(options: argparse.Namespace, generator: Generator, prompts: Sequence[str]) -> list[Job]:
    size = {name: getattr(options, name) for name in ("frames", "height", "width", "fps", "seed")}
    return [create.text_to_video(generator, prompt=prompt, **size) for prompt in prompts]


def _score(frames: UInt8[np.ndarray, "f h w 3"], prompt: str, fps: float) -> str:
    """What the parser reads from the video against what the prompt states, as one line."""
    facts = parse_prompt(prompt)
    if facts is None:
        return "the prompt names no object of the simulated world: nothing to score"
    table = text_alignment.score_prompts([frames], [facts], fps=fps)
    shown = ("count", "color", "shape", "size", "direction", "speed", "relation")
    return "parsed: " + report.note({name: float(table[name][0]) for name in shown if name in table})
