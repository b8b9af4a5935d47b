"""From a table of settings to objects: the only reader of ConfigDict.

A new model, data set, objective or sampler is one entry here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from sora_jax.data import pipeline
from sora_jax.evaluation.reconstruction import ReconstructionEvaluator, to_model
from sora_jax.models import autoencoder as autoencoder_lib
from sora_jax.models import autoencoder_loss
from sora_jax.training import optimizer as optimizer_lib
from sora_jax.training.loop import Evaluator
from sora_jax.training.step import LossFn
from sora_jax.types import Key, Params
from sora_jax.worlds.source import WorldSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """All that `training.loop.train` needs and a config decides.

    Attributes:
      init_params: key -> parameters.
      loss_fn, optimizer: what a step is made of.
      frozen: parameters that are handed to every step and not trained.
      batches: start step -> endless host batches.
      evaluators: run every so often.
      manifest_hash: of the data; "" for a simulated world, which its config determines.
    """

    init_params: Callable[[Key], Params]
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    frozen: Params
    batches: Callable[[int], Iterator[Any]]
    evaluators: Sequence[Evaluator]
    manifest_hash: str = ""


def training(config: ConfigDict) -> Training:
    """What the config's `kind` trains.

    Raises:
      ValueError: an unknown kind, or settings that do not fit together.
    """
    kinds = {"autoencoder": _train_autoencoder}
    if config.kind not in kinds:
        raise ValueError(f"kind {config.kind!r} is not one of {sorted(kinds)}")
    return kinds[config.kind](config)


def world(config: ConfigDict, **changes: Any) -> WorldSource:
    """The simulated world of a table `{seed, length, frames, sizes, heldout}`; see `WorldSource`."""
    options = {**config.to_dict(), **changes}
    if options.get("frames") is not None:
        options["frames"] = dict(options["frames"])
    if options.get("sizes") is not None:
        options["sizes"] = {(height, width): share for height, width, share in options["sizes"]}
    return WorldSource(**options)


def autoencoder(config: ConfigDict) -> autoencoder_lib.Autoencoder:
    """The autoencoder of a table `{size, dtype}`."""
    return autoencoder_lib.create(config.size, dtype=jnp.dtype(config.dtype))


def optimizer(config: ConfigDict, *, total_steps: int) -> optax.GradientTransformation:
    """The optimiser of a table of `make_optimizer`'s keywords."""
    return optimizer_lib.make_optimizer(total_steps=total_steps, **config.to_dict())


def _train_autoencoder(config: ConfigDict) -> Training:
    model = autoencoder(config.model)
    source = world(config.world)
    data = config.data
    shapes = tuple((tuple(shape), share) for shape, share in data.shapes)
    reconstruction = autoencoder_loss.reconstruction_loss(model, **config.loss.to_dict())

    def init_params(key: Key) -> Params:
        (frames, height, width), _ = shapes[0]
        init_key, noise_key = jax.random.split(key)
        return model.init(init_key, jnp.zeros((1, frames, height, width, 3)), noise_key)["params"]

    def loss_fn(params: Params, frozen: Params, batch: pipeline.ClipBatch, key: Key):
        return reconstruction(params, frozen, to_model(batch.video), key)

    def batches(start: int) -> Iterator[pipeline.ClipBatch]:
        return pipeline.make_clip_batches(
            source,
            seed=config.seed,
            batch=data.batch,
            shapes=shapes,
            start_step=start,
            workers=data.workers,
            prefetch=data.prefetch,
        )

    def reconstruct(params: Params, video: jax.Array) -> jax.Array:
        def through(module: autoencoder_lib.Autoencoder, video: jax.Array) -> jax.Array:
            return module.decode(module.encode(video).mean)

        return model.apply({"params": params}, video, method=through)  # type: ignore[return-value]

    return Training(
        init_params=init_params,
        loss_fn=loss_fn,
        optimizer=optimizer(config.optimizer, total_steps=config.train.total_steps),
        frozen={},
        batches=batches,
        evaluators=[ReconstructionEvaluator(reconstruct=reconstruct, videos=_heldout_videos(config))],
    )


def _heldout_videos(config: ConfigDict) -> list[np.ndarray]:
    """Clips of another world seed than the training's, one array per size."""
    evaluation = config.evaluation
    videos = []
    for number, (frames, height, width) in enumerate(evaluation.shapes):
        source = world(
            config.world,
            seed=evaluation.world_seed + number,
            length=evaluation.clips,
            frames=((frames, 1.0),),
            sizes=((height, width, 1.0),),
        )
        videos.append(np.stack([source[i].video for i in range(len(source))]))
    return videos
