"""The T5 encoder over packed rows of text tokens.

Source: Raffel et al. 2020, arXiv 1910.10683, Sec. 2.1; gated form: T5 v1.1; bytes: ByT5 (Xue et al. 2021,
arXiv 2105.13626); a bias per layer: umT5 (Chung et al. 2023, arXiv 2304.09151). Pre-norm blocks with RMS
norms, no biases in dense layers, queries that are not scaled, and a learned bias on the attention logits per
head and bucket of distance.

Differs: several captions share a row. A token attends to its own segment only, and distances are taken along
the row, which is the same since a segment is contiguous. So neither padding nor a neighbour changes an
embedding.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sora_jax.nn.attention import attend
from sora_jax.nn.layers import Activation, Dense, FeedForward, RMSNorm, split_heads

# The presets as keyword arguments of `TextEncoder`; released T5s bring their own (`models.text_hf`).
SIZES: dict[str, dict[str, int]] = {
    "bytes_test": {"width": 32, "depth": 1, "heads": 2, "head_dim": 16, "hidden": 48},
    "bytes_ti": {"width": 128, "depth": 2, "heads": 2, "head_dim": 64, "hidden": 320},
    "bytes_s": {"width": 256, "depth": 4, "heads": 4, "head_dim": 64, "hidden": 640},
}


def family(*, width: int, heads: int, hidden: int) -> dict[str, int]:
    """Keyword arguments of `TextEncoder`: one layer, of the widths of the transformer that reads it."""
    return {"width": width, "depth": 1, "heads": heads, "head_dim": width // heads, "hidden": hidden}


def buckets_of(distance: np.ndarray, *, buckets: int, max_distance: int) -> np.ndarray:
    """The bucket of every distance (key minus query): T5's bidirectional rule.

    Half of the buckets are for keys ahead; of each half, one half is exact and the rest is logarithmic up
    to `max_distance`. float32, so that borders fall where the released weights were trained with them.
    """
    half = buckets // 2
    exact = half // 2
    size = np.abs(distance)
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(math.log(max_distance / exact))
    far = exact + (ratio * np.float32(half - exact)).astype(np.int64)
    return np.where(size < exact, size, np.minimum(far, half - 1)) + half * (distance > 0)


def relative_bias(table: Float[Array, "u k"], length: int, *, max_distance: int) -> Float[Array, "k m m"]:
    """`bias[k, i, j] = table[bucket(j - i), k]`.

    The matrix is constant along diagonals, so it is cut out of one repeated row rather than gathered entry by
    entry: the gradient is then a sum, not a scatter.
    """
    distance = np.arange(-(length - 1), length + 1)
    bucket = buckets_of(distance, buckets=table.shape[0], max_distance=max_distance)
    onehot = np.asarray(bucket[:, None] == np.arange(table.shape[0]), np.float32)
    row = jnp.matmul(onehot, table, precision=jax.lax.Precision.HIGHEST).T
    rows = jnp.tile(row, (1, length))[:, : length * (2 * length - 1)]
    return jnp.reshape(rows, (-1, length, 2 * length - 1))[:, :, length - 1 :]


class TextBlock(nn.Module):
    """Self-attention and feed-forward, each after an RMS norm; see `TextEncoder` for the fields."""

    heads: int
    head_dim: int
    hidden: int
    gated: bool
    activation: Activation
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "b m e"], segment: Int[Array, "b m"], bias: Float[Array, "k m m"]
    ) -> Float[Array, "b m e"]:
        width, inner = x.shape[-1], self.heads * self.head_dim
        normal = nn.initializers.normal
        h = RMSNorm(self.epsilon, self.dtype, name="attention_norm")(x)

        def project(name: str, std: float) -> Float[Array, "b m k d"]:
            y = Dense(inner, dtype=self.dtype, kernel_init=normal(std), name=name)(h)
            return split_heads(y, self.heads)

        out = attend(
            project("query", (width * self.head_dim) ** -0.5),
            project("key", width**-0.5),
            project("value", width**-0.5),
            query_segment=segment,
            key_segment=segment,
            scale=1.0,
            bias=bias,
        )
        out = jnp.reshape(out, (*x.shape[:-1], inner))
        x = x + Dense(width, dtype=self.dtype, kernel_init=normal(inner**-0.5), name="out")(out)
        h = RMSNorm(self.epsilon, self.dtype, name="mlp_norm")(x)
        return x + FeedForward(
            self.hidden,
            gated=self.gated,
            activation=self.activation,
            dtype=self.dtype,
            kernel_init=normal(width**-0.5),
            down_init=normal(self.hidden**-0.5),
            name="mlp",
        )(h)


class TextEncoder(nn.Module):
    """T5 encoder: packed text tokens to embeddings.

    Attributes:
      vocabulary: rows of the embedding; 384 for bytes (`text_bytes`).
      width, depth, heads, head_dim, hidden: d_model, num_layers, num_heads, d_kv, d_ff of T5.
      gated, activation: feed-forward: gated "gelu" (v1.1, ByT5, umT5) or plain "relu" (T5).
      buckets, max_distance: of the relative position bias.
      bias_per_layer: every layer has its own bias table (umT5) or all share one.
      dtype: of the computation; parameters and norms are float32.
    """

    vocabulary: int = 384
    width: int = 128
    depth: int = 2
    heads: int = 2
    head_dim: int = 64
    hidden: int = 320
    gated: bool = True
    activation: Activation = "gelu"
    buckets: int = 32
    max_distance: int = 128
    bias_per_layer: bool = False
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Int[Array, "b m"], segment: Int[Array, "b m"]) -> Float[Array, "b m e"]:
        """Embeddings `[b m width]` in `dtype`; those of padding (segment 0) mean nothing.

        Args:
          tokens: 0 .. vocabulary - 1.
          segment: the caption each token belongs to; the tokens of one are contiguous.
        """
        table = self.param(
            "embedding", nn.initializers.normal(1.0), (self.vocabulary, self.width), jnp.float32
        )
        tables = self.param(
            "relative_bias",
            nn.initializers.normal(self.width**-0.5),
            (self.depth if self.bias_per_layer else 1, self.buckets, self.heads),
            jnp.float32,
        )
        x = self._embed(tokens, table)
        bias = relative_bias(tables[0], tokens.shape[1], max_distance=self.max_distance)
        for i in range(self.depth):
            if i and self.bias_per_layer:
                bias = relative_bias(tables[i], tokens.shape[1], max_distance=self.max_distance)
            block = TextBlock(
                heads=self.heads,
                head_dim=self.head_dim,
                hidden=self.hidden,
                gated=self.gated,
                activation=self.activation,
                epsilon=self.epsilon,
                dtype=self.dtype,
                name=f"block_{i}",
            )
            x = block(x, segment, bias)
        return RMSNorm(self.epsilon, self.dtype, name="norm")(x)

    def _embed(self, tokens: Int[Array, "b m"], table: Float[Array, "v e"]) -> Float[Array, "b m e"]:
        """Rows of the table; NaN for a token outside the vocabulary, which a silent clamp would hide."""
        return jnp.take(table, tokens, axis=0, mode="fill", fill_value=jnp.nan).astype(self.dtype)
