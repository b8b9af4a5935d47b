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
TIERS = ("smoke", "cpu", "cpu_more", "cpu_turns", "gpu", "gpu_more")
GOING_ON = ("cpu_more", "cpu_turns", "gpu_more")  # from what is shipped
LATENTS = {"gpu_more": "gpu"}  # tier -> its variant of configs/latents.py, where that is not its own
NAMES = (
    *("autoencoder", "freeze", "latents", "first", "first export"),
    *("transformer", "export", "evaluate", "floors"),
)
SHIPPED = "gpu-128px"  # whose autoencoder the gpu tier takes: a convolution, it is as good at 128 px


def stages_of(tier: str, run: Path) -> list[Stage]:
    """Every stage of a tier, in the order of `NAMES`.

    The gpu tier and those that go on from what is shipped (`cpu_more` in two parts) take the shipped
    autoencoder.
    """
    ae, frozen, latents, first, dit, model = (
        str(run / name) for name in ("autoencoder", "frozen", "latents", "first", "transformer", "model")
    )
    shipped = tier in ("gpu", *GOING_ON)
    if shipped:
        frozen = SHIPPED
    prompts = str(run / "prompts.jsonl")
    latents_config = f"configs/latents.py:{LATENTS.get(tier, tier)}"
    train = ("sora_jax.train", f"--config.autoencoder={frozen}", f"--config.data.latents={latents}")
    export = ("sora_jax.export", "model", "--autoencoder", frozen, "--steps", "20", "--shift", "4")
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
                *("sora_jax.make_latents", "--config", latents_config),
                *("--autoencoder", frozen, "--out", latents, "--prompts", prompts),
                *(("--workers", "14") if tier.startswith("gpu") else ()),
            ],
            run / "latents/manifest.json",
        ),
        "first": (
            [*train, "--config", "configs/dit.py:cpu_more", "--workdir", first],
            run / "first/finished",
        ),
        "first export": (
            [*export, "--workdir", first, "--out", f"{first}_model"],
            run / "first_model/model.json",
        ),
        "transformer": (
            [*train, "--config", f"configs/dit.py:{tier}", "--workdir", dit],
            run / "transformer/finished",
        ),
        "export": ([*export, "--workdir", dit, "--out", model], run / "model/model.json"),
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
    skipped = {"autoencoder", "freeze"} if shipped else set()
    if tier == "cpu_more":
        counts = ["--config", "configs/dit.py:cpu_counts", f"--config.start_from={first}_model"]
        table["transformer"] = ([*train, *counts, "--workdir", dit], table["transformer"][1])
    else:
        skipped |= {"first", "first export"}
    names = [name for name in NAMES if name not in skipped]
    return [Stage(name=name, arguments=table[name][0], result=table[name][1]) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run, outside the repository")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after this long")
    parser.add_argument("--scratch", action="store_true", help="do not start from what is shipped")
    parser.add_argument("--until", choices=NAMES, default=NAMES[-1], help="last stage to run")
    options = parser.parse_args()
    if options.scratch and options.tier in GOING_ON:
        parser.error(f"--tier {options.tier} goes on from what is shipped: leave out --scratch")
    todo = stages_of(options.tier, options.run.resolve())
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
