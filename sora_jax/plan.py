"""Compiles what a config runs for a TPU slice that is not there, and says what it takes.

    python -m sora_jax.plan --config configs/dit.py:7b --topology v5p:4x4x4 --mesh fsdp=16,context=4 \\
        --frames 121 --height 720 --width 1280 --out plan.json

The program is the real one: the step of `sora_jax.train`, the sampler of `sora_jax.sample` (`--what sample`)
or the decoder (`--what decode`). Needs libtpu (`pip install 'sora_jax[tpu]'`), and no TPU. With `--search`,
tries meshes, remat and pieces of a batch, and names the fastest that fits. With `--topology local --runs 20`,
compiles for the devices that are here, runs the program, and holds what it takes against the estimate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sora_jax import build, command
from sora_jax.sampling.request import Settings
from sora_jax.sharding import mesh as mesh_lib
from sora_jax.sharding import plan_report
from sora_jax.sharding.plan_chips import LOCAL


def main(arguments: Sequence[str]) -> int:
    """Entry point; 0 if the program (or one that the search found) fits, 1 if not."""
    parser = command.parser(
        "What a config takes on a TPU slice: memory, collectives, a bound of its time. Compiled, not run.",
        example="python -m sora_jax.plan --config configs/dit.py:s --topology v5e:2x2 --mesh fsdp=4 "
        "--frames 1 --height 512 --width 512",
    )
    parser.add_argument(
        "--config", required=True, help="file.py[:variant]; --config.key=value overrides an entry"
    )
    parser.add_argument(
        "--topology", required=True, help="chip and sides of a slice: v5p:4x4x4, v6e:8x8, v5e:4x4; or local"
    )
    parser.add_argument(
        "--mesh", default="", help="axis=devices,...; what is not named is 1, data what is left"
    )
    parser.add_argument("--what", choices=build.WHATS, default="train", help="the program")
    for side in ("frames", "height", "width"):
        parser.add_argument(f"--{side}", type=int, required=True, help="pixels of the clip of a row")
    parser.add_argument(
        "--rows", type=int, default=None, help="of the batch; default one for a data x fsdp share"
    )
    parser.add_argument(
        "--autoencoder", default="4x8x8", help="size of the autoencoder, for ratio and channels"
    )
    parser.add_argument("--steps", type=int, default=30, help="of the sampler")
    parser.add_argument("--guidance_scale", type=float, default=4.0, help="of the sampler; 1 = off")
    parser.add_argument("--runs", type=int, default=0, help="with --topology local: run it so many times")
    parser.add_argument("--search", action="store_true", help="try meshes, remat and pieces of a batch")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="the search begins no compilation after so long"
    )
    parser.add_argument("--out", type=Path, default=None, help="the plan(s) as JSON")
    parser.add_argument("--hlo", type=Path, default=None, help="the compiled program's text")
    arguments, overrides = command.split_overrides(arguments)
    options = parser.parse_args(arguments)
    if options.topology != LOCAL:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    config = command.load_config(options.config, overrides)
    with command.checking_usage():
        request = build.Request(
            topology=options.topology,
            mesh=mesh_lib.parse(options.mesh),
            what=options.what,
            size=build.Size(frames=options.frames, height=options.height, width=options.width),
            rows=options.rows,
            autoencoder=options.autoencoder,
            settings=Settings(steps=options.steps, guidance_scale=options.guidance_scale),
            runs=options.runs,
        )
        if options.search:
            plans = build.search(config, request, minutes=options.minutes, show=_show)
        else:
            plans = [build.plan(config, request, hlo=options.hlo)]
    if options.search and plans[0].fits:
        print("The fastest that fits:", end=" ")
    _show(plans[0])
    if options.out is not None:
        records = [plan.record() for plan in plans]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(records if options.search else records[0], indent=1) + "\n")
    return 0 if plans[0].fits else 1


def _show(plan: plan_report.Plan) -> None:
    print(plan_report.page(plan), end="\n\n", flush=True)


if __name__ == "__main__":
    command.run(main)
