"""The held-out denoising loss and sample strips, watched during a transformer's training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, UInt8

from sora_jax import rng
from sora_jax.diffusion import objective
from sora_jax.evaluation import report
from sora_jax.types import PackedBatch, Params, TrainState

Apply = Callable[[Params, Array, Array, PackedBatch], Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingEvaluator:
    """Yields the velocity's loss of the EMA weights on fixed clips, with fixed noise and even levels.

    Attributes:
      apply: (params, xt, t, batch) -> velocity.
      batches: packed held-out clips, all of one shape.
    """

    apply: Apply
    batches: Sequence[PackedBatch]

    def run(self, state: TrainState) -> Iterator[tuple[str, float]]:
        """`heldout_loss`: token mean over uniform t; and `heldout_loss_t/k` over the k-th fifth of t."""
        key = rng.key(0, "held-out loss")
        rows = [_evaluate(state.ema, batch, key, apply=self.apply) for batch in self.batches]
        for name in ["", *(f"_t/{k}" for k in range(objective.BINS))]:
            weight = np.array([float(row[f"tokens{name}"]) for row in rows])
            value = np.array([float(row[f"loss{name}"]) for row in rows])
            yield f"heldout_loss{name}", float((weight * value).sum() / max(weight.sum(), 1.0))


@functools.partial(jax.jit, static_argnames="apply")
def _evaluate(params: Params, batch: PackedBatch, key: Array, *, apply: Apply) -> dict[str, Array]:
    velocity_fn: Any = functools.partial(apply, params)
    loss, metrics = objective.evaluation_loss(key, velocity_fn, batch)
    return {**metrics, "loss": loss}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleEvaluator:
    """Yields a contact sheet of a few prompts, sampled with the EMA weights.

    Attributes:
      draw: params -> the video `[f h w 3]` uint8 of every prompt.
      prompts: what they show.
    """

    draw: Callable[[Params], Sequence[UInt8[np.ndarray, "f h w 3"]]]
    prompts: Sequence[str]

    def run(self, state: TrainState) -> Iterator[tuple[str, np.ndarray]]:
        """`samples`: an image, a strip of frames per prompt."""
        yield "samples", report.contact_sheet(self.draw(state.ema), self.prompts)
