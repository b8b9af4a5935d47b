"""Loads the encoder of a T5, umT5 or ByT5 from a local Hugging Face folder into `models.text.TextEncoder`.

A folder holds `config.json` and `model.safetensors`, or the files that `model.safetensors.index.json` names.
Decoder weights are ignored; every weight of the encoder must be there, in its shape. T5, T5 v1.1 and ByT5 are
`model_type` "t5" (one bias table for all layers), umT5 is "umt5" (one per layer). Tokenisation is the
caller's: ByT5 needs no vocabulary file (`text_bytes`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from sora_jax.models.text import TextEncoder
from sora_jax.types import Params

# `feed_forward_proj` of a configuration -> (gated, activation); T5's "gated-gelu" is the tanh form.
FEED_FORWARD: dict[str, tuple[bool, Any]] = {
    "relu": (False, "relu"),
    "gated-gelu": (True, "gelu"),
    "gated-gelu_new": (True, "gelu"),
    "gated-silu": (True, "silu"),
    "gated-relu": (True, "relu"),
}
# Field of `TextEncoder` <- key of config.json, and T5's default where there is one.
_FIELDS: dict[str, tuple[str, Any]] = {
    "vocabulary": ("vocab_size", None),
    "width": ("d_model", None),
    "depth": ("num_layers", None),
    "heads": ("num_heads", None),
    "head_dim": ("d_kv", None),
    "hidden": ("d_ff", None),
    "buckets": ("relative_attention_num_buckets", 32),
    "max_distance": ("relative_attention_max_distance", 128),
    "epsilon": ("layer_norm_epsilon", 1e-6),
}


def load(folder: str | Path, *, dtype: Any = jnp.float32) -> tuple[TextEncoder, Params]:
    """The encoder and its parameters: `encoder.apply({"params": params}, tokens, segment)`.

    The parameters are float32 NumPy arrays.

    Args:
      folder: has `config.json` and safetensors.
      dtype: of the computation.

    Raises:
      ValueError: a configuration that is no T5, or weights that are missing or of another shape, by name.
      FileNotFoundError: a file of the folder is missing.
    """
    folder = Path(folder)
    encoder = encoder_of(json.loads((folder / "config.json").read_text()), dtype=dtype)
    return encoder, parameters_of(read_tensors(folder), encoder)


def encoder_of(config: Mapping[str, Any], *, dtype: Any = jnp.float32) -> TextEncoder:
    """The module that a Hugging Face `config.json` describes."""
    kind = config.get("model_type")
    if kind not in ("t5", "umt5"):
        raise ValueError(f"model_type {kind!r} is not an encoder we read: use a t5 (T5, ByT5) or umt5 folder")
    projection = config.get("feed_forward_proj", "relu" if kind == "t5" else "gated-gelu")
    if projection not in FEED_FORWARD:
        raise ValueError(f"feed_forward_proj {projection!r} is not one of {', '.join(FEED_FORWARD)}")
    missing = [key for key, default in _FIELDS.values() if default is None and key not in config]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    gated, activation = FEED_FORWARD[projection]
    fields = {name: config.get(key, default) for name, (key, default) in _FIELDS.items()}
    return TextEncoder(
        **fields, gated=gated, activation=activation, bias_per_layer=kind == "umt5", dtype=dtype
    )


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of the encoder (and the embedding) by name, float32, from one file or from shards."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    tensors: dict[str, np.ndarray] = {}
    for name in names:
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"{folder / name} is missing: safetensors weights are needed, not .bin files"
            )
        with safe_open(str(folder / name), framework="flax") as file:  # "flax": NumPy has no bfloat16
            for key in file.keys():  # noqa: SIM118
                if key == "shared.weight" or key.startswith("encoder."):
                    tensors[key] = np.asarray(file.get_tensor(key), np.float32)
    return tensors


def parameters_of(tensors: Mapping[str, np.ndarray], encoder: TextEncoder) -> Params:
    """The encoder's parameters; `TextEncoder` kernels are the transposes of torch's."""
    missing: list[str] = []
    wrong: list[str] = []

    def take(name: str, *shape: int) -> np.ndarray:
        if name not in tensors:
            missing.append(name)
        elif tensors[name].shape != shape:
            wrong.append(f"{name} is {tensors[name].shape}, not {shape}")
        else:
            return tensors[name]
        return np.zeros(shape, np.float32)

    def kernel(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {"kernel": np.ascontiguousarray(take(f"{name}.weight", outputs, inputs).T)}

    e, inner, hidden = encoder.width, encoder.heads * encoder.head_dim, encoder.hidden
    embedding = "shared.weight" if "shared.weight" in tensors else "encoder.embed_tokens.weight"
    layers = range(encoder.depth if encoder.bias_per_layer else 1)
    table = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
    params: dict[str, Any] = {
        "embedding": take(embedding, encoder.vocabulary, e),
        "relative_bias": np.stack([take(table.format(i), encoder.buckets, encoder.heads) for i in layers]),
        "norm": {"gain": take("encoder.final_layer_norm.weight", e)},
    }
    for i in range(encoder.depth):
        attention, mlp = f"encoder.block.{i}.layer.0", f"encoder.block.{i}.layer.1"
        if encoder.gated:
            up = {
                "gate": kernel(f"{mlp}.DenseReluDense.wi_0", e, hidden),
                "up": kernel(f"{mlp}.DenseReluDense.wi_1", e, hidden),
            }
        else:
            up = {"up": kernel(f"{mlp}.DenseReluDense.wi", e, hidden)}
        params[f"block_{i}"] = {
            "attention_norm": {"gain": take(f"{attention}.layer_norm.weight", e)},
            "query": kernel(f"{attention}.SelfAttention.q", e, inner),
            "key": kernel(f"{attention}.SelfAttention.k", e, inner),
            "value": kernel(f"{attention}.SelfAttention.v", e, inner),
            "out": kernel(f"{attention}.SelfAttention.o", inner, e),
            "mlp_norm": {"gain": take(f"{mlp}.layer_norm.weight", e)},
            "mlp": {**up, "down": kernel(f"{mlp}.DenseReluDense.wo", hidden, e)},
        }
    if missing or wrong:
        wrong = [f"missing {', '.join(sorted(missing))}"] * bool(missing) + wrong
        raise ValueError(f"the weights do not fit config.json: {'; '.join(wrong)}")
    return params
