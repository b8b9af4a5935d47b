"""Gaussian latents and a family of models on them: a ladder whose law is known before a run is made.

Latents of one token are `p` independent normal numbers of variances `l` (its directions are the axes: the
family would be the same in any). The least rectified-flow loss over uniform t is E = (pi/2) mean sqrt(l), met
by `velocity = c(t, l) xt`, c(t, l) = (t - (1 - t) l) / ((1 - t)^2 l + t^2). A model of rank r,

    velocity_i = c(t, exp(theta_i)) xt_i + sum_j j^(-gamma / 2) u_j sqrt(2) cos(pi j t)

learns the variances of the first r directions and takes all others for `FLOOR`: N = r. What is left out
costs, and `spectrum` chooses the variances such that it costs A r^-alpha, exactly. The offset, of which the
best is none, is the same for all ranks and not counted in N, as the first layer of a noise level is not; it
begins as `u = u0` and its modes fade at rates j^-gamma, so that gradient descent leaves B D^-beta of it,
beta = 1 - 1 / gamma. The two do not meet, since the data have mean 0: the loss is
E + A / N^alpha + B / D^beta, but for the noise of training, and everything but the law's form is fitted.

Differs from a ladder of transformers: there nothing says that the terms add.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from sora_jax import rng
from sora_jax.diffusion.objective import Objective
from sora_jax.types import Key, PackedBatch, Params

FLOOR = 1e-4  # the variance that a direction is taken to have that is not modelled
RATE = 0.04  # of the offset
OBJECTIVE = Objective(density="uniform", caption_dropout=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Data and models.

    Attributes:
      width: numbers of a token, `p`.
      alpha, scale: a model of rank r loses `scale r^-alpha` for what it leaves out.
      gamma, modes, first: of the offset: rates of its modes, their number, and what each begins as.
      rows: tokens of a batch.
    """

    width: int = 512
    alpha: float = 1.0
    scale: float = 0.064
    gamma: float = 2.0
    modes: int = 1024
    first: float = 0.2
    rows: int = 32

    @functools.cached_property
    def spectrum(self) -> Float[np.ndarray, " p"]:
        """The variances, the largest first; the last has what directions beyond it would have cost."""
        tail = self.scale * np.arange(1.0, self.width) ** -self.alpha
        costs = self.width * np.concatenate([-np.diff(tail), tail[-1:]])
        low, high = np.full(len(costs), math.log(FLOOR)), np.full(len(costs), math.log(1e4))
        for _ in range(60):
            middle = (low + high) / 2
            above = omitted(np.exp(middle)) > costs
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        rest = np.exp((low + high) / 2)
        return np.concatenate([rest[:1], rest]).astype(np.float32)

    @property
    def least_loss(self) -> float:
        """E of the law."""
        return math.pi / 2 * float(np.mean(np.sqrt(self.spectrum.astype(np.float64))))

    def batch(self, key: Key, *, rows: int, tokens: int, start: int = 0) -> PackedBatch:
        """`rows x tokens` clips of one token each, numbered from `start`."""
        shape = (rows, tokens)
        deviation = jnp.sqrt(jnp.asarray(self.spectrum))[None, None]
        number = jnp.broadcast_to(jnp.arange(1, tokens + 1), shape)
        zeros = jnp.zeros(shape, jnp.int32)
        return PackedBatch(
            tokens=deviation * jax.random.normal(key, (*shape, self.width)),
            position=jnp.zeros((*shape, 3)),
            segment=number,
            known=jnp.zeros(shape, bool),
            index=jnp.zeros((*shape, 3), jnp.int32),
            clip=(start + jnp.arange(rows * tokens, dtype=jnp.uint32)).reshape(shape),
            grid=jnp.ones((*shape, 3), jnp.int32),
            text=zeros,
            text_segment=number,
            span=zeros,
            text_span=zeros,
        )

    def init(self, rank: int) -> Params:
        """The parameters of a model of rank `rank` before training."""
        return {
            "variance": jnp.full((rank,), math.log(FLOOR)),
            "offset": jnp.full((self.modes,), self.first),
        }

    def velocity(self, params: Params, xt: Array, t: Array, batch: PackedBatch) -> Array:
        """`(params, xt, t, batch) -> velocity`; see the module's docstring."""
        del batch
        left_out = self.width - params["variance"].shape[0]
        log = jnp.concatenate([params["variance"], jnp.full((left_out,), math.log(FLOOR))])
        number = jnp.arange(1, self.modes + 1, dtype=jnp.float32)
        waves = math.sqrt(2) * jnp.cos(math.pi * t[..., None] * number[None, None])
        offset = waves @ (number ** (-self.gamma / 2) * params["offset"])
        return coefficient(t[..., None], jnp.exp(log)[None, None]) * xt + offset[..., None]

    def train(self, rank: int, *, seed: int, steps: Sequence[int]) -> Iterator[tuple[int, Params]]:
        """(steps done, parameters) at each of `steps`, ascending, of one run on fresh samples."""
        state = _start(self, rank)
        done = 0
        for until in steps:
            state = _run(state, done, until, rng.key(seed, "gaussian"), family=self)
            done = until
            yield done, state[0]


def coefficient(t: Any, variance: Any) -> Any:
    """`c(t, l)`: the best velocity is `c xt`."""
    return (t - (1 - t) * variance) / ((1 - t) ** 2 * variance + t**2)


def omitted(variance: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What it costs to take directions of these variances for ones of `FLOOR`; midpoint rule in ln t."""
    edges = np.geomspace(1e-6, 1.0, 4001)
    t = np.sqrt(edges[1:] * edges[:-1])[:, None]
    off = coefficient(t, FLOOR) - coefficient(t, variance[None])
    return np.sum(np.diff(edges)[:, None] * off**2 * ((1 - t) ** 2 * variance[None] + t**2), axis=0)


def _optimizer() -> optax.GradientTransformation:
    """Variances are found within a hundred steps and hold; the offset is left to its rates."""
    kinds: dict[Any, optax.GradientTransformation] = {
        "variance": optax.adam(lambda step: 0.5 / (1 + step / 50)),
        "offset": optax.sgd(RATE),
    }
    return optax.partition(kinds, {name: name for name in kinds})


def _start(family: Family, rank: int) -> tuple[Params, Any]:
    params = family.init(rank)
    return params, _optimizer().init(params)


@functools.partial(jax.jit, static_argnames="family")
def _run(state: Any, start: Array, stop: Array, key: Key, *, family: Family) -> Any:
    """The steps `start` to `stop`; a batch and its noise are functions of (key, step)."""

    def one(step: Array, state: Any) -> Any:
        data_key, noise_key = jax.random.split(jax.random.fold_in(key, step))
        batch = family.batch(data_key, rows=1, tokens=family.rows)

        def loss(params: Params) -> Array:
            return OBJECTIVE(noise_key, functools.partial(family.velocity, params), batch)[0]

        params, opt_state = state
        updates, opt_state = _optimizer().update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return jax.lax.fori_loop(start, stop, one, state)
