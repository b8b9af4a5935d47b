"""Trains the release model from nothing, in resumable pieces, and scores it.

    python experiments/001_release/run.py --tier cpu --run ~/release --minutes 60

Every stage is one public command of sora_jax, printed before it runs. A finished stage is skipped, an
unfinished one resumes from its checkpoint, so the same line is repeated until all is done. `--minutes` bounds
this call: the stage that is running saves and stops by the clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
STAGES = ("autoencoder", "freeze", "latents", "transformer", "export", "evaluate", "floors")


def stages(tier: str, run: Path) -> dict[str, tuple[list[str], Path]]:
    """Stage -> (arguments of `python -m`, the file or folder that stands when it is finished)."""
    ae, frozen, latents, dit, model = (
        str(run / name) for name in ("autoencoder", "frozen", "latents", "transformer", "model")
    )
    prompts = str(run / "prompts.jsonl")
    return {
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
            ],
            run / "latents/manifest.json",
        ),
        "transformer": (
            [
                *("sora_jax.train", "--config", f"configs/dit.py:{tier}", "--workdir", dit),
                *(f"--config.autoencoder={frozen}", f"--config.data.latents={latents}"),
            ],
            run / "transformer/finished",
        ),
        "export": (
            [
                *("sora_jax.export", "model", "--workdir", dit, "--autoencoder", frozen, "--out", model),
                *("--steps", "20", "--shift", "2"),
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tier", choices=("smoke", "cpu", "gpu"), default="cpu")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run, outside the repository")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop and save after this long")
    parser.add_argument("--scratch", action="store_true", help="do not start from what is shipped")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last stage to run")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    for name, (arguments, result) in stages(options.tier, options.run.resolve()).items():
        if result.exists():
            print(f"{name}: finished ({result})", flush=True)
        else:
            left = (deadline - time.monotonic()) / 60
            if left < 0.5:
                print(f"{name}: not begun, the time is up; repeat the same line to go on", flush=True)
                return 75
            if options.scratch and arguments[0] == "sora_jax.train":
                arguments = [*arguments, "--config.start_from="]
            if arguments[0] in ("sora_jax.train", "sora_jax.make_latents"):
                arguments = [*arguments, "--minutes", f"{left:.2f}"]
            print(f"{name}: python -m {' '.join(arguments)}", flush=True)
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            code = subprocess.run(
                [sys.executable, "-m", *arguments], cwd=REPOSITORY, env=environment, check=False
            ).returncode
            if code:
                return code
            if not result.exists():
                print(f"{name}: stopped by the clock; repeat the same line to go on", flush=True)
                return 75
        if name == options.until:
            break
    print("all is finished", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
