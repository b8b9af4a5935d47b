"""What the modes of sampling share on the command line: model, sampler, what comes in and goes out."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from sora_jax import build, command
from sora_jax.data import video_files
from sora_jax.diffusion import sampler
from sora_jax.sampling.request import CONTEXT_SCALE, Generator, Settings

DEFAULT_MODEL = "gpu-128px"
MOST_SEED = 2**32
SETTINGS = (
    "steps",
    "guidance_scale",
    "sampler",
    "shift",
    "guidance_interval",
    "context_scale",
    "cache",
    "tries",
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model and its sampler."""
    parser.add_argument(
        "--checkpoint", default=DEFAULT_MODEL, help="a shipped model's name, or a model folder"
    )
    parser.add_argument("--steps", type=int, help="of the sampler; as the model's card says if not given")
    parser.add_argument("--guidance_scale", type=float, help="1 = off; None = as the model's card says")
    parser.add_argument("--sampler", choices=sampler.SAMPLERS, help="as the model's card says if not given")
    parser.add_argument("--shift", type=float, help="of the times; above 1 spends more steps near noise")
    parser.add_argument(
        "--guidance_interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="noise levels with guidance"
    )
    parser.add_argument(
        "--context_scale", type=float, help="guidance by what is given (frames, ends, surroundings); 1 = off"
    )
    parser.add_argument("--cache", type=float, help="share of change below which a step is not evaluated")
    parser.add_argument("--seed", type=int, default=1, help="the noise: one seed, one video")
    parser.add_argument(
        "--tries", type=int, default=1, help="seeds, this one and the next, of which the best is kept"
    )
    command.add_machine(parser)


def add_size(parser: argparse.ArgumentParser, *, frames: bool = True) -> None:
    """The size of what is made."""
    if frames:
        parser.add_argument("--frames", type=int, default=17, help="1 + a multiple of 4; 1 is an image")
    parser.add_argument("--height", type=int, default=64, help="pixels, a multiple of 16")
    parser.add_argument("--width", type=int, default=64, help="pixels, a multiple of 16")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second; part of the geometry")


def add_out(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Where the video goes."""
    parser.add_argument("--out", type=Path, default=Path(default), help=".mp4, .gif, or .png for one frame")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet (PNG)")


def continue_by_context(parser: argparse.ArgumentParser) -> None:
    """Guided by what is there and not by text, unless asked for: what goes on from a video follows it so."""
    parser.set_defaults(guidance_scale=1.0, context_scale=CONTEXT_SCALE)


def load(options: argparse.Namespace) -> tuple[Generator, Settings]:
    """The model that was named, and how it is sampled."""
    with command.checking_usage():
        if not 0 <= options.seed < MOST_SEED:
            raise ValueError(f"--seed {options.seed} is outside 0 .. {MOST_SEED - 1}")
        if getattr(options, "fps", 1.0) <= 0:
            raise ValueError(f"--fps {options.fps:g} is not above 0")
        generator, settings = build.load_generator(
            options.checkpoint, attention=options.attention, dtype=options.dtype, mesh=options.mesh
        )
        given = {name: getattr(options, name) for name in SETTINGS}
        return generator, dataclasses.replace(settings, **{k: v for k, v in given.items() if v is not None})


def read_file(path: Path) -> tuple[UInt8[np.ndarray, "f h w 3"], float]:
    """The frames of a file as they are, and their rate.

    Raises:
      UsageError: no such file, or none that holds a video.
    """
    if not path.is_file():
        raise command.UsageError(f"no file {path}")
    with command.checking_usage():
        return video_files.read_video(path)


def read_clip(path: Path, generator: Generator) -> tuple[UInt8[np.ndarray, "f h w 3"], float]:
    """The frames of a file at a size that the model takes, and their rate.

    Sides are resized to the nearest that divide, frames beyond the last whole latent are left out; either is
    printed.

    Raises:
      UsageError: no such file, or none that holds a video.
    """
    video, fps = read_file(path)
    step = generator.ratio[0] * generator.patch[0]
    keep = 1 + (len(video) - 1) // step * step
    if keep < len(video):
        print(f"note: {path} has {len(video)} frames; the first {keep} are used (1 + a multiple of {step})")
    return resized(video[:keep], generator, name=str(path)), fps


def resized(
    video: UInt8[np.ndarray, "f h w 3"],
    generator: Generator,
    *,
    name: str,
    size: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "f h w 3"]:
    """Frames at `size` (height, width), or at the nearest sides that divide; a change is printed."""
    sides = [r * p for r, p in zip(generator.ratio[1:], generator.patch[1:], strict=True)]
    near = [max(side, round(n / side) * side) for n, side in zip(video.shape[1:3], sides, strict=True)]
    height, width = near if size is None else size
    if (height, width) == video.shape[1:3]:
        return video
    print(f"note: {name} is {video.shape[1]} x {video.shape[2]} pixels; it is resized to {height} x {width}")
    smaller = height * width < video.shape[1] * video.shape[2]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (width, height), interpolation=how) for frame in video])
