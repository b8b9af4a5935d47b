"""The held-out denoising loss and sample strips, watched during a transformer's training."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8, UInt32

from sora_jax import rng
from sora_jax.diffusion import objective
from sora_jax.evaluation import report
from sora_jax.nn import partition
from sora_jax.types import Key, PackedBatch, Params, TrainState

Apply = Callable[[Params, Array, Array, PackedBatch], Array]


class ClipLosses(NamedTuple):
    """The velocity's loss of every clip at every level it was met at, in the order of the batches.

    Attributes:
      clip: its number in its source; one that came twice stands there twice.
      tokens: how many of its tokens count.
      t: the level of each round.
      loss: the mean squared error over those tokens, at that level.
    """

    clip: UInt32[np.ndarray, " clips"]
    tokens: Float[np.ndarray, " clips"]
    t: Float[np.ndarray, "clips rounds"]
    loss: Float[np.ndarray, "clips rounds"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutLoss:
    """A loss over clips.

    Attributes:
      mean: over their tokens.
      standard_error: of `mean`, over clips. The levels are spread over the clips more evenly than by chance,
        which it does not know of: it is never too small for that.
      per_clip: the mean of each over its rounds.
      clip, tokens: as in `ClipLosses`; no clip stands there twice.
    """

    mean: float
    standard_error: float
    per_clip: Float[np.ndarray, " clips"]
    clip: UInt32[np.ndarray, " clips"]
    tokens: Float[np.ndarray, " clips"]


def clip_losses(
    key: Key, apply: Apply, params: Params, batches: Iterable[PackedBatch], *, rounds: int = 1
) -> ClipLosses:
    """`objective.evaluation_errors` of every clip: a function of (key, clip) and the weights alone.

    What is compiled depends on `apply` and on shapes, not on `params`: models of one shape share it if they
    are given the same `apply` (`build.velocity_apply` gives equal models the same). A clip of which no token
    counts is left out.

    Args:
      key: the same for all that is to be compared; it is what makes `paired_difference` small.
      apply: (params, xt, t, batch) -> velocity.
      batches: packed clips, all of one shape.
      rounds: levels that each clip is met at.

    Raises:
      ValueError: no batch.
    """
    found = [(np.asarray(x.clip), _sums(params, x, key, apply=apply, rounds=rounds)) for x in batches]
    if not found:
        raise ValueError("there is no batch to take a loss of")
    parts = []
    for clip, sums in found:
        total, tokens, t = (np.asarray(x) for x in sums)
        real = tokens > 0
        parts.append((clip[real], tokens[real], t[real], total[real] / tokens[real][:, None]))
    return ClipLosses(*(np.concatenate(x) for x in zip(*parts, strict=True)))


@functools.partial(jax.jit, static_argnames=("apply", "rounds"))
def _sums(
    params: Params, batch: PackedBatch, key: Key, *, apply: Apply, rounds: int
) -> tuple[Float[Array, "b s r"], Float[Array, "b s"], Float[Array, "b s r"]]:
    """Of every segment: its counted tokens' errors added up, their number, and its level."""
    velocity_fn: Any = functools.partial(apply, params)
    errors = objective.evaluation_errors(key, velocity_fn, batch, rounds=rounds)
    numbers = jnp.arange(1, batch.clip.shape[1] + 1)
    mine = jnp.asarray(batch.segment)[None, :, :, None] == numbers[None, None, None]
    mine &= errors.counted[..., None]
    total = jnp.sum(jnp.where(mine, errors.error[..., None], 0.0), axis=2)
    t = jnp.max(jnp.where(mine, errors.t[..., None], 0.0), axis=2)
    tokens = jnp.sum(mine[0], axis=1, dtype=jnp.float32)
    by_clip = jnp.moveaxis(total, 0, -1), tokens, jnp.moveaxis(t, 0, -1)
    return tuple(partition.whole(x) for x in by_clip)  # type: ignore[return-value]


def token_mean(losses: ClipLosses, *, fifth: int | None = None) -> float:
    """The mean over tokens and rounds, of one fifth of t or of all; 0 if there is none."""
    bins = np.clip(np.floor(losses.t * np.float32(objective.BINS)), 0, objective.BINS - 1)
    weight = losses.tokens[:, None] * (np.ones_like(bins) if fifth is None else bins == fifth)
    return float((weight * losses.loss.astype(np.float64)).sum() / max(weight.sum(), 1.0))


def once(losses: ClipLosses) -> ClipLosses:
    """Each clip once, by number, as it was met first."""
    _, first = np.unique(losses.clip, return_index=True)
    return ClipLosses(*(x[first] for x in losses))


def held_out_loss(losses: ClipLosses) -> HeldOutLoss:
    """The loss over clips and how certain it is.

    Raises:
      ValueError: fewer than two clips, or one that stands there twice (see `once`).
    """
    losses_of, distinct = len(losses.clip), len(np.unique(losses.clip))
    if distinct < max(2, losses_of):
        raise ValueError(f"{losses_of} losses of {distinct} clips: give two clips or more, each once")
    per_clip = losses.loss.mean(axis=1, dtype=np.float64)
    mean, error = _weighted(per_clip, losses.tokens)
    return HeldOutLoss(
        mean=mean, standard_error=error, per_clip=per_clip, clip=losses.clip, tokens=losses.tokens
    )


def paired_difference(a: HeldOutLoss, b: HeldOutLoss) -> tuple[float, float]:
    """(a - b, its standard error) over the same clips, with what the clips have in common taken out.

    Raises:
      ValueError: losses of other clips, or of the same in another order.
    """
    if not (np.array_equal(a.clip, b.clip) and np.array_equal(a.tokens, b.tokens)):
        raise ValueError(
            f"losses of other clips ({len(a.clip)} and {len(b.clip)}): evaluate both models on the same"
        )
    return _weighted(a.per_clip - b.per_clip, a.tokens)


def _weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """A weighted mean and its standard error: of a ratio of two sums over clips, by the delta method."""
    share = weights / weights.sum()
    mean = float((share * values).sum())
    spread = float(np.sum((share * (values - mean)) ** 2))
    return mean, math.sqrt(spread * len(values) / (len(values) - 1))


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
        losses = clip_losses(rng.key(0, "held-out loss"), self.apply, state.ema, self.batches)
        yield "heldout_loss", token_mean(losses)
        for k in range(objective.BINS):
            yield f"heldout_loss_t/{k}", token_mean(losses, fifth=k)


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
