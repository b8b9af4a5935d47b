"""Clips of mixed sizes in training: packed rows against rows padded to the longest, and against buckets.

    python experiments/003_speed/rows.py --out rows.json   # on a GPU
    python experiments/003_speed/rows.py --shape 192x6 --dtype float32 --attention xla --scale 1 \\
        --out rows.json   # on a CPU

Every batch has the same number of tokens, padding included: packed rows of mixed clips; rows of one clip,
padded to the longest; and rows of one clip, padded to the next of four lengths (a bucket), whose batches
hold as many rows as fit. The steps of an epoch of each come from its plan, their seconds are timed, and
useful tokens per second is what is left of both.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ours import model_of
from shapes import BATCH_SEED, CHANNELS, PATCH, SHAPES, TEXT_TOKENS
from work import mixed_sizes

from sora_jax import patches, rng
from sora_jax.build.denoising import optimizer_lib
from sora_jax.build.models import velocity_apply
from sora_jax.data.packing import make_plan
from sora_jax.diffusion.objective import Objective
from sora_jax.training import state as state_lib
from sora_jax.training.step import make_step
from sora_jax.types import PackedBatch

ROWS = 8  # of the longest length in a batch
CLIPS = 20_000  # of the epoch that is planned
MOST_SEGMENTS, ROW_TEXT = 12, 8 * TEXT_TOKENS  # of a packed row
BATCHES = 4  # different ones of every kind, in turn


def grids(sizes: np.ndarray, scale: int) -> np.ndarray:
    """`[clips 3]` tokens (frames, height, width) of clips that are `scale` times as high and wide."""
    sides = [scale * sizes[side] // 16 for side in ("height", "width")]
    return np.stack([1 + (sizes["frames"] - 1) // 4, *sides], axis=1)


def batch(rows: list[list[np.ndarray]], length: int, *, segments: int, text: int) -> PackedBatch:
    """Rows of clips of noise with those grids, each with a text of `TEXT_TOKENS`."""
    draw = np.random.default_rng(BATCH_SEED)

    def clip(grid: np.ndarray) -> patches.Segment:
        shape = (*(side * p for side, p in zip(grid, PATCH, strict=True)), CHANNELS)
        latent = draw.normal(size=shape).astype(np.float32)
        words = np.ones(TEXT_TOKENS, np.int32)
        return patches.segment(latent, ratio=(4, 8, 8), patch=PATCH, fps=8.0, clip=0, text=words)

    packed = [[clip(grid) for grid in row] for row in rows]
    return patches.pack_rows(packed, row_tokens=length, row_text=text, max_segments=segments)


def kinds(sizes: np.ndarray, scale: int) -> dict[str, tuple[list[PackedBatch], float]]:
    """Name -> (batches to time, batches of the epoch)."""
    grid = grids(sizes, scale)
    tokens = grid.prod(axis=1)
    longest = -(-int(tokens.max()) // 128) * 128
    plan = make_plan(
        tokens,
        np.full(len(tokens), TEXT_TOKENS),
        generator=rng.host(0, "plan"),
        row_tokens=longest,
        row_text=ROW_TEXT,
        max_segments=MOST_SEGMENTS,
        oversize="error",
    )
    starts = plan.starts

    def packed(number: int) -> PackedBatch:
        rows = range(ROWS * number, ROWS * (number + 1))
        members = [grid[plan.clips[starts[row] : starts[row + 1]]] for row in rows]
        return batch([list(row) for row in members], longest, segments=MOST_SEGMENTS, text=ROW_TEXT)

    def alone(members: np.ndarray, length: int, number: int) -> PackedBatch:  # one clip a row
        each = ROWS * longest // length
        chosen = np.resize(grid[members], (max(each * BATCHES, len(members)), 3))
        rows = [[g] for g in chosen[each * number : each * (number + 1)]]
        return batch(rows, length, segments=1, text=TEXT_TOKENS)

    found = {"packed": ([packed(k) for k in range(BATCHES)], (len(starts) - 1) / ROWS)}
    everyone = np.arange(len(tokens))
    found["padded"] = [alone(everyone, longest, k) for k in range(BATCHES)], len(tokens) / ROWS
    lengths = [longest // 8, longest // 4, longest // 2, longest]
    bucket = np.searchsorted(lengths, tokens)
    for k, length in enumerate(lengths):
        members = np.flatnonzero(bucket == k)
        batches = [alone(members, length, number) for number in range(BATCHES)]
        found[f"bucket {length}"] = batches, len(members) * length / (ROWS * longest)
    return found


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="768x12-gpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--attention", default="cudnn")
    parser.add_argument("--scale", type=int, default=3, help="of the clips of work.py, 48 to 96 pixels")
    parser.add_argument("--steps", type=int, default=12, help="timed, of every kind")
    parser.add_argument("--turn", action="store_true", help="wait for a line before the timed steps")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    sizes = mixed_sizes(CLIPS)
    useful = int(grids(sizes, options.scale).prod(axis=1).sum())
    work = kinds(sizes, options.scale)
    model = model_of(shape, scan=True, dtype=options.dtype, attention=options.attention, remat="none")
    model = model.clone(levels=MOST_SEGMENTS + 2)
    apply = velocity_apply(model, prediction="velocity")
    objective = Objective(caption_dropout=0.0)
    transform = optimizer_lib.make_optimizer("adamw", learning_rate=1e-4, total_steps=10**6)

    def with_text(batch: PackedBatch) -> PackedBatch:
        key = jax.random.key(BATCH_SEED)
        return batch._replace(text=jax.random.normal(key, (*batch.text.shape, shape.width)))

    def init(key: jax.Array) -> Any:
        one = with_text(jax.tree.map(lambda x: jnp.asarray(x[:1]), work["packed"][0][0]))
        return model.init(key, one.tokens, jnp.zeros(one.segment.shape), one)["params"]

    def loss_fn(params, frozen, batch, key):
        return objective(key, lambda xt, t, seen: apply(params, xt, t, with_text(seen)), batch)

    state = state_lib.init_state(init, transform, key=rng.key(0, "init"))
    step_fn = make_step(loss_fn, transform)
    placed = {name: [jax.device_put(b) for b in batches] for name, (batches, _) in work.items()}

    def compiled(name: str) -> Any:
        return step_fn.lower(state, None, placed[name][0], rng.key(0, "step")).compile()  # type: ignore[attr-defined]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        steps = dict(zip(placed, pool.map(compiled, placed), strict=True))
    if options.turn:
        print("ready", flush=True)
        sys.stdin.readline()
    rows: dict[str, Any] = {}
    for name, batches in placed.items():
        seconds = []
        for number in range(options.steps + 2):
            begun = time.perf_counter()
            state, metrics = steps[name](state, None, batches[number % BATCHES], rng.key(0, "step", number))
            float(metrics["loss"])
            seconds.append(time.perf_counter() - begun)
        share = float(np.mean([np.mean(b.segment > 0) for b in work[name][0]]))
        rows[name] = {"seconds": seconds[2:], "epoch": work[name][1], "useful share": share}
        print(f"{name:12} {1e3 * np.median(seconds[2:]):7.1f} ms, {share:.3f} useful", flush=True)
    spent = {name: row["epoch"] * float(np.median(row["seconds"])) for name, row in rows.items()}
    buckets = sum(seconds for name, seconds in spent.items() if name.startswith("bucket"))
    rate = {
        "packed": useful / spent["packed"],
        "padded": useful / spent["padded"],
        "buckets": useful / buckets,
    }
    device = jax.devices()[0].device_kind
    told = {"device": device, "jax": jax.__version__, "shape": options.shape, "attention": options.attention}
    options.out.write_text(json.dumps({**told, "useful tokens per second": rate, "rows": rows}, indent=1))
    print(json.dumps(rate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
