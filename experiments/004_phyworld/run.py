"""Trains the phyworld protocol's models, law by law, and scores them in and out of distribution.

    python experiments/004_phyworld/run.py --tier cpu --run ~/phyworld --minutes 60

One autoencoder for all laws; for each law two data sizes, for each of these two model sizes. Every stage is
one public command of sora_jax, printed before it runs; a finished one is skipped, an unfinished one resumes,
so the same line is repeated until all is done. `--laws` and `--sizes` take a part, so that two processes can
share a run folder (the autoencoder first). `--steps` trains other models for so many steps, beside the
tier's own. What is scored stands in RUN/results.csv, and its two velocity
errors in RUN/results.md.
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
KEY = ("law", "clips", "size", "steps")  # of a model
SPLITS = ("in", "out_radius", "out_speed", "out_both")


class Tier(NamedTuple):
    """Names of `models.transformer.SIZES`, training clips, steps; clips scored of a split, pixels a side."""

    sizes: tuple[str, ...]
    lengths: tuple[int, ...]
    steps: int
    clips: int
    side: int


TIERS = {
    "smoke": Tier(("test",), (32, 64), 8, 4, 64),
    "cpu": Tier(("nano", "mu"), (1_000, 10_000), 1_000, 96, 64),
    "gpu": Tier(("s", "b"), (30_000, 300_000), 20_000, 256, 128),
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


def folder_of(run: Path, *, law: str, length: int, size: str, steps: int) -> Path:
    """Of one model."""
    return run / f"{law}-{length}-{size}-{steps}"


def model(tier: str, run: Path, *, law: str, length: int, size: str, steps: int) -> list[Stage]:
    """One transformer: trained, exported, scored."""
    settings = TIERS[tier]
    folder = folder_of(run, law=law, length=length, size=size, steps=steps)
    name = folder.name
    return [
        Stage(
            name=f"train {name}",
            arguments=[
                *("sora_jax.train", "--config", f"configs/dit.py:phyworld_{tier}"),
                *("--workdir", f"{folder}/transformer", f"--config.autoencoder={run}/frozen"),
                f"--config.data.latents={run}/latents/{law}-{length}",
                f"--config.model.size={size}",
                f"--config.train.total_steps={steps}",
                f"--config.optimizer.cooldown_steps={steps // 3}",
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


def collect(run: Path) -> Path:
    """All scores that are there, a line each."""
    path = run / "results.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*KEY, "split", "column", "error", "mean", "low", "high", "scored"])
        for law in LAWS:
            found = [p.parent.parent.name.split("-") for p in run.glob(f"{law}-*-*-*/scores/phyworld.json")]
            for steps, length, size in sorted((int(steps), int(n), size) for _, n, size, steps in found):
                folder = folder_of(run, law=law, length=length, size=size, steps=steps)
                scores = json.loads((folder / "scores/phyworld.json").read_text())["scores"]
                for split, columns in scores.items():
                    for column, errors in columns.items():
                        for error, s in errors.items():
                            numbers = [f"{s[k]:.4f}" for k in ("mean", "low", "high")]
                            table.writerow(
                                [law, length, size, steps, split, column, error, *numbers, s["clips"]]
                            )
    return path


def table(results: Path) -> Path:
    """Velocity errors of `results` (a CSV by `collect`) in Markdown: references, then samples.

    A cell is the released error with its 95 % interval, then the error whose frames are counted even where no
    disc is found.
    """
    with results.open(newline="") as file:
        cells = {tuple(row.values())[:7]: row for row in csv.DictReader(file)}

    def line(name: str, key: tuple[str, ...], column: str) -> str:
        """One row of the table."""
        words = [name]
        for split in SPLITS:
            released, whole = (cells[(*key, split, column, error)] for error in ("as released", "velocity"))
            mean, low, high = (f"{float(released[k]):.3f}" for k in ("mean", "low", "high"))
            words.append(f"{mean} ({low} to {high}); {float(whole['mean']):.2f}")
        return f"| {' | '.join(words)} |"

    keys = list(dict.fromkeys(key[:4] for key in cells))
    lines = []
    for law in dict.fromkeys(key[0] for key in keys):
        mine = [key for key in keys if key[0] == law]
        lines += [f"| {law} | {' | '.join(SPLITS)} |", "|---" * (1 + len(SPLITS)) + "|"]
        lines += [line(column, mine[0], column) for column in ("truth", "reconstruction", "linear", "frozen")]
        for key in mine:
            _, clips, size, steps = key
            lines.append(line(f"{size}, {int(clips):,} clips, {int(steps):,} steps", key, "sample"))
        lines.append("")
    path = results.with_suffix(".md")
    path.write_text("\n".join(lines))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run, outside the repository")
    parser.add_argument("--laws", choices=LAWS, nargs="+", default=LAWS)
    parser.add_argument("--sizes", nargs="+", help="of the tier's models; all if not given")
    parser.add_argument(
        "--lengths", type=int, nargs="+", help="training clips; all of the tier's if not given"
    )
    parser.add_argument("--steps", type=int, help="of training; the tier's if not given")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after this long")
    options = parser.parse_args()
    tier, run = options.tier, options.run.resolve()
    sizes = options.sizes or TIERS[tier].sizes
    if unknown := set(sizes) - set(TIERS[tier].sizes):
        parser.error(f"--sizes {' '.join(sorted(unknown))}: tier {tier} has {' '.join(TIERS[tier].sizes)}")
    if (steps := options.steps or TIERS[tier].steps) < 4:
        parser.error(f"--steps {steps}: give at least 4")
    todo = autoencoder(tier, run)
    for law in options.laws:
        for length in options.lengths or TIERS[tier].lengths:
            todo.append(latents(tier, run, law=law, length=length))
            for size in sizes:
                todo += model(tier, run, law=law, length=length, size=size, steps=steps)
    code = stages.run(todo, root=REPOSITORY, minutes=options.minutes)
    results = collect(run)
    print(f"wrote {results} and {table(results)}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
