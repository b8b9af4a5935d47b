"""A script for 8 fake CPU devices: trains the toy on several meshes, and moves a checkpoint between two.

Prints one JSON object: {"<mesh>": {"loss": [...], "cut": paths that are not copied, "kernel": [[...]]}}.
"""

from __future__ import annotations

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
MESHES = {"single": None, "fsdp": {"fsdp": 4}, "three": {"fsdp": 2, "tensor": 2}}


def run(name: str, *, save: Path | None = None, load: Path | None = None) -> dict[str, dict]:
    """Three steps on a mesh, and, with `load`, the last two from another mesh's checkpoint of step 1."""
    devices = jax.devices()[:1] if MESHES[name] is None else jax.devices()
    transform = toy.make_optimizer(100)
    abstract = state.abstract_state(toy.init_params, transform)
    with context.use(mesh.make_mesh(**(MESHES[name] or {}), devices=devices)) as current_mesh:
        shardings = rules.state_shardings(abstract, current_mesh, rules=RULES)
        step_fn = step.make_step(toy.loss_fn, transform, shardings=shardings)
        place = context.placer(current_mesh)

        def go(current: Any, first: int, last: int) -> tuple[Any, list[float]]:
            losses = []
            for number, batch in zip(range(first, last), toy.batches(first), strict=False):
                current, metrics = step_fn(current, toy.FROZEN, place(batch), rng.key(1, number))
                losses.append(float(metrics["loss"]))
            return current, losses

        current = state.init_state(toy.init_params, transform, key=rng.key(0), shardings=shardings)
        current, first = go(current, 0, 1)
        if save is not None:
            with checkpoint.Checkpointer(save, config={}) as checkpointer:
                checkpointer.save(current)
        current, rest = go(current, 1, 3)
        results = {name: describe(current, shardings, first + rest)}
        if load is not None:
            with checkpoint.Checkpointer(load, config={}) as checkpointer:
                current = checkpointer.restore(rules.with_shardings(abstract, shardings))
            current, losses = go(current, 1, 3)
            results[f"moved to {name}"] = describe(current, shardings, losses)
        return results


def describe(current: Any, shardings: Any, losses: list[float]) -> dict[str, Any]:
    """What the test looks at."""
    same = jax.tree.map(
        lambda leaf, wanted: leaf.sharding.is_equivalent_to(wanted, leaf.ndim), current, shardings
    )
    assert all(jax.tree.leaves(same)), "the step lost a sharding"
    cut = [path for path, leaf in tree.flatten(current).items() if not leaf.sharding.is_fully_replicated]
    return {"loss": losses, "cut": cut, "kernel": np.asarray(current.params["head"]["kernel"]).tolist()}


if __name__ == "__main__":
    jax.config.update("jax_numpy_rank_promotion", "raise")
    assert jax.device_count() == 8
    saved = Path(sys.argv[1])
    results = {**run("fsdp", save=saved), **run("single", load=saved), **run("three", load=saved)}
    print(json.dumps(results))
