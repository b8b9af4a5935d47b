"""A script for 8 fake CPU devices: the tiny transformer's loss and two training steps on several meshes.

Prints one JSON object: {"<mesh>": [loss of step 0, loss of step 1, sum of the noise drawn]}.
"""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import patches, rng, text_bytes
from sora_jax.diffusion import conditioning
from sora_jax.diffusion.objective import Objective
from sora_jax.models import text
from sora_jax.models.transformer import SIZES, Transformer
from sora_jax.sharding import context, mesh, rules
from sora_jax.training import optimizer, state, step

MESHES = {
    "single": None,
    "data": {"data": 8},
    "data x fsdp": {"data": 2, "fsdp": 4},
    "fsdp x context": {"data": 1, "fsdp": 4, "context": 2},
}
CAPTIONS = ("a red circle moving left", "two blue squares", "a bar")


def make_batch() -> patches.PackedBatch:
    """Eight rows, each a clip, an image and another clip of other sizes."""
    draw = rng.host(0, "mesh batch")

    def clip(number: int, shape: tuple[int, int, int]) -> patches.Segment:
        latents = draw.normal(size=(*shape, 4)).astype(np.float32)
        caption = text_bytes.encode(CAPTIONS[number % 3])
        return patches.segment(latents, ratio=(4, 8, 8), patch=(1, 2, 2), fps=8, clip=number, text=caption)

    shapes = ((3, 4, 4), (1, 6, 4), (2, 4, 6))
    rows = [[clip(3 * r + k, shape) for k, shape in enumerate(shapes)] for r in range(8)]
    return patches.pack_rows(rows, row_tokens=32, row_text=64, max_segments=3)


def run(sizes: dict[str, int] | None) -> list[float]:
    """Two steps on a mesh; None is one device."""
    batch = make_batch()
    encoder = text.TextEncoder(**text.SIZES["bytes_test"])
    model = Transformer(patch_width=16, text_encoder=encoder, **SIZES["test"])
    objective = Objective(known={"none": 0.5, "first_frame": 0.5}, forcing=0.2)

    def init_params(key):
        small = jax.tree.map(lambda x: x[:1], batch)
        params = model.init(key, small.tokens, jnp.zeros(small.segment.shape), small)["params"]
        noise = [0.02 * jax.random.normal(key, x.shape) for x in jax.tree.leaves(params)]
        return jax.tree.map(jnp.add, params, jax.tree.unflatten(jax.tree.structure(params), noise))

    def loss_fn(params, frozen, batch, key):
        loss, _ = objective(key, functools.partial(model.apply, {"params": params}), batch)
        return loss, {"noise": jnp.sum(conditioning.token_noise(key, batch))}

    transform = optimizer.make_optimizer("muon", learning_rate=1e-2, total_steps=10)
    abstract = state.abstract_state(init_params, transform)
    devices = jax.devices()[:1] if sizes is None else jax.devices()
    with context.use(mesh.make_mesh(**(sizes or {}), devices=devices)) as current:
        shardings = rules.state_shardings(abstract, current)
        train = state.init_state(init_params, transform, key=rng.key(0, "init"), shardings=shardings)
        step_fn = step.make_step(loss_fn, transform, shardings=shardings)
        values = []
        for number in range(2):
            train, metrics = step_fn(train, {}, context.placer(current)(batch), rng.key(0, "step", number))
            values.append(float(metrics["loss"]))
        return [*values, float(metrics["noise"])]


if __name__ == "__main__":
    print(json.dumps({name: run(sizes) for name, sizes in MESHES.items()}))
