"""The programs that a config runs, with shapes in place of arrays: to be compiled for an absent machine.

Nothing here is a model of a program: `train` is the step of `train.py`, `sample` is the sampler of
`sample.py`, `decode` is the frozen autoencoder's decoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sora_jax import patches
from sora_jax.build.denoising import Denoising, denoising
from sora_jax.build.models import Table, text_apply
from sora_jax.models import autoencoder as autoencoder_lib
from sora_jax.models import cost
from sora_jax.models.autoencoder_latents import LatentStatistics
from sora_jax.models.frozen_autoencoder import FrozenAutoencoder
from sora_jax.sampling.generate import sample_batch
from sora_jax.sampling.request import Settings
from sora_jax.sharding import context, rules
from sora_jax.training import state, step
from sora_jax.types import PackedBatch

What = Literal["train", "sample", "decode"]
WHATS: tuple[What, ...] = ("train", "sample", "decode")
LANES = 512  # rows of tokens are padded to a multiple of this on every device: the kernels' blocks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """The clips of a row: `frames x height x width` pixels, one clip in a row."""

    frames: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A jitted function with the shapes and shardings of its arguments.

    Attributes:
      fn, args, static: `fn.trace(*args, **static)`.
      model_flops: of the matrix products that the mathematics needs, all devices (`models.cost`).
      run_flops: of those that the program does, what it computes twice included.
      parameters: of the model that it runs.
      rows, tokens: of the batch; tokens per row, padding included.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    static: dict[str, Any]
    model_flops: float
    run_flops: float
    parameters: int
    rows: int
    tokens: int


def program(
    config: Table,
    what: What,
    size: Size,
    mesh: Mesh,
    *,
    autoencoder: str,
    rows: int | None,
    settings: Settings,
) -> Program:
    """The program that `config` runs on `mesh`; to be called within `context.use(mesh)`.

    Args:
      autoencoder: a name of `models.autoencoder.SIZES`: its ratio and channels.
      rows: of the batch; None = one for each device along data x fsdp, times `train.accumulate`.
      settings: of the sampler.

    Raises:
      ValueError: a size, mesh, number of heads or number of rows that does not divide; the message has the
        mend.
    """
    if config.kind != "transformer":
        raise ValueError(f"the config trains an {config.kind}: give one of configs/dit.py")
    decoder = autoencoder_lib.create(autoencoder, dtype=jnp.dtype(config.model.dtype))
    grid = patches.latent_grid(
        size.frames, size.height, size.width, ratio=decoder.ratio, patch=tuple(config.patch)
    )
    share = mesh.shape["data"] * mesh.shape["fsdp"]
    pieces = config.train.accumulate if what == "train" else 1
    row_count = share * pieces if rows is None else rows
    if row_count % (share * pieces):
        raise ValueError(
            f"{row_count} rows do not divide over data x fsdp x accumulate = {share * pieces}: use a multiple"
        )
    if what == "decode":
        return _decode(decoder, grid, mesh, patch=tuple(config.patch), rows=row_count)
    parts = denoising(config, channels=decoder.channels)
    _check_heads(parts.model.heads, mesh)
    multiple = LANES * mesh.shape["context"]
    tokens = -(-int(np.prod(grid)) // multiple) * multiple
    batch = _batch(config, parts.model.patch_width, rows=row_count, tokens=tokens)
    batch = _placed(batch, context.batch_shardings(batch, mesh))
    if what == "train":
        return _train(config, parts, batch, mesh)
    return _sample(parts, batch, mesh, settings)


def _check_heads(heads: int, mesh: Mesh) -> None:
    if heads % mesh.shape["tensor"]:
        raise ValueError(
            f"{heads} heads do not divide over tensor = {mesh.shape['tensor']}: use a divisor of {heads}"
        )


def _batch(config: Table, width: int, *, rows: int, tokens: int) -> PackedBatch:
    data = config.data
    shapes = {
        "tokens": ((tokens, width), jnp.float32),
        "position": ((tokens, 3), jnp.float32),
        "segment": ((tokens,), jnp.int32),
        "known": ((tokens,), jnp.bool_),
        "index": ((tokens, 3), jnp.int32),
        "clip": ((data.max_segments,), jnp.uint32),
        "grid": ((data.max_segments, 3), jnp.int32),
        "text": ((data.row_text,), jnp.int32),
        "text_segment": ((data.row_text,), jnp.int32),
        "span": ((tokens,), jnp.int32),
        "text_span": ((data.row_text,), jnp.int32),
    }
    leaves = {name: jax.ShapeDtypeStruct((rows, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    return PackedBatch(**leaves)  # type: ignore[arg-type]


def _placed(shapes: Any, shardings: Any) -> Any:
    """Shapes with shardings attached."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def _key(mesh: Mesh) -> Any:
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=NamedSharding(mesh, PartitionSpec()))


def _init(parts: Denoising, batch: PackedBatch) -> Callable[[Any], Any]:
    """`init_params` of a batch that is only shapes."""

    def init_params(key: Any) -> Any:
        zeros = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype), batch)
        return parts.init_params(key, zeros, {})

    return init_params


def _train(config: Table, parts: Denoising, batch: PackedBatch, mesh: Mesh) -> Program:
    abstract = state.abstract_state(_init(parts, batch), parts.optimizer)
    shardings = rules.state_shardings(abstract, mesh, rules=rules.TRANSFORMER_RULES)
    step_fn = step.make_step(
        parts.loss_fn,
        parts.optimizer,
        ema_decay=config.train.ema_decay,
        accumulate=config.train.accumulate,
        shardings=shardings,
    )
    (rows, tokens), text = batch.segment.shape, batch.text.shape[1]
    return Program(
        fn=step_fn,
        args=(rules.with_shardings(abstract, shardings), {}, batch, _key(mesh)),
        static={},
        model_flops=3.0 * cost.count_flops(parts.model, rows=rows, tokens=tokens, text=text),
        run_flops=float(cost.count_training_flops(parts.model, rows=rows, tokens=tokens, text=text)),
        parameters=cost.count_parameters(parts.model),
        rows=rows,
        tokens=tokens,
    )


def _sample(parts: Denoising, batch: PackedBatch, mesh: Mesh, settings: Settings) -> Program:
    params = jax.eval_shape(lambda: _init(parts, batch)(jax.random.key(0)))
    (rows, tokens), text = batch.segment.shape, batch.text.shape[1]
    start = jax.ShapeDtypeStruct((rows, tokens), jnp.float32, sharding=batch.segment.sharding)  # type: ignore[attr-defined]
    calls = settings.steps * (2 if settings.guidance_scale != 1 else 1)
    calls = calls * 2 if settings.sampler == "heun" else calls
    flops = calls * float(cost.count_flops(parts.model, rows=rows, tokens=tokens, text=text))
    return Program(
        fn=sample_batch,
        args=(
            _placed(params, rules.param_shardings(params, mesh, rules=rules.TRANSFORMER_RULES)),
            batch,
            start,
        ),
        static={"apply": parts.apply, "encode_text": text_apply(parts.model), "settings": settings},
        model_flops=flops,
        run_flops=flops,
        parameters=cost.count_parameters(parts.model),
        rows=rows,
        tokens=tokens,
    )


def _decode(
    decoder: autoencoder_lib.Autoencoder, grid: patches.Grid, mesh: Mesh, *, patch: patches.Grid, rows: int
) -> Program:
    shape = (grid[0] * patch[0], grid[1] * patch[1], grid[2] * patch[2])
    latents = jax.ShapeDtypeStruct((rows, *shape, decoder.channels), jnp.float32)
    channel = jax.ShapeDtypeStruct((decoder.channels,), jnp.float32)

    def init() -> Any:
        key, side = jax.random.key(0), decoder.ratio[1:]
        return decoder.init(key, jnp.zeros((1, 1 + decoder.ratio[0], *side, 3)), key)["params"]

    def decode(params: Any, mean: Any, std: Any, latents: Any) -> Any:
        statistics = LatentStatistics(mean, std)
        frozen = FrozenAutoencoder(model=decoder, params=params, statistics=statistics, fingerprint="")
        return frozen.decode(latents)

    params = jax.eval_shape(init)
    whole = NamedSharding(mesh, PartitionSpec())
    placed = [_placed(x, jax.tree.map(lambda _: whole, x)) for x in (params, channel, channel)]
    flops = float(cost.count_decoder_flops(decoder, rows=rows, latents=shape))
    return Program(
        fn=jax.jit(decode),
        args=(*placed, _placed(latents, context.batch_shardings(latents, mesh))),
        static={},
        model_flops=flops,
        run_flops=flops,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        rows=rows,
        tokens=int(np.prod(shape)),
    )
