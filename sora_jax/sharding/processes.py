"""Many processes as one run: how they meet, agree, and end together.

Every process runs the same command; `jax.distributed` makes their devices one mesh. They read their own rows
(`context.rows_here`), write one checkpoint together (Orbax), and the first one alone writes logs.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

HEARTBEAT_SECONDS = 60  # a process not heard of for so long is dead, and so is the run: the others end too
SHUTDOWN_SECONDS = 120  # how long the first to finish waits for the others
WAIT_SECONDS = 24 * 60 * 60  # at a barrier: a process that is gone is found out by its heartbeat


def is_first() -> bool:
    """Whether this process writes what only one may write."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Goes on when every process has come here, to the place called `name`, however late.

    A barrier of the processes, not a sum over their devices, for which gloo waits 30 s alone.
    """
    multihost.get_barrier_sync_fn()(key=name, timeout_ms=WAIT_SECONDS * 1000)


class Place(NamedTuple):
    """Process `number` of `count`; 0 listens at `host` ("HOST:PORT"). None where jax finds it out."""

    host: str | None = None
    number: int | None = None
    count: int | None = None


def place(text: str) -> Place:
    """ "auto" (as Cloud TPU, GKE, SLURM or Open MPI say), or "HOST:PORT,K,N": process K, from 0, of N.

    Raises:
      ValueError: it is neither.
    """
    if text == "auto":
        return Place()
    host, *numbers = text.split(",")
    try:
        number, count = map(int, numbers)
        port = int(host.rpartition(":")[2])
    except ValueError:
        number, count, port = -1, 0, 0
    if not (0 <= number < count and port > 0 and ":" in host):
        raise ValueError(f"{text!r} is no place among processes: give auto, or as in localhost:9911,0,4")
    return Place(host, number, count)


@contextlib.contextmanager
def joined(where: Place | None, *, told: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within, this process is one of many (None: alone); to be entered before anything of jax has run.

    An error in one process is printed with its number (in one line if `told`) and ends it at once with exit
    code 1, without waiting for the others: they, in the middle of a sum over all, see it gone and end too. So
    a run with a dead process never hangs; started again, with as many processes as there are then, it goes on
    from its checkpoint.
    """
    if where is None:
        yield
        return
    jax.distributed.initialize(
        where.host,
        where.count,
        where.number,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
    if not is_first():
        logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        what = f"error: {error}" if isinstance(error, told) else traceback.format_exc()
        print(f"process {jax.process_index()} of {jax.process_count()}: {what}", file=sys.stderr, flush=True)
        os._exit(1)
    jax.distributed.shutdown()


def meet(mesh: Mesh) -> None:
    """Makes the connections of every group of devices that the mesh's axes name, now that all are here.

    Left to the first program that needs them, they are refused to the processes that compiled it quickly:
    gloo waits 30 s for the others, and of a compilation cache only the first process may have a hit.
    """
    if jax.process_count() == 1:
        return
    axes = [axis for axis, size in mesh.shape.items() if size > 1]
    groups = [some for size in range(1, len(axes) + 1) for some in itertools.combinations(axes, size)]
    everyone = PartitionSpec(mesh.axis_names)

    def sums(x: jax.Array) -> list[jax.Array]:
        return [jax.lax.psum(x, group) for group in groups]

    ones = jax.make_array_from_callback(
        (mesh.size,), NamedSharding(mesh, everyone), lambda _: np.ones(1, np.float32)
    )
    program = jax.shard_map(sums, mesh=mesh, in_specs=everyone, out_specs=everyone)
    jax.block_until_ready(jax.jit(program)(ones))


def agreement(mesh: Mesh) -> Callable[[int, Sequence[bool]], tuple[int, Sequence[bool]]]:
    """`agree(step, flags)` -> (the step of the answer, whether any process set each flag then).

    Signals and clocks differ from process to process, and all have to stop and to save at the same step. Each
    call hands one small sum over all devices to them and answers with that of the call before, so that no
    step waits for it; the first answer is all false. A single process is answered at once.
    """
    if jax.process_count() == 1:
        return lambda step, flags: (step, flags)
    everyone = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    alike = NamedSharding(mesh, PartitionSpec())
    any_of = jax.jit(lambda flags: flags.any(axis=0), out_shardings=alike)
    pending: list[tuple[int, jax.Array]] = []

    def agree(step: int, flags: Sequence[bool]) -> tuple[int, Sequence[bool]]:
        mine = np.asarray(flags, bool)
        shape = (mesh.size, len(mine))
        pending.append((step, any_of(jax.make_array_from_callback(shape, everyone, lambda _: mine[None]))))
        if len(pending) == 1:
            return step, [False] * len(mine)
        asked, answer = pending.pop(0)
        return asked, [bool(flag) for flag in np.asarray(answer)]

    return agree
