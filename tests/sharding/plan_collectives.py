"""A script for 8 fake CPU devices: the collectives of the tiny transformer's training step on two meshes.

Prints one JSON object: {"parameters": number of weights, "<mesh>": {kind: [count, bytes sent by a device]}}.
"""

from __future__ import annotations

import json

import jax

from sora_jax import build, command
from sora_jax.build import planned
from sora_jax.sampling.request import Settings
from sora_jax.sharding import context, plan_compile, plan_hlo, plan_traffic
from sora_jax.sharding import mesh as mesh_lib


def main() -> dict[str, object]:
    config = command.load_config("configs/dit.py:smoke", ["--config.optimizer.name=adamw"])
    size = build.Size(frames=17, height=64, width=64)
    found: dict[str, object] = {}
    for text in ("fsdp=8", "fsdp=4,context=2"):
        with context.use(mesh_lib.make_mesh(**mesh_lib.parse(text), devices=jax.devices())) as mesh:
            program = planned.program(
                config, "train", size, mesh, autoencoder="test", rows=None, settings=Settings()
            )
            compiled = plan_compile.compile_program(program.fn, program.args, program.static, platform="cpu")
        traffic = plan_traffic.collectives(plan_hlo.parse(compiled.text))
        found[text] = {kind: [t.count, t.bytes] for kind, t in traffic.items()}
        found["parameters"] = program.parameters
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
