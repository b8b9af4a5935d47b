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
# Of the gpu tier: few enough that each one's encoder compiles in little of its time.
LARGE_SIZES = (
    (64, 64, 0.26),
    (64, 96, 0.08),
    (96, 64, 0.08),
    (96, 96, 0.10),
    (128, 128, 0.22),
    (96, 128, 0.08),
    (128, 96, 0.08),
    (64, 128, 0.05),
    (128, 64, 0.05),
)
FAMILIES = (("uniform", 0.50), ("beside", 0.18), ("parabola", 0.10), ("bounce", 0.12), ("collision", 0.10))


def get_config(variant: str = "cpu") -> ConfigDict:
    """The table of `variant`: smoke, cpu, cpu_more, cpu_turns, gpu or gpu_smoke; phyworld_ before smoke, cpu
    or gpu, permanence_ before smoke or cpu, or scaling_ before what `_scaling` names."""
    if variant.startswith("scaling_"):
        return _scaling(variant.removeprefix("scaling_"))
    if variant.startswith("phyworld_"):
        return _phyworld(variant.removeprefix("phyworld_"))
    if variant.startswith("permanence_"):
        return _permanence(variant.removeprefix("permanence_"))
    lengths = {
        "smoke": 96,
        "cpu": 65_536,
        "cpu_more": 24_000,
        "cpu_turns": 16_000,
        "gpu": 96_000,
        "gpu_smoke": 96,
    }
    gpu, smoke = variant.startswith("gpu"), variant.endswith("smoke")
    more = variant in ("cpu_more", "cpu_turns")
    world = {
        "seed": 11,
        "length": lengths[variant],
        "families": (*FAMILIES, ("cuts", 0.25), ("returns", 0.15)) if gpu else FAMILIES,
        "frames": ((1, 0.35), (9, 0.30), (17, 0.30), (33, 0.05)),
        "sizes": LARGE_SIZES if gpu else SMALL_SIZES,
        "heldout": "exclude",
    }
    if gpu:
        world["frames"] = ((1, 0.25), (9, 0.15), (17, 0.40), (33, 0.20))
    if more:  # what the gpu tier has, in few sizes, with fewer cuts: plain prompts got some
        world["seed"] = 14
        world["families"] = (*FAMILIES, ("cuts", 0.05), ("returns", 0.20))
        world["frames"] = ((1, 0.10), (17, 0.40), (33, 0.50))
        world["sizes"] = ((64, 64, 0.8), (64, 96, 0.1), (96, 64, 0.1))
    if variant == "cpu_turns":  # what connects two ends: a smooth way, and looks that change on it
        world["seed"] = 15
        world["families"] = (*FAMILIES, ("cuts", 0.12), ("returns", 0.20), ("turns", 0.35))
        world["frames"] = ((1, 0.10), (17, 0.35), (33, 0.55))
    heldout = {
        **world,
        "seed": 12,
        "length": 32 if smoke else {"cpu": 1024, "gpu": 2048}.get(variant, 256),
    }
    train = {"kind": "world", "world": world}
    if gpu or more:
        sides = (64, 128) if gpu else (64,)
        benches = {f"bench {side}": _hidden_and_long(side, 2 if smoke else 3000) for side in sides}
        train = {"kind": "joined", "joined": {"world": train, **benches}}
    prompts = {"one object": 128, "two objects": 128, "images": 64, "held-out combinations": 64}
    return ConfigDict(
        {
            "train": train,
            "heldout": {"kind": "world", "world": heldout},
            "prompts": dict.fromkeys(prompts, 2) if smoke else prompts,
            # Of a list all are kept, and text is planned for the longest: on two cores text is not cheap. Of
            # a table each clip keeps one.
            "phrasings": {"short": 0.7, "descriptive": 0.3} if gpu or more else ("short",),
            "shard_clips": 48 if smoke else 2048,
        }
    )


def _hidden_and_long(side: int, length: int) -> dict:
    """`length` clips each of things that pass behind a screen, and of discs that never leave their box."""
    bench = {
        "families": ("occlusion", "billiards"),
        "seed": 13,
        "length": length,
        "frames": 33,
        "height": side,
        "width": side,
        "heldout": "exclude",
    }
    return {"kind": "bench", "bench": bench}


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


def _permanence(tier: str) -> ConfigDict:
    """Things that pass behind a screen, or a screen before them."""

    def hidden(seed: int, length: int) -> dict:
        bench = {"families": ("occlusion",), "seed": seed, "length": length, "height": 64, "width": 64}
        return {"kind": "bench", "bench": bench}

    smoke = tier == "smoke"
    return ConfigDict(
        {
            "train": hidden(31, {"smoke": 32, "cpu": 20_000}[tier]),
            "heldout": hidden(32, 16 if smoke else 256),
            "prompts": {},
            "phrasings": ("short",),
            "shard_clips": 32 if smoke else 1000,
        }
    )


def _scaling(tier: str) -> ConfigDict:
    """Clips of one size for the scaling ladder: enough that no run reads a clip twice.

    Beside them, of the cpu tier's small arms: `images_cpu`, clips and as many images for those that begin
    with images; and `mixed_cpu`, images and clips of several sizes for rows of several.
    """
    side, length = {
        "smoke": (48, 128),
        "cpu": (48, 393_216),
        "images_cpu": (48, 81_920),
        "mixed_cpu": (48, 98_304),
        "gpu": (64, 4_000_000),
        "tpu": (128, 100_000_000),
    }[tier]
    world = {
        "seed": 51,
        "length": length,
        "families": FAMILIES,
        "frames": ((17, 1.0),),
        "sizes": ((side, side, 1.0),),
        "heldout": "exclude",
    }
    if tier == "mixed_cpu":
        world["seed"] = 54
        world["frames"] = ((1, 0.25), (9, 0.25), (17, 0.50))
        world["sizes"] = tuple((height, width, 0.25) for height in (48, 64) for width in (48, 64))
    train = {"kind": "world", "world": world}
    if tier == "images_cpu":
        images = {**world, "seed": 53, "frames": ((1, 1.0),)}
        train = {"kind": "joined", "joined": {"clips": train, "images": {"kind": "world", "world": images}}}
    heldout = {**world, "seed": world["seed"] + 1, "length": 48 if tier == "smoke" else 4608}
    prompts = {"one object": 128, "two objects": 128, "images": 64, "held-out combinations": 64}
    return ConfigDict(
        {
            "train": train,
            "heldout": {"kind": "world", "world": heldout},
            "prompts": dict.fromkeys(prompts, 2) if tier == "smoke" else prompts,
            "phrasings": ("short",),
            "shard_clips": 64 if tier == "smoke" else 4096,
        }
    )
