"""The formula's FLOPs of a training step beside the compiler's, at every width of the cpu ladder.

    JAX_PLATFORMS=cpu python experiments/005_scaling/flops.py

Columns, per width: `formula` is what the law is drawn against (a backward pass is twice a forward one);
`exact` leaves out gradients that nobody asks for; `lowered` and `compiled` are the matrix products in XLA's
program before and after optimisation; `lowered_all` and `compiled_all` are `cost_analysis()["flops"]`,
elementwise work included (what fusion does twice is counted twice), and `transcendentals` its count of those
before optimisation, which `flops` leaves out. `--compiled` says up to which width the step is compiled too.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import jax
import jax.numpy as jnp

from sora_jax import build, command
from sora_jax.diffusion.objective import Objective
from sora_jax.models.cost import count_nonembedding, count_training_flops
from sora_jax.models.transformer import Transformer
from sora_jax.sharding import plan_hlo
from sora_jax.types import PackedBatch

OUT = Path(__file__).parent / "flops.csv"
ROWS, TOKENS, TEXT, PATCH = 8, 180, 112, 16
ALWAYS = ("width", "N", "formula", "exact", "lowered", "lowered_all", "transcendentals")
COLUMNS = (*ALWAYS, "compiled", "compiled_all")


def model(width: int) -> Transformer:
    """The family's member of a width."""
    config = command.load_config("configs/scaling.py:cpu", [f"--config.model.size.width={width}"])
    return build.transformer(config.model, patch_width=PATCH)


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


def row(width: int, *, compiled: bool) -> dict[str, float]:
    """The counts of one width."""
    net, rows = model(width), batch()
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
        "width": width,
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
    widths = command.load_config("configs/scaling.py:cpu").ladder.widths
    parser.add_argument("--widths", type=int, nargs="+", default=widths)
    parser.add_argument("--compiled", type=int, default=48, help="compiled up to this width")
    options = parser.parse_args()
    rows = []
    for width in options.widths:
        rows.append(row(width, compiled=width <= options.compiled))
        with OUT.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        against = {k: v / rows[-1]["exact"] for k, v in rows[-1].items() if k not in ("width", "N")}
        print(width, *(f"{name} {value:.4f}" for name, value in against.items()), flush=True)


if __name__ == "__main__":
    main()
