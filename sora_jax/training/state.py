"""The training state: built under jit, straight into its shardings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sora_jax.types import Key, Params, TrainState

InitParams = Callable[[Key], Params]


def _build(key: Key, *, init_params: InitParams, optimizer: optax.GradientTransformation) -> TrainState:
    params = init_params(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy: the step donates its state, and a buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
    )


def abstract_state(init_params: InitParams, optimizer: optax.GradientTransformation) -> TrainState:
    """The state's shapes and dtypes, without computing or holding anything.

    Args:
      init_params: key -> parameters, float32.
      optimizer: of the parameters.
    """
    return jax.eval_shape(
        lambda: _build(jax.random.key(0), init_params=init_params, optimizer=optimizer),
    )


def init_state(
    init_params: InitParams,
    optimizer: optax.GradientTransformation,
    *,
    key: Key,
    shardings: Any = None,
) -> TrainState:
    """The state before the first step: step 0, EMA = parameters.

    Args:
      init_params: key -> parameters, float32, e.g. `lambda key: model.init(key, x)["params"]`.
      optimizer: of the parameters.
      key: e.g. `rng.key(seed, "init")`.
      shardings: TrainState of shardings (`sharding.rules.state_shardings`); None = the default device.

    Raises:
      ValueError: a parameter is not float32 (compute dtypes are a matter of the modules).
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract_state(init_params, optimizer).params):
        if leaf.dtype != jnp.float32:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(
                f"parameter {name} is {leaf.dtype}: parameters are float32, set the compute dtype instead"
            )

    def build(key: Key) -> TrainState:
        return _build(key, init_params=init_params, optimizer=optimizer)

    return jax.jit(build, out_shardings=shardings)(key)
