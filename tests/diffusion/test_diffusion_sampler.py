"""Samplers on Gaussian data, where the velocity, the flow and the end are known in closed form."""

import functools
import itertools

import gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion import conditioning, objective, sampler

KEY = jax.random.key(0)
ORDERS = {"euler": 1, "heun": 2, "dpm2m": 2}
LOW, HIGH = 0.02, 0.98


STEPS = 64


@pytest.fixture(scope="module")
def run():
    """`run(name, times, noise, batch, eta=1.0)`: `sample` on the closed-form velocity.

    Times are made `[STEPS + 1 b n]` by standing still at the last, so that a sampler is compiled once. The
    velocity is NaN if the network is shown a known token that is not clean and at level 0, or a batch whose
    tokens are not `xt`.
    """

    def sample(name, times, noise, batch, eta):
        def velocity(xt, t, seen):
            wrong = jnp.any(seen.tokens != xt) | jnp.any(
                batch.known & ((t != 0) | jnp.any(xt != batch.tokens, axis=-1))
            )
            return gaussian.velocity(xt, t) + jnp.where(wrong, jnp.nan, 0.0)

        return sampler.sample(KEY, velocity, noise, times, batch, sampler=name, eta=eta)

    compiled = jax.jit(sample, static_argnums=(0, 4))

    def padded(name, times, noise, batch, eta=1.0):
        times = np.asarray(times)
        times = times.reshape(*times.shape, *[1] * (3 - times.ndim))
        times = np.concatenate([times, np.repeat(times[-1:], STEPS + 1 - len(times), axis=0)])
        times = np.broadcast_to(times, (STEPS + 1, *batch.segment.shape))
        x = np.asarray(compiled(name, times, noise, batch, eta))
        assert np.isfinite(x).all(), "the network was shown what it must not see"
        return x

    return padded


@pytest.fixture(scope="module")
def points():
    batch = gaussian.images(4, tokens=32, generator=np.random.default_rng(0))
    return batch, jax.random.normal(KEY, batch.tokens.shape)


def videos(*rows):
    """Rows of clips of 3 frames of 2 tokens, by number, in a batch of the same shapes as `points`."""
    segments = [[gaussian.segment(number, grid=(3, 1, 2)) for number in row] for row in rows]
    return gaussian.pack(*segments, *([] for _ in range(4 - len(rows))), tokens=32, text=32, segments=32)


def flow(z, t):
    """The exact solution at t of the token that is `z` at t = 1."""
    return (1 - t) * gaussian.MEAN + np.sqrt((1 - t) ** 2 * gaussian.VARIANCE + t**2) * np.asarray(z)


def root_mean_square(x):
    return float(np.sqrt(np.mean(np.square(x))))


def test_every_sampler_has_a_stated_order():
    assert set(ORDERS) | {"stochastic"} == set(sampler.SAMPLERS)


@pytest.mark.parametrize("name", ORDERS)
def test_the_observed_order_of_convergence_in_even_steps_of_logsnr(name, run, points):
    batch, z = points
    batch = batch._replace(tokens=jnp.broadcast_to(gaussian.MEAN, z.shape))
    start = (flow(z, HIGH) - (1 - HIGH) * gaussian.MEAN) / HIGH  # mixes with the mean to flow(z, HIGH)
    errors = []
    for steps in (24, 48):
        times = jax.nn.sigmoid(jnp.linspace(np.log(HIGH / (1 - HIGH)), np.log(LOW / (1 - LOW)), steps + 1))
        errors.append(root_mean_square(run(name, times, start, batch) - flow(z, LOW)))
    # An error C / N^k (1 + c / N), |c| up to about 4: the observed order is off by up to
    # c / (2 N ln 2) = 0.12.
    assert abs(np.log2(errors[0] / errors[1]) - ORDERS[name]) < 0.15


@pytest.mark.parametrize("name", ORDERS)
def test_the_observed_order_from_noise_to_data_in_even_steps_of_t(name, run, points):
    batch, z = points
    errors = [
        root_mean_square(run(name, sampler.schedule(steps), z, batch) - flow(z, 0.0)) for steps in (32, 64)
    ]
    order = np.log2(errors[0] / errors[1])
    # dpm2m extrapolates x0 in lambda, whose last steps do not shrink with N: its error is C log N / N^2,
    # and the observed order 2 - log2(log 64 / log 32) = 1.74.
    assert abs(order - {"euler": 1, "heun": 2, "dpm2m": 1.74}[name]) < 0.1
    assert errors[1] < {"euler": 0.05, "heun": 5e-4, "dpm2m": 5e-3}[name]


@pytest.mark.parametrize("name", ["euler", "stochastic"])
def test_one_step_from_noise_gives_the_mean_and_eta_zero_is_euler(name, run, points):
    batch, z = points
    x = run(name, sampler.schedule(1), z, batch)
    np.testing.assert_allclose(x, np.broadcast_to(gaussian.MEAN, x.shape), atol=1e-6)
    times = sampler.schedule(7)
    np.testing.assert_allclose(
        run("stochastic", times, z, batch, 0.0), run("euler", times, z, batch), atol=2e-6
    )


def recursion(times, eta):
    """The variance that the stochastic sampler's steps give exactly, in float64, per dimension."""
    data, spread = gaussian.VARIANCE.astype(np.float64), np.ones(3)
    for t, s in itertools.pairwise(times):
        total = (1 - t) ** 2 * data + t**2
        fresh = eta**2 * (s / t) ** 2 * (t**2 - s**2 * ((1 - t) / (1 - s)) ** 2)
        factor = (1 - s) * (1 - t) * data / total + np.sqrt(s**2 - fresh) * t / total
        spread = factor**2 * spread + fresh
    return spread


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_stochastic_sampler_keeps_the_mean_and_covariance(eta, run):
    variance = recursion(np.linspace(1, 0, 17), eta)
    errors = [np.abs(recursion(np.linspace(1, 0, n + 1), eta) / gaussian.VARIANCE - 1) for n in (480, 960)]
    assert errors[1].max() < 7 / 960
    np.testing.assert_allclose(errors[0] / errors[1], 2, rtol=0.05)  # first order: none is left in the limit

    batch = gaussian.images(32, tokens=256, generator=np.random.default_rng(1))
    z = jax.random.normal(jax.random.key(5), batch.tokens.shape)
    x = run("stochastic", sampler.schedule(16), z, batch, eta).reshape(-1, 3)
    number = len(x)
    assert (np.abs(x.mean(0) - gaussian.MEAN) < 5 * np.sqrt(variance / number)).all()
    covariance = np.cov(x.T)
    np.testing.assert_allclose(np.diag(covariance), variance, rtol=5 * np.sqrt(2 / number))
    correlation = np.corrcoef(x.T) - np.eye(3)
    assert np.abs(correlation).max() < 5 / np.sqrt(number)
    between = np.corrcoef(x[1:, 0], x[:-1, 0])[0, 1]
    assert abs(between) < 5 / np.sqrt(number)


@pytest.mark.parametrize("name", sampler.SAMPLERS)
def test_known_tokens_come_back_bit_for_bit_and_the_others_are_sampled(name, run):
    batch = videos((1, 2))
    known = np.zeros((4, 32), bool)
    known[0, [0, 1, 6, 7, 10, 11]] = True  # frame 0 of the first clip, 0 and 2 of the second
    noise = conditioning.token_noise(KEY, batch)
    x = run(name, sampler.schedule(16), noise, batch._replace(known=jnp.asarray(known)))
    np.testing.assert_array_equal(x[known], batch.tokens[known])
    free = ~known & np.asarray(batch.segment > 0)
    np.testing.assert_array_equal(x[free], run(name, sampler.schedule(16), noise, batch)[free])


@pytest.mark.parametrize("name", sampler.SAMPLERS)
def test_every_token_follows_its_own_schedule_and_waiting_changes_nothing(name, run):
    batch = videos((1,))
    noise = conditioning.token_noise(KEY, batch)
    together = np.asarray(sampler.schedule(6, shift=2.0))
    number = np.arange(12)[:, None] - [0, 2, 4]  # frame f begins after 2 f steps,
    number = np.clip(np.where(number > 3, number - 1, number), 0, 6)  # and pauses at its third level
    times = np.zeros((12, 4, 32))
    times[:, 0, :6] = np.repeat(together[number], 2, axis=1)
    alone = run(name, together, noise, batch, 0.0)
    np.testing.assert_allclose(run(name, times, noise, batch, 0.0), alone, atol=2e-6)


def test_stochastic_draws_do_not_depend_on_the_packing(run):
    one, other = videos((1, 2)), videos((3,), (2, 1))
    times = sampler.schedule(4)
    x, y = (run("stochastic", times, conditioning.token_noise(KEY, batch), batch) for batch in (one, other))
    np.testing.assert_array_equal(x[0, :6], y[1, 6:12])
    np.testing.assert_array_equal(x[0, 6:12], y[1, :6])


def test_times_that_begin_below_one_begin_from_the_half_noised_tokens(run, points):
    batch, z = points
    x = run("euler", jnp.asarray([0.3, 0.3]), z, batch)
    np.testing.assert_allclose(x, 0.7 * batch.tokens + 0.3 * z, atol=1e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
def test_the_schedule_runs_from_exactly_one_to_exactly_zero_along_the_shift(shift):
    times = np.asarray(sampler.schedule(7, shift=shift))
    assert times[0] == 1 and times[-1] == 0 and (np.diff(times) < 0).all()
    even = 1 - np.arange(8) / 7
    np.testing.assert_allclose(times, shift * even / (1 + (shift - 1) * even), atol=1e-6)


def test_a_schedule_per_token_is_each_clips_own():
    batch = gaussian.pack(
        [gaussian.segment(1, grid=(1, 2, 2)), gaussian.segment(2, grid=(4, 2, 2))], tokens=22
    )
    shift = conditioning.to_tokens(objective.clip_shift(batch, base_tokens=4), batch.segment)
    times = np.asarray(sampler.schedule(5, shift=shift))
    assert times.shape == (6, 1, 22)
    for at, clip_shift in ((0, 1.0), (4, 2.0)):
        np.testing.assert_allclose(times[:, 0, at], sampler.schedule(5, shift=clip_shift), atol=1e-7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sampler": "ddim"}, "'ddim': use one of euler, heun, dpm2m, stochastic"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"times": jnp.ones((4, 2))}, "times have shape"),
    ],
)
def test_a_wrong_choice_is_an_error(changed, message, points):
    batch, z = points
    arguments = {"times": sampler.schedule(3)} | changed
    with pytest.raises(ValueError, match=message):
        sampler.sample(KEY, gaussian.velocity, z, batch=batch, **arguments)
    with pytest.raises(ValueError, match="steps 0"):
        sampler.schedule(0)


def test_a_cache_of_zero_asks_at_every_step_and_a_larger_one_more_rarely_for_a_little_error():
    batch = gaussian.images(2, tokens=64, generator=np.random.default_rng(5))
    noise = jax.random.normal(jax.random.key(3), batch.tokens.shape)
    times = sampler.schedule(40)

    @functools.partial(jax.jit, static_argnames="cache")
    def run(cache: float):
        return sampler.sample_counted(KEY, gaussian.velocity, noise, times, batch, cache=cache)

    dense, none = run(0.0)
    plain = jax.jit(lambda: sampler.sample(KEY, gaussian.velocity, noise, times, batch))()
    np.testing.assert_array_equal(dense, plain)
    assert int(none) == 0
    last_error, last_skipped = 0.0, 0
    for cache in (0.03, 0.1, 0.3):
        found, skipped = run(cache)
        error = float(jnp.abs(found - dense).mean())
        assert int(skipped) > last_skipped and last_error < error < 0.5
        last_error, last_skipped = error, int(skipped)
    with pytest.raises(ValueError, match=r"cache 0.1 with sampler 'heun'"):
        sampler.sample(KEY, gaussian.velocity, noise, times, batch, sampler="heun", cache=0.1)
