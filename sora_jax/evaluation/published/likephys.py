"""LikePhys's plausibility preference error (Yuan et al. 2025, arXiv 2510.11512).

Of pairs of a valid and an invalid clip, rendered alike, and a model's denoising loss at noise level t:

    L(clip) = mean over levels and draws of loss(clip, t, noise)
    error   = share of the pairs in which L(valid) > L(invalid)

so chance is 1/2 and 0 is best. All that is asked of a model is `loss(clip, t, noise) -> float`, where `noise`
is a seed: the same seed, level and clip size must give the same noise. Both clips of a pair are met with the
same levels and seeds.

Faults as released: a tie is no error, so a model whose loss does not depend on the clip has an error of 0,
not of 1/2; every valid clip of a group is compared with every invalid one, whose scenes differ, so the looks
of a scene enter the comparison. A third one is in its evaluator, not in this formula: for models that predict
a velocity, what is compared with the noise is computed from the CLEAN latents, which it should not have.

    corrected   matched pairs only, a tie counts 1/2.

Verified against the released code (YuanJianhao508/LikePhys, evaluator.py and read_exp_final.py, commit
2098db1): the mean over levels (10, evenly spaced over the schedule), the strict comparison, all pairs of a
group, averages over groups, then over kinds of violation; the seed that is set anew for every clip. Not
verified: the paper's own text and its data.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax import patches, rng, text_bytes
from sora_jax.diffusion import conditioning, path
from sora_jax.types import Clip, Key, PackedBatch, Params

Loss = Callable[[Clip, float, int], float]
LEVELS = tuple((k + 0.5) / 10 for k in range(10))
TEXT_STEP = 32  # rows of text are padded to a multiple of this, so that few lengths are compiled


def preference_error_as_released(valid: Float[np.ndarray, " v"], invalid: Float[np.ndarray, " i"]) -> float:
    """Share of all v x i pairs of one group with L(valid) > L(invalid); a tie is right."""
    return float(np.mean(valid[:, None] > invalid[None, :]))


def preference_error_corrected(
    valid: Float[np.ndarray, " pairs"], invalid: Float[np.ndarray, " pairs"]
) -> float:
    """Share of the matched pairs with L(valid) > L(invalid); a tie counts 1/2."""
    _same_length(valid, invalid)
    return float(np.mean((valid > invalid) + 0.5 * (valid == invalid)))


def paired_losses(
    loss: Loss,
    pairs: Sequence[tuple[Clip, Clip]],
    *,
    levels: Sequence[float] = LEVELS,
    draws: int = 1,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "pairs levels"], Float[np.ndarray, "pairs levels"]]:
    """The losses of the valid and of the invalid clip of each pair, at each level, averaged over draws.

    Args:
      pairs: (valid, invalid) of one size, rate and caption.
      levels: of noise, 0 = data, 1 = noise.
      draws: of the noise per level.
      seed: of the noise.

    Raises:
      ValueError: clips of a pair that differ in more than what they show, or a loss that is not finite.
    """
    losses = np.zeros((2, len(pairs), len(levels)))
    for p, pair in enumerate(pairs):
        _check_pair(p, pair)
        for k, t in enumerate(levels):
            for draw in range(draws):
                noise = int(rng.host(seed, "likephys", p, k, draw).integers(2**31))
                for side, clip in enumerate(pair):
                    losses[side, p, k] += loss(clip, t, noise) / draws
    if not np.isfinite(losses).all():
        raise ValueError(f"the loss of pair {np.argwhere(~np.isfinite(losses))[0][1]} is not finite")
    return losses[0], losses[1]


def _check_pair(number: int, pair: tuple[Clip, Clip]) -> None:
    a, b = pair
    for name, x, y in (
        ("size", a.video.shape, b.video.shape),
        ("rate", a.fps, b.fps),
        ("caption", dict(a.captions), dict(b.captions)),
    ):
        if x != y:
            raise ValueError(f"pair {number}: {name} {x} and {y} differ: a pair differs in its physics alone")


def _same_length(valid: np.ndarray, invalid: np.ndarray) -> None:
    if valid.shape != invalid.shape or valid.ndim != 1 or not len(valid):
        raise ValueError(f"losses {valid.shape} and {invalid.shape}: give one of each per pair, at least one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VelocityLoss:
    """Our own model as a `Loss`: mean squared error of the velocity over the clip's tokens.

    Attributes:
      apply: (params, xt, t, batch) -> velocity; encode_text: (params, batch) -> batch; params: as those of a
        `sampling.generate.Generator`.
      encode: videos `[1 f h w 3]` uint8 -> normalised latents, of `models.frozen_autoencoder`.
      ratio, patch: of the latents.
      phrasing: of the caption; None drops it.
    """

    apply: Callable[[Params, Array, Array, PackedBatch], Array]
    encode_text: Callable[[Params, PackedBatch], PackedBatch]
    params: Params
    encode: Callable[[Any], Array]
    ratio: patches.Grid
    patch: patches.Grid
    phrasing: str | None = "short"

    def __call__(self, clip: Clip, t: float, noise: int) -> float:
        """The loss of `clip` at level `t`, with the noise that the seed `noise` gives on the clip's grid."""
        batch = self.batch(clip)
        key = rng.key(noise, "likephys noise")
        error = _velocity_error(
            self.params, batch, jnp.float32(t), key, apply=self.apply, encode_text=self.encode_text
        )
        return float(error)

    def batch(self, clip: Clip) -> PackedBatch:
        """One row that holds the clip alone, as clip number 0, all of its tokens to be denoised."""
        caption = "" if self.phrasing is None else clip.captions[self.phrasing]
        segment = patches.segment(
            np.asarray(self.encode(clip.video[None]))[0],
            ratio=self.ratio,
            patch=self.patch,
            fps=clip.fps,
            clip=0,
            text=text_bytes.encode(caption),
        )
        text = -(-len(segment.text) // TEXT_STEP) * TEXT_STEP
        return patches.pack_rows([[segment]], row_tokens=len(segment.tokens), row_text=text, max_segments=1)


@functools.partial(jax.jit, static_argnames=("apply", "encode_text"))
def _velocity_error(
    params: Params, batch: PackedBatch, t: Array, key: Key, *, apply: Any, encode_text: Any
) -> Array:
    noise = conditioning.token_noise(key, batch)
    level = jnp.full(batch.segment.shape, t)
    xt = path.mix(batch.tokens, noise, t=level)
    target = path.velocity(batch.tokens, noise, t=level)
    seen = encode_text(params, batch._replace(tokens=xt))  # no network can read its answer there
    answer = apply(params, xt, level, seen).astype(jnp.float32)
    return jnp.mean((answer - target) ** 2)
