"""What the commands that sample share: the flags, and the model ready to sample."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np
import tqdm

from sora_jax import build, command
from sora_jax.diffusion import sampler
from sora_jax.sampling.generate import generate
from sora_jax.sampling.request import Generator, Request, Settings
from sora_jax.sharding import processes

NAMES = ("steps", "guidance_scale", "sampler", "tries")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--steps, --guidance_scale, --sampler, --tries, --rows, and `command.add_machine`."""
    parser.add_argument("--steps", type=int, help="of the sampler")
    parser.add_argument("--guidance_scale", type=float, help="1 = off")
    parser.add_argument("--sampler", choices=sampler.SAMPLERS, help="as the model's card says if not given")
    parser.add_argument("--tries", type=int, help="seeds of each video, of which the best is kept; else one")
    parser.add_argument("--rows", type=int, default=16, help="videos sampled at once")
    command.add_machine(parser)


def load(options: argparse.Namespace) -> tuple[Generator, Settings]:
    """The model of `--checkpoint`, and how it is sampled: as it was exported, but for what is given."""
    generator, settings = build.load_generator(
        options.checkpoint, attention=options.attention, dtype=options.dtype, mesh=options.mesh
    )
    given = {name: getattr(options, name) for name in NAMES if getattr(options, name) is not None}
    return generator, dataclasses.replace(settings, **given)


def sample(
    generator: Generator, requests: Sequence[Request], *, settings: Settings, rows: int, title: str
) -> list[np.ndarray]:
    """The video of every request, with a progress bar."""
    quiet = not processes.is_first()
    with tqdm.tqdm(total=len(requests), desc=title, unit="video", disable=quiet) as bar:
        return generate(
            generator,
            requests,
            settings=settings,
            rows=rows,
            progress=lambda done, total: bar.update(done - bar.n),
        )
