"""The nearest training clip of every item and of every sample of it: a null, and how copying is seen."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import tqdm
from jaxtyping import Float, UInt8

from sora_jax import build, command
from sora_jax.evaluation import answers, benchmark, nearest
from sora_jax.evaluation import prompts as prompts_lib
from sora_jax.evaluation.benchmark import Item
from sora_jax.types import Clip, Source

Size = tuple[int, int, int]  # frames, height, width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What is nearest to an item.

    Attributes:
      video: the training clip nearest to the item's truth, at the item's size.
      clip: its id.
      distance: between them; see `evaluation.nearest`.
      ratios: of the samples that could be read, in their order.
      missing: samples that could not.
    """

    video: UInt8[np.ndarray, "f h w 3"]
    clip: str
    distance: float
    ratios: tuple[float, ...]
    missing: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--training and --training_config."""
    parser.add_argument(
        "--training",
        type=int,
        default=0,
        metavar="N",
        help="compare with the nearest of N training clips of the items' aspect ratio and length; 0 = off",
    )
    parser.add_argument(
        "--training_config",
        default="configs/latents.py:cpu",
        help="that the model's latents were made with: its `train` clips, less those of held-out prompts",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bank:
    """Training clips that items of one size are compared with: their numbers in `source`, and reduced."""

    source: Source
    numbers: Sequence[int]
    reduced: Float[np.ndarray, "n d"]


def prepare(options: argparse.Namespace, items: Sequence[Item]) -> dict[Size, Bank]:
    """The training clips for each size of `items`, before anything is sampled; {} without --training.

    Training clips are compared with where they have the item's aspect ratio and at least its frames, of which
    they show the first: the comparison is frame by frame, whatever the rates.

    Raises:
      command.UsageError: fewer than N such clips, or N below 0.
    """
    if options.training < 0:
        raise command.UsageError(f"--training {options.training}: give 0 (off) or a number of clips")
    if options.training == 0:
        return {}
    config = command.load_config(options.training_config)
    with command.checking_usage():
        source = build.source(config.train)
        banned = frozenset(p.prompt for p in prompts_lib.held_out(config.prompts.to_dict()))
    sizes = dict.fromkeys(map(_size, items))
    return {size: _bank(source, banned, size, options) for size in sizes}


def compare(
    banks: Mapping[Size, Bank], items: Sequence[Item], folder: Path, *, samples: int
) -> dict[str, Found]:
    """Item id -> what is nearest; an item that is not the world's is left out (its line is a fault)."""
    if not banks:
        return {}
    pairs = {
        item.id: _find(item, banks[_size(item)], folder=folder, samples=samples)
        for item in tqdm.tqdm(items, desc="nearest", unit="clip")
    }
    return {name: one for name, one in pairs.items() if one is not None}


def _size(item: Item) -> Size:
    return item.frames, item.height, item.width


def _bank(source: Source, banned: frozenset[str], size: Size, options: argparse.Namespace) -> Bank:
    """The first N clips that can be compared."""
    count, (frames, height, width) = options.training, size
    numbers, reduced = [], []
    with tqdm.tqdm(total=count, desc="training clips", unit="clip") as bar:
        for number, clip in _comparable(source, banned, size):
            numbers.append(number)
            reduced.append(nearest.reduce(clip.video[:frames]))
            bar.update(1)
            if len(numbers) == count:
                return Bank(source=source, numbers=numbers, reduced=np.stack(reduced))
    raise command.UsageError(
        f"--training {count}: {options.training_config} has {len(numbers)} clips of {frames} or more frames "
        f"and aspect ratio {height}:{width}; give at most so many, or items of a size that was trained on"
    )


def _comparable(source: Source, banned: frozenset[str], size: Size) -> Iterator[tuple[int, Clip]]:
    frames, height, width = size
    table = source.sizes
    fits = (table["frames"] >= frames) & (table["height"] * width == table["width"] * height)
    for number in np.flatnonzero(fits):
        clip = source[int(number)]
        if banned.isdisjoint(clip.captions.values()):
            yield int(number), clip


def _find(item: Item, bank: Bank, *, folder: Path, samples: int) -> Found | None:
    try:
        truth = benchmark.truth(item)
    except (ValueError, IndexError):
        return None
    own = nearest.nearest(nearest.reduce(truth.video), bank.reduced)
    clip = bank.source[bank.numbers[own.index]]
    video = [
        cv2.resize(frame, (item.width, item.height), interpolation=cv2.INTER_AREA)
        for frame in clip.video[: item.frames]
    ]
    read = [answers.read(folder, one).video for one in answers.expand(item, samples)]
    apart = [nearest.nearest(nearest.reduce(one), bank.reduced).distance for one in read if one is not None]
    return Found(
        video=np.stack(video),
        clip=clip.id,
        distance=own.distance,
        ratios=tuple(nearest.ratio(one, own.distance) for one in apart),
        missing=samples - len(apart),
    )


def summary(found: Mapping[str, Found], *, clips: int) -> dict[str, object]:
    """What `scores.json` says of it: the two scores, and what they are of."""
    scores = nearest.summarise([np.array(one.ratios) for one in found.values()])
    return {
        "training clips": clips,
        **{name: score._asdict() for name, score in scores.items()},
        "samples": sum(len(one.ratios) for one in found.values()),
        "samples that could not be read": sum(one.missing for one in found.values()),
    }
