"""Puts a finished run into the repository: weights, card, curves, scores, pictures, the README's table.

    python experiments/001_release/ship.py --run ~/release --tier cpu --name gpu-128px \\
        --hardware "2 CPU cores" --faults experiments/001_release/cpu/faults.md

A model whose bars' scores sum to less than those of one shipped under the same bars is refused, unless
`--worse` is given.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from card import BARS

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
TABLE = re.compile(r"(<!-- scores -->\n).*?(<!-- /scores -->)", re.DOTALL)
COLUMNS = ("truth", "reconstruction", "sample", "shuffled captions")


def measured(scores: dict, tier: str, column: str = "sample") -> list[float]:
    """The scores of the tier's bars, in per cent; a bar that no prompt states anything for is left out."""
    return [100 * scores[s][column][name]["mean"] for s, name, _ in stated(scores, tier)]


def stated(scores: dict, tier: str) -> list[tuple[str, str, int]]:
    """The tier's bars that the prompts state something for."""
    return [(s, name, bar) for s, name, bar in BARS[tier] if name in scores[s]["sample"]]


def table(scores: dict, tier: str) -> str:
    """The README's table: the tier's bars, what was measured, floors and chance."""
    lines = [
        "| | truth | reconstruction | **sample** | shuffled (chance) | bar |",
        "|---|---|---|---|---|---|",
    ]
    columns = [measured(scores, tier, column) for column in COLUMNS]
    for (stratum, name, bar), *values in zip(stated(scores, tier), *columns, strict=True):
        truth, reconstruction, sample, shuffled = (f"{value:.0f}" for value in values)
        met = " met" if values[2] >= bar else ""
        lines.append(
            f"| {stratum}: {name} | {truth} | {reconstruction} | **{sample}** | {shuffled} | {bar}{met} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tier", choices=tuple(BARS), required=True)
    parser.add_argument("--name", required=True, help="of the shipped model, e.g. gpu-128px")
    parser.add_argument("--hardware", required=True)
    parser.add_argument("--faults", type=Path, required=True, help="what a person saw in the samples")
    parser.add_argument("--worse", action="store_true", help="ship although the shipped model scores better")
    options = parser.parse_args()
    out, shipped = HERE / options.tier, REPOSITORY / "sora_jax/pretrained" / options.name
    scores = json.loads((options.run / "scores/scores.json").read_text())["scores"]
    new = sum(measured(scores, options.tier))
    for tier, bars in BARS.items():
        before = HERE / tier / "scores.json"
        if bars != BARS[options.tier] or not before.exists():
            continue
        old = sum(measured(json.loads(before.read_text())["scores"], options.tier))
        print(f"sum of the bars' scores: {old:.1f} as tier {tier} was shipped, {new:.1f} now")
        if new < old and not options.worse:
            print("what was shipped is better: train on, or say --worse", file=sys.stderr)
            return 1
    out.mkdir(exist_ok=True)
    shutil.copytree(options.run / "model", shipped, dirs_exist_ok=True)
    shutil.copy(options.run / "prompts.jsonl", out)
    for name in ("scores.json", "autoencoder.json", "samples.png", "one_object.png"):
        shutil.copy(options.run / "scores" / name, out)
    run = ["--run", str(options.run)]
    card = ["--tier", options.tier, "--hardware", options.hardware, "--faults", str(options.faults)]
    for script, arguments in (
        ("curves.py", [*run, "--out", str(out)]),
        ("card.py", [*run, *card, "--out", str(shipped / "card.md")]),
    ):
        subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)
    readme = REPOSITORY / "README.md"
    text, found = TABLE.subn(rf"\g<1>{table(scores, options.tier)}\g<2>", readme.read_text())
    if found != 1:
        raise ValueError(f"{readme} has {found} places for the scores (<!-- scores --> to <!-- /scores -->)")
    readme.write_text(text)
    print(f"wrote {shipped}, {out} and the table of {readme}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
