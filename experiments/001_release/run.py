"""Trains the release model from nothing, in resumable pieces, and scores it.

    python experiments/001_release/run.py --tier cpu --run ~/release --minutes 60

Every stage is one public command of sora_jax, printed before it runs. A finished stage is skipped, an
unfinished one resumes from its checkpoint, so the same line is repeated until all is done. `--minutes` bounds
this call: the stage that is running saves and stops by the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from sora_jax import stages
from sora_jax.stages import Stage

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
NAMES = ("autoencoder", "freeze", "latents", "transformer", "export", "evaluate", "floors")
SHIPPED = "gpu-128px"  # whose autoencoder the gpu tier takes: a convolution, it is as good at 128 px


def stages_of(tier: str, run: Path, *, more: bool = False) -> list[Stage]:
    """Every stage of a tier, in the order of `NAMES`; `more`: the gpu tier's transformer is trained on."""
    ae, frozen, latents, dit, model = (
        str(run / name) for name in ("autoencoder", "frozen", "latents", "transformer", "model")
    )
    if tier == "gpu":
        frozen = SHIPPED
    prompts = str(run / "prompts.jsonl")
    table = {
        "autoencoder": (
            ["sora_jax.train", "--config", f"configs/autoencoder.py:{tier}", "--workdir", ae],
            run / "autoencoder/finished",
        ),
        "freeze": (
            ["sora_jax.export", "autoencoder", "--workdir", ae, "--out", frozen],
            run / "frozen/model.json",
        ),
        "latents": (
            [
                *("sora_jax.make_latents", "--config", f"configs/latents.py:{tier}"),
                *("--autoencoder", frozen, "--out", latents, "--prompts", prompts),
                *(("--workers", "14") if tier == "gpu" else ()),
            ],
            run / "latents/manifest.json",
        ),
        "transformer": (
            [
                *(
                    "sora_jax.train",
                    "--config",
                    f"configs/dit.py:{tier}{'_more' if more else ''}",
                    "--workdir",
                    dit,
                ),
                *(f"--config.autoencoder={frozen}", f"--config.data.latents={latents}"),
            ],
            run / "transformer/finished",
        ),
        "export": (
            [
                *("sora_jax.export", "model", "--workdir", dit, "--autoencoder", frozen, "--out", model),
                *("--steps", "20", "--shift", "4"),
            ],
            run / "model/model.json",
        ),
        "evaluate": (
            [
                *("sora_jax.evaluate", "text", "--checkpoint", model),
                *("--prompts", prompts, "--out", str(run / "scores")),
            ],
            run / "scores/scores.json",
        ),
        "floors": (
            [
                *("sora_jax.evaluate", "autoencoder", "--checkpoint", model),
                *("--prompts", prompts, "--out", str(run / "scores")),
            ],
            run / "scores/autoencoder.json",
        ),
    }
    names = NAMES[2:] if tier == "gpu" else NAMES
    return [Stage(name=name, arguments=table[name][0], result=table[name][1]) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", choices=("smoke", "cpu", "gpu"), default="cpu")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run, outside the repository")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after this long")
    parser.add_argument("--more", action="store_true", help="gpu tier: train on what is shipped, not anew")
    parser.add_argument("--scratch", action="store_true", help="do not start from what is shipped")
    parser.add_argument("--until", choices=NAMES, default=NAMES[-1], help="last stage to run")
    options = parser.parse_args()
    if options.more and (options.tier != "gpu" or options.scratch):
        parser.error("--more is for --tier gpu without --scratch; the cpu tier goes on from what is shipped")
    todo = stages_of(options.tier, options.run.resolve(), more=options.more)
    if options.scratch:
        todo = [
            dataclasses.replace(s, arguments=[*s.arguments, "--config.start_from="])
            if s.arguments[0] == "sora_jax.train"
            else s
            for s in todo
        ]
    return stages.run(todo, root=REPOSITORY, minutes=options.minutes, until=options.until)


if __name__ == "__main__":
    raise SystemExit(main())
