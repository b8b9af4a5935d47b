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
from sora_jax.training import optimizer as optimizer_lib
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
    """

    model: Transformer
    apply: Callable[..., Any]
    objective: Objective
    loss_fn: LossFn
    optimizer: optax.GradientTransformation

    def init_params(self, key: Key, batch: PackedBatch, trained: Params) -> Params:
        """Fresh parameters for batches like this one, with `trained` ones in their place, if any."""
        first = jax.tree.map(lambda x: x[:1], batch)
        fresh = self.model.init(key, first.tokens, jnp.zeros(first.segment.shape), first)["params"]
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

    return Denoising(
        model=model,
        apply=apply,
        objective=objective,
        loss_fn=loss_fn,
        optimizer=optimizer(config.optimizer, total_steps=config.train.total_steps),
    )


def optimizer(config: Table, *, total_steps: int) -> optax.GradientTransformation:
    """The optimiser of a table of `make_optimizer`'s keywords."""
    return optimizer_lib.make_optimizer(total_steps=total_steps, **config.to_dict())
