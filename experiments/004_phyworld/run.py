"""Trains the phyworld protocol's models, law by law, and scores them in and out of distribution.

    python experiments/004_phyworld/run.py --tier cpu --run ~/phyworld --minutes 60

One autoencoder for all laws; for each law two data sizes, for each of these two model sizes. Every stage is
one public command of sora_jax, printed before it runs; a finished one is skipped, an unfinished one resumes,
so the same line is repeated until all is done. `--laws` and `--sizes` take a part, so that two processes can
share a run folder (the autoencoder first). What is scored stands in RUN/results.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import NamedTuple

from sora_jax import stages
from sora_jax.stages import Stage

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LAWS = ("uniform", "parabola", "collision")


class Tier(NamedTuple):
    """Names of `models.transformer.SIZES`, training clips, clips scored of each split, pixels of a side."""

    sizes: tuple[str, ...]
    lengths: tuple[int, ...]
    clips: int
    side: int


TIERS = {
    "smoke": Tier(("test",), (32, 64), 4, 64),
    "cpu": Tier(("nano", "mu"), (1_000, 10_000), 96, 64),
    "gpu": Tier(("s", "b"), (30_000, 300_000), 256, 128),
}


def autoencoder(tier: str, run: Path) -> list[Stage]:
    """What all laws share."""
    config = ("--config", f"configs/autoencoder.py:phyworld_{tier}")
    return [
        Stage(
            name="autoencoder",
            arguments=["sora_jax.train", *config, "--workdir", f"{run}/autoencoder"],
            result=run / "autoencoder/finished",
        ),
        Stage(
            name="freeze",
            arguments=[
                *("sora_jax.export", "autoencoder"),
                *("--workdir", f"{run}/autoencoder", "--out", f"{run}/frozen"),
            ],
            result=run / "frozen/model.json",
        ),
    ]


def latents(tier: str, run: Path, *, law: str, length: int) -> Stage:
    """One law's training clips, encoded."""
    out = run / f"latents/{law}-{length}"
    return Stage(
        name=f"latents {law} {length}",
        arguments=[
            *("sora_jax.make_latents", "--config", f"configs/latents.py:phyworld_{tier}"),
            *("--autoencoder", f"{run}/frozen", "--out", f"{out}"),
            *(f"--config.{part}.phyworld.laws=('{law}',)" for part in ("train", "heldout")),
            f"--config.train.phyworld.length={length}",
        ],
        result=out / "manifest.json",
    )


def model(tier: str, run: Path, *, law: str, length: int, size: str) -> list[Stage]:
    """One transformer: trained, exported, scored."""
    name, settings = f"{law}-{length}-{size}", TIERS[tier]
    folder = run / name
    return [
        Stage(
            name=f"train {name}",
            arguments=[
                *("sora_jax.train", "--config", f"configs/dit.py:phyworld_{tier}"),
                *("--workdir", f"{folder}/transformer", f"--config.autoencoder={run}/frozen"),
                f"--config.data.latents={run}/latents/{law}-{length}",
                f"--config.model.size={size}",
            ],
            result=folder / "transformer/finished",
        ),
        Stage(
            name=f"export {name}",
            arguments=[
                *("sora_jax.export", "model", "--workdir", f"{folder}/transformer"),
                *("--autoencoder", f"{run}/frozen", "--out", f"{folder}/model"),
                *("--steps", "12", "--guidance_scale", "1"),
            ],
            result=folder / "model/model.json",
        ),
        Stage(
            name=f"score {name}",
            arguments=[
                *("sora_jax.evaluate", "phyworld", "--checkpoint", f"{folder}/model", "--law", law),
                *("--clips", f"{settings.clips}", "--side", f"{settings.side}"),
                *("--rows", "32", "--out", f"{folder}/scores"),
            ],
            result=folder / "scores/phyworld.json",
        ),
    ]


def collect(tier: str, run: Path) -> Path:
    """All scores that are there, a line each."""
    path = run / "results.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["law", "clips", "size", "split", "column", "error", "mean", "low", "high", "scored"])
        for law in LAWS:
            for length in TIERS[tier].lengths:
                for size in TIERS[tier].sizes:
                    scores = run / f"{law}-{length}-{size}/scores/phyworld.json"
                    if scores.exists():
                        for split, columns in json.loads(scores.read_text())["scores"].items():
                            for column, errors in columns.items():
                                for error, s in errors.items():
                                    numbers = [f"{s[k]:.4f}" for k in ("mean", "low", "high")]
                                    key = [law, length, size, split, column, error]
                                    table.writerow([*key, *numbers, s["clips"]])
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run, outside the repository")
    parser.add_argument("--laws", choices=LAWS, nargs="+", default=LAWS)
    parser.add_argument("--sizes", nargs="+", help="of the tier's models; all if not given")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after this long")
    options = parser.parse_args()
    tier, run = options.tier, options.run.resolve()
    sizes = options.sizes or TIERS[tier].sizes
    if unknown := set(sizes) - set(TIERS[tier].sizes):
        parser.error(f"--sizes {' '.join(sorted(unknown))}: tier {tier} has {' '.join(TIERS[tier].sizes)}")
    todo = autoencoder(tier, run)
    for law in options.laws:
        for length in TIERS[tier].lengths:
            todo.append(latents(tier, run, law=law, length=length))
            for size in sizes:
                todo += model(tier, run, law=law, length=length, size=size)
    code = stages.run(todo, root=REPOSITORY, minutes=options.minutes)
    print(f"wrote {collect(tier, run)}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
