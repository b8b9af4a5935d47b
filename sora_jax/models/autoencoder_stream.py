"""Encoding and decoding a video chunk by chunk, in memory that does not grow with its length.

    step = jax.jit(functools.partial(encode_stream, model=model))
    cache = encoder_cache(model, 1, height, width)
    for frames in chunks:  # 1 + ratio_t k frames first, then ratio_t k
        latents, cache = step(params, cache, frames)

The result is that of the whole clip, whatever the chunks: the autoencoder crosses time by the causal shifts
alone, and what they take from the frame before is the cache.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Array, Float

from sora_jax.models.autoencoder import Autoencoder, Cache, check_size
from sora_jax.types import Params


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["blocks"], meta_fields=["height", "width", "started"]
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamCache:
    """What a stream remembers: its size is that of one frame, however long the video.

    Attributes:
      blocks: one array `[b h w d/8]` per residual block.
      height, width: pixels of the frames of this stream; static.
      started: frame 0 has been seen; static, as the chunk with frame 0 has another number of frames.
    """

    blocks: Cache
    height: int
    width: int
    started: bool


def encoder_cache(model: Autoencoder, batch: int, height: int, width: int) -> StreamCache:
    """The cache before frame 0 of `batch` videos of `height` x `width` pixels, for `encode_stream`."""
    return _empty(model, batch, height, width, decoder=False)


def decoder_cache(model: Autoencoder, batch: int, height: int, width: int) -> StreamCache:
    """The cache before latent 0 of `batch` videos of `height` x `width` pixels, for `decode_stream`."""
    return _empty(model, batch, height, width, decoder=True)


def _empty(model: Autoencoder, batch: int, height: int, width: int, *, decoder: bool) -> StreamCache:
    check_size(1, height, width, ratio=model.ratio)
    blocks = model.initial_cache(batch, height, width, decoder=decoder)
    return StreamCache(blocks=blocks, height=height, width=width, started=False)


def encode_stream(
    params: Params, cache: StreamCache, frames: Float[Array, "b f h w 3"], *, model: Autoencoder
) -> tuple[Float[Array, "b lf lh lw lc"], StreamCache]:
    """Encodes the next frames of a stream to the means of their latents, not normalised.

    Args:
      params: of `model`.
      cache: of `encoder_cache` or of the call before.
      frames: `[b f h w 3]` in [-1, 1]. The first call takes 1 + ratio_t k frames (k may be 0), each later one
        ratio_t k.

    Returns:
      Latents `[b 1+k lh lw lc]` (first call) or `[b k lh lw lc]`, float32, and the cache of the next call.

    Raises:
      ValueError: frames of another size than the cache's, or no whole number of groups.
    """
    b, f, h, w, _ = frames.shape
    _check_chunk(cache, b, h, w)
    if cache.started:
        step = model.ratio[0]
        if f < 1 or f % step:
            below = f // step * step
            use = f"{below} or {below + step}" if below else f"{step}"
            raise ValueError(f"a later chunk of {f} frames is not a multiple of {step}: use {use}")
    else:
        check_size(f, h, w, ratio=model.ratio)
    outputs: Any = model.apply(
        {"params": params}, frames, cache.blocks, first=not cache.started, method="encode_chunk"
    )
    moments, blocks = outputs
    return moments.mean, dataclasses.replace(cache, blocks=blocks, started=True)


def decode_stream(
    params: Params, cache: StreamCache, latents: Float[Array, "b lf lh lw lc"], *, model: Autoencoder
) -> tuple[Float[Array, "b f h w 3"], StreamCache]:
    """Decodes the next latents of a stream, any number of them.

    Args:
      params: of `model`.
      cache: of `decoder_cache` or of the call before.
      latents: `[b lf lh lw lc]`, not normalised.

    Returns:
      Frames, about [-1, 1], float32: 1 + ratio_t (lf - 1) of the first call, ratio_t lf of a later one; and
      the cache of the next call.

    Raises:
      ValueError: latents of another size than the cache's, or none.
    """
    b, lf, lh, lw, _ = latents.shape
    if lf < 1:
        raise ValueError("a chunk of 0 latents cannot be decoded: give at least 1")
    _check_chunk(cache, b, lh * model.ratio[1], lw * model.ratio[2])
    outputs: Any = model.apply(
        {"params": params}, latents, cache.blocks, first=not cache.started, method="decode_chunk"
    )
    frames, blocks = outputs
    return frames, dataclasses.replace(cache, blocks=blocks, started=True)


def _check_chunk(cache: StreamCache, batch: int, height: int, width: int) -> None:
    expected = (cache.blocks[0].shape[0] if cache.blocks else batch, cache.height, cache.width)
    if (batch, height, width) != expected:
        raise ValueError(
            f"a chunk of (batch, height, width) {(batch, height, width)} does not continue a stream of "
            f"{expected}: make a new cache for it"
        )
