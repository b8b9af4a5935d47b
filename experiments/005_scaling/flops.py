"""The formula's FLOPs of a training step beside the compiler's, for the ladder's family at 1 to 12 layers.

    JAX_PLATFORMS=cpu python experiments/005_scaling/flops.py

Columns, per size: `formula` is what the law is drawn against (a backward pass is twice a forward one);
`exact` leaves out gradients that nobody asks for; `lowered` and `compiled` are the matrix products in XLA's
program before and after optimisation; `lowered_all` and `compiled_all` are `cost_analysis()["flops"]`,
elementwise work included (what fusion does twice is counted twice), and `transcendentals` its count of those
before optimisation, which `flops` leaves out. `--compiled` says up to which size the step is compiled too.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import jax
import jax.numpy as jnp

from sora_jax import build
from sora_jax.diffusion.objective import Objective
from sora_jax.models.cost import count_nonembedding, count_training_flops
from sora_jax.models.text import TextEncoder
from sora_jax.models.transformer import Transformer
from sora_jax.sharding import plan_hlo
from sora_jax.types import PackedBatch

OUT = Path(__file__).parent / "flops.csv"
ROWS, TOKENS, TEXT, PATCH = 8, 180, 112, 16
ALWAYS = ("size", "N", "formula", "exact", "lowered", "lowered_all", "transcendentals")
COLUMNS = (*ALWAYS, "compiled", "compiled_all")


def model(size: int) -> Transformer:
    """The family's member of `size` layers and heads."""
    shape = {"width": 12 * size, "depth": size, "heads": size, "hidden": 32 * size}
    encoder = TextEncoder(width=12 * size, depth=1, heads=size, head_dim=12, hidden=32 * size)
    return Transformer(patch_width=PATCH, text_encoder=encoder, levels=2, scan=False, **shape)


def batch() -> PackedBatch:
    """A batch that is only shapes."""

    def shape(*sides: int, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((ROWS, *sides), dtype)

    tokens, text = shape(TOKENS), shape(TEXT)
    return PackedBatch(
        tokens=shape(TOKENS, PATCH, dtype=jnp.float32),
        position=shape(TOKENS, 3, dtype=jnp.float32),
        segment=tokens,
        known=shape(TOKENS, dtype=jnp.bool_),
        index=shape(TOKENS, 3),
        clip=shape(1, dtype=jnp.uint32),
        grid=shape(1, 3),
        text=text,
        text_segment=text,
        span=tokens,
        text_span=text,
    )


def row(size: int, *, compiled: bool) -> dict[str, float]:
    """The counts of one size."""
    net, rows = model(size), batch()
    apply = build.velocity_apply(net, prediction="velocity")

    def loss(params, batch, key):
        return Objective(density="uniform")(key, lambda *x: apply(params, *x), batch)[0]

    key = jax.eval_shape(lambda: jax.random.key(0))
    level = jax.ShapeDtypeStruct((ROWS, TOKENS), jnp.float32)
    params = jax.eval_shape(net.init, key, rows.tokens, level, rows)["params"]
    lowered = jax.jit(jax.value_and_grad(loss)).lower(params, rows, key)
    cost = lowered.cost_analysis()
    sizes = {"rows": ROWS, "tokens": TOKENS, "text": TEXT}
    text = lowered.compiler_ir("hlo").get_hlo_module().to_string()
    found = {
        "size": size,
        "N": count_nonembedding(net),
        "formula": count_training_flops(net, **sizes),
        "exact": count_training_flops(net, **sizes, unasked=False),
        "lowered": plan_hlo.matrix_flops(plan_hlo.parse(text)),
        "lowered_all": int(cost["flops"]),
        "transcendentals": int(cost["transcendentals"]),
    }
    if compiled:
        done = lowered.compile()
        found["compiled"] = plan_hlo.matrix_flops(plan_hlo.parse(done.as_text()))
        found["compiled_all"] = int(done.cost_analysis()["flops"])
    return found


def main() -> None:
    """Writes flops.csv and prints each count against the exact one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=range(1, 13))
    parser.add_argument("--compiled", type=int, default=4, help="compiled up to this size")
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        rows.append(row(size, compiled=size <= options.compiled))
        with OUT.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        against = {k: v / rows[-1]["exact"] for k, v in rows[-1].items() if k not in ("size", "N")}
        print(size, *(f"{name} {value:.4f}" for name, value in against.items()), flush=True)


if __name__ == "__main__":
    main()
