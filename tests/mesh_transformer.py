"""A script for 8 fake CPU devices: the tiny transformer trained on several meshes, beside one device.

    python mesh_transformer.py STEPS [MESH ...]

Prints one JSON object: mesh -> {"loss": of each step, "gradient": |g - g1| / |g1| with g1 of one device,
"noise", "batch": hashes of what the devices drew and hold, "cut": mesh axes that cut a parameter in pieces}.
A mesh is written `fsdp=4,context=2`, with the attention (xla) and the remat (none) that it runs if they are
others, as in `fsdp=4,context=2 ring` or `fsdp=4,context=2 xla offload`;
"one" is one device and comes first.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
from typing import Any

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


def digest(values: Any) -> str:
    """Of the bytes of a tree of arrays."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(values):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def run(name: str, steps: int, one_gradient: Any) -> tuple[dict[str, Any], Any]:
    """What the module's docstring says of one mesh, and the gradient."""
    sides, *rest = name.split(" ")
    attention, remat = rest + ["xla", "none"][len(rest) :]
    sizes = {} if name == "one" else {k: int(v) for k, v in (part.split("=") for part in sides.split(","))}
    batch = make_batch()
    encoder = text.TextEncoder(**text.SIZES["bytes_test"])
    model = Transformer(
        patch_width=16, text_encoder=encoder, attention=attention, remat=remat, **SIZES["test"]
    )
    objective = Objective(known={"none": 0.5, "first_frame": 0.5}, forcing=0.2)

    def init_params(key):
        small = jax.tree.map(lambda x: x[:1], batch)
        params = model.init(key, small.tokens, jnp.zeros(small.segment.shape), small)["params"]
        noise = [0.02 * jax.random.normal(key, x.shape) for x in jax.tree.leaves(params)]
        return jax.tree.map(jnp.add, params, jax.tree.unflatten(jax.tree.structure(params), noise))

    def loss_fn(params, frozen, batch, key):
        return objective(key, functools.partial(model.apply, {"params": params}), batch)

    transform = optimizer.make_optimizer("muon", learning_rate=1e-3, total_steps=100)
    abstract = state.abstract_state(init_params, transform)
    devices = jax.devices()[:1] if name == "one" else jax.devices()
    table = [
        (pattern, dataclasses.replace(place, least=8) if isinstance(place, rules.Fsdp) else place)
        for pattern, place in rules.TRANSFORMER_RULES
    ]
    with context.use(mesh.make_mesh(**sizes, devices=devices)) as current:
        shardings = rules.state_shardings(abstract, current, rules=table)
        train = state.init_state(init_params, transform, key=rng.key(0, "init"), shardings=shardings)
        named = {str(axis) for x in jax.tree.leaves(shardings.params) for axis in x.spec if axis is not None}
        cut = {axis for axis in named if current.shape[axis] > 1}
        placed = context.placer(current)(batch)
        key = rng.key(0, "step", 0)
        gradient = jax.jit(jax.grad(lambda *a: loss_fn(*a)[0]))(train.params, {}, placed, key)
        gradient = np.concatenate([np.ravel(x) for x in jax.tree.leaves(gradient)])
        one = gradient if one_gradient is None else one_gradient
        noise = jax.jit(conditioning.token_noise)(key, placed)
        step_fn = step.make_step(loss_fn, transform, shardings=shardings)
        losses = []
        for number in range(steps):
            train, metrics = step_fn(train, {}, placed, rng.key(0, "step", number))
            losses.append(float(metrics["loss"]))
    found = {
        "loss": losses,
        "gradient": float(np.linalg.norm(gradient - one) / np.linalg.norm(one)),
        "noise": digest(noise),
        "batch": digest(placed),
        "cut": sorted(cut),
    }
    return found, one


if __name__ == "__main__":
    steps, names = int(sys.argv[1]), ["one", *sys.argv[2:]]
    results, one = {}, None
    for name in names:
        results[name], one = run(name, steps, one)
    print(json.dumps(results))
