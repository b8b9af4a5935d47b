"""The attention kernels against each other: how far from float32, and how long forward and backward take.

    python experiments/003_speed/kernels.py --implementations xla flash cudnn --out kernels.json   # on a GPU

Packed rows of clips of different lengths and some padding, bfloat16, head dimension 64; with --clips 1, rows
of one clip and no padding. The error is of the
output and of the three gradients against the plain implementation in float32: norm of the difference over
norm. FLOPs are counted for the whole n x n square, 4 n^2 d a head forward and 2.5 times that backward.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.nn.attention import attend

HEAD = 64
SHAPES = ((64, 640, 6), (16, 1024, 12), (4, 4096, 12), (1, 16384, 12))  # rows, tokens, heads
REPEATS = 20


def inputs(
    rows: int, tokens: int, heads: int, *, clips: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values of unit variance, and the segments: four clips a row and padding, or one."""
    keys = jax.random.split(jax.random.key(tokens), 3)
    q, k, v = (jax.random.normal(key, (rows, tokens, heads, HEAD), jnp.bfloat16) for key in keys)
    sides = [tokens] if clips == 1 else [tokens // 8, tokens // 2, tokens // 8, tokens // 5]
    ends = np.cumsum(sides)
    segment = np.searchsorted(ends, np.arange(tokens), side="right") + 1
    segment[segment > len(ends)] = 0
    return q, k, v, jnp.asarray(np.broadcast_to(segment, (rows, tokens)).copy(), jnp.int32)


def gradients_of(implementation: str) -> Callable[..., tuple[jax.Array, ...]]:
    """(q, k, v, segment, weight) -> the output and the gradients of its product with `weight`."""

    def run(q, k, v, segment, weight):
        def out(q, k, v):
            return attend(
                q,
                k,
                v,
                query_segment=segment,
                key_segment=segment,
                scale=HEAD**-0.5,
                implementation=implementation,  # type: ignore[arg-type]
                most_segments=4,
            )

        y, back = jax.vjp(out, q, k, v)
        return (y, *back(weight.astype(y.dtype)))

    return jax.jit(run)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--implementations", nargs="+", default=["xla", "flash", "cudnn"])
    parser.add_argument("--clips", type=int, choices=[1, 4], nargs="+", default=[4, 1], help="in a row")
    parser.add_argument("--tokens", type=int, nargs="+", default=[n for _, n, _ in SHAPES])
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    found = []
    shapes = [shape for shape in SHAPES if shape[1] in options.tokens]
    for (rows, tokens, heads), clips in itertools.product(shapes, options.clips):
        q, k, v, segment = inputs(rows, tokens, heads, clips=clips)
        weight = jax.random.normal(jax.random.key(1), q.shape, jnp.bfloat16)
        few = slice(0, max(1, 4096 // tokens))  # rows that are compared
        exact = gradients_of("xla")(
            *(x[few].astype(jnp.float32) for x in (q, k, v)), segment[few], weight[few].astype(jnp.float32)
        )
        for name in options.implementations:
            run = gradients_of(name)
            try:
                begun = time.perf_counter()
                got = jax.block_until_ready(run(q, k, v, segment, weight))
                first = time.perf_counter() - begun
            except Exception as error:  # one kernel's failure is a row of the table
                told = {"tokens": tokens, "clips": clips, "implementation": name}
                found.append({**told, "error": repr(error)[:300]})
                print(found[-1])
                continue
            errors = [
                float(jnp.linalg.norm(a[few].astype(jnp.float32) - b) / jnp.linalg.norm(b))
                for a, b in zip(got, exact, strict=True)
            ]
            seconds = []
            for _ in range(REPEATS):
                begun = time.perf_counter()
                jax.block_until_ready(run(q, k, v, segment, weight))
                seconds.append(time.perf_counter() - begun)
            middle = statistics.median(seconds)
            flops = 3.5 * 4 * rows * heads * tokens**2 * HEAD
            found.append(
                {
                    "rows": rows,
                    "tokens": tokens,
                    "heads": heads,
                    "clips": clips,
                    "implementation": name,
                    "errors": errors,
                    "ms": 1e3 * middle,
                    "tflops": flops / middle / 1e12,
                    "first_s": first,
                    "device": jax.devices()[0].device_kind,
                }
            )
            print(
                f"{rows} x {tokens} x {heads}, {clips} clips  {name:6} {1e3 * middle:8.2f} ms  "
                f"{flops / middle / 1e12:6.1f} "
                f"TFLOP/s  errors {' '.join(f'{e:.1e}' for e in errors)}  first call {first:.1f} s"
            )
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
