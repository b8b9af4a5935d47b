"""One's own folder of videos, encoded for the transformer.

    python -m sora_jax.make_latents --config configs/folder.py --config.train.folder.root=videos \\
        --config.train.folder.captions_file=videos/captions.csv --autoencoder run/frozen --out run/latents
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The table of a folder of videos; held-out clips are those of `heldout.folder`, by default the same."""
    folder = {"root": "videos", "captions_file": "videos/captions.csv"}
    return ConfigDict(
        {
            "train": {"kind": "folder", "folder": dict(folder)},
            "heldout": {"kind": "folder", "folder": dict(folder)},
            "prompts": {},
            "phrasings": ("short",),
            "shard_clips": 256,
        }
    )
