"""Compiles the programs of all model sizes for all chips, smallest first, one at a time.

    python experiments/002_plans/run.py --minutes 60

Each row is one `python -m sora_jax.plan`, printed before it runs, and stays in `plans.jsonl`, whether it
fits, does not fit or failed. A row that stands there is skipped, so the same line is repeated until all is
done; `--again NAME` does one anew. At the end `table.md` is written from `plans.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLANS, TABLE = HERE / "plans.jsonl", HERE / "table.md"
GIB = 2**30

SIZES = ("s", "b", "l", "xl", "wan-1.3b", "7b")
TOPOLOGIES = {"v5p": "v5p:4x4x4", "v6e": "v6e:8x8", "v5e": "v5e:8x8"}  # 64 chips each
CLIPS = {  # name -> (frames at 24 per second, height, width, autoencoder), tokens 16k to 92k
    "image 2048": (1, 2048, 2048, "4x8x8"),
    "5 s 480p": (121, 480, 832, "4x8x8"),
    "5 s 720p": (121, 720, 1280, "4x8x8"),
    "60 s 1080p": (1441, 1088, 1920, "8x32x32"),
}
PROGRAMS = ("train", "sample")


def rows() -> Iterator[tuple[str, list[str]]]:
    """(name, arguments of `sora_jax.plan`) of every row: by model, then clip, chip and program."""
    for size in SIZES:
        for clip, (frames, height, width, autoencoder) in CLIPS.items():
            for chip, topology in TOPOLOGIES.items():
                for what in PROGRAMS:
                    sides = {"frames": frames, "height": height, "width": width}
                    arguments = [
                        *("--config", f"configs/dit.py:{size}"),
                        *("--topology", topology, "--mesh", "fsdp=16,context=4", "--what", what),
                        *(word for name, side in sides.items() for word in (f"--{name}", str(side))),
                        *("--autoencoder", autoencoder),
                    ]
                    yield f"{size} | {clip} | {chip} | {what}", arguments


def read() -> dict[str, dict[str, Any]]:
    """The rows that stand, by name."""
    lines = PLANS.read_text().splitlines() if PLANS.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def compile_row(name: str, arguments: list[str]) -> dict[str, Any]:
    """One row: what the command wrote, or why it wrote nothing."""
    print(f"\n{name}\n  python -m sora_jax.plan {' '.join(arguments)}", flush=True)
    row = {"name": name, "command": " ".join(arguments), "commit": _git("rev-parse", "--short", "HEAD")}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "plan.json"
        command = [sys.executable, "-m", "sora_jax.plan", *arguments, "--out", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr[-2000:], sep="\n", flush=True)
        if out.exists():
            return row | json.loads(out.read_text())
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return row | {"failed": last[:300]}


def table(found: dict[str, dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    head = (
        "| model | clip | chip x 64 | program | GiB a device | fits | PFLOP | GB sent | s, overlapped | "
        "s, not | MFU bound | compiled in s (CPU) | commit |\n" + "|---" * 13 + "|\n"
    )
    return head + "".join(_line(row) for row in found.values())


def _line(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"| {row['name']} | failed: {row['failed']} |" + " |" * 7 + f" {row['commit']} |\n"
    e, sent = row["estimate"], sum(traffic["bytes"] for traffic in row["collectives"].values())
    bound = f"{e['best']:.3g} | {e['worst']:.3g} | {e['mfu_low']:.0%} to {e['mfu_high']:.0%}" if e else "| |"
    needed = f"{row['needed'] / GIB:.2f}" if row["needed"] else ""
    fits = "yes" if row["fits"] else row["refusal"] or "no"
    work = f"{row['model_flops'] / 1e15:.3g} | {sent / 1e9:.3g}"
    return (
        f"| {row['name']} | {needed} | {fits} | {work} | {bound} | "
        f"{row['seconds']:.0f} ({row['cpu_seconds']:.0f}) | {row['commit']} |\n"
    )


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="no compilation is begun after so long")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--again", default=None, help="name of a row to do anew")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    found = read()
    for name, arguments in rows():
        if options.only not in name or (name in found and name != options.again):
            continue
        if time.monotonic() > deadline:
            print("stopped by the clock; the same command goes on")
            break
        found[name] = compile_row(name, arguments)
        ordered = [found[name] for name, _ in rows() if name in found]
        PLANS.write_text("".join(json.dumps(row) + "\n" for row in ordered))
    TABLE.write_text(table(read()))
    print(f"{len(found)} of {len(list(rows()))} rows stand in {PLANS}; {TABLE} is written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
