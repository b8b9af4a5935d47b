"""From a table of settings to objects: the only reader of ConfigDict.

A new model, data set, objective or sampler is one entry here.
"""

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
from ml_collections import ConfigDict

from sora_jax import folder, patches, rng, tree
from sora_jax.data import pipeline
from sora_jax.data.cache import CachedSource
from sora_jax.data.latents import LatentSource
from sora_jax.data.source import FolderSource
from sora_jax.diffusion import path
from sora_jax.diffusion.objective import Objective
from sora_jax.evaluation.denoising import DenoisingEvaluator, SampleEvaluator
from sora_jax.evaluation.reconstruction import ReconstructionEvaluator
from sora_jax.models import autoencoder as autoencoder_lib
from sora_jax.models import autoencoder_loss, frozen_autoencoder, text
from sora_jax.models import transformer as transformer_lib
from sora_jax.models.autoencoder_latents import LatentStatistics
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder, to_model
from sora_jax.sampling.generate import Generator, Request, Settings, generate
from sora_jax.training import optimizer as optimizer_lib
from sora_jax.training.loop import Evaluator
from sora_jax.training.step import LossFn
from sora_jax.types import Key, PackedBatch, Params, Source
from sora_jax.worlds.source import WorldSource

Table = Any  # a ConfigDict: its attributes are those of its file, which no type checker knows


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


def training(config: Table) -> Training:
    """What the config's `kind` trains.

    Raises:
      ValueError: an unknown kind, or settings that do not fit together.
    """
    kinds = {"autoencoder": _train_autoencoder, "transformer": _train_transformer}
    if config.kind not in kinds:
        raise ValueError(f"kind {config.kind!r} is not one of {sorted(kinds)}")
    return kinds[config.kind](config)


def source(config: Table) -> Source:
    """The clips of a table `{kind: "world", world}` or `{kind: "folder", folder}`; see `FolderSource`."""
    match config.kind:
        case "world":
            return world(config.world)
        case "folder":
            return FolderSource(**config.folder.to_dict())
        case _:
            raise ValueError(f"source kind {config.kind!r} is neither 'world' nor 'folder'")


def world(config: Table, **changes: Any) -> WorldSource:
    """The simulated world of a table `{seed, length, frames, sizes, heldout}`; see `WorldSource`."""
    options = {**config.to_dict(), **changes}
    for name in ("frames", "families"):
        if options.get(name) is not None:
            options[name] = dict(options[name])
    if options.get("sizes") is not None:
        options["sizes"] = {(height, width): share for height, width, share in options["sizes"]}
    return WorldSource(**options)


def autoencoder(config: Table) -> autoencoder_lib.Autoencoder:
    """The autoencoder of a table `{size, dtype}`."""
    return autoencoder_lib.create(config.size, dtype=jnp.dtype(config.dtype))


def load_autoencoder(name: str | Path) -> FrozenAutoencoder:
    """The autoencoder of a model folder or a shipped model's name.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: the weights are not those that the folder's fingerprint was taken of.
    """
    model, weights, _ = folder.read(name)
    return _load_autoencoder(model, weights, name)


def _load_autoencoder(table: dict[str, Any], params: Params, name: str | Path) -> FrozenAutoencoder:
    statistics = LatentStatistics(*(np.asarray(table["statistics"][k], np.float32) for k in ("mean", "std")))
    model = autoencoder(ConfigDict(table["autoencoder"]))
    found = frozen_autoencoder.fingerprint(model, params, statistics)
    if found != table["fingerprint"]:
        raise ValueError(
            f"the autoencoder in {name} has fingerprint {found}, and {folder.MODEL} says "
            f"{table['fingerprint']}: weights and table do not belong together; export or fetch both again"
        )
    return FrozenAutoencoder(model=model, params=params, statistics=statistics, fingerprint=found)


def freeze_autoencoder(config: Table, params: Params) -> FrozenAutoencoder:
    """A trained autoencoder, its weights rounded as they will be shipped, with its latents' statistics."""
    params = folder.rounded(params)
    videos = [videos[:16] for videos in _heldout_videos(config)]
    return frozen_autoencoder.freeze(
        autoencoder(config.model), params, videos, key=rng.key(config.seed, "latent statistics")
    )


def transformer(config: Table, *, patch_width: int) -> transformer_lib.Transformer:
    """The transformer of a table `{size, text, levels, scan, remat, dtype}`."""
    for name, table in ((config.size, transformer_lib.SIZES), (config.text, text.SIZES)):
        if name not in table:
            raise ValueError(f"no model size {name!r}: use one of {', '.join(table)}")
    dtype = jnp.dtype(config.dtype)
    size: dict[str, Any] = dict(transformer_lib.SIZES[config.size])
    encoder_size: dict[str, Any] = dict(text.SIZES[config.text])
    return transformer_lib.Transformer(
        patch_width=patch_width,
        text_encoder=text.TextEncoder(dtype=dtype, **encoder_size),
        levels=config.levels,
        scan=config.scan,
        remat=config.remat,
        dtype=dtype,
        **size,
    )


def velocity_apply(model: transformer_lib.Transformer, *, prediction: path.Prediction) -> Callable[..., Any]:
    """`(params, xt, t, batch) -> velocity` of a model whose output is of kind `prediction`."""

    def apply(params: Params, xt: jax.Array, t: jax.Array, batch: PackedBatch) -> jax.Array:
        output_fn = functools.partial(model.apply, {"params": params})
        return path.velocity_fn(output_fn, prediction=prediction)(xt, t, batch)  # type: ignore[arg-type]

    return apply


def text_apply(model: transformer_lib.Transformer) -> Callable[[Params, PackedBatch], PackedBatch]:
    """`(params, batch) -> batch` with the captions as the model's own embeddings."""

    def apply(params: Params, batch: PackedBatch) -> PackedBatch:
        return model.apply({"params": params}, batch, method="encode_text")  # type: ignore[return-value]

    return apply


def _generator(
    model: transformer_lib.Transformer,
    params: Params,
    frozen: FrozenAutoencoder,
    *,
    patch: patches.Grid,
    prediction: path.Prediction,
) -> Generator:
    return Generator(
        apply=velocity_apply(model, prediction=prediction),
        encode_text=text_apply(model),
        params=params,
        decode=frozen.decode,
        ratio=frozen.ratio,
        patch=patch,
        channels=frozen.model.channels,
    )


def load_generator(name: str | Path) -> tuple[Generator, Settings]:
    """The model of a folder or a shipped name, ready to sample, and how it is best sampled.

    Raises:
      FileNotFoundError: no such model.
      ValueError: a folder without a transformer, or weights that do not belong together.
    """
    table, autoencoder_weights, params = folder.read(name)
    if params is None:
        raise ValueError(f"{name} holds an autoencoder alone: export the whole model to sample it")
    frozen = _load_autoencoder(table, autoencoder_weights, name)
    patch = tuple(table["patch"])
    # Sampling levels are few; None takes any number.
    config = ConfigDict({**table["transformer"], "levels": None, "scan": True})
    model = transformer(config, patch_width=int(np.prod(patch)) * frozen.model.channels)
    generator = _generator(model, params, frozen, patch=patch, prediction=table["prediction"])
    return generator, Settings(**table.get("sampling", {}))


def optimizer(config: Table, *, total_steps: int) -> optax.GradientTransformation:
    """The optimiser of a table of `make_optimizer`'s keywords."""
    return optimizer_lib.make_optimizer(total_steps=total_steps, **config.to_dict())


def _train_autoencoder(config: Table) -> Training:
    model = autoencoder(config.model)
    data = config.data
    source = CachedSource(world(config.world)) if data.cache else world(config.world)
    shapes = tuple((tuple(shape), share) for shape, share in data.shapes)
    reconstruction = autoencoder_loss.reconstruction_loss(model, **config.loss.to_dict())

    trained = _first_weights(config, "autoencoder")

    def init_params(key: Key) -> Params:
        (frames, height, width), _ = shapes[0]
        init_key, noise_key = jax.random.split(key)
        fresh = model.init(init_key, jnp.zeros((1, frames, height, width, 3)), noise_key)["params"]
        return tree.grow(trained, fresh)

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
    frozen = load_autoencoder(config.autoencoder)
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
    width = int(np.prod(patch)) * frozen.model.channels
    model = transformer(config.model, patch_width=width)
    apply = velocity_apply(model, prediction=config.prediction)
    objective = Objective(**config.objective.to_dict())
    trained = _first_weights(config, "transformer")

    def batches(start: int, *, store: str = "train", stages: Any = None) -> pipeline.Batches:
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
            stages=stages or data.stages,
            oversize=data.oversize,
            start_step=start,
            workers=data.workers if store == "train" else 0,
            prefetch=data.prefetch,
        )

    def init_params(key: Key) -> Params:
        batch = jax.tree.map(lambda x: x[:1], fixed[0])
        fresh = model.init(key, batch.tokens, jnp.zeros(batch.segment.shape), batch)["params"]
        return tree.grow(trained, fresh)

    def loss_fn(params: Params, frozen: Params, batch: PackedBatch, key: Key):
        return objective(key, functools.partial(apply, params), batch)

    evaluation = config.evaluation
    heldout = batches(0, store="heldout", stages=((None, None),))
    fixed = [heldout.batch_at(k) for k in range(evaluation.batches)]
    frames, height, side = evaluation.size
    patches.latent_grid(frames, height, side, ratio=frozen.ratio, patch=patch)
    if not evaluation.prompts:
        raise ValueError("evaluation.prompts is empty: give at least one")
    requests = [
        Request(prompt=p, frames=frames, height=height, width=side, fps=evaluation.fps, seed=k)
        for k, p in enumerate(evaluation.prompts)
    ]
    generator = _generator(model, {}, frozen, patch=patch, prediction=config.prediction)

    def draw(params: Params) -> list[np.ndarray]:
        ready = dataclasses.replace(generator, params=params)
        return generate(ready, requests, settings=Settings(steps=evaluation.steps), rows=len(requests))

    return Training(
        init_params=init_params,
        loss_fn=loss_fn,
        optimizer=optimizer(config.optimizer, total_steps=config.train.total_steps),
        frozen={},
        batches=batches,
        evaluators=[
            DenoisingEvaluator(apply=apply, batches=fixed),
            SampleEvaluator(draw=draw, prompts=evaluation.prompts),
        ],
        manifest_hash=stores["train"].manifest_hash,
    )


def _heldout_videos(config: Table) -> list[np.ndarray]:
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
