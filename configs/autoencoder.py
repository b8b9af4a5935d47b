"""The causal video autoencoder of the simulated world.

    python -m sora_jax.train --config configs/autoencoder.py:cpu --workdir ~/run/autoencoder

| variant | hardware | time | expected held-out PSNR |
|---|---|---|---|
| smoke | 2 cores | 1 minute | none: it shows that the road is open |
| cpu | 2 cores | 35 minutes | see sora_jax/pretrained/*/card.md |
| gpu | one H200 | 5 minutes | not run yet |
"""

from ml_collections import ConfigDict

STEPS = {"smoke": 20, "cpu": 9000, "gpu": 6000}


def get_config(variant: str = "cpu") -> ConfigDict:
    """The table of `variant`: smoke, cpu or gpu."""
    steps = STEPS[variant]
    smoke, gpu = variant == "smoke", variant == "gpu"
    return ConfigDict(
        {
            "kind": "autoencoder",
            "seed": 0,
            "world": {
                "seed": 1,
                "length": 400_000,
                "frames": ((1, 0.2), (9, 0.2), (17, 0.6)),
                "sizes": ((64, 64, 0.6), (48, 96, 0.2), (96, 64, 0.2)) if not gpu else None,
                "heldout": "any",
            },
            "data": {
                "batch": 4 if smoke else 64 if gpu else 16,
                "shapes": (((17, 64, 64), 1.0),)
                if smoke
                else (((17, 64, 64), 0.8), ((9, 48, 96), 0.1), ((9, 96, 64), 0.1))
                if not gpu
                else (((17, 64, 64), 0.4), ((17, 128, 128), 0.3), ((33, 96, 128), 0.3)),
                "workers": 12 if gpu else 0,
                "prefetch": 8,
            },
            "model": {"size": "test" if smoke else "4x8x8", "dtype": "bfloat16" if gpu else "float32"},
            "loss": {"epsilon": 0.02, "gradient_weight": 0.5, "kl_weight": 1e-5},
            "optimizer": {
                "name": "muon",
                "learning_rate": 1e-2,
                "adam_learning_rate": 1.5e-3,
                "warmup_steps": min(100, steps // 4),
                "cooldown_steps": steps // 3,
                "weight_decay": 0.0,
                "clip_norm": 1.0,
            },
            "train": {
                "total_steps": steps,
                "ema_decay": 0.999,
                "log_every": 5 if smoke else 50,
                "evaluate_every": 10 if smoke else 1000,
                "checkpoint_every": 1000,
                "checkpoint_minutes": 5.0,
                "keep": 2,
            },
            "evaluation": {
                "world_seed": 1_000_001,
                "clips": 8 if smoke else 128,
                "shapes": ((17, 64, 64), (9, 96, 64)),
            },
        }
    )
