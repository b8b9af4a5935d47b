"""Which captions a store keeps, and that worker processes change nothing of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from sora_jax import make_latents
from sora_jax.data.latents import LatentSource
from sora_jax.types import LatentClip

CLIP = LatentClip(
    latents=np.zeros((2, 2, 2, 3), np.float32),
    fps=8.0,
    captions={"short": "a bar", "descriptive": "A bar is at rest."},
    id="a",
    frames=5,
)


def test_of_a_list_all_phrasings_are_kept_and_of_a_table_one_by_its_weight():
    assert make_latents.kept_captions(CLIP, ["short"]) == {"short": "a bar"}
    assert make_latents.kept_captions(CLIP, ["short", "descriptive"]) == CLIP.captions
    assert make_latents.kept_captions(CLIP, ["other"]) == CLIP.captions
    weights = {"short": 0.7, "descriptive": 0.3}
    clips = [dataclasses.replace(CLIP, id=str(number)) for number in range(2000)]
    kept = [tuple(make_latents.kept_captions(clip, weights)) for clip in clips]
    assert set(kept) == {("short",), ("descriptive",)}
    assert np.mean([k == ("short",) for k in kept]) == pytest.approx(0.7, abs=0.05)
    again = [tuple(make_latents.kept_captions(clip, weights)) for clip in clips]
    assert kept == again, "drawn by the clip's id"
    image = dataclasses.replace(CLIP, frames=1)
    assert make_latents.kept_captions(image, {"descriptive": 0.1, "short": 0.9}) == {
        "descriptive": "A bar is at rest."
    }


def test_worker_processes_give_the_same_store(tmp_path):
    stores = []
    for workers in ("0", "2"):
        out = tmp_path / workers
        arguments = ["--config", "configs/latents.py:smoke", "--autoencoder", "gpu-128px", "--out", str(out)]
        changes = [
            "--config.train.world.length=9",
            "--config.heldout.world.length=2",
            "--config.train.world.sizes=((48, 48, 1.0),)",
            "--config.heldout.world.sizes=((48, 48, 1.0),)",
            "--config.train.world.frames=((1, 0.5), (5, 0.5))",
            "--config.heldout.world.frames=((1, 1.0),)",
            "--config.shard_clips=4",
        ]
        assert make_latents.main([*arguments, "--workers", workers, *changes]) == 0
        stores.append(LatentSource(out / "train"))
        assert json.loads((out / "manifest.json").read_text())["train"]["phrasings"] == ["short"]
    one, two = stores
    assert len(one) == len(two) > 5 and one.manifest_hash == two.manifest_hash
    for number in range(len(one)):
        a, b = one[number], two[number]
        assert a.captions == b.captions and a.id == b.id
        np.testing.assert_allclose(a.latents, b.latents, atol=2e-3)
