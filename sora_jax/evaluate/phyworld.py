"""Does a model trained on a law know it out of distribution? The phyworld protocol's velocity errors.

The model is given a clip's first three frames and predicts the rest; the discs of what it made are found in
the pixels and held to the simulator's (Kang et al. 2024, arXiv 2411.02385; `evaluation.published.phyworld`
has the errors as released and corrected). Beside it: the true video and its reconstruction by the
autoencoder, so that the parser's and the autoencoder's shares are seen, and two nulls: the last given frame
held, and every disc going on as it began.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from jaxtyping import UInt8

from sora_jax import build, command, patches
from sora_jax.evaluate import sampling
from sora_jax.evaluation import discs
from sora_jax.evaluation.published import phyworld as errors
from sora_jax.evaluation.report import contact_sheet
from sora_jax.evaluation.text_alignment import bootstrap
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.sampling.request import Generator, Request, Settings
from sora_jax.types import Clip
from sora_jax.worlds import phyworld
from sora_jax.worlds.phyworld import Law, PhyworldSource, Split, Start

SEED = 9_700_000  # of the clips; training uses others
SHOWN = 4  # clips of each split on the contact sheet
Scores = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate phyworld`."""
    parser.add_argument("--checkpoint", required=True, help="a model folder, trained on one law")
    parser.add_argument("--out", type=Path, required=True, help="folder of phyworld.json and its pictures")
    parser.add_argument("--law", choices=get_args(Law), required=True, help="that the model was trained on")
    parser.add_argument("--splits", choices=get_args(Split), nargs="+", default=get_args(Split))
    parser.add_argument("--clips", type=int, default=128, help="of each split")
    parser.add_argument("--side", type=int, default=64, help="height and width, pixels")
    sampling.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes `phyworld.json` (split, column, error -> mean, interval, clips) and a sheet of each split."""
    if options.clips < 2:
        raise command.UsageError(f"--clips {options.clips}: give at least 2")
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint)
        generator, settings = sampling.load(options)
        frames = _frames(frozen.ratio[0])
        patches.latent_grid(frames, options.side, options.side, ratio=frozen.ratio, patch=generator.patch)
    scores = {}
    for split in options.splits:
        source = PhyworldSource(
            options.law, split=split, seed=SEED, length=options.clips, frames=frames, side=options.side
        )
        clips = [source[k] for k in range(len(source))]
        starts = [source.start(k) for k in range(len(source))]
        columns = _nulls(options.law, starts, clips, side=options.side)
        columns |= _made(frozen, generator, settings, clips, rows=options.rows, title=split)
        scores[split] = {name: _scores(options.law, starts, videos) for name, videos in columns.items()}
        shown = [
            v for k in range(min(SHOWN, len(clips))) for v in (columns["truth"][k], columns["sample"][k])
        ]
        titles = [
            f"{options.law}, {split}, clip {k // 2}: {'sample' if k % 2 else 'truth'}"
            for k in range(len(shown))
        ]
        sheet = contact_sheet(shown, titles, side=96)
        cv2.imwrite(str(options.out / f"{split}.png"), sheet[..., ::-1])
    settings_used = {name: getattr(options, name) for name in ("checkpoint", "law", "clips", "side")}
    text = json.dumps({"settings": settings_used, "scores": scores}, indent=1)
    (options.out / "phyworld.json").write_text(text + "\n")
    _print(scores)
    print(f"wrote {options.out}/phyworld.json")
    return 0


def _frames(ratio: int) -> int:
    """The protocol's 32 frames, or as many more as make groups whole.

    Raises:
      ValueError: the three given frames are no whole latents of that ratio.
    """
    if (phyworld.GIVEN - 1) % ratio:
        raise ValueError(
            f"latents of {ratio} frames cannot hold {phyworld.GIVEN} given frames: use an autoencoder of "
            f"ratio 1 or 2 (configs/autoencoder.py:phyworld_cpu)"
        )
    return 1 + -(-(phyworld.FRAMES - 1) // ratio) * ratio


def _made(
    frozen: FrozenAutoencoder,
    generator: Generator,
    settings: Settings,
    clips: Sequence[Clip],
    *,
    rows: int,
    title: str,
) -> dict[str, list[UInt8[np.ndarray, "f side side 3"]]]:
    """The clips through the autoencoder, and what the model makes of their first frames."""
    latents = list(frozen.encode_clips(clips))
    known = 1 + (phyworld.GIVEN - 1) // frozen.ratio[0]
    requests = [
        Request(
            prompt=clip.captions["short"],
            frames=len(clip.video),
            height=clip.video.shape[1],
            width=clip.video.shape[2],
            fps=clip.fps,
            seed=number,
            given=latent.latents[:known],
        )
        for number, (clip, latent) in enumerate(zip(clips, latents, strict=True))
    ]
    samples = sampling.sample(generator, requests, settings=settings, rows=rows, title=title)
    return {
        "reconstruction": [np.asarray(frozen.decode(x.latents[None]))[0] for x in latents],
        "sample": samples,
    }


def _nulls(
    law: Law, starts: Sequence[Start], clips: Sequence[Clip], *, side: int
) -> dict[str, list[UInt8[np.ndarray, "f side side 3"]]]:
    """The truth and what knows no law: the last given frame held, its motion gone on."""
    last, later = phyworld.GIVEN - 1, np.arange(phyworld.FRAMES - phyworld.GIVEN + 1)
    held, linear = [], []
    for start, clip in zip(starts, clips, strict=True):
        held.append(
            np.concatenate([clip.video[:last], np.repeat(clip.video[last : last + 1], len(later), 0)])
        )
        position, _ = phyworld.motion(law, start)
        on = position[last] + later[:, None, None] * (position[last] - position[last - 1])
        linear.append(phyworld.host_discs(np.concatenate([position[:last], on]), start.radius, side=side))
    return {"truth": [clip.video for clip in clips], "frozen": held, "linear": linear}


def _scores(law: Law, starts: Sequence[Start], videos: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Error -> its mean over clips with a bootstrap interval; clips without a valid frame are left out."""
    table = []
    for start, video in zip(starts, videos, strict=True):
        truth = phyworld.motion(law, start)[0] + phyworld.WORLD / 2
        place, radius = discs.locate(video[: phyworld.FRAMES], len(start.radius))
        corrected = errors.velocity_error_corrected(place, truth, start.radius, parsed_radius=radius)
        table.append(
            {
                "as released": errors.velocity_error_as_released(place, truth, start.radius),
                "per frame": errors.velocity_error_per_frame(place, truth, start.radius),
                **corrected._asdict(),
            }
        )
    scores = {}
    for name in table[0]:
        values = np.array([row[name] for row in table])
        values = values[np.isfinite(values)]
        scores[name] = bootstrap(values, np.ones(len(values)))._asdict()
    return scores


def _print(scores: Scores) -> None:
    names = list(next(iter(next(iter(scores.values())).values())))
    print(f"{'':12}{'':16}" + "".join(f"{name:>14}" for name in names))
    for split, columns in scores.items():
        for column, row in columns.items():
            print(f"{split:12}{column:16}" + "".join(f"{row[name]['mean']:14.4f}" for name in names))
