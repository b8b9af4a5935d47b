"""Where a run's numbers and pictures go: the terminal, `metrics.jsonl`, TensorBoard.

Every process computes them, the first one writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorboardX
import tqdm


class Log:
    """Owner of a run's log files and progress bar.

    Args:
      workdir: holds `metrics.jsonl` (one object per row, {"step": ..., name: value}) and `tensorboard/`.
      start_step: step that the run resumes from: rows of later steps, which will be made anew, are dropped.
      total_steps: end of the progress bar.
      tensorboard: whether to write it.
      terminal: whether to print.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        start_step: int = 0,
        total_steps: int,
        tensorboard: bool = True,
        terminal: bool = True,
    ):
        self._active = jax.process_index() == 0
        self._file = None
        self._board = None
        self._bar = None
        if not self._active:
            return
        workdir = Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        drop_rows_after(path, step=start_step)
        self._file = path.open("a")
        if tensorboard:
            folder = str(workdir / "tensorboard")
            self._board = tensorboardX.SummaryWriter(
                folder, purge_step=start_step + 1 if start_step else None
            )
        if terminal:
            self._bar = tqdm.tqdm(
                total=total_steps,
                initial=start_step,
                unit="step",
                dynamic_ncols=True,
                mininterval=1.0,
                disable=not sys.stderr.isatty(),
            )

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Flushes and closes everything."""
        for resource in (self._file, self._board, self._bar):
            if resource is not None:
                resource.close()

    def progress(self, step: int) -> None:
        """Moves the bar to a number of completed steps."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one row of numbers to all three places; what is not finite is null in the file."""
        if self._file is None:
            return
        row: dict[str, Any] = {"step": step}
        for name, value in values.items():
            row[name] = float(value) if np.isfinite(value) else None
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, float(value), global_step=step)
            self._board.flush()
        self.text(
            f"step {step}  " + "  ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        )

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a picture to TensorBoard.

        Args:
          step: completed steps.
          name: its tag.
          image: `[h w 3]` uint8, e.g. a strip of frames beside each other.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"image {name!r} is {image.dtype}{list(image.shape)}: give uint8 [h w 3]")
        if self._board is not None:
            self._board.add_image(name, image, global_step=step, dataformats="HWC")
            self._board.flush()

    def text(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar is not None:
            tqdm.tqdm.write(line)
            sys.stdout.flush()


def drop_rows_after(path: Path, *, step: int) -> None:
    """Drops the rows of `metrics.jsonl` past a step, and a last row that a killed process left unfinished.

    Raises:
      ValueError: a row before the last is not JSON: the file is not ours to mend.
    """
    if not path.exists():
        return
    kept = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(
                f"{path}, line {number} is not JSON: {line[:80]!r}; move the file away"
            ) from error
        if row["step"] <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".jsonl.tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)
