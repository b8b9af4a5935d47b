"""TPU chips and slices, described without having one.

`jax.experimental.topologies` asks libtpu for the devices of a slice such as `v5p:4x4x4`; a step can be
compiled for them and never run. The chips' numbers are Google's (docs.cloud.google.com/tpu/docs/v5e, /v5p,
/v6e, "System architecture", read in November 2026). Of the interconnect the pages give both directions of
all links together; a collective along one axis of the torus uses two links, in one direction each way round:
`wire = bidirectional / links / 2 * 2`. They do not name the way to the host: that is of Austin et al.
2025, "How to Scale Your Model", part 2 (1.5e10 bytes/s a chip, about twice that for v6e).

`local` is the machine that is there, whatever it is: its numbers are not looked up but measured.
"""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import importlib.util
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import jax
from jax.experimental import topologies

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip, which is one JAX device.

    Attributes:
      peak: bfloat16 multiplications and additions per second.
      hbm: bytes of memory, as the page states them (GB or GiB).
      bandwidth: of that memory, bytes/s.
      wire: bytes/s that leave a chip during a collective along one axis of the torus.
      host: bytes/s between its memory and its host's, one way at a time.
    """

    name: str
    peak: float
    hbm: float
    bandwidth: float
    wire: float
    host: float


CHIPS: dict[str, Chip] = {
    "v5e": Chip(name="v5e", peak=197e12, hbm=16 * GIB, bandwidth=819e9, wire=400e9 / 4, host=15e9),
    "v5p": Chip(name="v5p", peak=459e12, hbm=95 * GIB, bandwidth=2765e9, wire=1200e9 / 6, host=15e9),
    "v6e": Chip(name="v6e", peak=918e12, hbm=32 * GIB, bandwidth=1638e9, wire=800e9 / 4, host=32e9),
}

LOCAL = "local"
PRODUCT, COPY = {"cpu": 2048}, {"cpu": 2**26}  # sides of the probes' matrices, numbers that are copied
PROBES = 20

# libtpu wants to be told where it is, or asks a metadata server that is not there.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def chip_of(topology: str) -> Chip:
    """The chip of a slice's name, e.g. `v5p:4x4x4`.

    Raises:
      ValueError: not of the form chip:AxB or chip:AxBxC, or a chip that is not in `CHIPS`.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+){1,2})", topology)
    if match is None or match[1] not in CHIPS:
        raise ValueError(
            f"no topology {topology!r}: name a chip of {', '.join(CHIPS)} and its sides, as v5p:4x4x4 or "
            "v5e:4x4, or local for the devices that are here"
        )
    return CHIPS[match[1]]


def count_devices(topology: str) -> int:
    """Devices of a slice, from its name alone; of `local`, those that are there.

    Raises:
      ValueError: as `chip_of`.
    """
    if topology == LOCAL:
        return jax.device_count()
    chip_of(topology)
    return math.prod(int(side) for side in topology.partition(":")[2].split("x"))


def has_libtpu() -> bool:
    """Whether the TPU's compiler is installed."""
    return importlib.util.find_spec("libtpu") is not None


def devices_of(topology: str) -> Sequence[jax.Device]:
    """The devices of a slice, to be compiled for and never run on; of `local`, those that are there.

    Raises:
      ValueError: no libtpu, an unknown chip, or sides that make no slice.
    """
    if topology == LOCAL:
        return jax.devices()
    chip_of(topology)
    if not has_libtpu():
        raise ValueError("libtpu, the TPU's compiler, is not installed: pip install 'sora_jax[tpu]'")
    lock()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).split("\n")[0]
        if "lockfile" in reason:
            raise ValueError(
                "another process uses libtpu: wait for it, or remove /tmp/libtpu_lockfile if there is none"
            ) from error
        raise ValueError(
            f"topology {topology!r} is no slice that libtpu knows ({reason}): use even sides, as "
            "v5p:4x4x4, v6e:8x8 or v5e:4x4"
        ) from error


def local_chip(dtype: Any) -> Chip:
    """The first device here, as it does a large matrix product in `dtype` and a large copy (fastest of 20).

    Its memory is what JAX's allocator may take of it. How fast devices talk to each other and to their host
    is not measured: it is taken for free.
    """
    device = jax.devices()[0]
    side, numbers = PRODUCT.get(device.platform, 8192), COPY.get(device.platform, 2**28)
    x = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    y = jax.random.normal(jax.random.key(1), (numbers,))
    limit = (device.memory_stats() or {}).get("bytes_limit", 0)
    return Chip(
        name=device.device_kind,
        peak=2 * side**3 / _fastest(jax.jit(lambda x: x @ x), x),
        hbm=limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        bandwidth=2 * y.nbytes / _fastest(jax.jit(lambda y: y + 1), y),
        wire=math.inf,
        host=math.inf,
    )


def _fastest(fn: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
    jax.block_until_ready(fn(x))
    seconds = []
    for _ in range(PROBES):
        begun = time.perf_counter()
        jax.block_until_ready(fn(x))
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@functools.cache
def lock() -> IO[str]:
    """Waits until no other process plans: libtpu, which is a process's until it ends, aborts in a second one.

    The file that comes back is locked as long as this process lives.
    """
    file = (Path(tempfile.gettempdir()) / "sora_jax_plan.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
