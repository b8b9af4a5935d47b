"""How fast is a step, and a sample, beside PyTorch's transformers of equal width, depth and tokens?

    make bench            # both environments, all of it
    python experiments/003_speed/run.py --peers .venv-bench/bin/python --shapes 192x6 --out /tmp/bench

Every contestant is a process of its own, one at a time, in rounds, so that a slow minute of the machine falls
on all of them; one that fails, or takes longer than --limit, is not asked again in that cell. A cell is the
median over all rounds. All contestants get their memory in huge pages and keep it (`MEMORY`), unless
GLIBC_TUNABLES says otherwise. Writes results.json, table.md and steps.png into --out.
With --together (for a GPU with few minutes), all contestants of all cells compile beside each other, and when
the last is ready, each is timed in its turn; what a first call takes then says nothing and is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tqdm
from shapes import SHAPES

from sora_jax.training.checkpoint import code_commit

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
# A step frees and takes gigabytes; given back to the system they cost an eighth of its time.
MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
OURS = {
    "ours": [],
    "ours, chunked": ["--attention", "chunked"],
    "ours, scanned": ["--scan"],
    "ours, flash": ["--attention", "flash"],
}
PEERS = {
    "PyTorch DiT": ["--model", "dit"],
    "PyTorch DiT, compiled": ["--model", "dit", "--compile"],
    "diffusers Wan": ["--model", "wan"],
    "diffusers CogVideoX": ["--model", "cogvideox"],
    "diffusers Latte": ["--model", "latte"],
}
CPU_SHAPES = ("192x6", "384x12", "768x12")
GPU_SHAPES = ("768x12-gpu", "2048x16-gpu")


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", default=".venv-bench/bin/python", help="a Python that has torch, diffusers"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shapes", nargs="+", default=None)
    parser.add_argument("--what", nargs="+", choices=["train", "sample"], default=["train", "sample"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each contestant in each round")
    parser.add_argument("--limit", type=float, default=600, help="seconds of a process, compiling included")
    parser.add_argument("--contestants", nargs="+", choices=[*OURS, *PEERS], default=None)
    parser.add_argument("--attention", default="cudnn", help="of ours, on a GPU")
    parser.add_argument("--together", action="store_true", help="compile all beside each other")
    parser.add_argument("--before", default="true", help="with --together: a command before the timings")
    parser.add_argument("--after", default="true", help="and one after them")
    parser.add_argument("--profile", type=Path, default=None, help="folder for ours' time by operation")
    parser.add_argument("--out", type=Path, default=HERE / "cpu")
    parser.add_argument("--add", action="store_true", help="to the cells that --out has")
    options = parser.parse_args()
    shapes = options.shapes or (CPU_SHAPES if options.device == "cpu" else GPU_SHAPES)
    cells = [(shape, what) for shape in shapes for what in options.what]
    results: dict[str, dict[str, Any]] = {}
    if options.add:
        results = json.loads((options.out / "results.json").read_text())["cells"]
    skipped = "ours, flash" if options.device == "cpu" else "ours, chunked"
    names = options.contestants or [name for name in (*OURS, *PEERS) if name != skipped]

    def command(shape: str, what: str, name: str) -> list[str]:
        start = _command(name, options.device, options.peers, options.attention)
        if options.profile is not None and name in OURS:
            start += ["--profile", str(options.profile / f"{shape}_{what}_{name.replace(', ', '_')}.json")]
        return [*start, "--shape", shape, "--what", what, "--seconds", str(options.seconds)]

    def keep(shape: str, what: str, name: str, found: dict[str, Any], *, first: bool) -> None:
        cell = results.setdefault(f"{shape} {what}", {}).setdefault(name, {"seconds": [], "errors": []})
        if "error" in found:
            cell["errors"].append(found["error"])
        else:
            cell["seconds"] += found.pop("seconds")
            compiled = found.pop("first")
            cell.update(found)
            if first:
                cell["first"] = compiled
        write(results, options.out)

    jobs = list(itertools.product(cells, names))
    if options.together:
        for _ in range(options.rounds):
            commands = [command(*cell, name) for cell, name in jobs]
            found = _run_together(commands, options.before, options.after)
            for (cell, name), one in zip(jobs, found, strict=True):
                keep(*cell, name, one, first=False)
    else:
        failed: set[Any] = set()
        rounds = [(number == 0, *job) for number in range(options.rounds) for job in jobs]
        for first, cell, name in tqdm.tqdm(rounds, unit="run"):  # first: nothing compiled before
            if (cell, name) not in failed:
                found = _run(command(*cell, name), cold=first, limit=options.limit)
                failed |= {(cell, name)} if "error" in found else set()
                keep(*cell, name, found, first=first)
    print(table(results))
    return 0


def write(results: dict[str, dict[str, Any]], out: Path) -> None:
    """All that is known so far, with the machine's name, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    machine = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.date.today().isoformat(),
        "commit": code_commit(),
        "command": " ".join(["python", *sys.argv]),
        "GLIBC_TUNABLES": _environment()["GLIBC_TUNABLES"],
    }
    (out / "results.json").write_text(json.dumps({**machine, "cells": results}, indent=1))
    (out / "table.md").write_text(table(results))
    plot(results, out / "steps.png")


def _command(name: str, device: str, peers: str, attention: str) -> list[str]:
    if name in OURS:
        gpu = ["--dtype", "bfloat16", "--attention", attention] if device == "cuda" else []
        return [sys.executable, str(HERE / "ours.py"), *gpu, *OURS[name]]
    return [peers, str(HERE / "peers.py"), *PEERS[name], "--device", device]


def _run(command: list[str], *, cold: bool, limit: float) -> dict[str, Any]:
    """What it printed; {"error": its last line} if it failed."""
    environment = _environment()
    if cold:
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done within {limit:.0f} s"}
    return _found(done.returncode, done.stdout, done.stderr)


def _environment() -> dict[str, str]:
    """Ours, with this repository before what else is on the path, and `MEMORY`."""
    path = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
    return {"GLIBC_TUNABLES": MEMORY, **os.environ, "PYTHONPATH": path}


def _found(code: int, out: str, error: str) -> dict[str, Any]:
    if code:
        lines = [line for line in error.splitlines() if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
        return {"error": (lines or error.strip().splitlines() or [f"exit code {code}"])[-1][:300]}
    return json.loads(out.strip().splitlines()[-1])


def _run_together(commands: list[list[str]], before: str, after: str) -> list[dict[str, Any]]:
    """As `_run` of each: all compile at once, then one after the other is timed while the rest wait."""
    environment = {**_environment(), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with contextlib.ExitStack() as stack:
        running = []
        for command in commands:
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))  # a pipe that no one reads fills up
            process = subprocess.Popen(
                [*command, "--turn"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
            running.append((process, errors))
        for process, _ in running:
            process.stdout.readline()  # "ready", or its end
        subprocess.run(before, shell=True, check=True)
        found = []
        for process, errors in running:
            with contextlib.suppress(BrokenPipeError):  # it failed: its errors say how
                process.stdin.write("go\n")
                process.stdin.flush()
            out = process.stdout.read()
            code = process.wait()
            errors.seek(0)
            found.append(_found(code, out, errors.read()))
        subprocess.run(after, shell=True, check=True)
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """Medians in ms, model TFLOP/s, the ratio to ours (above 1: ours is faster), memory, the first call."""
    lines = []
    for cell, found in results.items():
        best = _ours(found)
        lines += [
            f"**{cell}**{_steps(cell)}\n",
            "| | million parameters | median ms | quartiles | TFLOP/s | / ours | GiB | first call s |",
            "|---|---|---|---|---|---|---|---|",
        ]
        # The plain block in PyTorch does what ours does; the FLOPs of the others were not counted.
        flops = next((row["flops"] for row in found.values() if "flops" in row), math.nan)
        for name, row in found.items():
            if not row["seconds"]:
                lines.append(f"| {name} | | {'; '.join(sorted(set(row['errors'])))} | | | | | |")
                continue
            low, middle, high = np.percentile(row["seconds"], [25, 50, 75])
            first = f"{row['first']:.1f}" if "first" in row else ""
            counted = not (name.startswith("diffusers") or math.isnan(flops))
            rate = f"{flops / middle / 1e12:.3g}" if counted else ""
            lines.append(
                f"| {name} | {row['parameters'] / 1e6:.1f} | {1000 * middle:.0f} | {1000 * low:.0f} to "
                f"{1000 * high:.0f} | {rate} | {middle / best:.2f} | {row['gib']:.1f} | {first} |"
            )
        lines.append("")
    return "\n".join(lines)


def _steps(cell: str) -> str:
    shape, what = cell.split()
    return f" ({SHAPES[shape].steps} steps)" if what == "sample" else ""


def _ours(found: dict[str, Any]) -> float:
    """The faster of our own medians, seconds; NaN before there is one."""
    return float(
        min((np.median(found[n]["seconds"]) for n in OURS if found.get(n, {}).get("seconds")), default=np.nan)
    )


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Every contestant's median over ours, a group per cell."""
    figure, axis = plt.subplots(figsize=(11, 4))
    names = [name for name in (*OURS, *PEERS) if any(name in found for found in results.values())]
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        ratios = []
        for found in results.values():
            seconds = found.get(name, {}).get("seconds")
            ratios.append(np.median(seconds) / _ours(found) if seconds else np.nan)
        axis.bar(np.arange(len(results)) + k * width, ratios, width, label=name)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(np.arange(len(results)) + 0.4, list(results))
    axis.set_ylabel("seconds / ours' (above 1: ours is faster)")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
