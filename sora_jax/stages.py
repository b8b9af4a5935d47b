"""A long experiment as a list of public commands, each run until the file that it makes is there.

A finished stage is skipped and an unfinished one resumes from its own checkpoint, so one line is repeated
until all is done, on any machine that has the run's folder.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

INTERRUPTED = 75
TIMED = ("sora_jax.train", "sora_jax.make_latents")  # commands that stop by themselves after --minutes
LEAST_MINUTES = 0.5  # with less left, no stage is begun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """`python -m *arguments`, which is finished when `result` is there."""

    name: str
    arguments: Sequence[str]
    result: Path


def run(stages: Sequence[Stage], *, root: Path, minutes: float = float("inf"), until: str = "") -> int:
    """Runs what is not finished, in order, and returns the exit code of the whole.

    Args:
      stages: what to run; `--minutes` is added to the commands that take it.
      root: the repository, in which the commands run.
      minutes: after so many no stage is begun, and the running one saves and stops: INTERRUPTED is returned.
      until: name of the last stage to run; "" = all.
    """
    deadline = time.monotonic() + 60 * minutes
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for stage in stages:
        if stage.result.exists():
            print(f"{stage.name}: finished ({stage.result})", flush=True)
        else:
            left = (deadline - time.monotonic()) / 60
            if left < LEAST_MINUTES:
                print(f"{stage.name}: not begun, the time is up; repeat the same line to go on", flush=True)
                return INTERRUPTED
            arguments = list(stage.arguments)
            if arguments[0] in TIMED and left != float("inf"):
                arguments += ["--minutes", f"{left:.2f}"]
            print(f"{stage.name}: python -m {' '.join(arguments)}", flush=True)
            command = [sys.executable, "-m", *arguments]
            code = subprocess.run(command, cwd=root, env=environment, check=False).returncode
            if code:
                return code
            if not stage.result.exists():
                print(f"{stage.name}: stopped by the clock; repeat the same line to go on", flush=True)
                return INTERRUPTED
        if stage.name == until:
            break
    print("all is finished", flush=True)
    return 0
