"""Many processes on this machine as one run: the rehearsal of a pod, and what the tests of processes use.

    python experiments/launch/local.py --processes 4 --devices 2 -- \\
        python -m sora_jax.train --config configs/dit.py:smoke --workdir run/transformer ...

Every process runs the command with `--distributed localhost:PORT,K,N` added. A signal to this one goes to
all of them. The exit code is the first that is not 0.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

# Processes that share few cores compile at very different paces, and the fast ones wait for the slow ones.
PATIENCE = 600  # seconds


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run a command as many processes on this machine.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=1, help="CPU devices of each process")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    options = parser.parse_args(arguments)
    command = [part for part in options.command if part != "--"]
    if not command or options.processes < 1:
        parser.error("give --processes of 1 or more, and after -- the command to run")
    processes = start(command, processes=options.processes, devices=options.devices)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: [process.send_signal(number) for process in processes])
    codes = [process.wait() for process in processes]
    return next((code if code > 0 else 1 for code in codes if code), 0)


def start(
    command: Sequence[str], *, processes: int, devices: int, **options: object
) -> list[subprocess.Popen]:
    """The processes, started; `options` are `subprocess.Popen`'s."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_collective_timeout_seconds={PATIENCE}"
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "XLA_FLAGS": flags}
    return [
        subprocess.Popen(
            [*command, "--distributed", f"localhost:{port},{number},{processes}"],
            env=environment,
            **options,  # type: ignore[arg-type]
        )
        for number in range(processes)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
