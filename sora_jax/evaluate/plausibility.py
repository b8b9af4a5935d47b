"""Does a model find true motion more likely than broken motion? LikePhys's preference error, by violation.

Each clip of the simulated world is paired with itself after a graded corruption; the model's denoising loss
of both is taken with the same noise at the same levels. The error is how often the broken clip has the lower
one: chance is 50 %, 0 is best.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tqdm

from sora_jax import build, command, rng
from sora_jax.evaluation.physics.corruptions import CORRUPTIONS, Corruption
from sora_jax.evaluation.physics.edits import draw
from sora_jax.evaluation.physics.sweep import Scene, make_scenes
from sora_jax.evaluation.published import likephys
from sora_jax.evaluation.text_alignment import bootstrap
from sora_jax.types import Clip
from sora_jax.worlds import captions, facts

SEED = 9_500_000  # of the worlds; training, the prompts and the benchmark use others


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate plausibility`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of plausibility.json")
    parser.add_argument("--pairs", type=int, default=24, help="of each corruption, at each dose")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--side", type=int, default=64, help="height and width, pixels")
    parser.add_argument(
        "--levels", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.9], help="of noise, 0 = data, 1 = noise"
    )


def run(options: argparse.Namespace) -> int:
    """Writes `plausibility.json`: corruption -> dose -> preference error with its interval."""
    if options.pairs < 2 or not all(0 < t < 1 for t in options.levels):
        raise command.UsageError(
            f"--pairs {options.pairs} --levels {options.levels}: give at least 2 pairs, and levels in (0, 1)"
        )
    with command.checking_usage():
        loss = _loss(options.checkpoint)
        families = tuple(dict.fromkeys(f for c in CORRUPTIONS for f in c.families))
        scenes = make_scenes(
            clips=options.pairs, seed=SEED, frames=options.frames, side=options.side, families=families
        )
        by_family: dict[str, list[Scene]] = {}
        for scene in scenes:
            by_family.setdefault(scene.state.family, []).append(scene)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for one in tqdm.tqdm(CORRUPTIONS, desc="corruptions", unit=""):
        table[one.name] = {}
        chosen = [s for k in range(options.pairs) for f in one.families for s in by_family[f][k : k + 1]]
        for dose in (one.doses[0], one.doses[-1]):
            pairs = _pairs(chosen, one, dose)[: options.pairs]
            if len(pairs) < 2:
                continue
            valid, broken = (
                x.mean(axis=1) for x in likephys.paired_losses(loss, pairs, levels=options.levels)
            )
            wrong = (valid > broken) + 0.5 * (valid == broken)
            table[one.name][f"{dose:g}"] = bootstrap(wrong, np.ones(len(wrong)))._asdict()
    settings = {name: getattr(options, name) for name in ("checkpoint", "pairs", "frames", "side", "levels")}
    result = {"settings": settings, "preference_error": table}
    (options.out / "plausibility.json").write_text(json.dumps(result, indent=1) + "\n")
    _print(table)
    print(f"wrote {options.out}/plausibility.json")
    return 0


def _loss(checkpoint: str) -> likephys.VelocityLoss:
    generator, _ = build.load_generator(checkpoint)
    return likephys.VelocityLoss(
        apply=generator.apply,
        encode_text=generator.encode_text,
        params=generator.params,
        encode=build.load_autoencoder(checkpoint).encode,
        ratio=generator.ratio,
        patch=generator.patch,
    )


def _pairs(scenes: Sequence[Scene], corruption: Corruption, dose: float) -> list[tuple[Clip, Clip]]:
    """(the clip, the same one broken) of every scene that the corruption can be applied to at this dose."""
    pairs = []
    for scene in scenes:
        stream = rng.host(SEED, "plausibility", corruption.name, scene.number)
        broken = corruption.apply(scene.state, dose, stream, scene.shot)
        if broken is None:
            continue
        words = rng.host(SEED, "plausibility captions", scene.number)
        said = captions.captions(facts.facts(scene.state), words)
        pairs.append(
            tuple(
                Clip(video=draw(s, scene.shot), fps=scene.shot.fps, captions=said, id=str(scene.number))
                for s in (scene.state, broken)
            )
        )
    return pairs


def _print(table: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"{'corruption':16}{'smallest dose':>24}{'largest dose':>24}   preference error, chance 0.5")
    for name, doses in table.items():
        cells = [f"{d}: {s['mean']:.2f} [{s['low']:.2f}, {s['high']:.2f}]" for d, s in doses.items()]
        cells = cells or ["applies to too few"]
        print(f"{name:16}" + "".join(f"{cell:>24}" for cell in cells))
