"""Spatial and causal shifts: a neighbourhood for a per-position network, at no arithmetic cost.

A fixed group of channels of every position is taken from its neighbour instead (Wu et al. 2018,
"Shift", arXiv 1711.08141, Sec. 3; in time Lin et al. 2019, TSM, arXiv 1811.08383, Sec. 3.2, the
uni-directional variant). A matrix product that follows mixes the groups, so that a stack of
[norm, shift, MLP] sees a growing neighbourhood with no convolution in it.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

GROUPS = 8  # of the channels: one for each spatial direction, one from the past, three stay


def temporal_channels(width: int) -> int:
    """The channels, of `width`, that the causal shift takes from the previous frame."""
    if width % GROUPS:
        raise ValueError(f"width {width} is not a multiple of {GROUPS} (one channel group per direction)")
    return width // GROUPS


def shift(
    x: Float[Array, "b f h w d"], previous: Float[Array, "b h w g"]
) -> tuple[Float[Array, "b f h w d"], Float[Array, "b h w g"]]:
    """Takes channel groups from the neighbours above, below, left and right, and from the past.

    Args:
      x: `[b f h w d]`, with `d` a multiple of 8. Of the eight groups of channels the first four come from the
        position above, below, left and right (zero beyond the frame's edge), the fifth from the same
        position of the frame before; three stay.
      previous: `[b h w d/8]`, the fifth group of the frame before the first of `x`; zeros at the start of a
        clip.

    Returns:
      The shifted array, and the `previous` of the chunk that follows.
    """
    group = temporal_channels(x.shape[-1])
    above, below, left, right, past = (x[..., k * group : (k + 1) * group] for k in range(5))

    def pad(y: Array, axis: int, before: int) -> Array:
        return jnp.pad(y, [(before, 1 - before) if a == axis else (0, 0) for a in range(5)])

    shifted = jnp.concatenate(
        [
            pad(above[:, :, :-1], 2, 1),
            pad(below[:, :, 1:], 2, 0),
            pad(left[:, :, :, :-1], 3, 1),
            pad(right[:, :, :, 1:], 3, 0),
            jnp.concatenate([previous[:, None].astype(x.dtype), past[:, :-1]], axis=1),
            x[..., 5 * group :],
        ],
        axis=-1,
    )
    return shifted, past[:, -1]
