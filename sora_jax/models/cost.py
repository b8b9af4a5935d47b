"""Parameters and FLOPs of a transformer and of an autoencoder's decoder, by formula.

XLA's own count is no substitute: it counts the body of a scan once and kernels not at all (PERFORMANCE.md).
A backward pass costs twice the forward one. Letters: `d` width, `h` hidden, `p` patch, `e` text width.
"""

from __future__ import annotations

from sora_jax.models.autoencoder import Autoencoder
from sora_jax.models.noise_level import LEVEL_FEATURES
from sora_jax.models.text import TextEncoder
from sora_jax.models.tokenizer import SECONDS_FREQUENCIES, SPACE_FREQUENCIES
from sora_jax.models.transformer import Transformer

_POSITION_FEATURES = 2 * (len(SECONDS_FREQUENCIES) + 2 * len(SPACE_FREQUENCIES))


def count_parameters(model: Transformer, *, text_width: int | None = None) -> int:
    """How many numbers `model.init` makes, the text encoder's included if the model has one.

    Args:
      text_width: of the embeddings, needed where the model has no text encoder.
    """
    d, h, p = model.width, model.hidden, model.patch_width
    e = _text_width(model, text_width)
    tokenizer = (p * d + d) + _POSITION_FEATURES * d + (d * p + p)
    noise_level = (LEVEL_FEATURES * d + d) + (d * d + d) + (8 * d * d + 8 * d)
    attention = 4 * d * d + 2 * (d // model.heads)
    cross = 2 * d * d + 2 * e * d + 2 * (d // model.heads) + d
    block = attention + cross + (3 if model.gated else 2) * d * h + 6 * d
    text = 0 if model.text_encoder is None else count_text_parameters(model.text_encoder)
    return tokenizer + noise_level + model.depth * block + text


def count_text_parameters(encoder: TextEncoder) -> int:
    """How many numbers `TextEncoder.init` makes."""
    e, inner = encoder.width, encoder.heads * encoder.head_dim
    block = 4 * e * inner + (3 if encoder.gated else 2) * e * encoder.hidden + 2 * e
    tables = encoder.depth if encoder.bias_per_layer else 1
    return encoder.vocabulary * e + tables * encoder.buckets * encoder.heads + encoder.depth * block + e


def count_nonembedding(model: Transformer, *, text_width: int | None = None) -> int:
    """N of a scaling law: `count_parameters` without what maps inputs to the width, or the width to outputs.

    Those are `tokenizer/` (patch, position, out), `noise_level/in`, and of the text encoder `embedding` and
    `relative_bias`. All blocks, norms and the rest of `noise_level` count.

    Args:
      text_width: as in `count_parameters`.
    """
    d, p, encoder = model.width, model.patch_width, model.text_encoder
    mapped = (2 * p + 1 + _POSITION_FEATURES) * d + p + (LEVEL_FEATURES + 1) * d
    if encoder is not None:
        tables = encoder.depth if encoder.bias_per_layer else 1
        mapped += encoder.vocabulary * encoder.width + tables * encoder.buckets * encoder.heads
    return count_parameters(model, text_width=text_width) - mapped


def count_flops(
    model: Transformer,
    *,
    rows: int,
    tokens: int,
    text: int,
    text_width: int | None = None,
    attended: float | None = None,
) -> int:
    """Multiplications and additions of the matrix products of one forward pass; elementwise work is left out.

    Attention is counted as it is computed, over whole rows, not over the segments' own pairs.

    Args:
      rows: of the batch.
      tokens, text: per row, padding included.
      text_width: of the embeddings, needed where the model has no text encoder.
      attended: tokens that a token attends to in self-attention, in the mean; None = its row's, as computed.
        With fewer it is what a computation would need that leaves out what is masked.
    """
    d, p, n = model.width, model.patch_width, rows * tokens
    e = _text_width(model, text_width)
    tokenizer = n * (2 * p * d + _POSITION_FEATURES * d)
    distinct = n if model.levels is None else rows * model.levels
    noise_level = distinct * (LEVEL_FEATURES * d + 9 * d * d)
    noise_level += _spread_products(model, tokens=n, layers=model.depth)
    dense, attention = _layer_products(
        model, rows=rows, tokens=tokens, text=text, text_width=e, attended=attended
    )
    encoder = 0 if model.text_encoder is None else _text_products(model.text_encoder, rows=rows, text=text)
    return round(2 * (tokenizer + noise_level + model.depth * (dense + attention) + encoder))


def count_training_flops(
    model: Transformer,
    *,
    rows: int,
    tokens: int,
    text: int,
    text_width: int | None = None,
    attended: float | None = None,
    unasked: bool = True,
) -> int:
    """As `count_flops`, of the products that a training step does, those that it does twice included.

    Remat "full" and "offload" do every block's forward pass twice, "dots" its attention. The kernels
    ("splash", "ring_splash", and of self-attention "flash") do nine products over (query, key) pairs where
    the mathematics needs six: the weights are made again in each of two backward passes, and their gradient
    once more. "cudnn", "chunked" and the "ring" do seven: the weights are made again.

    Args: as `count_flops`, and
      unasked: counts gradients with respect to what is not trained too (patches, positions, levels, the
        matrix that spreads them, embeddings that are given), so that a backward pass is twice a forward one;
        without, the count is that of the compiled program (2 % less at width 12, 0.6 % at 48).
    """
    e = _text_width(model, text_width)
    dense, attention = _layer_products(
        model, rows=rows, tokens=tokens, text=text, text_width=e, attended=attended
    )
    attended = tokens if attended is None else attended
    all_of_it = dense + attention
    again = {"none": 0, "dots": attention, "full": all_of_it, "offload": all_of_it}[model.remat]
    of_kernel = {
        "xla": 0,
        "splash": 3 * (attended + text),
        "ring_splash": 3 * (attended + text),
        "flash": 3 * attended,
        "cudnn": attended,
        "chunked": attended,
        "ring": attended,
    }
    again += rows * tokens * of_kernel[model.attention] * model.width
    forward = count_flops(model, rows=rows, tokens=tokens, text=text, text_width=e, attended=attended)
    spared = 0 if unasked else _unasked(model, rows=rows, tokens=tokens, text=text, text_width=e)
    return round(3 * forward + 2 * model.depth * again - 2 * spared)


def _unasked(model: Transformer, *, rows: int, tokens: int, text: int, text_width: int) -> int:
    """Multiplications of gradients with respect to what is not trained, once each.

    With remat the layers spread their modulations again, which `count_training_flops` does not say: the one
    makes up for the other.
    """
    d, n = model.width, rows * tokens
    total = n * (model.patch_width + _POSITION_FEATURES) * d
    if model.levels is None:
        total += n * LEVEL_FEATURES * d
    else:
        total += rows * model.levels * LEVEL_FEATURES * d
        total += _spread_products(model, tokens=n, layers=model.depth if model.remat == "none" else 0)
    if model.text_encoder is None:
        return total + model.depth * rows * text * 2 * text_width * d
    return total + _bias_products(model.text_encoder, text=text)


def _spread_products(model: Transformer, *, tokens: int, layers: int) -> int:
    """Of the matrix that hands modulations to tokens: six in a layer, two after the last."""
    return 0 if model.levels is None else tokens * model.levels * (6 * layers + 2) * model.width


def _layer_products(
    model: Transformer, *, rows: int, tokens: int, text: int, text_width: int, attended: float | None
) -> tuple[int, float]:
    """Multiplications of one layer's dense products, and of its two attentions' products over pairs."""
    d, n = model.width, rows * tokens
    mlp = (3 if model.gated else 2) * d * model.hidden
    attended = tokens if attended is None else attended
    return n * (6 * d * d + mlp) + rows * text * 2 * text_width * d, 2 * n * (attended + text) * d


def count_decoder_flops(decoder: Autoencoder, *, rows: int, latents: tuple[int, int, int]) -> int:
    """As `count_flops`, of decoding clips of `latents` (frames, height, width).

    The first latent, which is one frame alone, is counted as one of the rest but for its head.
    """
    lf, lh, lw = latents
    pt, ph, pw = decoder.patch
    widths, depths = decoder.widths[::-1], decoder.depths[::-1]
    total = rows * lf * lh * lw * decoder.channels * widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        places = rows * lf * (lh << stage) * (lw << stage)
        total += places * depth * 2 * decoder.expand * width * width
        if stage:
            total += places // 4 * widths[stage - 1] * 4 * width
    per_frame = rows * (lh << (len(widths) - 1)) * (lw << (len(widths) - 1))
    head = ph * pw * 3
    total += per_frame * widths[-1] * head + per_frame * (lf - 1) * widths[-1] * pt * head
    if decoder.detail:
        total += per_frame * (lf - 1) * decoder.detail * (widths[-1] + pt * head)
    return 2 * total


def _text_products(encoder: TextEncoder, *, rows: int, text: int) -> int:
    e, inner = encoder.width, encoder.heads * encoder.head_dim
    dense = rows * text * (4 * e * inner + (3 if encoder.gated else 2) * e * encoder.hidden)
    return encoder.depth * (dense + 2 * rows * text * text * inner) + _bias_products(encoder, text=text)


def _bias_products(encoder: TextEncoder, *, text: int) -> int:
    tables = encoder.depth if encoder.bias_per_layer else 1
    return tables * 2 * text * encoder.buckets * encoder.heads


def _text_width(model: Transformer, text_width: int | None) -> int:
    if model.text_encoder is not None:
        return model.text_encoder.width
    if text_width is None:
        raise ValueError("the model has no text_encoder: give text_width, the width of its embeddings")
    return text_width
