"""Optimisers: Muon on the block matrices and AdamW on the rest, or AdamW alone.

    update = -learning_rate(step) * (direction + weight_decay * multiplier * parameter)

`direction` is Adam's (Kingma & Ba 2015, arXiv 1412.6980; decoupled decay: Loshchilov & Hutter 2019,
arXiv 1711.05101) or Muon's orthogonalised momentum (Jordan et al. 2024, kellerjordan.github.io/posts/muon;
optax's implementation). Gradients are clipped by their global norm first. Which parameter is a matrix, how
much each decays and how fast it learns is said by ordered path rules (`tree.match`), outside the modules.

A run may leave its length open (`open_ended`): it then trains at a constant rate, and a copy of its state
that was given a cooldown (`begin_cooldown`) ends at any step. So one run gives models of several lengths
(Haegele et al. 2024, arXiv 2405.18392).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

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

# Multipliers of the learning rate; `mup.rate_rules` gives others.
RATE_RULES: tuple[tuple[str, float], ...] = ((r".*", 1.0),)

Cooldown = Literal["linear", "1-sqrt"]
NEVER = 2**31 - 1  # the step at which the cooldown of an open-ended run begins


def make_schedule(
    learning_rate: float,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    cooldown_steps: int = 0,
    cooldown: Cooldown = "1-sqrt",
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
    _check_cooldown(cooldown)

    def schedule(step: Any) -> jax.Array:
        start = total_steps - cooldown_steps if cooldown_steps else NEVER
        share = _share_of_cooldown(step, start=start, steps=cooldown_steps)
        return learning_rate * _warm(step, warmup_steps) * _cool(share, cooldown)

    return schedule


def _check_cooldown(cooldown: str) -> None:
    if cooldown not in ("linear", "1-sqrt"):
        raise ValueError(f"cooldown {cooldown!r} is neither 'linear' nor '1-sqrt'")


def _warm(step: Any, warmup_steps: int) -> jax.Array:
    return jnp.minimum(1.0, (jnp.asarray(step, jnp.float32) + 1.0) / max(warmup_steps, 1))


def _share_of_cooldown(step: Any, *, start: Any, steps: Any) -> jax.Array:
    """How much of the cooldown is over at the middle of a step, 0 to 1."""
    since = jnp.asarray(step, jnp.float32) + 0.5 - jnp.asarray(start, jnp.float32)
    return jnp.clip(since / jnp.maximum(jnp.asarray(steps, jnp.float32), 1.0), 0.0, 1.0)


def _cool(share: jax.Array, cooldown: str) -> jax.Array:
    return 1.0 - share if cooldown == "linear" else 1.0 - jnp.sqrt(share)


class OpenSchedule(NamedTuple):
    """State of an open-ended run's schedule: steps done, and the cooldown's first step and length."""

    count: jax.Array
    start: jax.Array
    steps: jax.Array


def _open_ended(warmup_steps: int, cooldown: Cooldown) -> optax.GradientTransformation:
    """Scales by minus the rate (peak 1) of `make_schedule`, its cooldown read from the state."""
    _check_cooldown(cooldown)

    def init(params: Params) -> OpenSchedule:
        zero = jnp.zeros((), jnp.int32)
        return OpenSchedule(zero, jnp.full((), NEVER, jnp.int32), zero + 1)

    def update(updates: Any, state: Any, params: Params | None = None) -> tuple[Any, OpenSchedule]:
        share = _share_of_cooldown(state.count, start=state.start, steps=state.steps)
        rate = _warm(state.count, warmup_steps) * _cool(share, cooldown)
        return jax.tree.map(lambda x: -rate * x, updates), state._replace(count=state.count + 1)

    return optax.GradientTransformation(init, update)


def _of_length(
    total_steps: int, warmup_steps: int, cooldown_steps: int, cooldown: Cooldown
) -> optax.GradientTransformation:
    """Scales by minus the rate (peak 1) of `make_schedule`."""
    rate = make_schedule(
        1.0,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        cooldown_steps=cooldown_steps,
        cooldown=cooldown,
    )
    return optax.scale_by_schedule(lambda step: -rate(step))


def begin_cooldown(opt_state: Any, *, steps: int) -> Any:
    """The state of an `open_ended` optimiser, whose rate from now on cools down to 0 within `steps` steps.

    Raises:
      ValueError: `steps` is below 1, the optimiser is not open-ended, or its cooldown has begun.
    """
    if steps < 1:
        raise ValueError(f"a cooldown of {steps} steps: give 1 or more")
    found: list[OpenSchedule] = []

    def begin(node: Any) -> Any:
        if not isinstance(node, OpenSchedule):
            return node
        found.append(node)
        if int(node.start) != NEVER:
            raise ValueError(
                f"the cooldown has begun at step {int(node.start)}: begin it from a state before"
            )
        return node._replace(start=jnp.copy(node.count), steps=jnp.full((), steps, jnp.int32))

    changed = jax.tree.map(begin, opt_state, is_leaf=lambda node: isinstance(node, OpenSchedule))
    if not found:
        raise ValueError("the optimiser has no open end: make it with open_ended=True")
    return changed


def make_optimizer(
    name: Literal["muon", "adamw"],
    *,
    learning_rate: float,
    total_steps: int,
    adam_learning_rate: float = 1e-3,
    warmup_steps: int = 0,
    cooldown_steps: int = 0,
    cooldown: Cooldown = "1-sqrt",
    open_ended: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    rate_rules: Sequence[tuple[str, float]] = RATE_RULES,
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
      open_ended: the rate stays constant after the warm-up until `begin_cooldown`; `total_steps` and
        `cooldown_steps` are not read, so that runs of all lengths share one compiled step.
      weight_decay: decoupled, multiplied by the learning rate of the parameter's part and by its decay rule.
      clip_norm: bound of the gradient's global norm before anything else; None = off.
      rate_rules: (regex over the path, multiplier of the learning rate of the parameter's part).
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
    if open_ended:
        schedule = _open_ended(warmup_steps, cooldown)
    else:
        schedule = _of_length(total_steps, warmup_steps, cooldown_steps, cooldown)
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
        *([] if tuple(rate_rules) == RATE_RULES else [_scale_by_path(rate_rules)]),
        schedule,
    )


def _scale_by_path(rules: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Each update times what the first rule that matches its path says. The rules are checked at init."""

    def init(params: Params) -> optax.EmptyState:
        tree.match_tree(rules, params, what="rate_rules")
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Params | None = None) -> tuple[Any, Any]:
        multipliers = tree.match_tree(rules, updates, what="rate_rules")
        return jax.tree.map(lambda change, multiplier: change * multiplier, updates, multipliers), state

    return optax.GradientTransformation(init, update)


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
