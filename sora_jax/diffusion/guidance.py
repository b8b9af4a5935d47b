"""Classifier-free guidance: two opinions of one velocity function, extrapolated.

`uncond + guidance_scale (cond - uncond)` (Ho & Salimans 2022, arXiv 2207.12598), with the caption dropped on
the unconditional side just as in training, and only where the noise level lies in an interval (Kynkäänniemi
et al. 2024, arXiv 2404.07724).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.diffusion import conditioning
from sora_jax.types import PackedBatch, VelocityFn


def guided(
    velocity_fn: VelocityFn,
    *,
    guidance_scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
    unconditional: Callable[[PackedBatch], PackedBatch] = conditioning.drop_all_captions,
) -> VelocityFn:
    """`velocity_fn` with classifier-free guidance; itself where `guidance_scale` is 1.

    Args:
      guidance_scale: 1 = off, 0 = unconditional.
      interval: (lowest, highest) level t, both included, at which a token is guided. An evaluation in which
        no unknown token's level lies inside makes no unconditional call.
      unconditional: the batch without its captions; to be given where `batch.text` holds embeddings.

    Raises:
      ValueError: an interval that is not 0 <= lowest <= highest <= 1.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"guidance interval {interval} is not within 0 <= lowest <= highest <= 1")
    if guidance_scale == 1:
        return velocity_fn

    def guided_velocity(
        xt: Float[Array, "b n p"], t: Float[Array, "b n"], batch: PackedBatch
    ) -> Float[Array, "b n p"]:
        free = (jnp.asarray(batch.segment) > 0) & ~jnp.asarray(batch.known)
        inside = free & (t >= low) & (t <= high)
        # Two calls rather than one of twice the rows: the same CPU time within the noise (4 layers of width
        # 256, 128 tokens: 32 against 30 ms), half the memory, and outside the interval one is not made.
        cond = velocity_fn(xt, t, batch)

        def extrapolate() -> Array:
            uncond = velocity_fn(xt, t, unconditional(batch))
            return jnp.where(inside[..., None], uncond + guidance_scale * (cond - uncond), cond)

        if (low, high) == (0, 1):
            return extrapolate()
        return jax.lax.cond(jnp.any(inside), extrapolate, lambda: cond)

    return guided_velocity
