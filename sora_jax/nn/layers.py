"""Dense layers, norms, Fourier features and the gated feed-forward layer.

Parameters are float32; `dtype` is the dtype of the computation, and norms are computed in float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Shaped

from sora_jax.nn import partition

Initializer = Callable[..., Any]
Activation = Literal["silu", "gelu", "relu"]
Rotation = tuple[Float[Array, "b n h"], Float[Array, "b n h"]]  # cosines and sines, see `nn.rope`
EPSILON = 1e-6
MASKED = -1e30  # a masked logit
FLOOR = -1e29  # of the maximum that is subtracted from logits, so that without a key exp(MASKED - FLOOR) = 0


def activate(x: Float[Array, "*s d"], activation: Activation) -> Float[Array, "*s d"]:
    """The named pointwise function; "gelu" is the tanh form, as in T5 v1.1."""
    match activation:
        case "silu":
            return jax.nn.silu(x)
        case "gelu":
            return jax.nn.gelu(x, approximate=True)
        case "relu":
            return jax.nn.relu(x)
        case _:
            raise ValueError(f"activation {activation!r} is not one of silu, gelu, relu")


class Dense(nn.Module):
    """`x @ kernel (+ bias)` over the last axis, as one 2-D product whatever the leading axes.

    Flattening first lets XLA's CPU compiler call one plain matrix product in each direction; a whole DiT
    step was measured 1.45 times faster with it (PERFORMANCE.md). On a mesh it stays undone, since an axis
    made of two that are cut cannot itself be cut, and the first axis, rows, is held to its devices.

    Attributes:
      cut: axis of the mesh along which the output's width lies, where it divides; None = it is whole.
    """

    features: int
    use_bias: bool = False
    cut: str | None = None
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "*s i"]) -> Float[Array, "*s o"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if partition.is_active() and x.ndim > 2:
            y = jnp.einsum("...i,io->...o", x, kernel)
            y = partition.constrain(y, partition.ROWS, *[partition.FREE] * (x.ndim - 2), self.cut)
        else:
            y = jnp.reshape(jnp.reshape(x, (-1, x.shape[-1])) @ kernel, (*x.shape[:-1], self.features))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + jnp.expand_dims(bias.astype(self.dtype), tuple(range(y.ndim - 1)))
        return y


def rms_normalize(x: Float[Array, "*s d"], *, epsilon: float = EPSILON) -> Float[Array, "*s d"]:
    """`x / sqrt(mean(x^2) + epsilon)` over the last axis, in float32 (arXiv 1910.07467, Eq. 4)."""
    return x.astype(jnp.float32) * _inverse_rms(x, epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def scaled_norm(
    x: Float[Array, "*s d"],
    gain: Float[Array, " d"],
    rotation: Rotation | None,
    epsilon: float,
    dtype: Any,
) -> Float[Array, "*s d"]:
    """`gain rms_normalize(x)`, turned by `rotation` (`rope.rotate`) if there is one, in `dtype`.

    One operation, with its own gradient: of the forward pass it keeps `x`, in its dtype, and one number per
    position. Left alone, float32 copies of everything between were kept too. `rotation` has no gradient (0):
    positions are not trained.
    """
    return _scaled_norm(x, gain, rotation, epsilon, dtype)[0]


def _scaled_norm(x, gain, rotation, epsilon, dtype):
    inverse = _inverse_rms(x, epsilon)
    y = x.astype(jnp.float32) * inverse * _wide(gain, x)
    if rotation is not None:
        y = turn(y, *rotation)
    return y.astype(dtype), (x, gain, rotation, inverse)


def _scaled_norm_gradient(epsilon, dtype, kept, gradient):
    x, gain, rotation, inverse = kept
    gradient = gradient.astype(jnp.float32)
    if rotation is not None:
        cosine, sine = rotation
        gradient = turn(gradient, cosine, -sine)
    normal = x.astype(jnp.float32) * inverse
    d_gain = jnp.sum(gradient * normal, axis=tuple(range(x.ndim - 1)))
    d_x = _norm_gradient(gradient * _wide(gain, x), normal, inverse)
    return d_x.astype(x.dtype), d_gain, None if rotation is None else jax.tree.map(jnp.zeros_like, rotation)


scaled_norm.defvjp(_scaled_norm, _scaled_norm_gradient)


@jax.custom_vjp
def modulated_norm(
    x: Float[Array, "b n d"], shift: Float[Array, "b n d"], scale: Float[Array, "b n d"]
) -> Float[Array, "b n d"]:
    """`rms_normalize(x) (1 + scale) + shift`, float32 inside, in the dtype of `x`; as `scaled_norm` keeps."""
    return _modulated_norm(x, shift, scale)[0]


def _modulated_norm(x, shift, scale):
    inverse = _inverse_rms(x, EPSILON)
    y = modulate(x.astype(jnp.float32) * inverse, shift=shift, scale=scale.astype(jnp.float32))
    return y.astype(x.dtype), (x, scale, inverse)


def _modulated_norm_gradient(kept, gradient):
    x, scale, inverse = kept
    gradient = gradient.astype(jnp.float32)
    normal = x.astype(jnp.float32) * inverse
    d_x = _norm_gradient(gradient * (1 + scale.astype(jnp.float32)), normal, inverse)
    return d_x.astype(x.dtype), gradient.astype(scale.dtype), (gradient * normal).astype(scale.dtype)


modulated_norm.defvjp(_modulated_norm, _modulated_norm_gradient)


def _inverse_rms(x, epsilon):
    return jax.lax.rsqrt(jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True) + epsilon)


def _norm_gradient(gradient, normal, inverse):
    """Of `normal = x inverse` with respect to x."""
    return inverse * (gradient - normal * (inner_product(gradient, normal) / normal.shape[-1]))


def inner_product(x: Float[Array, "*s d"], y: Float[Array, "*s d"]) -> Float[Array, "*s 1"]:
    """`sum(x y)` over the last axis, in float32."""
    return jax.lax.platform_dependent(
        x.astype(jnp.float32),
        y.astype(jnp.float32),
        # Of a batch of one, XLA takes ten times as long for the sum of `x y` on a CPU.
        cpu=lambda x, y: jnp.einsum("...d,...d->...", x, y)[..., None],
        default=lambda x, y: jnp.sum(x * y, axis=-1, keepdims=True),
    )


def held(x: Shaped[Array, "*s"]) -> Shaped[Array, "*s"]:
    """`x`; on a CPU it becomes an array, and is not folded into what uses it."""
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


def _wide(gain, x):
    return jnp.expand_dims(gain, tuple(range(x.ndim - 1)))


def turn(
    x: Float[Array, "b n k d"], cosine: Float[Array, "b n h"], sine: Float[Array, "b n h"]
) -> Float[Array, "b n k d"]:
    """Turns plane i = (x[i], x[i + d / 2]) of every head by its token's angle."""
    first, second = jnp.split(x, 2, axis=-1)
    cosine, sine = cosine[:, :, None, :], sine[:, :, None, :]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


class RMSNorm(nn.Module):
    """RMS norm with a learned gain per channel; float32 inside, result in `dtype`."""

    epsilon: float = EPSILON
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*s d"], rotation: Rotation | None = None) -> Float[Array, "*s d"]:
        gain = self.param("gain", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        return scaled_norm(x, gain, rotation, self.epsilon, self.dtype)


def modulate(
    x: Float[Array, "b n d"], *, shift: Float[Array, "b n d"], scale: Float[Array, "b n d"]
) -> Float[Array, "b n d"]:
    """`x (1 + scale) + shift` (Peebles & Xie 2023, arXiv 2212.09748, Sec. 3.2)."""
    return x * (1 + scale) + shift


@jax.custom_vjp
def gated_silu(gate: Float[Array, "*s d"], up: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """`silu(gate) up`, float32 inside; its gradient keeps both, and makes the sigmoid again."""
    return (jax.nn.silu(gate.astype(jnp.float32)) * up).astype(up.dtype)


def _gated_silu_gradient(kept, gradient):
    gate, up = (x.astype(jnp.float32) for x in kept)
    gradient, sigmoid = gradient.astype(jnp.float32), jax.nn.sigmoid(gate)
    d_gate = gradient * up * sigmoid * (1 + gate * (1 - sigmoid))
    return d_gate.astype(kept[0].dtype), (gradient * gate * sigmoid).astype(kept[1].dtype)


gated_silu.defvjp(lambda gate, up: (gated_silu(gate, up), (gate, up)), _gated_silu_gradient)


class FeedForward(nn.Module):
    """Feed-forward layer, gated (Shazeer 2020, arXiv 2002.05202: SwiGLU, GEGLU) or plain; no biases."""

    hidden: int
    gated: bool = True
    activation: Activation = "silu"
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()
    down_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        wide = functools.partial(
            Dense, self.hidden, dtype=self.dtype, kernel_init=self.kernel_init, cut=partition.HEADS
        )
        up = wide(name="up")(x)
        if self.gated:
            gate = wide(name="gate")(x)
            is_silu = self.activation == "silu"
            hidden = gated_silu(gate, up) if is_silu else activate(gate, self.activation) * up
        else:
            hidden = activate(up, self.activation)
        return Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.down_init, name="down")(hidden)


def split_heads(x: Float[Array, "b n d"], heads: int) -> Float[Array, "b n k d"]:
    """The last axis cut into `heads` equal parts."""
    return rearrange(x, "b n (k d) -> b n k d", k=heads)


def fourier_features(x: Float[Array, "*s"], frequencies: Sequence[float]) -> Float[Array, "*s f"]:
    """`[cos(w x), sin(w x)]` for each frequency w (radians per unit of x), cosines first; float32."""
    w = jnp.asarray(frequencies, jnp.float32)
    angle = x.astype(jnp.float32)[..., None] * jnp.expand_dims(w, tuple(range(x.ndim)))
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def geometric(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` numbers from `low` to `high` in equal ratios; one number is the geometric mean."""
    if count < 1 or not 0 < low <= high:
        raise ValueError(f"cannot space {count} frequencies from {low} to {high}")
    if count == 1:
        return (math.sqrt(low * high),)
    return tuple(low * (high / low) ** (i / (count - 1)) for i in range(count))
