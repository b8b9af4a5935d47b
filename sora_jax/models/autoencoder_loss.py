"""What the autoencoder is trained on: pixels, edges at several scales, and a weak prior on the latents.

    loss = mean sqrt((y - x)^2 + eps^2)                                    (Charbonnier)
         + w_gradient  mean over scales s of mean |D(down_s y) - D(down_s x)|  (D: differences on h, w, f)
         + w_kl  mean over latent values of KL(N(mean, var) || N(0, 1))

The gradient term stands for a perceptual one that would need downloaded weights (gradient difference, Mathieu
et al. 2016, arXiv 1511.05440, Eq. 6, here of the signed error and at several scales); it weighs edges, where
all the shape of a flat-coloured world lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from sora_jax.models.autoencoder import Autoencoder, Gaussian
from sora_jax.types import Key, Params

LossFn = Callable[[Params, Params, Float[Array, "b f h w 3"], Key], tuple[Array, dict[str, Array]]]


def charbonnier(
    video: Float[Array, "b f h w 3"], target: Float[Array, "b f h w 3"], *, epsilon: float = 0.02
) -> Float[Array, ""]:
    """Mean sqrt(error^2 + epsilon^2) - epsilon: squared below `epsilon` (of a range of 2), absolute above."""
    square = jnp.square((video - target).astype(jnp.float32))
    # sqrt(a + b^2) - b as a / (sqrt(a + b^2) + b): no difference of two nearly equal numbers.
    return jnp.mean(square / (jnp.sqrt(square + epsilon**2) + epsilon))


def gradient_difference(
    video: Float[Array, "b f h w 3"], target: Float[Array, "b f h w 3"], *, scales: int = 3
) -> Float[Array, ""]:
    """Mean absolute error of the differences along height, width and time, at `scales` sizes of the frame.

    The difference is linear, so it is taken of the error. An axis of length one has none and adds nothing.
    """
    error = (video - target).astype(jnp.float32)
    total = jnp.zeros(())
    for scale in range(scales):
        if scale:
            error = reduce(error, "b f (h i) (w j) c -> b f h w c", "mean", i=2, j=2)
        axes = [axis for axis in (1, 2, 3) if error.shape[axis] > 1]
        total += sum(jnp.mean(jnp.abs(jnp.diff(error, axis=axis))) for axis in axes)
    return total / scales


def kl(moments: Gaussian) -> Float[Array, ""]:
    """Mean KL from N(0, 1) per latent value in nats (Kingma & Welling 2014, arXiv 1312.6114, App. B)."""
    return 0.5 * jnp.mean(jnp.square(moments.mean) + jnp.exp(moments.logvar) - 1.0 - moments.logvar)


def psnr(video: Float[Array, "b f h w 3"], target: Float[Array, "b f h w 3"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio of the batch in dB, of a range of 2; `video` is clipped to [-1, 1]."""
    error = jnp.mean(jnp.square(jnp.clip(video, -1.0, 1.0) - target))
    return 10.0 * jnp.log10(4.0 / jnp.maximum(error, 1e-12))


def reconstruction_terms(
    video: Float[Array, "b f h w 3"],
    target: Float[Array, "b f h w 3"],
    moments: Gaussian,
    *,
    epsilon: float,
    gradient_weight: float,
    kl_weight: float,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The weighted sum of the module's docstring, and its terms as metrics."""
    terms = {
        "charbonnier": charbonnier(video, target, epsilon=epsilon),
        "gradient": gradient_difference(video, target) if gradient_weight else jnp.zeros(()),
        "kl": kl(moments),
    }
    loss = terms["charbonnier"] + gradient_weight * terms["gradient"] + kl_weight * terms["kl"]
    rms = jnp.sqrt(jnp.mean(jnp.square(moments.mean)))
    return loss, {**terms, "psnr": psnr(video, target), "latent_rms": rms}


def reconstruction_loss(
    model: Autoencoder, *, epsilon: float = 0.02, gradient_weight: float = 0.5, kl_weight: float = 1e-6
) -> LossFn:
    """The loss of one batch of clips of one size: `loss_fn(params, frozen, batch, key) -> (scalar, metrics)`.

    Args:
      model: whose `params` are trained.
      epsilon: where the pixel term turns from squared to absolute, in a range of 2.
      gradient_weight: of `gradient_difference`; 0 leaves it out.
      kl_weight: of `kl`.

    Returns:
      A function of `params`; `frozen`, unused here; `batch`, `[b f h w 3]` float32 in [-1, 1]; and the key of
      the latents' noise. Its metrics are float32 scalars: charbonnier, gradient, kl, psnr, latent_rms.
    """

    def loss_fn(
        params: Params, frozen: Params, batch: Float[Array, "b f h w 3"], key: Key
    ) -> tuple[Array, dict[str, Array]]:
        del frozen
        outputs: Any = model.apply({"params": params}, batch, key)
        video, moments = outputs
        return reconstruction_terms(
            video, batch, moments, epsilon=epsilon, gradient_weight=gradient_weight, kl_weight=kl_weight
        )

    return loss_fn
