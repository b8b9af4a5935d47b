"""Every draw that belongs to a clip: noise, noise levels, known tokens, caption dropout.

All are keyed by (key, clip number) and, within the clip, by (frame, row, column); nothing depends on the
place in the row or the batch, on the batch's size, on the mesh, or on the clip's grid. So a clip has the same
draws alone and packed, and the same seed gives the same noise at the same place of a larger grid. Two
segments with the same clip number under one key have the same draws: number samples apart.

A table `[b s]` holds one entry per segment of a row, entry k of segment k + 1; `to_tokens` spreads it.
Padding has segment 0 and gets 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from sora_jax.types import Key, PackedBatch, VelocityFn

EOS = 1  # the end-of-sequence token: all that is left of a dropped caption

# Which tokens of a clip are given (noise level 0, no loss): whole frames of its grid, or a box in all.
KNOWN_KINDS = (
    "none",
    "first_frame",
    "last_frame",
    "prefix",
    "suffix",
    "both_ends",
    "random_frames",
    "first_two_frames",
    "inside_box",
    "outside_box",
)
BOXES = ("inside_box", "outside_box")


def to_tokens(table: Shaped[Array, "b s *rest"], segment: Int[Array, "b n"]) -> Shaped[Array, "b n *rest"]:
    """Spreads a per-segment table to tokens; padding gets 0."""
    table, segment = jnp.asarray(table), jnp.asarray(segment)
    rows = jnp.arange(table.shape[0])[:, None]
    values = table[rows, jnp.maximum(segment - 1, 0)]
    real = jnp.expand_dims(segment > 0, tuple(range(2, values.ndim)))
    return jnp.where(real, values, jnp.zeros_like(values))


def _each(fn: Callable[..., Array]) -> Callable[..., Array]:
    """`fn` at every entry of arrays `[b x]`; no axis is merged, so that a sharding of either survives."""
    return jax.vmap(jax.vmap(fn))


def _fold(key: Key, *numbers: Array) -> Key:
    """One key per entry of `numbers` (integers `[b x]`), a function of those numbers alone."""

    def fold(*own: Array) -> Key:
        folded = key
        for number in own:
            folded = jax.random.fold_in(folded, number.astype(jnp.uint32))
        return folded

    return _each(fold)(*numbers)


def _token_keys(key: Key, batch: PackedBatch) -> Key:
    """One key per token `[b n]`; rows and columns below 65536 share one number."""
    index = jnp.asarray(batch.index)
    place = index[..., 1].astype(jnp.uint32) * 65536 + index[..., 2].astype(jnp.uint32)
    return _fold(key, to_tokens(batch.clip, batch.segment), index[..., 0], place)


def token_noise(key: Key, batch: PackedBatch) -> Float[Array, "b n p"]:
    """Standard normal float32 noise of the shape of `batch.tokens`; what it is at padding does not matter."""
    width = batch.tokens.shape[-1]
    return _each(lambda token_key: jax.random.normal(token_key, (width,)))(_token_keys(key, batch))


def clip_uniform(key: Key, batch: PackedBatch) -> Float[Array, "b s"]:
    """One uniform number in [0, 1) per clip."""
    return _each(jax.random.uniform)(_fold(key, jnp.asarray(batch.clip)))


def frame_uniform(key: Key, batch: PackedBatch) -> Float[Array, "b n"]:
    """One uniform number in [0, 1) per frame of each clip, at each of the frame's tokens."""
    keys = _fold(key, to_tokens(batch.clip, batch.segment), jnp.asarray(batch.index)[..., 0])
    return _each(jax.random.uniform)(keys)


def level_uniform(key: Key, batch: PackedBatch, *, forcing: float) -> Float[Array, "b n"]:
    """A uniform number per token from which its noise level is made: one per clip, or one per frame.

    Args:
      forcing: share of the clips, in [0, 1], whose frames each have a number of their own
        (diffusion forcing; Chen et al. 2024, arXiv 2407.01392).
    """
    by_clip, by_frame, choice = jax.random.split(key, 3)
    level = to_tokens(clip_uniform(by_clip, batch), batch.segment)
    if forcing == 0:
        return level
    forced = to_tokens(clip_uniform(choice, batch) < forcing, batch.segment)
    return jnp.where(forced, frame_uniform(by_frame, batch), level)


def checked_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """The kinds of `KNOWN_KINDS` with a share above 0.

    Raises:
      ValueError: a name that is not a kind, a share that is not in [0, 1], shares that do not sum to 1.
    """
    for name, share in shares.items():
        if name not in KNOWN_KINDS:
            near = difflib.get_close_matches(name, KNOWN_KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(KNOWN_KINDS)}"
            raise ValueError(f"unknown kind of known tokens {name!r}: {hint}")
        if not 0 <= share <= 1:
            raise ValueError(f"the share of {name!r} is {share}: use a number from 0 to 1")
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"the shares of known tokens sum to {total:g}: make them sum to 1 ({dict(shares)})")
    return {name: shares[name] for name in KNOWN_KINDS if shares.get(name, 0) > 0}


def draw_known(key: Key, batch: PackedBatch, *, shares: Mapping[str, float]) -> Bool[Array, "b n"]:
    """Draws which tokens of each clip are given; some always stay unknown.

    With F the frames of the clip's grid: `prefix` and `suffix` are 1 to F - 1 frames, uniformly; `both_ends`
    is 2 to F - 1 in all, at least one at each end (of two frames, the first); `first_two_frames` are one if F
    is 2; of `random_frames` each is known with a probability that is itself uniform, and one frame, drawn
    uniformly, never is. A clip of one frame has no known frames. A box has 1 to R rows and 1 to C columns of
    the clip's R x C, uniformly each and uniformly placed, the same in every frame, and what is known is what
    lies in it, or all else; where that would be all or nothing of the clip, nothing is known.

    Args:
      shares: kind -> share of the clips, summing to 1; see `KNOWN_KINDS`.

    Raises:
      ValueError: see `checked_shares`.
    """
    kinds = checked_shares(shares)
    if set(kinds) == {"none"}:
        return jnp.zeros(batch.segment.shape, bool)
    which_key, first_key, second_key, frame_key, box_key = jax.random.split(key, 5)
    edges = np.cumsum(list(kinds.values()), dtype=np.float32)[:-1]
    numbers = jnp.asarray([KNOWN_KINDS.index(name) for name in kinds])
    kind = numbers[jnp.searchsorted(edges, clip_uniform(which_key, batch), side="right")]
    first, second = clip_uniform(first_key, batch), clip_uniform(second_key, batch)
    frames = jnp.asarray(batch.grid)[..., 0]
    head, tail = _ends(kind, frames, first=first, second=second)

    segment, frame = jnp.asarray(batch.segment), jnp.asarray(batch.index)[..., 0]
    at_end = (frame < to_tokens(head, segment)) | (frame >= to_tokens(frames - tail, segment))
    spared = to_tokens(_below(second, frames), segment)
    scattered = (frame_uniform(frame_key, batch) < to_tokens(first, segment)) & (frame != spared)
    random_kind = to_tokens(kind == KNOWN_KINDS.index("random_frames"), segment)
    several = to_tokens(frames > 1, segment)  # False at padding
    by_frames = several & jnp.where(random_kind, scattered, at_end)
    if not any(name in kinds for name in BOXES):
        return by_frames
    return by_frames | _boxed(box_key, batch, kind)


def _boxed(key: Key, batch: PackedBatch, kind: Int[Array, "b s"]) -> Bool[Array, "b n"]:
    """The known tokens of the clips whose kind is a box."""
    segment, index = jnp.asarray(batch.segment), jnp.asarray(batch.index)
    inside = segment > 0
    full = jnp.ones(batch.clip.shape, bool)  # the box is the whole frame
    for axis, own in ((1, jax.random.fold_in(key, 1)), (2, jax.random.fold_in(key, 2))):
        length_key, start_key = jax.random.split(own)
        sides = jnp.asarray(batch.grid)[..., axis]
        length = 1 + _below(clip_uniform(length_key, batch), sides)
        start = _below(clip_uniform(start_key, batch), sides - length + 1)
        at = index[..., axis]
        inside &= (at >= to_tokens(start, segment)) & (at < to_tokens(start + length, segment))
        full &= length == sides
    inner = to_tokens((kind == KNOWN_KINDS.index("inside_box")) & ~full, segment)
    outer = to_tokens((kind == KNOWN_KINDS.index("outside_box")) & ~full, segment)
    return (inner & inside) | (outer & ~inside)


def _below(uniform: Array, count: Array) -> Array:
    """A whole number from 0 to `count - 1` (0 if count < 1) from a uniform one in [0, 1)."""
    return jnp.clip(jnp.floor(uniform * count).astype(jnp.int32), 0, jnp.maximum(count - 1, 0))


def _ends(kind: Array, frames: Array, *, first: Array, second: Array) -> tuple[Array, Array]:
    """How many frames are known at the beginning and the end, `[b s]` each, of clips of 2 or more."""
    none, one = jnp.zeros_like(frames), jnp.ones_like(frames)
    some = 1 + _below(first, frames - 1)  # 1 .. F - 1
    both = 2 + _below(first, frames - 2)  # 2 .. F - 1
    before = 1 + _below(second, both - 1)  # 1 .. both - 1
    after = jnp.where(frames > 2, both - before, 0)
    two = jnp.minimum(2, frames - 1)
    names = ("first_frame", "last_frame", "prefix", "suffix", "both_ends", "first_two_frames")
    is_kind = [kind == KNOWN_KINDS.index(name) for name in names]
    head = jnp.select(is_kind, [one, none, some, none, before, two], none)
    tail = jnp.select(is_kind, [none, one, none, some, after, none], none)
    return head, tail


def drop_captions(batch: PackedBatch, drop: Bool[Array, "b s"]) -> PackedBatch:
    """The batch with the captions of the marked clips reduced to their end-of-sequence token.

    What is left is what the empty caption is made of, so a dropped caption is the unconditional one.
    """
    gone = to_tokens(drop, batch.text_segment) & (jnp.asarray(batch.text) != EOS)
    return batch._replace(text_segment=jnp.where(gone, 0, batch.text_segment))


def drop_all_captions(batch: PackedBatch) -> PackedBatch:
    """The batch without any caption: the unconditional side of guidance."""
    return drop_captions(batch, jnp.ones(batch.clip.shape, bool))


def noised_context(velocity_fn: VelocityFn, *, noise: Float[Array, "b n p"], level: float) -> VelocityFn:
    """`velocity_fn` that is shown known tokens at noise level `level` instead of clean.

    After diffusion forcing (Chen et al. 2024, arXiv 2407.01392, Sec. 3.3): a model that goes on from what it
    made itself is told that it may be a little wrong.
    """

    def noised(xt: Array, t: Array, batch: PackedBatch) -> Array:
        known = jnp.asarray(batch.known)
        xt = jnp.where(known[..., None], (1 - level) * xt + level * noise, xt)
        return velocity_fn(xt, jnp.where(known, level, t), batch)

    return noised


def hide_known(
    xt: Float[Array, "b n p"], t: Float[Array, "b n"], batch: PackedBatch, *, noise: Float[Array, "b n p"]
) -> tuple[Float[Array, "b n p"], Float[Array, "b n"]]:
    """(tokens, levels) with noise of level 1 in the place of every known token."""
    known = jnp.asarray(batch.known)
    return jnp.where(known[..., None], noise, xt), jnp.where(known, 1.0, t)
