"""A small but real training: a two-layer linen MLP on a regression batch that is a function of (seed, step).

As a script it trains in a process of its own: `python toy_training.py <workdir> <total_steps> [name=value
...]`; largest_file=N limits the bytes of every file.
"""

from __future__ import annotations

import functools
import itertools
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import rng
from sora_jax.training import checkpoint, log, loop, optimizer, state, step

SEED = 7
CONFIG = {"seed": SEED, "optimizer": {"learning_rate": 1e-2}}


class Mlp(nn.Module):
    """`[b 8]` -> `[b 3]`."""

    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.gelu(nn.Dense(self.width, name="block_in")(x))
        return nn.Dense(3, name="head")(x)


def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
    """Inputs and targets of the steps from `start` on; 16 rows each."""
    for number in itertools.count(start):
        generator = rng.host(SEED, "batch", number)
        x = generator.standard_normal((16, 8)).astype(np.float32)
        y = np.stack([np.sin(x.sum(1)), x[:, 0] * x[:, 1], np.abs(x[:, 2])], axis=1).astype(np.float32)
        yield {"x": x, "y": y}


def loss_fn(params: Any, frozen: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean square error of noisy inputs, so that the key matters; `frozen` is {"scale": 1.0}."""
    noise = 0.1 * jax.random.normal(key, batch["x"].shape)
    layers = {name: params[name] for name in ("block_in", "head")}
    error = Mlp().apply({"params": layers}, batch["x"] + noise) * frozen["scale"] - batch["y"]
    return jnp.mean(error**2), {"largest_error": jnp.max(jnp.abs(error))}


FROZEN = {"scale": np.float32(1.0)}


def init_params(key: jax.Array, *, ballast: int = 0) -> Any:
    """Parameters of `Mlp`, and `ballast` million numbers that make a save take its time."""
    params = dict(Mlp().init(key, jnp.zeros((1, 8)))["params"])
    return {**params, "ballast": jax.random.normal(key, (ballast, 10**6))} if ballast else params


def make_optimizer(total_steps: int) -> Any:
    """Muon on the first layer's kernel, AdamW on the rest."""
    return optimizer.make_optimizer(
        "muon", learning_rate=1e-2, total_steps=total_steps, warmup_steps=3, weight_decay=0.01
    )


def train(
    workdir: Path,
    total_steps: int,
    *,
    step_fn: Any = None,
    best_metric: str | None = None,
    ballast: int = 0,
    **options: Any,
) -> loop.Outcome:
    """Trains in `workdir`, from its latest checkpoint where there is one. The schedule is of 100 steps."""
    transform = make_optimizer(100)
    init = functools.partial(init_params, ballast=ballast)
    with checkpoint.Checkpointer(
        workdir / "checkpoints", config=CONFIG, keep=2, best_metric=best_metric
    ) as checkpointer:
        if checkpointer.latest_step is None:
            current = state.init_state(init, transform, key=rng.key(SEED, "init"))
        else:
            current = checkpointer.restore(state.abstract_state(init, transform))
        start = int(current.step)
        with log.Log(workdir, start_step=start, total_steps=total_steps, tensorboard=False) as logger:
            return loop.train(
                current,
                step_fn or step.make_step(loss_fn, transform, ema_decay=0.99),
                batches=options.pop("batches", batches),
                seed=SEED,
                total_steps=total_steps,
                checkpointer=checkpointer,
                log=logger,
                frozen=FROZEN,
                **{"log_every": 5, "checkpoint_every": 5, **options},
            )


if __name__ == "__main__":
    settings = {name: int(value) for name, value in (text.split("=") for text in sys.argv[3:])}
    if largest := settings.pop("largest_file", 0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    outcome = train(Path(sys.argv[1]), int(sys.argv[2]), **settings)
    sys.exit(outcome.exit_code)
