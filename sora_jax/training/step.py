"""One step of training: gradients, update, moving average, and what to log about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import einops
import jax
import jax.numpy as jnp
import optax

from sora_jax.types import Key, Params, TrainState

Metrics = dict[str, jax.Array]
LossFn = Callable[[Params, Any, Any, Key], tuple[jax.Array, Metrics]]
StepFn = Callable[[TrainState, Any, Any, Key], tuple[TrainState, Metrics]]


def ema_decay_at(step: Any, *, decay: float) -> jax.Array:
    """The moving average's decay after `step` completed steps: min(decay, (1 + step) / (10 + step)).

    The warm-up keeps the first, poor parameters from weighing on a short run's average.
    """
    step = jnp.asarray(step, jnp.float32)
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def make_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float = 0.999,
    accumulate: int = 1,
    shardings: Any = None,
    donate: bool = True,
) -> StepFn:
    """The jitted `step_fn(state, frozen, batch, key) -> (state, metrics)`.

    Args:
      loss_fn: `(params, frozen, batch, key) -> (scalar, metrics)`; metrics are scalars.
      optimizer: as the state was made with.
      ema_decay: of the moving average of the parameters; see `ema_decay_at`.
      accumulate: the batch is cut into this many equal pieces along the first axis of every leaf, and
        gradients, loss and metrics are the mean over them; piece k draws from `fold_in(key, k)`. 1 = off.
      shardings: TrainState of shardings of the result (those of its making); None = as the compiler likes.
      donate: the incoming state's buffers are reused and must not be read again.

    The metrics are loss_fn's, and "loss", "grad_norm" (before clipping), "update_norm", "param_norm" (after
    the update) and "finite": false if any of these four is not, so that no parameter that is not finite goes
    unseen.

    Raises:
      ValueError: loss_fn's metrics use one of these names, or the batch does not divide (both when traced).
    """

    def mean_gradient(params: Params, frozen: Any, batch: Any, key: Key) -> tuple[jax.Array, Metrics, Params]:
        gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
        if accumulate == 1:
            (loss, metrics), gradients = gradient_fn(params, frozen, batch, key)
            return loss, metrics, gradients

        def one(totals: Any, piece: Any) -> tuple[Any, None]:
            number, batch = piece
            result = gradient_fn(params, frozen, batch, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, totals, result), None

        pieces = (jnp.arange(accumulate, dtype=jnp.uint32), _cut(batch, accumulate))
        first = jax.tree.map(lambda leaf: leaf[0], pieces[1])
        shapes = jax.eval_shape(gradient_fn, params, frozen, first, key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        totals, _ = jax.lax.scan(one, zeros, pieces)
        (loss, metrics), gradients = jax.tree.map(lambda leaf: leaf / accumulate, totals)
        return loss, metrics, gradients

    def step_fn(state: TrainState, frozen: Any, batch: Any, key: Key) -> tuple[TrainState, Metrics]:
        loss, metrics, gradients = mean_gradient(state.params, frozen, batch, key)
        if shardings is not None:
            # Where the weights lie, and only then cut as the optimiser's state is: left to itself the
            # partitioner sums whole gradients (all-reduce) where each device needs a part (reduce-scatter).
            gradients = jax.lax.with_sharding_constraint(gradients, shardings.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay_at(state.step, decay=ema_decay)
        ema = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.ema, params)
        norms = {
            "loss": loss,
            "grad_norm": optax.global_norm(gradients),
            "update_norm": optax.global_norm(updates),
            "param_norm": optax.global_norm(params),
        }
        taken = sorted({*norms, "finite"} & set(metrics))
        if taken:
            raise ValueError(f"loss_fn's metrics may not be called {taken}: the step has its own")
        finite = jnp.all(jnp.isfinite(jnp.stack(list(norms.values()))))
        state = TrainState(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
        return state, {**metrics, **norms, "finite": finite}

    out_shardings = None if shardings is None else (shardings, None)
    return jax.jit(step_fn, donate_argnums=(0,) if donate else (), out_shardings=out_shardings)


def _cut(batch: Any, pieces: int) -> Any:
    """Each leaf `[b ...]` as `[pieces b/pieces ...]`.

    Piece k has rows k, k + pieces, ..., so that every device of a mesh has its share of each piece.
    """

    def one(leaf: jax.Array) -> jax.Array:
        if leaf.shape[0] % pieces:
            raise ValueError(
                f"a batch of {leaf.shape[0]} rows cannot be cut into accumulate={pieces} equal pieces"
            )
        return einops.rearrange(leaf, "(row piece) ... -> piece row ...", piece=pieces)

    return jax.tree.map(one, batch)
