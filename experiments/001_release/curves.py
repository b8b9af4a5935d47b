"""Draws the curves of a release run, and thins them to a file small enough to commit.

python experiments/001_release/curves.py --run ~/release --out experiments/001_release/cpu
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "autoencoder": ("psnr", "heldout_psnr", "PSNR, dB"),
    "first": ("loss", "heldout_loss", "velocity loss"),
    "transformer": ("loss", "heldout_loss", "velocity loss"),
}
# Further columns of the table: the held-out loss where t is above 0.8.
HIGH = ("heldout_loss_t/4",)
MORE = {"autoencoder": (), "first": HIGH, "transformer": HIGH}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    panels = {s: panel for s, panel in PANELS.items() if (options.run / s / "metrics.jsonl").exists()}
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5 * len(panels), 3.6), layout="constrained", squeeze=False
    )
    for axis, (stage, (train, heldout, label)) in zip(axes[0], panels.items(), strict=True):
        lines = (options.run / stage / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        with (options.out / f"{stage}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            names = (train, heldout, *MORE[stage], "steps_per_second", "data_wait")
            table.writerow(["step", *names])
            for row in rows:
                table.writerow([row["step"], *(f"{row[n]:.5g}" if n in row else "" for n in names)])
        for name, style in ((train, "-"), (heldout, "o-")):
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), style, label=name, markersize=3, linewidth=1)
        axis.set(title=stage, xlabel="step", ylabel=label)
        if stage != "autoencoder":
            axis.set_yscale("log")
        axis.legend()
    figure.savefig(options.out / "curves.png", dpi=90)
    print(f"wrote {options.out}/curves.png and a CSV per stage")


if __name__ == "__main__":
    main()
