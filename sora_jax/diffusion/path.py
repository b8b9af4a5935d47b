"""The paths from data to noise, and the one place that knows what a network's output means.

A path mixes clean data and standard normal noise, `xt = alpha(t) x0 + sigma(t) noise`, with t = 0 data and
t = 1 noise. The house's convention is the LINEAR one (rectified flow; Liu et al. 2022, arXiv 2209.03003):

    alpha = 1 - t        sigma = t        velocity = d xt / dt = noise - x0.

COSINE (Nichol & Dhariwal 2021, arXiv 2102.09672, without its offset) preserves variance:

    alpha = cos(pi t / 2)        sigma = sin(pi t / 2)        velocity = (pi / 2) (alpha noise - sigma x0).

Every quantity a network may predict is a fixed mixture `a x0 + b noise`, with coefficients that depend on t
alone (`_mixture`):

    kind       a             b
    x0         1             0
    noise      0             1
    v          -sigma / r    alpha / r     r = sqrt(alpha^2 + sigma^2)   (Salimans & Ho 2022, arXiv
    2202.00512) velocity   d alpha/dt    d sigma/dt

so together with `xt` it is two linear equations for (x0, noise), and any kind converts exactly into any other
(`convert`). The equations' determinant `alpha b - sigma a` is -sigma for x0, alpha for noise, r for v, and 1
(LINEAR) or pi/2 (COSINE) for velocity. So velocity and v determine everything at every t, while x0 says
nothing about the noise at t = 0 (there xt is x0), and noise says nothing about x0 at t = 1. Near those limits
the determinant is held at `floor`; the conversion is exact wherever its magnitude is at least `floor`, and
finite everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax.types import PackedBatch, VelocityFn

Prediction = Literal["velocity", "x0", "noise", "v"]
PREDICTIONS: tuple[Prediction, ...] = ("velocity", "x0", "noise", "v")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Path:
    """The coefficients of a path as functions of t in [0, 1], and the inverse of its logsnr."""

    name: str
    alpha: Callable[[Array], Array]
    sigma: Callable[[Array], Array]
    alpha_rate: Callable[[Array], Array]
    sigma_rate: Callable[[Array], Array]
    t_of_ratio: Callable[[Array], Array]  # t at which sigma / alpha is the given ratio


LINEAR = Path(
    name="linear",
    alpha=lambda t: 1 - t,
    sigma=lambda t: t,
    alpha_rate=lambda t: jnp.full_like(t, -1.0),
    sigma_rate=jnp.ones_like,
    t_of_ratio=lambda ratio: 1 / (1 + 1 / ratio),
)
# cos(pi t / 2) is written as a sine so that it is exactly 0 at t = 1 in float32.
COSINE = Path(
    name="cosine",
    alpha=lambda t: jnp.sin(np.pi / 2 * (1 - t)),
    sigma=lambda t: jnp.sin(np.pi / 2 * t),
    alpha_rate=lambda t: -np.pi / 2 * jnp.sin(np.pi / 2 * t),
    sigma_rate=lambda t: np.pi / 2 * jnp.sin(np.pi / 2 * (1 - t)),
    t_of_ratio=lambda ratio: 2 / np.pi * jnp.arctan(ratio),
)
PATHS: dict[str, Path] = {path.name: path for path in (LINEAR, COSINE)}


def mix(
    x0: Float[Array, "*shape p"],
    noise: Float[Array, "*shape p"],
    *,
    t: Float[Array, "*shape"],
    path: Path = LINEAR,
) -> Float[Array, "*shape p"]:
    """`xt`: the point of the path at level t between `x0` and `noise`. Exactly x0 at 0 and noise at 1."""
    t = t[..., None]
    return path.alpha(t) * x0 + path.sigma(t) * noise


def velocity(
    x0: Float[Array, "*shape p"],
    noise: Float[Array, "*shape p"],
    *,
    t: Float[Array, "*shape"],
    path: Path = LINEAR,
) -> Float[Array, "*shape p"]:
    """`d xt / dt` of the path through `x0` and `noise`; `noise - x0` on the linear one."""
    t = t[..., None]
    return path.alpha_rate(t) * x0 + path.sigma_rate(t) * noise


def logsnr(t: Float[Array, "*shape"], *, path: Path = LINEAR) -> Float[Array, "*shape"]:
    """`2 log(alpha / sigma)`, the log signal-to-noise ratio: +inf at t = 0, falling to -inf at t = 1."""
    return 2 * (jnp.log(path.alpha(t)) - jnp.log(path.sigma(t)))


def t_of_logsnr(value: Float[Array, "*shape"], *, path: Path = LINEAR) -> Float[Array, "*shape"]:
    """The inverse of `logsnr`; it takes +-inf to 0 and 1."""
    return path.t_of_ratio(jnp.exp(-value / 2))


def to_linear(
    t: Float[Array, "*shape"], *, path: Path
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The level on LINEAR with the same signal-to-noise ratio, and the factor from that path's xt to
    LINEAR's.

    `xt_linear = factor * xt` with the same x0 and noise, so a network trained on any path is a velocity
    function of the house's convention after this change of variables.
    """
    total = path.alpha(t) + path.sigma(t)
    return path.sigma(t) / total, 1 / total


def _mixture(kind: Prediction, t: Array, path: Path) -> tuple[Array, Array]:
    """The coefficients (of x0, of noise) that define `kind` at level t."""
    match kind:
        case "x0":
            return jnp.ones_like(t), jnp.zeros_like(t)
        case "noise":
            return jnp.zeros_like(t), jnp.ones_like(t)
        case "v":
            radius = jnp.sqrt(path.alpha(t) ** 2 + path.sigma(t) ** 2)
            return -path.sigma(t) / radius, path.alpha(t) / radius
        case "velocity":
            return path.alpha_rate(t), path.sigma_rate(t)
        case _:
            raise ValueError(f"unknown prediction {kind!r}: use one of {', '.join(PREDICTIONS)}")


def _determinant(kind: Prediction, t: Array, path: Path) -> Array:
    of_x0, of_noise = _mixture(kind, t, path)
    return path.alpha(t) * of_noise - path.sigma(t) * of_x0


def convert(
    output: Float[Array, "*shape p"],
    xt: Float[Array, "*shape p"],
    *,
    t: Float[Array, "*shape"],
    source: Prediction,
    target: Prediction,
    path: Path = LINEAR,
    floor: float = 1e-4,
) -> Float[Array, "*shape p"]:
    """What a `source` prediction at (xt, t) says of `target`, in float32; see the module's docstring.

    Args:
      output: the prediction, of kind `source`.
      t: one level per token, in [0, 1].
      floor: least magnitude of the determinant: the conversion is exact where `source` is x0 and
        sigma >= floor, or `source` is noise and alpha >= floor; of velocity and v it is exact everywhere.
    """
    if source == target:
        return output.astype(jnp.float32)
    t, output, xt = t[..., None].astype(jnp.float32), output.astype(jnp.float32), xt.astype(jnp.float32)
    source_x0, source_noise = _mixture(source, t, path)
    target_x0, target_noise = _mixture(target, t, path)
    sign = -1.0 if source == "x0" else 1.0
    determinant = sign * jnp.maximum(sign * _determinant(source, t, path), floor)
    of_xt = target_x0 * source_noise - target_noise * source_x0
    of_output = target_noise * path.alpha(t) - target_x0 * path.sigma(t)
    return (of_xt * xt + of_output * output) / determinant


def gain(
    t: Float[Array, "*shape"], *, source: Prediction, target: Prediction, path: Path = LINEAR
) -> Float[Array, "*shape"]:
    """By how much an error of `source` is scaled when it is read as an error of `target`, xt being given.

    On LINEAR, from velocity: -t for x0, 1 - t for noise, sqrt((1-t)^2 + t^2) for v. Infinite where `source`
    does not determine `target`.
    """
    return _determinant(target, t, path) / _determinant(source, t, path)


def as_velocity(
    output: Float[Array, "b n p"],
    xt: Float[Array, "b n p"],
    *,
    t: Float[Array, "b n"],
    prediction: Prediction,
    floor: float = 1e-4,
) -> Float[Array, "b n p"]:
    """A network's output of kind `prediction` as the velocity of the linear path, in float32.

    `floor` as in `convert`. An x0 network trained on the velocity loss wants a larger one, since the loss
    then weighs its error by 1 / max(t, floor)^2 (Li & He 2025, arXiv 2511.13720, clip at 0.05); a noise
    network sampled from t = 1 likewise.
    """
    return convert(output, xt, t=t, source=prediction, target="velocity", floor=floor)


def velocity_fn(output_fn: VelocityFn, *, prediction: Prediction, floor: float = 1e-4) -> VelocityFn:
    """`output_fn(xt, t, batch)`, whose output is of kind `prediction`, as a velocity function."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}: use one of {', '.join(PREDICTIONS)}")

    def velocity_of(
        xt: Float[Array, "b n p"], t: Float[Array, "b n"], batch: PackedBatch
    ) -> Float[Array, "b n p"]:
        return as_velocity(output_fn(xt, t, batch), xt, t=t, prediction=prediction, floor=floor)

    return velocity_of
