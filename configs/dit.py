"""The diffusion transformer on latents of the simulated world.

    python -m sora_jax.train --config configs/dit.py:cpu --workdir run/transformer \\
        --config.autoencoder=run/frozen --config.data.latents=run/latents

| variant | size | hardware | time | expected |
|---|---|---|---|---|
| smoke | tiny | 2 cores | 1 minute | nothing: it shows that the road is open |
| cpu | xs | 2 cores | hours, on from what is shipped | see experiments/001_release |
| cpu_more | xs | 2 cores | 2 hours, 1300 steps | on from the gpu release: returns, few cuts |
| cpu_counts | xs | 2 cores | 1 hour, 800 steps | on from cpu_more: what is shipped, see its card |
| cpu_turns | xs | 2 cores | 50 minutes, 660 steps | on from what is shipped, which it does not replace |
| gpu | xs | one H200 | 6 minutes, 3319 steps | see experiments/001_release |
| gpu_more | xs | one H200 | not run yet | on from what is shipped, with returns, prefixes, cudnn |
| phyworld_cpu | nano or mu | 2 cores | see experiments/004_phyworld | |
| phyworld_gpu | s or b | one H200 | not run yet | |
| permanence_cpu | mu | 2 cores | see experiments/007_permanence | |
| s, b, l, xl, 2b, 7b, wan-1.3b | as named | TPU slices | see experiments/002_plans | compiled, not run |
"""

from ml_collections import ConfigDict

# Shares of what is known of a training clip, where every way of prompting is trained.
EVERY_WAY = {
    "none": 0.66,
    "first_frame": 0.08,
    "last_frame": 0.03,
    "prefix": 0.08,
    "suffix": 0.03,
    "both_ends": 0.05,
    "random_frames": 0.03,
    "inside_box": 0.02,
    "outside_box": 0.02,
}


def get_config(variant: str = "cpu") -> ConfigDict:
    """The table of `variant`: one of the table above."""
    config = ConfigDict(
        {
            "kind": "transformer",
            "seed": 0,
            "autoencoder": "",  # folder that sora_jax.export wrote
            "start_from": "",  # folder or shipped name of a model whose weights the first ones are
            "patch": (1, 2, 2),
            "prediction": "velocity",
            "model": {
                "size": "ti",
                "text": "bytes_ti",
                "levels": 24,
                "scan": False,
                "remat": "none",
                # Or a kernel: "splash" on TPUs, "cudnn" in bfloat16 on Hopper GPUs and later, "flash" on
                # other GPUs, "chunked" on CPUs from 1,024 tokens on; or "ring", for long rows, anywhere, and
                # "ring_splash", on TPUs, for long rows of heads that do not divide over the mesh's context.
                "attention": "xla",
                "pattern": "full",  # or "factorised"
                "dtype": "float32",
            },
            "data": {
                "latents": "",  # folder that sora_jax.make_latents wrote
                "rows": 16,
                # Short rows: on two cores masked attention is paid for in full. What fits none (33 frames
                # of more than 64 x 64) is left out and counted.
                "row_tokens": 144,
                "row_text": 224,
                "max_segments": 9,
                "oversize": "drop",
                "caption_mix": {"short": 0.7, "descriptive": 0.3},  # of those that the store has
                "headless": 0.0,  # share of the clips that come without their first latent
                "stages": ((None, ((1, 0.3), (33, 0.7))),),  # (until which step, shares by longest frames)
                "workers": 0,
                "prefetch": 8,
            },
            "objective": {
                "target": "velocity",
                "density": "logit_normal",
                # Much noise: how many objects there are and of what colour is decided above t = 0.8.
                "logit_mean": 1.0,
                "logit_std": 1.2,
                "caption_dropout": 0.1,
                "known": {
                    "none": 0.82,
                    "first_frame": 0.08,
                    "last_frame": 0.02,
                    "prefix": 0.03,
                    "suffix": 0.02,
                    "both_ends": 0.02,
                    "random_frames": 0.01,
                },
                "forcing": 0.05,
            },
            "optimizer": {
                "name": "muon",
                "learning_rate": 1e-2,
                "adam_learning_rate": 1.5e-3,
                "warmup_steps": 200,
                "cooldown_steps": 2000,
                "weight_decay": 0.0,
                "clip_norm": 1.0,
            },
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1, "context": 1},  # -1: all devices that are left
            "train": {
                "total_steps": 5_000,
                "ema_decay": 0.999,
                "accumulate": 1,  # pieces of a batch, one after the other, whose gradients are averaged
                "log_every": 50,
                "evaluate_every": 1000,
                "checkpoint_every": 1000,
                "checkpoint_minutes": 5.0,
                "keep": 2,
                "best": ("heldout_loss", "min"),  # one more checkpoint is kept, the best by this value
            },
            "evaluation": {
                "batches": 12,
                "prompts": ("a large red circle moving right", "two blue squares moving left"),
                "size": (17, 64, 64),
                "fps": 8.0,
                "steps": 16,
            },
        }
    )
    match variant:
        case "smoke":
            config.model.update(size="test", text="bytes_test", scan=True)
            config.data.stages = ((None, None),)
            config.train.update(total_steps=8, log_every=2, evaluate_every=4)
            config.data.update(rows=4, row_tokens=240)
            config.optimizer.update(warmup_steps=2, cooldown_steps=2)
            config.evaluation.update(batches=1, steps=2)
        case "cpu":
            # On from what is shipped, which had its images first.
            config.update(start_from="gpu-128px")
            config.model.update(size="xs", levels=96)
        case "cpu_more" | "cpu_counts" | "cpu_turns":
            # On from what is shipped, for what it misses: returns, and fewer cuts that nobody asked for.
            config.update(start_from="gpu-128px", autoencoder="gpu-128px")
            config.model.update(size="xs", levels=64)
            config.data.update(row_tokens=272, max_segments=12, headless=0.1)
            config.data.stages = ((None, None),)
            config.objective.known = ConfigDict(EVERY_WAY)
            config.objective.update(known_noise=0.05, forcing=0.12)
            config.train.update(total_steps=1300, ema_decay=0.998)
            config.optimizer.update(learning_rate=1e-3, adam_learning_rate=1.5e-4)
            config.optimizer.update(warmup_steps=100, cooldown_steps=900)
            config.evaluation.update(prompts=())
            if variant == "cpu_counts":  # `start_from` is the folder that cpu_more was exported to
                # Three clips of 80 tokens, or one of 144 and one of 80: 7 % of the tokens are padding.
                config.data.update(row_tokens=240, max_segments=8)
                config.data.stages = ((None, ((1, 0.05), (17, 0.60), (33, 0.35))),)
                config.objective.update(logit_mean=1.5)
                config.train.update(total_steps=800)
                config.optimizer.update(cooldown_steps=550)
            if variant == "cpu_turns":
                # Two clips of 144 tokens, or one and two of 80.
                config.data.update(rows=13, row_tokens=304, max_segments=8)
                config.objective.known.update(none=0.53, both_ends=0.18)
                config.objective.update(logit_mean=1.2)
                config.train.update(total_steps=660)
                config.optimizer.update(cooldown_steps=480)
        case "gpu" | "gpu_more":
            # As large as may be shipped with the repository in bfloat16; every way of prompting is trained.
            config.autoencoder = "gpu-128px"
            config.model.update(size="xs", text="bytes_ti", dtype="bfloat16", levels=96, scan=True)
            config.data.update(rows=64, row_tokens=640, row_text=512, max_segments=24, workers=10)
            config.data.update(oversize="error", prefetch=3, headless=0.1)
            # Images first: they teach colours and shapes for a fifth of the tokens of a clip.
            config.data.stages = ((1500, ((1, 0.7), (33, 0.3))), (None, ((1, 0.15), (33, 0.85))))
            config.objective.known = ConfigDict(EVERY_WAY)
            config.objective.update(known_noise=0.05, forcing=0.12)
            config.train.update(total_steps=12_000, ema_decay=0.9995, evaluate_every=4000)
            config.train.update(checkpoint_every=2000, checkpoint_minutes=2.0)
            config.optimizer.update(learning_rate=8e-3, cooldown_steps=6000, warmup_steps=300)
            config.evaluation.update(batches=4, prompts=())
            if variant == "gpu_more":  # on from what is shipped: no images first, half the steps
                config.update(start_from="gpu-128px")
                config.model.attention = "cudnn"
                config.data.stages = ((None, ((1, 0.1), (33, 0.9))),)
                config.train.update(total_steps=6000)
                config.optimizer.update(learning_rate=4e-3, cooldown_steps=4000)
        case "phyworld_smoke" | "phyworld_cpu" | "phyworld_gpu":
            _phyworld(config, variant.removeprefix("phyworld_"))
        case "permanence_smoke" | "permanence_cpu":
            _permanence(config, variant.removeprefix("permanence_"))
        case "s" | "b" | "l" | "xl" | "2b" | "7b" | "wan-1.3b":
            # For `sora_jax.plan`, and for whoever has the slice: rows of one clip, 512 bytes of text.
            config.model.update(size=variant, text="bytes_s", dtype="bfloat16", levels=64, scan=True)
            config.model.update(remat="full", attention="splash")
            config.data.update(rows=16, row_tokens=16_384, row_text=512, max_segments=16, workers=8)
            config.data.oversize = "error"
            config.data.stages = ((None, None),)
            config.optimizer.update(name="adamw", learning_rate=1e-4, weight_decay=0.01)
            config.train.update(total_steps=100_000, ema_decay=0.9999)
        case _:
            raise ValueError(
                f"no variant {variant!r} of configs/dit.py: use smoke, cpu, cpu_more, cpu_counts, cpu_turns, "
                "gpu or gpu_more; phyworld_ before smoke, cpu or gpu; permanence_ before smoke or cpu; or s, "
                "b, l, xl, 2b, 7b or wan-1.3b"
            )
    return config


def _phyworld(config: ConfigDict, tier: str) -> None:
    """A clip's first two latents (three frames) are given, the rest is predicted; the text says nothing."""
    steps = {"smoke": 8, "cpu": 1000, "gpu": 20_000}[tier]
    tokens = 17 * (8 * 8 if tier == "gpu" else 2 * 2)  # of a clip
    config.patch = (1, 2, 2) if tier == "gpu" else (1, 4, 4)
    config.model.update(size={"smoke": "test", "cpu": "mu", "gpu": "s"}[tier], text="bytes_test")
    config.model.update(dtype="bfloat16" if tier == "gpu" else "float32", scan=tier == "gpu")
    config.data.update(rows={"smoke": 4, "cpu": 32, "gpu": 256}[tier], row_tokens=tokens, row_text=64)
    config.data.update(max_segments=1, oversize="error", stages=((None, None),))
    # Clips differ in few numbers and a patch is wider than the model: x0 fits through it, noise does not.
    config.update(prediction="x0")
    config.objective.update(target="x0", caption_dropout=0.0, forcing=0.0)
    config.objective.known = ConfigDict({"first_two_frames": 1.0})
    config.optimizer.update(warmup_steps=min(100, steps // 4), cooldown_steps=steps // 3)
    config.train.update(total_steps=steps, ema_decay=0.99 if tier == "smoke" else 0.995)
    config.train.update(log_every=min(50, steps // 4), evaluate_every=max(250, steps // 20))
    config.evaluation.update(batches=1 if tier == "smoke" else 8, prompts=(), size=(33, 64, 64))


def _permanence(config: ConfigDict, tier: str) -> None:
    """A clip's first two latents (five frames) are given, the rest is predicted, without any text."""
    steps = {"smoke": 8, "cpu": 4000}[tier]
    config.model.update(size={"smoke": "test", "cpu": "mu"}[tier], text="bytes_test", levels=2)
    config.data.update(rows={"smoke": 4, "cpu": 16}[tier], row_tokens=9 * 4 * 4, row_text=128)
    config.data.update(max_segments=1, oversize="error", stages=((None, None),))
    config.update(prediction="x0")  # as `_phyworld`
    config.objective.update(target="x0", caption_dropout=1.0, forcing=0.0)
    config.objective.known = ConfigDict({"first_two_frames": 1.0})
    config.optimizer.update(warmup_steps=min(100, steps // 4), cooldown_steps=steps // 3)
    config.train.update(total_steps=steps, ema_decay=0.9 if tier == "smoke" else 0.995)
    config.train.update(log_every=min(50, steps // 4), evaluate_every=max(8, steps // 4))
    config.evaluation.update(batches=1 if tier == "smoke" else 8, prompts=(), size=(33, 64, 64))
