"""The encoder with Hugging Face weights against transformers: stored outputs, and live where torch is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from sora_jax.models import text_hf

FOLDER = Path(__file__).parent.parent / "data_files"
KINDS = ("t5", "umt5", "byt5")


def segments(lengths: np.ndarray, m: int) -> np.ndarray:
    return (np.arange(m)[None] < lengths[:, None]).astype(np.int32)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_transformers(kind):
    """Every real token to 1e-4 of outputs of size 1, at lengths 150 (beyond the last bucket), 37 and 1."""
    encoder, params = text_hf.load(FOLDER / f"tiny_{kind}")
    golden = np.load(FOLDER / f"tiny_{kind}" / "golden.npz")
    segment = segments(golden["lengths"], golden["tokens"].shape[1])
    out = jax.jit(encoder.apply)({"params": params}, golden["tokens"], segment)
    assert np.std(golden["output"]) > 0.3
    np.testing.assert_allclose(np.asarray(out)[segment > 0], golden["output"][segment > 0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_golden_outputs_are_those_of_transformers(kind):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    cls = transformers.UMT5EncoderModel if kind == "umt5" else transformers.T5EncoderModel
    golden = np.load(FOLDER / f"tiny_{kind}" / "golden.npz")
    tokens = torch.as_tensor(golden["tokens"]).long()
    mask = segments(golden["lengths"], tokens.shape[1])
    with torch.no_grad():
        model = cls.from_pretrained(FOLDER / f"tiny_{kind}").eval()
        live = model(input_ids=tokens, attention_mask=torch.as_tensor(mask)).last_hidden_state.numpy()
    np.testing.assert_allclose(live[mask > 0], golden["output"][mask > 0], atol=1e-5)


def test_a_folder_that_does_not_fit_is_named(tmp_path):
    """Every error says which key, weight or file, and what would do."""
    folder = tmp_path / "t5"
    shutil.copytree(FOLDER / "tiny_t5", folder)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"model_type": "bert"}, "model_type 'bert'"),
        ({"feed_forward_proj": "gelu"}, "feed_forward_proj 'gelu'"),
        ({"num_layers": 3}, r"missing encoder\.block\.2\.layer\.0\.SelfAttention\.k\.weight, "),
        ({"d_ff": 30}, r"DenseReluDense.wi.weight is \(28, 20\), not \(30, 20\)"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            text_hf.load(folder)
    del config["d_kv"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lacks d_kv"):
        text_hf.load(folder)
    shutil.copy(FOLDER / "tiny_t5" / "config.json", folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="safetensors"):
        text_hf.load(folder)
