"""Writes the tiny random T5, umT5 and ByT5 encoders and outputs that tests/models/test_text_hf.py reads.

Needs torch and transformers (made with torch 2.13.0, transformers 5.23.0):
    python tests/data_files/make_t5_golden.py
Each folder holds config.json, safetensors (of ByT5: in shards) and golden.npz: tokens [3 m] int32, lengths
[3], output [3 m d] float32 of the encoder with its padding mask.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

LENGTHS = (150, 37, 1)  # the first is beyond max_distance, the others are padded
KINDS = {
    "t5": (transformers.T5Config, transformers.T5EncoderModel, {"feed_forward_proj": "relu"}),
    "byt5": (
        transformers.T5Config,
        transformers.T5EncoderModel,
        {"feed_forward_proj": "gated-gelu", "vocab_size": 384, "tie_word_embeddings": False},
    ),
    "umt5": (transformers.UMT5Config, transformers.UMT5EncoderModel, {"feed_forward_proj": "gated-gelu"}),
}


def make(kind: str, folder: Path) -> None:
    """One encoder with random weights; gains and biases are random too, so that none can be left out."""
    config_class, model_class, extra = KINDS[kind]
    sizes = {"vocab_size": 96, "d_model": 20, "d_kv": 6, "d_ff": 28, "num_layers": 2, "num_heads": 3}
    config = config_class(**{**sizes, **extra})
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 1.0 if "layer_norm" in name or "bias" in name or "shared" in name else 0.3
            parameter.copy_(torch.randn_like(parameter) * scale)
        tokens = torch.randint(1, config.vocab_size, (len(LENGTHS), max(LENGTHS)))
        mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
        tokens = tokens * mask
        output = model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    model.save_pretrained(folder, max_shard_size="20KB" if kind == "byt5" else "1GB")
    np.savez_compressed(
        folder / "golden.npz",
        tokens=tokens.numpy().astype(np.int32),
        lengths=np.array(LENGTHS, np.int32),
        output=output.numpy().astype(np.float32),
    )


if __name__ == "__main__":
    for kind in KINDS:
        make(kind, Path(__file__).parent / f"tiny_{kind}")
