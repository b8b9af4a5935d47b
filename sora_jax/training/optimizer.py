"""Optimisers: Muon on the block matrices and AdamW on the rest, or AdamW alone.

    update = -learning_rate(step) * (direction + weight_decay * multiplier * parameter)

`direction` is Adam's (Kingma & Ba 2015, arXiv 1412.6980; decoupled decay: Loshchilov & Hutter 2019,
arXiv 1711.05101) or Muon's orthogonalised momentum (Jordan et al. 2024, kellerjordan.github.io/posts/muon;
optax's implementation). Gradients are clipped by their global norm first. Which parameter is a matrix, and
how much each decays, is said by ordered path rules (`tree.match`), outside the modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from sora_jax import tree
from sora_jax.types import Params

# What Muon takes: "i" marks an input axis, "o" an output axis, of a parameter's LAST axes; every axis before
# them is a batch of independent matrices, as `nn.scan` stacks them. None: AdamW.
MATRIX_RULES: tuple[tuple[str, str | None], ...] = (
    (r"block.*/kernel$", "io"),
    (r".*", None),
)

# Multipliers of weight_decay.
DECAY_RULES: tuple[tuple[str, float], ...] = (
    (r"kernel$", 1.0),
    (r".*", 0.0),
)


def make_schedule(
    learning_rate: float,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    cooldown_steps: int = 0,
    cooldown: Literal["linear", "1-sqrt"] = "1-sqrt",
) -> Callable[[Any], jax.Array]:
    """Linear warm-up, constant, cooldown: `step` (from 0, array or int) -> learning rate, float32.

    Step s < warmup_steps has (s + 1) / warmup_steps of the rate, so that no step is wasted on a rate of 0. Of
    the last `cooldown_steps`, the step at share x of the way, x in (0, 1), has 1 - x ("linear") or
    1 - sqrt(x) ("1-sqrt": Haegele et al. 2024, arXiv 2405.18392) of it; x is taken at the middle of a step,
    so that the last step still moves.

    Raises:
      ValueError: warm-up and cooldown are longer than total_steps together, or an unknown cooldown.
    """
    if warmup_steps + cooldown_steps > total_steps:
        raise ValueError(
            f"warmup_steps {warmup_steps} + cooldown_steps {cooldown_steps} exceed total_steps {total_steps}:"
            " shorten one, or train for longer"
        )
    if cooldown not in ("linear", "1-sqrt"):
        raise ValueError(f"cooldown {cooldown!r} is neither 'linear' nor '1-sqrt'")

    def schedule(step: Any) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        warm = jnp.minimum(1.0, (step + 1.0) / max(warmup_steps, 1))
        share = jnp.clip((step + 0.5 - (total_steps - cooldown_steps)) / max(cooldown_steps, 1), 0.0, 1.0)
        share = share if cooldown_steps else jnp.zeros_like(share)
        cool = 1.0 - share if cooldown == "linear" else 1.0 - jnp.sqrt(share)
        return learning_rate * warm * cool

    return schedule


def make_optimizer(
    name: Literal["muon", "adamw"],
    *,
    learning_rate: float,
    total_steps: int,
    adam_learning_rate: float = 1e-3,
    warmup_steps: int = 0,
    cooldown_steps: int = 0,
    cooldown: Literal["linear", "1-sqrt"] = "1-sqrt",
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    decay_rules: Sequence[tuple[str, float]] = DECAY_RULES,
    matrix_rules: Sequence[tuple[str, str | None]] = MATRIX_RULES,
    b1: float = 0.9,
    b2: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.95,
    consistent_rms: float | None = None,
) -> optax.GradientTransformation:
    """The whole chain: clip -> direction -> decay -> rate.

    Args:
      name: "muon" (block matrices by Muon, the rest by AdamW) or "adamw" (all by AdamW).
      learning_rate: peak; Muon's for "muon" (of the order of 1e-2), AdamW's for "adamw".
      total_steps: end of the cooldown; without a cooldown only a bound.
      adam_learning_rate: peak of the AdamW part; read by "muon" only.
      warmup_steps, cooldown_steps, cooldown: see `make_schedule`; shared by both parts.
      weight_decay: decoupled, multiplied by the learning rate of the parameter's part and by its decay rule.
      clip_norm: bound of the gradient's global norm before anything else; None = off.
      decay_rules: (regex over the path, multiplier of weight_decay).
      matrix_rules: (regex over the path, axes as in `MATRIX_RULES`, None = AdamW); read by "muon" only.
      b1, b2, eps: Adam's.
      momentum: Muon's (Nesterov).
      consistent_rms: None scales Muon's update by sqrt(max(1, out / in)) (Jordan); a number r by
        r sqrt(max(in, out)), so that its RMS is about r as Adam's is about 0.2 (Liu et al. 2025, arXiv
        2502.16982).

    Raises (at `init`):
      ValueError: rules that are not total or not alive (`tree.match`), or axes that a parameter does not
        have.
    """
    rate = make_schedule(
        1.0,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        cooldown_steps=cooldown_steps,
        cooldown=cooldown,
    )
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)
    if name == "adamw":
        direction = adam
        peaks = optax.scale(learning_rate)
    elif name == "muon":

        def labels(params: Params) -> Any:
            return _labels(params, matrix_rules)

        parts = sorted({f"muon:{axes}" for _, axes in matrix_rules if axes is not None})
        muon = {part: _muon(part.removeprefix("muon:"), momentum, consistent_rms) for part in parts}
        direction = optax.partition({"adam": adam, **muon}, labels)
        muon_rates = {part: optax.scale(learning_rate) for part in parts}
        peaks = optax.partition({"adam": optax.scale(adam_learning_rate), **muon_rates}, labels)
    else:
        raise ValueError(f"optimizer {name!r} is neither 'muon' nor 'adamw'")
    return optax.chain(
        optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm),
        direction,
        _decay(weight_decay, decay_rules),
        peaks,
        optax.scale_by_schedule(lambda step: -rate(step)),
    )


def _labels(params: Params, matrix_rules: Sequence[tuple[str, str | None]]) -> Any:
    """Tree of "adam" or "muon:<axes>", checked against each parameter's number of axes."""

    def label(path: str, leaf: Any, axes: str | None) -> str:
        if axes is None:
            return "adam"
        if set(axes) != {"i", "o"} or len(axes) > leaf.ndim:
            raise ValueError(
                f"matrix_rules: {axes!r} does not fit {path!r} of shape {leaf.shape}: give 'i' and 'o' for "
                "its last axes, e.g. 'io', or None for AdamW"
            )
        return f"muon:{axes}"

    leaves = tree.flatten(params)
    axes = tree.match(matrix_rules, list(leaves), what="matrix_rules")
    return jax.tree.unflatten(
        jax.tree.structure(params), [label(path, leaf, axes[path]) for path, leaf in leaves.items()]
    )


def _muon(axes: str, momentum: float, consistent_rms: float | None) -> optax.GradientTransformation:
    """Muon on parameters whose last axes are `axes`; the axes before are a batch of matrices."""

    def places(leaf: Any, side: str) -> tuple[int, ...]:
        return tuple(leaf.ndim - len(axes) + k for k, axis in enumerate(axes) if axis == side)

    def numbers(params: Params) -> Any:
        return jax.tree.map(
            lambda leaf: optax.contrib.MuonDimensionNumbers(
                reduction_axis=places(leaf, "i"), output_axis=places(leaf, "o")
            ),
            params,
        )

    def scale(leaf: jax.Array) -> jax.Array:
        fan_in = math.prod(leaf.shape[axis] for axis in places(leaf, "i"))
        fan_out = math.prod(leaf.shape[axis] for axis in places(leaf, "o"))
        if consistent_rms is None:
            return leaf * math.sqrt(max(1.0, fan_out / fan_in))
        return leaf * consistent_rms * math.sqrt(max(fan_in, fan_out))

    return optax.chain(
        optax.contrib.scale_by_muon(beta=momentum, weight_dimension_numbers=numbers),
        optax.stateless(lambda updates, params: jax.tree.map(scale, updates)),
    )


def _decay(weight_decay: float, rules: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Adds weight_decay * multiplier * parameter to each update. The rules are checked at init."""

    def init(params: Params) -> optax.EmptyState:
        tree.match_tree(rules, params, what="decay_rules")
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Params | None = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("the optimiser's update needs the parameters: update(updates, state, params)")
        multipliers = tree.match_tree(rules, params, what="decay_rules")
        updates = jax.tree.map(
            lambda change, parameter, multiplier: change + weight_decay * multiplier * parameter,
            updates,
            params,
            multipliers,
        )
        return updates, state

    return optax.GradientTransformation(init, update)
