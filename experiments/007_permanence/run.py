"""Full against factorised attention at equal FLOPs: does what a screen hid come back, and as what?

    python experiments/007_permanence/run.py --tier cpu --run ~/permanence --minutes 60

Two transformers of one size are trained on the same clips, without text, from the first five frames: in one
every token attends to its whole clip, in the other to its frame and to its place in turn. The second is
trained for as many more steps as its attention is cheaper by formula. Every stage is one public command of
sora_jax, printed before it runs; a finished one is skipped, an unfinished one resumes. What is scored stands
in RUN/results.json and RUN/results.md, and a contact sheet of both in RUN/samples.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sora_jax import build, command, stages
from sora_jax.data import video_files
from sora_jax.evaluation import benchmark, report
from sora_jax.evaluation.physics import permanence
from sora_jax.evaluation.physics import truth as truth_lib
from sora_jax.evaluation.physics.counting import BARELY
from sora_jax.evaluation.physics.shapes import SHAPES
from sora_jax.evaluation.physics.tracks import parse
from sora_jax.evaluation.text_alignment import bootstrap
from sora_jax.models import cost
from sora_jax.stages import Stage
from sora_jax.types import SceneState
from sora_jax.worlds.scene import COLORS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATTERNS = ("full", "factorised")
AUTOENCODER = "gpu-128px"
GIVEN, FRAMES, SIDE = 5, 33, 64
COLUMNS = ("truth", "reconstruction", "frozen", "linear")  # beside the samples
HIDING = ("reappearance", "punctuality", "place on return", "color on return", "shape on return")
SHOWN = 8  # clips of the contact sheet


class Tier(NamedTuple):
    """Clips scored, steps of the sampler."""

    clips: int
    steps: int


TIERS = {"smoke": Tier(4, 2), "cpu": Tier(192, 16)}


def config_of(tier: str) -> Any:
    """The training table of the model with full attention."""
    return command.load_config(f"{REPOSITORY}/configs/dit.py:permanence_{tier}")


def training_flops(tier: str, *, attended: float) -> int:
    """Of one step, if a token attends to so many tokens."""
    config = config_of(tier)
    frozen = build.load_autoencoder(AUTOENCODER)
    width = int(np.prod(config.patch)) * frozen.model.channels
    model = build.transformer(config.model, patch_width=width)
    sizes = {"rows": config.data.rows, "tokens": config.data.row_tokens, "text": config.data.row_text}
    return cost.count_training_flops(model, **sizes, attended=attended)


def step_counts(tier: str) -> dict[str, int]:
    """Pattern -> steps: as many FLOPs for both, what is masked left out."""
    config, ratio = config_of(tier), build.load_autoencoder(AUTOENCODER).ratio
    frames = 1 + (FRAMES - 1) // ratio[0]
    places = (SIDE // ratio[1] // config.patch[1]) * (SIDE // ratio[2] // config.patch[2])
    attended = {"full": frames * places, "factorised": (frames + places) / 2}
    flops = {name: training_flops(tier, attended=tokens) for name, tokens in attended.items()}
    steps = config.train.total_steps
    return {name: round(steps * flops["full"] / flops[name]) for name in PATTERNS}


def latents(tier: str, run: Path) -> Stage:
    """The training clips, encoded."""
    config = ("--config", f"configs/latents.py:permanence_{tier}")
    return Stage(
        name="latents",
        arguments=[
            *("sora_jax.make_latents", *config),
            *("--autoencoder", AUTOENCODER, "--out", f"{run}/latents"),
        ],
        result=run / "latents/manifest.json",
    )


def model(tier: str, run: Path, *, pattern: str, seed: int, steps: int) -> list[Stage]:
    """One transformer: trained, exported, scored."""
    folder, settings = run / f"{pattern}-{seed}", TIERS[tier]
    return [
        Stage(
            name=f"train {folder.name}",
            arguments=[
                *("sora_jax.train", "--config", f"configs/dit.py:permanence_{tier}"),
                *("--workdir", f"{folder}/transformer", f"--config.autoencoder={AUTOENCODER}"),
                f"--config.data.latents={run}/latents",
                f"--config.model.pattern={pattern}",
                f"--config.seed={seed}",
                f"--config.train.total_steps={steps}",
                f"--config.optimizer.cooldown_steps={steps // 3}",
            ],
            result=folder / "transformer/finished",
        ),
        Stage(
            name=f"export {folder.name}",
            arguments=[
                *("sora_jax.export", "model", "--workdir", f"{folder}/transformer"),
                *("--autoencoder", AUTOENCODER, "--out", f"{folder}/model"),
                *("--steps", f"{settings.steps}", "--guidance_scale", "1"),
            ],
            result=folder / "model/model.json",
        ),
        Stage(
            name=f"score {folder.name}",
            arguments=[
                *("sora_jax.evaluate", "physics", "--checkpoint", f"{folder}/model", "--untold"),
                *("--families", "occlusion", "--given", f"{GIVEN}", "--clips", f"{settings.clips}"),
                *("--frames", f"{FRAMES}", "--height", f"{SIDE}", "--width", f"{SIDE}", "--rows", "32"),
                *("--out", f"{folder}/scores"),
            ],
            result=folder / "scores/scores.json",
        ),
    ]


def around(video: np.ndarray, state: SceneState, *, fps: float) -> dict[str, float]:
    """What the benchmark does not ask; NaN where a clip has no such frame.

    - hidden while behind: share of the frames in which a screen hides all there is, that show nobody but the
      screen;
    - shape before it hides: of the made frames before that in which a thing is wholly seen, the share in
      which whoever is seen nearest has its shape. What is lost in hiding is what it has less afterwards.
    """
    tracks = parse(video, fps=fps)
    screens = [COLORS.index(b.color) for b, o in zip(state.bodies, state.occluder, strict=True) if o]
    someone = tracks.present & ~np.isin(tracks.hue, screens)
    clear, gone, right = truth_lib.clear(state), [], []
    for p in permanence.passages(state):
        things = ~np.array(state.occluder)
        gone += [f for f in range(p.start, p.stop) if state.visible[f][things].max() <= BARELY]
        for f in (f for f in range(GIVEN, p.start) if clear[f, p.body]):
            there = np.flatnonzero(someone[f])
            apart = np.linalg.norm(tracks.position[f, there] - state.position[f, p.body], axis=-1)
            form = tracks.form[f, there[apart.argmin()]] if len(there) else -1
            right.append(form == SHAPES.index(state.bodies[p.body].shape))
    return {
        "hidden while behind": float(1 - someone[gone].any(axis=1).mean()) if gone else np.nan,
        "shape before it hides": float(np.mean(right)) if right else np.nan,
    }


def collect(run: Path, *, steps: dict[str, int]) -> dict[str, Any]:
    """All scores that are there, by model, and the curves of what returns against how long it was hidden."""
    found: dict[str, Any] = {}
    for folder in sorted(run.glob("*-*/scores")):
        said = json.loads((folder / "scores.json").read_text())
        entries = benchmark.read(folder / benchmark.MANIFEST)
        items = [entry.item for entry in entries if entry.item is not None]
        truths = [benchmark.truth(item) for item in items]
        fps, states = truths[0].fps, [clip.state for clip in truths if clip.state is not None]
        by_id = {clip["id"]: clip["scores"] for clip in said["clips"]}
        curves = {}
        for name in HIDING:
            scores = [by_id[item.id].get(name) for item in items]
            values = [np.nan if score is None else score for score in scores]
            bins = permanence.by_length(values, states, fps=fps)
            curves[name] = [[b.least, b.most, b.mean, b.clips] for b in bins if b.clips]
        columns = {
            "truth": [clip.video for clip in truths],
            "frozen": [held(clip.video) for clip in truths],
            "sample": [video_files.read_video(folder / "videos" / item.video)[0] for item in items],
        }
        redrawn = np.zeros(len(items), bool)  # the thing is wholly seen in frames that the model makes
        for column, videos in columns.items():
            asked = [around(v, state, fps=fps) for v, state in zip(videos, states, strict=True)]
            for name in asked[0]:
                said["scores"].setdefault(name, {})[column] = _mean([one[name] for one in asked])
            if column == "truth":
                redrawn = np.array([not np.isnan(one["shape before it hides"]) for one in asked])
        shape = np.array([by_id[item.id].get("shape on return") for item in items], float)
        for name, mine in (("redrawn before", redrawn), ("last seen in given frames", ~redrawn)):
            said["scores"][f"shape on return, {name}"] = {"sample": _mean(shape[mine].tolist())}
        pattern = folder.parent.name.split("-")[0]
        told = {"steps": steps[pattern], "scores": said["scores"], "by hidden seconds": curves}
        found[folder.parent.name] = told
    return found


def _mean(values: list[float]) -> dict[str, float]:
    """Over the clips in which there was something to see."""
    seen = np.array([value for value in values if not np.isnan(value)])
    return bootstrap(seen, np.ones(len(seen)))._asdict()


def held(video: np.ndarray) -> np.ndarray:
    """The last given frame, held."""
    held = np.repeat(video[GIVEN - 1 : GIVEN], len(video) - GIVEN, axis=0)
    return np.concatenate([video[:GIVEN], held])


def table(found: dict[str, Any]) -> str:
    """The scores in Markdown: a metric a row, with 95 % intervals for the models."""
    models = list(found)
    some = found[models[0]]["scores"]
    lines = [
        f"| | {' | '.join(COLUMNS)} | {' | '.join(models)} |",
        "|---" * (1 + len(COLUMNS) + len(models)) + "|",
    ]
    for metric in some:
        cells = [f"{some[metric][c]['mean']:.2f}" if c in some[metric] else "" for c in COLUMNS]
        for name in models:
            s = found[name]["scores"][metric]["sample"]
            cells.append(f"**{s['mean']:.2f}** ({s['low']:.2f} to {s['high']:.2f})")
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| color on return, by seconds hidden | {' | '.join(models)} |",
        "|---" * (1 + len(models)) + "|",
    ]
    for k, (least, most, _, clips) in enumerate(found[models[0]]["by hidden seconds"]["color on return"]):
        cells = [f"{found[name]['by hidden seconds']['color on return'][k][2]:.2f}" for name in models]
        lines.append(f"| {least:g} to {most:g} ({clips} clips) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sheet(run: Path, names: list[str]) -> Path:
    """The first clips: the truth, then every model's sample."""
    entries = benchmark.read(run / names[0] / "scores" / benchmark.MANIFEST)
    items = [entry.item for entry in entries if entry.item is not None][:SHOWN]
    videos, said = [], []
    for item in items:
        videos.append(benchmark.truth(item).video)
        said.append(f"truth: {item.prompt}")
        for name in names:
            videos.append(video_files.read_video(run / name / "scores/videos" / item.video)[0])
            said.append(name)
    return report.save_png(
        run / "samples.png", report.contact_sheet(videos, said, frames=9, side=64, columns=1 + len(names))
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run, outside the repository")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after this long")
    options = parser.parse_args()
    tier, run, steps = options.tier, options.run.resolve(), step_counts(options.tier)
    todo = [latents(tier, run)]
    for seed in options.seeds:
        for pattern in PATTERNS:
            todo += model(tier, run, pattern=pattern, seed=seed, steps=steps[pattern])
    code = stages.run(todo, root=REPOSITORY, minutes=options.minutes)
    found = collect(run, steps=steps)
    if found:
        (run / "results.json").write_text(json.dumps(found, indent=1) + "\n")
        (run / "results.md").write_text(table(found))
        print(table(found))
        print(f"wrote {run}/results.json, results.md and {sheet(run, list(found))}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
