"""How well does a model do each thing it can be asked for? Every mode, beside its floor and a naive way.

The clips are held-out ones of one object in free motion, so the truth is known before and after what a mode
is given. Columns: the mode; the naive way (an extension from the last frame as an image, a cross-fade, a held
frame, ...); the truth and the truth through the autoencoder, where there is one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sora_jax import command
from sora_jax.evaluate import sampling
from sora_jax.evaluate.modes import asking, changing, continuing, joining, returning
from sora_jax.evaluate.modes.bench import Bench, Found, held_out
from sora_jax.evaluation import text_alignment

MODES: dict[str, Callable[[Bench], Found]] = {
    "prompt": asking.prompts,
    "animate": continuing.animate,
    "forward": continuing.forward,
    "backward": continuing.backward,
    "returning": returning.returning,
    "drift": continuing.drift,
    "loop": joining.loop,
    "connect": joining.connecting,
    "edit": changing.editing,
    "paint": changing.painting,
    "keyframes": changing.filling,
    "storyboard": asking.storyboards,
    "sizes": asking.sizes,
    "draft": changing.drafts,
    "long": continuing.long,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate modes`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of scores.json, scores.md, sheets")
    parser.add_argument("--clips", type=int, default=24, help="of each mode")
    parser.add_argument("--only", nargs="+", choices=sorted(MODES), help="these alone; others are kept")
    sampling.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes scores.json, scores.md and a sheet per mode; with --only, into those that are there."""
    with command.checking_usage():
        if options.clips < 2:
            raise ValueError(f"--clips {options.clips}: give at least 2 (a mode connects two)")
        generator, settings = sampling.load(options)
    bench = Bench(
        generator=generator,
        settings=settings,
        rows=options.rows,
        clips=held_out(options.clips),
        out=options.out,
    )
    path = options.out / "scores.json"
    settings_now = {
        "checkpoint": str(options.checkpoint),
        "clips": options.clips,
        **dataclasses.asdict(settings),
    }
    kept = _kept(path, settings_now) if options.only and path.exists() else {}
    for name in options.only or MODES:
        begun = time.monotonic()
        kept[name] = _scored(MODES[name](bench))
        print(f"{name}: {time.monotonic() - begun:.0f} s\n{_table(kept[name])}\n", flush=True)
        path.write_text(json.dumps({"settings": settings_now, "scores": kept}, indent=1))
        pages = [f"## {name}\n\n{_table(scores)}" for name, scores in kept.items()]
        (options.out / "scores.md").write_text("\n\n".join(pages) + "\n")
    print(f"wrote {options.out}/scores.md, scores.json and a sheet per mode")
    return 0


def _kept(path: Path, settings: Mapping[str, object]) -> dict:
    """The scores that are there, if they were made in the same way."""
    there = json.loads(path.read_text())
    if there["settings"] != json.loads(json.dumps(settings)):
        raise command.UsageError(
            f"{path} holds scores of other settings: {there['settings']}; choose another --out"
        )
    return there["scores"]


def _scored(found: Found) -> dict:
    """measure -> column -> mean with its interval."""
    scores = {}
    for measure, columns in found.items():
        scores[measure] = {}
        for column, values in columns.items():
            finite = np.array([v for v in values if np.isfinite(v)], float)
            if len(finite):
                score = text_alignment.bootstrap(finite, np.ones(len(finite)))
                scores[measure][column] = score._asdict()
    return scores


def _table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    columns = list(dict.fromkeys(c for row in scores.values() for c in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for measure, row in scores.items():
        cells = [
            f"{row[c]['mean']:.3g} [{row[c]['low']:.3g}, {row[c]['high']:.3g}]" if c in row else ""
            for c in columns
        ]
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
