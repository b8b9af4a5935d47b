"""Turns finished training runs into the folders that are sampled and shipped.

python -m sora_jax.export autoencoder --workdir run/autoencoder --out run/frozen
python -m sora_jax.export model --workdir run/transformer --autoencoder run/frozen --out run/model
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sora_jax import build, command, folder
from sora_jax.diffusion import sampler
from sora_jax.sampling.request import Settings
from sora_jax.training import checkpoint
from sora_jax.types import Params


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = command.parser(
        "Export a trained autoencoder, or a trained model with it, as a folder of bfloat16 weights.",
        example="python -m sora_jax.export autoencoder --workdir run/autoencoder --out run/frozen",
    )
    parser.add_argument("what", choices=("autoencoder", "model"))
    parser.add_argument("--workdir", type=Path, required=True, help="of the training run")
    parser.add_argument(
        "--step", type=int, help="of the checkpoint, such as the best one's; default: the latest"
    )
    parser.add_argument("--autoencoder", type=Path, help="its exported folder (for what = model)")
    parser.add_argument("--out", type=Path, required=True)
    usual = Settings()
    parser.add_argument("--steps", type=int, default=usual.steps, help="how the model is best sampled")
    parser.add_argument("--guidance_scale", type=float, default=usual.guidance_scale, help="likewise")
    parser.add_argument("--sampler", choices=sampler.SAMPLERS, default=usual.sampler, help="likewise")
    parser.add_argument("--shift", type=float, default=usual.shift, help="likewise")
    options = parser.parse_args(arguments)
    meta, params = _trained(options.workdir, options.step)
    config = command.table(meta["config"])
    if config.kind != {"autoencoder": "autoencoder", "model": "transformer"}[options.what]:
        raise command.UsageError(
            f"{options.workdir} trained a {config.kind}, not what {options.what} exports"
        )
    match options.what:
        case "autoencoder":
            frozen = build.freeze_autoencoder(config, params)
            model = {"autoencoder": {**config.model.to_dict(), "dtype": "float32"}}
            statistics = {name: x.tolist() for name, x in frozen.statistics._asdict().items()}
            model |= {"fingerprint": frozen.fingerprint, "statistics": statistics, "commit": meta["commit"]}
            folder.write(options.out, model, autoencoder=frozen.params)
        case _:
            if options.autoencoder is None:
                raise command.UsageError("a model is exported with its autoencoder: give --autoencoder")
            model, autoencoder, _ = folder.read(options.autoencoder)
            trained_on, *_ = folder.read(config.autoencoder)
            if model["fingerprint"] != trained_on["fingerprint"]:
                raise command.UsageError(
                    f"{options.autoencoder} is autoencoder {model['fingerprint']}, and {options.workdir} was "
                    f"trained on {trained_on['fingerprint']}: give --autoencoder {config.autoencoder}"
                )
            # How it was trained on its own hardware is not how it is used on any.
            anywhere = {"dtype": "float32", "attention": "xla", "remat": "none"}
            model |= {"transformer": config.model.to_dict() | anywhere, "patch": list(config.patch)}
            model |= {"prediction": config.prediction, "transformer_commit": meta["commit"]}
            names = ("steps", "guidance_scale", "sampler", "shift")
            model["sampling"] = {name: getattr(options, name) for name in names}
            folder.write(options.out, model, autoencoder=autoencoder, transformer=params)
    print(f"wrote {options.out}")
    return 0


def _trained(workdir: str | Path, step: int | None) -> tuple[dict[str, Any], Params]:
    """(what stands beside a checkpoint of a training run, the moving average of its parameters)."""
    checkpoints = Path(workdir) / "checkpoints"
    if not checkpoints.is_dir():
        raise FileNotFoundError(f"{workdir} is no training run (no checkpoints/ in it)")
    return checkpoint.read_meta(checkpoints, step=step), checkpoint.read_params(
        checkpoints, step=step, which="ema"
    )


if __name__ == "__main__":
    command.run(main)
