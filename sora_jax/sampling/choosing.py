"""Which of several seeds' videos is the best one, as the model itself can tell.

A diffusion model says how well a text explains a video: by how much less it errs about the noise in it if it
is told the text (Li et al. 2023, arXiv 2303.16203, which tells classes apart so). Among seeds of one prompt
this is a verifier that needs no other model (compare Ma et al. 2025, arXiv 2501.09732).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax import rng
from sora_jax.diffusion import conditioning, path
from sora_jax.nn import partition
from sora_jax.types import PackedBatch, Params

LEVEL = 0.9  # noise under which it is asked: where things find their number and their places
DRAWS = 4  # of the noise
EVALUATIONS = 2 * DRAWS  # of the network


@functools.partial(jax.jit, static_argnames=("apply", "encode_text"))
def surprise(
    params: Params,
    batch: PackedBatch,
    *,
    apply: Callable[..., Array],
    encode_text: Callable[[Params, PackedBatch], PackedBatch],
) -> Float[Array, "b s"]:
    """Log of the squared error of velocity with the text over that without, per clip: low = well explained.

    All clips meet the same noise, so that two seeds of one request differ by what they show. Known tokens
    stay as they are and do not count.

    Args:
      batch: made tokens, and captions.
    """
    told = encode_text(params, batch)
    empty = encode_text(params, conditioning.drop_all_captions(batch))
    untold = told._replace(text=empty.text, text_segment=empty.text_segment)
    free = (jnp.asarray(batch.segment) > 0) & ~jnp.asarray(batch.known)
    level = jnp.where(free, LEVEL, 0.0).astype(jnp.float32)
    same = batch._replace(clip=jnp.zeros_like(batch.clip))
    clips = jnp.asarray(batch.clip).shape[1]
    of_clip = jax.nn.one_hot(jnp.where(free, jnp.asarray(batch.segment), 0) - 1, clips)  # [b n s]

    def errors(key: Array) -> Float[Array, "2 b s"]:
        noise = conditioning.token_noise(key, same)
        mixed = path.mix(batch.tokens, noise, t=level)
        target = path.velocity(batch.tokens, noise, t=level)
        squared = [jnp.square(apply(params, mixed, level, one) - target).mean(-1) for one in (told, untold)]
        return jnp.stack([jnp.einsum("bn,bns->bs", side, of_clip) for side in squared])

    with_text, without = jax.lax.map(errors, jax.random.split(rng.key(0, "choose"), DRAWS)).sum(0)
    return partition.whole(jnp.log(jnp.maximum(with_text, 1e-12) / jnp.maximum(without, 1e-12)))
