"""Rotary embedding in three axes, read from positions (seconds, row, column).

A head of `d` numbers is `d / 2` planes; plane i is turned by the angle `w_i x`, where x is the token's
position on the plane's axis. The product of a query and a key then depends only on the difference of
their positions (Su et al. 2021, arXiv 2104.09864), so sizes, frame rates and durations never seen in
training have a meaning: positions are geometry, not array indices.

Frequencies are geometric on each axis, in radians per unit of position, and chosen for our units
(`patches.positions`):
- row and column: the frame's short side spans [-1, 1] and tokens stand 2/3 (48 px) to 1/4 (128 px) apart,
  1/8 at 256 px. The slowest turns by 3 rad from edge to edge, which still tells left from right. The
  fastest is finer than the tokens of a small frame; 16.5 was found to keep every plane of heads of 32, 64
  and 128 at least 0.18 rad from whole turns between neighbours, at all sides from 48 to 256 px (at 22, one
  stood still at 112 px).
- seconds: latent frames stand 0.25 to 0.5 s apart, clips last up to 4 s: 0.5 to 9 rad per second.

Differs: the planes are not shared equally; a quarter goes to time, the rest to row and column alike.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.nn.layers import geometric, turn

SECONDS_BAND = (0.5, 9.0)
SPACE_BAND = (1.5, 16.5)


def planes(head_dim: int) -> tuple[int, int, int]:
    """How many rotated planes each of (seconds, row, column) gets; they add up to `head_dim / 2`.

    Raises:
      ValueError: the head is odd or too small to give each axis a plane.
    """
    if head_dim % 2 or head_dim < 6:
        raise ValueError(f"head of {head_dim} numbers cannot be rotated on 3 axes: use an even number >= 6")
    half = head_dim // 2
    space = (3 * half) // 8 or 1
    return half - 2 * space, space, space


def rotations(
    position: Float[Array, "b n 3"],
    *,
    head_dim: int,
    seconds_band: tuple[float, float] = SECONDS_BAND,
    space_band: tuple[float, float] = SPACE_BAND,
) -> tuple[Float[Array, "b n h"], Float[Array, "b n h"]]:
    """Cosine and sine of every plane's angle at every token, float32, `h = head_dim / 2`."""
    bands = (seconds_band, space_band, space_band)
    angles = []
    for axis, (count, band) in enumerate(zip(planes(head_dim), bands, strict=True)):
        w = jnp.asarray(geometric(*band, count), jnp.float32)
        angles.append(position[:, :, axis, None].astype(jnp.float32) * w[None, None, :])
    angle = jnp.concatenate(angles, axis=-1)
    return jax.lax.platform_dependent(
        angle, cpu=_one_after_the_other, default=lambda x: (jnp.cos(x), jnp.sin(x))
    )


def _one_after_the_other(angle: Float[Array, "b n h"]) -> tuple[Float[Array, "b n h"], Float[Array, "b n h"]]:
    """Cosine and sine, made in a loop, out of which XLA does not take them.

    On a CPU it would else fold them into all that turns by them, and make them again for every layer, pass
    and head: a tenth of a second of a step of 4.7 (width 768, 12 layers, 1,024 tokens).
    """
    cosine, sine = jax.lax.map(
        lambda is_sine: jnp.where(is_sine, jnp.sin(angle), jnp.cos(angle)), jnp.array([False, True])
    )
    return cosine, sine


def rotate(
    x: Float[Array, "b n k d"], cosine: Float[Array, "b n h"], sine: Float[Array, "b n h"]
) -> Float[Array, "b n k d"]:
    """Turns plane i = (x[i], x[i + d / 2]) of every head by its token's angle; float32."""
    return turn(x.astype(jnp.float32), cosine, sine)
