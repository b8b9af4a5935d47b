"""The training objectives: what is drawn, what the network sees, and which error counts.

One draw per clip: a level t (or one per frame), noise on the clip's grid, which frames are given, whether the
caption is dropped. Then

    xt = (1 - t) x0 + t noise        error = mean over p of (gain(t) (velocity_fn(xt, t) - velocity))^2

and the loss is the mean of `error` over all tokens that are neither padding nor known, in float32. `gain`
turns an error of the velocity into one of the `target`: 1 (rectified flow), -t (x0), 1 - t (noise),
sqrt((1-t)^2 + t^2) (v); all have the conditional expectation as their optimum and differ in how they weigh
the levels. What the network itself puts out is another matter, which `path.velocity_fn` settles before.

For Gaussian data of variance l the least error of the velocity at t is l / ((1-t)^2 l + t^2), whose mean over
uniform t is (pi/2) sqrt(l).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sora_jax.diffusion import conditioning, path
from sora_jax.types import Key, PackedBatch, VelocityFn

Density = Literal["logit_normal", "uniform", "cosine"]
BINS = 5  # of t, in the metrics
GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: its multiples modulo 2^32 are spread evenly

Metrics = dict[str, Float[Array, ""]]


class Corrupted(NamedTuple):
    """What one draw of the objective shows the network, and what it must answer.

    `batch` is the batch as the network sees it: `known` and the captions as drawn, and `xt` in place of the
    clean tokens, so that no network can read its answer there.
    """

    xt: Float[Array, "b n p"]
    t: Float[Array, "b n"]
    velocity: Float[Array, "b n p"]
    counted: Bool[Array, "b n"]  # neither padding nor known
    batch: PackedBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """`objective(key, velocity_fn, batch) -> (loss, metrics)`; see the module's docstring.

    Attributes:
      target: the quantity whose squared error is the loss; "velocity" is rectified flow.
      density: of t. "logit_normal": sigmoid of a normal of `logit_mean` and `logit_std`
        (Esser et al. 2024, arXiv 2403.03206, Sec. 3.1); "uniform"; "cosine": uniform on the cosine path.
      base_tokens: where given, t is shifted by each clip's token count: see `token_shift`.
      shift_range: least and greatest shift of a clip.
      caption_dropout: share of the clips whose caption is dropped.
      known: kind -> share of the clips; `conditioning.KNOWN_KINDS`; the shares sum to 1.
      known_noise: known tokens get a level uniform in [0, known_noise], one per clip. 0 = exactly clean.
      forcing: share of the clips whose frames have levels of their own.
    """

    target: path.Prediction = "velocity"
    density: Density = "logit_normal"
    logit_mean: float = 0.0
    logit_std: float = 1.0
    base_tokens: int | None = None
    shift_range: tuple[float, float] = (1.0, 8.0)
    caption_dropout: float = 0.1
    known: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"none": 1.0})
    known_noise: float = 0.0
    forcing: float = 0.0

    def __post_init__(self) -> None:
        conditioning.checked_shares(self.known)
        if self.target not in path.PREDICTIONS:
            raise ValueError(f"unknown target {self.target!r}: use one of {', '.join(path.PREDICTIONS)}")
        if self.density not in ("logit_normal", "uniform", "cosine"):
            raise ValueError(f"unknown density {self.density!r}: use logit_normal, uniform or cosine")
        for name in ("caption_dropout", "known_noise", "forcing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: use a number from 0 to 1")
        if not 0 < self.shift_range[0] <= self.shift_range[1]:
            raise ValueError(f"shift_range is {self.shift_range}: use (least, greatest), both above 0")
        if self.logit_std <= 0:
            raise ValueError(f"logit_std is {self.logit_std}: use a number above 0")

    def __call__(
        self, key: Key, velocity_fn: VelocityFn, batch: PackedBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss (0 if no token counts), and its parts.

        The metrics: `tokens`, the number of tokens the loss is the mean of, and for each k-th fifth of t
        `loss_part/k`, what its tokens contribute to the loss (the parts add up to it), and `token_share/k`,
        which share of the tokens it has. Both may be averaged plainly over steps; one divided by the other is
        the mean error there.
        """
        drawn = self.corrupt(key, batch)
        error = squared_error(velocity_fn, drawn)
        error = error * path.gain(drawn.t, source="velocity", target=self.target) ** 2
        sums, numbers = _sums(error, drawn.t, drawn.counted)
        tokens = jnp.maximum(jnp.sum(numbers), 1.0)
        metrics = {"tokens": jnp.sum(numbers)}
        metrics |= _per_bin("loss_part", sums / tokens) | _per_bin("token_share", numbers / tokens)
        return jnp.sum(sums) / tokens, metrics

    def corrupt(self, key: Key, batch: PackedBatch) -> Corrupted:
        """Draws levels, noise, known tokens and dropped captions; `batch.known` tokens stay known."""
        noise_key, level_key, known_key, small_key, caption_key = jax.random.split(key, 5)
        segment = jnp.asarray(batch.segment)
        known = conditioning.draw_known(known_key, batch, shares=self.known) | batch.known
        small = self.known_noise * conditioning.clip_uniform(small_key, batch)
        t = self.levels(level_key, batch)
        t = jnp.where(known, conditioning.to_tokens(small, segment), t)
        dropped = conditioning.clip_uniform(caption_key, batch) < self.caption_dropout
        batch = conditioning.drop_captions(batch._replace(known=known), dropped)
        return _corrupted(batch, t=t, noise=conditioning.token_noise(noise_key, batch))

    def levels(self, key: Key, batch: PackedBatch) -> Float[Array, "b n"]:
        """The level t of every token, as if none were known; 0 at padding."""
        uniform = conditioning.level_uniform(key, batch, forcing=self.forcing)
        t = self.quantile(uniform)
        if self.base_tokens is not None:
            shift = clip_shift(batch, base_tokens=self.base_tokens, shift_range=self.shift_range)
            t = shifted(t, shift=conditioning.to_tokens(shift, batch.segment))
        return jnp.where(jnp.asarray(batch.segment) > 0, t, 0.0)

    def quantile(self, uniform: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The t below which a share `uniform` of the density lies."""
        match self.density:
            case "uniform":
                return uniform
            case "logit_normal":
                inside = jnp.clip(uniform, 2.0**-24, 1 - 2.0**-24)
                normal = jax.scipy.special.ndtri(inside)
                return jax.nn.sigmoid(self.logit_mean + self.logit_std * normal)
            case "cosine":
                return path.to_linear(uniform, path=path.COSINE)[0]
            case _:
                raise ValueError(f"unknown density {self.density!r}")


def token_shift(tokens: Int[Array, "*shape"], *, base_tokens: int) -> Float[Array, "*shape"]:
    """`s = sqrt(tokens / base_tokens)`: at t' = s t / (1 + (s - 1) t), a clip of `tokens` tokens is as
    uncertain as one of `base_tokens` is at t (Esser et al. 2024, arXiv 2403.03206, Eq. 23)."""
    return jnp.sqrt(jnp.asarray(tokens).astype(jnp.float32) / base_tokens)


def clip_shift(
    batch: PackedBatch, *, base_tokens: int, shift_range: tuple[float, float] = (1.0, 8.0)
) -> Float[Array, "b s"]:
    """`token_shift` of every clip's grid, held within `shift_range`: by default a clip smaller than the base
    is not shifted, and one of more than 64 times its tokens no further than that."""
    tokens = jnp.prod(jnp.asarray(batch.grid), axis=-1)
    return jnp.clip(token_shift(tokens, base_tokens=base_tokens), *shift_range)


def shifted(t: Float[Array, "*shape"], *, shift: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """`shift t / (1 + (shift - 1) t)`: 0 and 1 stay, a shift above 1 moves the rest towards noise."""
    return shift * t / (1 + (shift - 1) * t)


def _corrupted(batch: PackedBatch, *, t: Array, noise: Array) -> Corrupted:
    x0 = jnp.asarray(batch.tokens).astype(jnp.float32)
    xt = path.mix(x0, noise, t=t)
    counted = (jnp.asarray(batch.segment) > 0) & ~jnp.asarray(batch.known)
    velocity = path.velocity(x0, noise, t=t)
    return Corrupted(xt=xt, t=t, velocity=velocity, counted=counted, batch=batch._replace(tokens=xt))


def squared_error(velocity_fn: VelocityFn, drawn: Corrupted) -> Float[Array, "b n"]:
    """The squared error of the velocity, averaged over each token's numbers, float32."""
    answer = velocity_fn(drawn.xt, drawn.t, drawn.batch).astype(jnp.float32)
    return jnp.mean((answer - drawn.velocity) ** 2, axis=-1)


def _sums(error: Array, t: Array, counted: Array) -> tuple[Array, Array]:
    """The sum of the counted tokens' errors and their number, per bin of t; float32 `[BINS]` each."""
    bin_of = jnp.clip(jnp.floor(t * BINS), 0, BINS - 1)
    inside = [counted & (bin_of == k) for k in range(BINS)]
    sums = jnp.stack([jnp.sum(jnp.where(here, error, 0.0)) for here in inside])
    return sums, jnp.stack([jnp.sum(here, dtype=jnp.float32) for here in inside])


def _per_bin(name: str, values: Array) -> Metrics:
    return {f"{name}/{k}": values[k] for k in range(BINS)}


class Errors(NamedTuple):
    """The velocity's errors at every token and level of an evaluation, float32.

    `counted` is false at padding and at known tokens, where `error` means nothing. All counted tokens of a
    clip have one level in a round.
    """

    error: Float[Array, "r b n"]
    t: Float[Array, "r b n"]
    counted: Bool[Array, "r b n"]


def evaluation_errors(key: Key, velocity_fn: VelocityFn, batch: PackedBatch, *, rounds: int = 1) -> Errors:
    """The velocity's errors over uniform t with nothing left to chance: for comparing models and objectives.

    Each clip is met at `rounds` levels, evenly spaced from a start that is a function of its number alone,
    and such that consecutive clips together cover [0, 1) evenly (a Weyl sequence of step 1 / golden ratio).
    Captions are all there, and no token but those of `batch.known` is known. The noise is a function of (key,
    clip, round): give the same key at every evaluation.
    """
    start_key, noise_key = jax.random.split(key)
    start = jax.random.bits(start_key, (), jnp.uint32)
    weyl = jnp.asarray(batch.clip).astype(jnp.uint32) * jnp.uint32(GOLDEN) + start
    uniform = (weyl >> 8).astype(jnp.float32) * 2.0**-24

    def one(number: Array) -> Errors:
        level = jnp.mod(uniform + number / rounds, 1.0)
        t = jnp.where(jnp.asarray(batch.known), 0.0, conditioning.to_tokens(level, batch.segment))
        noise = conditioning.token_noise(jax.random.fold_in(noise_key, number), batch)
        drawn = _corrupted(batch, t=t, noise=noise)
        return Errors(squared_error(velocity_fn, drawn), drawn.t, drawn.counted)

    return jax.lax.map(one, jnp.arange(rounds))


def evaluation_loss(
    key: Key, velocity_fn: VelocityFn, batch: PackedBatch, *, rounds: int = 1
) -> tuple[Float[Array, ""], Metrics]:
    """The mean of `evaluation_errors` over the counted tokens.

    The metrics: `tokens`, how many errors the loss is the mean of (`rounds` per counted token), and for each
    k-th fifth of t `loss_t/k`, the mean error there (0 if there is none), and `tokens_t/k`, of how many. To
    average over batches, weigh each mean with its number.
    """
    sums, numbers = _sums(*evaluation_errors(key, velocity_fn, batch, rounds=rounds))
    means = sums / jnp.maximum(numbers, 1.0)
    tokens = jnp.sum(numbers)
    metrics = {"tokens": tokens} | _per_bin("loss_t", means) | _per_bin("tokens_t", numbers)
    return jnp.sum(sums) / jnp.maximum(tokens, 1.0), metrics
