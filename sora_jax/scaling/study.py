"""A study's folder: its table made concrete, what is finished, and what comes next.

WORKDIR/runs.csv             a row for every finished line, written as soon as it ends
WORKDIR/losses/<line>.npy    its held-out loss per clip, float32 `[clips]`: differences are paired
WORKDIR/runs/<run>/          checkpoints and metrics of a run, and of the lines that branch off it
"""

from __future__ import annotations

import contextlib
import copy
import csv
import dataclasses
import fcntl
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import build
from sora_jax.evaluation.denoising import ClipLosses
from sora_jax.models import cost
from sora_jax.scaling import ladder
from sora_jax.scaling.ladder import Line, Result, Size, Table

COLUMNS = (
    *("name", "arm", "budget", "C", "N", "N_total", "D", "loss", "standard_error", "clips", "draws"),
    *("seed", "width", "depth", "rows", "steps", "cooldown_steps", "warmup_steps", "learning_rate"),
    *("optimizer", "parametrization", "loss_t0", "loss_t1", "loss_t2", "loss_t3", "loss_t4"),
    *("seconds", "processor", "commit"),
)
IMAGES = ((1, 1.0),)  # which clips a stage reads: see `data.packing.Shares`
CLIPS = ((1, 1e-6), (33, 1.0))  # a class may not be empty: one image in a million


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A tier's table and the folder of its runs.

    Attributes:
      config: as `configs/scaling.py` gives it; `table` is its `ladder`.
      workdir: see the module's docstring.
    """

    config: Any
    table: Table
    workdir: Path

    def table_of(self, arm: str) -> Table:
        """The ladder of an arm: the study's, but for what the arm says of its own.

        Raises:
          ValueError: no such arm, or it does not fit together.
        """
        return dataclasses.replace(self.table, **_fields(self._arm(arm)))

    def config_of(self, arm: str, width: int, rows: int, seed: int) -> Any:
        """The training run of a size, with its arm's changes; its rate grows as the root of its batch.

        So Adam's steps keep their share of noise (Malladi et al. 2022, arXiv 2205.10287, Sec. 5).
        """
        config = copy.deepcopy(self.config)
        config.unlock()
        config.model.size.width, config.data.rows, config.seed = width, rows, seed
        for key, value in self._arm(arm).get("changes", ()):
            *path, name = key.split(".")
            table = config
            for part in path:
                table = table[part]
            table[name] = value
        config.optimizer.learning_rate *= math.sqrt(rows / config.ladder.base_rows)
        return config.lock()

    def config_for(self, one: Line) -> Any:
        """The training run of a line, which is also one of `sora_jax.train`."""
        config = self.config_of(one.arm, one.size.width, one.size.rows, one.seed)
        first = round(self.table_of(one.arm).images_first * one.steps)
        if first:
            config.data.stages = ((first, IMAGES), (None, CLIPS))
        return config

    def _arm(self, arm: str) -> dict[str, Any]:
        if arm not in self.config.ladder.arms:
            raise ValueError(f"no arm {arm!r}: use one of {', '.join(self.config.ladder.arms)}")
        return self.config.ladder.arms[arm].to_dict()

    def sizes(self, arm: str) -> ladder.Sizes:
        """(width, rows) -> what a step costs."""

        @functools.cache  # a plan asks for each many times
        def size(width: int, rows: int) -> Size:
            config = self.config_of(arm, width, rows, 0)
            model = build.transformer(config.model, patch_width=_patch_width(config))
            data = config.data
            flops = cost.count_training_flops(
                model, rows=rows, tokens=data.row_tokens, text=data.row_text, unasked=False
            )
            return Size(
                width=width,
                rows=rows,
                parameters=cost.count_nonembedding(model),
                total=cost.count_parameters(model),
                step_flops=flops,
                step_tokens=rows * data.row_tokens,
            )

        return size

    @property
    def csv(self) -> Path:
        return self.workdir / "runs.csv"

    def rows(self) -> list[dict[str, str]]:
        """The finished lines, as `runs.csv` has them."""
        if not self.csv.exists():
            return []
        with self.csv.open(newline="") as file:
            return list(csv.DictReader(file))

    def results(self) -> list[Result]:
        """What the finished lines tell the ladder."""
        return [
            Result(
                arm=row["arm"],
                budget=float(row["budget"]),
                width=int(row["width"]),
                seed=int(row["seed"]),
                parameters=int(row["N"]),
                loss=float(row["loss"]),
            )
            for row in self.rows()
        ]

    def planned(self, arms: Sequence[str], extra: Sequence[Line] = ()) -> list[Line]:
        """All lines of some arms, as far as the results tell, and `extra` ones; finished ones included."""
        results = self.results()
        lines = [
            one for arm in arms for one in ladder.plan(self.table_of(arm), self.sizes(arm), results, arm=arm)
        ]
        return [*lines, *extra]

    def record(self, one: Line, row: dict[str, Any], losses: ClipLosses) -> None:
        """Adds a finished line to `runs.csv`; the losses are written first."""
        path = self.workdir / "losses" / f"{one.name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, losses.loss.mean(axis=1, dtype=np.float64).astype(np.float32))
        with locked(self.workdir / "runs.lock", wait=True):
            new = not self.csv.exists()
            with self.csv.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)


def open_study(config: Any, workdir: Path) -> Study:
    """The study of a table in a folder, which is made if it is missing.

    Raises:
      ValueError: a ladder that does not fit together.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    return Study(config=config, table=Table(**_fields(config.ladder.to_dict())), workdir=workdir)


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a ladder's entries that `Table` has."""
    names = {field.name for field in dataclasses.fields(Table)}
    return {name: value for name, value in values.items() if name in names}


def _patch_width(config: Any) -> int:
    return int(np.prod(config.patch)) * _channels(config.autoencoder)


@functools.cache
def _channels(autoencoder: str) -> int:
    return build.load_autoencoder(autoencoder).model.channels


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process holds a path's lock within; it is let go of when the process ends, however."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
