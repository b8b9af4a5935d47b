"""How fast is a step, and a sample, beside PyTorch's transformers of equal width, depth and tokens?

    make bench            # both environments, all of it
    python experiments/003_speed/run.py --peers .venv-bench/bin/python --shapes 192x6 --out /tmp/bench

Every contestant is a process of its own, one at a time, in rounds, so that a slow minute of the machine falls
on all of them. A cell is the median over all rounds. Writes results.json, table.md and steps.png into --out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tqdm

from sora_jax.training.checkpoint import code_commit

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
OURS = {"ours": [], "ours, ring": ["--attention", "ring"], "ours, scanned": ["--scan"]}
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
    parser.add_argument("--contestants", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--out", type=Path, default=HERE / "cpu")
    parser.add_argument("--add", action="store_true", help="to the cells that --out has")
    options = parser.parse_args()
    shapes = options.shapes or (CPU_SHAPES if options.device == "cpu" else GPU_SHAPES)
    cells = [(shape, what) for shape in shapes for what in options.what]
    results: dict[str, dict[str, Any]] = {}
    if options.add:
        results = json.loads((options.out / "results.json").read_text())["cells"]
    todo = [(r, cell, name) for r in range(options.rounds) for cell in cells for name in options.contestants]
    for number, (shape, what), name in tqdm.tqdm(todo, unit="run"):
        command = _command(name, options.device, options.peers)
        command += ["--shape", shape, "--what", what, "--seconds", str(options.seconds)]
        found = _run(command, cold=number == 0)
        cell = results.setdefault(f"{shape} {what}", {}).setdefault(name, {"seconds": [], "errors": []})
        if "error" in found:
            cell["errors"].append(found["error"])
            write(results, options.out)
            continue
        cell["seconds"] += found.pop("seconds")
        first = found.pop("first")
        cell.update(found)
        if number == 0:
            cell["first"] = first  # nothing compiled before
        write(results, options.out)
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
    }
    (out / "results.json").write_text(json.dumps({**machine, "cells": results}, indent=1))
    (out / "table.md").write_text(table(results))
    plot(results, out / "steps.png")


def _command(name: str, device: str, peers: str) -> list[str]:
    if name in OURS:
        gpu = ["--dtype", "bfloat16", "--attention", "flash"] if device == "cuda" else []
        return [sys.executable, str(HERE / "ours.py"), *gpu, *OURS[name]]
    return [peers, str(HERE / "peers.py"), *PEERS[name], "--device", device]


def _run(command: list[str], *, cold: bool) -> dict[str, Any]:
    """What it printed; {"error": its last line} if it failed."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    if cold:
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(results: dict[str, dict[str, Any]]) -> str:
    """Medians in ms, the ratio of each to ours (above 1: ours is faster), memory, and the first call."""
    lines = []
    for cell, found in results.items():
        best = _ours(found)
        lines += [
            f"**{cell}**\n",
            "| | million parameters | median ms | quartiles | / ours | GiB | first call s |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, row in found.items():
            if not row["seconds"]:
                lines.append(f"| {name} | | {'; '.join(sorted(set(row['errors'])))} | | | | |")
                continue
            low, middle, high = np.percentile(row["seconds"], [25, 50, 75])
            first = row.get("first", math.nan)
            lines.append(
                f"| {name} | {row['parameters'] / 1e6:.1f} | {1000 * middle:.0f} | {1000 * low:.0f} to "
                f"{1000 * high:.0f} | {middle / best:.2f} | {row['gib']:.1f} | {first:.1f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _ours(found: dict[str, Any]) -> float:
    """The faster of our own medians, seconds; NaN before there is one."""
    return float(
        min((np.median(found[n]["seconds"]) for n in OURS if found.get(n, {}).get("seconds")), default=np.nan)
    )


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Every contestant's median over ours, a group per cell."""
    figure, axis = plt.subplots(figsize=(10, 4))
    names, width = [*OURS, *PEERS], 0.8 / (len(OURS) + len(PEERS))
    for k, name in enumerate(names):
        ratios = []
        for found in results.values():
            seconds = found.get(name, {}).get("seconds")
            ratios.append(np.median(seconds) / _ours(found) if seconds else np.nan)
        axis.bar(np.arange(len(results)) + k * width, ratios, width, label=name)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(np.arange(len(results)) + 0.4, list(results))
    axis.set_ylabel("seconds / ours' (above 1: ours is faster)")
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
