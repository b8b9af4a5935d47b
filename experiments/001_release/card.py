"""Writes a release's model card from what its run left behind; only the faults are written by hand.

    python experiments/001_release/card.py --run ~/release --tier cpu --hardware "2 CPU cores" \\
        --faults faults.md --out sora_jax/pretrained/gpu-128px/card.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

# (stratum, metric, the bar in %) of the tiers.
BARS = {
    "cpu": [
        *(
            ("one object", name, bar)
            for name, bar in (("color", 90), ("count", 90), ("shape", 75), ("direction", 75))
        ),
        *(
            ("two objects", name, bar)
            for name, bar in (("color", 75), ("count", 75), ("shape", 50), ("direction", 50))
        ),
    ],
    "gpu": [
        *(
            ("one object", name, bar)
            for name, bar in (("color", 97), ("count", 97), ("shape", 90), ("direction", 90))
        ),
        *(
            ("two objects", name, bar)
            for name, bar in (("color", 92), ("count", 92), ("shape", 85), ("direction", 80))
        ),
        ("two objects", "relation left/right", 85),
    ],
}
BARS |= dict.fromkeys(("cpu_more", "cpu_turns", "gpu_more"), BARS["gpu"])  # on from what the gpu tier made
SHOWN = (
    "count",
    "color",
    "shape",
    "size",
    "direction",
    "speed",
    "relation",
    "births_deaths_per_object_second",
    "velocity_error",
)
TRAININGS = ("autoencoder", "first", "transformer")  # of a run; first: of the tier cpu_more
COLUMNS = ("truth", "reconstruction", "sample", "shuffled captions", "first frame held")


def hours(rows: list[dict]) -> float:
    """Time spent in steps, from the pace of every logged stretch."""
    total, last = 0.0, 0
    for row in rows:
        if "steps_per_second" in row:
            total += (row["step"] - last) / row["steps_per_second"]
            last = row["step"]
    return total / 3600


def last(rows: list[dict], name: str) -> float:
    """The last reading of `name`; NaN if there is none."""
    return next((row[name] for row in reversed(rows) if name in row), float("nan"))


def cell(score: dict | None) -> str:
    if score is None:
        return "-"
    return f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def tables(scores: dict) -> str:
    """A table per stratum: metrics down, floors and nulls beside the sample across."""
    parts = []
    for stratum, columns in scores.items():
        clips = columns["sample"]["count"]["clips"]
        lines = [
            f"### {stratum} ({clips} prompts)",
            "",
            "| | " + " | ".join(COLUMNS) + " |",
            "|---" * 6 + "|",
        ]
        for name in SHOWN:
            if any(name in columns[c] for c in COLUMNS):
                cells = " | ".join(cell(columns[c].get(name)) for c in COLUMNS)
                lines.append(f"| {name.replace('_', ' ')} | {cells} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def bars(tier: str, scores: dict) -> str:
    """What the tier asks for, what it got, and by how much it is missed."""
    lines = ["| prompts | metric | bar | measured | |", "|---|---|---|---|---|"]
    for stratum, name, bar in BARS[tier]:
        if name not in scores[stratum]["sample"]:
            lines.append(f"| {stratum} | {name} | {bar} % | | not read: no prompt states it |")
            continue
        got = 100 * scores[stratum]["sample"][name]["mean"]
        verdict = "met" if got >= bar else f"missed by {bar - got:.1f}"
        lines.append(f"| {stratum} | {name} | {bar} % | {got:.1f} % | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tier", choices=tuple(BARS), required=True)
    parser.add_argument("--hardware", required=True)
    parser.add_argument(
        "--faults", type=Path, required=True, help="what a person saw in the samples (Markdown)"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    trained = [s for s in TRAININGS if (options.run / s / "metrics.jsonl").exists()]
    rows = {
        stage: [json.loads(line) for line in (options.run / stage / "metrics.jsonl").read_text().splitlines()]
        for stage in trained
    }
    model = json.loads((options.run / "model/model.json").read_text())
    report = json.loads((options.run / "scores/scores.json").read_text())
    autoencoder = json.loads((options.run / "scores/autoencoder.json").read_text())["one object"]
    scores, settings = report["scores"], report["settings"]
    steps = {stage: f"{hours(r):.2f} ({r[-1]['step']} steps)" for stage, r in rows.items()}
    psnr, ssim = (autoencoder[name]["mean"] for name in ("psnr", "ssim"))
    configs = {stage: json.loads((options.run / stage / "config.json").read_text()) for stage in rows}
    first = {stage: config.get("start_from") or "nothing" for stage, config in configs.items()}
    if "first" in trained:
        first["transformer"] = ""
    told = {"": "what that gave", "nothing": "nothing"}
    begun = ", ".join(
        f"{stage}: {told.get(name, f'{name} as it was shipped before')}" for stage, name in first.items()
    )
    if "autoencoder" not in trained:
        begun += "; the autoencoder is that of the release before"
    spent = ", ".join(f"{stage} {steps[stage]}" for stage in trained)
    heldout = last(rows["transformer"], "heldout_loss")
    worlds = "12 to 14" if "first" in trained else "11 to 13" if options.tier == "gpu" else "11 and 12"
    how = ", ".join(f"{name} {value}" for name, value in settings.items() if name != "checkpoint")
    options.out.write_text(
        f"""# {options.out.parent.name}

A text-to-video model of the simulated world: tier {options.tier} of `experiments/001_release`.

| | |
|---|---|
| command | `python experiments/001_release/run.py --tier {options.tier} --run RUN` |
| commits | autoencoder {model["commit"][:12]}, transformer {model["transformer_commit"][:12]} |
| begun from | {begun} |
| seeds | 0 (training), {worlds} (worlds of the latents), 7000000 to 7000003 (worlds of the prompts) |
| hardware | {options.hardware} |
| hours | {spent} |
| sampling | {how} |
| held-out loss | {"not read" if heldout != heldout else f"{heldout:.4f}"} |
| waiting for data | {100 * last(rows["transformer"], "data_wait"):.1f} % of the time |
| autoencoder | PSNR {psnr:.2f} dB, SSIM {ssim:.4f} on the unseen clips of the one-object prompts |
| fingerprint | {model["fingerprint"]} |

## Bars

{bars(options.tier, scores)}

## Scores

Each prompt's own clip (truth), that clip through the autoencoder (reconstruction), the sample, the samples
dealt to other prompts (shuffled captions: chance), and each sample's first frame held (no motion). Means with
bootstrap 95 % intervals over prompts. No training clip has one of these prompts as its caption. Direction is
right when the net displacement is within 45 degrees of the stated one. Births and deaths: objects that appear
or vanish away from the frame's edges.

{tables(scores)}

{options.faults.read_text().strip()}
"""
    )
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
