"""One's own folder of videos, encoded for the transformer.

    python -m sora_jax.make_latents --config configs/folder.py --config.train.folder.root=videos \\
        --config.train.folder.captions_file=videos/captions.csv --autoencoder run/frozen --out run/latents
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The table of a folder of videos; see `sora_jax.data.source.FolderSource`.

    The held-out clips are the same unless `heldout.folder` is overridden; the held-out loss is then one of
    training clips.
    """
    folder = ConfigDict(
        {
            "root": "videos",
            "captions_file": "videos/captions.csv",
            "fps": 8.0,
            "max_frames": 33,
            "pixels": 64 * 64,
            "max_bad_share": 0.05,
        }
    )
    same = {name: folder.get_oneway_ref(name) for name in folder}
    return ConfigDict(
        {
            "train": {"kind": "folder", "folder": folder},
            "heldout": {"kind": "folder", "folder": same},
            "prompts": {},
            "phrasings": ("short",),
            "shard_clips": 256,
        }
    )
