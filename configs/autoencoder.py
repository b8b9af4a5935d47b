"""The causal video autoencoder of the simulated world.

    python -m sora_jax.train --config configs/autoencoder.py:cpu --workdir ~/run/autoencoder

| variant | hardware | time | expected held-out PSNR |
|---|---|---|---|
| smoke | 2 cores | 1 minute | none: it shows that the road is open |
| cpu | 2 cores | 28 minutes, from the first release's weights | 35.8 dB |
| gpu | one H200 | 5 minutes | not run yet |
| phyworld_cpu | 2 cores | see experiments/004_phyworld | |
| phyworld_gpu | one H200 | 5 minutes | not run yet |
"""

from ml_collections import ConfigDict

STEPS = {
    "smoke": 20,
    "cpu": 4600,
    "gpu": 6000,
    "phyworld_smoke": 20,
    "phyworld_cpu": 1900,
    "phyworld_gpu": 6000,
}


def get_config(variant: str = "cpu") -> ConfigDict:
    """The table of `variant`: one of `STEPS`; phyworld_* is for the protocol of experiments/004_phyworld."""
    if variant not in STEPS:
        raise ValueError(f"no variant {variant!r} of configs/autoencoder.py: use one of {', '.join(STEPS)}")
    steps = STEPS[variant]
    config = ConfigDict(
        {
            "kind": "autoencoder",
            "seed": 0,
            "source": {
                "kind": "world",
                "world": {
                    "seed": 1,
                    # Seen many times, from memory: rendering would take a quarter of two cores.
                    "length": 8000,
                    "frames": ((9, 0.8), (17, 0.2)),
                    "sizes": ((64, 64, 0.8), (48, 80, 0.2)),
                    "heldout": "any",
                },
            },
            "data": {
                "batch": 8,
                "shapes": (((9, 64, 64), 0.8), ((17, 48, 80), 0.2)),
                "cache": True,
                "workers": 0,
                "prefetch": 8,
            },
            "start_from": "",  # folder or shipped name of a model whose weights the first ones are
            "model": {"size": "4x8x8-small", "dtype": "float32"},
            # Squared below a tenth of full contrast: what is lost lies on edges, and PSNR counts its square.
            "loss": {"epsilon": 0.1, "gradient_weight": 0.2, "kl_weight": 2e-5},
            # Weight above 0: trained against a discriminator as well; begin it from a trained autoencoder.
            "adversary": {"weight": 0.0, "width": 128, "depth": 3},
            "optimizer": {
                "name": "muon",
                "learning_rate": 1e-2,
                "adam_learning_rate": 1.5e-3,
                "warmup_steps": min(100, steps // 4),
                "cooldown_steps": steps // 3,
                "weight_decay": 0.0,
                "clip_norm": 1.0,
            },
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1, "context": 1},  # -1: all devices that are left
            "train": {
                "total_steps": steps,
                "ema_decay": 0.999,
                "accumulate": 1,  # pieces of a batch, one after the other, whose gradients are averaged
                "log_every": 50,
                "evaluate_every": 500,
                "checkpoint_every": 500,
                "checkpoint_minutes": 5.0,
                "keep": 2,
                "best": ("heldout_psnr", "max"),  # one more checkpoint is kept, the best by this value
            },
            "evaluation": {"world_seed": 1_000_001, "clips": 64, "shapes": ((17, 64, 64), (9, 96, 64))},
        }
    )
    match variant:
        case "smoke":
            config.model.size = "test"
            config.data.update(batch=4, shapes=(((9, 64, 64), 1.0),))
            config.train.update(log_every=5, evaluate_every=10)
            config.evaluation.update(clips=4)
        case "cpu":
            # Grown from the release before; the first had no detail (30.6 dB after 4800 steps from nothing).
            config.update(start_from="gpu-128px")
            config.model.size = "4x8x8-detail"
        case "gpu":
            config.model.update(size="4x8x8", dtype="bfloat16")
            config.source.world.update(length=200_000, frames=((17, 0.7), (33, 0.3)))
            config.source.world.sizes = ((64, 64, 0.3), (128, 128, 0.4), (96, 128, 0.3))
            config.data.update(batch=64, cache=False, workers=12)
            config.data.shapes = (((17, 64, 64), 0.3), ((17, 128, 128), 0.4), ((33, 96, 128), 0.3))
        case "phyworld_smoke" | "phyworld_cpu" | "phyworld_gpu":
            _phyworld(config, variant.removeprefix("phyworld_"))
    return config


def _phyworld(config: ConfigDict, tier: str) -> None:
    """Discs of all laws, in and out of distribution: a transformer's errors out of it are to be its own."""
    side = 128 if tier == "gpu" else 64
    discs = {
        "laws": ("uniform", "parabola", "collision"),
        "splits": ("in", "out_both"),
        "seed": 21,
        "length": {"smoke": 4, "cpu": 1500, "gpu": 30_000}[tier],  # of each of the six
        "frames": 33,
        "side": side,
    }
    config.source = ConfigDict({"kind": "phyworld", "phyworld": discs})
    config.model.update(size={"smoke": "2x8x8-test", "cpu": "2x8x8-small", "gpu": "2x8x8"}[tier])
    config.model.update(dtype="bfloat16" if tier == "gpu" else "float32")
    config.data.update(batch={"smoke": 4, "cpu": 8, "gpu": 64}[tier], shapes=(((33, side, side), 1.0),))
    config.data.update(cache=tier != "gpu", workers=12 if tier == "gpu" else 0)
    if tier == "cpu":
        config.optimizer.update(cooldown_steps=700)
    config.evaluation.update(clips=4 if tier == "smoke" else 96, shapes=((33, side, side),))
