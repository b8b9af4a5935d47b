"""A trained autoencoder as others use it: pixels in and out, latents normalised, a fingerprint."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from sora_jax.models import autoencoder_latents as latents_lib
from sora_jax.models.autoencoder import Autoencoder, sample
from sora_jax.models.autoencoder_latents import LatentStatistics
from sora_jax.nn import partition
from sora_jax.types import Clip, LatentClip, Params

CHUNK = 16  # clips encoded at once by one device


def to_model(video: UInt8[Any, "*shape 3"]) -> Float[Array, "*shape 3"]:
    """Pixels of 0..255 as float32 in [-1, 1]."""
    return jnp.asarray(video, jnp.float32) / 127.5 - 1.0


def to_pixels(video: Float[Array, "*shape 3"]) -> UInt8[Array, "*shape 3"]:
    """The nearest uint8 pixels of values in [-1, 1]; what lies outside is clipped."""
    return jnp.round(jnp.clip(video * 127.5 + 127.5, 0.0, 255.0)).astype(jnp.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenAutoencoder:
    """Attributes:
    model, params: the module and its trained parameters.
    statistics: of the latents over held-out clips.
    fingerprint: of all that decides what a latent means; a transformer refuses another one.
    """

    model: Autoencoder
    params: Params
    statistics: LatentStatistics
    fingerprint: str

    @property
    def ratio(self) -> tuple[int, int, int]:
        """Pixels per latent along (frames, height, width)."""
        return self.model.ratio

    def encode(self, video: UInt8[Any, "b f h w 3"]) -> Float[Array, "b lf lh lw lc"]:
        """The normalised mean latents of clips of one size."""
        return _encode(self.params, self.statistics, video, model=self.model)

    def decode(self, latents: Float[Any, "b lf lh lw lc"]) -> UInt8[Array, "b f h w 3"]:
        """The frames of normalised latents."""
        return _decode(self.params, self.statistics, latents, model=self.model)

    def encode_clips(self, clips: Sequence[Clip]) -> Iterator[LatentClip]:
        """The latents of clips of any sizes, in their order.

        Clips of one size are encoded together, over all devices of this process.
        """
        chunk = CHUNK * jax.local_device_count()
        done: dict[int, np.ndarray] = {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, clip in enumerate(clips):
            by_shape.setdefault(clip.video.shape, []).append(number)
        for numbers in by_shape.values():
            for start in range(0, len(numbers), chunk):
                some = numbers[start : start + chunk]
                padded = [*some, *[some[-1]] * (chunk - len(some))]  # one compilation per size
                latents = np.asarray(self.encode(_over_devices(np.stack([clips[n].video for n in padded]))))
                done.update(zip(some, latents, strict=False))
        for number, clip in enumerate(clips):
            yield LatentClip(
                latents=done.pop(number),
                fps=clip.fps,
                captions=clip.captions,
                id=clip.id,
                frames=len(clip.video),
            )

    def compile_sizes(self, shapes: Sequence[tuple[int, int, int]]) -> None:
        """Compiles what `encode_clips` needs for clips of these (frames, height, width), in threads."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            chunk = CHUNK * jax.local_device_count()
            blank = (_over_devices(np.zeros((chunk, *shape, 3), np.uint8)) for shape in shapes)
            for latents in pool.map(self.encode, blank):
                latents.block_until_ready()

    def reconstruct(self, clips: Sequence[Clip]) -> list[UInt8[np.ndarray, "f h w 3"]]:
        """Every clip through encoder and decoder, in their order."""
        return [np.asarray(self.decode(latent.latents[None]))[0] for latent in self.encode_clips(clips)]


def _over_devices(clips: UInt8[np.ndarray, "b f h w 3"]) -> UInt8[Any, "b f h w 3"]:
    """As it is on one device; cut over the devices of this process where there are more."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return clips
    return jax.device_put(clips, NamedSharding(Mesh(np.array(devices), ("clips",)), PartitionSpec("clips")))


def freeze(
    model: Autoencoder, params: Params, videos: Iterable[UInt8[np.ndarray, "b f h w 3"]], *, key: jax.Array
) -> FrozenAutoencoder:
    """The autoencoder with the statistics of its latents over `videos`.

    The deviation is that of latents drawn from the encoder's Gaussians, not of their means: a channel that
    carries little is mostly noise, and must not be blown up to the size of one that carries much.
    """

    @jax.jit
    def draw(video: Array, key: jax.Array) -> Array:
        return sample(key, model.apply({"params": params}, to_model(video), method="encode"))  # type: ignore[arg-type]

    draws = (draw(video, jax.random.fold_in(key, k)) for k, video in enumerate(videos))
    statistics = latents_lib.latent_statistics(draws)
    return FrozenAutoencoder(
        model=model, params=params, statistics=statistics, fingerprint=fingerprint(model, params, statistics)
    )


def fingerprint(model: Autoencoder, params: Params, statistics: LatentStatistics) -> str:
    """`autoencoder_latents.fingerprint` over the fields that decide what the weights compute."""
    fields = ("widths", "depths", "ratio", "channels", "expand")
    return latents_lib.fingerprint(params, statistics, {name: getattr(model, name) for name in fields})


@functools.partial(jax.jit, static_argnames="model")
def _encode(params: Params, statistics: LatentStatistics, video: Array, *, model: Autoencoder) -> Array:
    mean = model.apply({"params": params}, to_model(video), method="encode").mean  # type: ignore[union-attr]
    return partition.whole(latents_lib.normalise(mean, statistics))


@functools.partial(jax.jit, static_argnames="model")
def _decode(params: Params, statistics: LatentStatistics, latents: Array, *, model: Autoencoder) -> Array:
    decoded = model.apply({"params": params}, latents_lib.denormalise(latents, statistics), method="decode")
    return partition.whole(to_pixels(decoded))  # type: ignore[arg-type]
