"""Samplers: from noise to data along the velocity, with a noise level of its own for every token.

One loop (`lax.scan` over the times) serves all; a sampler is one step of it, from levels t to s <= t. With
`x0 = x - t velocity` and `noise = x + (1 - t) velocity`, what the velocity says of the token's two ends:

    euler        x_s = x + (s - t) velocity(x, t)
    heun         the mean of the velocities at both ends of that step; Euler where s = 0, since a network has
                 hardly been trained there (Karras et al. 2022, arXiv 2206.00364, Alg. 1)
    dpm2m        x_s = (s / t) x + (1 - s / t) (x0 + h / (2 h') (x0 - x0')), h = lambda_s - lambda_t,
                 lambda = log((1 - t) / t); primes are of the step before. DPM-Solver++(2M), Lu et al. 2022,
                 arXiv 2211.01095, Alg. 2, with alpha = 1 - t, sigma = t. Without history, and where s = 0 or
                 t' = 1 (h or h' infinite), it is Euler
    stochastic   x_s = (1 - s) x0 + sqrt(s^2 - c^2) noise + c z, z fresh, c = eta times the standard deviation
                 of x_s given x_t and x0: c^2 = eta^2 (s / t)^2 (t^2 - s^2 ((1 - t) / (1 - s))^2). All eta
                 have the same marginals in the limit of many steps; eta = 0 is Euler, 1 the ancestral one
                 (Song et al. 2021, arXiv 2010.02502, Eq. 12 and 16)

`cache` above 0 (euler alone) skips evaluations: while what the network sees has moved by less than that share
since it was last asked, its last answer is used again. After step caching as in TeaCache (Liu et al. 2024,
arXiv 2411.19108), with the change of the noisy tokens themselves in place of the modulated ones.

A token with s = t stands still in all of them, which is what a known token (t = 0 throughout) does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.diffusion import conditioning, path
from sora_jax.types import Key, PackedBatch, VelocityFn

SamplerName = Literal["euler", "heun", "dpm2m", "stochastic"]
SAMPLERS: tuple[SamplerName, ...] = ("euler", "heun", "dpm2m", "stochastic")

At = Callable[[Array, Array], Array]  # (x, t) -> velocity


class State(NamedTuple):
    """What goes from step to step: the tokens, and what a sampler remembers of the steps before.

    dpm2m: `x0` and `h` (0 = none). The cache: the last velocity that the network gave in `x0`'s place, the
    tokens that it was given (`seen`), and how many steps went without it (`skipped`).
    """

    x: Float[Array, "b n p"]
    x0: Float[Array, "b n p"]
    h: Float[Array, "b n"]
    seen: Float[Array, "b n p"]
    skipped: Int[Array, ""]


def schedule(steps: int, *, shift: Float[Array, "*levels"] | float = 1.0) -> Float[Array, "times ..."]:
    """Times `[steps + 1, ...]` from exactly 1 to exactly 0, evenly spaced and then shifted.

    Args:
      steps: at least 1.
      shift: `s t / (1 + (s - 1) t)`; above 1 spends more steps near noise. A number, or one per token
        `[b n]` (`objective.clip_shift` spread by `conditioning.to_tokens`), for times `[steps + 1 b n]`.

    Raises:
      ValueError: fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"steps {steps} is below 1: use at least 1")
    shift = jnp.asarray(shift, jnp.float32)
    t = jnp.linspace(1.0, 0.0, steps + 1, dtype=jnp.float32)
    t = jnp.broadcast_to(jnp.expand_dims(t, tuple(range(1, 1 + shift.ndim))), (steps + 1, *shift.shape))
    shift = jnp.broadcast_to(shift, t.shape)
    return shift * t / jnp.where(t < 1, 1 + (shift - 1) * t, shift)


def sample(*arguments: Any, **options: Any) -> Float[Array, "b n p"]:
    """The tokens of `sample_counted`, with its arguments."""
    return sample_counted(*arguments, **options)[0]


def sample_counted(
    key: Key,
    velocity_fn: VelocityFn,
    noise: Float[Array, "b n p"],
    times: Float[Array, "times ..."],
    batch: PackedBatch,
    *,
    sampler: SamplerName = "euler",
    eta: float = 1.0,
    cache: float = 0.0,
) -> tuple[Float[Array, "b n p"], Int[Array, ""]]:
    """The tokens that the velocity carries from `times[0]` to `times[-1]`. To be called under `jax.jit`.

    It starts from `(1 - times[0]) batch.tokens + times[0] noise`: from pure noise where times begin at 1,
    from a half-noised video where they begin lower. Tokens that `batch.known` marks stay at level 0 and come
    back as they are in `batch.tokens`. The network sees `x` in place of `batch.tokens`.

    Args:
      key: of the stochastic sampler's draws, which depend on (key, step, clip, place) and nothing else.
      noise: see `conditioning.token_noise`.
      times: levels in [0, 1], never rising: `[steps + 1]` for all tokens, or `[steps + 1 b n]`, a schedule
      per token. batch: `tokens` must be finite everywhere; at unknown tokens they matter only where times[0]
      < 1. sampler: one of `SAMPLERS`; `velocity_fn` is called once per step, by heun twice but for the last.
      eta: of the stochastic sampler, in [0, 1].
      cache: see the module's docstring; 0 asks the network at every step. The decision is one for all rows,
        so with a cache a video may depend on those that it is sampled with.

    Returns:
      The tokens, and the number of steps in which the network was not asked.

    Raises:
      ValueError: an unknown sampler, an eta outside [0, 1], times of another shape, a cache below 0 or with
        another sampler than euler.
    """
    _check(sampler, eta=eta, cache=cache)
    times = jnp.asarray(times, jnp.float32)
    if times.ndim not in (1, 3) or len(times) < 2 or times.shape[1:] not in ((), batch.segment.shape):
        raise ValueError(f"times have shape {times.shape}: use [steps + 1] or [steps + 1, b, n]")

    segment, tokens = jnp.asarray(batch.segment), jnp.asarray(batch.tokens).astype(jnp.float32)
    free = (segment > 0) & ~jnp.asarray(batch.known)
    levels = jnp.where(free, times.reshape(len(times), *(times.shape[1:] or (1, 1))), 0.0)

    def at(x: Array, t: Array) -> Array:
        return velocity_fn(x, t, batch._replace(tokens=x)).astype(jnp.float32)

    def body(state: State, step: tuple[Array, Array, Array]) -> tuple[State, None]:
        number, t, s = step
        match sampler:
            case "euler" if cache:
                new = _cached_euler(at, state, t, s, first=number == 0, free=free, cache=cache)
            case "euler":
                new = _euler(at, state, t, s)
            case "heun":
                new = _heun(at, state, t, s)
            case "dpm2m":
                new = _dpm2m(at, state, t, s)
            case "stochastic":
                z = conditioning.token_noise(jax.random.fold_in(key, number), batch)
                new = _stochastic(at, state, t, s, z=z, eta=eta)
        return new._replace(x=jnp.where(free[..., None], new.x, tokens)), None

    x = path.mix(tokens, noise.astype(jnp.float32), t=levels[0])
    start = State(
        x=x,
        x0=jnp.zeros_like(x),
        h=jnp.zeros_like(levels[0]),
        seen=jnp.zeros_like(x),
        skipped=jnp.zeros((), jnp.int32),
    )
    final, _ = jax.lax.scan(body, start, (jnp.arange(len(times) - 1), levels[:-1], levels[1:]))
    return final.x, final.skipped


def _check(sampler: str, *, eta: float, cache: float) -> None:
    """Raises ValueError for what `sample_counted` does not take."""
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}: use one of {', '.join(SAMPLERS)}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}: use a number from 0 (deterministic) to 1 (ancestral)")
    if cache < 0 or (cache and sampler != "euler"):
        raise ValueError(f"cache {cache} with sampler {sampler!r}: use 0, or about 0.1 with euler")


def _euler(at: At, state: State, t: Array, s: Array) -> State:
    return state._replace(x=state.x + (s - t)[..., None] * at(state.x, t))


def _cached_euler(
    at: At, state: State, t: Array, s: Array, *, first: Array, free: Array, cache: float
) -> State:
    """Euler with the last velocity wherever the free tokens have hardly moved since it was given."""
    moved = jnp.sum(jnp.abs(state.x - state.seen), where=free[..., None])
    size = jnp.sum(jnp.abs(state.seen), where=free[..., None])
    skip = ~first & (moved < cache * size)
    velocity = jax.lax.cond(skip, lambda: state.x0, lambda: at(state.x, t))
    seen = jnp.where(skip, state.seen, state.x)
    x = state.x + (s - t)[..., None] * velocity
    return state._replace(x=x, x0=velocity, seen=seen, skipped=state.skipped + skip.astype(jnp.int32))


def _heun(at: At, state: State, t: Array, s: Array) -> State:
    dt = (s - t)[..., None]
    first = at(state.x, t)
    guess = state.x + dt * first
    corrected = (s > 0) & (s < t)

    def correct() -> Array:
        return jnp.where(corrected[..., None], (first + at(guess, s)) / 2, first)

    return state._replace(x=state.x + dt * jax.lax.cond(jnp.any(corrected), correct, lambda: first))


def _log_snr_half(t: Array) -> Array:
    return path.logsnr(t) / 2


def _dpm2m(at: At, state: State, t: Array, s: Array) -> State:
    x0 = state.x - t[..., None] * at(state.x, t)
    moves = s < t
    h = jnp.where(moves, _log_snr_half(s) - _log_snr_half(jnp.where(moves, t, 0.5)), 0.0)
    second = (state.h > 0) & jnp.isfinite(state.h) & jnp.isfinite(h)
    ratio = jnp.where(second, h, 0.0) / jnp.where(second, 2 * state.h, 1.0)
    ahead = x0 + ratio[..., None] * (x0 - state.x0)
    stay = jnp.where(moves, s, 1.0) / jnp.where(moves, t, 1.0)
    x = stay[..., None] * state.x + (1 - stay)[..., None] * ahead
    x0, h = jnp.where(moves[..., None], x0, state.x0), jnp.where(moves, h, state.h)
    return state._replace(x=x, x0=x0, h=h)


def _stochastic(at: At, state: State, t: Array, s: Array, *, z: Array, eta: float) -> State:
    velocity = at(state.x, t)
    x0 = state.x - t[..., None] * velocity
    noise = state.x + (1 - t)[..., None] * velocity
    moves = s < t
    safe_t, safe_s = jnp.where(moves, t, 1.0), jnp.where(moves, s, 0.0)
    kept = (1 - safe_t) / (1 - safe_s)
    fresh = eta * safe_s / safe_t * jnp.sqrt(jnp.maximum(safe_t**2 - (safe_s * kept) ** 2, 0.0))
    old = jnp.sqrt(jnp.maximum(safe_s**2 - fresh**2, 0.0))
    x = (1 - safe_s)[..., None] * x0 + old[..., None] * noise + fresh[..., None] * z
    return state._replace(x=jnp.where(moves[..., None], x, state.x))
