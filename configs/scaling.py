"""The scaling ladder: one family of transformers, and which of them is trained for how long.

    python -m sora_jax.scaling ladder --tier cpu
    python -m sora_jax.scaling run --tier cpu --workdir run/scaling --minutes 60

| tier | compute, FLOPs | hardware | time |
|---|---|---|---|
| smoke | 1.2e9 and 2.4e9 | 2 cores | under a minute, in the tests |
| cpu | 3e10 to 3e13, held out 1e14 and 3e14 | 2 cores | see experiments/005_scaling |
| cpu_tuning | rates and batches, 1e11 to 3e12 | 2 cores | half an hour by the FLOPs, not run yet |
| gpu | 1e14 to 1e17, held out 1e18 | one H200 | not run yet |
| tpu | 1e17 to 1e20 | a TPU slice | not run yet |

Every line of a ladder is also a run of `sora_jax.train`, with this table and the line's changes.
"""

from ml_collections import ConfigDict


def budgets(first: float, last: float) -> tuple[float, ...]:
    """Half decades between two exponents of ten: 10.5 and 13.5 are 3.16e10, 1e11, ... 3.16e13 FLOPs."""
    return tuple(float(f"{10 ** (k / 2):.3g}") for k in range(round(2 * first), round(2 * last) + 1))


# The coarse stage of a small arm, which has no other.
THREE = {
    "budgets": (),
    "coarse": (
        (3.16e11, (16, 20, 24, 32, 40)),
        (1e12, (20, 24, 32, 40, 48)),
        (3.16e12, (24, 32, 40, 48, 64)),
    ),
}
CLIPS = ((1, 1e-6), (33, 1.0))  # of the class of images one clip in a million
# Up to five images of 36 tokens share a row of one clip's 180.
PACKED = (("data.max_segments", 5), ("model.levels", 6))
# Up to eight images, or a clip of 17 frames of 64 x 64, in a row of 320.
MIXED = (("data.max_segments", 8), ("model.levels", 9), ("data.row_tokens", 320), ("data.row_text", 256))


def get_config(tier: str = "cpu") -> ConfigDict:
    """The table of a tier: a training run of the family's base size, and `ladder`."""
    config = ConfigDict(
        {
            "kind": "transformer",
            "seed": 0,
            "autoencoder": "gpu-128px",
            "start_from": "",
            "patch": (1, 1, 1),
            "prediction": "velocity",
            "model": {
                # Of one depth: with few layers, one more is a leap (experiments/005_scaling, "One family").
                "size": {"width": 48, "depth": 3, "aspect": 0, "heads": 2, "head_dim": 0},
                "text": "",  # follows the size
                "levels": 2,  # a clip's, and that of padding
                "scan": False,
                "remat": "none",
                "attention": "xla",
                "pattern": "full",
                "dtype": "float32",
            },
            "mup": {"base_width": 48, "base_head_dim": 24},
            "data": {
                "latents": "",
                "rows": 2,
                "row_tokens": 5 * 6 * 6,  # one clip of 17 frames of 48 x 48
                "row_text": 112,
                "max_segments": 1,
                "oversize": "drop",  # the longest captions: 1.4 % of the clips
                "caption_mix": {"short": 1.0},
                "headless": 0.0,
                "stages": ((None, None),),
                "workers": 0,
                "prefetch": 8,
            },
            "objective": {
                "target": "velocity",
                "density": "uniform",
                "caption_dropout": 0.1,
                "known": {"none": 1.0},
                "forcing": 0.0,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 4e-3,
                "warmup_steps": 30,
                "cooldown_steps": 0,
                "open_ended": True,
                "weight_decay": 0.0,
                "clip_norm": 1.0,
            },
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1, "context": 1},
            "train": {
                "total_steps": 1_000_000,  # a bound: a line says its own
                "ema_decay": 0.0,
                "accumulate": 1,
                "log_every": 200,
                "evaluate_every": 1_000_000,
                "checkpoint_every": 1_000_000,
                "checkpoint_minutes": 3.0,
                "keep": 1,
                "best": (),
            },
            "evaluation": {"batches": 1, "prompts": (), "size": (17, 48, 48), "fps": 8.0, "steps": 16},
            "ladder": {
                "budgets": budgets(10.5, 13.5),
                "held_out": (1e14, 3.16e14),
                "widths": (*range(12, 33, 4), *range(40, 65, 8), *range(80, 129, 16), 160, 192, 224, 256),
                # First stage: (budget, widths); the second is centred on the optimum that it predicts.
                "coarse": (
                    (3.16e10, (12, 16, 20, 24, 32)),
                    (3.16e11, (16, 20, 24, 32, 40)),
                    (3.16e12, (24, 32, 40, 48, 64)),
                ),
                "sizes": 7,
                "seeds": 3,  # at the optimum and its two neighbours
                # Clips of a batch, up to which budget: see "Rate and batch" in experiments/005_scaling.
                "rows": ((1.1e12, 2), (1.1e13, 4), (1e30, 8)),
                "base_rows": 2,  # the rate is that of so many; it grows as the root of a batch
                "cooldown": 0.2,  # share of a run's steps
                "held_out_clips": 4096,
                "flops_per_second": 2e10,  # of one process on one core
                # name -> what differs: entries of `ladder`, and `changes`, ("a.b.c", value), of the rest.
                "arms": {
                    "main": {},
                    "standard": {**THREE, "changes": (("mup", None),)},
                    # Two ways to begin, on the store `scaling_images_cpu`: with images, or without.
                    "images_first": {**THREE, "images_first": 0.3, "changes": PACKED},
                    "no_images": {**THREE, "changes": (*PACKED, ("data.stages", ((None, CLIPS),)))},
                    # Rows of several sizes, on `scaling_mixed_cpu`.
                    "mixed": {**THREE, "rows": ((1.1e12, 1), (1e30, 2)), "changes": MIXED},
                },
            },
        }
    )
    match tier:
        case "smoke":
            config.data.rows = 4
            config.optimizer.warmup_steps = 2
            config.train.log_every = 4
            config.model.scan = True  # compiles faster
            config.ladder.update(budgets=(1.2e9, 2.4e9), held_out=(4.8e9,), widths=(12, 24), sizes=2)
            config.ladder.update(coarse=((1.2e9, (12, 24)),), seeds=1, rows=((1e30, 1),), held_out_clips=32)
        case "cpu":
            pass
        case "cpu_tuning":
            config.ladder.arms = ConfigDict(_tuning())
        case "gpu" | "tpu":
            wide = tier == "tpu"
            config.model.update(dtype="bfloat16", scan=True, attention="splash" if wide else "cudnn")
            aspect = 64 if wide else 32
            config.model.size.update(width=384, depth=0, aspect=aspect, heads=0, head_dim=64)
            config.mup = ConfigDict({"base_width": 384, "base_head_dim": 64})
            side = 128 if wide else 64
            config.data.update(rows=64, row_tokens=5 * (side // 8) ** 2, row_text=128, workers=8)
            config.evaluation.size = (17, side, side)
            config.optimizer.learning_rate = 1e-3
            first = 1e17 if wide else 1e14
            config.ladder.update(budgets=budgets(17, 20) if wide else budgets(14, 17))
            config.ladder.update(held_out=(1e21,) if wide else (1e18,), base_rows=64)
            config.ladder.update(widths=tuple(range(128, 2561, 128)), flops_per_second=1e14)
            config.ladder.coarse = (
                (first, (128, 256, 384, 512, 640)),
                (first * 10, (256, 384, 512, 640, 768)),
                (first * 100, (384, 512, 640, 768, 1024)),
            )
            config.ladder.rows = ((first * 11, 32), (first * 110, 64), (1e30, 128))
        case _:
            raise ValueError(
                f"no tier {tier!r} of configs/scaling.py: use smoke, cpu, cpu_tuning, gpu or tpu"
            )
    return config


def _tuning() -> dict[str, dict]:
    """Arms: rates at two small sizes and, to see that they carry over, a third; batches at the small ones."""
    small = ((1e11, (24,)), (1e12, (32,)))
    third = (3.16e12, (64,))
    arms = {}
    for thousandths in (1, 2, 4, 8, 16):
        changes = (("optimizer.learning_rate", thousandths / 1000),)
        lines = {"budgets": (), "coarse": (*small, third)}
        arms[f"rate{thousandths}"] = {**lines, "changes": changes}
        arms[f"standard-rate{thousandths}"] = {**lines, "changes": (*changes, ("mup", None))}
    for rows in (1, 2, 4, 8, 16):
        arms[f"rows{rows}"] = {"budgets": (), "coarse": (*small, third), "rows": ((1e30, rows),)}
    return arms
