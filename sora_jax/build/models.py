"""From tables of settings and folders of weights to sources, models and a generator."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from sora_jax import folder, patches
from sora_jax.data.interleave import InterleavedSource, JoinedSource
from sora_jax.data.source import FolderSource
from sora_jax.diffusion import path
from sora_jax.models import autoencoder as autoencoder_lib
from sora_jax.models import frozen_autoencoder, text
from sora_jax.models import transformer as transformer_lib
from sora_jax.models.autoencoder_latents import LatentStatistics
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.nn.attention import BLOCKS, PLATFORMS, Implementation
from sora_jax.sampling.request import Generator, Settings
from sora_jax.sharding import rules
from sora_jax.types import PackedBatch, Params, Source
from sora_jax.worlds.bench.source import BenchSource
from sora_jax.worlds.phyworld import PhyworldSource
from sora_jax.worlds.source import WorldSource

Table = Any  # a ConfigDict: its attributes are those of its file, which no type checker knows


def source(config: Table) -> Source:
    """The clips of a table `{kind, world | bench | phyworld | folder | joined}`: the kind names what is read.

    `joined` holds such tables by any names: all their clips. See `WorldSource`, `BenchSource`,
    `PhyworldSource` and `FolderSource`.
    """
    match config.kind:
        case "world":
            return world(config.world)
        case "bench":
            return bench(config.bench)
        case "phyworld":
            return phyworld(config.phyworld)
        case "joined":
            return JoinedSource([source(config.joined[name]) for name in sorted(config.joined)])
        case "folder":
            return FolderSource(**config.folder.to_dict())
        case _:
            raise ValueError(
                f"source kind {config.kind!r} is none of 'world', 'bench', 'phyworld', 'folder', 'joined'"
            )


def heldout_source(config: Table, *, seed: int, length: int, shape: tuple[int, int, int]) -> Source:
    """Other clips of a table's simulator (as for `source`), all of one shape (frames, height, width).

    Raises:
      ValueError: a kind whose clips are not simulated, or a shape that it has none of.
    """
    frames, height, width = shape
    match config.kind:
        case "world":
            sizes = ((height, width, 1.0),)
            return world(config.world, seed=seed, length=length, frames=((frames, 1.0),), sizes=sizes)
        case "phyworld" if height == width:
            table = config.phyworld
            each = -(-length // (len(table.laws) * len(table.splits)))
            return phyworld(table, seed=seed, length=each, frames=frames, side=height)
        case _:
            raise ValueError(f"a source of kind {config.kind!r} has no held-out clips of shape {shape}")


def bench(config: Table) -> Source:
    """The benchmark's clips of a table `{families, seed, length, ...}`; see `BenchSource`.

    `length` counts the cases of each family; the families must have as many variants as each other.
    """
    options = config.to_dict()
    sources = [BenchSource(family, **options) for family in options.pop("families")]
    return sources[0] if len(sources) == 1 else InterleavedSource(sources)


def phyworld(config: Table, **changes: Any) -> Source:
    """The phyworld protocol's clips of a table `{laws, splits, seed, length, frames, side}`.

    `length` is of each law and split; of several, clips come in turn.
    """
    options = {**config.to_dict(), **changes}
    laws, splits = options.pop("laws"), options.pop("splits")
    pairs = [(law, split) for law in laws for split in splits]
    sources = [PhyworldSource(law, split=split, **options) for law, split in pairs]
    return sources[0] if len(sources) == 1 else InterleavedSource(sources)


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


def transformer(config: Table, *, patch_width: int) -> transformer_lib.Transformer:
    """The transformer of a table `{size, text, levels, scan, remat, attention, dtype, pattern}`.

    `size` is a name, or a table of `transformer.family`'s keywords; the text encoder then follows it.
    """
    size, encoder_size = _sizes(config)
    dtype = jnp.dtype(config.dtype)
    return transformer_lib.Transformer(
        patch_width=patch_width,
        text_encoder=text.TextEncoder(dtype=dtype, **encoder_size),
        levels=config.levels,
        scan=config.scan,
        remat=config.remat,
        attention=config.attention,
        pattern=config.get("pattern", "full"),  # what was exported before there was another
        dtype=dtype,
        **size,
    )


def _sizes(config: Table) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(config.size, str):
        size = transformer_lib.family(**config.size.to_dict())
        return size, text.family(**{name: size[name] for name in ("width", "heads", "hidden")})
    for name, table in ((config.size, transformer_lib.SIZES), (config.text, text.SIZES)):
        if name not in table:
            raise ValueError(f"no model size {name!r}: use one of {', '.join(table)}")
    return dict(transformer_lib.SIZES[config.size]), dict(text.SIZES[config.text])


def velocity_apply(model: transformer_lib.Transformer, *, prediction: path.Prediction) -> Callable[..., Any]:
    """`(params, xt, t, batch) -> velocity` of a model whose output is of kind `prediction`.

    The same function for equal models, so that what was compiled for one serves all.
    """
    return _velocity_apply(model, prediction)  # type: ignore[arg-type]  (linen gives modules a hash)


@functools.cache
def _velocity_apply(model: transformer_lib.Transformer, prediction: path.Prediction) -> Callable[..., Any]:
    def apply(params: Params, xt: jax.Array, t: jax.Array, batch: PackedBatch) -> jax.Array:
        output_fn = functools.partial(model.apply, {"params": params})
        return path.velocity_fn(output_fn, prediction=prediction)(xt, t, batch)  # type: ignore[arg-type]

    return apply


def text_apply(model: transformer_lib.Transformer) -> Callable[[Params, PackedBatch], PackedBatch]:
    """`(params, batch) -> batch` with the captions as the model's own embeddings."""

    def apply(params: Params, batch: PackedBatch) -> PackedBatch:
        return model.apply({"params": params}, batch, method="encode_text")  # type: ignore[return-value]

    return apply


def generator(
    model: transformer_lib.Transformer,
    params: Params,
    frozen: FrozenAutoencoder,
    *,
    patch: patches.Grid,
    prediction: path.Prediction,
) -> Generator:
    """A transformer and the decoder of its latents, ready to sample."""
    return Generator(
        apply=velocity_apply(model, prediction=prediction),
        encode_text=text_apply(model),
        params=params,
        autoencoder=frozen,
        patch=patch,
    )


def load_generator(
    name: str | Path,
    *,
    attention: Implementation = "xla",
    dtype: str = "float32",
    mesh: Mesh | None = None,
) -> tuple[Generator, Settings]:
    """The model of a folder or a shipped name, ready to sample, and how it is best sampled.

    Args:
      attention: see `nn.attention.attend`: this machine's choice, not the training's.
      dtype: of the computation.
      mesh: cuts the transformer and its rows as in training, over the devices of every process; the
        autoencoder runs whole on a device of each. None = all on one device.

    Raises:
      FileNotFoundError: no such model.
      ValueError: a kernel for another machine, a folder without a transformer, weights that do not belong
        together, or a mesh that does not divide them.
    """
    wants, here = PLATFORMS.get(attention), jax.default_backend()
    if wants not in (None, here):
        raise ValueError(
            f"attention={attention!r} is a kernel for {wants.upper()}s, and this machine has a "
            f"{here.upper()}: use 'xla' or 'ring'"
        )
    table, autoencoder_weights, params = folder.read(name)
    if params is None:
        raise ValueError(f"{name} holds an autoencoder alone: export the whole model to sample it")
    frozen = _load_autoencoder(table, autoencoder_weights, name)
    patch = tuple(table["patch"])
    machine = {"attention": attention, "dtype": dtype}
    # Sampling levels are few; None takes any number.
    config = ConfigDict({**table["transformer"], "levels": None, "scan": True, **machine})
    model = transformer(config, patch_width=int(np.prod(patch)) * frozen.model.channels)
    if mesh is not None:
        params = _placed(params, rules.param_shardings(params, mesh, rules=rules.TRANSFORMER_RULES))
    ready = generator(model, params, frozen, patch=patch, prediction=table["prediction"])
    ready = dataclasses.replace(ready, mesh=mesh, block=BLOCKS[attention])
    return ready, Settings(**table.get("sampling", {}))


def _placed(params: Params, shardings: Any) -> Params:
    """Weights that every process has whole, cut over the devices of all."""

    def one(leaf: np.ndarray, sharding: NamedSharding) -> jax.Array:
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(one, params, shardings)
