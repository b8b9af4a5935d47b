"""What is asked of a model, and the model that is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sora_jax import patches
from sora_jax.diffusion import sampler
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.types import PackedBatch, Params

CONTEXT_SCALE = 4.0  # of what goes on from a video, unless asked otherwise
MEMORY = True  # of what is longer than a window: its first latent stays in view
REMEMBERED_LEVEL = 0.8  # noise level from which on what is remembered guides: where places and looks settle
TRIES = 4  # seeds of what differs much: storyboards, connections, the first window of a long video
CUT_SCALE = 1.0  # of what has several captions: a shot is placed as if it were made for itself


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One video to make: `frames x height x width` pixels at `fps` frames per second.

    Attributes:
      prompt: a caption, or several with their times (`text_bytes.split_times`).
      seed: of the noise.
      given: normalised latents to start from, of all of the video or of its first frames; None = text alone.
      start: noise level in [0, 1] that each patch `[gf gh gw]` starts from: 0 comes back as it was given, 1
        is made from noise alone, between is `(1 - level) given + level noise`. Every level falls to 0 in the
        same proportion. None = what is given is known (0), the rest is free (1).
      first: latents of the video before this part. Above 0, `frames` is a multiple of the autoencoder's step,
        and what comes back are latents that continue others.
      anchored: the first frame of patches given is the video's very first, and `first` counts from it: what
        lies between the two is out of view.
      context_level: noise level from which on it is guided by what is known (`Settings.context_scale`).
      apart: guidance by the parts of the video, which are those of its captions (`guidance.by_parts`): 0 =
        off, above 0 a part begins anew.
    """

    prompt: str
    frames: int
    height: int
    width: int
    fps: float
    seed: int
    given: Float[np.ndarray, "lf lh lw lc"] | None = None
    start: Float[np.ndarray, "gf gh gw"] | None = None
    first: int = 0
    anchored: bool = False
    context_level: float = 0.0
    apart: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to sample; see `diffusion.sampler` and `diffusion.guidance`.

    Attributes:
      steps: of the sampler.
      guidance_scale: 1 = off.
      guidance_interval: noise levels that are guided, by text and by context.
      sampler: one of `sampler.SAMPLERS`.
      shift: of the times; above 1 spends more steps near noise.
      eta: of the stochastic sampler.
      context_scale: guidance by known tokens; 1 = off. What goes on from a video keeps to its motion better
        at `CONTEXT_SCALE`.
      context_noise: level in [0, 1) at which the network sees known tokens, which come back clean all the
        same: what it made itself it then trusts less, which curbs drift.
      cache: share by which the tokens move before the network is asked again; 0 = at every step.
      tries: seeds of every request, its own and the next ones, of which the best is kept; what is best says
        the mode, or else how well the text explains the video (`choosing`).
    """

    steps: int = 30
    guidance_scale: float = 4.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    sampler: sampler.SamplerName = "euler"
    shift: float = 1.0
    eta: float = 1.0
    context_scale: float = 1.0
    context_noise: float = 0.0
    cache: float = 0.0
    tries: int = 1

    def __post_init__(self) -> None:
        if self.sampler not in sampler.SAMPLERS:
            raise ValueError(f"unknown sampler {self.sampler!r}: use one of {', '.join(sampler.SAMPLERS)}")
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} is below 1: use 30, or fewer for a draft")
        if self.tries < 1:
            raise ValueError(f"tries {self.tries} is below 1: use 1, or more to choose from")
        if not 0 <= self.context_noise < 1:
            raise ValueError(f"context_noise {self.context_noise} is not in [0, 1): use 0, or about 0.05")
        object.__setattr__(self, "guidance_interval", tuple(self.guidance_interval))  # JSON has lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """A model that is ready to sample.

    Attributes:
      apply: (params, xt, t, batch) -> velocity.
      encode_text: (params, batch) -> the batch with its text as embeddings, made once per sample.
      params: of the transformer.
      autoencoder: of the latents, normalised.
      ratio, patch, channels: of the latents.
      mesh: over which the parameters lie and rows are cut (`sharding.mesh`); None = one device.
      block: a device's tokens of a row, and a row's bytes of text, are padded to a multiple of this, as the
        attention kernel wants them (`nn.attention.BLOCKS`).
    """

    apply: Callable[[Params, Array, Array, PackedBatch], Array]
    encode_text: Callable[[Params, PackedBatch], PackedBatch]
    params: Params
    autoencoder: FrozenAutoencoder
    patch: patches.Grid
    mesh: Mesh | None = None
    block: int = 1

    @property
    def ratio(self) -> patches.Grid:
        """Pixels per latent along (frames, height, width)."""
        return self.autoencoder.ratio

    @property
    def channels(self) -> int:
        """Of a latent."""
        return self.autoencoder.model.channels

    def grid(self, request: Request) -> patches.Grid:
        """The request's patches along (frames, rows, columns).

        Raises:
          ValueError: a size that autoencoder and patch do not divide.
        """
        ratio, patch = self.ratio, self.patch
        if request.first == 0:
            return patches.latent_grid(
                request.frames, request.height, request.width, ratio=ratio, patch=patch
            )
        step = ratio[0] * patch[0]
        if request.frames < step or request.frames % step or request.first % patch[0]:
            raise ValueError(
                f"{request.frames} frames after {request.first} latents: use a multiple of {step} frames, "
                f"after a multiple of {patch[0]} latents"
            )
        _, rows, columns = patches.latent_grid(
            1, request.height, request.width, ratio=ratio, patch=(1, *patch[1:])
        )
        return request.frames // step, rows, columns
