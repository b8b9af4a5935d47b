"""Scores a model, beside its floors and nulls.

    python -m sora_jax.evaluate prompts --checkpoint cpu-64px --out out/scores
    python -m sora_jax.evaluate autoencoder --checkpoint cpu-64px --out out/autoencoder

`prompts` samples the held-out prompts, parses what came out, and scores it against what each prompt states.
Beside the sample stand the ground truth and its reconstruction (the floors of parser and autoencoder), the
samples dealt to other prompts and each sample's first frame held (the nulls). `autoencoder` gives PSNR and
SSIM on held-out clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tqdm

from sora_jax import build, command
from sora_jax.diffusion import sampler
from sora_jax.evaluation import fidelity, report, text_alignment
from sora_jax.evaluation import prompts as prompts_lib
from sora_jax.evaluation.prompts import Prompt
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.sampling.generate import Request, generate
from sora_jax.types import Clip
from sora_jax.worlds.facts import Facts
from sora_jax.worlds.parse import parse_prompt

COUNTS = {"one object": 128, "two objects": 128, "images": 64, "held-out combinations": 64}
SHEET_CLIPS = 48


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = command.parser(
        "Score a model beside its floors and nulls.",
        example="python -m sora_jax.evaluate prompts --checkpoint cpu-64px --out out/scores",
    )
    parser.add_argument("what", choices=("prompts", "autoencoder"))
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of scores.json, scores.md, samples.png"
    )
    parser.add_argument(
        "--prompts", type=Path, help="JSONL that make_latents wrote; else the standard list is made"
    )
    parser.add_argument("--limit", type=int, default=None, help="at most so many prompts of each stratum")
    parser.add_argument("--steps", type=int, help="of the sampler")
    parser.add_argument("--guidance_scale", type=float, help="1 = off")
    parser.add_argument("--sampler", choices=sampler.SAMPLERS, help="as the model's card says if not given")
    parser.add_argument("--rows", type=int, default=16, help="videos sampled at once")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with command.checking_usage():
        frozen = build.load_autoencoder(options.checkpoint)
        prompts = prompts_lib.load(options.prompts) if options.prompts else prompts_lib.held_out(COUNTS)
    strata = {s: [p for p in prompts if p.stratum == s][: options.limit] for s in prompts_lib.STRATA}
    strata = {name: chosen for name, chosen in strata.items() if chosen}
    if not strata:
        raise command.UsageError(f"no prompt to score: --prompts {options.prompts}, --limit {options.limit}")
    with command.checking_usage():
        truths = {name: [prompts_lib.truth(p) for p in chosen] for name, chosen in strata.items()}
    match options.what:
        case "prompts":
            _score_prompts(options, frozen, strata, truths)
        case _:
            _score_autoencoder(options, frozen, truths)
    return 0


def _score_prompts(
    options: argparse.Namespace,
    frozen: FrozenAutoencoder,
    strata: dict[str, list[Prompt]],
    truths: dict[str, list[Clip]],
) -> None:
    with command.checking_usage():
        generator, settings = build.load_generator(options.checkpoint)
        given = {name: getattr(options, name) for name in ("steps", "guidance_scale", "sampler")}
        settings = dataclasses.replace(settings, **{k: v for k, v in given.items() if v is not None})
    results, shown = {}, []
    for stratum, prompts in strata.items():
        with tqdm.tqdm(total=len(prompts), desc=stratum, unit="video") as bar:
            fields = ("prompt", "frames", "height", "width", "fps", "seed")
            requests = [Request(**{name: getattr(p, name) for name in fields}) for p in prompts]
            videos = generate(
                generator,
                requests,
                settings=settings,
                rows=options.rows,
                progress=lambda done, total, bar=bar: bar.update(done - bar.n),
            )
        facts = [_facts(p.prompt) for p in prompts]
        clips = truths[stratum]
        rates = [p.fps for p in prompts]
        states = [clip.state for clip in clips if clip.state is not None]
        tables = {
            "truth": text_alignment.score_prompts([c.video for c in clips], facts, fps=rates, states=states),
            "reconstruction": text_alignment.score_prompts(
                reconstructions(frozen, clips), facts, fps=rates, states=states
            ),
            "sample": text_alignment.score_prompts(videos, facts, fps=rates),
            "shuffled captions": text_alignment.shuffled(text_alignment.parse_all(videos, fps=rates), facts),
            "first frame held": text_alignment.frozen(videos, facts, fps=rates),
        }
        results[stratum] = {name: text_alignment.aggregate(table) for name, table in tables.items()}
        share = SHEET_CLIPS // len(strata)
        names = ("count", "color", "shape", "size", "direction", "relation")
        for k, prompt in enumerate(prompts[:share]):
            row = {name: float(tables["sample"][name][k]) for name in names}
            shown.append((videos[k], f"{stratum}: {prompt.prompt}", report.note(row)))
        _save_sheet(options.out / f"{stratum.replace(' ', '_')}.png", shown[-len(prompts[:share]) :])
    _save_sheet(options.out / "samples.png", shown)
    _write(options, results, settings)  # last: scores.json says that all is there


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


def reconstructions(frozen: FrozenAutoencoder, clips: Sequence[Clip]) -> list[np.ndarray]:
    """Every clip through encoder and decoder."""
    return [np.asarray(frozen.decode(latent.latents[None]))[0] for latent in frozen.encode_clips(list(clips))]


def _score_autoencoder(
    options: argparse.Namespace, frozen: FrozenAutoencoder, truths: dict[str, list[Clip]]
) -> None:
    rows = {}
    for stratum, clips in truths.items():
        pairs = list(zip([c.video for c in clips], reconstructions(frozen, clips), strict=True))
        ones = np.ones(len(pairs))
        rows[stratum] = {
            name: text_alignment.bootstrap(np.array([measure(a, b) for a, b in pairs]), ones)._asdict()
            for name, measure in (("psnr", fidelity.psnr), ("ssim", fidelity.ssim))
        }
        print(stratum, {k: round(v["mean"], 3) for k, v in rows[stratum].items()})
    (options.out / "autoencoder.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    command.run(main)
