"""The adversarial option: a patch discriminator, and one loss in which each side has its own gradient.

    discriminator   mean max(0, 1 - D(x)) + mean max(0, 1 + D(y))
    autoencoder     reconstruction + w (-mean D(y))

(Lim & Ye 2017, arXiv 1705.02894, Eqs. 3-4; patches of logits as in Isola et al. 2017, arXiv 1611.07004,
Sec. 3.2.) The two are summed, and a stop_gradient on the other side's parameters keeps them apart, so that
the plain training step moves both at once and a checkpoint holds both. Each side has an optimiser of its own
(`optax.partition`), or their gradients would share one clipping norm.
Differs: both sides step together, not in turn.
"""

from __future__ import annotations

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
        for k in range(self.depth):
            x, _ = Block(self.expand, self.dtype, name=f"block_{k}")(x, previous)
        return each(nn.Dense(1), PositionNorm()(x))[..., 0]


def adversarial_loss(
    model: Autoencoder,
    discriminator: Discriminator,
    *,
    adversarial_weight: float,
    epsilon: float = 0.02,
    gradient_weight: float = 0.5,
    kl_weight: float = 1e-6,
) -> LossFn:
    """The loss of both sides, of `params` `{"autoencoder", "discriminator"}`.

    Args:
      model, discriminator: the two sides.
      adversarial_weight: w above; best begun from a trained autoencoder, whose errors are worth telling.
      epsilon, gradient_weight, kl_weight: as in `autoencoder_loss.reconstruction_loss`.

    Returns:
      `loss_fn(params, frozen, batch, key)`. Its metrics have, besides those of `reconstruction_loss`, minus
      the mean logit of the reconstructions `adversarial`, the discriminator's `hinge`, and its mean logits
      `real` and `fake`.
    """

    def loss_fn(
        params: Params, frozen: Params, batch: Float[Array, "b f h w 3"], key: Key
    ) -> tuple[Array, dict[str, Array]]:
        del frozen
        outputs: Any = model.apply({"params": params["autoencoder"]}, batch, key)
        video, moments = outputs
        loss, metrics = reconstruction_terms(
            video, batch, moments, epsilon=epsilon, gradient_weight=gradient_weight, kl_weight=kl_weight
        )

        def logits(discriminator_params: Params, video: Array) -> Array:
            return discriminator.apply({"params": discriminator_params}, video)  # type: ignore[return-value]

        adversarial = -jnp.mean(logits(jax.lax.stop_gradient(params["discriminator"]), video))
        real = logits(params["discriminator"], batch)
        fake = logits(params["discriminator"], jax.lax.stop_gradient(video))
        hinge = jnp.mean(nn.relu(1.0 - real)) + jnp.mean(nn.relu(1.0 + fake))
        metrics |= {
            "adversarial": adversarial,
            "hinge": hinge,
            "real": jnp.mean(real),
            "fake": jnp.mean(fake),
        }
        return loss + adversarial_weight * adversarial + hinge, metrics

    return loss_fn
