"""Does a model show what the prompt says? Samples of the held-out prompts, parsed and scored.

Beside the sample stand the ground truth and its reconstruction (the floors of parser and autoencoder), the
samples dealt to other prompts and each sample's first frame held (the nulls).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sora_jax import build, command
from sora_jax.evaluate import held_out, sampling
from sora_jax.evaluation import report, text_alignment
from sora_jax.evaluation.prompts import Prompt
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.sampling.request import Request
from sora_jax.types import Clip
from sora_jax.worlds.facts import Facts
from sora_jax.worlds.parse import parse_prompt

SHEET_CLIPS = 48


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate text`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of scores.json, scores.md, samples.png"
    )
    held_out.add_arguments(parser)
    sampling.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes `scores.json`, `scores.md`, `samples.png` and a sheet per stratum."""
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint)
        generator, settings = sampling.load(options)
    strata, truths = held_out.load(options)
    results, shown = {}, []
    for stratum, prompts in strata.items():
        fields = ("prompt", "frames", "height", "width", "fps", "seed")
        requests = [Request(**{name: getattr(p, name) for name in fields}) for p in prompts]
        videos = sampling.sample(generator, requests, settings=settings, rows=options.rows, title=stratum)
        tables = _tables(videos, prompts, truths[stratum], frozen)
        results[stratum] = {name: text_alignment.aggregate(table) for name, table in tables.items()}
        share = SHEET_CLIPS // len(strata)
        names = ("count", "color", "shape", "size", "direction", "relation")
        for k, prompt in enumerate(prompts[:share]):
            row = {name: float(tables["sample"][name][k]) for name in names}
            shown.append((videos[k], f"{stratum}: {prompt.prompt}", report.note(row)))
        _save_sheet(options.out / f"{stratum.replace(' ', '_')}.png", shown[-len(prompts[:share]) :])
    _save_sheet(options.out / "samples.png", shown)
    _write(options, results, settings)  # last: scores.json says that all is there
    return 0


def _tables(
    videos: Sequence[np.ndarray], prompts: Sequence[Prompt], clips: Sequence[Clip], frozen: FrozenAutoencoder
) -> dict[str, text_alignment.Table]:
    """The sample's scores beside its floors and nulls."""
    facts = [_facts(p.prompt) for p in prompts]
    rates = [p.fps for p in prompts]
    states = [clip.state for clip in clips if clip.state is not None]
    score = text_alignment.score_prompts
    return {
        "truth": score([c.video for c in clips], facts, fps=rates, states=states),
        "reconstruction": score(frozen.reconstruct(clips), facts, fps=rates, states=states),
        "sample": score(videos, facts, fps=rates),
        "shuffled captions": text_alignment.shuffled(text_alignment.parse_all(videos, fps=rates), facts),
        "first frame held": text_alignment.frozen(videos, facts, fps=rates),
    }


def _save_sheet(path: Path, shown: list[tuple[np.ndarray, str, str]]) -> None:
    """A contact sheet of (video, prompt, note)."""
    videos, prompts, notes = map(list, zip(*shown, strict=True))
    report.save_png(path, report.contact_sheet(videos, prompts, notes=notes, columns=2, side=96))


def _facts(prompt: str) -> Facts:
    facts = parse_prompt(prompt)
    if facts is None:
        raise command.UsageError(f"the prompt {prompt!r} names no object of the simulated world")
    return facts


def _write(options: argparse.Namespace, results: dict, settings) -> None:
    pages = [
        f"## {stratum}\n\n{report.score_table(columns, split='all')}" for stratum, columns in results.items()
    ]
    (options.out / "scores.md").write_text("\n\n".join(pages) + "\n")
    numbers = {
        stratum: {
            column: {metric: score._asdict() for metric, score in table["all"].items()}
            for column, table in columns.items()
        }
        for stratum, columns in results.items()
    }
    settings_table = {"checkpoint": str(options.checkpoint), **dataclasses.asdict(settings)}
    (options.out / "scores.json").write_text(
        json.dumps({"settings": settings_table, "scores": numbers}, indent=1)
    )
    print("\n\n".join(pages))
    print(f"wrote {options.out}/scores.md, scores.json, samples.png and a sheet per kind of prompt")
