"""A script for 8 fake CPU devices: trains the toy on several meshes, and moves a checkpoint between two.

Prints one JSON object: {"<mesh>": {"loss": [...], "cut": parameters that are not copied}, "moved": bool}.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import toy_training as toy

from sora_jax import rng, tree
from sora_jax.sharding import context, mesh, rules
from sora_jax.training import checkpoint, state, step

RULES = ((r"kernel$", rules.Fsdp(least=8)), (r".*", rules.PartitionSpec()))
MESHES = {"single": None, "data": {}, "fsdp": {"fsdp": 4}, "three": {"fsdp": 2, "tensor": 2}}


def run(
    sizes: dict[str, int] | None, *, transform: Any, save: Path | None = None, load: Path | None = None
) -> dict:
    """Three steps from the start, or two from a checkpoint."""
    devices = jax.devices()[:1] if sizes is None else jax.devices()
    with context.use(mesh.make_mesh(**(sizes or {}), devices=devices)) as current_mesh:
        abstract = state.abstract_state(toy.init_params, transform)
        shardings = rules.state_shardings(abstract, current_mesh, rules=RULES)
        step_fn = step.make_step(toy.loss_fn, transform, shardings=shardings)
        if load is None:
            current = state.init_state(toy.init_params, transform, key=rng.key(0), shardings=shardings)
        else:
            with checkpoint.Checkpointer(load, config={}) as checkpointer:
                current = checkpointer.restore(rules.with_shardings(abstract, shardings))
        place, losses, start = context.placer(current_mesh), [], int(current.step)
        for number, batch in zip(range(start, 3), toy.batches(start), strict=False):
            current, metrics = step_fn(current, toy.FROZEN, place(batch), rng.key(1, number))
            losses.append(float(metrics["loss"]))
            if save is not None and number == 0:
                with checkpoint.Checkpointer(save, config={}) as checkpointer:
                    checkpointer.save(current)
        same = jax.tree.map(
            lambda leaf, wanted: leaf.sharding.is_equivalent_to(wanted, leaf.ndim), current, shardings
        )
        assert all(jax.tree.leaves(same)), "the step lost a sharding"
        cut = [path for path, leaf in tree.flatten(current).items() if not leaf.sharding.is_fully_replicated]
        return {"loss": losses, "cut": cut, "kernel": np.asarray(current.params["head"]["kernel"]).tolist()}


if __name__ == "__main__":
    jax.config.update("jax_numpy_rank_promotion", "raise")
    assert jax.device_count() == 8
    train = functools.partial(run, transform=toy.make_optimizer(100))
    saved = Path(sys.argv[1])
    results = {name: train(sizes, save=saved if name == "fsdp" else None) for name, sizes in MESHES.items()}
    results["moved"] = train(MESHES["three"], load=saved)
    results["moved to one"] = train(MESHES["single"], load=saved)
    print(json.dumps(results))
