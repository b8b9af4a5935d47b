"""Compiles a program for devices that are not there, and says what the compiler says of its memory.

Where they are there (topology `local`), runs it too, so that what is said beforehand can be held against it.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device, as the compiler counts them.

    Attributes:
      arguments: state, frozen parameters and batch.
      outputs: what is returned.
      shared: outputs that take the place of donated arguments, in both of the above.
      temporaries: all else that is alive at once.
      code: of the program.
    """

    arguments: int
    outputs: int
    shared: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All that has to fit."""
        return self.arguments + self.outputs - self.shared + self.temporaries + self.code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What the compiler made of a program, or why it made nothing.

    Attributes:
      memory: None if it was refused.
      needed: bytes of HBM per device; of a refused program those that the refusal names, else 0.
      text: optimised HLO; "" if it was refused.
      refusal: the compiler's reason, "" if there is none.
      seconds: of lowering and compiling, by the clock.
      cpu_seconds: of this process meanwhile.
      run: the program, None if it was refused.
    """

    memory: Memory | None
    needed: int
    text: str
    refusal: str
    seconds: float
    cpu_seconds: float
    run: Callable[..., Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What a program took where it ran.

    Attributes:
      seconds: median of its runs, by the clock, until its result was there.
      runs: how many, after two that are not counted.
      peak: bytes of the first device in use at most, since this process began; None where JAX does not say.
    """

    seconds: float
    runs: int
    peak: int | None


def compile_program(
    fn: Callable[..., Any], args: tuple[Any, ...], static: Mapping[str, Any], *, platform: str | None = "tpu"
) -> Compiled:
    """Traces, lowers and compiles `fn(*args, **static)` for the devices that the arguments' shardings name.

    They are devices of `platform`; None = of JAX's own, those that are there.

    A program too large for the memory is no error but a finding. So is any other refusal of the compiler's,
    such as a kernel that does not fit the on-chip memory; only what tracing raises is raised.
    """
    start, cpu = time.perf_counter(), time.process_time()
    platforms = None if platform is None else (platform,)
    lowered = fn.trace(*args, **static).lower(lowering_platforms=platforms)  # type: ignore[attr-defined]
    memory, needed, text, refusal, compiled = None, 0, "", "", None
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed, refusal = needed_bytes(str(error)), reason(str(error))
    else:
        text = compiled.as_text()
        memory = _memory(compiled.memory_analysis())
        needed = memory.total
    return Compiled(
        memory=memory,
        needed=needed,
        text=text,
        refusal=refusal,
        seconds=time.perf_counter() - start,
        cpu_seconds=time.process_time() - cpu,
        run=compiled,
    )


def measure(run: Callable[..., Any], args: tuple[Any, ...], *, donated: bool, runs: int) -> Measured:
    """Runs a compiled program on made-up arrays in the place of its arguments' shapes.

    Numbers are uniform in [0, 0.02), whole numbers and truths are 1: of a batch that is one clip a row, no
    padding, and of an optimiser's state no number is negative.

    Args:
      donated: the first argument is given up, and the first result takes its place.
    """
    keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(args))))

    def made(shape: Any) -> Any:
        def make(key: jax.Array) -> jax.Array:
            if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
                return key
            if jnp.issubdtype(shape.dtype, jnp.floating):
                return jax.random.uniform(key, shape.shape, shape.dtype, 0.0, 0.02)
            return jnp.ones(shape.shape, shape.dtype)

        return jax.jit(make, out_shardings=shape.sharding)(next(keys))

    arrays = jax.tree.map(made, args)
    seconds = []
    for _ in range(runs + 2):
        begun = time.perf_counter()
        out = jax.block_until_ready(run(*arrays))
        seconds.append(time.perf_counter() - begun)
        if donated:
            arrays = (out[0], *arrays[1:])
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return Measured(seconds=statistics.median(seconds[2:]), runs=runs, peak=peak)


def _memory(analysis: Any) -> Memory:
    return Memory(
        arguments=analysis.argument_size_in_bytes,
        outputs=analysis.output_size_in_bytes,
        shared=analysis.alias_size_in_bytes,
        temporaries=analysis.temp_size_in_bytes,
        code=analysis.generated_code_size_in_bytes,
    )


def needed_bytes(message: str) -> int:
    """Bytes that a refusal such as "Used 295.12G of 95.74G hbm" names; 0 if it names none."""
    found = re.search(r"Used ([\d.]+)([KMGT]) of [\d.]+[KMGT]? hbm", message)
    if found is None:
        return 0
    return round(float(found[1]) * 2 ** {"K": 10, "M": 20, "G": 30, "T": 40}[found[2]])


def reason(message: str) -> str:
    """The first line of a refusal, and of a lack of memory how much, without the compiler's listing."""
    first = message.strip().split("\n")[0]
    found = re.search(r"Used [\d.]+[KMGT] of [\d.]+[KMGT]? \w+", message)
    return f"out of memory: {found[0].lower()}" if found else first[:300]
