"""One contestant, ours: seconds of a training step or of sampling, as a line of JSON. See run.py."""

from __future__ import annotations

import argparse
import collections
import json
import re
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from shapes import (
    BATCH_SEED,
    CHANNELS,
    GUIDANCE,
    LEVELS,
    PATCH,
    SHAPES,
    TEXT_TOKENS,
    Shape,
    times,
)

from sora_jax import patches, rng
from sora_jax.build.denoising import optimizer_lib
from sora_jax.build.models import velocity_apply
from sora_jax.diffusion.objective import Objective
from sora_jax.models import cost
from sora_jax.models.transformer import Transformer
from sora_jax.sampling.generate import sample_batch
from sora_jax.sampling.request import Settings
from sora_jax.sharding import plan_chips, plan_compile, plan_report
from sora_jax.training import state as state_lib
from sora_jax.training.step import make_step
from sora_jax.types import PackedBatch


def batch_of(shape: Shape, rows: int) -> PackedBatch:
    """Rows of one clip of noise each, with a text of `TEXT_TOKENS`."""
    draw = np.random.default_rng(BATCH_SEED)
    frames, height, width = (side * p for side, p in zip(shape.grid, PATCH, strict=True))
    segments = [
        patches.segment(
            draw.normal(size=(frames, height, width, CHANNELS)).astype(np.float32),
            ratio=(4, 8, 8),
            patch=PATCH,
            fps=8.0,
            clip=row,
            text=np.ones(TEXT_TOKENS, np.int32),
        )
        for row in range(rows)
    ]
    packed = patches.pack_rows(
        [[s] for s in segments], row_tokens=shape.tokens, row_text=TEXT_TOKENS, max_segments=1
    )
    return packed


def with_text(batch: PackedBatch, width: int) -> PackedBatch:
    """The batch with embeddings in place of its text, as from an encoder that is not timed."""
    draw = np.random.default_rng(BATCH_SEED + 1)
    embeddings = draw.normal(size=(*batch.text.shape, width)).astype(np.float32)
    return batch._replace(text=jnp.asarray(embeddings))


def model_of(shape: Shape, *, scan: bool, dtype: str, attention: str, remat: str) -> Transformer:
    """The transformer of that width and depth, without a text encoder."""
    return Transformer(
        patch_width=int(np.prod(PATCH)) * CHANNELS,
        width=shape.width,
        depth=shape.depth,
        heads=shape.heads,
        hidden=shape.hidden,
        levels=LEVELS,
        scan=scan,
        remat=remat,  # type: ignore[arg-type]
        attention=attention,  # type: ignore[arg-type]
        dtype=jnp.dtype(dtype),
    )


def plan_of(
    program: plan_compile.Compiled,
    model: Transformer,
    batch: PackedBatch,
    what: str,
    *,
    steps: int,
    chip: plan_chips.Chip,
    parameters: int,
) -> plan_report.Plan:
    """What `sora_jax.plan` says of this program on this device: to be held against what it took."""
    rows, tokens = batch.segment.shape
    sizes = {"rows": rows, "tokens": tokens, "text": TEXT_TOKENS, "text_width": model.width}
    forward = cost.count_flops(model, **sizes)
    calls = 3 if what == "train" else 2 * steps
    run_flops = cost.count_training_flops(model, **sizes) if what == "train" else calls * forward
    return plan_report.make_plan(
        {"what": what},
        program,
        chip=chip,
        devices=1,
        parameters=parameters,
        rows=rows,
        tokens=tokens,
        model_flops=float(calls * forward),
        run_flops=float(run_flops),
    )


def profile(
    run: Callable[[int], float], program: str, *, calls: int = 3, kept: int = 60
) -> list[dict[str, Any]]:
    """The operations that the device spent most time on, milliseconds and number per call.

    On a CPU they are the compiled program's instructions, by the same name where shape and source are the
    same. With several threads their times overlap; on one core (`taskset -c 0`) they add up to the step.
    """
    names = _instructions(program) if jax.default_backend() == "cpu" else {}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for number in range(calls):
                run(1000 + number)
        trace = next(Path(folder).rglob("*.xplane.pb"))
        planes = jax.profiler.ProfileData.from_file(str(trace)).planes
        total, count = collections.Counter(), collections.Counter()
        for plane in planes:
            on_device = "/device:" in plane.name
            for line in plane.lines:
                for event in line.events if line.name.startswith("Stream") or not on_device else ():
                    name = event.name if on_device else names.get(event.name)
                    if name is not None:
                        total[name] += event.duration_ns / 1e6 / calls
                        count[name] += 1
    found = [{"name": n, "ms": t, "calls": count[n] / calls} for n, t in total.most_common(kept)]
    return [{"name": "all", "ms": sum(total.values()), "calls": sum(count.values()) / calls}, *found]


def _instructions(program: str) -> dict[str, str]:
    """Of a compiled program's text: every instruction's kind, shape and place in the model's code."""
    found = re.findall(r"%([\w.\-]+) = (\S+) ([\w\-]+)\((?:.*op_name=\"([^\"]*)\")?", program)
    return {name: f"{kind} {shape} {place}" for name, shape, kind, place in found}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--what", choices=["train", "sample"], required=True)
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--attention", default="xla")
    parser.add_argument("--remat", default="none")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--turn", action="store_true", help="wait for a line before the timed calls")
    parser.add_argument("--profile", type=Path, help="a file for the device's time, by operation")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    kind = {name: getattr(options, name) for name in ("scan", "dtype", "attention", "remat")}
    model = model_of(shape, **kind)
    apply = velocity_apply(model, prediction="velocity")
    batch = batch_of(shape, shape.batch if options.what == "train" else 1)
    first = with_text(jax.tree.map(lambda x: x[:1], batch), shape.width)

    def init(key):
        return model.init(key, first.tokens, jnp.zeros(first.segment.shape), first)["params"]

    key = rng.key(0, "step", 0)
    if options.what == "train":
        objective = Objective(caption_dropout=0.0)
        transform = optimizer_lib.make_optimizer("adamw", learning_rate=1e-4, total_steps=10**6)
        state = state_lib.init_state(init, transform, key=rng.key(0, "init"))
        parameters = state.params

        def loss_fn(params, frozen, batch, key):
            def velocity(xt, t, seen):
                return apply(params, xt, t, with_text(seen, shape.width))

            return objective(key, velocity, batch)

        fn, static = make_step(loss_fn, transform), {}
        batch = jax.device_put(batch)
        arguments = (state, None, batch, key)
    else:
        parameters = jax.jit(init)(rng.key(0, "init"))

        def encode(params, batch):
            return with_text(batch, shape.width)

        fn = sample_batch
        static = {
            "apply": apply,
            "encode_text": encode,
            "settings": Settings(steps=shape.steps, guidance_scale=GUIDANCE),
        }
        arguments = (parameters, batch, (batch.segment > 0).astype(np.float32))
    count = sum(x.size for x in jax.tree.leaves(parameters))
    begun = time.perf_counter()
    program = plan_compile.compile_program(fn, arguments, static, platform=None)
    if program.run is None:
        raise SystemExit(program.refusal)

    def run(number: int) -> float:
        nonlocal arguments
        if options.what == "train":
            state, metrics = program.run(*arguments[:3], rng.key(0, "step", number))
            arguments = (state, *arguments[1:])
            return float(metrics["loss"])
        parameters, batch, start = arguments
        seeded = batch._replace(clip=batch.clip + np.uint32(number))
        return float(jnp.sum(program.run(parameters, seeded, start)[0]))

    run(0)
    compiled = time.perf_counter() - begun
    seconds = times(run, budget=options.seconds, turn=options.turn)
    device = jax.devices()[0]
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use", resident)
    if options.profile is not None:
        try:
            found = profile(run, program.run.as_text())
        except Exception as error:  # no profiler here: what was timed is not lost for it
            found = [{"error": repr(error)}]
        options.profile.write_text(json.dumps(found, indent=1))
    # After all that is timed: the probes' arrays are memory too.
    chip = plan_chips.local_chip(jnp.dtype(options.dtype))
    planned = plan_of(program, model, batch, options.what, steps=shape.steps, chip=chip, parameters=count)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "first": compiled,
                "parameters": count,
                "gib": memory / 2**30,
                "flops": planned.model_flops,
                "plan": planned.record() | {"hbm_per_second": chip.bandwidth},
                "device": device.device_kind,
                "versions": {"jax": jax.__version__},
            }
        )
    )


if __name__ == "__main__":
    main()
