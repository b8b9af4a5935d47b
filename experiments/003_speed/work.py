"""Cost against work, of ours alone: tokens, the loader, planning, rows against padding, decoding.

    python experiments/003_speed/work.py    # 10 minutes on 2 cores, and 12 more for "ring" and "chunked" each

Writes work.json and work.png into --out; with --parts, those parts alone, beside what is there. Each reading
that is about memory is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from shapes import Shape, times

from sora_jax import build, rng, types
from sora_jax.data import latents, pipeline
from sora_jax.data.packing import make_plan
from sora_jax.models.cost import count_flops
from sora_jax.sharding.context import TOKEN_FIELDS

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
MODEL = "gpu-128px"
TOKENS = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
PLAIN = 16384  # tokens, the most of plain attention: the logits of twice as many are 12 GiB
CLIPS = (10_000, 100_000, 1_000_000)
FRAMES = (17, 33, 65, 129, 257)
PARTS = ("forward", "chunked", "ring", "decode", "planning", "loader", "rows")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "cpu")
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, size = options.one
        print(json.dumps(decode(int(size)) if what == "decode" else forward(int(size), attention=what)))
        return
    parts: dict[str, Callable[[], Any]] = {
        "forward": lambda: {n: _alone("xla", n) for n in options.tokens if n <= PLAIN},
        "chunked": lambda: {n: _alone("chunked", n) for n in options.tokens},
        "ring": lambda: {n: _alone("ring", n) for n in options.tokens},
        "decode": lambda: {n: _alone("decode", n) for n in FRAMES},
        "planning": lambda: {n: planning(n) for n in CLIPS},
        "loader": loader,
        "rows": rows_against_padding,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "work.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in options.parts:
        found[name] = parts[name]()
        path.write_text(json.dumps(found, indent=1))
    plot(found, options.out / "work.png")
    print(json.dumps(found, indent=1))


def _alone(what: str, size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", what, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def forward(tokens: int, *, attention: str) -> dict[str, Any]:
    """Seconds and GiB of one forward pass of the width 192, depth 6 over one clip of so many tokens."""
    from ours import batch_of, model_of, with_text

    shape = Shape(192, 6, (tokens // 64, 8, 8), 1)
    model = model_of(shape, scan=True, dtype="float32", attention=attention, remat="none")
    batch = with_text(batch_of(shape, 1), shape.width)
    t = jnp.full(batch.segment.shape, 0.5)
    params = jax.jit(model.init)(jax.random.key(0), batch.tokens[:, :64], t[:, :64], _cut(batch, 64))
    apply = jax.jit(model.apply)
    seconds = times(lambda _: float(jnp.sum(apply(params, batch.tokens, t, batch))), budget=3.0, least=1)
    flops = count_flops(model, rows=1, tokens=tokens, text=64, text_width=shape.width)
    return {"seconds": float(np.median(seconds)), "gib": _gib(), "flops": flops}


def _cut(batch: types.PackedBatch, tokens: int) -> types.PackedBatch:
    return batch._replace(**{name: getattr(batch, name)[:, :tokens] for name in TOKEN_FIELDS})


def decode(frames: int) -> dict[str, Any]:
    """Seconds and GiB of decoding one clip of so many frames of 64 x 64."""
    frozen = build.load_autoencoder(MODEL)
    ratio = frozen.ratio
    z = np.zeros((1, 1 + (frames - 1) // ratio[0], 64 // ratio[1], 64 // ratio[2], frozen.model.channels))
    before = _gib()
    seconds = times(lambda _: float(np.asarray(frozen.decode(z.astype(np.float32))).mean()), budget=2.0)
    return {"seconds": float(np.median(seconds)), "gib": _gib(), "gib_before": before}


def mixed_sizes(clips: int) -> np.ndarray:
    """`[clips]` of `types.SIZE_DTYPE`: images and 5 to 33 frames, five aspect ratios at 48 to 96 pixels."""
    draw = np.random.default_rng(0)
    sides = np.array([(64, 64), (48, 80), (80, 48), (96, 96), (64, 96)])[draw.integers(5, size=clips)]
    sizes = np.zeros(clips, types.SIZE_DTYPE)
    sizes["frames"] = draw.choice([1, 5, 9, 17, 33], size=clips, p=[0.3, 0.1, 0.2, 0.2, 0.2])
    sizes["height"], sizes["width"] = sides.T
    sizes["text"] = draw.integers(20, 60, size=clips)
    return sizes


def _clip_tokens(sizes: np.ndarray) -> np.ndarray:
    return (1 + (sizes["frames"] - 1) // 4) * (sizes["height"] // 16) * (sizes["width"] // 16)


def _plan(sizes: np.ndarray, row_tokens: int) -> Any:
    return make_plan(
        _clip_tokens(sizes),
        sizes["text"],
        generator=rng.host(0, "plan"),
        row_tokens=row_tokens,
        row_text=row_tokens,
        max_segments=64,
        oversize="error",
    )


def planning(clips: int) -> dict[str, float]:
    """Seconds to plan the rows of an epoch, and their number."""
    sizes = mixed_sizes(clips)
    begun = time.perf_counter()
    plan = _plan(sizes, 1024)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "rows": len(plan.starts) - 1}


def rows_against_padding(clips: int = 20_000, row_tokens: int = 1024) -> dict[str, float]:
    """Share of a batch's tokens that are useful: packed rows, all padded to the longest, buckets.

    A bucket is one size of clip; its batches hold as many clips as fit `row_tokens` tokens.
    """
    sizes = mixed_sizes(clips)
    tokens = _clip_tokens(sizes)
    packed = tokens.sum() / ((len(_plan(sizes, row_tokens).starts) - 1) * row_tokens)
    bucketed = 0
    for size in np.unique(tokens):
        each = row_tokens // size
        bucketed += -(-(tokens == size).sum() // each) * row_tokens
    return {
        "packed": float(packed),
        "buckets": float(tokens.sum() / bucketed),
        "padded": float(tokens.mean() / tokens.max()),
    }


def loader(clips: int = 2000, batches: int = 60) -> dict[str, Any]:
    """Clips per second of packed batches from a store of latents, by number of workers."""
    draw = np.random.default_rng(0)

    def clip(number: int) -> types.LatentClip:
        return types.LatentClip(
            latents=draw.normal(size=(5, 8, 8, 16)).astype(np.float32),
            fps=8.0,
            captions={"short": f"clip {number}"},
            id=str(number),
            frames=17,
        )

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        meta = {"fingerprint": "none", "ratio": (4, 8, 8)}
        latents.write_latents(folder, lambda a, b: map(clip, range(a, b)), total=clips, meta=meta)
        for workers in (0, 1, 2):
            made = pipeline.make_batches(
                latents.LatentSource(folder),
                seed=0,
                rows=16,
                row_tokens=1040,
                row_text=256,
                max_segments=16,
                caption_mix={"short": 1.0},
                workers=workers,
            )
            next(made)
            begun, seen = time.perf_counter(), 0
            for _ in range(batches):
                seen += int((next(made).grid[..., 0] > 0).sum())
            found[str(workers)] = seen / (time.perf_counter() - begun)
    return found


def plot(found: dict[str, Any], path: Path) -> None:
    """Seconds and GiB against tokens, and GiB against frames."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    passes = {"forward": "plain attention", "chunked": "chunked", "ring": "ring, one device"}
    panels: list[tuple[dict[str, str], str, str, str]] = [
        (passes, "seconds", "tokens", "s, forward pass"),
        (passes, "gib", "tokens", "GiB, forward pass"),
        ({"decode": "decoder"}, "gib", "frames of 64 x 64", "GiB, decoding"),
    ]
    for axis, (lines, value, across, up) in zip(axes, panels, strict=True):
        for name, label in lines.items():
            rows = found.get(name, {}).items()
            points = [(int(n), row[value]) for n, row in rows if "error" not in row]
            if points:
                axis.loglog(*zip(*points, strict=True), marker="o", label=label)
        axis.legend()
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
