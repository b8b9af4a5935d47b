"""Scores a model, or anybody's videos, beside floors and nulls.

    python -m sora_jax.evaluate text --checkpoint gpu-128px --out out/scores
    python -m sora_jax.evaluate modes --checkpoint gpu-128px --out out/modes
    python -m sora_jax.evaluate gains --checkpoint gpu-128px --out out/gains
    python -m sora_jax.evaluate autoencoder --checkpoint gpu-128px --out out/autoencoder
    python -m sora_jax.evaluate prompts --out out/benchmark
    python -m sora_jax.evaluate physics --videos DIR --manifest out/benchmark/manifest.jsonl --out out/physics
    python -m sora_jax.evaluate certify --out out/certificates
    python -m sora_jax.evaluate fidelity --real DIR --generated DIR --checkpoint gpu-128px --out out/fidelity
    python -m sora_jax.evaluate plausibility --checkpoint gpu-128px --out out/plausibility
    python -m sora_jax.evaluate phyworld --checkpoint RUN/model --law uniform --out out/phyworld
    python -m sora_jax.evaluate loss --checkpoint RUN/model --latents RUN/latents/heldout --out out/loss

Each subcommand is one file of this folder: `add_arguments(parser)` and `run(options) -> exit code`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from sora_jax import command
from sora_jax.evaluate import (
    autoencoder,
    certify,
    fidelity,
    gains,
    loss,
    modes,
    physics,
    phyworld,
    plausibility,
    prompts,
    text,
)

COMMANDS = {
    "text": text,
    "modes": modes,
    "gains": gains,
    "autoencoder": autoencoder,
    "prompts": prompts,
    "physics": physics,
    "certify": certify,
    "fidelity": fidelity,
    "plausibility": plausibility,
    "phyworld": phyworld,
    "loss": loss,
}


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = command.parser(
        "Score a model, or anybody's videos, beside floors and nulls.",
        example="python -m sora_jax.evaluate text --checkpoint gpu-128px --out out/scores",
    )
    parser.prog = "python -m sora_jax.evaluate"
    command.add_subcommands(parser, COMMANDS)
    options = parser.parse_args(arguments)
    with command.machine(options) if hasattr(options, "mesh") else contextlib.nullcontext():
        options.out.mkdir(parents=True, exist_ok=True)
        return COMMANDS[options.what].run(options)
