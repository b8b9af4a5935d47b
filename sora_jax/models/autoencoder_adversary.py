"""The adversarial option: a patch discriminator and the hinge losses of both sides.

    discriminator   mean max(0, 1 - D(x)) + mean max(0, 1 + D(y))
    autoencoder     reconstruction + w (-mean D(y))

(Lim & Ye 2017, arXiv 1705.02894, Eqs. 3-4; patches of logits as in Isola et al. 2017, arXiv 1611.07004,
Sec. 3.2.) Each side is a plain `loss_fn(params, frozen, batch, key)` whose `frozen` holds the other side, so
that one training step serves both; `alternate` makes one step of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from sora_jax.models.autoencoder import Autoencoder, Block, check_size, each
from sora_jax.models.autoencoder_loss import LossFn, reconstruction_terms
from sora_jax.nn.norm import PositionNorm
from sora_jax.nn.shift import temporal_channels
from sora_jax.types import Key, Params


class Discriminator(nn.Module):
    """One logit per space-time patch: large where the video looks real.

    Attributes:
      width: channels, a multiple of 8.
      depth: residual blocks.
      patch: pixels per logit along (frames, height, width); frame 0 is embedded alone.
      expand: hidden width of the MLPs over the width.
      dtype: of the computation; parameters and logits are float32.
    """

    width: int = 128
    depth: int = 3
    patch: tuple[int, int, int] = (4, 8, 8)
    expand: int = 3
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, video: Float[Array, "b f h w 3"]) -> Float[Array, "b lf lh lw"]:
        """Logits of `[b f h w 3]` in [-1, 1], f = 1 + patch_t k."""
        b, f, h, w, _ = video.shape
        check_size(f, h, w, ratio=self.patch)
        pt, ph, pw = self.patch
        fold = "b (f pt) (h ph) (w pw) c -> b f h w (pt ph pw c)"
        first = nn.Dense(self.width, dtype=self.dtype, name="first")
        rest = nn.Dense(self.width, dtype=self.dtype, name="rest")
        x = each(first, rearrange(video[:, :1], fold, pt=1, ph=ph, pw=pw))
        if f > 1:
            later = each(rest, rearrange(video[:, 1:], fold, pt=pt, ph=ph, pw=pw))
            x = jnp.concatenate([x, later], axis=1)
        elif self.is_initializing():
            raise ValueError(f"one frame makes no parameters for video: initialise on {1 + pt}")
        previous = jnp.zeros((b, h // ph, w // pw, temporal_channels(self.width)), self.dtype)
        for _ in range(self.depth):
            x, _ = Block(self.expand, self.dtype)(x, previous)
        return each(nn.Dense(1), PositionNorm()(x))[..., 0]


def discriminator_loss(model: Autoencoder, discriminator: Discriminator) -> LossFn:
    """The hinge loss of the discriminator's `params`; the autoencoder's are `frozen["autoencoder"]`.

    Its metrics are `hinge`, and the mean logits `real` and `fake`.
    """

    def loss_fn(
        params: Params, frozen: Params, batch: Float[Array, "b f h w 3"], key: Key
    ) -> tuple[Array, dict[str, Array]]:
        outputs: Any = model.apply({"params": frozen["autoencoder"]}, batch, key)
        video, _ = jax.lax.stop_gradient(outputs)
        real: Any = discriminator.apply({"params": params}, batch)
        fake: Any = discriminator.apply({"params": params}, video)
        hinge = jnp.mean(nn.relu(1.0 - real)) + jnp.mean(nn.relu(1.0 + fake))
        return hinge, {"hinge": hinge, "real": jnp.mean(real), "fake": jnp.mean(fake)}

    return loss_fn


def adversarial_loss(
    model: Autoencoder,
    discriminator: Discriminator,
    *,
    adversarial_weight: float = 0.01,
    epsilon: float = 0.02,
    gradient_weight: float = 0.5,
    kl_weight: float = 1e-6,
) -> LossFn:
    """The autoencoder's loss against a discriminator, held as `frozen["discriminator"]`.

    The other weights are those of `autoencoder_loss.reconstruction_loss`. Its metrics have besides them
    `adversarial`: minus the mean logit of the reconstructions.
    """

    def loss_fn(
        params: Params, frozen: Params, batch: Float[Array, "b f h w 3"], key: Key
    ) -> tuple[Array, dict[str, Array]]:
        outputs: Any = model.apply({"params": params}, batch, key)
        video, moments = outputs
        loss, metrics = reconstruction_terms(
            video, batch, moments, epsilon=epsilon, gradient_weight=gradient_weight, kl_weight=kl_weight
        )
        logits: Any = discriminator.apply({"params": frozen["discriminator"]}, video)
        adversarial = -jnp.mean(logits)
        return loss + adversarial_weight * adversarial, {**metrics, "adversarial": adversarial}

    return loss_fn


StepFn = Callable[[Any, Params, Any, Key], tuple[Any, dict[str, Array]]]


def alternate(autoencoder_step: StepFn, discriminator_step: StepFn) -> StepFn:
    """One step of both sides: the autoencoder's against the old discriminator, then the discriminator's.

    Args:
      autoencoder_step: `step_fn(state, frozen, batch, key)` on `adversarial_loss`.
      discriminator_step: likewise on `discriminator_loss`.

    Returns:
      A step whose state is the dict `{"autoencoder": state, "discriminator": state}`, each with `params`. The
      discriminator's metrics are prefixed with `discriminator/`.
    """

    def step_fn(state: Any, frozen: Params, batch: Any, key: Key) -> tuple[Any, dict[str, Array]]:
        del frozen
        key_autoencoder, key_discriminator = jax.random.split(key)
        opponent = {"discriminator": state["discriminator"].params}
        autoencoder, metrics = autoencoder_step(state["autoencoder"], opponent, batch, key_autoencoder)
        opponent = {"autoencoder": autoencoder.params}
        discriminator, other = discriminator_step(state["discriminator"], opponent, batch, key_discriminator)
        metrics = {**metrics, **{f"discriminator/{name}": value for name, value in other.items()}}
        return {"autoencoder": autoencoder, "discriminator": discriminator}, metrics

    return step_fn
