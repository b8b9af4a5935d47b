"""The diffusion transformer: packed noisy patches, a noise level per token and text, to velocities.

Sources: DiT (Peebles & Xie 2023, arXiv 2212.09748); adaLN-single and cross-attention to text: PixArt-alpha
(Chen et al. 2023, arXiv 2310.00426, Sec. 2.3); QK-norm: ViT-22B (arXiv 2302.05442); gated MLP: arXiv
2002.05202.

One block, with `m = shared(t) + offset` the six modulations of a token (shared: one MLP of the noise level
for all layers; offset: learned per layer) and `norm` an RMS norm without weights:
    x <- x + gate1 * attention(norm(x) (1 + scale1) + shift1)
    x <- x + cross_attention(rms_norm(x), text)
    x <- x + gate2 * mlp(norm(x) (1 + scale2) + shift2)

Differs: the noise level is of a token, not of a sample; RMS norms instead of LayerNorm (one pass less);
attention, text and noise level follow the segment, so that clips of any size share a row; of a clip with
several captions, each token reads the one of its time.

Parameters are `{"tokenizer", "noise_level", "blocks", "text_encoder"}`; all arrays of `blocks` have a leading
axis of layers whether or not `scan` is set. `functools.partial(model.apply, {"params": params})` is a
`VelocityFn`. Where the text encoder is a frozen one, its parameters come from elsewhere:
`{"params": {**params, "text_encoder": frozen}}`. Whoever calls the model many times with one text (a
sampler) encodes it once: `batch = model.apply(variables, batch, method="encode_text")` puts embeddings
`[b m e]` in the place of `batch.text`, and the model takes those as they are. A batch that carries embeddings
from the start needs no encoder (`text_encoder=None`).
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from sora_jax.models.noise_level import MODULATIONS, Levels, NoiseLevel
from sora_jax.models.text import TextEncoder
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.nn import partition, rope
from sora_jax.nn.attention import CROSS, Attention, Implementation
from sora_jax.nn.layers import FeedForward, RMSNorm, Rotation, modulated_norm
from sora_jax.types import PackedBatch

Remat = Literal["none", "dots", "full", "offload"]
Pattern = Literal["full", "factorised"]

# Keyword arguments of `Transformer`; hidden is about 8/3 of the width, in multiples that suit the hardware.
SIZES: dict[str, dict[str, int | bool]] = {
    "test": {"width": 48, "depth": 2, "heads": 2, "hidden": 64},
    "nano": {"width": 48, "depth": 6, "heads": 3, "hidden": 128},
    "mu": {"width": 96, "depth": 6, "heads": 3, "hidden": 256},
    "ti": {"width": 192, "depth": 6, "heads": 3, "hidden": 512},
    "xs": {"width": 384, "depth": 6, "heads": 6, "hidden": 1024},
    "s": {"width": 384, "depth": 12, "heads": 6, "hidden": 1024},
    "b": {"width": 768, "depth": 12, "heads": 12, "hidden": 2048},
    "l": {"width": 1024, "depth": 24, "heads": 16, "hidden": 2816},
    "xl": {"width": 1152, "depth": 28, "heads": 16, "hidden": 3072},
    "2b": {"width": 2048, "depth": 32, "heads": 16, "hidden": 5504},
    "7b": {"width": 3584, "depth": 38, "heads": 28, "hidden": 9600},
    # The shape of Wan 2.1 T2V-1.3B (arXiv 2503.20314 and its released config): the MLP is not gated.
    "wan-1.3b": {"width": 1536, "depth": 30, "heads": 12, "hidden": 8960, "gated": False},
}


def family(
    *, width: int, depth: int = 0, aspect: int = 0, heads: int = 0, head_dim: int = 0
) -> dict[str, int]:
    """Keyword arguments of `Transformer` of one family, whose MLP is three times as wide as its tokens.

    Args:
      depth, aspect: layers, or width / layers: one of them.
      heads, head_dim: how many, or how wide: one of them.

    Raises:
      ValueError: both or neither of two, or a width that does not divide into its heads.
    """
    for one, other in (("depth", "aspect"), ("heads", "head_dim")):
        given = {"depth": depth, "aspect": aspect, "heads": heads, "head_dim": head_dim}
        if (given[one] > 0) == (given[other] > 0):
            raise ValueError(f"{one} {given[one]} and {other} {given[other]}: give one of them, above 0")
    if width < 1 or width % (heads or head_dim):
        raise ValueError(f"width {width} is no multiple of {heads or head_dim}, its heads or their width")
    return {
        "width": width,
        "depth": depth or max(1, round(width / aspect)),
        "heads": heads or width // head_dim,
        "hidden": 3 * width,
    }


LAYER_INPUT = "layer_input"  # its name, for the policy that moves it to the host
MOST_SPANS = 1024  # captions of one clip, at most


class Block(nn.Module):
    """One layer; the fields are those of `Transformer`, and the most segments of a row."""

    heads: int
    hidden: int
    gated: bool
    dtype: Any
    attention: Implementation
    most_segments: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        *,
        levels: Levels,
        segment: Int[Array, "b n"],
        caption: Int[Array, "b n"],
        rotation: Rotation,
        text: Float[Array, "b m f"],
        text_caption: Int[Array, "b m"],
    ) -> Float[Array, "b n d"]:
        zeros = nn.initializers.zeros
        offset = self.param("modulation", zeros, (MODULATIONS - 2, x.shape[-1]), jnp.float32)
        parts = [levels.table[:, :, i] + offset[i, None, None, :] for i in range(MODULATIONS - 2)]
        shift1, scale1, gate1, shift2, scale2, gate2 = (levels.tokens(m, dtype=self.dtype) for m in parts)

        h = modulated_norm(x, shift1, scale1)
        attention = Attention(
            self.heads,
            dtype=self.dtype,
            implementation=self.attention,
            most_segments=self.most_segments,
            name="attention",
        )
        x = x + (gate1 * attention(h, segment=segment, rotation=rotation)).astype(self.dtype)

        h = RMSNorm(dtype=self.dtype, name="cross_norm")(x)
        cross = Attention(
            self.heads, dtype=self.dtype, out_init=zeros, implementation=CROSS[self.attention], name="cross"
        )
        x = x + cross(h, text, segment=caption, memory_segment=text_caption)

        h = modulated_norm(x, shift2, scale2)
        activation = "silu" if self.gated else "gelu"
        mlp = FeedForward(self.hidden, gated=self.gated, activation=activation, dtype=self.dtype, name="mlp")
        return x + (gate2 * mlp(h)).astype(self.dtype)


def captions_of(segment: Int[Array, "b x"], span: Int[Array, "b x"]) -> Int[Array, "b x"]:
    """The number of every token's caption within its row, from 1; 0 at padding."""
    return jnp.where(segment == 0, 0, segment * MOST_SPANS + span)


def factorised_segments(batch: PackedBatch) -> list[Int[Array, "b n"]]:
    """Segments of (the tokens of one frame of one clip, those of one place in all its frames); 0 at padding.

    Attention over the first, then over the second, is that of Latte (Ma et al. 2024, arXiv 2401.03048, Sec.
    3.1, variant 1) and of the first Open-Sora.
    """
    segment, index = jnp.asarray(batch.segment), jnp.asarray(batch.index)
    most = segment.shape[1]  # tokens of a row: no clip has more frames, nor a frame more places
    width = jnp.take_along_axis(jnp.asarray(batch.grid)[..., 2], jnp.maximum(segment - 1, 0), axis=1)
    frame, place = index[..., 0], index[..., 1] * width + index[..., 2]
    return [jnp.where(segment == 0, 0, segment * most + number) for number in (frame, place)]


class Transformer(nn.Module):
    """`(xt, t, batch) -> velocity`; see the module's docstring.

    Attributes:
      patch_width: numbers per patch, `p`.
      width, depth, heads, hidden: `SIZES` has tried ones.
      text_encoder: encodes `batch.text`; None if the batch carries embeddings.
      levels: the most distinct noise levels a row may have (padding counts as 0), or None: any number, at the
        cost of one evaluation per token. A row with more gives NaN, not a wrong velocity.
      scan: one compiled layer in a loop (compiles faster) or all layers unrolled (on CPU, runs faster). The
        parameters are the same.
      remat: what the backward pass computes again: "none", "full" (all of a layer), "dots" (all but the
        products with weights) or "offload" (all of a layer, whose input waits in the host's memory).
      gated: the MLP is silu(gate x) (up x), or else gelu(up x).
      attention: see `nn.attention.attend`; text is attended to by `nn.attention.CROSS` of it.
      pattern: whom a token attends to within its clip: "full" = everyone, in every layer; "factorised" = in
        turn those of its frame and those of its place (`factorised_segments`), for comparison with models
        built so. The parameters are the same. What is not seen is masked, not saved.
      dtype: of the computation; parameters, norms, softmax, the table of modulations and the last layer are
        float32.
    """

    patch_width: int
    width: int
    depth: int
    heads: int
    hidden: int
    text_encoder: TextEncoder | None = None
    levels: int | None = None
    scan: bool = True
    remat: Remat = "none"
    gated: bool = True
    attention: Implementation = "xla"
    pattern: Pattern = "full"
    dtype: Any = jnp.float32

    def encode_text(self, batch: PackedBatch) -> PackedBatch:
        """The batch with `text` as embeddings `[b m e]`; unchanged if it has them already."""
        if jnp.issubdtype(batch.text.dtype, jnp.floating):
            return batch
        if self.text_encoder is None:
            raise ValueError(
                f"batch.text is tokens ({batch.text.dtype}), but the model has no text_encoder: give it one, "
                "or put embeddings [b m e] in batch.text"
            )
        caption = captions_of(batch.text_segment, batch.text_span)
        return batch._replace(text=self.text_encoder(batch.text, caption))

    @nn.compact
    def __call__(
        self, xt: Float[Array, "b n p"], t: Float[Array, "b n"], batch: PackedBatch
    ) -> Float[Array, "b n p"]:
        """The velocity of every token, float32; that of padding means nothing.

        Args:
          xt: noisy patches.
          t: noise level of every token, 0 (data, known) to 1 (noise).
          batch: positions, segments and text are read; `tokens`, the clean patches, are not.
        """
        batch = self.encode_text(batch)
        tokenizer = Tokenizer(self.patch_width, self.width, dtype=self.dtype, name="tokenizer")
        levels = NoiseLevel(self.width, levels=self.levels, name="noise_level")(t, batch.segment)
        x = tokenizer.embed(xt, batch.position)
        context = {
            "levels": levels,
            "caption": captions_of(batch.segment, batch.span),
            "rotation": rope.rotations(batch.position, head_dim=self.width // self.heads),
            "text": batch.text.astype(self.dtype),
            "text_caption": captions_of(batch.text_segment, batch.text_span),
        }
        x = self._layers(x, context, self._segments(batch), most_segments=batch.clip.shape[1])
        shift, scale = (
            levels.tokens(levels.table[:, :, i], dtype=jnp.float32)
            for i in range(MODULATIONS - 2, MODULATIONS)
        )
        return tokenizer.unembed(x, shift=shift, scale=scale)

    def _segments(self, batch: PackedBatch) -> list[Int[Array, "b n"]]:
        """Whose tokens see each other in the layers, which take these in turn."""
        match self.pattern:
            case "full":
                return [batch.segment]
            case "factorised":
                if self.attention == "cudnn":
                    raise ValueError(
                        "attention='cudnn' wants segments that lie one after the other, which the places of "
                        "pattern='factorised' do not: use another kernel"
                    )
                return factorised_segments(batch)
            case _:
                raise ValueError(f"pattern {self.pattern!r} is not one of full, factorised")

    def _layers(
        self,
        x: Float[Array, "b n d"],
        context: dict[str, Any],
        segments: list[Int[Array, "b n"]],
        *,
        most_segments: int,
    ) -> Float[Array, "b n d"]:
        """All blocks, with parameters stacked along a leading axis; they take `segments` in turn."""
        kind = (self.heads, self.hidden, self.gated, self.dtype)
        block = Block(*kind, self.attention, most_segments, parent=None)
        # No parameter depends on the kernel, and not every kernel can be mapped over layers.
        plain = Block(*kind, "xla", most_segments, parent=None)

        def init(key: jax.Array) -> Any:
            keys = jax.random.split(key, self.depth)
            return jax.vmap(lambda k: plain.init(k, x, segment=segments[0], **context)["params"])(keys)

        params = self.param("blocks", init)

        def apply(x: Any, params: Any, segment: Any, context: dict[str, Any]) -> Any:
            y: Any = block.apply({"params": params}, x, segment=segment, **context)
            return partition.tokens(y)

        layer = _rematerialized(apply, self.remat)
        x = partition.tokens(x)
        turns = [segments[i % len(segments)] for i in range(self.depth)]
        if self.scan:
            # One array for all layers is no array per layer.
            own, shared = (jnp.stack(turns), None) if len(segments) > 1 else (None, segments[0])

            def one(x: Any, layer_own: tuple[Any, Any]) -> tuple[Any, None]:
                params, segment = layer_own
                return layer(x, params, shared if segment is None else segment, context), None

            return jax.lax.scan(one, x, (params, own))[0]
        # `split` rather than indexing: its gradient is one concatenation, not `depth` padded sums.
        leaves, structure = jax.tree.flatten(params)
        stacks = zip(*(jax.lax.split(a, (1,) * self.depth) for a in leaves), strict=True)
        for arrays, segment in zip(stacks, turns, strict=True):
            x = layer(x, structure.unflatten([a[0] for a in arrays]), segment, context)
        return x


def _rematerialized(layer: Any, remat: Remat) -> Any:
    match remat:
        case "none":
            return layer
        case "full":
            return jax.checkpoint(layer)
        case "offload":
            policy = jax.checkpoint_policies.save_and_offload_only_these_names(
                names_which_can_be_saved=[],
                names_which_can_be_offloaded=[LAYER_INPUT],
                offload_src="device",
                offload_dst="pinned_host",
            )
            return jax.checkpoint(
                lambda x, *rest: layer(checkpoint_name(x, LAYER_INPUT), *rest), policy=policy
            )
        case "dots":
            return jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
        case _:
            raise ValueError(f"remat {remat!r} is not one of none, dots, full, offload")
