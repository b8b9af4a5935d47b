"""What a transformer's training step is made of, apart from its data: the same for a run and for its plan."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sora_jax import tree
from sora_jax.build import models
from sora_jax.build.models import Table
from sora_jax.diffusion.objective import Objective
from sora_jax.models.transformer import Transformer
from sora_jax.training import mup
from sora_jax.training import optimizer as optimizer_lib
from sora_jax.training.optimizer import RATE_RULES
from sora_jax.training.step import LossFn
from sora_jax.types import Key, PackedBatch, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising:
    """A transformer and what trains it.

    Attributes:
      model: its parameters are `init_params`'s.
      apply: (params, xt, t, batch) -> velocity.
      objective: of the loss.
      loss_fn, optimizer: of the step.
      init_rules: multipliers of the initial values (`mup.init_rules`); none = as the modules make them.
    """

    model: Transformer
    apply: Callable[..., Any]
    objective: Objective
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    init_rules: mup.Rules = ()

    def init_params(self, key: Key, batch: PackedBatch, trained: Params) -> Params:
        """Fresh parameters for batches like this one, with `trained` ones in their place, if any."""
        first = jax.tree.map(lambda x: x[:1], batch)
        fresh = self.model.init(key, first.tokens, jnp.zeros(first.segment.shape), first)["params"]
        if self.init_rules:
            fresh = mup.rescale(fresh, self.init_rules)
        return tree.grow(trained, fresh)


def denoising(config: Table, *, channels: int) -> Denoising:
    """The parts of a transformer's config; `channels` of a latent.

    Raises:
      ValueError: an unknown size, or settings that the objective or the optimiser do not have.
    """
    model = models.transformer(config.model, patch_width=int(np.prod(config.patch)) * channels)
    apply = models.velocity_apply(model, prediction=config.prediction)
    objective = Objective(**config.objective.to_dict())

    def loss_fn(params: Params, frozen: Params, batch: PackedBatch, key: Key):
        return objective(key, functools.partial(apply, params), batch)

    table = config.get("mup")  # {base_width, base_head_dim}; without it, as the modules and the rates are
    init_rules, rate_rules = _mup(table, model, config.optimizer.name) if table else ((), RATE_RULES)
    return Denoising(
        model=model,
        apply=apply,
        objective=objective,
        loss_fn=loss_fn,
        optimizer=optimizer(config.optimizer, total_steps=config.train.total_steps, rate_rules=rate_rules),
        init_rules=init_rules,
    )


def _mup(table: Table, model: Transformer, name: Any) -> tuple[mup.Rules, mup.Rules]:
    """The rules of initial values and of learning rates."""
    head_dim = model.width // model.heads
    init_rules = mup.init_rules(head_dim=head_dim, base_head_dim=table.base_head_dim)
    rates = mup.rate_rules(width=model.width, base_width=table.base_width, optimizer=name)
    return init_rules, rates


def optimizer(
    config: Table, *, total_steps: int, rate_rules: mup.Rules = RATE_RULES
) -> optax.GradientTransformation:
    """The optimiser of a table of `make_optimizer`'s keywords, and of rules that no table holds."""
    return optimizer_lib.make_optimizer(total_steps=total_steps, rate_rules=rate_rules, **config.to_dict())
