"""Trains what a study has not trained yet; the same command goes on."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sora_jax import command, stages
from sora_jax.scaling import run as run_lib
from sora_jax.scaling.commands import common
from sora_jax.scaling.commands.ladder import common_pace, trained_flops
from sora_jax.scaling.study import Study

ROOT = Path(__file__).parents[3]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, --latents, --minutes, --jobs."""
    common.add_arguments(parser)
    parser.add_argument(
        "--latents", type=Path, help="store with train/ and heldout/; else WORKDIR/latents, made if missing"
    )
    parser.add_argument("--minutes", type=float, default=None, help="save and stop after so long")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes, each on its share of the cores (CPUs alone)"
    )


def run(options: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    began = time.monotonic()
    autoencoder = common.config_of(options).autoencoder
    _claim(options.workdir, options.tier)
    latents = (options.latents or options.workdir / "latents").resolve()
    if not (latents / "manifest.json").exists():
        code = _make_latents(options, latents, autoencoder)
        if code:
            return code
    if options.jobs > 1:
        return _jobs(options, latents, began)
    options.overrides = [*options.overrides, f"--config.data.latents={latents}"]
    study, arms, held_out = common.opened(options)
    left = None if options.minutes is None else options.minutes - (time.monotonic() - began) / 60
    with command.checking_usage():
        return run_lib.run(
            study,
            lambda: study.planned(arms, held_out),
            minutes=left,
            show=lambda text: print(f"[{_progress(study, arms, held_out)}] {text}", flush=True),
        )


def _claim(workdir: Path, tier: str) -> None:
    """Raises UsageError where the folder holds the runs of another tier: one table is of one family."""
    file = workdir / "tier"
    if not file.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{tier}\n")
    found = file.read_text().strip()
    if found != tier:
        raise command.UsageError(
            f"{workdir} holds the runs of tier {found}, not {tier}: give another --workdir"
        )


def _progress(study: Study, arms: list[str], held_out: list) -> str:
    rows = study.rows()
    done = {row["name"] for row in rows}
    lines = study.planned(arms, held_out)
    left = trained_flops([one for one in lines if one.name not in done])
    pace = common_pace(rows) or study.config.ladder.flops_per_second
    finished = sum(one.name in done for one in lines)
    return f"{finished} of {len(lines)}, {left / pace / 3600:.2f} process hours left"


def _make_latents(options: argparse.Namespace, latents: Path, autoencoder: str) -> int:
    made = stages.Stage(
        name="latents",
        arguments=(
            *("sora_jax.make_latents", "--config", f"configs/latents.py:scaling_{options.tier}"),
            *("--autoencoder", autoencoder, "--out", str(latents)),
        ),
        result=latents / "manifest.json",
    )
    return stages.run([made], root=ROOT, minutes=options.minutes or float("inf"))


def _jobs(options: argparse.Namespace, latents: Path, began: float) -> int:
    """The same command in several processes, each on its own cores; a signal is handed on."""
    cores = sorted(os.sched_getaffinity(0))
    if options.jobs > len(cores):
        raise command.UsageError(f"--jobs {options.jobs} on {len(cores)} cores: give at most one for each")
    arguments = [sys.executable, "-m", "sora_jax.scaling", "run", "--tier", options.tier]
    arguments += ["--config", options.config, "--workdir", str(options.workdir), "--arms", options.arms]
    arguments += ["--latents", str(latents), "--jobs", "1", *options.overrides]
    if options.prediction:
        arguments += ["--prediction", str(options.prediction)]
    if options.minutes is not None:
        arguments += ["--minutes", f"{options.minutes - (time.monotonic() - began) / 60:.2f}"]
    children = []
    for job in range(options.jobs):
        own = set(cores[job :: options.jobs])
        environment = {**os.environ}
        if len(own) == 1:
            flags = environment.get("XLA_FLAGS", "")
            environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
        children.append(subprocess.Popen(arguments, env=environment))
        os.sched_setaffinity(children[-1].pid, own)  # its threads, which begin later, take it over
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: [child.send_signal(number) for child in children])
    codes = [child.wait() for child in children]
    return next((code if code > 0 else 1 for code in codes if code), 0)  # below 0: a signal ended it
