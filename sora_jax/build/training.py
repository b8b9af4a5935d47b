"""From a table of settings to all that a training run needs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sora_jax import folder, patches, rng, tree
from sora_jax.build import models
from sora_jax.build.denoising import denoising, optimizer
from sora_jax.build.models import Table
from sora_jax.data import pipeline
from sora_jax.data.cache import CachedSource
from sora_jax.data.latents import LatentSource
from sora_jax.diffusion import conditioning
from sora_jax.diffusion.objective import Objective
from sora_jax.evaluation.denoising import DenoisingEvaluator, SampleEvaluator
from sora_jax.evaluation.reconstruction import ReconstructionEvaluator
from sora_jax.models import autoencoder as autoencoder_lib
from sora_jax.models import frozen_autoencoder
from sora_jax.models.autoencoder_adversary import Discriminator, adversarial_loss
from sora_jax.models.autoencoder_loss import reconstruction_loss
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder, to_model
from sora_jax.sampling.generate import generate
from sora_jax.sampling.request import Request, Settings
from sora_jax.sharding import rules
from sora_jax.training.loop import Evaluator
from sora_jax.training.step import LossFn
from sora_jax.types import Key, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """All that `training.loop.train` needs and a config decides.

    Attributes:
      init_params: key -> parameters.
      loss_fn, optimizer: what a step is made of.
      frozen: parameters that are handed to every step and not trained.
      batches: (start step, mine) -> endless host batches, of the rows `mine` alone (None = all).
      rows: of a batch, over all processes.
      evaluators: run every so often.
      manifest_hash: of the data; "" for a simulated world, which its config determines.
      sharding: which parameter is cut along which axis of the mesh.
    """

    init_params: Callable[[Key], Params]
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    frozen: Params
    batches: Callable[[int, Sequence[int] | None], Iterator[Any]]
    rows: int
    evaluators: Sequence[Evaluator]
    manifest_hash: str = ""
    sharding: rules.Rules = rules.DEFAULT_RULES


def training(config: Table) -> Training:
    """What the config's `kind` trains.

    Raises:
      ValueError: an unknown kind, or settings that do not fit together.
    """
    kinds = {"autoencoder": _train_autoencoder, "transformer": _train_transformer}
    if config.kind not in kinds:
        raise ValueError(f"kind {config.kind!r} is not one of {sorted(kinds)}")
    return kinds[config.kind](config)


def freeze_autoencoder(config: Table, params: Params) -> FrozenAutoencoder:
    """A trained autoencoder, its weights rounded as they will be shipped, with its latents' statistics."""
    params = folder.rounded(_autoencoder_side(params))
    videos = [videos[:16] for videos in _heldout_videos(config)]
    return frozen_autoencoder.freeze(
        models.autoencoder(config.model), params, videos, key=rng.key(config.seed, "latent statistics")
    )


def _autoencoder_side(params: Params) -> Params:
    """The autoencoder's own parameters, whether or not it was trained against a discriminator."""
    return params["autoencoder"] if "discriminator" in params else params


def _train_autoencoder(config: Table) -> Training:
    model = models.autoencoder(config.model)
    data = config.data
    source = CachedSource(models.source(config.source)) if data.cache else models.source(config.source)
    shapes = tuple((tuple(shape), share) for shape, share in data.shapes)
    (frames, height, width), _ = shapes[0]
    blank = jnp.zeros((1, frames, height, width, 3))
    trained = _first_weights(config, "autoencoder")

    def init_autoencoder(key: Key) -> Params:
        init_key, noise_key = jax.random.split(key)
        return tree.grow(trained, model.init(init_key, blank, noise_key)["params"])

    make_optimizer = functools.partial(optimizer, config.optimizer, total_steps=config.train.total_steps)
    if config.adversary.weight:
        pixel_loss, discriminator = _against_discriminator(config, model)
        sides = {side: side for side in ("autoencoder", "discriminator")}
        transformation = optax.partition({side: make_optimizer() for side in sides}, sides)

        def init_params(key: Key) -> Params:
            keys = jax.random.split(key)
            other = discriminator.init(keys[1], blank)["params"]
            return {"autoencoder": init_autoencoder(keys[0]), "discriminator": other}
    else:
        pixel_loss = reconstruction_loss(model, **config.loss.to_dict())
        transformation, init_params = make_optimizer(), init_autoencoder

    def loss_fn(params: Params, frozen: Params, batch: pipeline.ClipBatch, key: Key):
        return pixel_loss(params, frozen, to_model(batch.video), key)

    def batches(start: int, mine: Sequence[int] | None) -> Iterator[pipeline.ClipBatch]:
        return pipeline.make_clip_batches(
            source,
            seed=config.seed,
            batch=data.batch,
            shapes=shapes,
            mine=mine,
            start_step=start,
            workers=data.workers,
            prefetch=data.prefetch,
        )

    def reconstruct(params: Params, video: jax.Array) -> jax.Array:
        def through(module: autoencoder_lib.Autoencoder, video: jax.Array) -> jax.Array:
            return module.decode(module.encode(video).mean)

        own = {"params": _autoencoder_side(params)}
        return model.apply(own, video, method=through)  # type: ignore[return-value]

    return Training(
        init_params=init_params,
        loss_fn=loss_fn,
        optimizer=transformation,
        frozen={},
        batches=batches,
        rows=data.batch,
        evaluators=[ReconstructionEvaluator(reconstruct=reconstruct, videos=_heldout_videos(config))],
    )


def _against_discriminator(config: Table, model: autoencoder_lib.Autoencoder) -> tuple[LossFn, Discriminator]:
    """The loss of both sides of a table `adversary: {weight, width, depth}`, and the discriminator."""
    table = config.adversary
    discriminator = Discriminator(width=table.width, depth=table.depth, patch=model.ratio, dtype=model.dtype)
    loss_fn = adversarial_loss(model, discriminator, adversarial_weight=table.weight, **config.loss.to_dict())
    return loss_fn, discriminator


def _first_weights(config: Table, part: str) -> Params:
    """The weights of `part` in the model that the config's `start_from` names; none if it names none.

    Raises:
      ValueError: that model has no such part.
    """
    if not config.start_from:
        return {}
    _, autoencoder_weights, transformer_weights = folder.read(config.start_from)
    weights = autoencoder_weights if part == "autoencoder" else transformer_weights
    if weights is None:
        raise ValueError(
            f"start_from {config.start_from} has no {part}: name a whole model, or leave it empty"
        )
    return weights


def _frozen_and_stores(config: Table) -> tuple[FrozenAutoencoder, dict[str, LatentSource]]:
    """The autoencoder, and the stores "train" and "heldout" of the latents that it made.

    Raises:
      ValueError: one of them is not given, or the latents are another autoencoder's.
    """
    for name, given in (("autoencoder", config.autoencoder), ("data.latents", config.data.latents)):
        if not given:
            raise ValueError(f"{name} is not given: add --config.{name}=FOLDER")
    frozen = models.load_autoencoder(config.autoencoder)
    stores = {name: LatentSource(Path(config.data.latents) / name) for name in ("train", "heldout")}
    for name, store in stores.items():
        if store.fingerprint != frozen.fingerprint:
            raise ValueError(
                f"the latents in {config.data.latents}/{name} were made by autoencoder {store.fingerprint}, "
                f"and {config.autoencoder} is {frozen.fingerprint}: make the latents again, or name theirs"
            )
    return frozen, stores


def _train_transformer(config: Table) -> Training:
    frozen, stores = _frozen_and_stores(config)
    patch = tuple(config.patch)
    parts = denoising(config, channels=frozen.model.channels)
    trained = _first_weights(config, "transformer")

    def batches(
        start: int, mine: Sequence[int] | None, *, store: str = "train", stages: Any = None
    ) -> pipeline.Batches:
        data = config.data
        return pipeline.make_batches(
            stores[store],
            seed=config.seed,
            rows=data.rows,
            row_tokens=data.row_tokens,
            row_text=data.row_text,
            max_segments=data.max_segments,
            patch=patch,
            caption_mix=data.caption_mix.to_dict(),
            headless=data.headless if store == "train" else 0.0,
            stages=stages or data.stages,
            oversize=data.oversize,
            mine=mine,
            start_step=start,
            workers=data.workers if store == "train" else 0,
            prefetch=data.prefetch,
        )

    def init_params(key: Key) -> Params:
        return parts.init_params(key, fixed[0], trained)

    evaluation = config.evaluation
    heldout = batches(0, None, store="heldout", stages=((None, None),))
    fixed = [_as_given(heldout.batch_at(k), parts.objective) for k in range(evaluation.batches)]
    frames, height, side = evaluation.size
    patches.latent_grid(frames, height, side, ratio=frozen.ratio, patch=patch)
    requests = [
        Request(prompt=p, frames=frames, height=height, width=side, fps=evaluation.fps, seed=k)
        for k, p in enumerate(evaluation.prompts)
    ]
    generator = models.generator(parts.model, {}, frozen, patch=patch, prediction=config.prediction)

    def draw(params: Params) -> list[np.ndarray]:
        ready = dataclasses.replace(generator, params=params)
        return generate(ready, requests, settings=Settings(steps=evaluation.steps), rows=len(requests))

    evaluators: list[Evaluator] = [DenoisingEvaluator(apply=parts.apply, batches=fixed)]
    if evaluation.prompts:
        evaluators.append(SampleEvaluator(draw=draw, prompts=evaluation.prompts))
    return Training(
        init_params=init_params,
        loss_fn=parts.loss_fn,
        optimizer=parts.optimizer,
        frozen={},
        batches=batches,
        rows=config.data.rows,
        evaluators=evaluators,
        manifest_hash=stores["train"].manifest_hash,
        sharding=rules.TRANSFORMER_RULES,
    )


def _as_given(batch: PackedBatch, objective: Objective) -> PackedBatch:
    """The batch; with known tokens drawn once if the objective always gives some: so the model is used."""
    if objective.known.get("none", 0) > 0:
        return batch
    known = conditioning.draw_known(rng.key(0, "held-out known"), batch, shares=objective.known)
    return batch._replace(known=np.asarray(known))


def _heldout_videos(config: Table) -> list[np.ndarray]:
    """Clips of another world seed than the training's, one array per size."""
    evaluation = config.evaluation
    videos = []
    for number, shape in enumerate(evaluation.shapes):
        source = models.heldout_source(
            config.source, seed=evaluation.world_seed + number, length=evaluation.clips, shape=tuple(shape)
        )
        videos.append(np.stack([source[i].video for i in range(len(source))]))
    return videos
