"""What can be had at sampling for nothing, or for less? Quality against evaluations of the network.

The same prompts and seeds under each setting: number of steps, sampler, shift of the times, guidance and its
interval, step caching. Quality is the text scores (`evaluate text`) of one and of two objects; the price is
the evaluations of the network per video, both sides of guidance counted, and seconds on this machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import command
from sora_jax.diffusion import sampler
from sora_jax.evaluate import held_out, sampling
from sora_jax.evaluation import text_alignment
from sora_jax.sampling import choosing, generate
from sora_jax.sampling.request import Generator, Request, Settings
from sora_jax.worlds.parse import parse_prompt

STRATA = ("one object", "two objects")
SCORES = ("color", "count", "shape", "direction")
# What is changed of the model's own settings.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"steps": 8},
    {"steps": 16},
    {"steps": 30},
    {"steps": 50},
    {"steps": 8, "sampler": "dpm2m"},
    {"steps": 16, "sampler": "dpm2m"},
    {"steps": 10, "sampler": "heun"},
    {"shift": 1.0},
    {"shift": 2.0},
    {"shift": 8.0},
    {"guidance_scale": 1.0},
    {"guidance_scale": 2.0},
    {"guidance_scale": 6.0},
    {"guidance_interval": (0.0, 0.9)},
    {"guidance_interval": (0.5, 1.0)},
    {"guidance_interval": (0.8, 1.0)},
    {"cache": 0.05},
    {"cache": 0.1},
    {"cache": 0.2},
    {"steps": 50, "cache": 0.1},
    {"tries": 2},
    {"tries": 4},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate gains`."""
    parser.add_argument("--checkpoint", required=True, help="a shipped model's name, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of gains.json and gains.md")
    held_out.add_arguments(parser)
    sampling.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Writes gains.json and gains.md, a row at a time; rows that are there are not made again."""
    with command.checking_usage():
        generator, settings = sampling.load(options)
    strata, _ = held_out.load(options)
    prompts = [p for name in STRATA for p in strata.get(name, [])]
    if not prompts:
        raise command.UsageError(f"no prompts of {' or '.join(STRATA)}")
    fields = ("prompt", "frames", "height", "width", "fps", "seed")
    requests = [Request(**{name: getattr(p, name) for name in fields}) for p in prompts]
    facts = [parse_prompt(p.prompt) for p in prompts]
    path = options.out / "gains.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() and not options.distributed else []
    for changes in VARIANTS:
        name = ", ".join(f"{k} {v}" for k, v in changes.items()) or "as the card says"
        if any(row["name"] == name for row in rows):
            continue
        own = dataclasses.replace(settings, **changes)
        videos, skipped, seconds = sample(generator, requests, settings=own, rows=options.rows)
        table = text_alignment.score_prompts(videos, facts, fps=[p.fps for p in prompts])  # type: ignore[arg-type]
        scores = {}
        for stratum in STRATA:
            mine = np.array([p.stratum == stratum for p in prompts])
            if mine.any():
                scores[stratum] = {s: float(np.nanmean(table[s][mine])) for s in SCORES}
        rows.append(
            {
                "name": name,
                "evaluations": evaluations(own, skipped=skipped),
                "seconds": seconds / len(requests),
                "scores": scores,
            }
        )
        report = {"checkpoint": str(options.checkpoint), "prompts": len(prompts), "rows": rows}
        path.write_text(json.dumps(report | {"settings": dataclasses.asdict(settings)}, indent=1))
        (options.out / "gains.md").write_text(markdown(rows))
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    return 0


def sample(
    generator: Generator, requests: Sequence[Request], *, settings: Settings, rows: int
) -> tuple[list[np.ndarray], float, float]:
    """Videos, mean steps that a cache saved, seconds of sampling (the first batch, which compiles, apart)."""
    grids = [generator.grid(request) for request in requests]
    videos, saved, seconds, timed = [], [], 0.0, 0
    for start in range(0, len(requests), rows):
        group = [[k] for k in range(start, min(start + rows, len(requests)))]
        begun = time.perf_counter()
        skipped = 0
        if settings.tries > 1:
            asked = [requests[k] for (k,) in group]
            latents = generate.sample_latents(generator, asked, settings=settings, rows=rows)
        else:
            made = generate.sample_rows(generator, requests, grids, group, settings=settings, pad_rows=rows)
            latents, skipped = made.latents, made.skipped
        if start:
            seconds, timed = seconds + time.perf_counter() - begun, timed + len(group)
        saved.append(skipped)
        videos += [np.asarray(generator.autoencoder.decode(clip[None]))[0] for clip in latents]
    whole = seconds * len(requests) / timed if timed else float("nan")
    return videos, float(np.mean(saved)), whole


def evaluations(settings: Settings, *, skipped: float = 0.0) -> float:
    """Calls of the network per video: both sides of guidance where it is on, twice a step for heun; all seeds
    of a video that is chosen from several, and the choice."""
    times = np.asarray(sampler.schedule(settings.steps, shift=settings.shift))
    low, high = settings.guidance_interval
    at = times[:-1]
    if settings.sampler == "heun":
        at = np.concatenate([at, times[1:-1]])
    guided = (at >= low) & (at <= high) if settings.guidance_scale != 1 else np.zeros(len(at), bool)
    each = (len(at) + guided.sum()) * (1 - skipped / settings.steps)
    return float(each if settings.tries == 1 else settings.tries * (each + choosing.EVALUATIONS))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    names = [f"{stratum}: {s}" for stratum in STRATA for s in SCORES]
    lines = [
        "| | evaluations | s / video | " + " | ".join(names) + " | sum |",
        "|---" * (len(names) + 4) + "|",
    ]
    for row in rows:
        values = [100 * row["scores"].get(stratum, {}).get(s, np.nan) for stratum in STRATA for s in SCORES]
        cells = " | ".join(f"{v:.0f}" for v in values)
        lines.append(
            f"| {row['name']} | {row['evaluations']:.0f} | {row['seconds']:.2f} | {cells} | "
            f"{np.nansum(values):.0f} |"
        )
    return "\n".join(lines) + "\n"
