"""A ladder on Gaussian latents, where the least loss is known: does the fit of a law find it?

    JAX_PLATFORMS=cpu python experiments/005_scaling/gaussian.py
    python -m sora_jax.scaling fit experiments/005_scaling/gaussian.csv

Six ranks, each one run on fresh samples of its own, looked at six times; 131,072 draws a point, with noise
that is common to all. `gaussian.csv` has a row per point; a rank whose rows are all there is not run again:
the same command goes on where `--minutes` ended it. C = 6 N D.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

from sora_jax import rng
from sora_jax.evaluation import denoising
from sora_jax.scaling.gaussian import Family
from sora_jax.types import Params

OUT = Path(__file__).parent / "gaussian.csv"
COLUMNS = ("name", "N", "D", "C", "loss", "standard_error")
RANKS = (2, 4, 8, 16, 32, 64)
STEPS = (256, 512, 1024, 2048, 4096, 8192)
BATCHES, CLIPS, ROUNDS = 8, 2048, 8  # of the evaluation
FAMILY = Family()


def evaluate(params: Params) -> denoising.HeldOutLoss:
    """The loss of one model, on the same clips and noise as any other's."""
    batches = [
        FAMILY.batch(rng.key(1, "held out", k), rows=CLIPS, tokens=1, start=k * CLIPS) for k in range(BATCHES)
    ]
    key = rng.key(0, "held-out loss")
    return denoising.held_out_loss(
        denoising.clip_losses(key, FAMILY.velocity, params, batches, rounds=ROUNDS)
    )


def read(path: Path) -> list[dict[str, str]]:
    """The rows that were made before."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, help="begin no rank after so long")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows, began = read(options.out), time.monotonic()
    done = {row["name"] for row in rows}
    for rank in RANKS:
        if all(f"r{rank}-{steps}" in done for steps in STEPS):
            continue
        if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
            print("out of time: run the same command again")
            return
        rows = [row for row in rows if not row["name"].startswith(f"r{rank}-")]
        for steps, params in FAMILY.train(rank, seed=rank, steps=STEPS):
            found, tokens = evaluate(params), steps * FAMILY.rows
            numbers = (f"r{rank}-{steps}", rank, tokens, 6 * rank * tokens, found.mean, found.standard_error)
            rows.append(dict(zip(COLUMNS, map(str, numbers), strict=True)))
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
            print(*numbers, f"{(time.monotonic() - began) / 60:.1f} min", flush=True)
    print(f"the least loss there is: {FAMILY.least_loss}")


if __name__ == "__main__":
    main()
