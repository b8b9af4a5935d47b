"""Which clips are encoded for the transformer.

python -m sora_jax.make_latents --config configs/latents.py:cpu --autoencoder run/frozen --out run/latents
"""

from ml_collections import ConfigDict

# (height, width, share): the 64 px class, aspect ratios 1:2 to 2:1.
SMALL_SIZES = (
    (64, 64, 0.40),
    (48, 64, 0.12),
    (64, 48, 0.12),
    (64, 96, 0.10),
    (96, 64, 0.10),
    (48, 96, 0.08),
    (96, 48, 0.08),
)
FAMILIES = (("uniform", 0.50), ("beside", 0.18), ("parabola", 0.10), ("bounce", 0.12), ("collision", 0.10))


def get_config(variant: str = "cpu") -> ConfigDict:
    """The table of `variant`: smoke, cpu or gpu, or phyworld_ before one (experiments/004_phyworld)."""
    if variant.startswith("phyworld_"):
        return _phyworld(variant.removeprefix("phyworld_"))
    length = {"smoke": 96, "cpu": 65_536, "gpu": 200_000}[variant]
    gpu = variant == "gpu"
    world = {
        "seed": 11,
        "length": length,
        "families": FAMILIES,
        "frames": ((1, 0.35), (9, 0.30), (17, 0.30), (33, 0.05)),
        "sizes": None if gpu else SMALL_SIZES,
        "heldout": "exclude",
    }
    heldout = {**world, "seed": 12, "length": {"smoke": 32, "cpu": 1024, "gpu": 4096}[variant]}
    prompts = {"one object": 128, "two objects": 128, "images": 64, "held-out combinations": 64}
    return ConfigDict(
        {
            "train": {"kind": "world", "world": world},
            "heldout": {"kind": "world", "world": heldout},
            "prompts": dict.fromkeys(prompts, 2) if variant == "smoke" else prompts,
            # Text is planned for the longest phrasing kept: on two cores text is not cheap.
            "phrasings": ("short", "descriptive") if gpu else ("short",),
            "shard_clips": 48 if variant == "smoke" else 2048,
        }
    )


def _phyworld(tier: str) -> ConfigDict:
    """One law's clips in distribution; `--config.train.phyworld.laws` and `.length` choose the set."""
    discs = {
        "laws": ("uniform",),
        "splits": ("in",),
        "seed": 22,
        "length": {"smoke": 64, "cpu": 10_000, "gpu": 300_000}[tier],
        "frames": 33,
        "side": 128 if tier == "gpu" else 64,
    }
    heldout = {**discs, "seed": 23, "length": 32 if tier == "smoke" else 512}
    return ConfigDict(
        {
            "train": {"kind": "phyworld", "phyworld": discs},
            "heldout": {"kind": "phyworld", "phyworld": heldout},
            "prompts": {},
            "phrasings": ("short",),
            "shard_clips": 1000,
        }
    )
