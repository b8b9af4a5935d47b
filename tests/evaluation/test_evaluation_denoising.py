"""The held-out loss: of a clip and not of its row, and certain where two models are compared."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import build
from sora_jax.diffusion import objective
from sora_jax.evaluation import denoising
from sora_jax.models.text import TextEncoder
from sora_jax.models.transformer import Transformer

sys.path.insert(0, str(Path(__file__).parents[1] / "diffusion"))
import gaussian

KEY = jax.random.key(3)
GRIDS = {5: (3, 2, 4), 6: (1, 3, 2), 9: (5, 2, 2), 4_000_000_000: (2, 3, 3)}
ROOM = {"tokens": 72, "text": 18, "segments": 5}


def model(**changes) -> Transformer:
    encoder = TextEncoder(width=16, depth=1, heads=2, head_dim=6, hidden=20)
    size = {"patch_width": 3, "width": 24, "depth": 2, "heads": 2, "hidden": 40, "levels": 6, "scan": True}
    return Transformer(**{"text_encoder": encoder, **size, **changes})


APPLY = build.velocity_apply(model(), prediction="velocity")


def clips(*numbers: int) -> list:
    return [gaussian.segment(number, grid=GRIDS[number]) for number in numbers]


@pytest.fixture(scope="module")
def params():
    """Weights of which none is zero, so that everything that a token could see is seen."""
    batch = gaussian.pack(clips(*GRIDS), **ROOM)
    shapes = jax.eval_shape(model().init, KEY, batch.tokens, jnp.zeros(batch.segment.shape), batch)["params"]
    generator = np.random.default_rng(4)
    return jax.tree.map(lambda x: 0.2 * generator.normal(size=x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def whole(params):
    """The clips in one row, and their losses there."""
    batch = gaussian.pack(clips(*GRIDS), **ROOM)
    return batch, denoising.clip_losses(KEY, APPLY, params, [batch], rounds=3)


def test_a_packed_clip_has_the_loss_that_it_has_alone(params, whole):
    _, packed = whole
    assert packed.clip.tolist() == list(GRIDS)
    assert packed.tokens.tolist() == [np.prod(grid) for grid in GRIDS.values()]
    batches = [gaussian.pack(clips(number), **ROOM) for number in GRIDS]
    alone = denoising.clip_losses(KEY, APPLY, params, batches, rounds=3)
    np.testing.assert_array_equal(alone.clip, packed.clip)
    np.testing.assert_array_equal(alone.t, packed.t)
    # Sums of up to 72 float32 numbers, in another order.
    np.testing.assert_allclose(alone.loss, packed.loss, rtol=1e-5)
    assert np.ptp(packed.loss) > 0.1


def test_padding_and_known_tokens_never_count(params, whole):
    batch, packed = whole
    padding = np.asarray(batch.segment) == 0
    assert padding.any()
    # Float32 holds an error of 1e4 squared; were it averaged in, no digit of the loss would stay.
    dirty = batch._replace(tokens=jnp.where(padding[..., None], 1e4, batch.tokens))
    again = denoising.clip_losses(KEY, APPLY, params, [dirty], rounds=3)
    np.testing.assert_array_equal(again.loss, packed.loss)
    second = np.asarray(batch.segment) == 2
    known = batch._replace(known=jnp.asarray(second) | (np.asarray(batch.index)[..., 0] == 4))
    given = denoising.clip_losses(KEY, APPLY, params, [known], rounds=3)
    assert given.clip.tolist() == [5, 9, 4_000_000_000]  # of the second clip nothing is left to guess
    assert given.tokens.tolist() == [24, 16, 18]
    np.testing.assert_array_equal(given.t, packed.t[[0, 2, 3]])


def test_its_means_are_those_of_the_evaluation_loss(params, whole):
    batch, packed = whole
    evaluated = jax.jit(lambda p, b: objective.evaluation_loss(KEY, functools.partial(APPLY, p), b, rounds=3))
    loss, metrics = evaluated(params, batch)
    np.testing.assert_allclose(denoising.token_mean(packed), loss, rtol=1e-5)
    for k in range(objective.BINS):
        own = denoising.token_mean(packed, fifth=k)
        np.testing.assert_allclose(own, metrics[f"loss_t/{k}"], rtol=1e-5)
    held_out = denoising.held_out_loss(packed)
    np.testing.assert_allclose(held_out.mean, loss, rtol=1e-5)
    np.testing.assert_allclose(held_out.per_clip, packed.loss.mean(axis=1), rtol=1e-6)


def test_common_noise_makes_a_difference_a_hundred_times_as_certain(params):
    batch = gaussian.images(16, tokens=32, generator=np.random.default_rng(0))
    other = jax.tree.map(lambda x: 1.01 * x, params)
    keys = [jax.random.key(100 + k) for k in range(40)]
    # `levels` is of a row, which here has 32 clips.
    apply = build.velocity_apply(model(levels=None), prediction="velocity")

    def loss(weights, key):
        return denoising.held_out_loss(denoising.clip_losses(key, apply, weights, [batch], rounds=2))

    before = [loss(params, key) for key in keys]
    after = [loss(other, key) for key in keys]
    pairs = [denoising.paired_difference(b, a) for b, a in zip(after, before, strict=True)]
    common = np.array([difference for difference, _ in pairs])
    fresh = np.array([b.mean - a.mean for b, a in zip(after, before[1:] + before[:1], strict=True)])
    assert np.var(fresh) > 100 * np.var(common)
    # Two standard deviations of 40 numbers, each known to 11 %. Even levels make the loss itself surer than
    # its standard error says.
    stated = np.sqrt(np.mean([error**2 for _, error in pairs]))
    assert 0.5 < np.std(common) / stated < 1.4
    assert np.std([a.mean for a in before]) < 1.4 * before[0].standard_error


def test_the_loss_of_the_closed_form_is_the_known_least_one_within_its_error():
    batch = gaussian.images(64, tokens=64, generator=np.random.default_rng(1))
    losses = denoising.clip_losses(KEY, lambda params, *x: gaussian.velocity(*x), {}, [batch], rounds=4)
    found = denoising.held_out_loss(losses)
    known = np.pi / 2 * np.mean(np.sqrt(gaussian.VARIANCE))
    assert abs(found.mean - known) < 4 * found.standard_error < 0.05 * known


def test_models_of_one_shape_share_what_was_compiled(params, whole):
    batch, _ = whole
    again = build.velocity_apply(model(), prediction="velocity")
    assert again is APPLY
    compiled = denoising._sums._cache_size()
    denoising.clip_losses(KEY, again, jax.tree.map(lambda x: 2 * x, params), [batch, batch], rounds=3)
    assert denoising._sums._cache_size() == compiled


def test_a_clip_that_came_twice_and_losses_of_other_clips_are_errors(params, whole):
    batch, packed = whole
    twice = denoising.clip_losses(KEY, APPLY, params, [batch, batch], rounds=3)
    with pytest.raises(ValueError, match="8 losses of 4 clips"):
        denoising.held_out_loss(twice)
    both = denoising.held_out_loss(denoising.once(twice))
    assert both.mean == denoising.held_out_loss(packed).mean
    fewer = denoising.held_out_loss(type(packed)(*(x[:3] for x in packed)))
    with pytest.raises(ValueError, match="other clips"):
        denoising.paired_difference(both, fewer)
